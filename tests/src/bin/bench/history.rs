//! `why` over a history that is as large as the agent lets it become.
//!
//! A few connections really die, of silence and of resets. Their records are multiplied in the file, with other peers,
//! processes and times, until it is full.

use crate::budget::budget;
use keepwatch::tested::Query;
use keepwatch_tests::{
    answer::{
        agent::{self, Agent},
        history,
    },
    kernel::{
        netns::NetworkNamespace,
        socket::{self, Plan, SocketSettings},
    },
    measure::{Cost, cpu_seconds, measure_ending_with},
    network::{
        ending::{error_at_end, exchange, forgotten, reset_by_peer},
        middlebox::MiddleboxAnswer,
        path::{Ends, NetworkPath},
    },
    tool::TemporaryFolder,
    wait,
};
use rusqlite::{Connection, Transaction, named_params};
use std::{net::Ipv4Addr, path::Path, time::Duration};

const ROUNDS: usize = 3;
/// CPU of the command and the agent together, for any question.
const CPU_SECONDS: f64 = 0.3;
/// The middlebox forgets what is quiet for this number of seconds.
const FORGETS_AFTER: u32 = 4;
const QUIET: Duration = Duration::from_secs(6);
/// Somewhat less than the agent keeps by default.
const FULL_BYTES: u64 = 250 << 20;
/// Records that are written before the size of the file is looked at.
const AT_ONCE: usize = 10_000;
/// Peers of the deaths of silence, but for those of [`ONE_PEER`].
const N_PEERS: i64 = 4000;
/// The peer of every third death of silence.
const ONE_PEER: &str = "10.200.0.1:2717";
/// All deaths lie within this time.
const WITHIN_NS: i64 = 23 * 3600 * 1_000_000_000;
/// From one to the next before it.
const APART_NS: i64 = WITHIN_NS / 300_000;
const SOON: Duration = Duration::from_secs(20);

/// Whether every budget is met.
pub(crate) fn run() -> bool {
    let folder = full_history();
    let mib = std::fs::metadata(history_in(&folder)).expect("the history").len() >> 20;
    let agent = Agent::start_in(folder, &["--interval", "1h"]);
    let state = agent.state();
    let netns = NetworkNamespace::new();
    let questions: [&[&str]; 10] = [
        &[],
        &["--json"],
        &["--since", "30d"],
        &["--at", "12h"],
        &["10.0.0.0/8"],
        &["10.0.0.0/8", "--json"],
        &[ONE_PEER],
        &["10.0.7.7"],
        &[":2717"],
        &["server-3"],
    ];
    println!("why over {mib} MiB of history; the least of {ROUNDS} runs, both processes together");
    println!("{:46} {:>8} {:>8} {:>9}", "", "CPU s", "wall s", "peak MiB");
    let mut met = true;
    for through_agent in [true, false] {
        for question in questions {
            let cost = || {
                let mut command = agent::keepwatch(["why"]);
                command.args(question).arg("--state-dir").arg(&state);
                if through_agent {
                    command.arg("--socket").arg(agent.socket());
                } else {
                    command.args(["--source", "kernel"]);
                }
                let before = cpu_seconds(agent.pid());
                let mut cost = measure_ending_with(&netns, &mut command, &[0, 1]);
                cost.cpu_seconds += cpu_seconds(agent.pid()) - before;
                cost
            };
            let least = (1..ROUNDS).fold(cost(), |least, _| least.least(cost()));
            let Cost { cpu_seconds, wall_seconds, peak_mib } = least;
            let from = if through_agent { "the agent" } else { "the file" };
            let words = format!("why {} (from {from})", question.join(" "));
            println!("{words:46} {cpu_seconds:8.3} {wall_seconds:8.3} {peak_mib:9.1}");
            met &= budget(
                &format!("CPU seconds: {words}"),
                cpu_seconds,
                cpu_seconds <= CPU_SECONDS,
                CPU_SECONDS,
            );
        }
    }
    met
}

fn history_in(folder: &TemporaryFolder) -> std::path::PathBuf {
    folder.file("state").join("history.db")
}

/// The folder of an agent that has ended, with a history that is full.
fn full_history() -> TemporaryFolder {
    let path = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Reset);
    let path = path.expect("a kernel with connection tracking by nf_tables");
    let agent = Agent::start(&["--interval", "1s", "--idle-limit", "5s"]);
    for _ in 0..2 {
        reset_by_peer(&path);
    }
    forgotten(&path, QUIET);
    let plan = Plan::keepalive(60, 10, 3);
    let own = SocketSettings { user_timeout_ms: 1000, ..plan.own };
    let Ends { client, accepted, local } = path.connect(&Plan { own, ..plan });
    exchange(&client, &accepted);
    path.darken();
    socket::send(&client, b"are you there?");
    error_at_end(&client);
    wait::until("all deaths are written down", SOON, || {
        let last = Query { port: Some(local.port()), ..Query::default() };
        history::deaths(&agent.state(), &last).pop()
    });
    let (folder, _) = agent.stop_and_leave();
    let file = history_in(&folder);
    fill(&file).unwrap_or_else(|error| panic!("fill {}: {error}", file.display()));
    folder
}

