//! What is advised in which situation.

use super::*;
use crate::{
    advice::{
        clients::{self, OFF, ON, on},
        go_build::GoBuild,
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
        old_timer: Some(7200),
        kernel_gives_up: None,
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
    let dead = Situation { old_timer: None, ..situation(Need::Keepalive, &ON, &around) };
    let dead = text(&advise(&dead, &[]));
    assert!(dead.contains("re-open them") && !dead.contains("2 h"), "{dead}");
}

#[test]
fn times_of_its_own_never_follow_a_sysctl_and_only_what_the_client_caps_is_set_by_one() {
    let around = RunsIn::default();
    let pymongo = |own| {
        let mut look = look("python3.11", 27017, own);
        look.traces.mapped = ["/v/pymongo/_cmessage.so".to_owned()].into();
        look.traces.are_files_read = true;
        let proposal = Proposal { idle: 22, interval: 22, count: 3 };
        let situation = Situation { proposal, ..situation(Need::Keepalive, &own, &around) };
        text(&advise(&situation, &recognise(&look)))
    };
    let capped = pymongo(on(120, 10, 0));
    assert!(capped.contains("this is PyMongo: "), "{capped}");
    assert!(capped.contains("it sets 120/10/- itself only because the system's"), "{capped}");
    assert!(capped.contains("tcp_keepalive_time=22"), "{capped}");
    assert!(capped.contains("keep the times that they have of their own"), "{capped}");
    assert!(!capped.contains("leaves the times") && !capped.contains("old timer"), "{capped}");
    // The look-alikes: what is left to the system follows it, and what the client has not set is in the code.
    let left = pymongo(ON);
    assert!(
        left.contains("leaves the times") && left.contains("old timer for up to 2 h"),
        "{left}"
    );
    let foreign = pymongo(on(600, 0, 0));
    assert!(foreign.contains("the program itself sets 600/-/-: it must set less"), "{foreign}");
    assert!(!foreign.contains("sysctl -w"), "{foreign}");
    // The interval is a time, too.
    let interval = told(Need::Keepalive, on(0, 900, 0), "myapp", 1, &around);
    assert!(interval.contains("-/900/-: it must set less"), "{interval}");
    let short = told(Need::Keepalive, on(0, 10, 0), "myapp", 1, &around);
    assert!(short.contains("[sysctl]") && short.contains("of their own: re-open"), "{short}");
}

#[test]
fn what_only_turns_keepalive_on_needs_the_systems_times_too() {
    let around = RunsIn::default();
    let mut php = look("php8.2", 6379, OFF);
    php.traces = Traces {
        mapped: ["/usr/lib/php/20220829/redis.so".to_owned()].into(),
        are_files_read: true,
        ..php.traces
    };
    let of = |own, now| {
        let look = Look { own, ..php.clone() };
        let situation = Situation { now, ..situation(Need::Keepalive, &own, &around) };
        let advice = advise(&situation, &recognise(&look));
        advice.iter().map(|it| (it.place, it.needs_previous)).collect::<Vec<_>>()
    };
    assert_eq!(of(OFF, SYSTEM), [("runtime", false), ("sysctl", true)]);
    // It is on: only the times are missing.
    assert_eq!(of(ON, SYSTEM), [("sysctl", false)]);
    // The system's times are short already.
    assert_eq!(of(OFF, Proposal::USUAL), [("runtime", false)]);
    // A ping alone is enough: it is another way, not a third thing to do.
    let ssh = advise(&situation(Need::Keepalive, &OFF, &around), &recognise(&look("ssh", 22, OFF)));
    let joined: Vec<_> = ssh.iter().map(|it| (it.place, it.needs_previous)).collect();
    assert_eq!(joined, [("runtime", false), ("sysctl", true), ("ping", false)]);
}

#[test]
fn what_sets_the_idle_time_alone_needs_the_systems_interval_where_that_is_too_long() {
    // Tried with libmemcached 1.1: 5 s and the system's 75 s on a path that forgets after 10 s are dead.
    let around = RunsIn::default();
    let mut app = look("app", 11211, OFF);
    app.traces.mapped = ["/usr/lib/libmemcached.so.11".to_owned()].into();
    app.traces.are_files_read = true;
    let of = |idle| {
        let proposal = Proposal::with_idle(idle);
        let situation = Situation { proposal, ..situation(Need::Keepalive, &OFF, &around) };
        let advice = advise(&situation, &recognise(&app));
        advice.iter().map(|it| (it.place, it.needs_previous)).collect::<Vec<_>>()
    };
    assert_eq!(of(5), [("runtime", false), ("sysctl", true)]);
    // The interval is short enough.
    assert_eq!(of(SYSTEM.interval), [("runtime", false)]);
}

#[test]
fn a_ping_that_cannot_be_as_soon_as_the_path_needs_is_not_advised() {
    let around = RunsIn::default();
    let of = |idle| {
        let proposal = Proposal::with_idle(idle);
        let situation = Situation { proposal, ..situation(Need::Keepalive, &OFF, &around) };
        text(&advise(&situation, &recognise(&look("java", 5432, OFF))))
    };
    assert!(of(60).contains("keepaliveTime=60000"), "{}", of(60));
    assert!(!of(20).contains("keepaliveTime"), "HikariCP refuses it: {}", of(20));
}

#[test]
fn what_is_recognised_gets_no_lines_that_it_cannot_use() {
    let around = RunsIn { unit: Some("app.service".to_owned()), ..RunsIn::default() };
    let needs = [
        Need::Keepalive,
        Need::PingThroughProxy,
        Need::PingThePeer,
        Need::UserTimeout,
        Need::LongerUserTimeout,
    ];
    let go = Traces { go: Some(GoBuild::default()), ..Traces::of_name("shop") };
    let named =
        ["python3", "node", "java", "ruby3.1", "php8.2", "perl", "beam.smp"].map(Traces::of_name);
    for traces in named.into_iter().chain([go]) {
        for direction in [Direction::Outbound, Direction::Inbound] {
            for own in
                [OFF, ON, on(3600, 75, 9), OwnValues { user_timeout_ms: 1000, ..on(60, 10, 9) }]
            {
                for (need, port) in needs.into_iter().flat_map(|need| {
                    [80, 443, 3306, 5432, 5672, 6379, 9092, 9999].map(|port| (need, port))
                }) {
                    let look =
                        Look { traces: traces.clone(), port, direction, own, refused: Vec::new() };
                    let situation = Situation { direction, ..situation(need, &own, &around) };
                    let told = text(&advise(&situation, &recognise(&look)));
                    for other in ["setsockopt(fd,", "setsockopt(listener,", "LD_PRELOAD"] {
                        assert!(!told.contains(other), "{look:?} {need:?}\n{told}");
                    }
                }
            }
        }
    }
    // An unknown program gets them.
    assert!(told(Need::Keepalive, OFF, "myapp", 9999, &around).contains("LD_PRELOAD"));
    assert!(told(Need::UserTimeout, OFF, "myapp", 9999, &around).contains("setsockopt(fd,"));
}

#[test]
fn a_runtime_without_a_user_timeout_is_told_the_systems() {
    let around = RunsIn::default();
    let node = told(Need::UserTimeout, on(2, 1, 3), "node", 9999, &around);
    assert!(node.starts_with("[sysctl]") && node.contains("net.ipv4.tcp_retries2=8"), "{node}");
    let psql = told(Need::UserTimeout, on(2, 1, 3), "psql", 5432, &around);
    assert!(psql.contains("tcp_user_timeout=90000") && !psql.contains("retries2="), "{psql}");
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
    let of = |kernel_gives_up, own: &OwnValues| {
        let situation = Situation { kernel_gives_up, ..situation(Need::UserTimeout, own, &around) };
        text(&advise(&situation, &[]))
    };
    let usual = of(Some(925), &own);
    assert!(
        usual.contains("TCP_USER_TIMEOUT, 90000") && usual.contains("(here: about 15 min"),
        "{usual}"
    );
    assert!(!usual.contains("TCP_KEEPIDLE"), "{usual}");
    assert!(of(None, &own).contains("15 by default"), "not known");
    // As Azure advises for clients of Redis.
    let few = of(Some(13), &own);
    assert!(
        few.contains("nothing to set")
            && few.contains("(here: about 13 s)")
            && !few.contains("90000"),
        "{few}"
    );
    let set = of(Some(925), &OwnValues { user_timeout_ms: 15_000, ..own });
    assert!(
        set.contains("a user timeout of 15 s is set already") && !set.contains("setsockopt"),
        "{set}"
    );
}

#[test]
fn repetitions_are_counted_only_where_the_time_between_them_is_the_usual() {
    let (around, own) = (RunsIn::default(), on(2, 1, 3));
    let node = recognise(&look("node", 443, own));
    let of = |kernel_gives_up| {
        let need = situation(Need::UserTimeout, &own, &around);
        text(&advise(&Situation { kernel_gives_up, ..need }, &node))
    };
    for usual in [None, Some(925)] {
        assert!(of(usual).contains("net.ipv4.tcp_retries2=8"), "{}", of(usual));
    }
    // 150 repetitions at 1 s at most: 8 of them would end what is only slow.
    let other = of(Some(149));
    assert!(!other.contains("tcp_retries2=") && other.contains("tcp_rto_max_ms"), "{other}");
    assert!(
        !other.contains("setsockopt"),
        "of a program that was recognised no C is asked: {other}"
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
