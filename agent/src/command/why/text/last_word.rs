//! Who spoke last on connections that nothing is wrong with: an application may hang while its connection is fine.

use super::phrase::{connections, time, up_to};
use crate::{command::why::answer::Judged, view::connection::Connection};

/// Of these, those whose last data the peer has acknowledged and not answered: in words.
pub(super) fn unreplied_in_words(cases: &[Judged]) -> Option<String> {
    let (n, longest) = most(cases, Connection::unreplied_seconds)?;
    Some(format!(
        "The peer has acknowledged the last data of {}, sent {}{} ago, and has sent none since: where it owes an answer, its \
         program does not give it",
        connections(n),
        up_to(n),
        time(longest)
    ))
}

impl Judged {
    /// What these have said last, in words; each begins with how many.
    pub(super) fn last_words(&self) -> Vec<String> {
        let case = std::slice::from_ref(self);
        let unreplied = most(case, Connection::unreplied_seconds).map(|(n, longest)| {
            format!(
                "{n} whose last data, sent {}{} ago, is acknowledged and not answered by data",
                up_to(n),
                time(longest)
            )
        });
        let half_used = most(case, half_used_seconds).map(|(n, longest)| {
            format!(
                "{n} that the peer has half closed, {}{} ago, while the program goes on sending and is acknowledged: no leak",
                up_to(n),
                time(longest)
            )
        });
        unreplied.into_iter().chain(half_used).collect()
    }
}

/// How long ago the peer closed its half of one that is fine.
fn half_used_seconds(connection: &Connection) -> Option<f64> {
    connection.peer_closed_seconds.filter(|_| connection.is_half_used())
}

/// How many of the living have it, and the longest of these times.
fn most(cases: &[Judged], of: fn(&Connection) -> Option<f64>) -> Option<(usize, f64)> {
    let live = cases.iter().flat_map(|case| case.case.live());
    let times: Vec<f64> = live.filter_map(|life| of(&life.connection)).collect();
    let longest = times.iter().copied().reduce(f64::max)?;
    Some((times.len(), longest))
}
