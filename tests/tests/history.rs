//! The history on disk and what is learned from it, with real agents, real deaths and real disks: full,
//! read-only, broken. Read back as users do: through the API.
#![expect(clippy::expect_used, reason = "a test")]

use keepwatch::tested::{DeathRow, HistoryReader, Query, judgement::death::Cause};
use keepwatch_tests::{
    answer::{
        agent::{Agent, keepwatch},
        history,
    },
    kernel::socket::Plan,
    network::{
        ending::{self, exchange},
        middlebox::MiddleboxAnswer,
        path::NetworkPath,
    },
    tool, wait,
};
use serde_json::Value;
use std::{
    fs, net::SocketAddr, os::unix::fs::FileExt as _, path, process::Command, time::Duration,
};

const SOON: Duration = Duration::from_mins(1);
/// The middlebox forgets what is quiet for longer.
const FORGETS_AFTER: u32 = 4;
const QUIET: Duration = Duration::from_secs(6);
/// Walks often, so that what survives is seen to.
const OPTIONS: [&str; 4] = ["--interval", "500ms", "--idle-limit", "5s"];

/// Deaths at the near end of a connection that the peer reset, out of the file.
fn deaths_of(state: &path::Path, local: SocketAddr) -> Vec<DeathRow> {
    let cause = Some(Cause::PeerReset);
    history::deaths(state, &Query { port: Some(local.port()), cause, ..Query::default() })
}

#[track_caller]
fn written(state: &path::Path, local: SocketAddr) -> DeathRow {
    wait::until("the death is written down", SOON, || deaths_of(state, local).pop())
}

#[test]
fn deaths_survive_a_restart_and_kill_9_and_are_reported_with_each_callers_settings() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let first = ending::reset_by_peer(&path);
    let death = written(&agent.state(), first);
    assert_eq!(death.event.details.cause.expect("a cause").as_str(), "peer_reset");
    let calls: Vec<_> = death.calls.iter().map(|call| (call.option.as_str(), call.value)).collect();
    let set = [("SO_KEEPALIVE", Some(1)), ("TCP_KEEPIDLE", Some(60)), ("TCP_KEEPINTVL", Some(10))];
    for call in set {
        assert!(calls.contains(&call), "{call:?} in {calls:?}");
    }
    let by = death.calls[0].by.as_ref().expect("who called");
    assert_eq!(by.pid, std::process::id());
    // Killed while it writes, and opened again as it is.
    let folder = agent.kill();
    let agent = Agent::start_in(folder, &OPTIONS);
    assert_eq!(deaths_of(&agent.state(), first).len(), 1);
    let second = ending::reset_by_peer(&path);
    written(&agent.state(), second);
    // What died in the last moment is written at an orderly end.
    let third = ending::reset_by_peer(&path);
    let (folder, said) = agent.stop_and_leave();
    assert!(!said.contains("history is") && !said.contains("records of"), "{said}");
    for local in [first, second, third] {
        assert_eq!(deaths_of(&folder.file("state"), local).len(), 1, "{said}");
    }
}

/// Who called for which option of the connection with this near end, as `why` says.
#[track_caller]
fn calls_by(agent: &Agent, local: SocketAddr) -> Vec<(String, u64)> {
    let row = wait::until("it is watched", SOON, || {
        agent.sockets(&[]).into_iter().find(|row| row.local == local)
    });
    let why = ["why", "--json", "--source", "agent", "--socket"];
    let mut command = keepwatch(why);
    let output = command.arg(agent.socket()).arg(row.id).output().expect("start keepwatch");
    let case: Value = serde_json::from_slice(&output.stdout).expect("one case");
    let calls = case.get("calls").and_then(Value::as_array).expect("its calls");
    let call = |call: &Value| {
        let option = call.get("option").and_then(Value::as_str)?;
        let by = call.pointer("/by/pid").and_then(Value::as_u64)?;
        Some((option.to_owned(), by))
    };
    calls.iter().map(|it| call(it).expect("an option, and who called")).collect()
}

#[test]
fn who_set_what_is_known_after_a_restart_and_after_kill_9_of_what_had_lived_for_a_minute() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let here = u64::from(std::process::id());
    let plan = Plan::keepalive(60, 10, 3);
    let set = ["SO_KEEPALIVE", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"]
        .map(|option| (option.to_owned(), here));
    let first = path.connect(&plan);
    assert_eq!(calls_by(&agent, first.local), set);
    let (folder, said) = agent.stop_and_leave();
    // The look-alike: nobody saw who set it.
    let unseen = path.connect(&plan);
    let agent = Agent::start_in(folder, &OPTIONS);
    assert_eq!(calls_by(&agent, first.local), set, "{said}");
    assert_eq!(calls_by(&agent, unseen.local), []);
    let second = path.connect(&plan);
    let reader = HistoryReader::open(&agent.state()).expect("the history");
    wait::until("the calls are written down", Duration::from_mins(2), || {
        let calls = reader.living_calls().expect("the calls");
        calls.iter().any(|call| call.on.local == second.local).then_some(())
    });
    let agent = Agent::start_in(agent.kill(), &OPTIONS);
    for local in [first.local, second.local] {
        assert_eq!(calls_by(&agent, local), set);
    }
}

