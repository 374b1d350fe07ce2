//! What the keepalive timer does to a connection from its beginning to its end, shown by `keepwatch
//! trace` event by event, on the kernel's own clock.

use keepwatch_tests::{
    answer::{
        agent::{assert_refused, once},
        event::{Settings, TracedEvent, TracedKind},
        row::{EffectiveProbes, EffectiveSeconds},
        trace::{Trace, is_ready, list, mechanism},
        truth::process_name,
    },
    kernel::{
        netns::NetworkNamespace,
        socket::{self, Family, Plan, Road, SocketOption, SocketSettings},
    },
    network::{
        ending::{self, LockedSocket},
        path::{Ends, NetworkPath},
    },
    wait::until,
};
use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    ops::RangeInclusive,
    process::Stdio,
    time::Duration,
};

const SOON: Duration = Duration::from_mins(1);
/// One probe after a second of silence, the next one after another: short, and as exact as any.
const QUICK: Plan = Plan::keepalive(1, 1, 3);

#[test]
fn an_idle_connection_whose_peer_goes_dark_is_probed_on_time_and_dies_when_the_third_is_unanswered()
{
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    let Ends { client, accepted: _accepted, local } = path.connect(&Plan::NOTHING);
    path.darken();
    QUICK.turn_on(&client);
    let id = socket::id(&client);
    assert_eq!(ending::error_at_end(&client), Some(rustix::io::Errno::TIMEDOUT));
    let (end, death) = trace.death_of(local);

    let events = trace.events();
    let names: Vec<_> = events.iter().map(TracedEvent::name).collect();
    // What the calls make of the verdict is told once, after the last of them.
    let opened_and_set = ["opened", "setting", "setting", "setting", "setting", "verdict_changed"];
    let probed_to_death = ["probe_sent", "probe_sent", "probe_sent", "died"];
    assert_eq!(names, [&opened_and_set[..], &probed_to_death].concat(), "{}", list(&events));
    for event in &events {
        assert!(socket::is_id(event.id.as_deref(), &id), "{event:?}");
        assert_eq!((event.local, event.remote), (local, path.server), "{event:?}");
        assert_eq!(event.direction.as_deref(), Some("outbound"), "{event:?}");
        let owner = event.owners.first().expect("this process");
        assert_eq!((owner.pid, &owner.process), (std::process::id(), &process_name("self")));
        assert!(event.at.len() == 27 && event.at.ends_with('Z'), "RFC 3339: {event:?}");
        assert!(!event.meaning.is_empty(), "{event:?}");
    }

    let opened = events.first().expect("the begin");
    let armed = events.iter().rfind(|event| event.name() == "setting").expect("as named above");
    let at = |event: &TracedEvent| event.monotonic_seconds - armed.monotonic_seconds;
    let mut n_probes: u32 = 0;
    for event in &events {
        let TracedKind::ProbeSent { probe: unanswered, count, next_probe_seconds } = &event.what
        else {
            continue;
        };
        n_probes += 1;
        assert_eq!((*unanswered, count.probes), (n_probes, 3), "{event:?}");
        assert_in("a probe's time", at(event), &due(1.0, 1.0, n_probes - 1));
        assert_in("the next fire", *next_probe_seconds, &(0.98..=1.2));
    }

    assert_in("detection time", at(&end), &due(1.0, 1.0, 3));
    assert_eq!((death.cause.as_str(), death.certainty.as_str()), ("keepalive_timeout", "exact"));
    assert_eq!(death.errno.as_deref(), Some("ETIMEDOUT"));
    assert_eq!((death.probes_sent, death.probes_unanswered), (3, 3));
    assert!(!death.in_flight && !death.evidence.is_empty(), "{death:?}");
    assert_eq!(death.settings, settings(1, 1, 3, 0, 4));
    assert_eq!(end.verdict.as_deref(), Some("protected"));
    let until_armed = armed.monotonic_seconds - opened.monotonic_seconds;
    let since_armed = due(1.0, 1.0, 3);
    let since_opened = *since_armed.start()..=since_armed.end() + until_armed;
    assert_in("age", death.age_seconds.expect("known"), &since_opened);
    assert_in("silent", death.silent_seconds.expect("known"), &since_opened);
    // Nobody heard the probes, but they were packets.
    let since_a_probe = due(1.0, 1.0, 0).start().to_owned()..=*since_opened.end();
    assert_in("quiet", death.quiet_seconds.expect("known"), &since_a_probe);
    let TracedKind::Opened(at_begin) = &opened.what else {
        panic!("{opened:?}");
    };
    assert!(!at_begin.keepalive);
    assert_eq!((at_begin.detection_seconds, opened.verdict.as_deref()), (None, Some("off")));
}

