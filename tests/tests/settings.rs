//! Who sets what, when, with which result; and what changes without anybody's call.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

use keepwatch_tests::{
    answer::{
        event::{Settings, TracedEvent, TracedKind},
        row::{EffectiveProbes, EffectiveSeconds},
        trace::{Trace, list},
        truth::process_name,
    },
    kernel::{
        netns::NetworkNamespace,
        socket::{self, Family, Keepalive, Plan, Road, SocketOption, SocketSettings},
    },
    skip::skip,
};
use rustix::net::{AddressFamily, SocketType, listen, socket as new_socket};
use std::{net::SocketAddr, os::fd::OwnedFd, thread};

/// Each option with a value that no other one has, as the calls name it.
const EACH: [(SocketOption, &str, u32); 5] = [
    (SocketOption::Keepalive, "SO_KEEPALIVE", 1),
    (SocketOption::KeepIdle, "TCP_KEEPIDLE", 61),
    (SocketOption::KeepIntvl, "TCP_KEEPINTVL", 62),
    (SocketOption::KeepCnt, "TCP_KEEPCNT", 63),
    (SocketOption::UserTimeout, "TCP_USER_TIMEOUT", 64_000),
];

#[test]
fn each_option_is_told_with_its_value_its_caller_and_whether_it_came_before_or_after_connecting() {
    let netns = NetworkNamespace::new();
    let trace = Trace::of(&netns, &[]);
    let listener = netns.run(|| bound(Family::V4));
    let client = netns.run(|| socket::unconnected(Family::V4, &Plan::NOTHING));
    set_each(&client);
    listen(&listener, 1).expect("listen");
    set_each(&listener);
    rustix::net::connect(&client, &socket::local_address(&listener)).expect("connect");
    set_each(&client);
    let (port, local) = (socket::local_address(&listener), socket::local_address(&client));

    let events = wait_for_settings(&trace, 3 * EACH.len());
    let told: Vec<_> = events.iter().map(told).collect();
    let due = |when| EACH.map(|(_, name, value)| (name, Some(i64::from(value)), "ok", when));
    let expected = [due("before_connect"), due("listener"), due("after_connect")].concat();
    assert_eq!(told, expected, "{}", list(&events));
    for event in &events {
        assert_called_by_us(event);
    }
    let (early, late) = events.split_at(2 * EACH.len());
    for (event, fd) in early.iter().zip([&client; 5].into_iter().chain([&listener; 5])) {
        let id = event.id.as_deref();
        assert!(id.is_none() || socket::is_id(id, &socket::id(fd)), "{event:?}");
        assert_eq!((&event.verdict, &event.direction), (&None, &None), "{event:?}");
    }
    for event in late {
        assert!(socket::is_id(event.id.as_deref(), &socket::id(&client)), "{event:?}");
        assert_eq!((event.local, event.remote), (local, port), "{event:?}");
        assert_eq!(event.verdict.as_deref(), Some("local"), "{event:?}");
    }
}

#[test]
fn what_the_kernel_refuses_is_told_with_what_was_asked_and_why() {
    let netns = NetworkNamespace::new();
    let trace = Trace::of(&netns, &[]);
    let (_listener, client, _accepted) = netns.run(|| connection(Family::V6, &Plan::NOTHING));
    let refused = [
        (SocketOption::KeepIdle, 0),
        (SocketOption::KeepIdle, 32_768),
        (SocketOption::KeepIntvl, 0),
        (SocketOption::KeepIntvl, 32_768),
        (SocketOption::KeepCnt, 0),
        (SocketOption::KeepCnt, 128),
        (SocketOption::UserTimeout, u32::MAX),
    ];
    for (option, value) in refused {
        let error = Road::Call.try_set(&client, option, value).expect_err("out of its range");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{option:?} {value}");
    }
    let error = socket::set_from_nowhere(&client, SocketOption::KeepIdle).expect_err("no memory");
    assert_eq!(error.raw_os_error(), Some(libc::EFAULT));

    let events = wait_for_settings(&trace, refused.len() + 1);
    let told: Vec<_> = events.iter().map(told).collect();
    let name = |option| EACH.iter().find(|each| each.0 == option).map_or("", |each| each.1);
    let mut expected = refused.map(|(option, value)| {
        (name(option), Some(i64::from(value.cast_signed())), "EINVAL", "after_connect")
    });
    let (told_refused, told_nowhere) = told.split_at(refused.len());
    assert_eq!(told_refused, &mut expected);
    assert_eq!(told_nowhere, [("TCP_KEEPIDLE", None, "EFAULT", "after_connect")]);
    let answer = trace.events().into_iter().find(|event| event.name() == "changed");
    assert_eq!(answer, None, "nothing has changed");
}