#[test]
fn the_api_answers_what_the_file_holds() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let local = ending::reset_by_peer(&path);
    written(&agent.state(), local);
    let of_it = format!("/v1/deaths?peer=10.77.0.0/24&port={}", local.port());
    let target = |more: &str| format!("{of_it}&cause=peer_reset{more}");
    let [death] = agent.ask(&target("")).try_into().expect("one death");
    assert_eq!((&death["event"], &death["cause"]), (&"ended".into(), &"peer_reset".into()));
    assert_eq!(death["local"], local.to_string());
    assert!(death["calls"].as_array().is_some_and(|calls| calls.len() >= 4), "{death}");
    let at = death["unix_seconds"].as_f64().expect("a time");
    assert_eq!(agent.ask(&target(&format!("&since={}", at - 1.0))).len(), 1);
    assert_eq!(agent.ask(&target(&format!("&since={}", at + 1.0))).len(), 0);
    assert_eq!(agent.ask(&format!("{of_it}&cause=idle_drop")).len(), 0);
    let history = &agent.ask("/v1/status")[0]["history"];
    assert_eq!((&history["trouble"], &history["lost"]["disk"]), (&Value::Null, &0.into()));
    assert!(history["written"].as_u64() >= Some(1), "{history}");
}

/// The events of the connection with this near end, as `trace` shows the past.
fn traced(agent: &Agent, local: SocketAddr, asked: &[&str]) -> Vec<String> {
    let port = local.port().to_string();
    let mut trace = keepwatch(["trace", "--json", "--event", "all", "--local-port", &port]);
    let output = trace.arg("--socket").arg(agent.socket()).args(asked).output();
    let output = output.expect("start keepwatch");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let events = lines.lines().map(|line| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| event.get(key).and_then(Value::as_str).expect("a text").to_owned();
        assert_eq!(text("local"), local.to_string());
        text("event")
    });
    events.collect()
}

#[test]
fn a_trace_of_the_past_shows_a_death_that_the_agent_has_forgotten_and_one_that_it_remembers_once() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let n_ends = |events: &[String]| events.iter().filter(|event| *event == "ended").count();
    let first = ending::reset_by_peer(&path);
    written(&agent.state(), first);
    let remembered = traced(&agent, first, &["--past-only"]);
    assert!(n_ends(&remembered) == 1 && remembered.len() > 1, "{remembered:?}");
    // What another agent has seen is in no memory, and belongs to the time that is asked for.
    let (folder, _) = agent.stop_and_leave();
    let agent = Agent::start_in(folder, &[&OPTIONS[..], &["--max-histories", "8"]].concat());
    assert_eq!(traced(&agent, first, &["--past-only"]), [""; 0]);
    assert_eq!(traced(&agent, first, &["--past-only", "--since", "1h"]), ["ended"]);
    assert_eq!(traced(&agent, first, &["--since", "2h", "--until", "1h"]), [""; 0]);
    // Its memory is small: its own deaths are pushed out of it.
    let forgotten = ending::reset_by_peer(&path);
    written(&agent.state(), forgotten);
    wait::until("others have pushed it out of memory", SOON, || {
        let local = ending::reset_by_peer(&path);
        written(&agent.state(), local);
        let left = traced(&agent, forgotten, &["--past-only"]);
        assert_eq!(n_ends(&left), 1, "{left:?}");
        (left.len() == 1).then_some(())
    });
}

