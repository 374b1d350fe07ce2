//! Questions as people ask them on call: everything, a time, a port, a name that is wrong, another limit, and a program
//! that is gone.

use crate::{
    client::{ClientProgram, RunningClient},
    told::{case_of, cases, lines, why},
};
use keepwatch_tests::{
    answer::agent::{Agent, assert_refused, keepwatch},
    kernel::socket::{self, Plan},
    network::{
        ending::{exchange, reset_by_peer, wait_for_quiet},
        middlebox::MiddleboxAnswer,
        path::NetworkPath,
    },
    wait,
};
use rustix::process::Signal;
use std::{
    os::{
        fd::OwnedFd,
        unix::{fs::MetadataExt as _, process::CommandExt as _},
    },
    process::{Command, Output},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(30);
const OPTIONS: [&str; 2] = ["--interval", "500ms"];
fn text(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Starts a client of this name, and waits until the agent knows it.
#[track_caller]
fn start(agent: &Agent, path: &NetworkPath, name: &str) -> Option<(RunningClient, OwnedFd)> {
    let program = ClientProgram::renamed(name);
    program.is_here().then(|| {
        let (client, end) = RunningClient::start(path, &program);
        wait::until("the agent knows its name", SOON, || {
            let found = agent.sockets(&["--process", name]);
            found.into_iter().find(|row| row.owners.iter().any(|owner| owner.pid == client.pid()))
        });
        (client, end)
    })
}

#[test]
fn a_question_needs_no_word_and_a_port_is_one() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let Some((client, _end)) = start(&agent, &path, "basket") else {
        return;
    };
    let port = path.server.port();
    for words in [
        &["--all"][..],
        &[&format!(":{port}")],
        &[&format!("{port}")],
        &[&format!("10.77.0.0/24:{port}")],
    ] {
        let output = why(&agent, words);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(
            said.contains(&format!("basket[{}] -> {}", client.pid(), path.server)),
            "{words:?}: {said}"
        );
        assert!(said.contains("what ended in the last 24 h; times in UTC"), "{said}");
    }
    let other = text(&why(&agent, &[":9"]));
    assert!(other.starts_with("No connection with port 9"), "{other}");
}

#[test]
fn a_name_that_nobody_has_is_answered_with_what_there_is() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let Some((_client, _end)) = start(&agent, &path, "checkout") else {
        return;
    };
    for (name, there_is) in [
        ("chekcout", "; there is process checkout;"),
        ("zzz", "or host;"),
        ("10.97.2.300", "or host;"),
    ] {
        let said = format!("nothing that has connections is called {name}: no process, unit,");
        assert_refused(&why(&agent, &[name]), 2, &[&said, there_is]);
    }
    for host in ["checkout.example.invalid", "checkout.invalid:5432"] {
        assert_refused(&why(&agent, &[host]), 2, &["does not resolve"]);
    }
    let sockets = |words: &[&str]| {
        let mut command = keepwatch(["sockets", "--source", "agent", "--socket"]);
        command.arg(agent.socket()).args(words).output().expect("start keepwatch")
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let nothing = sockets(&["--container", "checkout", "--port", "2717"]);
    assert!(
        said(&nothing).contains("there is a process checkout: --process checkout"),
        "{nothing:?}"
    );
    assert_eq!(said(&sockets(&["--process", "checkout"])), "", "it is there");
}

#[test]
fn a_time_is_asked_for_and_its_zone_is_said() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let Some((_client, _end)) = start(&agent, &path, "ledger") else {
        return;
    };
    let past = text(&why(&agent, &["ledger", "--until", "1h"]));
    assert!(past.starts_with("No connection with ledger"), "it was opened later: {past}");
    assert!(past.contains("ledger has connections, but none of that time"), "{past}");
    let now = text(&why(&agent, &["ledger", "--at", "1s"]));
    assert!(now.contains("1s and 10 min to both sides, since ") && now.contains("1 live"), "{now}");
    let mut command = keepwatch(["why", "ledger", "--source", "agent", "--socket"]);
    let output = command.arg(agent.socket()).env("TZ", "<X530>-5:30").output();
    let zoned = text(&output.expect("start keepwatch"));
    assert!(zoned.contains("times in UTC+5:30"), "{zoned}");
    assert_refused(
        &why(&agent, &["--since", "2100-01-01"]),
        2,
        &["in the future", "2100-01-01 00:00:00 (UTC)"],
    );
    assert_refused(
        &why(&agent, &["--since", "1h", "--until", "2h"]),
        2,
        &["--since is not before --until"],
    );
}