#[test]
fn with_a_user_timeout_the_count_means_nothing_and_detection_is_to_the_second_as_predicted() {
    // kernel.md 1.3: idle + interval x max(1, ceil((user timeout - idle) / interval)).
    let cases = [(2, 6500, 5, 7), (2, 500, 1, 3), (3, 0, 3, 5)];
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    let connections = cases.map(|(count, user_timeout_ms, ..)| {
        let own = SocketSettings { idle: 2, interval: 1, count, user_timeout_ms };
        path.connect(&Plan { own, ..QUICK })
    });
    path.darken();
    for (ends, (count, user_timeout_ms, probes, seconds)) in connections.iter().zip(cases) {
        let what = format!("2/1/{count}, user timeout {user_timeout_ms} ms");
        let (end, death) = trace.death_of(ends.local);
        let events = trace.events_of(ends.local);
        let [opened, probes_sent @ .., _] = events.as_slice() else {
            panic!("{what}: {}", list(&events));
        };
        assert!(matches!(opened.what, TracedKind::Opened(_)), "{what}: {opened:?}");
        let unanswered: Vec<_> = probes_sent
            .iter()
            .map(|event| match event.what {
                TracedKind::ProbeSent { probe, .. } => probe,
                _ => panic!("{what}: {}", list(&events)),
            })
            .collect();
        assert_eq!(unanswered, (1..=probes).collect::<Vec<_>>(), "{what}");
        assert_eq!((death.probes_sent, death.probes_unanswered), (probes, probes), "{what}");
        assert_eq!(death.cause, "keepalive_timeout", "{what}");
        assert_eq!(
            (death.certainty.as_str(), death.errno.as_deref()),
            ("exact", Some("ETIMEDOUT"))
        );
        assert_eq!(death.settings, settings(2, 1, count, user_timeout_ms, seconds), "{what}");
        let took = end.monotonic_seconds - opened.monotonic_seconds;
        assert_in(&what, took, &due(2.0, 1.0, probes));
    }
}

#[test]
fn a_peer_that_lives_answers_each_probe_and_the_kernel_counts_as_many() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    let ends = path.connect(&QUICK);
    trace.wait_for("two answers", |events| {
        (events.iter().filter(|event| event.name() == "probe_answered").count() >= 2).then_some(())
    });
    Road::Call.set(&ends.client, SocketOption::Keepalive, 0);
    trace.wait_for("keepalive is off", |events| {
        let off =
            |event: &&TracedEvent| matches!(event.what, TracedKind::Setting { value: Some(0), .. });
        events.iter().find(off).map(drop)
    });
    let probes: Vec<_> = trace
        .events_of(ends.local)
        .iter()
        .filter_map(|event| match event.what {
            TracedKind::ProbeSent { probe, .. } => Some(("sent", probe)),
            TracedKind::ProbeAnswered { unanswered_before: unanswered } => {
                Some(("answered", unanswered))
            }
            _ => None,
        })
        .collect();
    let alternating = [("sent", 1), ("answered", 1)].into_iter().cycle();
    assert!(probes.iter().copied().eq(alternating.take(probes.len())), "{probes:?}");
    let n_sent = probes.iter().filter(|(what, _)| *what == "sent").count();
    assert_eq!(n_sent as u64, path.near.counter("TcpExtTCPKeepAlive"));
}

#[test]
fn the_answer_after_a_long_silence_is_a_quiet_time_survived() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &["--idle-limit", "8s"]);
    let ends = path.connect(&Plan::keepalive(4, 1, 3));
    let survived = trace.wait_for("a quiet time survived", |events| {
        events.iter().filter(|event| event.local == ends.local).find_map(|event| match event.what {
            TracedKind::QuietSurvived { quiet_seconds } => Some(quiet_seconds),
            _ => None,
        })
    });
    assert_in("quiet", survived, &due(4.0, 1.0, 0));
}

