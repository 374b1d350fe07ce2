//! The agent's log, as an operator and as programs read it: what is lost is said, with numbers that add up; what is
//! normal is not; no name breaks a line; and whoever reads it, or not, the agent goes on.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

use keepwatch_tests::{
    answer::{
        agent::{Agent, assert_refused, keepwatch, once},
        metrics::Metrics,
        terminal::Terminal,
    },
    kernel::socket::Plan,
    network::path::{Ends, NetworkPath},
    tool::TemporaryFolder,
    wait::until,
};
use serde_json::Value;
use std::{fs, os::unix::fs::MetadataExt as _, process::Stdio, time::Duration};

const SOON: Duration = Duration::from_mins(1);
/// One walk, at the start.
const ONE_WALK: [&str; 4] = ["--interval", "1h", "--log-format", "json"];

/// The lines of a JSON log.
#[track_caller]
fn objects(said: &str) -> Vec<Value> {
    // The last may be on its way.
    let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parsed = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
    };
    whole.lines().map(parsed).collect()
}

/// Events that the lines say were lost at this stage.
fn told(lines: &[Value], stage: &str) -> u64 {
    let of_stage = lines.iter().filter(|line| line["stage"] == stage);
    of_stage.map(|line| line["lost"].as_u64().expect("a number")).sum()
}

/// Events that the metric says were lost at this stage.
fn counted(metrics: &Metrics, stage: &str) -> u64 {
    let lost = metrics.sum("keepwatch_events_lost_total", &format!("stage=\"{stage}\""));
    format!("{lost}").parse().expect("a whole number")
}

const STAGES: [&str; 4] = ["unseen", "skipped", "ring_full", "undecodable"];

fn sum(count: impl Fn(&str) -> u64) -> u64 {
    STAGES.iter().map(|stage| count(stage)).sum()
}

/// Far more events than a ring of 4096 bytes holds, while nobody takes them out.
fn overflow(agent: &Agent, path: &NetworkPath) {
    agent.freeze();
    let many: Vec<Ends> = (0..150).map(|_| path.connect(&Plan::keepalive(60, 10, 3))).collect();
    drop(many);
    agent.thaw();
}

#[test]
fn what_is_lost_is_said_and_the_lines_add_up_to_the_metric() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&[&ONE_WALK[..], &["--ring-bytes", "4096"]].concat());
    overflow(&agent, &path);
    until("a first line, at once", SOON, || {
        (told(&objects(&agent.said()), "ring_full") > 100).then_some(())
    });
    let first = counted(&Metrics::of(&agent), "ring_full");
    // Too soon for a second line: it is part of a later sum.
    overflow(&agent, &path);
    let before = until("the metric counts it", SOON, || {
        let metrics = Metrics::of(&agent);
        (counted(&metrics, "ring_full") > first + 100).then_some(metrics)
    });
    // Equal where nobody else floods this host.
    let lines = until("the lines say what the metric said", SOON, || {
        let lines = objects(&agent.said());
        let is_told = |stage: &&str| told(&lines, stage) >= counted(&before, stage);
        STAGES.iter().all(is_told).then_some(lines)
    });
    let after = Metrics::of(&agent);
    for stage in STAGES {
        assert!(told(&lines, stage) <= counted(&after, stage), "{stage}: {lines:?}");
    }
    let at_last = sum(|stage| counted(&Metrics::of(&agent), stage));
    // Said at the end, not after ten seconds.
    overflow(&agent, &path);
    let (status, said) = agent.stop();
    assert!(status.success(), "{said}");
    let lines = objects(&said);
    let stopped = lines.last().expect("a last line");
    assert_eq!(stopped["message"], "stopped");
    let in_all = sum(|stage| told(&lines, stage));
    assert_eq!(stopped["events_lost"], in_all, "{said}");
    assert!(in_all > at_last + 100, "{in_all}, {at_last} before: {said}");
    let n_lines = lines.iter().filter(|line| line["stage"] == "ring_full").count();
    assert!((2..20).contains(&n_lines), "some lines, not one an event: {said}");
    for line in lines.iter().filter(|line| line["stage"].is_string() && !line["lost"].is_null()) {
        assert_eq!(line["level"], "warn", "{line}");
    }
}

