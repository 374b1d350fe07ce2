//! What the agent learned, in the history: the evidence, for the next agent, and the facts that follow, for readers. And whose the
//! connections were that nobody has open any more.

use super::columns::{not_expected, unsigned};
use crate::model::{
    judgement::{
        destination::Destination,
        learned::{Evidence, LearnedRow, Lesson, MassEnding, QuietOutcome, Span},
    },
    observed::{
        owner_identity::Identity,
        socket::{Comm, Endpoint, Owner},
    },
    table::orphan_owners::OrphanOwner,
};
use rusqlite::{Connection, Row, ToSql, Transaction};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

const fn ns(ms: i64) -> i64 {
    ms.saturating_mul(1_000_000)
}

/// Replaces what is known of one destination, or the mass endings.
pub(super) fn write(into: &Transaction<'_>, lesson: &Lesson, run: i64) -> rusqlite::Result<()> {
    match lesson {
        Lesson::Peer(destination, evidence) => write_evidence(into, *destination, evidence, run),
        Lesson::MassEndings(endings) => write_endings(into, endings, run),
    }
}

fn write_evidence(
    into: &Transaction<'_>,
    destination: Destination,
    evidence: &[Evidence],
    run: i64,
) -> rusqlite::Result<()> {
    let (peer, netns) = (destination.to_string(), destination.netns);
    into.prepare_cached("DELETE FROM evidence WHERE peer = ? AND netns IS ?")?
        .execute((&peer, netns))?;
    for Evidence { span, outcome } in evidence {
        let values: [&dyn ToSql; 7] = [
            &peer,
            &netns,
            &run,
            &outcome.as_str(),
            &ns(span.began_ms),
            &ns(span.ended_ms),
            &unsigned(outcome.times()),
        ];
        into.prepare_cached("INSERT INTO evidence VALUES (?, ?, ?, ?, ?, ?, ?)")?
            .execute(values)?;
    }
    Ok(())
}

fn write_endings(into: &Transaction<'_>, endings: &[MassEnding], run: i64) -> rusqlite::Result<()> {
    into.execute("DELETE FROM mass_endings", [])?;
    for MassEnding { netns, at_ms, connections, peers, processes } in endings {
        let peers: Vec<String> = peers.iter().map(|peer| peer.to_canonical().to_string()).collect();
        let processes: Vec<&str> = processes.iter().map(AsRef::as_ref).collect();
        let values: [&dyn ToSql; 6] = [
            netns,
            &run,
            &ns(*at_ms),
            &unsigned(*connections),
            &peers.join(" "),
            &processes.join("\n"),
        ];
        into.prepare_cached("INSERT INTO mass_endings VALUES (?, ?, ?, ?, ?, ?)")?
            .execute(values)?;
    }
    Ok(())
}

/// Everything that agents before this one learned. The number of a network namespace means nothing in another boot.
pub(super) fn read(from: &Connection, boot: &str) -> rusqlite::Result<Vec<Lesson>> {
    let mut lessons: Vec<Lesson> = Vec::new();
    let mut all = from.prepare(
        "SELECT * FROM evidence \
         WHERE netns IS NULL OR run IN (SELECT id FROM runs WHERE boot = ?) \
         ORDER BY netns, peer, ended_ns",
    )?;
    for found in all.query_map([boot], evidence)? {
        let Some((destination, sample)) = found? else { continue };
        match lessons.last_mut() {
            Some(Lesson::Peer(last, evidence)) if *last == destination => evidence.push(sample),
            _ => lessons.push(Lesson::Peer(destination, vec![sample])),
        }
    }
    let mut all = from.prepare(
        "SELECT * FROM mass_endings \
         WHERE netns IS NULL OR run IN (SELECT id FROM runs WHERE boot = ?) ORDER BY at_ns",
    )?;
    let endings = all.query_map([boot], mass_ending)?.collect::<Result<Vec<_>, _>>()?;
    if !endings.is_empty() {
        lessons.push(Lesson::MassEndings(endings));
    }
    Ok(lessons)
}

