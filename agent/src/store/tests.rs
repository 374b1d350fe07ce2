//! The history as a specification: what is written is read back, whatever happens to the file.

use super::{
    database::Database,
    not_kept::LossSums,
    queue::{Learning, Record},
    *,
};
use crate::{
    advice::process_clues::Traces,
    model::{
        judgement::{
            death::{Cause, Death},
            idle_limit::{IdleLimit, Limits},
            verdict::{Surroundings, Verdict},
            worth::Worth,
        },
        observed::{
            ending::{Ending, Unacked},
            owner_identity::Identity,
            setsockopt::{Call, SockOpt, When},
            socket::{Comm, Owner, Socket, SocketId, State, Time, tests_support::socket},
            watched::Watched,
        },
        table::happening::{ConnectionHolder, Happened, Happening},
        text::wall_time::WallTime,
    },
    view::event_row::EventRow,
};
use std::{
    fs,
    sync::{Arc, atomic},
};

/// A state directory that goes away with the test.
pub(super) struct StateFolder(PathBuf);

impl StateFolder {
    pub(super) fn new() -> Self {
        static COUNT: atomic::AtomicU32 = atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, atomic::Ordering::Relaxed);
        let name = format!("keepwatch-store-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(super) fn options(&self) -> Options {
        Options { folder: self.0.clone(), days: 30, bytes: 256 << 20, clues: Arc::default() }
    }
}

impl Drop for StateFolder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

pub(super) fn around() -> Arc<Surroundings> {
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    Arc::new(Surroundings::new(limits, 250))
}

fn owner() -> Owner {
    Owner { pid: 812, fd: Some(31), comm: Comm::new(*b"mongod\x1b\0\0\0\0\0\0\0\0\0") }
}

pub(super) fn idle_drop(id: u64, at_seconds: u64) -> Happening {
    let at = Time(at_seconds * 1_000_000_000);
    let closed = Socket {
        id: SocketId(id),
        at,
        owner: Some(owner()),
        silent_ms: 400_005,
        watched: Watched {
            longest_quiet_ms: 12_000,
            longest_silence_ms: 12_000,
            ..Watched::default()
        },
        state: State::Close,
        ..socket()
    };
    let ending =
        Ending { errno: 104, unacked: Unacked::Data, sent_ms: Some(5), ..Ending::default() };
    let mut death = Death::of(&closed, State::Established, ending, None).unwrap();
    death.age_ms = Some(500_000);
    let call = |option, errno| Call {
        option,
        value: Some(60),
        errno,
        by: Some(owner()),
        when: When::BeforeConnect,
    };
    let calls = vec![
        (Time(at.0 - 500_000_000_000), call(SockOpt::Idle, 22)),
        (Time(at.0 - 500_000_000_000), call(SockOpt::Count, 0)),
    ];
    let identity = Identity { unit: Some("mongod.service".into()), ..Identity::default() };
    let identity = Some(Arc::new(identity));
    Happening { identity, calls, ..Happening::new(at, closed, Happened::Died(death)) }
}

/// Unix time minus monotonic time.
const OFFSET_NS: i64 = 1_700_000_000_000_000_000;

pub(super) fn record(happening: Happening) -> Record {
    let around = around();
    let worth = budget::admission::worth(&happening, &around).unwrap();
    Record { offset_ns: OFFSET_NS, around, worth, happening }
}

pub(super) fn add(database: &mut Database, happenings: impl IntoIterator<Item = Happening>) {
    let records: Vec<Record> = happenings.into_iter().map(record).collect();
    let written = database.write(&records, &Learning::default(), &LossSums::default());
    assert!(written.unwrap().is_empty(), "each fits");
}

fn write(folder: &StateFolder, happenings: Vec<Happening>) {
    add(&mut Database::open(&folder.options()).unwrap(), happenings);
}