/// Multiplies what is in the file until it is full.
fn fill(file: &Path) -> rusqlite::Result<()> {
    let mut database = Connection::open(file)?;
    database.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -262144;")?;
    let of_silence = numbers(&database, "SELECT id FROM deaths WHERE worth = 0")?;
    let ordinary = numbers(&database, "SELECT id FROM deaths WHERE worth <> 0")?;
    assert!(!of_silence.is_empty() && !ordinary.is_empty(), "some died of both kinds");
    let owners = owners(&database)?;
    let (deaths, calls) =
        (Copies::of(&database, "deaths", "id")?, Copies::of(&database, "calls", "death")?);
    let mut numbers = 1..;
    while std::fs::metadata(file).is_ok_and(|it| it.len() < FULL_BYTES) {
        let together = database.transaction()?;
        for number in numbers.by_ref().take(AT_ONCE) {
            // One of four died of silence.
            let alike = if number % 4 == 0 { &of_silence } else { &ordinary };
            let one = Another { of: pick(alike, number / 4), number, owner: pick(&owners, number) };
            one.add(&together, &deaths, None)?;
            one.add(&together, &calls, Some(together.last_insert_rowid()))?;
        }
        together.commit()?;
        database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    }
    // What was learned of the peers, as far as an agent remembers it.
    database.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999), \
         last(at, run) AS (SELECT max(at_ns), max(run) FROM deaths) \
         INSERT INTO evidence SELECT '10.0.' || (i / 250) || '.' || (i % 250 + 1) || ':2717', NULL, run, 'killed', \
         at - 9000000000000 - i * 10000000000, at - 8600000000000 - i * 10000000000, 1 FROM n, last",
    )
}

fn pick(of: &[i64], number: i64) -> i64 {
    let number = usize::try_from(number).expect("a small number");
    *of.get(number % of.len()).expect("a list with something in it")
}

fn numbers(database: &Connection, query: &str) -> rusqlite::Result<Vec<i64>> {
    database.prepare(query)?.query_map([], |row| row.get(0))?.collect()
}

/// Owners of other names.
fn owners(database: &Connection) -> rusqlite::Result<Vec<i64>> {
    let add = "INSERT INTO owners (key, party, process, unit) \
               VALUES (?1, ?1, 'server-' || ?1, 'server-' || ?1 || '.service') RETURNING id";
    (0..20).map(|number| database.query_row(add, [number], |row| row.get(0))).collect()
}

/// The statement that adds records to a table that are like those it has.
struct Copies(String);

impl Copies {
    /// `whose`: the column by which it is said which of them.
    fn of(database: &Connection, table: &str, whose: &str) -> rusqlite::Result<Self> {
        const OTHERS: [(&str, &str); 8] = [
            ("id", "NULL"),
            ("at_ns", "at_ns - :back"),
            ("monotonic_ns", "monotonic_ns - :back - :number"),
            ("socket", "'sk:' || printf('%x', 4096 + :number)"),
            ("remote_addr", ":addr"),
            ("remote_key", ":key"),
            ("owner", ":owner"),
            ("death", ":death"),
        ];
        let columns = database.prepare(&format!("SELECT * FROM {table}"))?;
        let values: Vec<String> = columns
            .column_names()
            .map(|column| {
                let other = OTHERS.iter().find(|(name, _)| *name == column);
                other.map_or_else(|| format!("\"{column}\""), |(_, value)| (*value).to_owned())
            })
            .collect();
        let values = values.join(", ");
        Ok(Self(format!(
            "INSERT INTO {table} SELECT {values} FROM {table} WHERE {whose} = :of AND :death IS :death"
        )))
    }
}

/// A death like the one that is number `of` in the history.
struct Another {
    of: i64,
    number: i64,
    owner: i64,
}

impl Another {
    fn add(
        &self,
        into: &Transaction<'_>,
        copies: &Copies,
        death: Option<i64>,
    ) -> rusqlite::Result<()> {
        let peer = self.number / 4 % N_PEERS;
        let addr = match self.number % 12 {
            0 => Ipv4Addr::new(10, 200, 0, 1),
            _ => Ipv4Addr::from(
                0x0a00_0001 + u32::try_from(peer / 250 * 256 + peer % 250).expect("small"),
            ),
        };
        let key = addr.to_ipv6_mapped().octets();
        into.prepare_cached(&copies.0)?
            .execute(named_params! {
                ":of": self.of,
                ":back": self.number * APART_NS % WITHIN_NS,
                ":number": self.number,
                ":addr": addr.to_string(),
                ":key": key,
                ":owner": self.owner,
                ":death": death,
            })
            .map(drop)
    }
}
