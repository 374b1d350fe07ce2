//! What is left out and refused, without a change.

use crate::stage::{assert_whole, drill, path_with_nft, row, rows};
use keepwatch_tests::{
    answer::agent::{assert_refused, keepwatch},
    kernel::{netns::require_root, socket::Plan},
    network::{cat_program::CatProgram, path::NetworkPath},
};
use std::process::Command;

#[test]
fn a_plan_changes_nothing_and_leaves_out_what_its_asker_holds() {
    require_root();
    let path = NetworkPath::cable();
    let programs =
        [Plan::keepalive(20, 5, 3), Plan::NOTHING].map(|plan| CatProgram::reading(&path, &plan));
    // This test has started keepwatch, as a shell does: what it holds may be the shell's own session.
    let own = path.connect(&Plan::NOTHING);
    let (code, all) = rows(&drill(&path, &[], &[]).output().expect("start keepwatch"));
    assert_eq!((code, all.len()), (0, 3), "{all:?}");
    for program in &programs {
        assert_eq!(row(&all, program.local)["outcome"], "planned");
    }
    assert_eq!(row(&all, programs[0].local)["promised_seconds"], 35);
    let of_own = row(&all, own.local);
    assert_eq!(
        (&of_own["outcome"], &of_own["reason"]),
        (&"left_out".into(), &"own_session".into())
    );
    assert_whole(&path.near);
    let port = own.local.port().to_string();
    let refused = drill(&path, &[&port], &["--yes"]).output().expect("start keepwatch");
    assert_refused(&refused, 2, &["your own session"]);
    let (_, all) = rows(&drill(&path, &[], &["--count", "1"]).output().expect("start keepwatch"));
    assert_eq!(row(&all, programs[0].local)["outcome"], "planned", "the first to notice");
    assert_eq!(row(&all, programs[1].local)["reason"], "not_counted");
}

#[test]
fn a_drill_of_everything_or_of_too_many_is_refused() {
    require_root();
    let path = NetworkPath::cable();
    let everything = keepwatch(["drill", "--verdict", "off", "--yes"]).output();
    assert_refused(&everything.expect("start keepwatch"), 2, &["name them by a filter"]);
    let _programs: Vec<_> = (0..11).map(|_| CatProgram::reading(&path, &Plan::NOTHING)).collect();
    let too_many = drill(&path, &[], &["--yes"]).output().expect("start keepwatch");
    assert_refused(&too_many, 2, &["11 connections", "10 at most"]);
    let too_long = drill(&path, &[], &["--yes", "--for", "16m"]).output().expect("start keepwatch");
    assert_refused(&too_long, 2, &["16 min"]);
    assert_whole(&path.near);
}

#[test]
fn without_nft_or_its_capability_it_is_refused_and_nothing_is_touched() {
    require_root();
    let path = NetworkPath::cable();
    let program = CatProgram::reading(&path, &Plan::NOTHING);
    let port = program.port();
    let mut command = drill(&path, &[&port], &["--yes"]);
    let without_nft = command.env("PATH", "/nonexistent").output().expect("start keepwatch");
    assert_refused(&without_nft, 3, &["run nft", "nothing was changed", "package nftables"]);
    let as_asked = drill(&path, &[&port], &["--yes"]);
    let without = |capability: &str| {
        Command::new("setpriv")
            .arg(format!("--bounding-set=-{capability}"))
            .arg(as_asked.get_program())
            .args(as_asked.get_args())
            .env("PATH", path_with_nft(None))
            .output()
            .expect("setpriv of util-linux")
    };
    assert_refused(&without("net_admin"), 3, &["CAP_NET_ADMIN", "nothing was changed"]);
    assert_refused(&without("sys_admin"), 3, &["CAP_SYS_ADMIN", "nothing was changed"]);
    assert_whole(&path.near);
}
