//! What is known of a peer that explains a death as well as a path that forgets: its own timer, and outages that were seen.

use super::{Learned, peer_closes::PeerCloses, span::Span};
use crate::model::{
    judgement::{
        death::{Death, OtherReason},
        destination::Destination,
    },
    observed::socket::{Socket, Time},
};

impl Learned {
    /// Another reason for a death that looks like a path that forgot the connection. `limit_ms`: what its path keeps, if that is
    /// configured or was learned for sure: what comes first explains it. `others_heard_since`: whether others
    /// that had been there were heard after a moment.
    pub fn other_reason(
        &self,
        socket: &Socket,
        at: Time,
        death: &Death,
        limit_ms: Option<u64>,
        others_heard_since: impl FnOnce(Time) -> bool,
    ) -> Option<OtherReason> {
        let destination = Destination::of(socket, self.home.netns);
        let without_data_ms = i64::from(death.without_data_ms());
        let is_first =
            |ms: i64| limit_ms.is_none_or(|limit| u64::try_from(ms).is_ok_and(|ms| ms < limit));
        let known = self.by_destination.get(&destination);
        let timer = known.and_then(|known| PeerCloses::of(&known.evidence));
        let timer = timer.filter(|it| it.is_over_after(without_data_ms) && is_first(it.after_ms));
        let ended_ms = self.ms(at);
        let quiet = self.quiet_before(socket, at, death)?;
        let dark = self
            .went_dark_in(destination, quiet)
            .filter(|it| is_first(it.ended_ms - quiet.began_ms));
        match (timer, dark) {
            (Some(timer), dark) if timer.is_habit() || dark.is_some() => {
                let after_ms = u32::try_from(timer.after_ms).ok()?;
                Some(OtherReason::PeerCloses { after_ms })
            }
            (_, Some(dark)) => {
                let ms = u32::try_from(ended_ms - dark.ended_ms).ok()?;
                (!others_heard_since(at.ms_before(ms))).then_some(OtherReason::WentDark { ms })
            }
            _ => None,
        }
    }

    /// When a busy connection to the same host got no answer any more, in a quiet time: by the last packet and the first that
    /// was not answered.
    fn went_dark_in(&self, destination: Destination, quiet: Span) -> Option<Span> {
        let is_of_host =
            |it: &Destination| (it.addr, it.netns) == (destination.addr, destination.netns);
        let of_host = self.by_destination.iter().filter(|(it, _)| is_of_host(it));
        let outages = of_host.flat_map(|(_, known)| &known.evidence).filter(|it| it.is_outage());
        // What had been quiet for long itself may have been forgotten.
        let is_it = |it: &Span| {
            it.touches(quiet) && it.ended_ms <= quiet.ended_ms && 2 * it.ms() <= quiet.ms()
        };
        outages.map(|it| it.span).filter(is_it).max_by_key(|it| it.ended_ms)
    }
}
