//! An agent without eBPF, `run --source proc`: what it shows is what the kernel's own source shows, what is gone is told once and
//! with no cause that nobody saw, and what it cannot know it does not show.
#![expect(clippy::expect_used, reason = "a test")]

use keepwatch_tests::{
    answer::{
        agent::{Agent, keepwatch, once},
        http,
        truth::compare,
    },
    kernel::{
        container::with_rights_of_a_container, netns::require_root, population::Population,
        socket::Plan,
    },
    network::path::NetworkPath,
    tool::{self, TemporaryFolder},
    wait::until,
};
use rustix::{
    net::sockopt::{set_socket_keepalive, set_tcp_keepidle},
    thread::CapabilitySet,
};
use serde_json::Value;
use std::{
    fs,
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(30);
/// A look at thousands of sockets is dear, so an answer does not wait for one.
const STALENESS: Duration = Duration::from_secs(30);
/// Starting a process copies this process's descriptors for a moment, and keepwatch would rightly list a second owner.
static ALONE: Mutex<()> = Mutex::new(());

/// What has happened to the connection with this local port.
fn happened(agent: &Agent, port: u16) -> Vec<Value> {
    let wanted = "%7B%22past_only%22:true,%22event%22:%5B%22all%22%5D%7D";
    let mut events = agent.ask(&format!("/v1/events?wanted={wanted}"));
    let is_of = |local: &str| local.ends_with(&format!(":{port}"));
    events.retain(|event| event["local"].as_str().is_some_and(is_of));
    events
}

fn deaths(agent: &Agent, port: u16) -> Vec<Value> {
    let mut events = happened(agent, port);
    events.retain(|event| event["event"] == "died" || event["event"] == "ended");
    events
}

fn metrics(agent: &Agent) -> String {
    http::get(agent.address(), "/metrics", "*/*").expect("a scrape").body
}

/// The series of a family, whatever its labels.
fn has(scrape: &str, name: &str) -> bool {
    scrape.lines().any(|line| line.starts_with(name))
}

#[test]
fn its_rows_are_what_getsockopt_says_and_metrics_that_need_hooks_are_absent() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    require_root();
    let population = Population::everything();
    let agent = Agent::start(&["--source", "proc", "--interval", "1s"]);
    let mut comparison = compare(&population.sockets, STALENESS, || agent.sockets(&["--all"]));
    // A value that was set to what its namespace says.
    comparison.differences.retain(|line| !line.ends_with(r#"is "socket", keepwatch says "netns""#));
    comparison.assert_equal();
    let scrape = metrics(&agent);
    assert!(scrape.contains(r#"keepwatch_source_info{source="proc"} 1"#), "{scrape}");
    for there in [
        "keepwatch_sockets{",
        "keepwatch_detection_seconds_bucket",
        "keepwatch_not_seen{what=\"processes\"}",
        "keepwatch_snapshots_total",
    ] {
        assert!(has(&scrape, there), "no {there}");
    }
    for unknown in [
        "keepwatch_probes",
        "keepwatch_timer_fires",
        "keepwatch_connections_ended",
        "keepwatch_events_total",
        "keepwatch_events_lost",
        "keepwatch_hook_attached",
        "keepwatch_setsockopt",
        "keepwatch_settings_changed_unseen",
        "keepwatch_quiet_before_death",
    ] {
        assert!(!has(&scrape, unknown), "{unknown}: 0 would look like health");
    }
    let status = &agent.ask("/v1/status")[0];
    assert_eq!((&status["source"], &status["unready"]), (&"proc".into(), &Value::Null));
    let not_seen = status["not_seen"].to_string();
    assert!(not_seen.contains("events, probes") && status["ebpf_refused"].is_null(), "{status}");
    let doctor = once(["doctor", "--socket", &agent.socket().display().to_string()]);
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("agent source"), "{doctor}");
    let (_, said) = agent.stop();
    assert!(said.contains("connections are read from /proc, without eBPF"), "{said}");
}

#[test]
fn what_is_gone_is_told_once_without_a_cause_that_nobody_saw_and_what_lives_is_not() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let agent = Agent::start(&["--source", "proc", "--interval", "1s"]);
    let path = NetworkPath::cable();
    // Else nobody is in the namespace whose table would show what has no descriptor.
    let _there =
        EndedAtLast(path.near.run(|| Command::new("sleep").arg("600").spawn().expect("sleep")));
    let ends = path.connect(&Plan::NOTHING);
    let lives = path.connect(&Plan::NOTHING);
    let hangs = path.connect(&Plan::NOTHING);
    let held = path.connect(&Plan::NOTHING);
    let [port, other, hanging, holding] =
        [&ends, &lives, &hangs, &held].map(|ends| ends.local.port());
    let row =
        |port: u16| agent.sockets(&["--all", "--local-port", &port.to_string()]).into_iter().next();
    for port in [port, other, hanging, holding] {
        until("it is seen", SOON, || row(port));
    }
    // Its program closes one whose peer does not: the kernel keeps it for a while, without a descriptor.
    drop(hangs.client);
    let orphan = until("it is without an owner's descriptor", SOON, || {
        row(hanging).filter(|row| row.state == "fin_wait2")
    });
    assert!(orphan.owners.iter().all(|owner| owner.fd.is_none()), "{orphan:?}");
    assert!(deaths(&agent, hanging).is_empty(), "it lives");
    // A reset: nothing shows that it was one.
    rustix::net::sockopt::set_socket_linger(&ends.client, Some(Duration::ZERO)).expect("SO_LINGER");
    drop(ends.client);
    let death = until("its end is told", SOON, || deaths(&agent, port).into_iter().next());
    assert_eq!((&death["cause"], &death["certainty"]), (&"unknown".into(), &"inferred".into()));
    let evidence = death["evidence"].as_str().expect("evidence");
    assert!(evidence.contains("found gone by a snapshot"), "{evidence}");
    // Its peer resets one, whose program does not look at it.
    rustix::net::sockopt::set_socket_linger(&held.accepted, Some(Duration::ZERO))
        .expect("SO_LINGER");
    drop(held.accepted);
    let death = until("the end of it is told", SOON, || deaths(&agent, holding).into_iter().next());
    let evidence = death["evidence"].as_str().expect("evidence");
    assert!(evidence.contains("found closed by a snapshot"), "{evidence}");
    drop(held.client);
    drop(hangs.accepted);
    let death =
        until("the end of the orphan is told", SOON, || deaths(&agent, hanging).into_iter().next());
    assert_eq!(death["cause"], "local_closed");
    let n_told = [port, hanging, holding].map(|port| deaths(&agent, port).len());
    assert_eq!(n_told, [1, 1, 1]);
    assert!(row(other).is_some() && deaths(&agent, other).is_empty());
    let counted = metrics(&agent);
    assert!(counted.contains("keepwatch_deaths_total{"), "{counted}");
    drop((lives, ends.accepted));
}

#[test]
fn a_setting_that_changes_is_a_new_verdict_and_nobody_is_said_to_have_set_it() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let agent = Agent::start(&["--source", "proc", "--interval", "1s"]);
    let path = NetworkPath::cable();
    let ends = path.connect(&Plan::NOTHING);
    let port = ends.local.port();
    let row = || agent.sockets(&["--all", "--local-port", &port.to_string()]).into_iter().next();
    until("it is seen", SOON, || row().filter(|row| row.verdict == "off"));
    set_tcp_keepidle(&ends.client, Duration::from_mins(1)).expect("TCP_KEEPIDLE");
    set_socket_keepalive(&ends.client, true).expect("SO_KEEPALIVE");
    until("its verdict is another", SOON, || row().filter(|row| row.verdict == "protected"));
    let events = until("that is told", SOON, || {
        let events = happened(&agent, port);
        events.iter().any(|event| event["event"] == "verdict_changed").then_some(events)
    });
    let is_said = |name: &str| events.iter().any(|event| event["event"] == name);
    assert!(!is_said("changed") && !is_said("setting"), "no call is seen: {events:?}");
}

#[test]
fn where_ebpf_is_refused_it_reads_proc_by_itself_says_why_and_is_not_ready() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    require_root();
    let folder = TemporaryFolder::new();
    let may = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    let agent = with_rights_of_a_container(may, &folder.file(""), || {
        Agent::spawn_in(folder, &["--interval", "1s"])
    });
    let ready = || http::get(agent.address(), "/-/ready", "*/*").ok();
    let answer = until("it answers after its first look", SOON, || {
        ready().filter(|answer| !answer.body.contains("first snapshot"))
    });
    assert_eq!(answer.status, 503);
    for words in ["eBPF is refused", "CAP_BPF", "--source proc"] {
        assert!(answer.body.contains(words), "no {words:?} in: {}", answer.body);
    }
    let status = &agent.ask("/v1/status")[0];
    assert_eq!(status["source"], "proc");
    assert!(status["ebpf_refused"].to_string().contains("CAP_BPF"), "{status}");
    let held = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("its status");
    let held = held.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities");
    let held = u64::from_str_radix(held.trim(), 16).expect("a number");
    assert_eq!(CapabilitySet::from_bits_retain(held), may, "what its looks need, and no more");
    assert!(metrics(&agent).contains(r#"keepwatch_source_info{source="proc"} 1"#));
    let said = agent.said();
    assert!(said.contains("eBPF is refused: connections are read from /proc"), "{said}");
    // Without the right to see others a part would be taken for all.
    let folder = TemporaryFolder::new();
    let refused = Command::new("setpriv")
        .args(["--inh-caps", "-all", "--bounding-set", "-all"])
        .arg(tool::keepwatch())
        .args(["run", "--listen", "127.0.0.1:0", "--socket"])
        .arg(folder.file("k.sock"))
        .arg("--state-dir")
        .arg(folder.file("state"))
        .output()
        .expect("setpriv of util-linux");
    assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stderr));
}

