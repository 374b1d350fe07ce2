//! Proxies: each leg has its own keepalive.

use super::{ECHO_PORT, HTTP_PORT, echo_server, http_server, without_remarks};
use crate::{
    case::{Play, TriedCase},
    needed::Needed::Program,
    program::RunningProgram,
    report::CaseReport,
    said::{self, text_at},
    stage::CaseStage,
    trial::{AdviceTrial, texts},
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::Silence;
use std::process::Command;

/// Where HAProxy listens, at the client's host.
const FRONT: u16 = 7000;
/// Where nginx listens, at the server's host.
const NGINX: u16 = 8100;

pub(super) const CASES: &[TriedCase] = &[
    TriedCase {
        name: "HAProxy with clitcpka only, its leg to the server",
        kind: "idle_drop",
        complaints: &["sysown/proxysql#2248", "haproxy/haproxy#2135"],
        needs: &[Program("haproxy")],
        path: TriedPath::Forgets(Silence),
        play: Play::Advice(&AdviceTrial {
            port: ECHO_PORT,
            verdict: "off",
            cause: "idle_drop",
            server: echo_server,
            client: haproxy,
            advised_as: "HAProxy, towards servers",
            place: "runtime",
            applied: "in the section defaults",
            then: "protected",
        }),
    },
    TriedCase {
        name: "nginx with so_keepalive=3s:1s:3, towards a client without",
        kind: "kept",
        complaints: &[],
        needs: &[Program("nginx")],
        path: TriedPath::Forgets(Silence),
        play: Play::Steps(nginx_probes),
    },
    TriedCase {
        name: "HAProxy with a client timeout of 6 s, and a client that probes",
        kind: "peer_closed",
        complaints: &["haproxy/haproxy#1236"],
        needs: &[Program("haproxy")],
        path: TriedPath::Keeps,
        play: Play::Steps(haproxy_closes),
    },
];

/// HAProxy beside its client. The lines are options of it.
fn haproxy(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let config = stage.file(
        "haproxy.cfg",
        &format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n\
             option clitcpka\n{}\n\
             listen front\n bind 127.0.0.1:{FRONT}\n server back {}:{ECHO_PORT}\n",
            without_remarks(lines),
            stage.server()
        ),
    );
    let haproxy = stage.program("haproxy", &[]).get_program().to_owned();
    let mut shell = stage.python(&format!(
        "import subprocess\nsubprocess.Popen(sys.argv[2:])\n\
         while True:\n\
         \x20   try:\n\x20       s = socket.create_connection(('127.0.0.1', {FRONT}))\n\x20       break\n\
         \x20   except ConnectionRefusedError:\n\x20       time.sleep(0.1)\n\
         def ask():\n\x20   s.sendall(b'word')\n\x20   answer = s.recv(100)\n\
         \x20   if not answer: raise EOFError('closed')\n\x20   return answer\ntalk(ask)"
    ));
    shell.arg(haproxy).args(["-db", "-f"]).arg(config);
    shell
}

fn nginx(stage: &CaseStage<'_>) -> RunningProgram {
    let folder = stage.folder_for_all("nginx");
    let place = folder.display();
    let config = stage.file(
        "nginx.conf",
        &format!(
            "daemon off; pid {place}/pid; error_log stderr; worker_processes 1; events {{}}\n\
             http {{ access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n\
             fastcgi_temp_path {place}/fcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;\n\
             proxy_read_timeout 1h;\n\
             server {{ listen {}:{NGINX} so_keepalive=3s:1s:3; keepalive_timeout 1h;\n\
             location / {{ proxy_pass http://{}:{HTTP_PORT}; }} }} }}\n",
            stage.server(),
            stage.server()
        ),
    );
    let mut nginx = stage.program("nginx", &["-c"]);
    nginx.arg(config).arg("-p").arg(folder);
    super::server_of(stage, NGINX, nginx)
}

fn nginx_probes(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _back = http_server(stage);
    let _nginx = nginx(stage);
    let mut client = stage.near(stage.python(&format!(
        "import http.client\nc = http.client.HTTPConnection(HOST, {NGINX})\n\
         def get():\n\x20   c.request('GET', '/')\n\x20   return c.getresponse().read()\ntalk(get)"
    )));
    client.until("ready");
    let row = stage.until_row(NGINX, "is kept", |row| text_at(row, "/verdict") == "kept");
    let wanted = [("verdict", "kept"), ("condition", "fine"), ("peer_probes", "true")];
    report.live("the client", &row, &wanted);
    let seen = stage.connected(NGINX);
    report.truth(seen.in_words());
    let server = said::rows(stage.agent, stage.path.far.inode());
    let local = seen.local.to_string();
    let server = server.into_iter().find(|row| text_at(row, "/remote") == local);
    let wanted = [
        ("verdict", "protected"),
        ("idle.seconds", "3"),
        ("direction", "inbound"),
        ("owners.0.process", "nginx"),
    ];
    report.live("nginx", &server.unwrap_or_default(), &wanted);
    let client_address = seen.local.ip().to_string();
    let why = said::why(stage.agent, &client_address);
    let of_nginx = |case: &&serde_json::Value| text_at(case, "/process") == "nginx";
    let case = why.cases.iter().find(of_nginx).cloned().unwrap_or_default();
    report.fields("why", &case, &[("nobody_ever_set", "false"), ("finding", "fine")]);
    let calls = case.pointer("/calls").cloned().unwrap_or_default().to_string();
    report.must("the calls of nginx on its listener", calls.contains("nginx"), &calls);
    report.said(why.headline());
    report.said(format!("calls {calls}"));
    client.tell("go");
    let outcome = client.until("outcome");
    report.given("it lives", outcome.contains("answered"), &outcome);
    report.truth(outcome);
}

fn haproxy_closes(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let host = stage.server();
    let config = stage.file(
        "closing.cfg",
        &format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 6s\n timeout server 1h\n\
             listen front\n bind {host}:{FRONT}\n server back {host}:{ECHO_PORT}\n"
        ),
    );
    let mut haproxy = stage.program("haproxy", &["-db", "-f"]);
    haproxy.arg(config);
    let _server = super::server_of(stage, FRONT, haproxy).with(echo_server(stage));
    let client = stage.near(stage.python(&format!(
        "s = socket.create_connection((HOST, {FRONT}))\n\
         s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)\n\
         s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)\n\
         s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)\n\
         s.sendall(b'word')\ns.recv(100)\nsay('ready')\nbegan = time.monotonic()\n\
         end = s.recv(1)\nsay('closed by the proxy after %.1f s: %r' % (time.monotonic() - began, end))\n\
         s.close()\nwait()"
    )));
    client.until("ready");
    let seen = stage.connected(FRONT);
    report.truth(client.until("closed by the proxy"));
    let (why, case) = stage.death(FRONT, seen.local);
    report.death(&case, &[("cause", "peer_closed")]);
    report.fields(
        "why",
        &case,
        &[("finding", "closed_although_probed"), ("learned_limit", "null")],
    );
    let settings = tcp_settings(&case);
    report.must("no setting of TCP is advised", settings.is_empty(), settings.join("; "));
    report.said(why.headline());
}

/// Lines of advice that set keepalive: a proxy that closes by a timer of its own does not ask for probes.
fn tcp_settings(case: &serde_json::Value) -> Vec<String> {
    let advice = case.pointer("/advice").and_then(serde_json::Value::as_array).cloned();
    let lines = advice.unwrap_or_default().into_iter().flat_map(|one| texts(&one, "/lines"));
    lines.filter(|line| line.to_lowercase().contains("keep")).collect()
}
