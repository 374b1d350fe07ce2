//! A page of connections out of many: filtered, found by words, in order. What somebody sees at once
//! is all that is made into rows, however many there are.

use super::{
    filter::Filter,
    order::{OrderKey, Sort, Standing},
    row::Row,
};
use crate::model::{
    judgement::{
        condition::Condition,
        verdict::{Surroundings, Verdict},
    },
    observed::{
        owner_identity::Identity,
        socket::{Owner, Socket, SocketId, Time},
    },
};
use serde::{Deserialize, Serialize};
use std::collections::BinaryHeap;

/// Rows within reach. Nobody scrolls further: in longer lists people search.
pub(crate) const MAX_REACH: u32 = 10_000;

/// What somebody wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PageRequest {
    /// Only connections that this admits.
    pub filter: Filter,
    /// Those that have all these words in what is shown of them, whatever the case.
    pub find: String,
    /// The order of the rows.
    pub sort: Sort,
    /// Or in the opposite one.
    pub reverse: bool,
    /// From this one on.
    pub skip: u32,
    /// The number of rows of a page.
    pub limit: u32,
    /// And this one, wherever it is.
    pub id: Option<String>,
}

/// A page, and what it is a page of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Page {
    /// Connections that the filter admits.
    pub counts: PageCounts,
    /// Those of them that have the words.
    pub found: u64,
    /// The rows, in order.
    pub rows: Vec<Row>,
    /// The one that was asked for by its id, if it is there.
    pub chosen: Option<Row>,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageCounts {
    /// Keepalive is off.
    pub off: u64,
    /// The gap may be longer than the idle limit.
    pub late: u64,
    /// Something else keeps it so far.
    pub kept: u64,
    /// The gap is shorter than the idle limit.
    pub protected: u64,
    /// The peer is on this host.
    pub local: u64,
    /// Data goes unanswered.
    pub stuck: u64,
    /// Two or more probes in a row went unanswered.
    pub peer_silent: u64,
    /// Nothing keeps it, and it was quiet for longer than the idle limit.
    pub overdue: u64,
}

impl PageCounts {
    /// Connections in all: each has one verdict.
    pub(crate) const fn total(&self) -> u64 {
        self.off + self.late + self.kept + self.protected + self.local
    }

    /// Connections with this verdict.
    pub(crate) const fn of(&self, verdict: Verdict) -> u64 {
        match verdict {
            Verdict::Off => self.off,
            Verdict::Late => self.late,
            Verdict::Kept => self.kept,
            Verdict::Protected => self.protected,
            Verdict::Local => self.local,
        }
    }

    /// Counts a row in.
    pub(crate) fn count(&mut self, row: &Row) {
        self.add(row.verdict(), row.connection.condition());
    }

    const fn add(&mut self, verdict: Verdict, condition: Condition) {
        match verdict {
            Verdict::Off => self.off += 1,
            Verdict::Late => self.late += 1,
            Verdict::Kept => self.kept += 1,
            Verdict::Protected => self.protected += 1,
            Verdict::Local => self.local += 1,
        }
        match condition {
            Condition::Stuck => self.stuck += 1,
            Condition::PeerSilent => self.peer_silent += 1,
            Condition::Overdue => self.overdue += 1,
            Condition::Blocked
            | Condition::Unaccepted
            | Condition::PeerClosed
            | Condition::Fine => {}
        }
    }
}

/// Picks a page while it is shown all connections that the filter admits.
#[derive(Debug)]
pub(crate) struct PageBuilder<'a> {
    pick: &'a PageRequest,
    words: Vec<String>,
    /// Skipped ones too: what stands before the page is known at the end only.
    first: BinaryHeap<PageCandidate>,
    id: Option<SocketId>,
    page: Page,
    text: String,
}

impl<'a> PageBuilder<'a> {
    /// One that has seen none.
    pub(crate) fn new(pick: &'a PageRequest) -> Self {
        Self {
            pick,
            words: pick.find.split_whitespace().map(str::to_ascii_lowercase).collect(),
            first: BinaryHeap::new(),
            id: pick.id.as_deref().and_then(|id| id.parse().ok()),
            page: Page::default(),
            text: String::new(),
        }
    }

    /// Takes a connection in.
    pub(crate) fn offer(
        &mut self,
        socket: &Socket,
        owners: &[Owner],
        identity: Option<&Identity>,
        around: &Surroundings,
        now: Time,
    ) {
        let socket = &socket.aged(now);
        let standing = Standing::of(socket, owners.first(), around);
        let (verdict, condition) = (around.verdict(socket), standing.condition());
        self.page.counts.add(verdict, condition);
        let row = || Row::new(socket, owners, identity, around, now);
        if self.id == Some(socket.id) {
            self.page.chosen = Some(row());
        }
        if !self.words.is_empty()
            && !self.has_words(socket, owners, identity, around, (verdict, condition))
        {
            return;
        }
        self.page.found += 1;
        let key = standing.key(self.pick.sort);
        let key = if self.pick.reverse { key.reversed() } else { key };
        let n_wanted = self.pick.skip.saturating_add(self.pick.limit).min(MAX_REACH);
        let is_full = self.first.len() >= usize::try_from(n_wanted).unwrap_or(usize::MAX);
        if is_full {
            if self.first.peek().is_none_or(|last| last.key < key) {
                return;
            }
            self.first.pop();
        }
        self.first.push(PageCandidate { key, row: row() });
    }

