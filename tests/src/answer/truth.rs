//! Law 1 (docs/ARCHITECTURE.md#laws): what keepwatch says of a socket is what the kernel says when asked on its descriptor.

use crate::{
    answer::row::{SocketHolder, SocketLine},
    kernel::{
        netns::NetworkNamespace,
        socket::{SocketSettings, standard},
        sys,
    },
    skip::skip,
    tool,
};
use rustix::net::{AddressFamily, getpeername, getsockname, sockopt};
use std::{
    collections::{BTreeSet, HashMap},
    fmt::{Debug, Write as _},
    fs,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

/// The idle limit where nothing is configured.
const IDLE_LIMIT_SECONDS: u32 = 350;

/// The first repetition comes after 200 ms at least (`TCP_RTO_MIN` in include/net/tcp.h), and after not much more on these paths.
const FIRST_WAIT_MS: f64 = 300.0;

/// Slack for reading a clock of 4 ms ticks twice.
const TICKS_MS: f64 = 25.0;

/// What a socket is to the program that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A socket without a peer.
    Unconnected,
    /// A socket that listens.
    Listener,
    /// It connected, or tries to.
    Outbound,
    /// A connection that a listener accepted.
    Inbound,
}

/// A socket that this process holds, and what it knows of it without asking.
#[derive(Debug)]
pub struct Held {
    /// What it is, for the failure message.
    pub what: String,
    /// The open descriptor.
    pub fd: OwnedFd,
    /// What it is for.
    pub role: Role,
    /// Inode of its namespace.
    pub netns: u32,
    /// What was set on it, or on its listener before it was born.
    pub own: SocketSettings,
    /// Whether keepalive was left on.
    pub keepalive: bool,
    /// The namespace's idle time when the keepalive timer was armed: it stays until it fires.
    pub netns_idle_when_armed: u32,
    /// When it was made.
    pub made: Instant,
    /// Where a connection attempt goes to: getpeername does not tell before it is established.
    pub connecting_to: Option<SocketAddr>,
    /// Other processes that hold it.
    pub other_owners: Vec<SocketHolder>,
}

/// What the kernel says when it is asked on the descriptor.
#[derive(Clone, Debug)]
pub struct KernelAnswer {
    at: Instant,
    id: String,
    local: SocketAddr,
    remote: SocketAddr,
    state: &'static str,
    keepalive: bool,
    idle: u32,
    interval: u32,
    count: u32,
    user_timeout_ms: u32,
    probes: u8,
    in_flight: bool,
    /// Age of the last packet either way.
    quiet_ms: u32,
    /// Age of the last packet received.
    silent_ms: u32,
}

const STATES: [&str; 12] = [
    "?",
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];

impl Held {
    /// Asks the kernel on the descriptor.
    pub fn ask(&self) -> KernelAnswer {
        let fd = &self.fd;
        let info = sys::tcp_info(fd.as_fd()).expect("TCP_INFO");
        let state = STATES.get(usize::from(info.tcpi_state)).copied().unwrap_or("?");
        let local = standard(getsockname(fd).expect("getsockname"));
        let domain = sockopt::socket_domain(fd).expect("SO_DOMAIN");
        let nowhere = match domain {
            AddressFamily::INET => "0.0.0.0:0",
            _ => "[::]:0",
        };
        let peer = getpeername(fd).ok().flatten().map(standard).or(self.connecting_to);
        let remote = peer.unwrap_or_else(|| nowhere.parse().expect("an address"));
        let seconds = |time: Duration| u32::try_from(time.as_secs()).expect("seconds of a setting");
        let silent_ms = info.tcpi_last_data_recv.min(info.tcpi_last_ack_recv);
        KernelAnswer {
            at: crate::wait::now(),
            id: format!("sk:{:x}", sockopt::socket_cookie(fd).expect("SO_COOKIE")),
            local: canonical(local),
            remote: canonical(remote),
            state,
            keepalive: sockopt::socket_keepalive(fd).expect("SO_KEEPALIVE"),
            idle: seconds(sockopt::tcp_keepidle(fd).expect("TCP_KEEPIDLE")),
            interval: seconds(sockopt::tcp_keepintvl(fd).expect("TCP_KEEPINTVL")),
            count: sockopt::tcp_keepcnt(fd).expect("TCP_KEEPCNT"),
            user_timeout_ms: sockopt::tcp_user_timeout(fd).expect("TCP_USER_TIMEOUT"),
            probes: info.tcpi_probes,
            // Of a listener `tcpi_unacked` is the length of its accept queue.
            in_flight: state != "listen" && (info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0),
            quiet_ms: silent_ms.min(info.tcpi_last_data_sent),
            silent_ms,
        }
    }

