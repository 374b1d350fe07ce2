//! Who spoke last on connections that nothing is wrong with: an application may hang while its connection is fine.

use super::{
    WhyText,
    phrase::{connections, of_processes, time, up_to},
};
use crate::{
    command::why::answer::Judged,
    view::{connection::Connection, connection_group::Peer, life::Life},
};
use std::collections::BTreeSet;

/// Of these, those whose last data the peer has acknowledged and not answered: in words. `is_told`: which of them count.
pub(super) fn unreplied_in_words(
    cases: &[Judged],
    is_told: impl Fn(&Connection) -> bool,
) -> Option<String> {
    let live = cases.iter().flat_map(|case| case.case.live().map(move |life| (case, life)));
    let unreplied: Vec<(&Judged, &Life, f64)> = live
        .filter(|(_, life)| is_told(&life.connection))
        .filter_map(|(case, life)| Some((case, life, life.connection.unreplied_seconds()?)))
        .collect();
    let longest = unreplied.iter().map(|(_, _, since)| *since).reduce(f64::max)?;
    let (peers, is_one) = peers(&unreplied);
    let have = if is_one { "has" } else { "have" };
    let whose = whose(&unreplied);
    let n = unreplied.len();
    let program = if is_one { "its program does" } else { "their programs do" };
    let (it, owes) = if is_one { ("it", "owes") } else { ("they", "owe") };
    Some(format!(
        "{peers} {have} acknowledged the last data of {}{whose}, sent {}{} ago, and none has come since: where {it} {owes} an \
         answer, {program} not give it, or it is lost on the way",
        connections(n),
        up_to(n),
        time(longest)
    ))
}

/// The peers of these, and whether it is one.
fn peers(unreplied: &[(&Judged, &Life, f64)]) -> (String, bool) {
    let peers: BTreeSet<Peer> = unreplied.iter().map(|(case, ..)| case.case.key.peer).collect();
    match (peers.len(), peers.first()) {
        (1, Some(Peer::Server(addr))) => (addr.to_string(), true),
        (n, _) => (format!("{n} peers"), false),
    }
}

/// The programs of these.
fn whose(unreplied: &[(&Judged, &Life, f64)]) -> String {
    let owners = unreplied.iter().filter_map(|(_, life, _)| life.owner());
    of_processes(&owners.map(|owner| (owner.process.clone(), owner.pid)).collect())
}

/// Of one that this host closed: how long the peer had not answered its last data, seconds.
fn unreplied_at_end(life: &Life) -> Option<f64> {
    life.end.as_ref()?.unreplied_seconds
}

impl WhyText<'_> {
    /// Of those that this host closed while the peer had acknowledged their last data and not answered it: in words. `is_unusual`:
    /// only those that had never been quiet for as long before.
    pub(super) fn given_up_in_words(&self, is_unusual: bool) -> Option<String> {
        let dead =
            self.cases.iter().flat_map(|case| case.case.lives.iter().map(move |it| (case, it)));
        let given_up: Vec<(&Judged, &Life, f64)> = dead
            .filter_map(|(case, life)| Some((case, life, unreplied_at_end(life)?)))
            .filter(|(_, life, since)| {
                !is_unusual || *since > life.connection.longest_quiet_seconds
            })
            .collect();
        let longest = given_up.iter().map(|(.., since)| *since).reduce(f64::max)?;
        let ends = given_up.iter().filter_map(|(_, life, _)| Some(life.end.as_ref()?.at.as_str()));
        let (peers, is_one) = peers(&given_up);
        let whose = whose(&given_up);
        let n = given_up.len();
        let program = if is_one { "its program did" } else { "their programs did" };
        let (it, them) = (if is_one { "it" } else { "they" }, if n == 1 { "it" } else { "them" });
        let last = if n == 1 { "" } else { "last " };
        Some(format!(
            "{peers} had acknowledged the last data of {}{whose}, and none came for {}{} after that, until this host closed {them}, \
             {last}{}: where {it} owed an answer, {program} not give it in that time, or it was lost on the way",
            connections(n),
            up_to(n),
            time(longest),
            self.when(ends.max()?)
        ))
    }
}