/// Orphans of this boot that may still be repeated.
pub(super) fn orphans(
    from: &Connection,
    boot: &str,
    now_ns: i64,
) -> rusqlite::Result<Vec<OrphanOwner>> {
    /// The kernel gives up before (`tcp_retries2`).
    const HOUR_NS: i64 = 3_600_000_000_000;
    const MOST: u32 = 4096;
    let mut all = from.prepare(
        "SELECT orphans.*, unit, container, container_id, namespace, workload, pod FROM orphans \
         LEFT JOIN owners ON owners.id = owner \
         WHERE at_ns > ? AND run IN (SELECT id FROM runs WHERE boot = ?) ORDER BY at_ns DESC LIMIT ?",
    )?;
    let found = all.query_map((now_ns.saturating_sub(HOUR_NS), boot, MOST), orphan)?;
    found.filter_map(Result::transpose).collect()
}

/// None without a process.
fn orphan(row: &Row<'_>) -> rusqlite::Result<Option<OrphanOwner>> {
    let Some(pid) = row.get("pid")? else { return Ok(None) };
    let endpoint = |addr, port| -> rusqlite::Result<Endpoint> {
        let addr: IpAddr = row.get::<_, String>(addr)?.parse().map_err(not_expected)?;
        Ok(SocketAddr::new(addr, row.get(port)?).into())
    };
    let part = |name| -> rusqlite::Result<Option<Box<str>>> {
        Ok(row.get::<_, Option<String>>(name)?.map(String::into_boxed_str))
    };
    let identity = Identity {
        unit: part("unit")?,
        container: part("container")?,
        container_id: part("container_id")?,
        namespace: part("namespace")?,
        workload: part("workload")?,
        pod: part("pod")?,
        ..Identity::default()
    };
    Ok(Some(OrphanOwner {
        netns: row.get("netns")?,
        local: endpoint("local_addr", "local_port")?,
        remote: endpoint("remote_addr", "remote_port")?,
        owner: Owner { pid, fd: None, comm: Comm::new(row.get("comm")?) },
        identity: (identity != Identity::default()).then_some(identity),
    }))
}

/// None if a later version wrote it.
fn evidence(row: &Row<'_>) -> rusqlite::Result<Option<(Destination, Evidence)>> {
    let (peer, kind): (String, String) = (row.get("peer")?, row.get("kind")?);
    let (Ok(peer), Some(outcome)) =
        (peer.parse::<Destination>(), QuietOutcome::named(&kind, row.get("times")?))
    else {
        return Ok(None);
    };
    let (began_ns, ended_ns): (i64, i64) = (row.get("began_ns")?, row.get("ended_ns")?);
    let span = Span { began_ms: began_ns / 1_000_000, ended_ms: ended_ns / 1_000_000 };
    Ok(Some((peer.in_netns(row.get("netns")?), Evidence { span, outcome })))
}

fn mass_ending(row: &Row<'_>) -> rusqlite::Result<MassEnding> {
    let (peers, processes): (String, String) = (row.get("peers")?, row.get("processes")?);
    let mapped = |text: &str| -> rusqlite::Result<_> {
        Ok(match text.parse().map_err(not_expected)? {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        })
    };
    Ok(MassEnding {
        netns: row.get("netns")?,
        at_ms: row.get::<_, i64>("at_ns")? / 1_000_000,
        connections: row.get("connections")?,
        peers: peers.split_whitespace().map(mapped).collect::<Result<BTreeSet<_>, _>>()?,
        processes: processes.lines().map(Into::into).collect(),
    })
}

/// Replaces the facts with these.
pub(super) fn write_rows(into: &Transaction<'_>, rows: &[LearnedRow]) -> rusqlite::Result<()> {
    into.execute("DELETE FROM learned", [])?;
    for row in rows {
        let facts = serde_json::to_string(row)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let values: [&dyn ToSql; 4] = [&row.kind(), &row.destination(), &row.meaning(), &facts];
        into.prepare_cached("INSERT INTO learned VALUES (?, ?, ?, ?)")?.execute(values)?;
    }
    Ok(())
}

