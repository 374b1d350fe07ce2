//! Redis: redis-py, redis-cli over MPTCP, ioredis, and the server's own idle timeout.

use super::{first_line, server_of};
use crate::{
    case::{Play, TriedCase},
    needed::Needed::{Node, Program, Python},
    program::RunningProgram,
    report::CaseReport,
    said::{self, text_at},
    seen_by_ss::SeenBySs,
    stage::{CaseStage, patiently},
    trial::AdviceTrial,
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::Silence;
use rustix::process::Signal;
use serde_json::Value;
use std::{process::Command, time::Duration};

const PORT: u16 = 6379;

pub(super) const CASES: &[TriedCase] = &[
    TriedCase {
        name: "redis-py, a pooled connection used after the path forgot it",
        kind: "idle_drop",
        complaints: &["redis/redis-py#3509"],
        needs: &[Program("redis-server"), Python("redis")],
        path: TriedPath::Forgets(Silence),
        play: Play::Advice(&AdviceTrial {
            client: redis_py,
            advised_as: "redis-py from 8",
            applied: "as the constructor",
            ..TRIAL
        }),
    },
    TriedCase {
        name: "ioredis, a connection used after the path forgot it",
        kind: "idle_drop",
        complaints: &["redis/ioredis#1932", "redis/ioredis#1339"],
        needs: &[Program("redis-server"), Program("node"), Node("ioredis")],
        path: TriedPath::Forgets(Silence),
        play: Play::Advice(&AdviceTrial {
            client: ioredis,
            advised_as: "ioredis",
            applied: "its first line, as the constructor",
            ..TRIAL
        }),
    },
    TriedCase {
        name: "redis-py with socket_timeout=3, gone before the kernel gives up",
        kind: "stuck",
        complaints: &["oracle/python-cx_Oracle#440", "oracle/node-oracledb#1626"],
        needs: &[Program("redis-server"), Python("redis")],
        path: TriedPath::Forgets(Silence),
        play: Play::Steps(gives_up_first),
    },
    TriedCase {
        name: "redis-server with timeout 6, and a client that probes",
        kind: "peer_closed",
        complaints: &["redis/redis-py#3509"],
        needs: &[Program("redis-server"), Python("redis")],
        path: TriedPath::Keeps,
        play: Play::Steps(server_closes),
    },
    TriedCase {
        name: "redis-cli over MPTCP, which sets keepalive after it has connected",
        kind: "late",
        complaints: &["multipath-tcp/mptcp_net-next#383", "multipath-tcp/mptcp_net-next#616"],
        needs: &[Program("redis-server"), Program("redis-cli"), Program("mptcpize")],
        path: TriedPath::SaidToForget,
        play: Play::Steps(over_mptcp),
    },
    TriedCase {
        name: "redis-py that pings each 3 s, six connections when the wire is cut",
        kind: "retransmit_timeout",
        complaints: &["icebear0828/codex-proxy#442"],
        needs: &[Program("redis-server"), Python("redis")],
        path: TriedPath::SaidToForget,
        play: Play::Steps(one_outage),
    },
    TriedCase {
        name: "redis-py with a first probe after 12 s, beside one that probes in time",
        kind: "keepalive_timeout",
        complaints: &[],
        needs: &[Program("redis-server"), Python("redis")],
        path: TriedPath::Forgets(Silence),
        play: Play::Steps(|stage, report| first_probe_is_late(stage, report, 1, 3)),
    },
    TriedCase {
        name: "redis-py with a first probe after 12 s and 6 s of probing, beside one that probes in time",
        kind: "keepalive_timeout",
        complaints: &[],
        needs: &[Program("redis-server"), Python("redis")],
        path: TriedPath::Forgets(Silence),
        play: Play::Steps(|stage, report| first_probe_is_late(stage, report, 2, 4)),
    },
    TriedCase {
        name: "redis-server that is stopped, and a client that waits to be accepted",
        kind: "unaccepted",
        complaints: &[],
        needs: &[Program("redis-server"), Program("redis-cli")],
        path: TriedPath::SaidToForget,
        play: Play::Steps(is_not_accepted),
    },
];

const TRIAL: AdviceTrial = AdviceTrial {
    port: PORT,
    verdict: "late",
    cause: "idle_drop",
    server,
    client: redis_py,
    advised_as: "",
    place: "runtime",
    applied: "",
    then: "protected",
};

fn server(stage: &CaseStage<'_>) -> RunningProgram {
    server_of(stage, PORT, redis_server(stage, &[]))
}

fn redis_server(stage: &CaseStage<'_>, words: &[&str]) -> Command {
    let (host, port) = (stage.server(), PORT.to_string());
    let own = ["--bind", &host, "--port", &port, "--save", "", "--protected-mode", "no"];
    stage.program("redis-server", &[&own, words].concat())
}

/// The lines are a call of `Redis`, without the address.
fn redis_py(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let call = if lines.is_empty() { "Redis()".to_owned() } else { lines.join("\n") };
    stage.python(&format!(
        "import functools, redis\n\
         Redis = functools.partial(redis.Redis, host=HOST)\n\
         r = (\n{call}\n)\ntalk(r.ping)"
    ))
}

/// The first line is a call of `Redis`, without the address.
fn ioredis(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let call = if lines.is_empty() { "new Redis({})".to_owned() } else { first_line(lines) };
    stage.node(&format!(
        "const Plain = require('ioredis');\n\
         class Redis extends Plain {{ constructor(options) {{ super({{ host: HOST, ...options }}); }} }}\n\
         const redis = {call};\nredis.on('error', () => {{}});\ntalk(() => redis.ping());"
    ))
}

fn gives_up_first(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = server(stage);
    // The kernel repeats for minutes, as it does by default.
    stage.path.near.set("ipv4/tcp_retries2", 15);
    stage.path.near.set("ipv4/tcp_orphan_retries", 0);
    let mut client = stage.near(stage.python(
        "import redis\nr = redis.Redis(host=HOST, socket_timeout=3, retry=None)\ntalk(r.ping)",
    ));
    client.until("ready");
    let seen = stage.until_quiet(PORT);
    client.tell("go");
    report.truth(client.until("outcome"));
    let local = seen.local.to_string();
    let is_stuck = |row: &Value| {
        text_at(row, "/local") == local
            && text_at(row, "/condition") == "stuck"
            && text_at(row, "/state") == "fin_wait1"
            // It shuts it down a moment before it closes it.
            && row.pointer("/orphan") == Some(&Value::Bool(true))
    };
    let row = stage.until_row(PORT, "is closed and stuck", is_stuck);
    if let Some(seen) = stage.seen_from(seen.local) {
        report.given("it is an orphan", seen.state.starts_with("FIN-WAIT-1"), &seen.state);
        report.truth(seen.in_words());
    }
    let wanted = [("condition", "stuck"), ("in_flight", "true"), ("state", "fin_wait1")];
    report.live("after it gave up", &row, &wanted);
    // tcp_orphan_retries 0 means 8 times, the first after 0.2 s, each after twice the time of the last.
    let gives_up = row.pointer("/gives_up_seconds").and_then(Value::as_f64);
    let is_soon = gives_up.is_some_and(|rest| rest <= 103.0);
    report.must("the kernel gives up an orphan within 103 s", is_soon, format!("{gives_up:?}"));
    let why = stage.why(PORT);
    report.must("exit code 1 of why", why.exit == Some(1), format!("{:?}", why.exit));
    let worst = why.cases.first().cloned().unwrap_or_default();
    report.fields("why", &worst, &[("finding", "given_up|stuck"), ("process", "python3")]);
    report.said(why.headline());
}

fn server_closes(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = server_of(stage, PORT, redis_server(stage, &["--timeout", "6"]));
    let client = stage.near(stage.python(
        "import redis\nR = redis.Redis(host=HOST, socket_keepalive=True, socket_keepalive_options={\n\
         socket.TCP_KEEPIDLE: 2, socket.TCP_KEEPINTVL: 1, socket.TCP_KEEPCNT: 5})\n\
         c = R.connection_pool.get_connection()\nsay('ready')\n\
         began = time.monotonic()\ns = c._sock\ns.settimeout(60)\n\
         end = s.recv(1)\nsay('closed by the server after %.1f s: %r' % (time.monotonic() - began, end))\n\
         s.close()\nwait()",
    ));
    client.until("ready");
    let seen = stage.connected(PORT);
    report.truth(client.until("closed by the server"));
    let (why, case) = stage.death(PORT, seen.local);
    report.death(&case, &[("cause", "peer_closed")]);
    report.said(why.headline());
    let limit = case.pointer("/learned_limit").cloned().unwrap_or_default();
    report.must("no limit of the path is learned", limit.is_null(), limit);
}

fn over_mptcp(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let server = redis_server(stage, &[]);
    let _server = server_of(stage, PORT, over(stage, &server));
    let host = stage.server();
    let client = stage.program("redis-cli", &["-h", &host, "subscribe", "news"]);
    let client = stage.near(over(stage, &client));
    client.until("news");
    let seen = stage.connected(PORT);
    report.given("ss shows a timer of keepalive", seen.timer.contains("keepalive"), &seen.timer);
    report.truth(seen.in_words());
    let is_set = |row: &Value| row.pointer("/keepalive") == Some(&true.into());
    let row = stage.until_row(PORT, "has keepalive", is_set);
    let wanted = [("verdict", "late"), ("keepalive", "true"), ("idle.seconds", "15")];
    report.live("subscribed", &row, &wanted);
    report.fields("subscribed", &row, &[("owners.0.process", "redis-cli")]);
    let why = stage.why(PORT);
    let worst = why.cases.first().cloned().unwrap_or_default();
    report.fields("why", &worst, &[("nobody_ever_set", "false|null")]);
    report.said(why.headline());
}

/// `mptcpize run` before a command.
fn over(stage: &CaseStage<'_>, command: &Command) -> Command {
    let mut over = stage.program("mptcpize", &["run"]);
    over.arg(command.get_program()).args(command.get_args());
    over
}

fn one_outage(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = server(stage);
    let client = stage.near(stage.python(
        "import redis\n\
         def ping():\n\
         \x20   c = redis.Redis(host=HOST, retry=None, socket_keepalive=False, socket_timeout=60)\n\
         \x20   for n in range(100):\n\
         \x20       try:\n\x20           c.ping()\n\
         \x20       except redis.RedisError as error:\n\
         \x20           say('%.60s' % error)\n\x20           return\n\
         \x20       if n == 1: say('ready')\n\
         \x20       time.sleep(3)\n\
         for _ in range(6): threading.Thread(target=ping).start()",
    ));
    let n_ready =
        || (client.printed().iter().filter(|line| *line == "ready").count() == 6).then_some(());
    patiently(Duration::from_mins(1), n_ready).expect("all of them ping");
    let rows = stage.rows(PORT);
    report.given("six connections", rows.len() == 6, rows.len());
    stage.path.darken();
    let n_ended = || {
        let deaths = stage.why(PORT);
        let n_dead = deaths.cases.iter().filter_map(|case| case.pointer("/deaths")?.as_u64());
        (n_dead.sum::<u64>() >= 6).then_some(deaths)
    };
    let why = patiently(Duration::from_mins(1), n_ended).expect("all six died");
    report.truth(format!(
        "the wire is cut; {}",
        client.printed().last().cloned().unwrap_or_default()
    ));
    let causes: Vec<String> = why
        .cases
        .iter()
        .filter_map(|case| case.pointer("/causes")?.as_array().cloned())
        .flatten()
        .map(|cause| {
            format!(
                "{} {}",
                text_at(&cause, "/cause"),
                cause.pointer("/deaths").unwrap_or(&Value::Null)
            )
        })
        .collect();
    let all = causes.join(", ");
    report.must("six times retransmit_timeout, no idle_drop", all == "retransmit_timeout 6", &all);
    report.said(format!("dead: {all}"));
    report.said(why.headline());
}

fn first_probe_is_late(stage: &CaseStage<'_>, report: &mut CaseReport, interval: u32, count: u32) {
    let _server = server(stage);
    let with = |idle: u32, interval: u32, count: u32| {
        stage.near(stage.python(&format!(
            "import redis\nr = redis.Redis(host=HOST, socket_keepalive_options={{\
             socket.TCP_KEEPIDLE: {idle}, socket.TCP_KEEPINTVL: {interval}, socket.TCP_KEEPCNT: {count}}})\ntalk(r.ping)"
        )))
    };
    let in_time = with(3, 1, 3);
    in_time.until("ready");
    let first = stage.connected(PORT).local;
    let too_late = with(12, interval, count);
    too_late.until("ready");
    let all = || SeenBySs::all(&stage.path.near, PORT);
    let other = all().into_iter().find(|seen| seen.local != first && seen.state == "ESTAB");
    let other = other.expect("a second connection").local;
    let (_, case) = stage.death(PORT, other);
    let lives = all().iter().any(|seen| seen.local == first && seen.state == "ESTAB");
    report.given("the other one lives", lives, lives);
    report.truth("killed at its first probe; the one that probes each 3 s lives");
    let wanted = [("cause", "keepalive_timeout"), ("forgotten", "true")];
    report.death(&case, &wanted);
    report.fields("why", &case, &[("finding", "dropped")]);
    report.said(stage.why(PORT).headline());
}

fn is_not_accepted(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let server = server(stage);
    server.signal(Signal::STOP);
    let host = stage.server();
    let client = stage.near(stage.program("redis-cli", &["-h", &host, "ping"]));
    let seen = stage.connected(PORT);
    report.truth(format!("the server is stopped; the client: {}", seen.in_words()));
    let its = |row: &Value| {
        text_at(row, "/remote") == seen.local.to_string()
            && text_at(row, "/condition") == "unaccepted"
    };
    let find = || said::rows(stage.agent, stage.path.far.inode()).into_iter().find(its);
    let row = patiently(Duration::from_secs(30), find).unwrap_or_default();
    let wanted = [("condition", "unaccepted"), ("owners.0.process", "redis-server")];
    report.live("the server", &row, &wanted);
    report.said(said::why(stage.agent, &seen.local.ip().to_string()).headline());
    server.signal(Signal::CONT);
    report.truth(format!("let go on, it answers {}", client.until("PONG")));
}
