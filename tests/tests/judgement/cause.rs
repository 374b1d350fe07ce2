//! Causes that look alike.

use crate::watched_path::{LIMIT_SECONDS, WatchedPath};
use keepwatch_tests::{
    answer::{event::TracedDeath, trace::Trace},
    kernel::socket::{self, Plan},
    network::{
        ending::{self, exchange, wait_for_quiet},
        middlebox::MiddleboxAnswer,
        path::{Ends, NetworkPath},
    },
    skip::skip,
    wait,
};
use std::{os::fd::OwnedFd, path::Path, time::Duration};

const SOON: Duration = Duration::from_mins(1);

/// What the middlebox keeps, seconds; and what keepwatch is told.
const FORGETS_AFTER: u32 = 2;
const LIMIT: [&str; 4] = ["--idle-limit", "4s", "--interval", "1s"];
const QUIET: Duration = Duration::from_secs(5);

#[test]
fn a_client_that_waits_and_gives_up_is_no_orderly_end() {
    let path = NetworkPath::cable();
    path.near.set("ipv4/tcp_orphan_retries", 1);
    let trace = Trace::of(&path.near, &[]);
    let given_up = path.connect(&Plan::NOTHING);
    let orderly = path.connect(&Plan::NOTHING);
    for ends in [&given_up, &orderly] {
        exchange(&ends.client, &ends.accepted);
    }
    drop((orderly.client, orderly.accepted));
    assert_eq!(trace.death_of(orderly.local).1.cause, "local_closed");
    path.darken();
    drop(given_up.client);
    let (event, death) = trace.death_of(given_up.local);
    assert_eq!((death.cause.as_str(), event.name()), ("abandoned", "died"), "{event:?}");
    assert!(death.evidence.contains("its FIN was never answered"), "{death:?}");
}

#[test]
fn an_idle_close_whose_fin_is_lost_was_waited_for_by_nobody_and_a_request_without_an_answer_was() {
    let watched = WatchedPath::cable();
    watched.path.near.set("ipv4/tcp_orphan_retries", 1);
    let [idle, asked] = [(); 2].map(|()| watched.path.connect(&Plan::NOTHING));
    // Each in another tick than what came before.
    let answers = |ends: &Ends| {
        exchange(&ends.client, &ends.accepted);
        wait_for_quiet(&ends.client, Duration::from_millis(100));
        socket::send(&ends.accepted, b"the rest");
        ending::receive(&ends.client, 8);
        wait_for_quiet(&ends.client, Duration::from_millis(100));
    };
    answers(&idle);
    answers(&asked);
    socket::send(&asked.client, b"a request");
    wait_for_quiet(&asked.client, Duration::from_millis(200));
    let ids = [&idle, &asked].map(|ends| watched.until(ends.local, "is known", |_| true).id);
    watched.path.darken();
    drop((idle.client, asked.client));
    let [of_idle, of_asked] = ids.map(|id| {
        wait::until("its end is told", ending::ENDED_WITHIN, || {
            let said = watched.why(&id);
            said.contains("(abandoned)").then_some(said)
        })
    });
    assert!(of_idle.contains("was closed by this host after "), "{of_idle}");
    assert!(of_idle.contains("The peer had spoken last: no request of it was"), "{of_idle}");
    assert!(!of_asked.contains("had spoken last"), "{of_asked}");
    assert!(of_asked.contains("without an answer, and its FIN was never answered"), "{of_asked}");
}

#[test]
fn what_a_client_closes_before_its_answer_comes_is_given_up_and_what_it_closes_at_once_is_not() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    // 0.2, 0.6, 1.4, 3.0 and 6.2 s after the data.
    for (repetitions, cause) in [(5, "abandoned"), (2, "local_closed")] {
        let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
        exchange(&client, &accepted);
        path.darken();
        socket::send(&client, b"are you there?");
        wait::until(format!("repetition {repetitions}"), SOON, || {
            (socket::retransmits(&client) >= repetitions).then_some(())
        });
        drop(client);
        path.lighten();
        ending::receive(&accepted, 14);
        drop(accepted);
        let (event, death) = trace.death_of(local);
        assert_eq!(death.cause, cause, "{event:?}");
        assert_eq!(death.forgotten, Some(false), "{death:?}");
        let is_told = death.evidence.contains("the peer answered after that");
        assert_eq!(is_told, cause == "abandoned", "{death:?}");
    }
}