#[test]
fn an_idle_limit_is_learned_across_a_restart_and_stays_with_its_destination() {
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Reset) else {
        return;
    };
    let agent = Agent::start(&OPTIONS);
    // What is probed after 3 s lives on: longer than that is the limit.
    let probed = path.connect(&Plan::keepalive(3, 1, 3));
    exchange(&probed.client, &probed.accepted);
    let destination = path.server.to_string();
    let learned = |agent: &Agent| {
        let limits = agent.ask("/v1/limits");
        // Tests beside this one have the same addresses, in namespaces of their own.
        let is_ours =
            |limit: &Value| limit["remote"] == destination && limit["netns"] == path.near.inode();
        limits.into_iter().find(is_ours)
    };
    ending::forgotten(&path, QUIET);
    let guess = wait::until("a limit is guessed", SOON, || learned(&agent));
    assert_eq!(guess["confidence"], "guess", "{guess}");
    assert!(!has_metric(&agent), "a guess is no metric");
    let (folder, said) = agent.stop_and_leave();
    let agent = Agent::start_in(folder, &OPTIONS);
    let remembered = learned(&agent).unwrap_or_else(|| panic!("nothing is remembered: {said}"));
    assert_eq!(remembered["deaths"], 1);
    ending::forgotten(&path, QUIET);
    let limit = wait::until("a second death counts", SOON, || {
        learned(&agent).filter(|limit| limit["deaths"] == 2)
    });
    let bound = |name: &str| limit[name].as_f64().expect("a number");
    let (above, at_most) = (bound("longest_survived_seconds"), bound("shortest_killed_seconds"));
    let truth = f64::from(FORGETS_AFTER);
    assert!(above <= truth && truth <= at_most, "{limit}");
    assert!(above >= 3.0 && at_most < 7.5, "{limit}");
    assert_eq!(limit["kind"], "path_limit");
    assert!(limit["netns"].is_number(), "that of the near host is not the agent's: {limit}");
    // The other namespace, and the other port of the same peer, were taught nothing.
    let mut facts = agent.ask("/v1/limits");
    let ours = [path.near.inode(), path.far.inode()];
    facts.retain(|fact| ours.iter().any(|netns| fact["netns"] == *netns));
    assert_eq!(facts.len(), 1, "{facts:?}");
    assert!(!has_metric(&agent), "no path is configured");
    // That of the agent's own options agrees.
    assert_eq!(limit["in_force_from"], "configured by flag", "{limit}");
    let said = (&limit["in_force_seconds"], &limit["in_force_path"], &limit["contradiction"]);
    assert_eq!(said, (&5.into(), &Value::Null, &Value::Null));
    // So does a shorter one of the path, and a longer one does not.
    let mut folder = agent.stop_and_leave().0;
    for (set, contradicts) in [("350s", true), ("4s", false)] {
        let path = format!("db={}/32={set}", path.server.ip());
        let agent = Agent::start_in(folder, &[&OPTIONS[..], &["--path", &path]].concat());
        let limit = learned(&agent).expect("remembered");
        assert_eq!(limit["in_force_from"], "configured by flag", "{limit}");
        assert_eq!(limit["in_force_path"], "db");
        let said = limit["contradiction"].as_str();
        assert_eq!(
            said.is_some_and(|it| it.contains("connections died after")),
            contradicts,
            "{limit}"
        );
        assert_eq!(said.is_some(), contradicts, "{limit}");
        folder = agent.stop_and_leave().0;
    }
    ending::reset(probed.client);
}

fn has_metric(agent: &Agent) -> bool {
    let answer =
        keepwatch_tests::answer::http::get(agent.address(), "/metrics", "*/*").expect("a scrape");
    let sample = |line: &str| {
        line.starts_with("keepwatch_path_idle_limit_seconds{") && line.contains("learned")
    };
    answer.body.lines().any(sample)
}

#[test]
fn a_full_disk_is_told_and_counted_and_the_agent_writes_again_when_there_is_room() {
    let path = NetworkPath::cable();
    let folder = tool::TemporaryFolder::new();
    let disk = Disk::mount(&folder.file("state"), "size=512k");
    let agent = Agent::start_in(folder, &OPTIONS);
    let before = ending::reset_by_peer(&path);
    written(&agent.state(), before);
    let ballast = agent.state().join("ballast");
    fill(&ballast);
    wait::until("losses are counted", SOON, || {
        ending::reset_by_peer(&path);
        let history = agent.ask("/v1/status")[0]["history"].clone();
        (history["lost"]["disk"].as_u64() > Some(0) && history["trouble"].is_string()).then_some(())
    });
    let doctor = keepwatch(["doctor", "--socket"]).arg(agent.socket()).output();
    let doctor = String::from_utf8(doctor.expect("doctor").stdout).expect("text");
    let line = doctor.lines().find(|line| line.contains("history")).expect("a line");
    assert!(line.contains("BLIND") && line.contains("full"), "{line}");
    fs::remove_file(&ballast).expect("room again");
    wait::until("it is written again", SOON, || {
        let local = ending::reset_by_peer(&path);
        wait::within(Duration::from_secs(3), || deaths_of(&agent.state(), local).pop())
    });
    assert_eq!(agent.ask("/v1/status")[0]["history"]["trouble"], Value::Null);
    assert_eq!(deaths_of(&agent.state(), before).len(), 1, "nothing was broken");
    let (folder, said) = agent.stop_and_leave();
    assert!(said.matches("not written at the moment").count() == 1, "one line: {said}");
    assert_eq!(said.matches("written again").count(), 1, "one line: {said}");
    let n_lost = history_lost(&said);
    assert!(n_lost > 0 && said.contains("reason=disk"), "{said}");
    drop(disk);
    drop(folder);
}

