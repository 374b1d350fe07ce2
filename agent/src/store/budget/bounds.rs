//! What the history lets go: what is too old, and when it is too large what is worth least, the oldest first, of those
//! who have the most of it.

use crate::model::judgement::worth::Worth;
use crate::store::{
    health::Health,
    not_kept::{Loss, LossSums},
};
use rusqlite::{Connection, Params, params_from_iter, types::Value};

/// RowsOfWorth that are deleted in one go.
const DELETE_ROWS: u64 = 4096;
/// The tables with rows of their own, and what these are worth. Calls of a death go with it.
const TABLES: [(&str, &[Worth], &str); 6] = [
    (DEATHS, &[Worth::Silence, Worth::Ordinary], "1"),
    ("calls", &[Worth::Setting], "death IS NULL"),
    ("verdict_changes", &[Worth::Setting], "1"),
    ("survivals", &[Worth::Setting], "1"),
    ("late_answers", &[Worth::Setting], "1"),
    ("orphans", &[Worth::Setting], "1"),
];
const DEATHS: &str = "deaths";
/// What is worth more takes the place of the rest, but for this part of all rows.
const FLOOR: u64 = 16;
/// Rows that are counted to find the parties with the most.
const SAMPLE: u64 = 20_000;
/// Parties that are told apart; if more of them have about as much, the oldest rows of all go.
const PARTIES: usize = 64;

/// Deletes what is from before this time.
pub(in crate::store) fn delete_old(from: &mut Connection, oldest_ns: i64) -> rusqlite::Result<()> {
    for (table, _, own) in TABLES {
        let sql = format!(
            "SELECT id, at_ns FROM {table} WHERE at_ns < ? AND {own} ORDER BY at_ns LIMIT {DELETE_ROWS}"
        );
        loop {
            let all = from.transaction()?;
            let n_deleted = delete(&all, table, &sql, [oldest_ns], |_| {})?;
            all.commit()?;
            if n_deleted == 0 {
                break;
            }
        }
    }
    from.execute("DELETE FROM not_kept WHERE minute_ns < ?", [oldest_ns])?;
    Ok(())
}

/// Deletes the rows of a table whose id and time are selected, a death with its calls. Their number. One by one: for a
/// statement that deletes many SQLite may have to remember all pages that it changes.
fn delete(
    from: &Connection,
    table: &str,
    selected: &str,
    values: impl Params,
    mut each: impl FnMut(i64),
) -> rusqlite::Result<u64> {
    let mut chosen = from.prepare_cached(selected)?;
    let chosen = chosen.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let chosen: Vec<(i64, i64)> = chosen.collect::<Result<_, _>>()?;
    let mut row = from.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?"))?;
    let mut calls = from.prepare_cached("DELETE FROM calls WHERE death = ?")?;
    for &(id, at_ns) in &chosen {
        row.execute([id])?;
        if table == DEATHS {
            calls.execute([id])?;
        }
        each(at_ns);
    }
    Ok(u64::try_from(chosen.len()).unwrap_or(u64::MAX))
}

/// Deletes owners of whom nothing is left.
pub(in crate::store) fn delete_owners(from: &Connection) -> rusqlite::Result<()> {
    let is_absent =
        |table| format!("id NOT IN (SELECT owner FROM {table} WHERE owner IS NOT NULL)");
    let absent = TABLES.map(|(table, ..)| is_absent(table)).join(" AND ");
    from.execute(&format!("DELETE FROM owners WHERE {absent}"), []).map(drop)
}

/// Bytes in use, without free pages.
pub(in crate::store) fn used_bytes(of: &Connection) -> rusqlite::Result<u64> {
    let number =
        |name| -> rusqlite::Result<u64> { of.pragma_query_value(None, name, |row| row.get(0)) };
    let n_pages = number("page_count")?.saturating_sub(number("freelist_count")?);
    Ok(n_pages.saturating_mul(number("page_size")?))
}