#[test]
fn a_half_closed_connection_is_probed_from_both_sides() {
    let netns = NetworkNamespace::new();
    let trace = Trace::of(&netns, &[]);
    let (client, accepted) = netns.run(|| {
        let listener = socket::listener(Family::V4, Family::V4.loopback(), 1, &QUICK);
        let client = socket::connected(Family::V4, socket::local_address(&listener), &QUICK);
        (client, socket::accepted(&listener))
    });
    socket::end_sending(&client);
    for (fd, state) in [(&client, "fin_wait2"), (&accepted, "close_wait")] {
        let local = socket::local_address(fd);
        trace.wait_for(&format!("a probe in {state}, and its answer"), |events| {
            let mut of = events.iter().filter(|event| event.local == local && event.state == state);
            of.find(|event| event.name() == "probe_sent")?;
            of.find(|event| event.name() == "probe_answered").map(drop)
        });
    }
}

#[test]
fn probes_of_a_closed_window_are_not_keepalives() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &["--event", "opened,probe_sent,timer_fired"]);
    let ends = path.connect(&QUICK);
    ending::fill_window(&ends.client);
    path.darken();
    until("two window probes are unanswered", SOON, || {
        (socket::probes_unanswered(&ends.client) >= 2).then_some(())
    });
    wait_for_fires(&trace, ends.local, "data_in_flight", 2);
    assert_eq!(n_probes(&trace, &ends), 0, "{}", list(&trace.events()));
    assert_eq!(path.near.counter("TcpExtTCPKeepAlive"), 0);
    assert!(path.near.counter("TcpExtTCPWinProbe") >= 2);
}

#[test]
fn of_two_that_are_alike_the_one_with_data_in_flight_is_not_saved_by_keepalive() {
    let path = NetworkPath::cable();
    // Retransmission gives up after some 10 s, not after a quarter of an hour.
    path.near.set("ipv4/tcp_retries2", 4);
    let trace = Trace::of(&path.near, &["--event", "opened,probe_sent,timer_fired,died,ended"]);
    let (idle, busy) = (path.connect(&Plan::NOTHING), path.connect(&Plan::NOTHING));
    path.darken();
    socket::send(&busy.client, b"lost");
    for ends in [&idle, &busy] {
        Plan::keepalive(2, 1, 2).turn_on(&ends.client);
    }

    let (idle_end, idle_death) = trace.death_of(idle.local);
    assert_eq!(idle_death.cause, "keepalive_timeout");
    assert_eq!(socket::tcp_state(&busy.client), socket::ESTABLISHED, "it hangs on");
    wait_for_fires(&trace, busy.local, "data_in_flight", 2);
    assert_eq!(n_probes(&trace, &busy), 0);

    let (busy_end, busy_death) = trace.death_of(busy.local);
    assert_eq!(busy_death.cause, "retransmit_timeout", "{busy_death:?}");
    assert_eq!(busy_death.probes_sent, 0);
    assert!(busy_death.in_flight);
    assert_eq!(busy_death.settings, idle_death.settings, "both are set alike");
    let later = busy_end.monotonic_seconds - idle_end.monotonic_seconds;
    assert!(later > 2.0, "keepalive would have noticed {later} s earlier");
    assert_eq!(n_probes(&trace, &busy), 0, "{}", list(&trace.events_of(busy.local)));
}

#[test]
fn while_the_program_holds_the_socket_no_probe_goes_out_and_afterwards_it_does() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &["--event", "opened,probe_sent,timer_fired"]);
    let ends = path.connect(&QUICK);
    socket::send(&ends.accepted, b"1");
    let Some(locked) = LockedSocket::new(&ends.client) else {
        return;
    };
    wait_for_fires(&trace, ends.local, "deferred", 3);
    assert_eq!(n_probes(&trace, &ends), 0, "{}", list(&trace.events()));
    let fires: Vec<_> = trace.events_of(ends.local).into_iter().filter(is_deferred).collect();
    for pair in fires.windows(2) {
        let [before, after] = pair else { continue };
        let apart = after.monotonic_seconds - before.monotonic_seconds;
        assert_in("HZ/20 apart", apart, &(0.03..=0.5));
    }
    locked.unlock();
    trace.wait_for("a probe", |events| {
        events.iter().find(|event| event.name() == "probe_sent").map(drop)
    });
}

