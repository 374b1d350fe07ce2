//! PostgreSQL: libpq by psycopg2 and psql, and asyncpg, whose server probes.

use super::{first_line, server_of, without_remarks};
use crate::{
    case::{Play, TriedCase},
    needed::Needed::{Node, Program, Python},
    program::RunningProgram,
    report::CaseReport,
    said::text_at,
    stage::CaseStage,
    trial::AdviceTrial,
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::{Reset, Silence};
use rustix::process::Signal;
use serde_json::Value;
use std::{os::unix::process::CommandExt as _, process::Command};

pub(super) const PORT: u16 = 5432;
/// PostgreSQL refuses to run as root.
pub(super) const NOBODY: u32 = 65534;

pub(super) const CASES: &[TriedCase] = &[
    TriedCase {
        name: "psycopg2, a pooled connection used after the path forgot it",
        kind: "idle_drop",
        complaints: &["npgsql/npgsql#1596", "pgjdbc/pgjdbc#1508"],
        needs: &[Program("postgres"), Program("initdb"), Python("psycopg2-binary")],
        path: TriedPath::Forgets(Silence),
        play: Play::Advice(&AdviceTrial { client: psycopg2, ..TRIAL }),
    },
    TriedCase {
        name: "psql, left open over a path that resets",
        kind: "idle_drop",
        complaints: &[],
        needs: &[Program("postgres"), Program("initdb"), Program("psql")],
        path: TriedPath::Forgets(Reset),
        play: Play::Advice(&AdviceTrial { client: psql, ..TRIAL }),
    },
    TriedCase {
        name: "asyncpg, whose server is told to probe",
        kind: "kept",
        complaints: &[
            "MagicStack/asyncpg#606",
            "cockroachdb/cockroach#13823",
            "brettwooldridge/HikariCP#1156",
        ],
        needs: &[Program("postgres"), Program("initdb"), Python("asyncpg")],
        path: TriedPath::Forgets(Silence),
        play: Play::Advice(&AdviceTrial {
            verdict: "off",
            client: asyncpg,
            advised_as: "asyncpg",
            applied: "as an argument of connect",
            then: "kept",
            ..TRIAL
        }),
    },
    TriedCase {
        name: "node-postgres, a client used after the path forgot it",
        kind: "idle_drop",
        complaints: &[],
        needs: &[Program("postgres"), Program("initdb"), Program("node"), Node("pg")],
        path: TriedPath::Forgets(Reset),
        play: Play::Advice(&AdviceTrial {
            verdict: "off",
            client: node_postgres,
            advised_as: "node-postgres",
            applied: "as the constructor",
            ..TRIAL
        }),
    },
    TriedCase {
        name: "psycopg2 with keepalives_idle=3 alone: the next probe comes after 75 s",
        kind: "late",
        complaints: &[],
        needs: &[Program("postgres"), Program("initdb"), Python("psycopg2-binary")],
        path: TriedPath::Forgets(Silence),
        play: Play::Steps(second_probe_is_late),
    },
];

const TRIAL: AdviceTrial = AdviceTrial {
    port: PORT,
    verdict: "late",
    cause: "idle_drop",
    server,
    client: psycopg2,
    advised_as: "libpq",
    place: "runtime",
    applied: "in the connection string",
    then: "protected",
};

/// A new cluster with one server.
#[track_caller]
pub(super) fn server(stage: &CaseStage<'_>) -> RunningProgram {
    let data = stage.new_name("postgres");
    let data = data.to_str().expect("a path of our own");
    let as_nobody = |mut command: Command| {
        command.uid(NOBODY).gid(NOBODY);
        command
    };
    let make = ["-D", data, "-U", "postgres", "-A", "trust", "--no-sync"];
    let mut make = stage.far(as_nobody(stage.program("initdb", &make)));
    assert!(make.wait().success(), "initdb: {:?}", make.printed());
    let allow = format!("{data}/pg_hba.conf");
    std::fs::write(&allow, "host all all 0.0.0.0/0 trust\n").expect("write pg_hba.conf");
    let (server, port, folder) = (stage.server(), PORT.to_string(), stage.folder());
    let folder = folder.to_str().expect("a path of our own");
    let words = ["-D", data, "-h", &server, "-p", &port, "-k", folder, "-F"];
    let server = server_of(stage, PORT, as_nobody(stage.program("postgres", &words)));
    server.ends_by(Signal::QUIT)
}

pub(super) fn psycopg2(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let line = without_remarks(lines);
    stage.python(&format!(
        "import psycopg2\n\
         c = psycopg2.connect('host=' + HOST + ' user=postgres dbname=postgres {line}')\n\
         c.autocommit = True\nq = c.cursor()\n\
         talk(lambda: q.execute('select 1') or q.fetchone())"
    ))
}

fn psql(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let to =
        format!("host={} user=postgres dbname=postgres {}", stage.server(), without_remarks(lines));
    let psql = stage.program("psql", &[]).get_program().to_owned();
    let mut shell = stage.command("/bin/sh");
    let script = "(echo \"select 'ready';\"; read go; echo \"select 'outcome: answered';\"; cat) | \
                  (\"$0\" -At \"$1\" 2>&1; echo \"outcome: psql ended with $?\")";
    shell.args(["-c", script]).arg(psql).arg(to);
    shell
}

/// The line is a call of `asyncpg.connect`, with dots where the address goes.
fn asyncpg(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let connect =
        if lines.is_empty() { "await asyncpg.connect(...)".to_owned() } else { lines.join("\n") };
    let connect = connect.replace("...", "host=HOST, user='postgres', database='postgres'");
    stage.python(&format!(
        "import asyncio, asyncpg\n\
         async def main():\n\
         \x20   c = (\n{connect}\n)\n\
         \x20   await c.fetchval('select 1')\n\
         \x20   say('ready')\n\
         \x20   await asyncio.to_thread(wait)\n\
         \x20   began = time.monotonic()\n\
         \x20   try:\n\
         \x20       text = 'answered %r' % await c.fetchval('select 2')\n\
         \x20   except BaseException as error:\n\
         \x20       text = '%s: %s' % (type(error).__name__, error)\n\
         \x20   say('outcome: %s, after %.1f s' % (text, time.monotonic() - began))\n\
         \x20   await asyncio.to_thread(wait)\n\
         asyncio.run(main())"
    ))
}

/// The line is a call of `Client`, without the address.
fn node_postgres(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let call = if lines.is_empty() { "new Client({})".to_owned() } else { first_line(lines) };
    stage.node(&format!(
        "const pg = require('pg');\n\
         class Client extends pg.Client {{ constructor(options) {{ \
         super({{ host: HOST, user: 'postgres', database: 'postgres', ...options }}); }} }}\n\
         const client = {call};\nclient.on('error', () => {{}});\n\
         client.connect().then(() => talk(() => client.query('select 1').then(r => r.rowCount)));"
    ))
}

fn second_probe_is_late(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = server(stage);
    let mut client = stage.near(psycopg2(stage, &["keepalives_idle=3".to_owned()]));
    client.until("ready");
    let seen = stage.connected(PORT);
    let row = stage.until_row(PORT, "is judged", |row| !text_at(row, "/verdict").is_empty());
    let wanted = [("verdict", "late"), ("gap_from", "interval"), ("interval.seconds", "75")];
    report.live("open", &row, &wanted);
    let why = stage.why(PORT);
    report.must("exit code 1 of why", why.exit == Some(1), format!("{:?}", why.exit));
    report.said(why.headline());
    // The first probe is answered, and renews what the path knows.
    let overdue = |row: &Value| text_at(row, "/condition") == "overdue";
    stage.until_row(PORT, "is overdue", overdue);
    client.tell("go");
    let outcome = client.until("outcome");
    report.given("the path forgot it", !outcome.contains("answered"), &outcome);
    report.truth(outcome);
    let (_, case) = stage.death(PORT, seen.local);
    report.death(&case, &[("cause", "idle_drop")]);
}