/// Deletes what is worth least until the history is well below `most` bytes, if it is above. What it deleted is counted
/// in `health` and in the file. Whether there was something to delete.
pub(in crate::store) fn shrink(
    database: &mut Connection,
    most: u64,
    health: &Health,
) -> rusqlite::Result<bool> {
    let mut has_deleted = false;
    loop {
        let used = used_bytes(database)?;
        if used <= most {
            return Ok(has_deleted);
        }
        let all = database.transaction()?;
        let numbers = RowsOfWorth::count(&all)?;
        let n_rows = numbers.iter().map(|rows| rows.n).sum::<u64>();
        let too_much = used - (most - most / 16);
        // Of a row that is not average more are deleted in the next round.
        let mut due = (n_rows.saturating_mul(too_much) / used).max(1);
        let mut sums = LossSums::default();
        for worth in Worth::LEAST_FIRST {
            let of_worth: Vec<&RowsOfWorth> =
                numbers.iter().filter(|rows| rows.worth == worth).collect();
            let n_of_worth = of_worth.iter().map(|rows| rows.n).sum::<u64>();
            let floor = if worth == Worth::Silence { 0 } else { n_rows / FLOOR };
            let n = due.min(n_of_worth.saturating_sub(floor));
            for rows in of_worth {
                // Its part of what there is of this worth, rounded up.
                let part = (n * rows.n).div_ceil(n_of_worth.max(1));
                due = due.saturating_sub(rows.thin(&all, part, &mut sums)?);
            }
        }
        if sums.is_empty() {
            return Ok(has_deleted);
        }
        has_deleted = true;
        sums.write(&all)?;
        all.commit()?;
        sums.each(|worth, n| health.count(Loss::Size, worth, n));
    }
}

/// RowsOfWorth of one table that are worth the same.
#[derive(Debug)]
struct RowsOfWorth {
    table: &'static str,
    worth: Worth,
    /// Which of the table's.
    condition: String,
    n: u64,
}

/// Whom rows count for, as an expression of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Owner,
    Peer,
}

impl By {
    const fn other(self) -> Self {
        match self {
            Self::Owner => Self::Peer,
            Self::Peer => Self::Owner,
        }
    }

    /// As `Party` tells them apart (model/judgement/worth.rs): whom a row counts for.
    const fn expression(self) -> &'static str {
        match self {
            Self::Owner => "coalesce((SELECT party FROM owners WHERE owners.id = owner), '')",
            Self::Peer => {
                "iif(substr(remote_key, 1, 12) = x'00000000000000000000FFFF', remote_key, \
                 substr(remote_key, 1, 8))"
            }
        }
    }
}

/// A part of some rows: of one party, or of one at another.
#[derive(Clone, Debug, Default)]
struct Part {
    condition: String,
    values: Vec<Value>,
    /// How many rows it has, about.
    n: u64,
}

impl Part {
    /// Of this part what counts for `party`, in words for which there is an index.
    fn and(&self, by: By, party: &Value, n: u64) -> Self {
        let (condition, new) = match (by, party) {
            (By::Owner, party) => (
                "(owner IN (SELECT id FROM owners WHERE party = ?) OR (owner IS NULL AND ? = ''))",
                [party.clone(), party.clone()],
            ),
            (By::Peer, Value::Blob(network)) => {
                let mut last = network.clone();
                last.resize(16, u8::MAX);
                ("remote_key BETWEEN ? AND ?", [party.clone(), Value::Blob(last)])
            }
            (By::Peer, party) => ("remote_key BETWEEN ? AND ?", [party.clone(), party.clone()]),
        };
        let values = self.values.iter().cloned().chain(new).collect();
        Self { condition: format!("{} AND {condition}", self.condition), values, n }
    }
}

impl RowsOfWorth {
    fn count(of: &Connection) -> rusqlite::Result<Vec<Self>> {
        let mut all = Vec::new();
        for (table, worths, own) in TABLES {
            for &worth in worths {
                let condition = match worths {
                    [_] => own.to_owned(),
                    _ => format!("worth = {}", worth as u8),
                };
                let sql = format!("SELECT count(*) FROM {table} WHERE {condition}");
                let n = of.query_row(&sql, [], |row| row.get(0))?;
                all.push(Self { table, worth, condition, n });
            }
        }
        Ok(all)
    }

    /// Deletes about `n` rows: of the party that has the most, of that with whom it has the most, the oldest. How many
    /// it were.
    fn thin(&self, from: &Connection, n: u64, sums: &mut LossSums) -> rusqlite::Result<u64> {
        if n == 0 {
            return Ok(0);
        }
        let all = Part { n: self.n, ..Part::default() };
        let by_owner = self.numbers(from, By::Owner, &all)?;
        let by_peer = self.numbers(from, By::Peer, &all)?;
        let most = |numbers: &[(Value, u64)]| numbers.first().map_or(0, |&(_, n)| n);
        // What has more of it: one owner with many peers, or one peer with many owners.
        let (by, numbers) = if most(&by_owner) >= most(&by_peer) {
            (By::Owner, by_owner)
        } else {
            (By::Peer, by_peer)
        };
        let mut n_deleted = 0;
        for (part, n) in Self::shares(by, &numbers, &all, n) {
            let numbers = self.numbers(from, by.other(), &part)?;
            for (part, n) in Self::shares(by.other(), &numbers, &part, n) {
                n_deleted += self.delete_oldest(from, &part, n, sums)?;
            }
        }
        Ok(n_deleted)
    }

