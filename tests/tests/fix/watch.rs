//! `fix --watch`.

use crate::stage::{Fixer, SOON, options};
use keepwatch_tests::{
    answer::agent::keepwatch,
    kernel::socket::{Plan, Road, SocketOption},
    network::path::NetworkPath,
    wait,
};
use std::{
    fs,
    process::{Child, Stdio},
};

/// `fix --watch`, ended when dropped.
struct FixWatch(Child);

impl Drop for FixWatch {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn while_it_watches_programs_come_first_and_each_connection_is_touched_once() {
    let fixer = Fixer::new(NetworkPath::cable());
    let counts = fixer.state.file("fix.prom");
    let file = counts.display().to_string();
    let more = ["--apply", "--watch", "200ms", "--grace", "2s", "--textfile", &file];
    let child =
        keepwatch(fixer.words(&more)).stdout(Stdio::null()).spawn().expect("start keepwatch");
    let _watching = FixWatch(child);
    let in_counts = |line: &str| {
        fs::read_to_string(&counts)
            .is_ok_and(|text| text.lines().any(|it| it == line))
            .then_some(())
    };
    wait::until("it watches", SOON, || in_counts("keepwatch_fix_total{outcome=\"fixed\"} 0"));
    let [own, fixed] = [(); 2].map(|()| fixer.path.connect(&Plan::NOTHING));
    wait::until("both are met, and left alone", SOON, || {
        in_counts("keepwatch_fix_left_alone{reason=\"in_grace\"} 2")
    });
    for (option, value) in
        [(SocketOption::KeepIdle, 30), (SocketOption::KeepIntvl, 9), (SocketOption::Keepalive, 1)]
    {
        Road::Call.set(&own.client, option, value);
    }
    wait::until("the other one is fixed", SOON, || options(&fixed.client).0.then_some(()));
    assert_eq!(options(&own.client), (true, 30, 9, 9));
    // What its program does now is what it wants.
    Road::Call.set(&fixed.client, SocketOption::Keepalive, 0);
    let third = fixer.path.connect(&Plan::NOTHING);
    wait::until("a later one is fixed", SOON, || options(&third.client).0.then_some(()));
    assert!(!options(&fixed.client).0);
    wait::until("it counts", SOON, || in_counts("keepwatch_fix_total{outcome=\"fixed\"} 2"));
}