#[test]
fn what_a_client_closed_while_it_repeated_is_given_up_although_a_reset_comes_when_the_outage_is_over()
 {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    for (closes, cause) in [(true, "abandoned"), (false, "peer_reset")] {
        let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
        exchange(&client, &accepted);
        path.darken();
        socket::send(&client, b"are you there?");
        wait::until("four repetitions", SOON, || (socket::retransmits(&client) >= 4).then_some(()));
        let open = (!closes).then_some(client);
        ending::forget(accepted);
        path.lighten();
        let (event, death) = trace.death_of(local);
        assert_eq!(death.cause, cause, "{event:?}");
        drop(open);
    }
}

#[test]
fn what_is_closed_while_the_peer_does_not_read_is_no_loss_by_the_path_until_nobody_answers_probes_of_its_window()
 {
    let path = NetworkPath::cable();
    // The longest wait between two probes of a window, after which the kernel drops what nobody has open: 2 min elsewhere.
    let file = Path::new("/proc/sys/net/ipv4/tcp_rto_max_ms");
    if !path.near.run(|| file.exists()) {
        skip("a window that stays closed", "without tcp_rto_max_ms its orphan takes 5 min to end");
        return;
    }
    path.near.set("ipv4/tcp_rto_max_ms", 1000);
    let trace = Trace::of(&path.near, &[]);
    for (goes_dark, cause) in [(false, "local_closed"), (true, "abandoned")] {
        let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
        exchange(&client, &accepted);
        ending::fill_window(&client);
        if goes_dark {
            path.darken();
            wait::until("a probe of the window is unanswered", SOON, || {
                (socket::probes_unanswered(&client) > 0).then_some(())
            });
        }
        drop(client);
        let (event, death) = trace.death_of(local);
        assert_eq!(death.cause, cause, "{event:?}");
        assert!(death.evidence.contains("program did not read enough"), "{death:?}");
        assert_eq!(
            death.evidence.contains("probes of its window went unanswered"),
            goes_dark,
            "{death:?}"
        );
        assert_eq!(death.forgotten, Some(false), "{death:?}");
        drop(accepted);
    }
}

#[test]
fn a_fin_that_a_middlebox_answers_by_a_reset_was_given_up_too() {
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Reset) else {
        return;
    };
    let trace = Trace::of(&path.near, &LIMIT);
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    exchange(&client, &accepted);
    wait_for_quiet(&client, QUIET);
    drop(client);
    let (event, death) = trace.death_of(local);
    assert_eq!(death.cause, "abandoned", "{event:?}");
    assert!(death.evidence.contains("met a reset"), "{death:?}");
    drop(accepted);
}

#[test]
fn a_reset_after_repetitions_that_nobody_answered_is_the_end_of_an_outage_and_no_idle_limit() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    exchange(&client, &accepted);
    // For long enough that a device may have forgotten it.
    wait_for_quiet(&client, Duration::from_secs(21));
    path.darken();
    socket::send(&client, b"are you there?");
    wait::until("four repetitions", SOON, || (socket::retransmits(&client) >= 4).then_some(()));
    // The server has closed it meanwhile, nothing of that arrived, and its host has given up.
    ending::forget(accepted);
    path.lighten();
    let (event, death) = trace.death_of(local);
    assert_eq!(death.cause, "peer_reset", "{event:?}");
    assert!(death.evidence.contains("was gone for a time"), "{death:?}");
    assert_eq!(death.forgotten, Some(false), "{death:?}");
}

#[test]
fn a_reset_later_than_a_round_trip_is_the_servers_own() {
    // The server's event loop comes round, and its idle timer is due; before the kernel acknowledges the data by itself.
    #[expect(clippy::disallowed_methods, reason = "the time is what is tested")]
    let death = reset_after_request(|_| std::thread::sleep(Duration::from_millis(25)));
    assert_eq!(death.cause, "peer_reset", "{death:?}");
}