/// All facts; of a kind that only a later version knows none.
pub(super) fn read_rows(from: &Connection) -> rusqlite::Result<Vec<LearnedRow>> {
    let mut all = from.prepare("SELECT facts FROM learned ORDER BY kind, destination")?;
    let rows = all.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|facts| Ok(serde_json::from_str(&facts?).ok())).filter_map(Result::transpose).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        HistoryReader, database::Database, not_kept::LossSums, queue::Learning, tests::StateFolder,
    };

    fn lessons() -> Vec<Lesson> {
        let outcomes = [
            "killed",
            "singled_out",
            "silenced",
            "outage",
            "peer_closed",
            "peer_reset",
            "survived",
        ];
        let evidence = |named: &str| {
            let ended_ms = 1_700_000_400_000 + i64::try_from(named.len()).unwrap();
            let span = Span { began_ms: 1_700_000_000_000, ended_ms };
            Evidence { span, outcome: QuietOutcome::named(named, 3).unwrap() }
        };
        let mut all: Vec<Evidence> = outcomes.iter().map(|named| evidence(named)).collect();
        all.sort_by_key(|sample| sample.span.ended_ms);
        let peer: Destination = "10.0.0.9:5432".parse().unwrap();
        let ending = |netns| MassEnding {
            netns,
            at_ms: 1_700_000_000_000,
            connections: 41,
            peers: ["::ffff:10.0.0.9".parse().unwrap(), "2001:db8::1".parse().unwrap()].into(),
            processes: ["mongod".into(), "a b".into()].into(),
        };
        vec![
            Lesson::Peer(peer, all.clone()),
            Lesson::Peer(peer.in_netns(Some(7)), all),
            Lesson::MassEndings(vec![ending(None), ending(Some(7))]),
        ]
    }

    fn keep(database: &mut Database, lessons: Vec<Lesson>) {
        database.write(&[], &Learning { lessons, rows: None }, &LossSums::default()).unwrap();
    }

    #[test]
    fn what_was_learned_is_read_back_and_replaced_one_namespace_at_a_time() {
        let folder = StateFolder::new();
        let mut database = Database::open(&folder.options()).unwrap();
        keep(&mut database, lessons());
        keep(&mut database, lessons());
        assert_eq!(database.lessons().unwrap(), lessons());
        let peer: Destination = "10.0.0.9:5432".parse().unwrap();
        keep(&mut database, vec![Lesson::Peer(peer, Vec::new())]);
        assert_eq!(database.lessons().unwrap(), lessons()[1..]);
        drop(database);
        let mut later = Database::open(&folder.options()).unwrap();
        assert_eq!(later.lessons().unwrap(), lessons()[1..], "another agent of this boot");
        keep(&mut later, lessons());
    }

    #[test]
    fn in_another_boot_a_network_namespace_of_the_same_number_is_another_one() {
        let folder = StateFolder::new();
        let mut database = Database::open(&folder.options()).unwrap();
        keep(&mut database, lessons());
        let file = folder.options().folder.join(crate::store::FILE);
        let other = Connection::open(file).unwrap();
        other.execute("UPDATE runs SET boot = 'of yesterday'", []).unwrap();
        let mut ours = lessons();
        ours.remove(1);
        if let Some(Lesson::MassEndings(endings)) = ours.last_mut() {
            endings.truncate(1);
        }
        assert_eq!(database.lessons().unwrap(), ours);
    }

    #[test]
    fn evidence_and_facts_that_only_a_later_version_knows_are_left_out() {
        let folder = StateFolder::new();
        let mut database = Database::open(&folder.options()).unwrap();
        keep(&mut database, lessons());
        let file = folder.options().folder.join(crate::store::FILE);
        let other = Connection::open(file).unwrap();
        other.execute("UPDATE evidence SET kind = 'foretold' WHERE kind = 'killed'", []).unwrap();
        let n_left = |lesson: &Lesson| match lesson {
            Lesson::Peer(_, evidence) => evidence.len(),
            Lesson::MassEndings(endings) => endings.len(),
        };
        let left: Vec<_> = database.lessons().unwrap().iter().map(n_left).collect();
        assert_eq!(left, [6, 6, 2]);
        let foretold = r#"INSERT INTO learned VALUES ('omen', NULL, '', '{"kind":"omen"}')"#;
        other.execute(foretold, []).unwrap();
        assert_eq!(HistoryReader::open(&folder.options().folder).unwrap().learned().unwrap(), []);
    }
}