#[test]
fn a_stopped_program_is_the_answer_until_it_goes_on() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let Some((client, _end)) = start(&agent, &path, "sluggard") else {
        return;
    };
    let stopped = format!("sluggard[{}] is stopped (", client.pid());
    let runs = text(&why(&agent, &["sluggard"]));
    assert!(!runs.contains("is stopped"), "{runs}");
    client.signal(Signal::STOP);
    wait::until("it is said to be stopped", SOON, || {
        text(&why(&agent, &["sluggard"])).starts_with(&stopped).then_some(())
    });
    client.signal(Signal::CONT);
    wait::until("it goes on", SOON, || {
        (!text(&why(&agent, &["sluggard"])).contains("is stopped")).then_some(())
    });
}

#[test]
fn a_client_of_a_proxy_of_this_host_is_told_how_the_proxys_own_connections_are() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let program = ClientProgram::proxy("edge", "shop");
    if !program.is_here() {
        return;
    }
    let (proxy, _end) = RunningClient::start_waiting(&path, &program);
    let said = |hangs: bool| {
        wait::until("the client's answer", SOON, || {
            let said = text(&why(&agent, &["shop"]));
            let leads_on = said.contains("wait for may be behind edge");
            (leads_on && said.contains("no answer now") == hangs).then_some(said)
        })
    };
    let well = said(false);
    // As it has to be typed for this agent.
    let command = format!("keepwatch why edge --socket {}", agent.socket().display());
    assert!(well.contains(&format!("may be behind edge: {command}")), "{well}");
    path.darken();
    proxy.go_on();
    let hangs = said(true);
    let behind = "What these connections wait for may be behind edge, of whose own connections 1 gets no answer now: ";
    assert!(hangs.starts_with(&format!("{behind}{command}. Nothing else is wrong")), "{hangs}");
}

#[test]
fn a_path_of_the_agents_configuration_is_found_by_its_name() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&[
        "--interval",
        "500ms",
        "--path",
        "prod=10.77.0.0/24=45s,dr=10.88.0.0/16=60s",
    ]);
    let Some((client, _end)) = start(&agent, &path, "pathfinder") else {
        return;
    };
    let output = why(&agent, &["prod"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("pathfinder[{}] -> {}", client.pid(), path.server)), "{said}");
    // Nothing goes there; nothing has this name.
    let output = why(&agent, &["dr"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("path dr (10.88.0.0/16, idle limit 1 min)"), "{said}");
    assert_refused(&why(&agent, &["prodd"]), 2, &["there is path prod"]);
}

