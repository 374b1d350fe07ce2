//! What is advised in which situation.

use super::*;
use crate::{
    advice::{
        clients::{self, OFF, ON, on},
        place::ForeignNetns,
        process_clues::Traces,
        recognise::{Look, recognise},
    },
    model::observed::socket::Direction,
};

const SYSTEM: Proposal = Proposal { idle: 7200, interval: 75, count: 9 };

fn situation<'a>(need: Need, own: &'a OwnValues, around: &'a RunsIn) -> Situation<'a> {
    let or = |own: u32, system: u32| if own == 0 { system } else { own };
    let now = Proposal {
        idle: or(own.idle, SYSTEM.idle),
        interval: or(own.interval, SYSTEM.interval),
        count: or(own.count, SYSTEM.count),
    };
    Situation {
        need,
        direction: Direction::Outbound,
        own,
        now,
        is_any_live: true,
        retries2: None,
        is_kernel: false,
        around,
        proposal: Proposal::USUAL,
    }
}

fn look(process: &str, port: u16, own: OwnValues) -> Look {
    let traces = Traces::of_name(process);
    Look { traces, port, direction: Direction::Outbound, own, refused: Vec::new() }
}

fn text(advice: &[Advice]) -> String {
    let told =
        advice.iter().map(|it| format!("[{}] {}\n{}", it.place, it.because, it.lines.join("\n")));
    told.collect::<Vec<_>>().join("\n")
}

fn told(need: Need, own: OwnValues, process: &str, port: u16, around: &RunsIn) -> String {
    text(&advise(&situation(need, &own, around), &recognise(&look(process, port, own))))
}

#[test]
fn a_recognised_client_is_told_its_own_line() {
    let around = RunsIn::default();
    let psql = told(Need::Keepalive, ON, "psql", 5432, &around);
    assert!(
        psql.contains("this is libpq (as in psql)") && psql.contains("keepalives_idle=60"),
        "{psql}"
    );
    let node = told(Need::Keepalive, OFF, "node", 9999, &around);
    assert!(node.contains("socket.setKeepAlive(true, 60000)"), "{node}");
}

#[test]
fn what_leaves_the_times_to_the_system_is_told_where_the_system_is() {
    let host = told(Need::Keepalive, ON, "myapp", 1, &RunsIn::default());
    assert!(host.starts_with("[sysctl]") && host.contains("tcp_keepalive_time=60"), "{host}");
    let foreign =
        RunsIn { foreign_netns: Some(ForeignNetns { pid: Some(812) }), ..RunsIn::default() };
    assert!(told(Need::Keepalive, ON, "myapp", 1, &foreign).contains("nsenter -t 812 -n sysctl"));
    let pod = RunsIn { pod: Some("web-0".to_owned()), ..foreign.clone() };
    assert!(told(Need::Keepalive, ON, "myapp", 1, &pod).contains("securityContext"));
    let container = RunsIn { container: Some("web".to_owned()), ..foreign };
    assert!(told(Need::Keepalive, ON, "myapp", 1, &container).contains("docker run --sysctl"));
}

#[test]
fn no_sysctl_is_advised_where_none_helps() {
    let unit = RunsIn { unit: Some("app.service".to_owned()), ..RunsIn::default() };
    let off = told(Need::Keepalive, OFF, "myapp", 1, &unit);
    assert!(!off.contains("sysctl -w") && off.contains("SO_KEEPALIVE, &(int){1}"), "{off}");
    assert!(off.contains("TCP_KEEPIDLE, &(int){60}"), "{off}");
    assert!(off.contains("systemctl edit app.service") && off.contains("KEEPIDLE=60"), "{off}");
    let too_late = told(Need::Keepalive, OwnValues { idle: 600, ..ON }, "myapp", 1, &unit);
    assert!(!too_late.contains("sysctl -w") && too_late.contains("600/-/-"), "{too_late}");
}

#[test]
fn behind_a_proxy_a_ping_of_the_protocol_is_advised() {
    let ssh = told(Need::PingThroughProxy, ON, "ssh", 22, &RunsIn::default());
    assert!(ssh.contains("ServerAliveInterval 60") && !ssh.contains("sysctl"), "{ssh}");
    let unknown = told(Need::PingThroughProxy, ON, "myapp", 1, &RunsIn::default());
    assert!(unknown.contains("at least every 60 s"), "{unknown}");
}

#[test]
fn a_guess_says_so_and_what_holds_if_it_is_wrong() {
    let own = OFF;
    let around = RunsIn::default();
    let candidates = recognise(&look("java", 6379, own));
    let advice = advise(&situation(Need::Keepalive, &own, &around), &candidates);
    let holds: Vec<_> = advice.iter().map(|it| it.holds).collect();
    assert_eq!(holds, [Holds::IfItIs, Holds::Else], "{advice:?}");
    assert!(advice[0].because.starts_with("if this is Lettuce before 7, a guess"), "{advice:?}");
    assert!(advice[1].lines[0].contains("setKeepAlive(true)"), "{advice:?}");
    // Values alone, of an unknown program.
    let own = OwnValues { idle: 900, interval: 5, count: 3, ..ON };
    let unsure = told(Need::Keepalive, OwnValues { idle: 30, ..own }, "myapp", 9999, &around);
    assert!(unsure.starts_with("[runtime] if this is redis-py or go-redis"), "{unsure}");
    assert!(unsure.contains("the program itself sets 30/5/3"), "{unsure}");
}