#[test]
fn a_normal_run_says_nothing_of_losses() {
    const RUNS: u32 = 5;
    // Beside a flood of others no run is normal: the metric says which was.
    let said = (0..RUNS).find_map(|_| normal_run());
    let said = said.unwrap_or_else(|| panic!("others flood this host: {RUNS} runs lost events"));
    let lines = objects(&said);
    let losses: Vec<_> = lines.iter().filter(|line| !line["lost"].is_null()).collect();
    // That a kernel at times runs no hooks, and at any time, is no fault of the run.
    assert!(losses.iter().all(|line| line["stage"] == "unseen"), "{said}");
    let first = |message: &str| lines.iter().find(|line| line["message"] == message);
    let watching = first("watching").expect("what it watches");
    assert_eq!(watching["config"], "none", "{watching}");
    assert_eq!(watching["interval_seconds"], 3600.0, "{watching}");
    assert!(watching["sockets"].as_u64() > Some(0) && watching["at"].is_string(), "{watching}");
    assert_eq!(first("stopping").expect("why it stops")["signal"], "SIGTERM");
}

/// What an agent says in whose run nothing was lost, by its metrics.
fn normal_run() -> Option<String> {
    let path = NetworkPath::cable();
    let agent = Agent::start(&[&ONE_WALK[..], &["--ring-bytes", "16777216"]].concat());
    let connections: Vec<Ends> = (0..100).map(|_| path.connect(&Plan::NOTHING)).collect();
    drop(connections);
    until("their events are counted", SOON, || {
        let decoded = Metrics::of(&agent).sum("keepwatch_events_total", "stage=\"decoded\"");
        (decoded > 200.0).then_some(())
    });
    let metrics = Metrics::of(&agent);
    let is_normal = STAGES[1..].iter().all(|stage| counted(&metrics, stage) == 0);
    let (status, said) = agent.stop();
    assert!(status.success(), "{said}");
    is_normal.then_some(said)
}

#[test]
fn a_line_has_the_time_in_a_file_and_a_priority_in_the_journal_that_it_really_is() {
    let first_line = |stream: Option<&str>| {
        let folder = TemporaryFolder::new();
        let log = folder.file("agent.log");
        let mut agent = Agent::spawn_changed(folder, &["--interval", "1h"], |command| {
            let metadata = fs::metadata(&log).expect("its log");
            let names = format!("{}:{}", metadata.dev(), metadata.ino());
            command.envs(stream.map(|text| ("JOURNAL_STREAM", text.replace("LOG", &names))));
        });
        agent.wait();
        let (_, said) = agent.stop();
        assert!(!said.contains('\x1b'), "colours are for terminals: {said}");
        let line = said.lines().find(|line| line.contains("watching")).expect("a line");
        line.to_owned()
    };
    let line = first_line(Some("LOG"));
    assert!(line.starts_with("<6>watching  version="), "{line}");
    // That of a parent, whose stderr was redirected since.
    for stream in [None, Some("1:2"), Some("LOG0")] {
        let line = first_line(stream);
        let (at, rest) = line.split_once(' ').expect("a time");
        assert!(at.len() == "2026-11-25T12:00:00.123456Z".len() && at.ends_with('Z'), "{line}");
        assert!(rest.starts_with("keepwatch: watching  version="), "{line}");
    }
}

#[test]
fn no_name_breaks_a_line() {
    const HOSTILE: &str = "a \x1b[31m\n<0>keepwatch: watching \u{202e}\u{9b}z";
    for format in ["text", "json"] {
        let folder = TemporaryFolder::new();
        let hostile = folder.file(HOSTILE);
        fs::write(&hostile, "where a folder should be").expect("a file");
        let state = hostile.display().to_string();
        let log = folder.file("agent.log");
        let agent = Agent::spawn_changed(folder, &[], |command| {
            let file = fs::File::create(&log).expect("a log");
            *command = keepwatch(["run", "--listen", "127.0.0.1:0", "--state-dir", &state]);
            command.args(["--log-format", format, "--socket"]).arg(log.with_extension("sock"));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        });
        until("it watches", SOON, || agent.said().contains("capabilities").then_some(()));
        let (_, said) = agent.stop();
        let of_it = said.lines().find(|line| line.contains("history is not written"));
        let of_it = of_it.expect("what is wrong with the history");
        assert!(of_it.contains("u{1b}[31m") && of_it.contains("u{202e}"), "{of_it}");
        for line in said.lines() {
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
            assert!(!line.starts_with("<0>"), "{line:?}");
        }
    }
}

