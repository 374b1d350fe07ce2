//! The answers about connections that live: what older timers do with a sysctl, who still waits, and what neighbours show.

use crate::told::{cases, why};
use keepwatch_tests::{
    answer::{agent::Agent, metrics::Metrics, truth::process_name},
    kernel::socket::{self, Plan, Road, SocketOption},
    network::{
        ending::{exchange, wait_for_quiet},
        middlebox::MiddleboxAnswer,
        path::NetworkPath,
    },
    wait,
};
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_mins(1);
const OPTIONS: [&str; 2] = ["--interval", "500ms"];
/// SO_KEEPALIVE, and the times of the namespace.
const SYSTEM: Plan = Plan::keepalive(0, 0, 0);

/// The case of this finding about this very path: other tests have the same addresses in other namespaces.
#[track_caller]
fn case(agent: &Agent, path: &NetworkPath, finding: &str) -> Value {
    wait::until(format!("a case that is {finding}"), SOON, || {
        let all = cases(&why(agent, &[&path.server.ip().to_string(), "--json"]));
        all.into_iter().find(|case| {
            case["netns"] == path.near.inode()
                && case["finding"] == finding
                && case["direction"] == "outbound"
        })
    })
}

/// What is said of one connection.
fn said(agent: &Agent, case: &Value) -> String {
    let id = case["example"]["id"].as_str().expect("an id");
    let output = why(agent, &[id]);
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_sysctl_reaches_what_is_opened_after_it_and_what_is_older_is_to_be_opened_again() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let older = path.connect(&SYSTEM);
    exchange(&older.client, &older.accepted);
    case(&agent, &path, "unprotected");
    for (name, seconds) in [("ipv4/tcp_keepalive_time", 30), ("ipv4/tcp_keepalive_intvl", 10)] {
        path.near.set(name, seconds);
    }
    let newer = path.connect(&SYSTEM);
    exchange(&newer.client, &newer.accepted);
    let fine = case(&agent, &path, "fine");
    assert_eq!((&fine["live"], &fine["verdict"]), (&1.into(), &"protected".into()), "{fine}");
    let late = wait::until("the older one knows the sysctl", SOON, || {
        let late = case(&agent, &path, "unprotected");
        (late["gap_from"] == "armed_timer").then_some(late)
    });
    assert_eq!((&late["live"], &late["advice"][0]["place"]), (&1.into(), &"connection".into()));
    assert!(late["gap_seconds"].as_f64() > Some(7000.0), "{late}");
    let said = said(&agent, &late);
    assert!(said.contains("30 s of silence by the sysctl"), "{said}");
    assert!(said.contains("re-open it"), "{said}");
}

#[test]
fn the_agent_looks_again_before_an_answer_and_not_at_each_question() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&["--interval", "1h"]);
    let ends = path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    let id = socket::id(&ends.client);
    let old_row = || agent.sockets(&["--id", &id]).into_iter().find(|row| row.quiet_seconds > 2.0);
    let n_snapshots = || Metrics::of(&agent).sum("keepwatch_snapshots_total", "");
    wait::until("what is known of it is old", SOON, old_row);
    exchange(&ends.client, &ends.accepted);
    let spoke = wait::now();
    let quiet = || {
        let all = cases(&why(&agent, &[&id, "--json"]));
        all[0]["example"]["quiet_seconds"].as_f64().expect("a number")
    };
    // A look of 0.3 s before the question is new enough; the next regular one comes in an hour.
    wait::until("a look of after it spoke", SOON, || {
        (quiet() < spoke.elapsed().as_secs_f64() + 0.5).then_some(())
    });
    let n_before = n_snapshots();
    for _ in 0..100 {
        agent.ask("/v1/sockets?fresh=true");
    }
    let n_taken = n_snapshots() - n_before;
    assert!(n_taken < 50.0, "{n_taken} for 100 questions");
}

#[test]
fn where_events_were_lost_nobody_is_said_to_have_called_nothing() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&["--interval", "1h", "--ring-bytes", "4096"]);
    let [quiet, loud] = [(); 2].map(|()| path.connect(&Plan::NOTHING));
    exchange(&quiet.client, &quiet.accepted);
    let id = socket::id(&quiet.client);
    let called_by_nobody = "nobody ever called setsockopt for it, seen from the beginning";
    let said_of = || {
        let output = why(&agent, &[&id]);
        let text = String::from_utf8_lossy(&output.stdout);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let before = said_of();
    assert!(before.contains(called_by_nobody), "{before}");
    // More calls than a page has room for.
    for seconds in 1..2000 {
        Road::Call.set(&loud.client, SocketOption::KeepIdle, seconds);
    }
    let after = wait::until("the loss is written down", SOON, || {
        Some(said_of()).filter(|text| text.contains("were lost between the kernel"))
    });
    assert!(!after.contains(called_by_nobody), "{after}");
    assert!(after.contains("events were lost while it lived"), "{after}");
}

