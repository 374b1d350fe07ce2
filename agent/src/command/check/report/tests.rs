//! The report for connections in known states.

use super::*;
use crate::{
    command::socket_text::Style,
    model::{
        judgement::{
            check_policy::RefusedSetting,
            idle_limit::{IdleLimit, Limits},
        },
        observed::{
            setting::OwnSettings,
            socket::{Comm, Owner, Socket, tests_support::socket},
        },
    },
};

fn shown(columns: usize) -> Vec<String> {
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    let around = Surroundings::new(limits, 250);
    let mut report = Report::new(Policy::default(), around.clone());
    report.add(CheckedConnection::of_socket(&socket(), &[], None, &around));
    let look = ReportStyle { style: Style { colour: false }, columns };
    let mut out = Vec::new();
    report.text(&mut out, look, false).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

fn report(sockets: &[Socket], refused: &[RefusedSetting]) -> Report {
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    let around = Surroundings::new(limits, 250);
    let mut report = Report::new(Policy::default(), around.clone());
    for socket in sockets {
        let judged = CheckedConnection::of_socket(socket, &[], None, &around);
        report.add(CheckedConnection { refused: refused.to_vec(), ..judged });
    }
    report
}

fn text(report: &Report) -> Vec<String> {
    let look = ReportStyle { style: Style { colour: false }, columns: usize::MAX };
    let mut out = Vec::new();
    report.text(&mut out, look, false).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn what_most_connections_have_comes_first() {
    let to = |addr: &str| Socket { remote: addr.parse::<SocketAddr>().unwrap().into(), ..socket() };
    let [one, other] = [to("192.0.2.1:1"), to("192.0.2.2:2")];
    let lines = text(&report(&[one, other, other], &[]));
    assert!(lines[1].contains("192.0.2.2:2") && lines[2].contains("192.0.2.1:1"), "{lines:#?}");
}

#[test]
fn a_setting_that_was_refused_is_a_note_where_no_rule_asks() {
    let refused = RefusedSetting {
        option: crate::model::observed::setsockopt::SockOpt::Idle,
        value: Some(60_000),
        error: "EINVAL".to_owned(),
    };
    let report = report(&[socket(), socket()], &[refused]);
    assert_eq!((report.sum.refused_settings, report.sum.failed_calls), (2, 0));
    let lines = text(&report);
    let note = "note: -: TCP_KEEPIDLE = 60000 s was refused with EINVAL, 2 times";
    assert!(lines.iter().any(|line| line.starts_with(note)), "{lines:#?}");
    assert!(!text(&self::report(&[socket()], &[])).iter().any(|line| line.starts_with("note")));
}

#[test]
fn connections_of_the_other_direction_are_neither_judged_nor_counted() {
    let inbound =
        Socket { direction: crate::model::observed::socket::Direction::Inbound, ..socket() };
    let report = report(&[inbound], &[]);
    assert_eq!((report.sum.judged, report.sum.uncovered, report.has_findings()), (0, 0, false));
    assert_eq!(report.groups().count(), 0);
}

#[test]
fn a_reason_stands_beside_its_finding_or_on_a_narrow_terminal_below() {
    let wide = shown(usize::MAX);
    assert!(wide[0].ends_with("WHY") && wide[1].contains("no probe"), "{wide:?}");
    assert_eq!(wide[2], "");
    let narrow = shown(60);
    assert!(narrow[0].ends_with("KEEPALIVE"), "{narrow:?}");
    assert!(narrow[2].starts_with("    ") && narrow[2].contains("no probe"), "{narrow:?}");
    // The limit is said once.
    assert!(narrow[4].starts_with("the path is taken to forget"), "{narrow:?}");
    // Idle 10 and interval 400: what comes too late is not to be seen at once.
    let own = OwnSettings { idle_seconds: 10, interval_seconds: 400, ..OwnSettings::default() };
    let late = Socket { keepalive: true, own, ..socket() };
    let report = report(&[late], &[]);
    let look = ReportStyle { style: Style { colour: false }, columns: 80 };
    let mut out = Vec::new();
    report.text(&mut out, look, false).unwrap();
    let late = String::from_utf8(out).unwrap();
    assert!(late.contains("\n    the first probe goes out after 10 s"), "{late}");
    for line in narrow.iter().map(String::as_str).chain(late.lines()) {
        assert!(table::width(line) <= 80, "{line}");
    }
}

#[test]
fn timers_that_fire_at_different_times_are_one_finding() {
    let armed = |rest_ms| {
        let mut socket = Socket { keepalive: true, timer_ms: Some(rest_ms), ..socket() };
        (socket.ambient.idle_seconds, socket.ambient.interval_seconds) = (30, 10);
        socket
    };
    let report = report(&[armed(7_100_000), armed(6_900_000)], &[]);
    let lines = text(&report);
    let found: Vec<_> = lines.iter().filter(|line| line.starts_with("unprotected")).collect();
    assert_eq!(found.len(), 1, "{lines:#?}");
    assert!(found[0].contains("  2  ") && found[0].contains("re-open it"), "{lines:#?}");
}

#[test]
fn a_case_of_junit_keeps_its_name_whatever_is_momentary() {
    let armed = |rest_ms| {
        let mut socket = Socket { keepalive: true, timer_ms: Some(rest_ms), ..socket() };
        (socket.ambient.idle_seconds, socket.ambient.interval_seconds) = (30, 10);
        socket
    };
    let in_flight = Socket { in_flight: true, ..armed(5_000_000) };
    let elsewhere = Socket { keepalive: false, ..armed(0) };
    let report = report(&[armed(7_100_000), armed(6_900_000), in_flight, elsewhere], &[]);
    let mut xml = Vec::new();
    let took = std::time::Duration::from_secs(1);
    crate::command::check::junit::write(&mut xml, &report, "host", took).unwrap();
    let xml = String::from_utf8(xml).unwrap();
    let names: BTreeSet<&str> = xml.lines().filter_map(|line| line.split("name=").nth(2)).collect();
    assert_eq!(xml.matches("<testcase ").count(), 2, "{xml}");
    assert_eq!(names.len(), 2, "{xml}");
    assert!(!xml.contains('#') && xml.contains("failures=\"2\""), "{xml}");
    assert!(xml.contains("connections)") && xml.matches("<failure ").count() == 2, "{xml}");
}

#[test]
fn the_word_to_paste_is_a_name_only_where_no_shell_and_no_option_can_be_made_of_it() {
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    let around = Surroundings::new(limits, 250);
    let word = |pid: u32, name: &[u8]| {
        let mut report = Report::new(Policy::default(), around.clone());
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name);
        let owner = Owner { pid, fd: None, comm: Comm::new(bytes) };
        report.add(CheckedConnection::of_socket(&socket(), &[owner], None, &around));
        report.worst_process()
    };
    for name in ["node", "python3.12", "my_app-2", "g++"] {
        assert_eq!(word(7, name.as_bytes()).as_deref(), Some(name));
    }
    let hostile: [&[u8]; 9] =
        [b"$(reboot)", b";reboot", b"`id`", b"Web Content", b"-x", b"5432", b"a|b", b"x\n", b""];
    for name in hostile {
        assert_eq!(word(7, name).as_deref(), Some("7"), "{name:?}");
    }
    assert_eq!(word(Owner::KERNEL, b"$(reboot)"), None);
}