/// A time of GNU date, RFC 3339 in UTC.
#[track_caller]
fn moment(of: &str) -> String {
    let mut command = Command::new("date");
    let output =
        command.args(["--utc", "+%Y-%m-%dT%H:%M:%S.%NZ", "--date", of]).output().expect("date");
    assert!(output.status.success(), "{of}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn past_events_are_chosen_by_their_time_as_why_does_and_the_zone_is_said() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let _ends = path.connect(&Plan::keepalive(61, 7, 3));
    let netns = path.near.inode().to_string();
    let trace = |asked: &[&str]| {
        let mut command = keepwatch(["trace", "--json", "--event", "setting", "--netns", &netns]);
        command.arg("--socket").arg(agent.socket()).args(asked).env("TZ", "<X530>-5:30");
        command.output().expect("start keepwatch")
    };
    // When each event was: for people, and by the clock that nobody sets.
    let events = |asked: &[&str]| -> Vec<(String, String)> {
        let output = trace(asked);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("times in UTC+5:30"), "{said}");
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let events = lines.lines().map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            (
                event["at"].as_str().expect("a time").to_owned(),
                event["monotonic_seconds"].to_string(),
            )
        });
        events.collect()
    };
    let wait_for = |n: usize| {
        wait::until(format!("{n} calls are known"), SOON, || {
            let all = events(&["--past-only"]);
            (all.len() == n).then_some(all)
        })
    };
    wait_for(4);
    let _later = path.connect(&Plan::keepalive(61, 7, 3));
    let all = wait_for(8);
    let between = moment(&format!("{} 0.001 seconds ago", all[4].0));
    let ten_minutes = moment(&format!("{} 10 minutes ago", all[4].0));
    let of = |events: &[(String, String)]| -> Vec<String> {
        events.iter().map(|(_, monotonic)| monotonic.clone()).collect()
    };
    let times = |asked: &[&str]| of(&events(asked));
    assert_eq!(times(&["--past-only", "--since", &between]), of(&all[4..]));
    assert_eq!(times(&["--until", &between]), of(&all[..4]));
    assert_eq!(times(&["--since", &ten_minutes, "--until", &between]), of(&all[..4]));
    assert_eq!(times(&["--past-only", "--at", &between]), of(&all), "10 minutes to both sides");
    assert_eq!(times(&["--at", "yesterday"]), [""; 0]);
    // A window that is over needs no --past-only; one that is reversed is an error, as with why.
    assert_refused(
        &trace(&["--since", "1h", "--until", "2h"]),
        2,
        &["--since is not before --until", "UTC+5:30"],
    );
}

#[test]
fn a_hang_belongs_to_the_time_in_which_it_hung() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let ends = path.connect(&Plan::keepalive(1, 1, 2));
    exchange(&ends.client, &ends.accepted);
    let id = wait::until("the agent knows it", SOON, || {
        let rows = agent.sockets(&["--port", &ends.local.port().to_string()]);
        rows.into_iter().find(|row| row.local == ends.local).map(|row| row.id)
    });
    path.darken();
    socket::wait_for_state(&ends.client, socket::CLOSE, SOON);
    let case = wait::until("its death", SOON, || {
        let cases = cases(&why(&agent, &[&id, "--json"]));
        cases.into_iter().find(|case| case["finding"] == "dark")
    });
    let end = &case["example"];
    let time = |of: &str| end[of].as_str().expect("a time").to_owned();
    let (began, ended) = (time("last_packet_at"), time("at"));
    assert!(began < ended && case["times"]["last_packet_at"] == began, "{case}");
    assert!(end["unanswered_since"].is_null(), "probes are no data: {case}");
    let n_dead = |until: &str| {
        let asked =
            ["--json", "--since", &moment(&format!("{began} 1 hour ago")), "--until", until];
        cases(&why(&agent, &[&[id.as_str()], &asked[..]].concat()))
            .iter()
            .filter(|case| case["deaths"] == 1)
            .count()
    };
    assert_eq!(n_dead(&moment(&format!("{began} 1 second"))), 1, "it hung by then");
    assert_eq!(n_dead(&moment(&format!("{began} 1 second ago"))), 0, "all was well by then");
}

