//! OpenSSH's client, with pings of its own and without.

use super::{first_line, server_of};
use crate::{
    case::{Play, TriedCase},
    needed::Needed::{Program, Python},
    program::RunningProgram,
    report::CaseReport,
    said::text_at,
    stage::CaseStage,
    trial::AdviceTrial,
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::Silence;
use rustix::process::Signal;
use std::process::Command;

pub(super) const PORT: u16 = 22;

pub(super) const CASES: &[TriedCase] = &[
    TriedCase {
        name: "ssh, a session left open; then with its own pings",
        kind: "idle_drop",
        complaints: &["pahaz/sshtunnel#29", "turnkeylinux/common#126"],
        needs: &[Program("ssh"), Python("asyncssh")],
        path: TriedPath::Forgets(Silence),
        play: Play::Advice(&AdviceTrial { ..TRIAL }),
    },
    TriedCase {
        name: "ssh, a session left open; then with the system's times",
        kind: "idle_drop",
        complaints: &["moby/moby#31208", "caprover/caprover#2098"],
        needs: &[Program("ssh"), Python("asyncssh")],
        path: TriedPath::Forgets(Silence),
        play: Play::Advice(&AdviceTrial {
            client: ssh_after_sysctl,
            place: "sysctl",
            applied: "in a shell, and ssh started again",
            then: "protected",
            ..TRIAL
        }),
    },
    TriedCase {
        name: "ssh -o ServerAliveInterval=3, until it is stopped",
        kind: "kept",
        complaints: &["pahaz/sshtunnel#29"],
        needs: &[Program("ssh"), Python("asyncssh")],
        path: TriedPath::Forgets(Silence),
        play: Play::Steps(pings_until_it_is_stopped),
    },
    TriedCase {
        name: "ssh, older than a sysctl of 3 s",
        kind: "late",
        complaints: &["moby/moby#31208", "caprover/caprover#2098", "cloudfoundry/guardian#165"],
        needs: &[Program("ssh"), Python("asyncssh")],
        path: TriedPath::Forgets(Silence),
        play: Play::Steps(sysctl_comes_too_late),
    },
];

const TRIAL: AdviceTrial = AdviceTrial {
    port: PORT,
    verdict: "late",
    cause: "idle_drop",
    server,
    client: ssh,
    advised_as: "OpenSSH client",
    place: "ping",
    applied: "in ssh_config",
    then: "kept",
};

/// Takes anybody, and answers each line.
pub(super) fn server(stage: &CaseStage<'_>) -> RunningProgram {
    let code = format!(
        "import asyncio, asyncssh\n\
         class Open(asyncssh.SSHServer):\n\
         \x20   def begin_auth(self, name):\n\x20       return False\n\
         async def answer(process):\n\
         \x20   process.stdout.write('ready\\n')\n\
         \x20   async for line in process.stdin:\n\
         \x20       process.stdout.write('outcome: answered ' + line)\n\
         async def main():\n\
         \x20   key = asyncssh.generate_private_key('ssh-ed25519')\n\
         \x20   await asyncssh.listen(HOST, {PORT}, server_factory=Open, server_host_keys=[key],\n\
         \x20       process_factory=answer)\n\
         \x20   await asyncio.Event().wait()\n\
         asyncio.run(main())"
    );
    server_of(stage, PORT, stage.python(&code))
}

/// `ssh -F CONFIG`, in a shell that says how it ended.
fn ssh_with(stage: &CaseStage<'_>, before: &str, config: &str) -> Command {
    let config = format!(
        "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n{config}\n"
    );
    let file = stage.file("ssh_config", &config);
    let ssh = stage.program("ssh", &[]).get_program().to_owned();
    let script = format!(
        "{before}\n\"$0\" -F \"$1\" root@{} answer 2>&1; echo \"outcome: ssh ended with $?\"; read end",
        stage.server()
    );
    let mut shell = stage.command("/bin/sh");
    shell.args(["-c", &script]).arg(ssh).arg(file);
    shell
}

fn ssh(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    ssh_with(stage, "", &first_line(lines))
}

/// The lines are commands of a shell.
fn ssh_after_sysctl(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    ssh_with(stage, &lines.join("\n"), "")
}

fn pings_until_it_is_stopped(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = server(stage);
    let client = stage.near(ssh(stage, &["ServerAliveInterval 3".to_owned()]));
    client.until("ready");
    stage.report_kept(report, PORT, "true");
    let why = stage.why(PORT);
    report.must("exit code 0 of why", why.exit == Some(0), format!("{:?}", why.exit));
    report.said(why.headline());
    client.signal_group(Signal::STOP);
    let seen = stage.until_quiet(PORT);
    report.truth(format!("stopped: quiet for {} s", seen.quiet_ms / 1000));
    let overdue = |row: &serde_json::Value| text_at(row, "/condition") == "overdue";
    let row = stage.until_row(PORT, "is overdue", overdue);
    report.live("stopped", &row, &[("verdict", "late"), ("condition", "overdue")]);
    let why = stage.why(PORT);
    report.must("exit code 1 of why", why.exit == Some(1), format!("{:?}", why.exit));
    client.signal_group(Signal::CONT);
}

fn sysctl_comes_too_late(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = server(stage);
    let mut client = stage.near(ssh(stage, &[]));
    client.until("ready");
    let seen = stage.connected(PORT);
    stage.path.near.set_keepalive(3, 1, 3);
    let is_set = |row: &serde_json::Value| row.pointer("/idle/seconds") == Some(&3.into());
    let row = stage.until_row(PORT, "has the new setting", is_set);
    let wanted = [("verdict", "late"), ("gap_from", "armed_timer"), ("idle.from", "netns")];
    report.live("after the sysctl", &row, &wanted);
    let why = stage.why(PORT);
    report.must("exit code 1 of why", why.exit == Some(1), format!("{:?}", why.exit));
    report.said(why.headline());
    let quiet = stage.until_quiet(PORT);
    report.given("its timer is the old one", quiet.timer.contains("119min"), &quiet.timer);
    report.truth(format!("quiet for {} s; {}", quiet.quiet_ms / 1000, quiet.in_words()));
    client.tell("go");
    let outcome = client.until("outcome");
    report.given("the path forgot it", !outcome.contains("answered"), &outcome);
    report.truth(outcome);
    let (_, case) = stage.death(PORT, seen.local);
    report.death(&case, &[("cause", "idle_drop")]);
}
