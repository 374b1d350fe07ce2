//! Laws 2 and 3 (docs/ARCHITECTURE.md#laws): every event is accounted for, whatever happens to the reader; and whatever happens
//! to the agent, the next one knows every live socket and the kernel keeps nothing.
#![expect(clippy::panic, clippy::print_stderr, reason = "a test")]

use keepwatch_tests::{
    answer::{
        agent::{Agent, sockets_from_kernel},
        metrics::Metrics,
    },
    kernel::{
        churn::ChurningConnections,
        kernel_ids::KernelIds,
        netns::NetworkNamespace,
        probe_counter::ProbeCounter,
        socket::{self, Plan, Road, SocketOption},
    },
    network::path::{Ends, NetworkPath},
    rounds::{Counted, RoundEnd, one_is_exact},
    tool::TemporaryFolder,
    wait::{StopAtEnd, for_a_moment, until, within},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Also in a slow guest.
const SOON: Duration = Duration::from_mins(1);
/// So that no walk happens but the first, and those that a loss asks for.
const NO_SNAPSHOT_FOR_LONG: [&str; 2] = ["--interval", "1h"];
/// For the events of the whole host, also beside thousands of connections a second.
const ROOM_FOR_ALL: [&str; 2] = ["--ring-bytes", "16777216"];
/// The agent publishes its sums once a second.
const TOLD_WITHIN: Duration = Duration::from_mins(1);
const N_CONNECTIONS: usize = 300;
/// Nothing but a probe a second each, answered.
const PROBING: Plan = Plan::keepalive(1, 1, 127);

/// Totals are of the whole host: so one test at a time makes probes.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn in_a_normal_run_every_event_arrives_and_is_understood() {
    let _alone = alone();
    one_is_exact(normal_run);
}

fn normal_run() -> RoundEnd {
    let path = NetworkPath::cable();
    let mut kernel = ProbesCounted::from_now(&path);
    let agent = Agent::start(&[&NO_SNAPSHOT_FOR_LONG[..], &ROOM_FOR_ALL].concat());
    let connections: Vec<Ends> = (0..50).map(|_| path.connect(&PROBING)).collect();
    kernel.wait_for(100);
    turn_off(&connections);

    let round = compare_totals(&agent, &mut kernel);
    let metrics = wait_until_settled(&agent);
    assert_eq!(lost(&metrics, "ring_full") + lost(&metrics, "undecodable"), 0);
    assert_eq!(stage(&metrics, "submitted"), stage(&metrics, "decoded"));
    assert!(stage(&metrics, "decoded") > 100, "the events of these connections, {metrics:?}");
    assert_table_is_true(&agent, &path.near, 50);
    round
}

#[test]
fn while_the_reader_is_stopped_events_are_lost_and_counted_and_totals_stay_exact() {
    let _alone = alone();
    one_is_exact(overflow);
}

fn overflow() -> RoundEnd {
    let path = NetworkPath::cable();
    let mut kernel = ProbesCounted::from_now(&path);
    let agent = Agent::start(&[&NO_SNAPSHOT_FOR_LONG[..], &["--ring-bytes", "4096"]].concat());
    let mut connections: Vec<Ends> = (0..N_CONNECTIONS).map(|_| path.connect(&PROBING)).collect();
    wait_until_settled(&agent);
    let n_snapshots = Metrics::of(&agent).sum("keepwatch_snapshots_total", "");

    agent.freeze();
    let gone = connections.split_off(N_CONNECTIONS / 2);
    turn_off(&gone);
    drop(gone);
    connections.extend((0..N_CONNECTIONS / 2).map(|_| path.connect(&PROBING)));
    kernel.wait_for(3 * N_CONNECTIONS as u64);
    turn_off(&connections);
    agent.thaw();

    let round = compare_totals(&agent, &mut kernel);
    let metrics = wait_until_settled(&agent);
    let n_lost = lost(&metrics, "ring_full");
    assert!(n_lost > 3 * N_CONNECTIONS as u64, "nearly all probes are lost as events: {n_lost}");
    assert_eq!(lost(&metrics, "undecodable"), 0);
    until("a walk after the loss", SOON, || {
        let now = Metrics::of(&agent).sum("keepwatch_snapshots_total", "");
        (now > n_snapshots).then_some(())
    });
    assert_table_is_true(&agent, &path.near, N_CONNECTIONS);
    round
}