    /// Those with the most rows of a part, about: of a large one a sample is counted, so that this takes little memory.
    fn numbers(&self, of: &Connection, by: By, part: &Part) -> rusqlite::Result<Vec<(Value, u64)>> {
        let each = part.n / SAMPLE + 1;
        let sql = format!(
            "SELECT {}, count(*) FROM {} WHERE id % {each} = 0 AND {}{} GROUP BY 1 ORDER BY 2 DESC LIMIT {}",
            by.expression(),
            self.table,
            self.condition,
            part.condition,
            PARTIES + 1
        );
        let mut numbers = of.prepare(&sql)?;
        let numbers = numbers.query_map(params_from_iter(&part.values), |row| {
            Ok((row.get(0)?, row.get::<_, u64>(1)?.saturating_mul(each)))
        })?;
        numbers.collect()
    }

    /// How much of which part goes, so that `n` rows go.
    fn shares(by: By, numbers: &[(Value, u64)], of: &Part, n: u64) -> Vec<(Part, u64)> {
        let counts: Vec<u64> = numbers.iter().map(|&(_, n)| n).collect();
        let Some(shares) = level(&counts, n) else {
            return vec![(of.clone(), n)];
        };
        let parts = numbers.iter().map(|&(ref party, n)| of.and(by, party, n));
        parts.zip(shares).collect()
    }

    fn delete_oldest(
        &self,
        from: &Connection,
        part: &Part,
        n: u64,
        sums: &mut LossSums,
    ) -> rusqlite::Result<u64> {
        let sql = format!(
            "SELECT id, at_ns FROM {} WHERE {}{} ORDER BY at_ns LIMIT {n}",
            self.table, self.condition, part.condition
        );
        let values = params_from_iter(&part.values);
        delete(from, self.table, &sql, values, |at_ns| sums.add(at_ns, self.worth, Loss::Size, 1))
    }
}