#[test]
fn an_agent_whose_log_nobody_reads_goes_on() {
    let args = ["--interval", "50ms", "--log-level", "trace"];
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut agent = Agent::spawn_changed(TemporaryFolder::new(), &args, |command| {
        command.stderr(writer);
    });
    drop(reader);
    agent.wait();
    until("many lines later it still walks", SOON, || {
        let n_walks = Metrics::of(&agent).sum("keepwatch_snapshots_total", "");
        (n_walks > 10.0).then_some(())
    });
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn a_level_decides_what_is_written_and_is_one_option() {
    let folder = TemporaryFolder::new();
    let config = folder.file("config.toml");
    let said = |level: &[&str], variable: Option<&str>, file: &str| {
        fs::write(&config, file).expect("a config");
        let config = config.display().to_string();
        let args = [&["--interval", "100ms", "--config", &config], level].concat();
        let mut agent = Agent::spawn_changed(TemporaryFolder::new(), &args, |command| {
            command.envs(variable.map(|level| ("KEEPWATCH_LOG_LEVEL", level)));
        });
        agent.wait();
        until("it walks", SOON, || {
            (Metrics::of(&agent).sum("keepwatch_snapshots_total", "") > 2.0).then_some(())
        });
        let (status, said) = agent.stop();
        assert!(status.success(), "{said}");
        said
    };
    let quiet = said(&["--log-level", "error"], Some("debug"), "log_level = \"debug\"\n");
    assert_eq!(quiet, "", "a flag wins");
    let by_file = said(&[], None, "log_level = \"debug\"\nlog_format = \"json\"\n");
    let lines = objects(&by_file);
    let snapshot = lines.iter().find(|line| line["message"] == "snapshot taken");
    assert_eq!(snapshot.expect("what debug adds")["level"], "debug");
    let watching = lines.iter().find(|line| line["message"] == "watching").expect("a line");
    assert_eq!(watching["config"], config.display().to_string());
    let by_variable = said(&[], Some("info"), "log_level = \"debug\"\n");
    assert!(by_variable.contains("watching") && !by_variable.contains("taken"), "{by_variable}");

    fs::write(&config, "\nlog_level = \"loud\"\n").expect("a config");
    let output = once(["run", "--config", &config.display().to_string()]);
    assert_refused(&output, 2, &["config.toml:2", "log_level", "loud"]);
}

#[test]
fn an_agent_that_cannot_start_says_so_in_the_form_that_was_asked_for() {
    let folder = TemporaryFolder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let socket = folder.file("keepwatch.sock").display().to_string();
    let args = ["run", "--socket", &socket, "--listen", &address, "--log-format", "json"];
    let output = once(args);
    assert_refused(&output, 3, &[&address, "--listen"]);
    let line: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(line["level"], "error");
}

#[test]
fn an_error_is_red_on_a_terminal_unless_colours_are_forbidden() {
    let folder = TemporaryFolder::new();
    let written = |change: fn(&mut std::process::Command)| {
        let mut command = keepwatch(["sockets", "--source", "agent", "--socket"]);
        command.arg(folder.file("nobody.sock"));
        change(&mut command);
        let mut terminal = Terminal::start(&command, 200, 24);
        assert_eq!(terminal.wait_for_end().code(), Some(3));
        terminal.written()
    };
    let red = "keepwatch: \x1b[1;31merror:\x1b[0m ";
    let text = written(|_| {});
    assert!(text.contains(red), "{text:?}");
    let plain: [fn(&mut std::process::Command); 2] = [
        |command| {
            command.env("NO_COLOR", "1");
        },
        |command| {
            command.arg("--no-color");
        },
    ];
    for forbid in plain {
        let text = written(forbid);
        assert!(text.contains("keepwatch: error: ") && !text.contains('\x1b'), "{text:?}");
    }
}