    /// This process as an owner.
    fn own_owner(&self) -> SocketHolder {
        SocketHolder {
            pid: std::process::id(),
            fd: Some(self.descriptor()),
            process: process_name("self"),
        }
    }

    fn descriptor(&self) -> u32 {
        self.fd.as_raw_fd().cast_unsigned()
    }

    const fn is_connection(&self) -> bool {
        matches!(self.role, Role::Outbound | Role::Inbound)
    }
}

/// The name of a process's main thread.
pub fn process_name(pid: impl std::fmt::Display) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).expect("a process's name");
    name.trim_end().to_owned()
}

/// An IPv4-mapped address as the IPv4 address that it is.
const fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What was compared, and what differed.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Sockets that were compared.
    pub n_sockets: usize,
    /// Fields that were compared.
    pub n_fields: usize,
    /// A line for each field that differs.
    pub differences: Vec<String>,
}

impl Comparison {
    /// Fails the test, with the first few differences.
    #[track_caller]
    pub fn assert_equal(&self) {
        let Self { n_sockets, n_fields, differences } = self;
        let mut text = String::new();
        for line in differences.iter().take(12) {
            write!(text, "\n  {line}").expect("write to a string");
        }
        assert!(
            differences.is_empty(),
            "{} of {n_fields} fields of {n_sockets} sockets differ:{text}",
            differences.len()
        );
        eprintln!("{n_fields} fields of {n_sockets} sockets are as getsockopt says");
    }

    fn same<T: PartialEq + Debug>(&mut self, held: &Held, field: &str, truth: &T, said: &T) {
        self.holds(held, field, truth == said, || format!("is {truth:?}, keepwatch says {said:?}"));
    }

    fn holds(&mut self, held: &Held, field: &str, holds: bool, otherwise: impl FnOnce() -> String) {
        self.n_fields += 1;
        if !holds {
            self.differences.push(format!("{} [{}]: {}", held.what, field, otherwise()));
        }
    }
}

