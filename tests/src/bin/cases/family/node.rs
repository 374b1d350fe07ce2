//! Node: sockets, fetch, and a server whose own idle timeout races with a request.

use super::{ECHO_PORT, echo_server, first_line, server_of};
use crate::{
    case::{Play, TriedCase},
    needed::Needed::{Node, Program},
    program::RunningProgram,
    report::CaseReport,
    said::text_at,
    stage::{CaseStage, patiently},
    trial::AdviceTrial,
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::{Reset, Silence};
use serde_json::Value;
use std::{process::Command, time::Duration};

/// A server's usual keep-alive of 5 s.
const RACE_PORT: u16 = 8081;

pub(super) const CASES: &[TriedCase] = &[
    TriedCase {
        name: "Node net.connect, used after the path forgot it",
        kind: "idle_drop",
        complaints: &["nodejs/node#31663"],
        needs: &[Program("node")],
        path: TriedPath::Forgets(Silence),
        play: Play::Advice(&AdviceTrial {
            port: ECHO_PORT,
            verdict: "off",
            cause: "idle_drop",
            server: echo_server,
            client: net_connect,
            advised_as: "Node's net.connect",
            place: "runtime",
            applied: "after net.connect",
            then: "protected",
        }),
    },
    TriedCase {
        name: "Node fetch, an answer that takes longer than the path keeps",
        kind: "abandoned",
        complaints: &["openai/openai-python#3269"],
        needs: &[Program("node"), Node("undici")],
        path: TriedPath::Forgets(Reset),
        play: Play::Advice(&AdviceTrial {
            port: 80,
            verdict: "late",
            cause: "abandoned",
            server: web_server,
            client: fetch,
            advised_as: "Node's fetch",
            place: "runtime",
            applied: "before the request",
            then: "protected",
        }),
    },
    TriedCase {
        name: "Node http server with keepAliveTimeout 5 s, whose close meets a request",
        kind: "peer_reset",
        complaints: &["nodejs/node#17749", "nodejs/node#27363", "envoyproxy/envoy#14981"],
        needs: &[Program("node")],
        path: TriedPath::Keeps,
        play: Play::Steps(close_meets_request),
    },
    TriedCase {
        name: "Node with setKeepAlive of 1 s: every answered probe is one",
        kind: "fine",
        complaints: &["golang/go#48622"],
        needs: &[Program("node")],
        path: TriedPath::SaidToForget,
        play: Play::Steps(probes_are_answered),
    },
];

fn web_server(stage: &CaseStage<'_>) -> RunningProgram {
    server_of(stage, 80, stage.python("serve_http(80)"))
}

/// The line is a call on `socket`.
fn net_connect(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    stage.node(&format!(
        "const socket = require('net').connect({{ host: HOST, port: {ECHO_PORT} }});\n\
         {}\n\
         socket.on('error', () => {{}});\n\
         const ask = () => new Promise((done, failed) => {{\n\
           socket.once('data', data => done(data)); socket.once('close', () => failed(Error('closed')));\n\
           socket.write('word'); }});\n\
         socket.once('connect', () => talk(ask));",
        first_line(lines)
    ))
}

/// The lines are a call of `setGlobalDispatcher`. Without them, the program gives up.
fn fetch(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let lines_of_it = lines.join("\n");
    let patience = if lines.is_empty() { 20_000 } else { 60_000 };
    stage.node(&format!(
        "const {{ setGlobalDispatcher, Agent }} = require('undici');\n{lines_of_it}\n\
         said('ready');\n\
         outcome(() => fetch(`http://${{HOST}}/slow/28`, \
         {{ signal: AbortSignal.timeout({patience}) }}).then(r => r.text())).then(told);"
    ))
}

/// The event loop of the server is busy when the timer is due and when the request comes. Timers are first in its next
/// round: it closes with the request unread.
fn close_meets_request(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let code = format!(
        "const server = require('http').createServer((_, answer) => {{\n\
           answer.end('ok');\n\
           const wait = () => {{ const end = Date.now() + 2500; while (Date.now() < end); }};\n\
           setTimeout(() => setImmediate(wait), 4500);\n\
         }});\n\
         server.keepAliveTimeout = 5000; server.listen({RACE_PORT}, HOST);"
    );
    let _server = server_of(stage, RACE_PORT, stage.node(&code));
    let client = stage.near(stage.python(&format!(
        "import http.client\nc = http.client.HTTPConnection(HOST, {RACE_PORT})\n\
         def get():\n\x20   c.request('GET', '/')\n\x20   return c.getresponse().read()\n\
         get()\nsay('ready')\ntime.sleep(6.2)\noutcome(get)\nwait()"
    )));
    client.until("ready");
    let seen = stage.connected(RACE_PORT);
    let outcome = client.until("outcome");
    report.given("the server closes with the request unread", outcome.contains("Error"), &outcome);
    report.truth(format!("no middlebox; {outcome}"));
    let (why, case) = stage.death(RACE_PORT, seen.local);
    report.death(&case, &[("cause", "peer_reset")]);
    report.said(why.headline());
    let limit = case.pointer("/learned_limit").cloned().unwrap_or_default();
    report.must("no limit of the path is learned", limit.is_null(), limit);
    let finding = text_at(&case, "/finding");
    report.must("not dropped by the path", finding != "dropped", finding);
}

fn probes_are_answered(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = echo_server(stage);
    let line = "socket.setKeepAlive(true, 1000)".to_owned();
    let client = stage.near(net_connect(stage, &[line]));
    client.until("ready");
    let row = stage.until_row(ECHO_PORT, "has keepalive", |row| {
        row.pointer("/keepalive") == Some(&true.into())
    });
    report.live("probed", &row, &[("verdict", "protected"), ("condition", "fine")]);
    let mut n_looks = 0;
    let odd = patiently(Duration::from_secs(15), || {
        n_looks += 1;
        let unanswered = |row: &Value| {
            let n = row.pointer("/probes_unanswered").and_then(Value::as_u64).unwrap_or(9);
            n > 0 || text_at(row, "/condition") != "fine"
        };
        stage.rows(ECHO_PORT).into_iter().find(unanswered)
    });
    report.truth(format!("{n_looks} looks in 15 s; {}", stage.connected(ECHO_PORT).in_words()));
    let of_probes = ["probes_unanswered", "silent_seconds", "looked_at_seconds_ago", "condition"];
    let field =
        |row: &Value, name: &str| format!("{name} {}", row.get(name).unwrap_or(&Value::Null));
    let found = odd.map(|row| of_probes.map(|name| field(&row, name)).join(", "));
    report.must("never a probe said to be unanswered", found.is_none(), found.unwrap_or_default());
}