#[test]
fn a_reset_that_comes_late_after_a_repetition_that_nobody_acknowledged_is_no_programs() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &LIMIT);
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    exchange(&client, &accepted);
    wait_for_quiet(&client, QUIET);
    // A slow device that has forgotten it: no acknowledgement, and a reset long after the repetition.
    path.darken();
    socket::send(&client, b"are you there?");
    wait::until("a repetition", SOON, || (socket::repetitions(&client) > 0).then_some(()));
    #[expect(clippy::disallowed_methods, reason = "the time is what is tested")]
    std::thread::sleep(Duration::from_millis(60));
    path.lighten();
    ending::reset(accepted);
    ending::error_at_end(&client);
    let (event, death) = trace.death_of(local);
    assert_eq!(
        (death.cause.as_str(), death.certainty.as_str()),
        ("idle_drop", "inferred"),
        "{event:?}"
    );
    assert!(death.evidence.contains("1 retransmission unanswered"), "{death:?}");
}

#[test]
fn a_reset_of_a_request_that_was_acknowledged_is_the_servers_own() {
    // The kernel acknowledges it by itself, and the program is busy.
    let death = reset_after_request(ending::wait_until_acknowledged);
    assert_eq!(death.cause, "peer_reset", "{death:?}");
    let evidence = &death.evidence;
    assert!(
        evidence.contains("acknowledged") && evidence.contains("own idle timeout"),
        "{evidence}"
    );
}

/// After a quiet time the client sends a request, and the server's program resets the connection once this returns.
#[track_caller]
fn reset_after_request(wait: impl FnOnce(&OwnedFd)) -> TracedDeath {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &LIMIT);
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    exchange(&client, &accepted);
    wait_for_quiet(&client, QUIET);
    socket::send(&client, b"are you there?");
    wait(&client);
    ending::reset(accepted);
    ending::error_at_end(&client);
    trace.death_of(local).1
}

#[test]
fn data_for_a_peer_that_had_closed_long_ago_shows_no_path_that_forgets() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &LIMIT);
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    exchange(&client, &accepted);
    // The server's idle timer is due; the client does not look, and uses the connection again past the limit.
    drop(accepted);
    socket::wait_for_state(&client, socket::CLOSE_WAIT, QUIET);
    wait_for_quiet(&client, QUIET);
    socket::send(&client, b"are you there?");
    ending::error_at_end(&client);
    let (event, death) = trace.death_of(local);
    assert_eq!(death.cause, "peer_closed", "{event:?}");
    let evidence = &death.evidence;
    assert!(
        ["4.9", "5."]
            .iter()
            .any(|since| evidence.starts_with(&format!("the peer had closed it {since}")))
            && evidence.contains("wrote into it"),
        "{evidence}"
    );
}

#[test]
fn a_half_that_works_after_the_peers_fin_can_be_forgotten_by_its_path() {
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Reset) else {
        return;
    };
    path.middle_forgets_half_closed_after(FORGETS_AFTER);
    let trace = Trace::of(&path.near, &LIMIT);
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    exchange(&client, &accepted);
    socket::end_sending(&accepted);
    socket::wait_for_state(&client, socket::CLOSE_WAIT, QUIET);
    // Later than the FIN, by more than a tick.
    wait_for_quiet(&client, Duration::from_millis(200));
    socket::send(&client, b"more");
    ending::receive(&accepted, 4);
    ending::wait_until_acknowledged(&client);
    wait_for_quiet(&client, QUIET);
    socket::send(&client, b"are you there?");
    ending::error_at_end(&client);
    let (event, death) = trace.death_of(local);
    assert_eq!(death.cause, "idle_drop", "{event:?}");
    drop(accepted);
}

#[test]
fn what_a_host_without_a_route_could_not_send_is_no_idle_drop() {
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Reset) else {
        return;
    };
    let trace = Trace::of(&path.near, &LIMIT);
    let watched = WatchedPath::of(path);
    let path = &watched.path;
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    exchange(&client, &accepted);
    path.near.ip("route add blackhole 10.77.2.1/32");
    socket::send(&client, b"are you there?");
    // The path has forgotten it then.
    watched.until(local, "could not be sent for 5 s", |row| {
        row.condition.as_deref() == Some("stuck")
            && row.condition_seconds.is_some_and(|since| since > QUIET.as_secs_f64())
    });
    path.near.ip("route del blackhole 10.77.2.1/32");
    ending::error_at_end(&client);
    let (event, death) = trace.death_of(local);
    assert_eq!(death.cause, "peer_reset", "{event:?}");
    assert!(death.evidence.contains("this host could not send it"), "{death:?}");
    drop(accepted);
}