#[test]
fn with_a_read_only_state_directory_the_agent_runs_and_says_so() {
    let path = NetworkPath::cable();
    let folder = tool::TemporaryFolder::new();
    let disk = Disk::mount(&folder.file("state"), "size=4m");
    let agent = Agent::start_in(folder, &OPTIONS);
    let local = ending::reset_by_peer(&path);
    written(&agent.state(), local);
    let (folder, _) = agent.stop_and_leave();
    disk.remount("ro");
    let agent = Agent::start_in(folder, &OPTIONS);
    let history = agent.ask("/v1/status")[0]["history"].clone();
    assert!(history["trouble"].is_string(), "{history}");
    let target = format!("/v1/deaths?port={}&cause=peer_reset", local.port());
    assert_eq!(agent.ask(&target).len(), 1, "it can be read");
    disk.remount("rw");
    wait::until("it is written again", SOON, || {
        let local = ending::reset_by_peer(&path);
        wait::within(Duration::from_secs(2), || deaths_of(&agent.state(), local).pop())
    });
    let (folder, said) = agent.stop_and_leave();
    assert!(said.contains("cannot open the history") && said.contains("written again"), "{said}");
    drop(disk);
    drop(folder);
}

#[test]
fn a_broken_database_is_set_aside_and_a_new_one_begun() {
    let path = NetworkPath::cable();
    let folder = tool::TemporaryFolder::new();
    let state = folder.file("state");
    fs::create_dir(&state).expect("a folder");
    fs::write(state.join("history.db"), b"no database at all".repeat(1000)).expect("a file");
    let agent = Agent::start_in(folder, &OPTIONS);
    let local = ending::reset_by_peer(&path);
    written(&agent.state(), local);
    assert!(agent.state().join("history.db.corrupt-1").exists());
    let (_folder, said) = agent.stop_and_leave();
    assert!(said.contains("set aside and begun anew") && said.contains("corrupt-1"), "{said}");
}

#[test]
fn a_history_of_an_earlier_version_does_not_end_that_of_this_one() {
    let folder = tool::TemporaryFolder::new();
    let (folder, _) = Agent::start_in(folder, &OPTIONS).stop_and_leave();
    let state = folder.file("state");
    set_user_version(&state.join("history.db"), 2);
    let agent = Agent::start_in(folder, &OPTIONS);
    assert!(agent.ask("/v1/status")[0]["history"]["trouble"].is_null());
    assert!(state.join("history.db").exists() && state.join("history.db.schema-2").exists());
    let (_, said) = agent.stop();
    assert!(said.contains("is of an earlier version, set aside and begun anew"), "{said}");
}

#[test]
fn a_history_of_a_later_version_is_refused_and_left_alone() {
    let folder = tool::TemporaryFolder::new();
    let (folder, _) = Agent::start_in(folder, &OPTIONS).stop_and_leave();
    let file = folder.file("state").join("history.db");
    set_user_version(&file, 12);
    let agent = Agent::start_in(folder, &OPTIONS);
    let trouble = agent.ask("/v1/status")[0]["history"]["trouble"].to_string();
    assert!(trouble.contains("schema 12") && trouble.contains("knows 11"), "{trouble}");
    assert!(file.exists());
}

/// The sum of what the log says was lost of the history.
fn history_lost(said: &str) -> u64 {
    let lines = said.lines().filter(|line| line.contains("records of the history were lost"));
    let lost = |line: &str| line.split_once(" lost=")?.1.split(' ').next()?.parse::<u64>().ok();
    lines.filter_map(lost).sum()
}

/// `PRAGMA user_version`, in a database that nobody has open: 4 bytes of its header, the highest first
/// (sqlite.org/fileformat2.html, 1.3).
fn set_user_version(database: &path::Path, version: u32) {
    const USER_VERSION: u64 = 60;
    let file = fs::File::options().write(true).open(database).expect("the history");
    file.write_all_at(&version.to_be_bytes(), USER_VERSION).expect("write into its header");
}

/// Writes until there is no room.
fn fill(file: &path::Path) {
    use std::io::Write as _;
    let mut file = fs::File::create(file).expect("a file");
    for size in [64 << 10, 4 << 10, 512] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

/// A tmpfs, mounted until it is dropped.
struct Disk(path::PathBuf);

impl Disk {
    fn mount(folder: &path::Path, options: &str) -> Self {
        fs::create_dir(folder).expect("a folder");
        run("mount", &["-t", "tmpfs", "-o", options, "keepwatch-test"], folder);
        Self(folder.to_owned())
    }

    fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}")], &self.0);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[track_caller]
fn run(command: &str, args: &[&str], folder: &path::Path) {
    let status = Command::new(command).args(args).arg(folder).status().expect(command);
    assert!(status.success(), "{command} {args:?}");
}