    /// Whether every word stands somewhere in what is shown of the connection.
    fn has_words(
        &mut self,
        socket: &Socket,
        owners: &[Owner],
        identity: Option<&Identity>,
        around: &Surroundings,
        (verdict, condition): (Verdict, Condition),
    ) -> bool {
        let Self { text, words, .. } = self;
        text.clear();
        text.push_str(&format!(
            "{} {} {} {} {} {}",
            socket.id,
            verdict.as_str(),
            socket.direction.as_str(),
            socket.state.as_str(),
            socket.local.socket_addr(),
            socket.remote.socket_addr(),
        ));
        for owner in owners {
            text.push_str(&format!(" {}[{}]", owner.comm.escaped(), owner.pid));
        }
        let known =
            identity.map(|it| [&it.unit, &it.container, &it.namespace, &it.workload, &it.pod]);
        let names = known.into_iter().flatten().flatten().map(AsRef::as_ref);
        let path = around.limits.configured(socket.remote).path.as_deref();
        for name in names.chain(path).chain([condition.as_str()]) {
            text.push(' ');
            text.push_str(name);
        }
        text.make_ascii_lowercase();
        words.iter().all(|word| text.contains(word.as_str()))
    }

    /// The page, of what was offered.
    pub(crate) fn page(self) -> Page {
        let Self { pick, first, mut page, .. } = self;
        let skip = usize::try_from(pick.skip).unwrap_or(usize::MAX);
        let in_order = first.into_sorted_vec().into_iter();
        page.rows = in_order.skip(skip).map(|candidate| candidate.row).collect();
        page
    }
}

#[derive(Debug)]
struct PageCandidate {
    key: OrderKey,
    row: Row,
}

impl PartialEq for PageCandidate {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for PageCandidate {}

impl PartialOrd for PageCandidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PageCandidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::idle_limit::{IdleLimit, Limits},
        observed::socket::{Comm, tests_support::socket},
    };

    fn page(sockets: &[Socket], pick: &PageRequest) -> Page {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings::new(limits, 250);
        let mut picker = PageBuilder::new(pick);
        let unit = Identity { unit: Some("Shop.service".into()), ..Identity::default() };
        for socket in sockets {
            let identity = (socket.id.0 % 2 == 0).then_some(&unit);
            picker.offer(socket, socket.owner.as_slice(), identity, &around, socket.at);
        }
        picker.page()
    }

    /// Number n has been quiet for n seconds.
    fn quiet(n: u64) -> Socket {
        let owner = Owner { pid: 812, fd: None, comm: Comm::new(*b"mongod\0\0\0\0\0\0\0\0\0\0") };
        let quiet_ms = u32::try_from(n * 1000).unwrap();
        Socket { id: SocketId(n), quiet_ms, owner: Some(owner), ..socket() }
    }

    fn ids(page: &Page) -> Vec<u64> {
        page.rows.iter().map(|row| row.id().parse::<SocketId>().unwrap().0).collect()
    }

    #[test]
    fn a_page_is_a_part_of_the_order_and_knows_how_many_there_are() {
        let sockets: Vec<Socket> = (1..=400).map(quiet).collect();
        let pick = PageRequest { skip: 2, limit: 3, ..PageRequest::default() };
        let top = page(&sockets, &pick);
        assert_eq!(ids(&top), [398, 397, 396]);
        assert_eq!((top.found, top.counts.off, top.counts.overdue), (400, 400, 50));
        assert_eq!(ids(&page(&sockets, &PageRequest { reverse: true, ..pick })), [3, 4, 5]);
    }

    #[test]
    fn past_the_end_there_is_nothing() {
        let sockets = [quiet(1), quiet(2)];
        assert_eq!(
            ids(&page(&sockets, &PageRequest { skip: 1, limit: 10, ..PageRequest::default() })),
            [1]
        );
        assert!(
            page(&sockets, &PageRequest { skip: 9, limit: 10, ..PageRequest::default() })
                .rows
                .is_empty()
        );
        let nobody = page(&[], &PageRequest { limit: 10, ..PageRequest::default() });
        assert_eq!((nobody.found, nobody.counts.total()), (0, 0));
    }

    #[test]
    fn words_are_found_in_what_is_shown_whatever_the_case() {
        let sockets: Vec<Socket> = (1..=10).map(quiet).collect();
        let found = |find: &str| {
            let pick = PageRequest { find: find.to_owned(), limit: 100, ..PageRequest::default() };
            page(&sockets, &pick).found
        };
        for (words, n) in [
            ("", 10),
            ("MONGO 812", 10),
            ("shop.SERVICE", 5),
            ("172.16.0.15:2717", 10),
            ("sk:a", 1),
            ("off outbound", 10),
            ("peer_silent", 0),
            ("mongod nginx", 0),
        ] {
            assert_eq!(found(words), n, "{words}");
        }
    }

    #[test]
    fn the_chosen_one_comes_with_every_page() {
        let sockets: Vec<Socket> = (1..=10).map(quiet).collect();
        let pick = |id: &str| {
            let find = "no such".to_owned();
            PageRequest { id: Some(id.to_owned()), find, limit: 1, ..PageRequest::default() }
        };
        let shown = page(&sockets, &pick("sk:3"));
        assert_eq!(shown.chosen.as_ref().map(Row::id), Some("sk:3"));
        assert_eq!(page(&sockets, &pick("sk:ff")).chosen, None);
    }
}