#[test]
fn what_is_set_on_other_kinds_of_sockets_is_not_told() {
    let netns = NetworkNamespace::new();
    let trace = Trace::of(&netns, &[]);
    netns.run(|| {
        for (family, kind) in [
            (AddressFamily::INET, SocketType::DGRAM),
            (AddressFamily::INET6, SocketType::DGRAM),
            (AddressFamily::UNIX, SocketType::STREAM),
        ] {
            let other = new_socket(family, kind, None).expect("socket");
            Road::Call.set(&other, SocketOption::Keepalive, 1);
        }
        let tcp = socket::unconnected(Family::V4, &Plan::NOTHING);
        rustix::net::sockopt::set_tcp_nodelay(&tcp, true).expect("TCP_NODELAY");
        Road::Call.set(&tcp, SocketOption::KeepIdle, 77);
    });
    let events = wait_for_settings(&trace, 1);
    let told: Vec<_> = events.iter().map(told).collect();
    assert_eq!(told, [("TCP_KEEPIDLE", Some(77), "ok", "before_connect")]);
}

#[test]
fn a_thread_of_a_pool_is_told_as_its_process() {
    let netns = NetworkNamespace::new();
    let trace = Trace::of(&netns, &[]);
    let (_listener, client, _accepted) = netns.run(|| connection(Family::V4, &Plan::NOTHING));
    let worker = thread::Builder::new().name("pool-worker-1".to_owned());
    let set = move || Road::Call.set(&client, SocketOption::Keepalive, 1);
    worker.spawn(set).expect("a thread").join().expect("it sets one option");
    assert_called_by_us(&wait_for_settings(&trace, 1)[0]);
}

#[test]
fn what_no_call_has_set_is_found_and_told_as_a_change() {
    let netns = NetworkNamespace::new();
    let trace = Trace::of(&netns, &[]);
    for road in roads_without_a_call() {
        let (_listener, client, _accepted) = netns.run(|| connection(Family::V4, &Plan::NOTHING));
        for (option, _, value) in EACH {
            road.set(&client, option, value);
        }
        let local = socket::local_address(&client);
        let mut changes = trace.wait_for(&format!("five changes by {road:?}"), |events| {
            let of = events.iter().filter(|event| event.local == local);
            let changes: Vec<_> = of.filter_map(change).collect();
            (changes.len() >= EACH.len()).then_some(changes)
        });
        changes.sort_unstable();
        let mut expected = EACH.map(|(_, name, value)| (name.to_owned(), 0, value));
        expected.sort_unstable();
        assert_eq!(changes, expected, "{road:?}");
    }
}