#[test]
fn after_kill_9_at_any_moment_the_next_start_has_every_live_socket_and_the_kernel_keeps_nothing() {
    let _alone = alone();
    let netns = NetworkNamespace::new();
    let mut folder = TemporaryFolder::new();
    for _ in 0..4 {
        let traffic = ChurningConnections::default();
        let agent = thread::scope(|scope| {
            let stop = StopAtEnd(&traffic.stopped);
            scope.spawn(|| netns.run(|| traffic.run()));
            let victim = Agent::spawn_in(std::mem::take(&mut folder), &NO_SNAPSHOT_FOR_LONG);
            for_a_moment(Duration::from_millis(1500));
            victim.freeze();
            let ids = KernelIds::of(victim.pid());
            let left = victim.kill();
            until("its programs, maps and links are gone", SOON, || ids.are_gone().then_some(()));
            let next = Agent::start_in(left, &NO_SNAPSHOT_FOR_LONG);
            drop(stop);
            next
        });
        let alive = traffic.alive();
        assert!(!alive.is_empty());
        let in_netns = netns.inode().to_string();
        let mut missing = Vec::new();
        let all = within(SOON, || {
            let rows = agent.sockets(&["--all", "--netns", &in_netns]);
            let is_there = |fd: &&OwnedFd| {
                let number = fd.as_raw_fd().cast_unsigned();
                rows.iter().any(|row| row.is_held(std::process::id(), number))
            };
            let as_listed = |fd: &OwnedFd| {
                let local = socket::local_address(fd);
                (fd.as_raw_fd(), local, rows.iter().find(|row| row.local == local).cloned())
            };
            missing = alive.iter().filter(|fd| !is_there(fd)).map(as_listed).collect();
            missing.is_empty().then_some(())
        });
        let n_walks = Metrics::of(&agent).sum("keepwatch_snapshots_total", "");
        assert!(all.is_some(), "after {n_walks} walks not with their owners: {missing:?}");
        let ids = KernelIds::of(agent.pid());
        assert!(ids.are_many() && ids.are_in_the_kernel(), "{ids:?}");
        folder = agent.kill();
        until("its programs, maps and links are gone", SOON, || ids.are_gone().then_some(()));
    }
}

/// What the kernel itself counts, in each namespace of the host.
struct ProbesCounted {
    before: BTreeMap<u32, u64>,
    own: u32,
    /// Other namespaces come, go or probe. What they do while the agent starts, and before they go,
    /// nobody can know.
    others_move: bool,
    /// What tracing shows of them, to somebody else than keepwatch.
    shown: io::Result<ProbeCounter>,
}

impl ProbesCounted {
    fn from_now(path: &NetworkPath) -> Self {
        let own = path.near.inode();
        let shown = ProbeCounter::new(own);
        Self { before: Self::read(), own, others_move: false, shown }
    }

    fn read() -> BTreeMap<u32, u64> {
        let count = |(inode, netns): (u32, NetworkNamespace)| (inode, probes_in(&netns));
        NetworkNamespace::all().into_iter().map(count).collect()
    }

    /// In the namespace of the test.
    fn until_now(&mut self) -> u64 {
        let others = |counts: &BTreeMap<u32, u64>| {
            let mut counts = counts.clone();
            counts.remove(&self.own).map(|own| (own, counts))
        };
        let (Some((before, others_before)), Some((now, others_now))) =
            (others(&self.before), others(&Self::read()))
        else {
            panic!("our own namespace is not found");
        };
        self.others_move |= others_before != others_now;
        now - before
    }

    #[track_caller]
    fn wait_for(&mut self, n_more: u64) {
        let enough = self.until_now() + n_more;
        until(format!("{n_more} more probes"), SOON, || (self.until_now() >= enough).then_some(()));
    }
}

fn probes_in(netns: &NetworkNamespace) -> u64 {
    netns.counter("TcpExtTCPKeepAlive")
}

fn turn_off(connections: &[Ends]) {
    for ends in connections {
        Road::Call.set(&ends.client, SocketOption::Keepalive, 0);
    }
}