/// Asks the kernel of every socket, has keepwatch tell of them, asks again, and compares. Samples
/// that keepwatch tells of may be as old as `staleness`.
pub fn compare(
    sockets: &[Held],
    staleness: Duration,
    keepwatch: impl FnOnce() -> Vec<SocketLine>,
) -> Comparison {
    let before: Vec<KernelAnswer> = sockets.iter().map(Held::ask).collect();
    let rows = keepwatch();
    let after: Vec<KernelAnswer> = sockets.iter().map(Held::ask).collect();
    let pid = std::process::id();
    let mut by_descriptor: HashMap<u32, Vec<&SocketLine>> = HashMap::new();
    for row in &rows {
        let ours = row.owners.iter().filter(|owner| owner.pid == pid).filter_map(|owner| owner.fd);
        for fd in ours {
            by_descriptor.entry(fd).or_default().push(row);
        }
    }
    let host = HostFacts::ask();
    if !host.gives_cookies {
        skip("socket cookies", "which this kernel does not make for hooks");
        let ids: BTreeSet<_> = rows.iter().map(|row| &row.id).collect();
        assert_eq!(ids.len(), rows.len(), "an id is of one socket");
    }
    // What the peer probes is less quiet than TCP_INFO says, which does not know probes of the peer.
    let mut probing: HashMap<_, u32> = HashMap::new();
    for KernelAnswer { remote, local, idle, .. } in before.iter().filter(|it| it.keepalive) {
        // Two namespaces may have the same addresses and ports.
        let first = probing.entry((*remote, *local)).or_insert(*idle);
        *first = (*first).min(*idle);
    }
    let mut comparison = Comparison { n_sockets: sockets.len(), ..Comparison::default() };
    for ((held, before), after) in sockets.iter().zip(before).zip(after) {
        match by_descriptor.get(&held.descriptor()).map(Vec::as_slice) {
            Some([row]) => {
                // No probe comes sooner. A probe of ours that the peer answers puts off none of its own.
                let idle_ms = |idle: &u32| f64::from(*idle) * 1000.0;
                let is_probed = probing
                    .get(&(before.local, before.remote))
                    .is_some_and(|idle| idle_ms(idle) <= ms(after.at - held.made));
                let window = Window { before, after, staleness_ms: ms(staleness), is_probed };
                compare_one(&mut comparison, held, row, &window, &host);
            }
            Some(rows) => {
                let n_rows = rows.len();
                comparison.holds(held, "row", false, || format!("{n_rows} rows have descriptor"));
            }
            None => comparison.holds(held, "row", false, || "is not shown".to_owned()),
        }
    }
    comparison
}

/// What verdicts depend on besides the socket.
struct HostFacts {
    addresses: BTreeSet<IpAddr>,
    gives_cookies: bool,
}

impl HostFacts {
    /// From `ip -o address`, in the namespace that keepwatch runs in.
    fn ask() -> Self {
        let output = NetworkNamespace::host()
            .run(|| {
                std::process::Command::new(tool::program("ip")).args(["-o", "address"]).output()
            })
            .expect("the command `ip` of iproute2");
        let addresses = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3)?.split('/').next()?.parse().ok())
            .collect();
        Self { addresses, gives_cookies: tool::kernel_has_cookies_for_hooks() }
    }

    fn verdict(&self, asked: &KernelAnswer) -> &'static str {
        let peer = asked.remote.ip();
        if peer.is_loopback() || peer == asked.local.ip() || self.addresses.contains(&peer) {
            "local"
        } else if !asked.keepalive {
            "off"
        } else if asked.idle < IDLE_LIMIT_SECONDS {
            "protected"
        } else {
            "late"
        }
    }
}

/// The two times between which keepwatch looked.
struct Window {
    before: KernelAnswer,
    after: KernelAnswer,
    staleness_ms: f64,
    /// The peer has keepalive on.
    is_probed: bool,
}