#[test]
fn what_is_inherited_or_follows_the_namespace_is_no_change_of_the_socket() {
    let netns = NetworkNamespace::new();
    let trace = Trace::of(&netns, &[]);
    let own = SocketSettings { idle: 61, interval: 62, count: 63, user_timeout_ms: 64_000 };
    let plan = Plan { keepalive: Keepalive::Before, own, road: Road::Call };
    let (_listener, client, accepted) = netns.run(|| connection(Family::V4, &plan));
    let inherited = socket::local_address(&accepted);
    let peer = socket::local_address(&client);
    let opened = trace.wait_for("the accepted one is open", |events| {
        let of = events.iter().filter(|event| (event.local, event.remote) == (inherited, peer));
        of.filter(|event| event.direction.as_deref() == Some("inbound")).find_map(opened)
    });
    let from = || "socket".to_owned();
    // UT 64 s: 61 s and one interval of 62 s.
    let expected = Settings {
        keepalive: true,
        idle: EffectiveSeconds { seconds: 61, from: from() },
        interval: EffectiveSeconds { seconds: 62, from: from() },
        count: EffectiveProbes { probes: 63, from: from() },
        user_timeout_ms: 64_000,
        detection_seconds: Some(123),
    };
    assert_eq!(opened, expected);

    netns.set_keepalive(600, 11, 3);
    let [road, ..] = roads_without_a_call()[..] else {
        return;
    };
    // When this is found, the others have been looked at too.
    road.set(&client, SocketOption::KeepIdle, 99);
    let changes = trace.wait_for("the one change", |events| {
        let changes: Vec<_> = events.iter().filter_map(change).collect();
        (!changes.is_empty()).then_some(changes)
    });
    assert_eq!(changes, [("TCP_KEEPIDLE".to_owned(), 0, 99)]);
}

/// The roads on which the kernel takes options from users without a call of setsockopt(2).
fn roads_without_a_call() -> Vec<Road> {
    let mut roads = Vec::new();
    if socket::takes_32_bit_calls() {
        roads.push(Road::Call32);
    } else {
        skip("32-bit system calls", "which this kernel is built or booted without");
    }
    match socket::takes_io_uring_commands() {
        Ok(()) => roads.push(Road::IoUring),
        Err(error) => skip("io_uring commands", format!("which this kernel refuses: {error}")),
    }
    roads
}

fn set_each(fd: &OwnedFd) {
    for (option, _, value) in EACH {
        Road::Call.set(fd, option, value);
    }
}

fn bound(family: Family) -> OwnedFd {
    let fd = socket::unconnected(family, &Plan::NOTHING);
    rustix::net::bind(&fd, &family.loopback()).expect("bind");
    fd
}

/// A listener with this plan, a client without one, and the socket accepted.
fn connection(family: Family, on_listener: &Plan) -> (OwnedFd, OwnedFd, OwnedFd) {
    let listener = socket::listener(family, family.loopback(), 1, on_listener);
    let address: SocketAddr = socket::local_address(&listener);
    let client = socket::connected(family, address, &Plan::NOTHING);
    let accepted = socket::accepted(&listener);
    (listener, client, accepted)
}

/// Waits for this many settings, and expects no more.
#[track_caller]
fn wait_for_settings(trace: &Trace, n: usize) -> Vec<TracedEvent> {
    let settings = trace.wait_for(&format!("{n} settings"), |events| {
        let settings = events.iter().filter(|event| event.name() == "setting").cloned();
        let settings: Vec<_> = settings.collect();
        (settings.len() >= n).then_some(settings)
    });
    assert_eq!(settings.len(), n, "{}", list(&settings));
    settings
}

fn told(event: &TracedEvent) -> (&str, Option<i64>, &str, &str) {
    let TracedKind::Setting { option, value, result, when } = &event.what else {
        panic!("no setting: {event:?}");
    };
    (option, *value, result, when)
}

fn change(event: &TracedEvent) -> Option<(String, u32, u32)> {
    let TracedKind::Changed { option, from, to } = &event.what else {
        return None;
    };
    Some((option.clone(), *from, *to))
}

fn opened(event: &TracedEvent) -> Option<Settings> {
    if let TracedKind::Opened(settings) = &event.what { Some(settings.clone()) } else { None }
}

#[track_caller]
fn assert_called_by_us(event: &TracedEvent) {
    let caller = event.owners.first().expect("a caller");
    let us = (std::process::id(), &process_name("self"));
    assert_eq!((caller.pid, &caller.process), us, "{event:?}");
}
