//! Clients of HTTP: an answer that takes longer than the path keeps, and a client that gives up.

use super::{HTTP_PORT, first_line, http_server};
use crate::{
    case::{Play, TriedCase},
    needed::Needed::{Program, Python},
    report::CaseReport,
    said::{self, text_at},
    seen_by_ss::SeenBySs,
    stage::CaseStage,
    trial::AdviceTrial,
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::{Reset, Silence};
use rustix::process::Signal;
use serde_json::Value;
use std::process::Command;

pub(super) const CASES: &[TriedCase] = &[
    TriedCase {
        name: "curl, a long poll that takes longer than the path keeps",
        kind: "abandoned",
        complaints: &["encode/httpx#2975"],
        needs: &[Program("curl")],
        path: TriedPath::Forgets(Silence),
        play: Play::Advice(&AdviceTrial {
            verdict: "late",
            cause: "abandoned",
            client: curl,
            advised_as: "curl",
            applied: "as the command",
            ..TRIAL
        }),
    },
    TriedCase {
        name: "requests, a pooled connection used after the path forgot it",
        kind: "idle_drop",
        complaints: &["psf/requests#3808"],
        needs: &[Python("requests")],
        path: TriedPath::Forgets(Silence),
        play: Play::Advice(&AdviceTrial { client: requests, ..TRIAL }),
    },
    TriedCase {
        name: "aiohttp, a pooled connection used after the path forgot it",
        kind: "idle_drop",
        complaints: &[],
        needs: &[Python("aiohttp")],
        path: TriedPath::Forgets(Reset),
        play: Play::Advice(&AdviceTrial {
            client: aiohttp,
            advised_as: "aiohttp",
            applied: "as the connector",
            ..TRIAL
        }),
    },
    TriedCase {
        name: "httpx with a read timeout of 12 s, path forgets silently",
        kind: "abandoned",
        complaints: &["openai/openai-python#3269", "googleapis/python-genai#2705"],
        needs: &[Python("httpx")],
        path: TriedPath::Forgets(Silence),
        play: Play::Steps(reads_for_12_s),
    },
    TriedCase {
        name: "httpx with a read timeout of 12 s, path resets",
        kind: "abandoned",
        complaints: &["encode/httpx#2975"],
        needs: &[Python("httpx")],
        path: TriedPath::Forgets(Reset),
        play: Play::Steps(reads_for_12_s),
    },
    TriedCase {
        name: "httpx that is answered after 12 s and closes",
        kind: "local_closed",
        complaints: &[],
        needs: &[Python("httpx")],
        path: TriedPath::SaidToForget,
        play: Play::Steps(is_answered_in_time),
    },
    TriedCase {
        name: "curl --keepalive-time 2, a long poll when the wire is cut",
        kind: "peer_silent",
        complaints: &["benoitc/gunicorn#1458"],
        needs: &[Program("curl")],
        path: TriedPath::SaidToForget,
        play: Play::Steps(probes_go_unanswered),
    },
    TriedCase {
        name: "curl that is stopped while it downloads",
        kind: "blocked",
        complaints: &[],
        needs: &[Program("curl")],
        path: TriedPath::SaidToForget,
        play: Play::Steps(does_not_read),
    },
];

const TRIAL: AdviceTrial = AdviceTrial {
    port: HTTP_PORT,
    verdict: "off",
    cause: "idle_drop|abandoned",
    server: http_server,
    client: requests,
    advised_as: "requests",
    place: "runtime",
    applied: "as the adapter of the session, also for http://",
    then: "protected",
};

/// The line is a command, with dots where the address goes. Without it, curl gives up.
fn curl(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let address = format!("--silent --show-error http://{}:{HTTP_PORT}/slow/28", stage.server());
    let line = if lines.is_empty() {
        format!("curl --max-time 20 {address}")
    } else {
        first_line(lines).replace("...", &address)
    };
    let mut shell = stage.command("/bin/sh");
    let script = format!(
        "echo ready; if answer=$({line} 2>&1); then echo \"outcome: answered $answer\"; \
         else echo \"outcome: $answer\"; fi; read end"
    );
    shell.args(["-c", &script]);
    shell
}

/// The lines define an adapter and mount it.
fn requests(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    stage.python(&format!(
        "import requests, urllib3\nsession = requests.Session()\n{}\n\
         talk(lambda: session.get('http://%s:{HTTP_PORT}/' % HOST, timeout=5).text)",
        lines.join("\n")
    ))
}

/// The lines define a function; the last one is a connector.
fn aiohttp(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let (connector, function) = lines.split_last().map_or_else(
        || ("aiohttp.TCPConnector(keepalive_timeout=600)".to_owned(), String::new()),
        |(last, before)| {
            (
                last.replace("TCPConnector(", "TCPConnector(keepalive_timeout=600, "),
                before.join("\n"),
            )
        },
    );
    stage.python(&format!(
        "import aiohttp, asyncio\n{function}\n\
         loop = asyncio.new_event_loop()\n\
         async def open_session():\n\x20   return aiohttp.ClientSession(connector={connector})\n\
         session = loop.run_until_complete(open_session())\n\
         async def get():\n\
         \x20   async with session.post('http://%s:{HTTP_PORT}/' % HOST, \
         timeout=aiohttp.ClientTimeout(5)) as answer:\n\
         \x20       return await answer.text()\n\
         talk(lambda: loop.run_until_complete(get()))"
    ))
}

fn asks_for(seconds: u32) -> String {
    format!(
        "import httpx\nsay('ready')\n\
         def get():\n\
         \x20   with httpx.Client(timeout=httpx.Timeout(5, read=12)) as client:\n\
         \x20       return client.get('http://%s:{HTTP_PORT}/slow/{seconds}' % HOST).text\n\
         outcome(get)\nwait()"
    )
}

fn reads_for_12_s(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = http_server(stage);
    let client = stage.near(stage.python(&asks_for(40)));
    let seen = stage.connected(HTTP_PORT);
    let overdue = |row: &Value| text_at(row, "/condition") == "overdue";
    let row = stage.until_row(HTTP_PORT, "is overdue", overdue);
    report.live("while it waits", &row, &[("verdict", "off"), ("condition", "overdue")]);
    let outcome = client.until("outcome");
    report.given("it gave up", outcome.contains("ReadTimeout"), &outcome);
    report.truth(outcome);
    let (why, case) = stage.death(HTTP_PORT, seen.local);
    report.death(&case, &[("cause", "abandoned")]);
    report.must("exit code 1 of why", why.exit == Some(1), format!("{:?}", why.exit));
    report.said(why.headline());
}

fn is_answered_in_time(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = http_server(stage);
    let client = stage.near(stage.python(&asks_for(11)));
    let seen = stage.connected(HTTP_PORT);
    let outcome = client.until("outcome");
    report.given("it was answered", outcome.contains("answered"), &outcome);
    report.truth(outcome);
    let (why, case) = stage.death(HTTP_PORT, seen.local);
    report.death(&case, &[("cause", "local_closed")]);
    report.must("exit code 0 of why", why.exit == Some(0), format!("{:?}", why.exit));
    report.said(why.headline());
}

fn probes_go_unanswered(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = http_server(stage);
    let client = stage.near(curl(stage, &["curl --keepalive-time 2 ...".to_owned()]));
    let seen = stage.connected(HTTP_PORT);
    let row = stage.until_row(HTTP_PORT, "is judged", |row| !text_at(row, "/verdict").is_empty());
    let wanted = [("verdict", "protected"), ("condition", "fine")];
    report.live("before", &row, &wanted);
    stage.path.darken();
    let silent = |row: &Value| text_at(row, "/condition") == "peer_silent";
    let row = stage.until_row(HTTP_PORT, "has a silent peer", silent);
    let probes = stage.connected(HTTP_PORT);
    report.truth(format!("the wire is cut; {}", probes.in_words()));
    report.live("cut", &row, &[("condition", "peer_silent"), ("in_flight", "false")]);
    let why = stage.why(HTTP_PORT);
    report.must("exit code 1 of why", why.exit == Some(1), format!("{:?}", why.exit));
    report.said(why.headline());
    report.truth(client.until("outcome"));
    let (_, case) = stage.death(HTTP_PORT, seen.local);
    report.death(&case, &[("cause", "keepalive_timeout")]);
    let forgotten = case.pointer("/example/forgotten").cloned().unwrap_or_default();
    report.must("not said to be the path's memory", forgotten == false, forgotten);
}

fn does_not_read(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = http_server(stage);
    let address = format!("http://{}:{HTTP_PORT}/large", stage.server());
    let words = ["--silent", "--limit-rate", "1M", "--output", "/dev/null", &address];
    let client = stage.near(stage.program("curl", &words));
    let seen = stage.connected(HTTP_PORT);
    client.signal(Signal::STOP);
    let blocked = |row: &Value| text_at(row, "/condition") == "blocked";
    let row = stage.until_row_of_server(&seen, blocked);
    let its = |it: &SeenBySs| it.remote == seen.local;
    let server = SeenBySs::of(&stage.path.far).into_iter().find(its);
    let timer = server.as_ref().map(|it| it.timer.clone()).unwrap_or_default();
    report.given("ss shows the timer of a closed window", timer.contains("persist"), &timer);
    let words = server.map(|it| it.in_words()).unwrap_or_default();
    report.truth(format!("the client is stopped; the server: {words}"));
    report.live("the server", &row, &[("condition", "blocked"), ("direction", "inbound")]);
    report.said(said::why(stage.agent, &seen.local.ip().to_string()).headline());
    client.signal(Signal::CONT);
    let row = stage.until_row_of_server(&seen, |row| text_at(row, "/condition") == "fine");
    report.live("let go on", &row, &[("condition", "fine")]);
}