fn compare_one(
    to: &mut Comparison,
    held: &Held,
    row: &SocketLine,
    window: &Window,
    host: &HostFacts,
) {
    let asked = &window.before;
    let from = |own: u32| if own == 0 { "netns" } else { "socket" }.to_owned();
    let family = if asked.local.is_ipv4() { "ipv4" } else { "ipv6" }.to_owned();
    if host.gives_cookies {
        to.same(held, "id", &asked.id, &row.id);
    }
    to.same(held, "netns", &held.netns, &row.netns);
    to.same(held, "family", &family, &row.family);
    to.same(held, "local", &asked.local, &row.local);
    to.same(held, "remote", &asked.remote, &row.remote);
    to.same(held, "state", &asked.state.to_owned(), &row.state);
    to.same(held, "keepalive (as set)", &held.keepalive, &asked.keepalive);
    to.same(held, "keepalive", &asked.keepalive, &row.keepalive);
    to.same(held, "idle.seconds", &asked.idle, &row.idle.seconds);
    to.same(held, "idle.from", &from(held.own.idle), &row.idle.from);
    to.same(held, "interval.seconds", &asked.interval, &row.interval.seconds);
    to.same(held, "interval.from", &from(held.own.interval), &row.interval.from);
    to.same(held, "count.probes", &asked.count, &row.count.probes);
    to.same(held, "count.from", &from(held.own.count), &row.count.from);
    to.same(held, "user_timeout_ms (as set)", &held.own.user_timeout_ms, &asked.user_timeout_ms);
    to.same(held, "user_timeout_ms", &asked.user_timeout_ms, &row.user_timeout_ms);
    to.same(held, "detection_seconds", &detection(asked), &row.detection_seconds);
    to.same(held, "idle_limit_seconds", &IDLE_LIMIT_SECONDS, &row.idle_limit_seconds);
    to.same(held, "idle_limit_from", &"default".to_owned(), &row.idle_limit_from);
    to.same(held, "path", &None, &row.path);
    to.same(held, "in_flight", &asked.in_flight, &row.in_flight);
    let mut owners = held.other_owners.clone();
    owners.push(held.own_owner());
    owners.sort();
    let mut said = row.owners.clone();
    said.sort();
    to.same(held, "owners", &owners, &said);
    if held.is_connection() {
        let direction = if held.role == Role::Outbound { "outbound" } else { "inbound" }.to_owned();
        to.same(held, "direction", &direction, &row.direction);
        to.same(held, "direction_from", &"inferred".to_owned(), &row.direction_from);
        to.same(held, "verdict", &host.verdict(asked).to_owned(), &row.verdict);
        to.holds(held, "meaning", !row.meaning.is_empty(), || "has no words".to_owned());
        compare_times(to, held, row, window);
    }
}

/// kernel.md 1.3: with a user timeout, the first probe that is due after it has passed decides.
fn detection(asked: &KernelAnswer) -> Option<u64> {
    let [idle, interval, count] = [asked.idle, asked.interval, asked.count].map(u64::from);
    let idle_ms = idle * 1000;
    let rounds = match u64::from(asked.user_timeout_ms) {
        0 => count,
        timeout_ms if timeout_ms <= idle_ms => 1,
        timeout_ms => (timeout_ms - idle_ms).div_ceil(interval * 1000),
    };
    asked.keepalive.then_some(idle + interval * rounds)
}