pub(super) fn deaths(folder: &StateFolder, query: &Query) -> Vec<DeathRow> {
    let mut found = Vec::new();
    HistoryReader::open(&folder.0)
        .unwrap()
        .deaths(query, |death| {
            found.push(death);
            true
        })
        .unwrap();
    let count = HistoryReader::open(&folder.0).unwrap().count(query).unwrap();
    let n_found = u64::try_from(found.len()).unwrap();
    match query.limit {
        Some(_) => assert!(count.values().sum::<u64>() >= n_found),
        None => assert_eq!(count.values().sum::<u64>(), n_found),
    }
    found
}

#[test]
fn a_death_is_read_back_with_all_that_was_known() {
    let folder = StateFolder::new();
    write(&folder, vec![idle_drop(31, 1000)]);
    let [death] = deaths(&folder, &Query::default()).try_into().unwrap();
    assert_eq!(death.event.details.cause, Some(Cause::IdleDrop));
    assert_eq!(death.event.details.errno.as_deref(), Some("ECONNRESET"));
    assert_eq!(death.event.time.at, "2023-11-14T22:30:00.000000Z");
    assert_eq!(death.opened_at.as_deref(), Some("2023-11-14T22:21:40.000000Z"));
    let connection = &death.event.connection;
    let written = EventRow::new(&idle_drop(31, 1000), WallTime::default(), &around());
    assert_eq!(*connection, written.connection);
    assert_eq!((connection.id.as_deref(), connection.quiet_seconds), (Some("sk:1f"), 400.0));
    assert_eq!((connection.verdict, connection.state), (Some(Verdict::Off), State::Established));
    assert_eq!(connection.part_of.unit.as_deref(), Some("mongod.service"));
    assert!((death.event.connection.longest_quiet_seconds - 12.0).abs() < 1e-9);
    let owner = death.event.owners.first().unwrap();
    assert_eq!((owner.pid, owner.process.as_str()), (812, "mongod\\u{1b}"), "harmless to print");
    let calls: Vec<_> = death.calls.iter().map(|it| (it.option, it.result.as_str())).collect();
    assert_eq!(calls, [(SockOpt::Idle, "EINVAL"), (SockOpt::Count, "ok")]);
    let json = serde_json::to_string(&death).unwrap();
    assert_eq!(serde_json::from_str::<DeathRow>(&json).unwrap(), death, "{json}");
}

#[test]
fn answers_that_came_late_are_found_by_time_and_those_of_loopback_are_not_kept() {
    let folder = StateFolder::new();
    let answered = |id, at_seconds: u64| {
        let what = Happened::DataAnswered { unanswered_ms: 7_250 };
        let at = Time(at_seconds * 1_000_000_000);
        Happening::new(at, Socket { id: SocketId(id), ..socket() }, what)
    };
    let mut local = answered(33, 1000);
    local.socket.remote.addr = std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    local.socket.local = local.socket.remote;
    assert_eq!(budget::admission::worth(&local, &around()), None);
    write(&folder, vec![answered(31, 1000), answered(32, 2000)]);
    let found = |since| HistoryReader::open(&folder.0).unwrap().late_answers(since).unwrap();
    let ids = |since| found(since).into_iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(ids(0.0), ["sk:20", "sk:1f"]);
    assert_eq!(ids(1_700_002_000.0), ["sk:20"]);
    assert!((found(0.0)[0].unanswered_seconds - 7.25).abs() < 1e-9);
}