#[test]
fn what_hangs_now_is_an_answer_about_a_past_time_only_if_it_hung_then() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let ends = path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    let id = wait::until("the agent knows it", SOON, || {
        let rows = agent.sockets(&["--port", &ends.local.port().to_string()]);
        rows.into_iter().find(|row| row.local == ends.local).map(|row| row.id)
    });
    let before = moment("now");
    path.darken();
    socket::send(&ends.client, b"are you there?");
    wait::until("a hang of 3 s", SOON, || {
        let cases = cases(&why(&agent, &[&id, "--json"]));
        let hang = cases.into_iter().find(|case| case["finding"] == "stuck")?;
        (hang["example"]["condition_seconds"].as_f64() > Some(3.0)).then_some(())
    });
    let asked = |until: &str| text(&why(&agent, &[&id, "--since", "1h", "--until", until]));
    let well = asked(&before);
    assert!(!well.contains("waits for an answer"), "{well}");
    assert!(
        well.contains("1 connection of that time lives and is in trouble since a later"),
        "{well}"
    );
    let hung = asked(&moment("1 second ago"));
    assert!(hung.contains("waits for an answer, since ") && hung.contains(", still now"), "{hung}");
    assert!(!hung.contains("before that time"), "it began then: {hung}");
    // Of a later time in which nothing began it is said that it is older.
    let (since, until) = (moment("2 seconds ago"), moment("1 second ago"));
    let later = text(&why(&agent, &[&id, "--since", &since, "--until", &until]));
    assert!(later.starts_with("What was wrong then had begun before."), "{later}");
    assert!(later.contains("waits for an answer, since "), "{later}");
}

#[test]
fn an_agent_measures_by_the_limits_of_the_question_and_knows_directions_all_the_same() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let ends = path.connect(&Plan::keepalive(400, 10, 3));
    let port = ends.local.port().to_string();
    let outbound = |words: &[&str]| {
        let rows = agent.sockets(&[&["--port", port.as_str()], words].concat());
        rows.into_iter().find(|row| row.local == ends.local)
    };
    let row = wait::until("the agent knows it", SOON, || outbound(&[]));
    assert_eq!((row.verdict.as_str(), row.idle_limit_from.as_str()), ("late", "default"));
    let row = outbound(&["--idle-limit", "gcp"]).expect("the same row");
    assert_eq!(
        (row.verdict.as_str(), row.direction_from.as_str()),
        ("protected", "seen"),
        "{row:?}"
    );
    assert_eq!(row.idle_limit_from, "preset gcp by flag");
    assert!(row.until_limit_seconds > Some(500.0) && row.meaning.contains("10 min"), "{row:?}");
    let path_of = outbound(&["--path", "db=10.77.0.0/24=30s"]).expect("the same row");
    assert_eq!((path_of.path.as_deref(), path_of.idle_limit_seconds), (Some("db"), 30));
    // The filter means verdicts by these limits.
    assert!(outbound(&["--verdict", "protected"]).is_none());
    assert!(outbound(&["--verdict", "protected", "--idle-limit", "gcp"]).is_some());
    assert!(outbound(&["--verdict", "late", "--idle-limit", "gcp"]).is_none());

    assert_eq!(why(&agent, &[&row.id]).status.code(), Some(1));
    let output = why(&agent, &[&row.id, "--idle-limit", "gcp"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(
        text(&output).contains("measured against the idle limits of this call"),
        "{}",
        text(&output)
    );
    // Deaths, too.
    drop(ends);
    let dead = wait::until("its end", SOON, || {
        let cases = cases(&why(&agent, &[&row.id, "--json", "--idle-limit", "gcp"]));
        cases.into_iter().find(|case| case["deaths"] == 1)
    });
    assert_eq!(dead["example"]["verdict"], "protected", "{dead}");
    assert_eq!(dead["example"]["idle_limit_from"], "preset gcp by flag", "{dead}");
}

#[test]
fn what_a_program_was_is_known_after_it_ended_and_the_agent_was_restarted() {
    const FORGETS_AFTER: u32 = 5;
    // A path that forgets so soon must be configured.
    let limit = ["--interval", "500ms", "--idle-limit", "6s"];
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Silence) else {
        return;
    };
    path.near.set("ipv4/tcp_retries2", 2);
    let agent = Agent::start(&limit);
    let Some((client, end)) = start(&agent, &path, "billing") else {
        return;
    };
    wait_for_quiet(&end, Duration::from_secs(8));
    client.go_on();
    case_of(&agent, &client, 1);
    drop(client);
    let of_billing = |agent: &Agent| {
        let cases = cases(&why(agent, &["billing", "--json"]));
        cases.into_iter().find(|case| case["deaths"] == 1).expect("its death")
    };
    let remembered = of_billing(&agent);
    assert!(lines(&remembered).contains("socket.TCP_KEEPIDLE, "), "by memory: {remembered}");
    let agent = Agent::start_in(agent.stop_and_leave().0, &limit);
    let kept = of_billing(&agent);
    assert!(lines(&kept).contains("socket.TCP_KEEPIDLE, "), "by the history: {kept}");
    assert!(kept["example"]["unanswered_since"].is_string(), "{kept}");
}