/// What moves while keepwatch looks: it must lie between what was before and what was after.
fn compare_times(to: &mut Comparison, held: &Held, row: &SocketLine, window: &Window) {
    let Window { before, after, staleness_ms, is_probed } = window;
    let passed_ms = ms(after.at - before.at);
    let moved_ms = passed_ms + staleness_ms;
    let quiet_ms = row.quiet_seconds * 1000.0;
    let (quiet_before, quiet_after) = (f64::from(before.quiet_ms), f64::from(after.quiet_ms));
    // Probes that go out and come back while we look end the quiet time, and so do those that go
    // out and leave no stamp.
    let undisturbed = quiet_after >= quiet_before + passed_ms - TICKS_MS
        && quiet_before > *staleness_ms
        && before.probes == 0
        && after.probes == 0;
    let range = if before.state == "syn_sent" {
        // Its stamps are not set yet: TCP_INFO says "since boot". It sends SYNs, so it is not quiet.
        0.0..=ms(after.at - held.made)
    } else if row.retransmits > 0 {
        // TCP_INFO counts from the last repetition, keepwatch from the first, which comes some time after what is repeated: that
        // was sent after a second of quiet.
        (quiet_before - FIRST_WAIT_MS).max(0.0)..=f64::from(after.silent_ms) - 500.0
    } else if before.probes > 1 {
        // Of probes that nobody answers only the first is a packet of the path; the others are repetitions.
        let first_ms = f64::from(before.idle) * 1000.0;
        let least = f64::from(before.silent_ms) - first_ms * 1.125 - 1000.0;
        least.max(0.0)..=f64::from(after.silent_ms) - first_ms + TICKS_MS
    } else if undisturbed && *is_probed {
        0.0..=quiet_after + TICKS_MS
    } else if undisturbed {
        quiet_before - TICKS_MS..=quiet_after + TICKS_MS
    } else {
        let longest = f64::from(before.idle.max(before.interval)) * 1125.0;
        0.0..=longest.min(quiet_after.max(quiet_before)) + moved_ms + 1000.0
    };
    to.holds(held, "quiet_seconds", range.contains(&quiet_ms), || {
        format!(
            "is {:.3} to {:.3}, keepwatch says {:.3}: {before:?}, {row:?}, {after:?}, probed: {is_probed}",
            range.start() / 1e3,
            range.end() / 1e3,
            row.quiet_seconds
        )
    });
    // An agent's sample may be older, or of the moment when a probe had just gone out.
    let (older, newer) = if *staleness_ms > 0.0 { (3, 1) } else { (0, 0) };
    let fewest = if after.probes < before.probes { 0 } else { before.probes.saturating_sub(older) };
    // The last one may be on its way: then it is not unanswered.
    let fewest = fewest.saturating_sub(1);
    let probes = fewest..=before.probes.max(after.probes) + newer;
    to.holds(held, "probes_unanswered", probes.contains(&row.probes_unanswered), || {
        format!("is {probes:?}, keepwatch says {}", row.probes_unanswered)
    });
    let is_measured = row.verdict != "local" && row.state != "syn_sent";
    let limit = is_measured.then_some(row.until_limit_seconds.unwrap_or(f64::NAN));
    let rest_holds = match (limit, row.until_limit_seconds) {
        (None, rest) => rest.is_none(),
        (Some(rest), _) => (rest + row.quiet_seconds - f64::from(IDLE_LIMIT_SECONDS)).abs() < 0.01,
    };
    to.holds(held, "until_limit_seconds", rest_holds, || {
        format!("is {:?} after {} s of quiet", row.until_limit_seconds, row.quiet_seconds)
    });
    compare_next_probe(to, held, row, window);
}

fn compare_next_probe(to: &mut Comparison, held: &Held, row: &SocketLine, window: &Window) {
    let Window { before, after, staleness_ms, .. } = window;
    let due = before.keepalive && !before.in_flight && before.state != "syn_sent";
    to.holds(held, "next_probe_seconds", row.next_probe_seconds.is_some() == due, || {
        let truth = if due { "a time" } else { "null" };
        format!("is {truth}, keepwatch says {:?}", row.next_probe_seconds)
    });
    let Some(said) = row.next_probe_seconds.filter(|_| due) else {
        return;
    };
    let armed = if held.own.idle == 0 { held.netns_idle_when_armed } else { held.own.idle };
    let idle_ms = f64::from(armed.max(before.idle)) * 1000.0;
    let asked_for_ms = ms(after.at - before.at);
    let passed_ms = asked_for_ms + staleness_ms;
    // A probe that is answered while we look ends the silence: without it, it would have lasted on.
    let silent_after_ms =
        f64::from(after.silent_ms).max(f64::from(before.silent_ms) + asked_for_ms);
    let soonest = idle_ms - silent_after_ms;
    // Setting SO_KEEPALIVE or TCP_KEEPIDLE arms the timer then, not at the last packet.
    let latest = idle_ms - f64::from(before.silent_ms) + 1000.0;
    // After a probe, answered or not, the timer is armed for the interval.
    let fires_meanwhile = soonest < passed_ms + 5000.0
        || before.probes > 0
        || ms(after.at - held.made) + 5000.0 > idle_ms;
    let range = if fires_meanwhile {
        0.0..=f64::from(armed.max(before.idle).max(before.interval)) * 1125.0 + 1000.0
    } else {
        soonest - TICKS_MS..=latest
    };
    to.holds(held, "next_probe_seconds", range.contains(&(said * 1000.0)), || {
        format!(
            "is {:.3} to {:.3}, keepwatch says {said:.3}",
            range.start() / 1e3,
            range.end() / 1e3
        )
    });
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