#[test]
fn the_next_agent_of_this_boot_knows_whose_a_connection_was_that_its_program_has_closed() {
    let folder = StateFolder::new();
    let now = crate::kernel::clock::now();
    let closed = Socket { owner: Some(owner()), ..socket() };
    let identity = Identity { unit: Some("mongod.service".into()), ..Identity::default() };
    let given_up = || Happening {
        identity: Some(Arc::new(identity.clone())),
        ..Happening::new(now, closed, Happened::GivenUp)
    };
    let nobodys = Happening::new(now, Socket { owner: None, ..closed }, Happened::GivenUp);
    assert_eq!(budget::admission::worth(&nobodys, &around()), None);
    let mut database = Database::open(&folder.options()).unwrap();
    let offset_ns = crate::kernel::clock::unix_offset_ns();
    let record = |offset_ns| Record {
        offset_ns,
        around: around(),
        worth: Worth::Setting,
        happening: given_up(),
    };
    // By the wall clock: this host may have been booted just now.
    let records = [record(offset_ns), record(offset_ns - 4_000_000_000_000)];
    database.write(&records, &Learning::default(), &LossSums::default()).unwrap();
    let [found] = database.orphans().unwrap().try_into().unwrap();
    assert_eq!(
        (found.local, found.remote, found.netns),
        (closed.local, closed.remote, closed.netns)
    );
    assert_eq!(found.owner, Owner { fd: None, ..owner() });
    assert_eq!(found.identity, Some(identity));
    let file = folder.0.join(FILE);
    let other = rusqlite::Connection::open(file).unwrap();
    other.execute("UPDATE runs SET boot = 'of yesterday'", []).unwrap();
    assert_eq!(database.orphans().unwrap(), []);
}

#[test]
fn a_refused_call_is_there_at_once_and_once() {
    let folder = StateFolder::new();
    let death = idle_drop(31, 1000);
    let (at, call) = death.calls[0];
    let unconnected = Socket { id: SocketId(0), ..death.socket };
    let refused = Happening::new(at, unconnected, Happened::Setting(call));
    let mut database = Database::open(&folder.options()).unwrap();
    add(&mut database, [refused]);
    let calls = || -> Vec<(String, Option<String>)> {
        let file = rusqlite::Connection::open(folder.0.join(FILE)).unwrap();
        let mut calls = file.prepare("SELECT option, socket FROM calls ORDER BY at_ns").unwrap();
        let calls = calls.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        calls.collect::<Result<_, _>>().unwrap()
    };
    let (idle, count) = (SockOpt::Idle.as_str(), SockOpt::Count.as_str());
    assert_eq!(calls(), [(idle.to_owned(), None)]);
    // So is one that is written because its connection lives for long.
    let (at, call) = death.calls[1];
    let happening = Happening::new(at, death.socket, Happened::Setting(call));
    let (offset_ns, worth) = (OFFSET_NS, Worth::Setting);
    let lasting = [Record { offset_ns, around: around(), worth, happening }];
    database.write(&lasting, &Learning::default(), &LossSums::default()).unwrap();
    assert_eq!(calls().len(), 2);
    add(&mut database, [death]);
    let id = || Some("sk:1f".to_owned());
    assert_eq!(calls(), [(idle.to_owned(), id()), (count.to_owned(), id())]);
}

#[test]
fn a_strangers_call_is_found_while_its_connection_lives_and_goes_with_its_death() {
    let folder = StateFolder::new();
    let fixer = Owner { pid: 77, fd: Some(9), comm: Comm::new(*b"keepwatch\0\0\0\0\0\0\0") };
    let called = |id, by: Owner, is_foreign| {
        let (option, value, by) = (SockOpt::Keepalive, Some(1), Some(by));
        let call = Call { option, value, errno: 0, by, when: When::AfterConnect };
        let socket = Socket { id: SocketId(id), owner: by, ..socket() };
        let holder = ConnectionHolder { owner: owner(), identity: None, is_foreign };
        let at = Time(500_000_000_000 + id);
        Happening { holder: Some(holder), ..Happening::new(at, socket, Happened::Setting(call)) }
    };
    let around = around();
    let own = called(33, owner(), false);
    assert_eq!(budget::admission::worth(&own, &around), None, "of the program itself");
    write(&folder, vec![called(31, fixer, true), called(32, fixer, true)]);
    let calls = || HistoryReader::open(&folder.0).unwrap().living_calls().unwrap();
    let known = calls();
    let ids: Vec<_> = known.iter().map(|it| it.on.id.as_deref().unwrap()).collect();
    assert_eq!(ids, ["sk:20", "sk:1f"]);
    assert_eq!(
        known[0].by.as_ref().map(|by| (by.pid, by.process.as_str())),
        Some((77, "keepwatch"))
    );
    // Another agent of this boot sees it die.
    write(&folder, vec![idle_drop(31, 1000)]);
    assert_eq!(calls().len(), 1);
    let [death] = deaths(&folder, &Query::default()).try_into().unwrap();
    assert!(death.calls.iter().any(|call| call.by.as_ref().is_some_and(|by| by.pid == 77)));
}