#[test]
fn what_this_host_has_closed_waits_for_nobody() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let ends = path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    path.darken();
    socket::send(&ends.client, b"are you there?");
    let waits = case(&agent, &path, "stuck");
    assert_eq!(waits["example"]["orphan"], false, "{waits}");
    drop(ends.client);
    let given_up = case(&agent, &path, "given_up");
    assert_eq!(given_up["example"]["orphan"], true, "{given_up}");
    assert!(given_up["example"]["given_up_at"].is_string(), "{given_up}");
    let said = said(&agent, &given_up);
    assert!(said.contains("was closed by this host without an answer at "), "{said}");
    assert!(!said.contains("waits for an answer"), "{said}");
}

#[test]
fn what_the_peer_had_closed_before_lacks_an_acknowledgement_and_nothing_is_lost() {
    const CLOSE_WAIT: u8 = 8;
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let [all_read, wrote] = [(), ()].map(|()| path.connect(&Plan::NOTHING));
    let id = socket::id(&all_read.client);
    for ends in [&all_read, &wrote] {
        exchange(&ends.client, &ends.accepted);
    }
    let clients = [all_read, wrote].map(|ends| {
        drop(ends.accepted);
        socket::wait_for_state(&ends.client, CLOSE_WAIT, SOON);
        ends.client
    });
    path.darken();
    socket::send(&clients[1], b"one thing more");
    drop(clients);
    let given_up = case(&agent, &path, "given_up");
    let meaning = given_up["meaning"].as_str().expect("a sentence");
    assert!(meaning.starts_with("1 connection of ") && given_up["live"] == 2, "{given_up}");
    let is_fine = wait::until("its FIN is repeated", SOON, || {
        let all = cases(&why(&agent, &[&id, "--json"]));
        let case = all.into_iter().find(|case| case["example"]["condition"] == "stuck")?;
        Some((case["finding"] == "fine", case))
    });
    assert!(is_fine.0 && is_fine.1["example"]["fin_only"] == true, "{}", is_fine.1);
    assert_eq!(why(&agent, &[&id]).status.code(), Some(0));
}

#[test]
fn when_this_host_closed_it_is_known_after_its_death_and_a_restart() {
    let path = NetworkPath::cable();
    path.near.set("ipv4/tcp_orphan_retries", 3);
    let agent = Agent::start(&OPTIONS);
    let ends = path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    path.darken();
    socket::send(&ends.client, b"are you there?");
    case(&agent, &path, "stuck");
    drop(ends.client);
    let closed_at = |agent: &Agent| {
        let case = case(agent, &path, "dark");
        assert_eq!(case["causes"][0]["cause"], "abandoned", "{case}");
        case["times"]["given_up_at"].as_str().map(str::to_owned).expect("a time")
    };
    let before = closed_at(&agent);
    let (folder, _) = agent.stop_and_leave();
    let agent = Agent::start_in(folder, &OPTIONS);
    // Milliseconds are kept, of the time until its death.
    let seconds = |at: &str| {
        let of_minute = at.trim_end_matches('Z').rsplit(':').next().expect("seconds");
        of_minute.parse::<f64>().expect("seconds")
    };
    let after = closed_at(&agent);
    let apart = (seconds(&after) - seconds(&before)).abs();
    assert!(apart.min(60.0 - apart) < 0.01, "{before}, then {after}");
    let said = said(&agent, &case(&agent, &path, "dark"));
    assert!(said.contains(", closed by this host at "), "{said}");
}

#[test]
fn an_accepted_connection_is_seen_from_its_beginning_although_its_owner_came_later() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let ends = path.connect(&Plan::NOTHING);
    let pid = std::process::id().to_string();
    let accepted = |agent: &Agent| {
        wait::until("it is known by its process", SOON, || {
            let all = cases(&why(agent, &[&pid, "--json"]));
            let is_it = |case: &Value| {
                case["netns"] == path.far.inode()
                    && case["example"]["remote"] == ends.local.to_string()
            };
            all.into_iter().find(is_it)
        })
    };
    assert_eq!(accepted(&agent)["nobody_ever_set"], true);
    let later = Agent::start(&OPTIONS);
    let of_later = accepted(&later);
    assert!(of_later["nobody_ever_set"].is_null(), "it did not see it open: {of_later}");
}

#[test]
fn a_probe_without_an_answer_is_not_called_nothing() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let plan = Plan::keepalive(2, 60, 3);
    let healthy = path.connect(&plan);
    exchange(&healthy.client, &healthy.accepted);
    wait::until("a probe", SOON, || socket::was_probed_since_data(&healthy.client).then_some(()));
    let fine = case(&agent, &path, "fine");
    let well = said(&agent, &fine);
    assert!(well.starts_with("Nothing is wrong"), "{well}");
    let by = format!("; set by {}[{}] at ", process_name("self"), std::process::id());
    assert!(well.contains(&by), "{by}: {well}");
    let ends = path.connect(&plan);
    exchange(&ends.client, &ends.accepted);
    path.darken();
    let waiting = case(&agent, &path, "probe_unanswered");
    let said = said(&agent, &waiting);
    assert!(said.contains("sent a probe ") && said.contains("not answered yet"), "{said}");
}