#[test]
fn a_sysctl_comes_with_what_connections_that_live_need() {
    let around = RunsIn::default();
    let told = told(Need::Keepalive, ON, "myapp", 1, &around);
    assert!(
        told.contains("re-open the connections that live: they keep the old timer for up to 2 h"),
        "{told}"
    );
    let dead = Situation { is_any_live: false, ..situation(Need::Keepalive, &ON, &around) };
    let dead = text(&advise(&dead, &[]));
    assert!(dead.contains("re-open them") && !dead.contains("2 h"), "{dead}");
}

#[test]
fn ssh_is_told_its_own_ping_before_a_sysctl() {
    let around = RunsIn::default();
    let ssh = told(Need::Keepalive, ON, "ssh", 22, &around);
    assert!(ssh.starts_with("[ping] this is the OpenSSH client"), "{ssh}");
    assert!(ssh.contains("ServerAliveInterval 60") && ssh.contains("sysctl"), "{ssh}");
    let off = told(Need::Keepalive, OFF, "ssh", 22, &around);
    assert!(off.starts_with("[runtime]") && off.contains("TCPKeepAlive yes"), "{off}");
    assert!(off.contains("ServerAliveInterval 60"), "{off}");
}

#[test]
fn a_user_timeout_is_advised_only_where_it_notices_sooner() {
    let around = RunsIn::default();
    let own = on(2, 1, 3);
    let of = |retries2, own: &OwnValues| {
        let situation = Situation { retries2, ..situation(Need::UserTimeout, own, &around) };
        text(&advise(&situation, &[]))
    };
    let usual = of(Some(15), &own);
    assert!(
        usual.contains("TCP_USER_TIMEOUT, 90000") && usual.contains("15 here: about 15 min"),
        "{usual}"
    );
    assert!(!usual.contains("TCP_KEEPIDLE"), "{usual}");
    assert!(of(None, &own).contains("15 by default"), "not known");
    // As Azure advises for clients of Redis.
    let few = of(Some(5), &own);
    assert!(
        few.contains("nothing to set")
            && few.contains("5 here: about 13 s")
            && !few.contains("90000"),
        "{few}"
    );
    let set = of(Some(15), &OwnValues { user_timeout_ms: 15_000, ..own });
    assert!(
        set.contains("a user timeout of 15 s is set already") && !set.contains("setsockopt"),
        "{set}"
    );
}

#[test]
fn a_user_timeout_that_one_lost_probe_reaches_is_to_be_longer() {
    let own = OwnValues { user_timeout_ms: 10_000, ..on(5, 5, 3) };
    let told = told(Need::LongerUserTimeout, own, "myapp", 1, &RunsIn::default());
    assert!(told.contains("one lost probe ends a healthy connection"), "{told}");
    assert!(told.contains("TCP_USER_TIMEOUT, 16000"), "two probes may get lost: {told}");
}

#[test]
fn a_line_that_cannot_be_early_enough_says_so() {
    let own = OFF;
    let around = RunsIn::default();
    let mut process = look("python3", 1521, own);
    process.traces.mapped.insert("/v/oracledb/thin_impl.cpython-311.so".to_owned());
    let candidates = recognise(&process);
    let usual = text(&advise(&situation(Need::Keepalive, &own, &around), &candidates));
    assert!(usual.contains("expire_time=1") && !usual.contains("no less than"), "{usual}");
    let short = Situation {
        proposal: Proposal::with_idle(20),
        ..situation(Need::Keepalive, &own, &around)
    };
    let short = text(&advise(&short, &candidates));
    assert!(short.contains("no less than 1 min") && short.contains("ping() every 20 s"), "{short}");
}

#[test]
fn a_mount_is_told_its_mount_options_and_no_call() {
    let own = OwnValues { user_timeout_ms: 180_000, ..on(60, 60, 3) };
    let around = RunsIn::default();
    let nfs = told(Need::Keepalive, own, "kworker/u8:1", 2049, &around);
    assert!(nfs.contains("timeo=600,retrans=2") && !nfs.contains("setsockopt"), "{nfs}");
    let cifs = told(Need::Keepalive, OFF, "mount.cifs", 445, &around);
    assert!(cifs.contains("echo_interval=60") && !cifs.contains("setsockopt"), "{cifs}");
    let unknown = Situation { is_kernel: true, ..situation(Need::Keepalive, &own, &around) };
    assert!(text(&advise(&unknown, &[])).starts_with("[kernel]"));
    // A program that only speaks to that port.
    let smbclient = told(Need::Keepalive, OFF, "smbclient", 445, &around);
    assert!(!smbclient.contains("echo_interval"), "{smbclient}");
}

#[test]
fn a_server_sets_its_listener() {
    let own = OFF;
    let around = RunsIn::default();
    let inbound =
        Situation { direction: Direction::Inbound, ..situation(Need::Keepalive, &own, &around) };
    let told = text(&advise(&inbound, &[]));
    assert!(told.contains("setsockopt(listener, IPPROTO_TCP, TCP_KEEPIDLE"), "{told}");
}

#[test]
fn every_client_is_told_something_whatever_is_wrong() {
    let around = RunsIn::default();
    for direction in [Direction::Outbound, Direction::Inbound] {
        for client in clients::of(direction) {
            for own in [OFF, client.default] {
                for need in
                    [Need::Keepalive, Need::PingThroughProxy, Need::PingThePeer, Need::UserTimeout]
                {
                    let it =
                        Recognised { client, because: Vec::new(), is_sure: true, part_of: None };
                    let situation = Situation { direction, ..situation(need, &own, &around) };
                    let advice = advise(&situation, &[it]);
                    let has_line = advice.iter().any(|advice| !advice.lines.is_empty());
                    let is_set = own.user_timeout_ms > 0 && need == Need::UserTimeout;
                    assert!(has_line || is_set, "{}: {need:?} {advice:?}", client.name);
                }
            }
        }
    }
}