/// The command of docs/KUBERNETES.md: in a pid namespace of its own, with CAP_SYS_PTRACE alone, beside a program of the same user.
#[test]
fn beside_a_program_in_a_pid_namespace_with_sys_ptrace_alone_it_is_ready_and_sees_that() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    require_root();
    let path = NetworkPath::cable();
    let ends = path.connect(&Plan::keepalive(77, 9, 4));
    let folder = TemporaryFolder::new();
    let address = http::free_address();
    let at = |name: &str| folder.file(name).display().to_string();
    // The program has the connection open as its standard input.
    let script = format!(
        "exec 3<&0; sleep 600 <&3 & exec 3<&- </dev/null; \
         exec setpriv --inh-caps -all --bounding-set -all,+sys_ptrace {} run --source proc --interval 1s \
         --listen {address} --socket {} --state-dir {}",
        tool::keepwatch().display(),
        at("k.sock"),
        at("state"),
    );
    let copy = ends.client.try_clone().expect("a copy");
    let child = path.near.run(|| {
        Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &script])
            .stdin(copy)
            .spawn()
            .expect("unshare of util-linux")
    });
    let _ended = EndedAtLast(child);
    let ready = || path.near.run(|| http::get(address, "/-/ready", "*/*").ok());
    until("it is ready", SOON, || ready().filter(|answer| answer.status == 200));
    let words = ["sockets", "--json", "--all", "--source", "agent", "--socket"];
    let row = until("it sees its neighbour", SOON, || {
        let output = keepwatch(words).arg(at("k.sock")).output().expect("start keepwatch");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        rows.find(|row| row["local"] == ends.local.to_string())
    });
    assert_eq!((&row["keepalive"], &row["direction"]), (&true.into(), &"outbound".into()));
    assert_eq!((&row["idle"]["seconds"], &row["idle"]["from"]), (&77.into(), &"socket".into()));
    assert_eq!(row["owners"][0]["process"], "sleep");
}

struct EndedAtLast(std::process::Child);

impl Drop for EndedAtLast {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
