//! When a peer was heard, as far as its connections show it: what separates one silence from another.

use super::{ANSWER_MS, OtherConnection, PeerService};
use crate::model::observed::socket::{Direction, Time};

/// What fell silent within this time may have fallen silent together, although others were heard later.
const TOGETHER_MS: u64 = 60_000;

/// When the peer of one that dies was heard: a silence that began earlier was over by then, or is one connection's own. What
/// falls silent at the same moment as others are answered may be one of two servers behind an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeardTimes {
    by_service: HeardTime,
    by_host: HeardTime,
}

#[derive(Clone, Copy, Debug, Default)]
struct HeardTime {
    /// The last time before the moment at which the one that dies was not answered, as far as it is known.
    before: Option<Time>,
    last: Option<Time>,
}

impl HeardTimes {
    pub(super) fn of<'a>(
        others: impl Iterator<Item = &'a OtherConnection>,
        service: PeerService,
        asked: Time,
    ) -> Self {
        let mut times = Self { by_service: HeardTime::default(), by_host: HeardTime::default() };
        // Clients at one address may be many machines.
        for other in others.filter(|other| other.service.direction == Direction::Outbound) {
            times.by_host.add(other, asked);
            if other.service == service {
                times.by_service.add(other, asked);
            }
        }
        times
    }

    /// Whether the peer was heard after a silence began, and before another one did. Behind one address each port may lead to
    /// another machine. Of those that are heard later it is not known what they met in between: that belongs together which
    /// fell silent within a minute.
    pub(super) fn is_between(self, since: Time, asked: Time, is_of_service: bool) -> bool {
        let HeardTime { before, last } = if is_of_service { self.by_service } else { self.by_host };
        let is_later = |heard: Option<Time>| heard.is_some_and(|it| it > since.ms_after(ANSWER_MS));
        since.ms_after(ANSWER_MS) < asked
            && (is_later(before) || is_later(last) && since.ms_after(TOGETHER_MS) < asked)
    }
}

impl HeardTime {
    fn add(&mut self, other: &OtherConnection, asked: Time) {
        self.last = self.last.max(other.heard);
        // A peer that was never silent for longer was heard within that time.
        let busy = other.watched.and_then(|watched| {
            let heard = asked.ms_before(watched.longest_ms);
            let is_later = other.heard.is_some_and(|it| it > asked);
            (is_later && watched.since <= heard).then_some(heard)
        });
        let known = [other.heard, other.opened].into_iter().flatten().filter(|it| *it <= asked);
        self.before = known.chain(busy).chain(self.before).max();
    }
}