#[test]
fn deaths_are_found_by_peer_time_owner_and_id_the_latest_first() {
    let folder = StateFolder::new();
    let mut other = idle_drop(3, 3000);
    other.socket.remote.addr = "2001:db8::7".parse().unwrap();
    other.socket.owner = None;
    write(&folder, vec![idle_drop(1, 1000), idle_drop(2, 2000), other]);
    let ids = |query: &str| -> Vec<String> {
        let query = serde_json::from_str(query).unwrap();
        let found = deaths(&folder, &query).into_iter();
        found.filter_map(|death| death.event.connection.id).collect()
    };
    for (query, expected) in [
        ("{}", ["sk:3", "sk:2", "sk:1"].as_slice()),
        (r#"{"limit":1}"#, &["sk:3"]),
        (r#"{"peer":"172.16.0.0/16"}"#, &["sk:2", "sk:1"]),
        (r#"{"peer":"172.16.0.15"}"#, &["sk:2", "sk:1"]),
        (r#"{"peer":"2001:db8::/32"}"#, &["sk:3"]),
        (r#"{"peer":"0.0.0.0/0"}"#, &["sk:2", "sk:1"]),
        (r#"{"since":1700002000}"#, &["sk:3", "sk:2"]),
        (r#"{"until":1700002000}"#, &["sk:1"]),
        (r#"{"id":"sk:2"}"#, &["sk:2"]),
        (r#"{"pid":812,"port":2717}"#, &["sk:2", "sk:1"]),
        (r#"{"unit":"mongod.service","cause":"idle_drop","limit":1}"#, &["sk:3"]),
        (r#"{"cause":"peer_reset"}"#, &[]),
        (r#"{"process":"nobody"}"#, &[]),
    ] {
        assert_eq!(ids(query), expected, "{query}");
    }
}

#[test]
fn what_a_later_version_wrote_in_words_of_its_own_is_passed_over_and_counted() {
    let folder = StateFolder::new();
    write(&folder, (1..=9).map(|id| idle_drop(id, 1000 * id)).collect());
    let file = rusqlite::Connection::open(folder.0.join(FILE)).unwrap();
    let set = |id: u32, change: &str| {
        let n = file.execute(&format!("UPDATE {change} WHERE socket = 'sk:{id}'"), []).unwrap();
        assert!(n > 0);
    };
    set(1, "deaths SET cause = 'bored'");
    set(2, "deaths SET verdict = 'blessed'");
    set(3, "deaths SET state = 'limbo'");
    set(4, "deaths SET certainty = 'revealed'");
    set(5, "deaths SET direction = 'sideways'");
    set(6, "calls SET \"when\" = 'tomorrow'");
    set(7, "deaths SET idle_limit_from = 'oracle'");
    let mut found = Vec::new();
    let each = |death: DeathRow| {
        found.push((death.event.connection.id.unwrap(), death.calls.len()));
        true
    };
    let reader = HistoryReader::open(&folder.0).unwrap();
    assert_eq!(reader.deaths(&Query::default(), each).unwrap(), 5);
    let expected = [("sk:9", 2), ("sk:8", 2), ("sk:7", 2), ("sk:6", 0)];
    assert_eq!(found, expected.map(|(id, n)| (id.to_owned(), n)));
}

#[test]
fn losses_are_found_by_the_minute() {
    let folder = StateFolder::new();
    let mut database = Database::open(&folder.options()).unwrap();
    let minute = |n: i64| n * 60_000_000_000;
    for _ in 0..2 {
        let mut sums = LossSums::default();
        sums.add(minute(10) + 1, Worth::Ordinary, Loss::Budget, 3);
        sums.add(minute(12), Worth::Ordinary, Loss::Budget, 4);
        sums.add(minute(12), Worth::Silence, Loss::Queue, 1);
        database.write(&[], &Learning::default(), &sums).unwrap();
    }
    let reader = HistoryReader::open(&folder.0).unwrap();
    let lost = |since: f64, until: f64| -> Vec<(Worth, Loss, u64)> {
        let found = reader.not_kept(Some(since), Some(until)).unwrap();
        found.into_iter().map(|it| (it.worth, it.reason, it.records)).collect()
    };
    let (ordinary, silence) = ((Worth::Ordinary, Loss::Budget), (Worth::Silence, Loss::Queue));
    let number = |(worth, loss): (Worth, Loss), n| (worth, loss, n);
    assert_eq!(lost(0.0, 1e9), [number(silence, 2), number(ordinary, 14)]);
    assert_eq!(lost(630.0, 700.0), [number(ordinary, 6)], "a part of a minute counts");
    assert_eq!(lost(660.0, 720.0), [], "and what is beside it does not");
    let all = reader.not_kept(None, None).unwrap();
    assert_eq!((all[1].first_unix_seconds, all[1].last_unix_seconds), (600.0, 780.0));
}

#[test]
fn a_query_over_twenty_thousand_deaths_takes_milliseconds() {
    let folder = StateFolder::new();
    let far = |n: u64| {
        let mut happening = idle_drop(n, n);
        let addr = std::net::Ipv4Addr::from_bits(u32::try_from(n % 1000).unwrap());
        happening.socket.remote.addr = addr.to_ipv6_mapped();
        happening.calls.clear();
        happening
    };
    let mut database = Database::open(&folder.options()).unwrap();
    add(&mut database, (1000..21_000).map(far));
    let query = Query { peer: Some("0.0.0.7/32".parse().unwrap()), ..Query::default() };
    let began = crate::kernel::clock::now();
    assert_eq!(deaths(&folder, &query).len(), 20);
    let took_ms = crate::kernel::clock::now().ms_since(began);
    assert!(took_ms < 200, "{took_ms} ms");
}

#[test]
fn what_is_too_old_or_too_much_goes_and_the_file_shrinks() {
    let folder = StateFolder::new();
    let now = crate::kernel::clock::now();
    let old = Record { offset_ns: 0, ..record(idle_drop(1, 1000)) };
    let offset_ns = crate::kernel::clock::unix_offset_ns();
    let young = |id| Record { offset_ns, ..record(idle_drop(id, now.0 / 1_000_000_000 + 600)) };
    let all: Vec<Record> = [old].into_iter().chain((2..6000).map(young)).collect();
    let health = Health::default();
    let options = Options { bytes: 2 << 20, ..folder.options() };
    let mut database = Database::open(&options).unwrap();
    database.write(&all, &Learning::default(), &LossSums::default()).unwrap();
    assert!(database.bytes().unwrap() > 2 << 20);
    database.keep_bounds(now, &health).unwrap();
    let used = database.bytes().unwrap();
    assert!((1 << 20..2 << 20).contains(&used), "{used} bytes");
    let found = deaths(&folder, &Query::default());
    assert!(found.len() > 500, "{} deaths", found.len());
    assert!(found.iter().all(|death| death.event.connection.id.as_deref() != Some("sk:1")));
    drop(database);
    let size = fs::metadata(folder.0.join(FILE)).unwrap().len();
    assert!(size < 3 << 20, "{size} bytes");
}

#[test]
fn a_broken_file_is_set_aside_and_a_new_one_begun() {
    let folder = StateFolder::new();
    write(&folder, vec![idle_drop(1, 1000)]);
    for n in 1..=4 {
        fs::write(folder.0.join(FILE), b"this is no database, and never was one".repeat(500))
            .unwrap();
        write(&folder, vec![idle_drop(2, 2000)]);
        assert_eq!(deaths(&folder, &Query::default()).len(), 1);
        assert!(folder.0.join(format!("{FILE}.corrupt-{}", n.min(3))).exists());
    }
    assert!(!folder.0.join(format!("{FILE}.corrupt-4")).exists(), "bounded");
}

#[test]
fn tables_that_change_have_another_version() {
    let schema = include_str!("schema.sql").bytes();
    let sum = schema.fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    // Where this fails, a file that is there would take no record any more: give the tables a new version.
    assert_eq!((schema::VERSION, sum), (11, 2_491_644_256));
}

#[test]
fn a_file_of_an_earlier_version_is_set_aside_and_one_begun_anew() {
    let folder = StateFolder::new();
    write(&folder, vec![idle_drop(1, 1000)]);
    let version = |file: &str| -> i64 {
        let database = rusqlite::Connection::open(folder.0.join(file)).unwrap();
        database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    let earlier = rusqlite::Connection::open(folder.0.join(FILE)).unwrap();
    earlier.pragma_update(None, "user_version", 2).unwrap();
    drop(earlier);
    write(&folder, vec![idle_drop(2, 1001)]);
    assert_eq!((version(FILE), version(&format!("{FILE}.schema-2"))), (schema::VERSION, 2));
    let ids = deaths(&folder, &Query::default()).into_iter().map(|it| it.event.connection.id);
    assert_eq!(ids.collect::<Vec<_>>(), [Some("sk:2".to_owned())]);
}

#[test]
fn a_file_of_a_later_version_or_another_program_is_left_alone() {
    let folder = StateFolder::new();
    write(&folder, vec![idle_drop(1, 1000)]);
    let set = |pragma: &str, value: i64| {
        let database = rusqlite::Connection::open(folder.0.join(FILE)).unwrap();
        database.pragma_update(None, pragma, value).unwrap();
    };
    set("user_version", 99);
    for error in [Database::open(&folder.options()).err(), HistoryReader::open(&folder.0).err()] {
        let error = error.unwrap().to_string();
        assert!(error.contains("schema 99") && error.contains("knows 11"), "{error}");
    }
    set("application_id", 7);
    assert!(matches!(Database::open(&folder.options()), Err(Error::Foreign { .. })));
    assert!(folder.0.join(FILE).exists());
}

#[test]
fn without_a_history_the_reader_says_where_it_looked() {
    let folder = StateFolder::new();
    let error = HistoryReader::open(&folder.0).unwrap_err().to_string();
    assert!(error.contains("--state-dir") && error.contains("keepwatch run"), "{error}");
}

#[test]
fn what_a_process_showed_is_kept_with_a_death_that_was_quiet() {
    let folder = StateFolder::new();
    let options = folder.options();
    let showed = Traces { executable: Some("python3.11".to_owned()), ..Traces::of_name("mongod") };
    options.clues.show(812, showed.clone());
    let mut busy = idle_drop(2, 901);
    if let Happened::Died(death) = &mut busy.what {
        death.silent_ms = 100;
    }
    let stranger = Owner { pid: 813, ..owner() };
    let mut unknown = idle_drop(3, 902);
    unknown.socket.owner = Some(stranger);
    let mut database = Database::open(&options).unwrap();
    add(&mut database, [idle_drop(1, 900), busy, unknown]);
    let clues = |death: DeathRow| (death.event.connection.id.unwrap(), death.event.details.clues);
    let found: Vec<_> = deaths(&folder, &Query::default()).into_iter().map(clues).collect();
    assert_eq!(
        found,
        [("sk:3".to_owned(), None), ("sk:2".to_owned(), None), ("sk:1".to_owned(), Some(showed))]
    );
}