#[test]
fn an_outage_that_takes_busy_neighbours_too_is_no_idle_limit() {
    let path = NetworkPath::cable();
    path.near.set("ipv4/tcp_retries2", 3);
    let trace = Trace::of(&path.near, &LIMIT);
    let quiet = path.connect(&Plan::NOTHING);
    let probed = path.connect(&Plan::keepalive(1, 1, 60));
    for ends in [&quiet, &probed] {
        exchange(&ends.client, &ends.accepted);
    }
    wait_for_quiet(&quiet.client, QUIET);
    path.darken();
    socket::send(&quiet.client, b"are you there?");
    let (event, death) = trace.death_of(quiet.local);
    assert_eq!(death.cause, "retransmit_timeout", "{event:?}");
    assert!(death.evidence.contains("an outage"), "{death:?}");
    drop(probed);
}

#[test]
fn a_middlebox_that_forgets_leaves_probed_neighbours_alone() {
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Silence) else {
        return;
    };
    path.near.set("ipv4/tcp_retries2", 3);
    let trace = Trace::of(&path.near, &LIMIT);
    let quiet = path.connect(&Plan::NOTHING);
    let probed = path.connect(&Plan::keepalive(1, 1, 60));
    let too_late = path.connect(&Plan::keepalive(4, 1, 4));
    for ends in [&quiet, &probed, &too_late] {
        exchange(&ends.client, &ends.accepted);
    }
    wait_for_quiet(&quiet.client, QUIET);
    socket::send(&quiet.client, b"are you there?");
    let (event, death) = trace.death_of(quiet.local);
    assert_eq!(death.cause, "idle_drop", "{event:?}");
    assert!(death.evidence.contains("answered meanwhile"), "{death:?}");
    // A first probe that meets silence beside neighbours that are answered: the path forgot it.
    let (event, death) = trace.death_of(too_late.local);
    assert_eq!(
        (death.cause.as_str(), death.forgotten),
        ("keepalive_timeout", Some(true)),
        "{event:?}"
    );
}

#[test]
fn a_short_quiet_time_before_a_cut_is_no_idle_drop() {
    let path = NetworkPath::cable();
    path.near.set("ipv4/tcp_retries2", 3);
    // The path keeps 350 s, by default.
    let trace = Trace::of(&path.near, &[]);
    let ends = path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    wait_for_quiet(&ends.client, Duration::from_secs_f64(LIMIT_SECONDS));
    path.darken();
    socket::send(&ends.client, b"are you there?");
    let (event, death) = trace.death_of(ends.local);
    assert_eq!(death.cause, "retransmit_timeout", "{event:?}");
}

#[test]
fn what_its_server_never_took_is_no_idle_drop_and_what_it_took_and_nobody_used_is() {
    let Some(untaken) = NetworkPath::router().with_syns_only() else { return };
    let taken = NetworkPath::cable();
    for path in [&untaken, &taken] {
        path.near.set("ipv4/tcp_retries2", 3);
    }
    let traces = [&untaken, &taken].map(|path| Trace::of(&path.near, &LIMIT));
    let (never, local) = untaken.connect_untaken(&Plan::NOTHING);
    let [small, large] = [(); 2].map(|()| taken.connect(&Plan::NOTHING));
    wait::until("the SYN-ACK is repeated", SOON, || {
        (socket::segments_received(&never) >= 2).then_some(())
    });
    // A full accept queue repeats it once.
    untaken.darken();
    wait_for_quiet(&never, QUIET + Duration::from_secs(1));
    taken.darken();
    socket::send(&never, b"are you there?");
    socket::send(&small.client, b"are you there?");
    socket::send(&large.client, &[0; 16_000]);
    let (event, death) = traces[0].death_of(local);
    assert_eq!(death.cause, "retransmit_timeout", "{event:?}");
    assert!(death.evidence.contains("its server never took the connection"), "{death:?}");
    for (ends, is_large) in [(small, false), (large, true)] {
        let (event, death) = traces[1].death_of(ends.local);
        assert_eq!(death.cause, "idle_drop", "{event:?}");
        let says_so = death.evidence.contains("a path that loses large packets");
        assert_eq!(says_so, is_large, "{death:?}");
    }
}