#[test]
fn whose_a_connection_was_that_its_program_has_left_hanging_is_known_to_the_next_agent() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let program = ClientProgram::renamed("invoices");
    if !program.is_here() {
        return;
    }
    // An agent finds what nobody has open in namespaces with a process.
    let _bystander = RunningClient::start(&path, &ClientProgram::renamed("bystander"));
    // What it has not read would make its end a reset.
    let (client, _end) = RunningClient::start_waiting(&path, &program);
    wait::until("the agent knows its name", SOON, || {
        agent.sockets(&["--process", "invoices"]).into_iter().next()
    });
    path.darken();
    client.go_on();
    let is_hanging = |agent: &Agent| {
        let output = why(agent, &["invoices", "--json"]);
        // The name is not known, or what is known by it.
        let is_known = matches!(output.status.code(), Some(0 | 1));
        let cases = if is_known { cases(&output) } else { Vec::new() };
        cases.into_iter().find(|case| case["finding"] == "stuck" || case["finding"] == "given_up")
    };
    wait::until("it hangs for 5 s", SOON, || {
        is_hanging(&agent).filter(|case| case["example"]["condition_seconds"].as_f64() > Some(5.0))
    });
    drop(client);
    wait::until("its program is gone", SOON, || {
        is_hanging(&agent).filter(|case| case["finding"] == "given_up")
    });
    let agent = Agent::start_in(agent.stop_and_leave().0, &OPTIONS);
    let kept = wait::until("the next agent finds it", SOON, || is_hanging(&agent));
    assert_eq!(
        (&kept["finding"], &kept["process"]),
        (&"given_up".into(), &"invoices".into()),
        "{kept}"
    );
    // Nobody else's.
    let other = why(&agent, &["nobodys"]);
    assert_eq!(other.status.code(), Some(2), "{other:?}");
}

#[test]
fn whoever_may_not_read_the_history_gets_the_same_answer_from_the_agent() {
    const NOBODY: u32 = 65534;
    let path = NetworkPath::cable();
    let agent = Agent::start(&["--interval", "500ms", "--socket-group", "nogroup"]);
    let died = reset_by_peer(&path);
    let dead = |uid: u32| {
        let mut command = keepwatch(["why", "--json", "--source", "agent", "--socket"]);
        command.arg(agent.socket()).arg(path.server.to_string()).uid(uid).gid(uid);
        let cases = cases(&command.output().expect("start keepwatch"));
        let of_it = |case: &serde_json::Value| {
            let example = &case["example"];
            (example["local"] == died.to_string()).then(|| example["evidence"].clone())
        };
        cases.iter().find_map(of_it)
    };
    let root = wait::until("the death is known", SOON, || dead(0));
    assert_eq!(dead(NOBODY), Some(root));
    // By this root knows that it reads the agent's own file.
    let file = &agent.ask("/v1/status")[0]["history"]["file"];
    let found = std::fs::metadata(agent.state().join("history.db")).expect("the history");
    assert_eq!(
        (file["device"].as_u64(), file["inode"].as_u64()),
        (Some(found.dev()), Some(found.ino()))
    );
}