/// How many each has to give, the greatest first, so that those who give have the same left and `n` go. None if more of
/// them would have to give than are told apart.
fn level(numbers: &[u64], n: u64) -> Option<Vec<u64>> {
    let mut sum = 0;
    for (place, number) in numbers.iter().enumerate() {
        sum += number;
        let of = u64::try_from(place + 1).unwrap_or(u64::MAX);
        let next = match numbers.get(place + 1) {
            Some(&next) => next,
            // There may be more than are told apart.
            None if numbers.len() > PARTIES => return None,
            None => 0,
        };
        if sum >= n && (sum - n) / of >= next || next == 0 {
            let left = sum.saturating_sub(n) / of;
            return Some(
                numbers.iter().take(place + 1).map(|number| number.saturating_sub(left)).collect(),
            );
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            judgement::death::{Cause, Death},
            observed::{
                ending::Ending,
                socket::{Comm, Owner, State},
            },
            table::happening::{Happened, Happening},
        },
        store::{
            DeathRow, HistoryReader, Options, Query,
            database::Database,
            tests::{StateFolder, add, idle_drop},
        },
    };
    use std::collections::BTreeMap;

    #[test]
    fn the_largest_give_until_they_have_what_the_next_has() {
        assert_eq!(level(&[100, 10, 10], 50), Some(vec![50]));
        assert_eq!(level(&[100, 80, 10], 60), Some(vec![40, 20]));
        assert_eq!(level(&[100, 80, 10], 190), Some(vec![100, 80, 10]));
        assert_eq!(level(&[3], 100), Some(vec![3]), "more than there is");
        assert_eq!(level(&[5; PARTIES + 1], 20), None, "all have as much");
        assert_eq!(level(&[], 20), None);
        let mut flood = vec![10_000];
        flood.extend([1; PARTIES]);
        assert_eq!(level(&flood, 500), Some(vec![500]));
    }

    /// A death at this second, of a process with this name and with this peer.
    fn death(id: u64, at_seconds: u64, is_reset: bool, name: &[u8], peer: u32) -> Happening {
        let mut happening = idle_drop(id, at_seconds);
        happening.calls.truncate(1);
        // No two at the same nanosecond.
        happening.calls.iter_mut().for_each(|(at, _)| at.0 += id);
        happening.identity = None;
        let socket = &mut happening.socket;
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name);
        socket.owner = socket.owner.map(|owner| Owner { comm: Comm::new(comm), ..owner });
        socket.remote.addr = std::net::Ipv4Addr::from_bits(peer).to_ipv6_mapped();
        if is_reset {
            socket.silent_ms = 0;
            let ending = Ending { errno: 104, ..Ending::default() };
            let reset = Death::of(socket, State::Established, ending, None).unwrap();
            assert_eq!(reset.cause, Cause::PeerReset);
            happening.what = Happened::Died(reset);
        }
        happening
    }

    /// A history of this size in which `flood` came after `before`: what is left of it, as numbers by name.
    fn left(
        bytes: u64,
        before: impl IntoIterator<Item = Happening>,
        flood: impl IntoIterator<Item = Happening>,
    ) -> (BTreeMap<String, u32>, u64, StateFolder) {
        let folder = StateFolder::new();
        let options = Options { bytes, days: 100_000, ..folder.options() };
        let mut database = Database::open(&options).unwrap();
        let now = crate::kernel::clock::now();
        let health = Health::default();
        add(&mut database, before);
        let flood: Vec<Happening> = flood.into_iter().collect();
        for some in flood.chunks(1000) {
            add(&mut database, some.iter().cloned());
            database.keep_bounds(now, &health).unwrap();
        }
        let used = database.bytes().unwrap();
        assert!(used <= bytes, "{used} bytes");
        let mut left = BTreeMap::new();
        let each = |death: DeathRow| {
            let owner = death.event.owners.first().unwrap();
            assert_eq!(death.calls.len(), 1, "a call goes with its death");
            *left.entry(owner.process.clone()).or_default() += 1;
            true
        };
        HistoryReader::open(&options.folder).unwrap().deaths(&Query::default(), each).unwrap();
        (left, health.lost(Loss::Size), folder)
    }

    #[test]
    fn a_flood_of_resets_leaves_deaths_of_silence_and_the_resets_of_others() {
        let old = (1..=500).map(|n| death(n, 1000 + n, false, b"cart", 1));
        let others =
            (501..=700).map(|n| death(n, 1000 + n, true, b"others", u32::try_from(n).unwrap()));
        let by =
            |peer: fn(u64) -> u32| move |n: u64| death(n, 10_000 + n / 10, true, b"flood", peer(n));
        let of_one = (1000..6000).map(by(|_| 7));
        let of_many = (1000..6000).map(by(|n| u32::try_from(n).unwrap()));
        let before: Vec<Happening> = old.chain(others).collect();
        for flood in [of_one.collect::<Vec<_>>(), of_many.collect()] {
            let (left, n_lost, folder) = left(2 << 20, before.clone(), flood);
            assert_eq!((left["cart"], left["others"]), (500, 200), "{left:?}");
            let n_flood = left["flood"];
            assert!(n_flood > 300, "{left:?}");
            assert_eq!(n_lost + u64::from(n_flood), 5000, "each is counted");
            let reader = HistoryReader::open(&folder.options().folder).unwrap();
            let [not_kept] = reader.not_kept(None, None).unwrap().try_into().unwrap();
            assert_eq!((not_kept.worth, not_kept.reason), (Worth::Ordinary, Loss::Size));
            assert_eq!(not_kept.records, n_lost);
            assert!(not_kept.meaning.contains("resets"), "{}", not_kept.meaning);
        }
    }

    #[test]
    fn many_owners_at_one_peer_do_not_push_out_those_at_another() {
        let before = (1..=200).map(|n| death(n, 1000 + n, true, b"others", 1));
        let flood = (1000..6000u64).map(|n| death(n, 10_000 + n, true, &n.to_le_bytes()[..3], 7));
        let (left, ..) = left(2 << 20, before, flood);
        assert_eq!(left["others"], 200);
    }

    #[test]
    fn among_deaths_of_silence_a_flood_thins_itself() {
        let before = (1..=200).map(|n| death(n, 1000 + n, false, b"others", 1));
        let flood = (1000..6000).map(|n| death(n, 10_000 + n, false, b"flood", 1));
        let (left, n_lost, _) = left(2 << 20, before, flood);
        assert_eq!(left["others"], 200);
        assert_eq!(u64::from(left["flood"]) + n_lost, 5000);
    }

    #[test]
    fn of_everyday_life_some_is_kept_whatever_died_of_silence() {
        let before = (1..=200).map(|n| death(n, 1000 + n, true, b"resets", 1));
        let flood = (1000..6000).map(|n| death(n, 10_000 + n, false, b"flood", 1));
        let (left, ..) = left(2 << 20, before, flood);
        assert!(left["resets"] > 50, "{left:?}");
        assert!(left["flood"] > 1000, "{left:?}");
    }
}