#[test]
fn a_first_probe_that_meets_silence_beside_answered_ones_says_what_the_path_keeps() {
    const FORGETS_AFTER: u32 = 12;
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Silence) else {
        return;
    };
    let agent = Agent::start(&OPTIONS);
    let soon = path.connect(&Plan::keepalive(5, 5, 9));
    let late = path.connect(&Plan::keepalive(22, 4, 9));
    for ends in [&soon, &late] {
        exchange(&ends.client, &ends.accepted);
    }
    let (silent, said) = wait::until("the other one is answered meanwhile", SOON, || {
        let silent = case(&agent, &path, "peer_silent");
        let said = said(&agent, &silent);
        let answered = "others to the same peer, which probe every 5.0 s, are answered";
        said.contains(answered).then_some((silent, said))
    });
    assert!(said.contains("limit between 5."), "{said}");
    let idle = silent["proposal"]["idle_seconds"].as_u64().expect("a time");
    assert!(idle <= 5, "what was answered: {silent}");
}

#[test]
fn a_probe_that_is_lost_an_interval_after_an_answered_one_is_a_matter_of_the_interval_also_to_a_later_agent()
 {
    const FORGETS_AFTER: u32 = 12;
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Silence) else {
        return;
    };
    let agent = Agent::start(&OPTIONS);
    let soon = path.connect(&Plan::keepalive(5, 5, 9));
    let late = path.connect(&Plan::keepalive(7, 21, 9));
    for ends in [&soon, &late] {
        exchange(&ends.client, &ends.accepted);
    }
    // Its probe after 7 s is answered; 28 s and 49 s after the beginning nobody answers.
    let of_first = said(&agent, &case(&agent, &path, "peer_silent"));
    let later = Agent::start(&OPTIONS);
    let of_later = wait::until("the later agent has seen the other one answered", SOON, || {
        let said = said(&later, &case(&later, &path, "peer_silent"));
        said.contains("which probe every 5.0 s, are answered").then_some(said)
    });
    for said in [of_first, of_later] {
        assert!(said.contains("the interval is what is too long"), "{said}");
        assert!(!said.contains("the path forgets quiet connections"), "{said}");
    }
}

#[test]
fn what_hung_before_a_cut_keeps_its_explanation_and_what_the_cut_takes_is_an_outage() {
    const FORGETS_AFTER: u32 = 12;
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Silence) else {
        return;
    };
    let agent = Agent::start(&OPTIONS);
    let probed = path.connect(&Plan::keepalive(5, 5, 60));
    let quiet = path.connect(&Plan::NOTHING);
    for ends in [&probed, &quiet] {
        exchange(&ends.client, &ends.accepted);
    }
    wait_for_quiet(&quiet.client, Duration::from_secs(22));
    socket::send(&quiet.client, b"are you there?");
    wait::until("a neighbour that is answered since it hangs", SOON, || {
        let said = said(&agent, &case(&agent, &path, "stuck"));
        said.contains("which probe every 5.0 s, are answered").then_some(())
    });
    path.darken();
    let silent = case(&agent, &path, "peer_silent");
    assert_eq!(silent["outage"], true, "{silent}");
    let older = case(&agent, &path, "stuck");
    assert_eq!(older["outage"], false, "{older}");
    let said = said(&agent, &older);
    assert!(said.contains("limit between 5."), "{said}");
    assert!(said.contains("were answered since, until "), "{said}");
    assert!(!said.contains("the peer or the path is gone"), "{said}");
}

#[test]
fn a_close_right_after_data_is_no_idle_timeout_whatever_was_probed_before() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let plan = Plan::keepalive(1, 1, 9);
    let (session, idle) = (path.connect(&plan), path.connect(&plan));
    for ends in [&session, &idle] {
        exchange(&ends.client, &ends.accepted);
    }
    // Longer than any session says goodbye in.
    wait::until("6 s without data, and probes", SOON, || {
        let case = case(&agent, &path, "fine");
        let quiet_long = case["example"]["watched_seconds"].as_f64() > Some(6.0);
        (quiet_long && socket::was_probed_since_data(&idle.client)).then_some(())
    });
    drop(idle.accepted);
    exchange(&session.client, &session.accepted);
    drop(session.accepted);
    drop((idle.client, session.client));
    let closed = case(&agent, &path, "closed_although_probed");
    assert_eq!(closed["deaths"], 2, "{closed}");
    let without_data = closed["example"]["without_data_seconds"].as_f64();
    assert!(without_data > Some(5.0), "{closed}");
    let said = said(&agent, &closed);
    assert!(said.contains("1 connection") && said.contains("without data, while probes"), "{said}");
}
