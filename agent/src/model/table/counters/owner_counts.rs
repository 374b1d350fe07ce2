//! Counts by key and owner: counters only go up, so a name that was shown once stays, and what comes after the budget is
//! spent is summed up.

use crate::model::{
    observed::socket::{SocketId, Time},
    table::owner_label::{OwnerLabels, OwnerName},
};
use std::collections::BTreeMap;

/// Room for each: where names are longer, there are fewer rows.
const ROW_BYTES: usize = 200;

/// A row without a count for this time makes room for another.
const SILENT_MS: u64 = 3_600_000;

#[derive(Clone, Copy, Debug)]
struct Count {
    n: u64,
    last: Time,
    /// The connection that was counted last.
    id: SocketId,
}

/// Counts by key and owner; at most `max` pairs of them have a row of their own.
#[derive(Clone, Debug)]
pub struct OwnerCounts<K> {
    max: usize,
    other: OwnerName,
    rows: BTreeMap<(K, OwnerName), Count>,
    /// Bytes of all rows, about.
    n_bytes: usize,
    /// No row fell silent before.
    silent_since: Option<Time>,
}

impl<K: Ord + Copy> OwnerCounts<K> {
    pub(super) const fn new(max: usize, other: OwnerName) -> Self {
        Self { max, other, rows: BTreeMap::new(), n_bytes: 0, silent_since: None }
    }

    pub(super) fn add(&mut self, key: K, owner: OwnerName, now: Time, id: SocketId) {
        let place = (key, owner);
        if let Some(count) = self.rows.get_mut(&place) {
            *count = Count { n: count.n + 1, last: now, id };
            return;
        }
        let (_, owner) = &place;
        if !self.has_room(owner) {
            self.forget_silent(now);
        }
        let place = if self.has_room(owner) { place } else { (key, self.other.clone()) };
        if !self.rows.contains_key(&place) {
            self.n_bytes += place.1.row_bytes();
        }
        let count = self.rows.entry(place).or_insert(Count { n: 0, last: now, id });
        *count = Count { n: count.n + 1, last: now, id };
    }

    /// A counter only goes up, so a row stays. But when there is no room, those go that fell silent
    /// long ago: scrapes have read what they counted.
    fn forget_silent(&mut self, now: Time) {
        let Self { rows, n_bytes, silent_since, .. } = self;
        if silent_since.is_some_and(|since| now.ms_since(since) < SILENT_MS) {
            return;
        }
        rows.retain(|(_, owner), count| {
            let stays = now.ms_since(count.last) < SILENT_MS;
            if !stays {
                *n_bytes = n_bytes.saturating_sub(owner.row_bytes());
            }
            stays
        });
        *silent_since = rows.values().map(|count| count.last).min();
    }

    fn has_room(&self, owner: &OwnerName) -> bool {
        self.rows.len() < self.max && self.n_bytes + owner.row_bytes() <= self.max * ROW_BYTES
    }

    /// Names owners by these labels from now on. Rows that have one name then are one row: no count is lost.
    pub(super) fn relabel(&mut self, labels: OwnerLabels) {
        let before = std::mem::replace(&mut self.other, labels.other());
        self.n_bytes = 0;
        for ((key, owner), count) in std::mem::take(&mut self.rows) {
            let owner = if owner == before { self.other.clone() } else { labels.reduced(&owner) };
            let n_bytes = owner.row_bytes();
            let row = self.rows.entry((key, owner)).or_insert_with(|| {
                self.n_bytes += n_bytes;
                Count { n: 0, ..count }
            });
            let latest = if row.last > count.last { *row } else { count };
            *row = Count { n: row.n + count.n, ..latest };
        }
    }

    /// Every row, and the connection that was counted last.
    pub fn iter(&self) -> impl Iterator<Item = (K, &OwnerName, u64, SocketId)> {
        self.rows.iter().map(|((key, owner), count)| (*key, owner, count.n, count.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        observed::{
            owner_identity::{Identity, NamedOwner},
            socket::Comm,
        },
        table::owner_label::OwnerLabel,
    };
    use std::sync::Arc;

    fn owner(name: u8) -> OwnerName {
        let process = Comm::new([name; 16]);
        OwnerLabels::default().of(&NamedOwner { process, identity: None })
    }

    fn counts(max: usize) -> OwnerCounts<()> {
        OwnerCounts::new(max, OwnerLabels::default().other())
    }

    fn total(counts: &OwnerCounts<()>) -> u64 {
        counts.iter().map(|((), _, n, _)| n).sum()
    }

    #[test]
    fn past_the_budget_owners_are_summed_up_and_no_count_is_lost() {
        let mut counts = counts(2);
        for n in b'a'..=b'j' {
            counts.add((), owner(n), Time(0), SocketId(1));
            counts.add((), owner(b'a'), Time(0), SocketId(1));
        }
        assert_eq!((counts.rows.len(), total(&counts)), (3, 20));
        let n_other =
            counts.iter().find(|((), it, ..)| **it == counts.other).map(|((), _, n, _)| n);
        assert_eq!(n_other, Some(8));
    }

    #[test]
    fn rows_that_fell_silent_make_room_but_none_goes_before() {
        let hour = |n: u64| Time(n * 3_600_000_000_000);
        let mut counts = counts(2);
        counts.add((), owner(b'a'), hour(0), SocketId(1));
        counts.add((), owner(b'b'), hour(1), SocketId(1));
        counts.add((), owner(b'c'), hour(1), SocketId(1));
        let names = |counts: &OwnerCounts<()>| -> Vec<OwnerName> {
            counts.iter().map(|((), owner, ..)| owner.clone()).collect()
        };
        assert_eq!(names(&counts), [owner(b'b'), owner(b'c')], "a was silent for an hour");
        counts.add((), owner(b'd'), Time(hour(1).0 + 1), SocketId(1));
        assert_eq!(names(&counts), [owner(b'b'), owner(b'c'), counts.other.clone()]);
    }

    #[test]
    fn long_names_get_fewer_rows() {
        let mut counts = counts(100);
        for n in 0..100 {
            let workload = Some(format!("{n:0>60}").into());
            let namespace = workload.clone();
            let identity = Identity { namespace, workload, ..Identity::default() };
            let whose = NamedOwner { identity: Some(Arc::new(identity)), ..NamedOwner::default() };
            counts.add((), OwnerLabels::default().of(&whose), Time(0), SocketId(1));
        }
        assert!(counts.rows.len() < 100, "{}", counts.rows.len());
        assert_eq!(total(&counts), 100);
    }

    #[test]
    fn other_labels_merge_rows_and_lose_no_count() {
        let mut counts = counts(2);
        for n in b'a'..=b'j' {
            counts.add((), owner(n), Time(u64::from(n)), SocketId(u64::from(n)));
        }
        counts.relabel(OwnerLabels::new(&[OwnerLabel::Workload]));
        assert_eq!(
            (counts.rows.len(), total(&counts)),
            (2, 10),
            "nobody in no unit, and the others"
        );
        let nobody = counts.iter().find(|((), name, ..)| name.values() == [""; 4]).unwrap();
        assert_eq!((nobody.2, nobody.3), (2, SocketId(u64::from(b'b'))), "the latest connection");
        counts.relabel(OwnerLabels::default());
        assert_eq!(total(&counts), 10);
        counts.add((), owner(b'a'), Time(0), SocketId(1));
        assert!(counts.iter().any(|((), name, n, _)| *name == counts.other && n == 9), "no room");
    }
}