/// That what is quiet without an answer has never been quiet for as long before.
pub(super) fn is_unusual(connection: &Connection) -> bool {
    let since = connection.unreplied_seconds().unwrap_or_default();
    since > connection.longest_quiet_seconds
}

/// The processes of these that are stopped now, in words.
pub(super) fn stopped_in_words(cases: &[Judged]) -> Option<String> {
    let stopped: BTreeSet<(&str, u32)> = cases
        .iter()
        .flat_map(|case| {
            let name = case.process.as_deref().unwrap_or("?");
            case.stopped.iter().map(move |pid| (name, *pid))
        })
        .collect();
    let names: Vec<String> = stopped.iter().map(|(name, pid)| format!("{name}[{pid}]")).collect();
    let how = "by a signal, a debugger or a frozen cgroup";
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("{one} is stopped ({how}): it neither reads nor answers")),
        [first, second] => {
            Some(format!("{first} and {second} are stopped ({how}): they neither read nor answer"))
        }
        [first, ..] => Some(format!(
            "{first} and {} more processes are stopped ({how}): they neither read nor answer",
            names.len() - 1
        )),
    }
}

/// Whose programs do not read what their peers have sent, in words: the worst.
pub(super) fn unread_in_words(cases: &[Judged]) -> Option<String> {
    let reads = cases.iter().filter(|case| case.stopped.is_empty());
    let unread = reads.flat_map(|case| {
        case.case.live().filter_map(|life| Some((life, life.connection.unread_for_seconds()?)))
    });
    let unread: Vec<(&Life, f64)> = unread.collect();
    let (worst, longest) = unread.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let owner = worst.owner()?;
    let of = match unread.len() {
        1 => String::new(),
        n => format!(", and so on {n} connections"),
    };
    Some(format!(
        "{}[{}] has not read what came from {} {} ago{of}",
        owner.process,
        owner.pid,
        worst.connection.remote,
        time(*longest)
    ))
}

impl Judged {
    /// What these have said last, in words; each begins with how many.
    pub(super) fn last_words(&self) -> Vec<String> {
        let unreplied = self.most(Connection::unreplied_seconds).map(|(n, longest)| {
            format!(
                "{n} whose last data, sent {}{} ago, is acknowledged and not answered by data",
                up_to(n),
                time(longest)
            )
        });
        let half_used = self.most(half_used_seconds).map(|(n, longest)| {
            format!(
                "{n} that the peer has half closed, {}{} ago, while the program goes on sending and is acknowledged: no leak",
                up_to(n),
                time(longest)
            )
        });
        let unread = self.most(Connection::unread_for_seconds).map(|(n, longest)| {
            format!(
                "{n} whose program here has not read what came {}{} ago",
                up_to(n),
                time(longest)
            )
        });
        unreplied.into_iter().chain(half_used).chain(unread).collect()
    }

    /// How many this host closed while the peer had not answered their last data.
    pub(super) fn given_up_in_short(&self) -> Option<String> {
        let (n, longest) = longest(self.case.lives.iter().filter_map(unreplied_at_end))?;
        Some(format!(
            "{n} closed by this host {}{} after the last data, which was acknowledged and not answered by data",
            up_to(n),
            time(longest)
        ))
    }

    /// How many of the living have it, and the longest of these times.
    fn most(&self, of: fn(&Connection) -> Option<f64>) -> Option<(usize, f64)> {
        longest(self.case.live().filter_map(|life| of(&life.connection)))
    }
}

/// How many there are, and the longest.
fn longest(times: impl Iterator<Item = f64>) -> Option<(usize, f64)> {
    times.fold(None, |before, time| {
        let (n, longest) = before.unwrap_or((0, time));
        Some((n + 1, time.max(longest)))
    })
}

/// How long ago the peer closed its half of one that is fine.
fn half_used_seconds(connection: &Connection) -> Option<f64> {
    connection.peer_closed_seconds.filter(|_| connection.is_half_used())
}
