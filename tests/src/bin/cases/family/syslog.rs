//! rsyslog, which sends.

use super::{server_of, without_remarks};
use crate::{
    case::{Play, TriedCase},
    kit,
    needed::Needed::{self, Program},
    program::RunningProgram,
    report::CaseReport,
    said::text_at,
    server_trial::ServerTrial,
    stage::CaseStage,
    trial::AdviceTrial,
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::Silence;
use std::{env::consts::ARCH, process::Command};

const PORT: u16 = 5140;
const NEEDS: &[Needed] = &[Program("rsyslogd")];

pub(super) const CASES: &[TriedCase] = &[
    TriedCase {
        name: "rsyslog omfwd, a message after the path forgot it",
        kind: "idle_drop",
        complaints: &["rsyslog/rsyslog#916", "rsyslog/rsyslog#586"],
        needs: NEEDS,
        path: TriedPath::Forgets(Silence),
        play: Play::Advice(&AdviceTrial {
            port: PORT,
            verdict: "off",
            cause: "idle_drop",
            server: sink,
            client: rsyslog,
            advised_as: "rsyslog, which sends",
            place: "runtime",
            applied: "as the action",
            then: "protected",
        }),
    },
    TriedCase {
        name: "rsyslog omfwd with KeepAlive, the wire cut and a message sent",
        kind: "stuck",
        complaints: &["rsyslog/rsyslog#6696", "rsyslog/rsyslog#3820", "libuv/libuv#2907"],
        needs: NEEDS,
        path: TriedPath::SaidToForget,
        play: Play::Steps(wire_is_cut),
    },
    TriedCase {
        name: "rsyslog omfwd, whose server has stopped",
        kind: "peer_closed",
        complaints: &["rsyslog/rsyslog#3929"],
        needs: NEEDS,
        path: TriedPath::SaidToForget,
        play: Play::Steps(server_stops),
    },
    TriedCase {
        name: "rsyslog imtcp, whose quiet sender is forgotten",
        kind: "overdue",
        complaints: &["rsyslog/rsyslog#1254"],
        needs: NEEDS,
        path: TriedPath::Forgets(Silence),
        play: Play::ServerAdvice(&ServerTrial {
            port: PORT,
            verdict: "off",
            server: receiver,
            client: sender,
            advised_as: "rsyslog, which receives",
            applied: "as the input",
        }),
    },
];

/// Writes down what it gets.
fn sink(stage: &CaseStage<'_>) -> RunningProgram {
    let code = format!(
        "def take(peer):\n\
         \x20   while data := peer.recv(4096):\n\
         \x20       open(sys.argv[2], 'ab').write(data)\n\
         listener = socket.create_server((HOST, {PORT}))\n\
         while True:\n\
         \x20   threading.Thread(target=take, args=[listener.accept()[0]], daemon=True).start()"
    );
    let mut command = stage.python(&code);
    command.arg(stage.folder.file("taken"));
    server_of(stage, PORT, command)
}

/// rsyslogd, which writes down what it gets. The lines are an input, with dots where the address goes.
fn receiver(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let line = if lines.is_empty() {
        "input(type=\"imtcp\" ...)".to_owned()
    } else {
        without_remarks(lines)
    };
    let here = format!("address=\"{}\" port=\"{PORT}\"", stage.server());
    let folder = stage.folder_for_all("rsyslog");
    let config = format!(
        "module(load=\"imtcp\")\n{}\nglobal(workDirectory=\"{}\")\n\
         template(name=\"raw\" type=\"string\" string=\"%rawmsg%\\n\")\n\
         action(type=\"omfile\" file=\"{}\" template=\"raw\")\n",
        line.replace("...", &here),
        folder.display(),
        stage.folder.file("taken").display()
    );
    let mut command = stage.program("rsyslogd", &["-n", "-iNONE", "-f"]);
    command.arg(stage.file("receiver.conf", &config));
    add_modules(&mut command);
    server_of(stage, PORT, command)
}

/// A message is answered when the receiver has written it down.
fn sender(stage: &CaseStage<'_>) -> Command {
    let code = format!(
        "s = socket.create_connection((HOST, {PORT}))\nn = 0\nopen(sys.argv[2], 'a')\n\
         def ask():\n\
         \x20   global n\n\x20   n += 1\n\x20   word = 'message-%d-%d' % (os.getpid(), n)\n\
         \x20   s.sendall(b'<13>' + word.encode() + b'\\n')\n\
         \x20   end = time.monotonic() + 5\n\
         \x20   while time.monotonic() < end:\n\
         \x20       if word in open(sys.argv[2]).read(): return word\n\
         \x20       time.sleep(0.1)\n\
         \x20   raise TimeoutError('the message did not arrive')\n\
         talk(ask)"
    );
    let mut python = stage.python(&code);
    python.arg(stage.folder.file("taken"));
    python
}

fn add_modules(rsyslogd: &mut Command) {
    let modules = kit::unpacked(&format!("usr/lib/{ARCH}-linux-gnu/rsyslog"));
    if modules.is_dir() {
        rsyslogd.arg("-M").arg(modules);
    }
}

/// rsyslogd, and a program that logs by it: a message is answered when the sink has it. The lines are an action, with
/// dots where the address goes.
fn rsyslog(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let line = if lines.is_empty() {
        "action(type=\"omfwd\" ...)".to_owned()
    } else {
        without_remarks(lines)
    };
    let to = format!("target=\"{}\" port=\"{PORT}\" protocol=\"tcp\"", stage.server());
    let folder = stage.folder_for_all("rsyslog");
    let config = format!(
        "module(load=\"imptcp\")\ninput(type=\"imptcp\" path=\"{0}/in\")\n\
         global(workDirectory=\"{0}\")\n{1}\n",
        folder.display(),
        line.replace("...", &to)
    );
    let config = stage.file("rsyslog.conf", &config);
    let mut python = stage.python(
        "import subprocess\nsubprocess.Popen(sys.argv[4:])\n\
         n = 0\n\
         def ask():\n\
         \x20   global n\n\x20   n += 1\n\x20   word = 'message-%d-%d' % (os.getpid(), n)\n\
         \x20   s = socket.socket(socket.AF_UNIX)\n\
         \x20   s.connect(sys.argv[3])\n\x20   s.sendall(b'<13>' + word.encode() + b'\\n')\n\
         \x20   end = time.monotonic() + 5\n\
         \x20   while time.monotonic() < end:\n\
         \x20       if word in open(sys.argv[2]).read(): return word\n\
         \x20       time.sleep(0.1)\n\
         \x20   raise TimeoutError('the message did not arrive')\n\
         open(sys.argv[2], 'a')\n\
         def is_there():\n\
         \x20   try:\n\x20       socket.socket(socket.AF_UNIX).connect(sys.argv[3])\n\
         \x20   except OSError:\n\x20       return False\n\
         \x20   return True\n\
         while not is_there(): time.sleep(0.1)\n\
         talk(ask)",
    );
    python.arg(stage.folder.file("taken")).arg(folder.join("in"));
    let rsyslogd = kit::find_program("rsyslogd").expect("it is needed");
    python.arg(rsyslogd).args(["-n", "-iNONE", "-f"]).arg(config);
    add_modules(&mut python);
    python
}

fn wire_is_cut(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = sink(stage);
    stage.path.near.set("ipv4/tcp_retries2", 15);
    let line = "action(type=\"omfwd\" ... KeepAlive=\"on\" KeepAlive.Time=\"3\" \
                KeepAlive.Interval=\"2\" KeepAlive.Probes=\"3\")";
    let mut client = stage.near(rsyslog(stage, &[line.to_owned()]));
    client.until("ready");
    let row = stage.until_row(PORT, "is protected", |row| text_at(row, "/verdict") == "protected");
    report.live("before", &row, &[("verdict", "protected"), ("condition", "fine")]);
    stage.path.darken();
    client.tell("go");
    let stuck = |row: &serde_json::Value| text_at(row, "/condition") == "stuck";
    let row = stage.until_row(PORT, "is stuck", stuck);
    let seen = stage.connected(PORT);
    let repeats = seen.timer.starts_with("timer:(on,") && seen.unacked > 0;
    report.given("ss shows data in flight and its timer", repeats, &seen.timer);
    report.truth(format!("the wire is cut; {}", seen.in_words()));
    report.live("cut", &row, &[("condition", "stuck"), ("in_flight", "true")]);
    let why = stage.why(PORT);
    report.must("exit code 1 of why", why.exit == Some(1), format!("{:?}", why.exit));
    let worst = why.cases.first().cloned().unwrap_or_default();
    report.fields("why", &worst, &[("finding", "stuck")]);
    report.said(why.headline());
}

fn server_stops(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let server = sink(stage);
    let client = stage.near(rsyslog(stage, &[]));
    client.until("ready");
    let seen = stage.connected(PORT);
    drop(server);
    let closed = |row: &serde_json::Value| text_at(row, "/condition") == "peer_closed";
    let row = stage.until_row(PORT, "is closed by its peer", closed);
    let seen = stage.seen_from(seen.local).map(|seen| seen.in_words()).unwrap_or_default();
    report.given("ss has it in CLOSE-WAIT", seen.contains("CLOSE-WAIT"), &seen);
    report.truth(format!("the server has stopped; {seen}"));
    report.live("then", &row, &[("condition", "peer_closed"), ("state", "close_wait")]);
    let why = stage.why(PORT);
    let worst = why.cases.first().cloned().unwrap_or_default();
    report.fields("why", &worst, &[("finding", "peer_closed")]);
    report.said(why.headline());
}