#[test]
fn an_orphan_in_fin_wait_2_uses_the_same_timer_and_is_no_death_of_keepalive() {
    let path = NetworkPath::cable();
    // One second longer than TIME_WAIT: the timer waits for that second (tcp_rcv_state_process).
    path.near.set("ipv4/tcp_fin_timeout", 61);
    let trace = Trace::of(&path.near, &["--event", "opened,probe_sent,timer_fired,died,ended"]);
    let ends = path.connect(&Plan::NOTHING);
    let local = ends.local;
    drop(ends.client);
    let (end, death) = trace.death_of(local);
    assert_eq!(death.cause, "local_closed", "{end:?}");
    assert_eq!((death.probes_sent, death.probes_unanswered), (0, 0));
    // The fire is reported when the timer has run, the death while it runs.
    wait_for_fires(&trace, local, "not_ours", 1);
    let events = trace.events_of(local);
    let outcomes: Vec<_> = events.iter().filter_map(outcome).collect();
    assert_eq!(outcomes, ["not_ours"], "{}", list(&events));
}

#[test]
fn a_mechanism_that_this_kernel_does_not_have_is_refused_in_one_line() {
    let forced = mechanism();
    for mechanism in ["fentry", "kprobe"] {
        let args = ["trace", "--json", "--source", "kernel", "--hooks", mechanism];
        let mut command = keepwatch_tests::answer::agent::keepwatch(args);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = child.spawn().expect("start keepwatch");
        let mut said = BufReader::new(child.stderr.take().expect("its stderr")).lines();
        let mut line = String::new();
        // Before it is ready it may warn of a signal that this mechanism cannot carry here.
        while let Some(next) = said.next().transpose().expect("read what it says") {
            line = next;
            if is_ready(&line) {
                break;
            }
        }
        let attached = is_ready(&line);
        if attached {
            child.kill().expect("kill our own child");
        }
        child.wait().expect("wait for our own child");
        assert!(attached || forced != mechanism, "{mechanism} is forced here, yet: {line}");
        if !attached {
            assert_refused(&once(args), 3, &["tcp_keepalive_timer"]);
        }
    }
}

#[test]
fn sigterm_ends_it_with_success() {
    let trace = Trace::of(&NetworkNamespace::new(), &[]);
    assert_eq!(trace.stop().code(), Some(0));
}

/// When the timer fires that was armed for `idle`, and then `n` times for `interval`: never more
/// than a tick early; late by up to an eighth of each wait (kernel/time/timer.c), and by what a slow
/// guest adds.
fn due(idle: f64, interval: f64, n: u32) -> RangeInclusive<f64> {
    const TICK: f64 = 0.011;
    const SLOW_GUEST: f64 = 0.3;
    let sum = f64::from(n).mul_add(interval, idle);
    sum - TICK * f64::from(n + 1)..=sum * 1.125 + SLOW_GUEST
}

#[track_caller]
fn assert_in(what: &str, seconds: f64, range: &RangeInclusive<f64>) {
    assert!(range.contains(&seconds), "{what}: {seconds:.3} s, expected {range:.3?}");
}

fn settings(
    idle: u32,
    interval: u32,
    count: u32,
    user_timeout_ms: u32,
    detection: u64,
) -> Settings {
    let own = || "socket".to_owned();
    Settings {
        keepalive: true,
        idle: EffectiveSeconds { seconds: idle, from: own() },
        interval: EffectiveSeconds { seconds: interval, from: own() },
        count: EffectiveProbes { probes: count, from: own() },
        user_timeout_ms,
        detection_seconds: Some(detection),
    }
}

fn outcome(event: &TracedEvent) -> Option<&str> {
    if let TracedKind::TimerFired { outcome } = &event.what { Some(outcome) } else { None }
}

fn is_deferred(event: &TracedEvent) -> bool {
    outcome(event) == Some("deferred")
}

/// Waits until the timer of the client has fired `n` times with this outcome.
#[track_caller]
fn wait_for_fires(trace: &Trace, local: SocketAddr, wanted: &str, n: usize) {
    trace.wait_for(&format!("{n} times {wanted}"), |events| {
        let of = events.iter().filter(|event| event.local == local);
        (of.filter_map(outcome).filter(|outcome| *outcome == wanted).count() >= n).then_some(())
    });
}

fn n_probes(trace: &Trace, ends: &Ends) -> usize {
    let events = trace.events_of(ends.local);
    events.iter().filter(|event| event.name() == "probe_sent").count()
}