/// Waits for a moment at which nothing is on its way, and asserts that everything is accounted for.
#[track_caller]
fn wait_until_settled(agent: &Agent) -> Metrics {
    let mut last = None;
    let settled = within(SOON, || {
        let metrics = Metrics::of(agent);
        let (seen, submitted) = (stage(&metrics, "seen"), stage(&metrics, "submitted"));
        let holds = seen == submitted + lost(&metrics, "ring_full") + stage(&metrics, "filtered")
            && submitted == stage(&metrics, "received")
            && stage(&metrics, "received")
                == stage(&metrics, "decoded") + lost(&metrics, "undecodable");
        last = Some(metrics.clone());
        (holds && seen > 0).then_some(metrics)
    });
    settled.unwrap_or_else(|| panic!("events are missing: {last:?}"))
}

/// The totals are of the whole host: exactly ours, unless somebody else has probes sent meanwhile,
/// as other tests on this host do. More than the kernel counts is never right.
#[track_caller]
fn compare_totals(agent: &Agent, kernel: &mut ProbesCounted) -> RoundEnd {
    let (mut counted, mut said) = (0, 0);
    let equal = within(TOLD_WITHIN, || {
        counted = kernel.until_now();
        said = whole(Metrics::of(agent).sum("keepwatch_probes_sent_total", ""));
        (said == counted || kernel.others_move && said > counted).then_some(())
    });
    let totals = format!("the kernel counts {counted} probes, keepwatch {said}");
    if equal.is_none() {
        assert!(said < counted, "{totals}");
        let metrics = Metrics::of(agent);
        let shown = kernel.shown.as_ref();
        let judged = Counted {
            by_kernel: counted,
            by_keepwatch: said,
            not_run: lost(&metrics, "skipped") + lost(&metrics, "unseen"),
            left_out: if leaves_out_kprobes(&metrics) { counted / 100 } else { 0 },
            by_another: shown.map(ProbeCounter::n_sent).map_err(ToString::to_string),
        };
        return judged.judged().unwrap_or_else(|why| panic!("probes were lost: {why}"));
    }
    if let Ok(counter) = &kernel.shown {
        // What counts too little excuses too much. It may miss runs of its own.
        let shown = counter.n_sent();
        assert!(shown <= counted && shown >= counted / 10 * 9, "{totals}; it counts {shown}");
    }
    if said != counted {
        eprintln!("others send probes on this host: the total is only compared from below");
    }
    RoundEnd::Exact
}

/// Whether a kprobe carries the timer on a kernel that leaves some runs of it out without counting them: docs/ARCHITECTURE.md, "What
/// is not seen".
fn leaves_out_kprobes(metrics: &Metrics) -> bool {
    let is_kprobe = "mechanism=\"kprobe/tcp_keepalive_timer\"";
    let Ok(release) = std::fs::read_to_string("/proc/sys/kernel/osrelease") else { return false };
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next(), numbers.next());
    metrics.sum("keepwatch_hook_attached", is_kprobe) > 0.0 && version < (Some(6), Some(7))
}

/// Waits until the agent lists what the kernel does: neither more nor less.
#[track_caller]
fn assert_table_is_true(agent: &Agent, netns: &NetworkNamespace, n: usize) {
    let inode = netns.inode().to_string();
    let args = ["--netns", &inode, "--state", "established"];
    // Not by their ids: without cookies (before 5.12) each process makes its own.
    let ends = |rows: Vec<keepwatch_tests::answer::row::SocketLine>| -> BTreeSet<(SocketAddr, SocketAddr)> {
        rows.into_iter().map(|row| (row.local, row.remote)).collect()
    };
    let truth = ends(sockets_from_kernel(&args));
    assert_eq!(truth.len(), n);
    until("the table is what the kernel says", SOON, || {
        (ends(agent.sockets(&args)) == truth).then_some(())
    });
}

#[track_caller]
fn stage(metrics: &Metrics, stage: &str) -> u64 {
    whole(metrics.sum("keepwatch_events_total", &format!("stage=\"{stage}\"")))
}

#[track_caller]
fn lost(metrics: &Metrics, stage: &str) -> u64 {
    whole(metrics.sum("keepwatch_events_lost_total", &format!("stage=\"{stage}\"")))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter")]
const fn whole(value: f64) -> u64 {
    value as u64
}
