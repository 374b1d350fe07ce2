//! A scrape: its rows are those of the definitions, its sums exact, its size bounded, whatever a host does.

use super::*;
use crate::{
    config::ReloadHealth,
    kernel::{hooks::Signal, sandbox::Sandbox},
    model::{
        judgement::{
            death::Death,
            idle_limit::{ConfiguredPath, IdleLimit, Limits},
            verdict::Surroundings,
        },
        observed::{
            ending::{Ending, Unacked},
            event::Event,
            owner_identity::{Identity, KnownProcess, NamedOwner},
            setsockopt::{Call, SockOpt, When},
            setting::{NetnsSettings, OwnSettings},
            socket::{
                Comm, Direction, Owner, Socket, SocketId, State, Time, tests_support::socket,
            },
        },
        table::{
            Bounds, Table,
            agent_health::{AgentHealth, WithoutEbpf},
            owner_label::{MAX_OWNERS, OwnerLabels, OwnerName},
            sums::Totals,
        },
        text::sanitize::{OTHER, bounded},
    },
    store,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// A sample: family or bucket name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Reads a scrape strictly: any line that is no sample and no comment panics.
fn samples(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).map(sample_of).collect()
}

fn sample_of(line: &str) -> Sample {
    let line = line.rsplit_once(" # {id=\"").map_or(line, |(sample, _exemplar)| sample);
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let mut labels = labels.strip_suffix('}').unwrap().chars().peekable();
    let mut found = BTreeMap::new();
    while labels.peek().is_some() {
        let label: String = labels.by_ref().take_while(|&c| c != '=').collect();
        assert_eq!(labels.next(), Some('"'), "{line}");
        let mut text = String::new();
        loop {
            match labels.next().unwrap() {
                '"' => break,
                '\\' => text.push(match labels.next().unwrap() {
                    'n' => '\n',
                    c @ ('"' | '\\') => c,
                    c => panic!("\\{c} in {line}"),
                }),
                c => text.push(c),
            }
        }
        assert!(found.insert(label, text).is_none(), "{line}");
        assert!(matches!(labels.next(), None | Some(',')), "{line}");
    }
    (name.to_owned(), found, value.parse().unwrap())
}

fn around() -> Surroundings {
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    Surroundings::new(limits, 250)
}

fn named(name: &[u8]) -> Socket {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name);
    Socket { owner: Some(Owner { pid: 1, fd: None, comm: Comm::new(bytes) }), ..socket() }
}

/// The socket in every direction with every verdict, past the limit and probing where it can.
fn in_every_class(socket: Socket) -> impl Iterator<Item = Socket> {
    let own = |idle_seconds| OwnSettings { idle_seconds, ..OwnSettings::default() };
    let socket = Socket { quiet_ms: 4_000_000, probes_unanswered: 1, ..socket };
    let mut local = socket;
    local.remote.addr = local.local.addr;
    let classes = [
        socket,
        Socket { keepalive: true, own: own(7200), ..socket },
        Socket { keepalive: true, own: own(60), ..socket },
        local,
    ];
    Direction::ALL
        .into_iter()
        .flat_map(move |direction| classes.map(|socket| Socket { direction, ..socket }))
}

fn table() -> Table {
    Table::new(around(), Bounds::new(1_000_000, 10))
}

fn totals(sockets: impl IntoIterator<Item = Socket>) -> Totals {
    let mut table = table();
    for (socket, id) in sockets.into_iter().zip(1..) {
        table.apply(Event::Seen(Socket { id: SocketId(id), ..socket }));
    }
    let mut totals = table.totals();
    totals.netns.insert(socket().netns, NetnsSettings::default());
    totals.health = AgentHealth { hooks: hooks(), ..AgentHealth::default() };
    totals
}

/// Each signal by its best mechanism.
fn hooks() -> Vec<(&'static str, &'static str, bool)> {
    Signal::ALL.map(|signal| (signal.as_str(), signal.places()[0].name, true)).to_vec()
}

fn scrape(totals: Totals, format: ScrapeFormat) -> String {
    let reloads = ReloadHealth::new(1.7e9).now();
    let history = store::Health::default().status();
    encode(Arc::new(totals), AgentProcess::read(1.7e9), history, reloads, Sandbox::off(), format)
        .unwrap()
}

#[test]
fn every_family_is_exported_as_it_is_defined_and_no_other() {
    let text = scrape(totals(in_every_class(named(b"db"))), ScrapeFormat::Text);
    let kinds: HashMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let expected: HashMap<String, &str> = families()
        .map(|family| {
            let kind =
                if family.kind == MetricKind::Info { MetricKind::Gauge } else { family.kind };
            (family.exported_name(), kind.as_str())
        })
        .collect();
    let found = kinds.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect();
    assert_eq!(expected, found);
    for family in families() {
        let name = family.exported_name();
        assert!(text.contains(&format!("# HELP {name} {}\n", family.help)), "{name}");
    }
}

#[test]
fn a_count_of_deaths_names_the_connection_that_died_last_where_the_format_has_a_place_for_it() {
    let mut table = table();
    let closed = Socket { id: SocketId(31), state: State::Close, ..named(b"db") };
    table.apply(Event::Seen(Socket { state: State::LastAck, ..closed }));
    let ending = Ending::default();
    table.apply(Event::StateChange { socket: closed, old: State::LastAck, ending });
    let deaths = |format| -> String {
        let text = scrape(table.totals(), format);
        let mut lines = text.lines().filter(|line| line.starts_with("keepwatch_deaths_total{"));
        lines.next().unwrap().into()
    };
    let openmetrics = deaths(ScrapeFormat::OpenMetrics);
    assert!(openmetrics.ends_with("} 1 # {id=\"sk:1f\"} 1.0"), "{openmetrics}");
    assert!(deaths(ScrapeFormat::Text).ends_with("} 1"));
}

#[test]
fn labels_and_their_values_are_those_of_the_definition() {
    let text = scrape(everything(), ScrapeFormat::Text);
    let mut without_rows: BTreeSet<&str> = families().map(|family| family.name).collect();
    for (name, labels, _) in samples(&text) {
        let family = families()
            .find(|family| match family.kind {
                MetricKind::Histogram(_) => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|suffix| name.strip_suffix(suffix) == Some(family.name)),
                _ => family.exported_name() == name,
            })
            .unwrap();
        let names: BTreeSet<&str> =
            labels.keys().map(String::as_str).filter(|&name| name != "le").collect();
        let expected: BTreeSet<&str> = family.labels.iter().map(|label| label.name).collect();
        assert_eq!(names, expected, "{name}");
        for label in family.labels {
            if let LabelValues::Closed(values) = label.values {
                assert!(values.contains(&labels[label.name].as_str()), "{name} {labels:?}");
            }
        }
        without_rows.remove(family.name);
    }
    assert_eq!(without_rows, BTreeSet::from(["keepwatch_not_seen"]), "of agents without eBPF");
}

#[test]
fn without_ebpf_what_needs_hooks_is_absent_and_what_is_not_seen_is_counted() {
    let mut totals = everything();
    totals.health.without_ebpf = Some(WithoutEbpf::default());
    let text = scrape(totals, ScrapeFormat::Text);
    let names: BTreeSet<String> = samples(&text).into_iter().map(|(name, ..)| name).collect();
    let is_there = |name: &str| names.iter().any(|it| it.starts_with(name));
    assert!(is_there("keepwatch_not_seen") && is_there("keepwatch_deaths_total"), "{names:?}");
    for absent in [
        "keepwatch_probes",
        "keepwatch_events_total",
        "keepwatch_events_lost",
        "keepwatch_hook",
        "keepwatch_setsockopt",
    ] {
        assert!(!is_there(absent), "{absent}: 0 would look like health");
    }
    assert!(text.contains("keepwatch_source_info{source=\"proc\"} 1"), "{text}");
}

#[test]
fn openmetrics_ends_with_its_end_and_text_has_none() {
    let totals = totals([socket()]);
    let openmetrics = scrape(totals.clone(), ScrapeFormat::OpenMetrics);
    assert!(openmetrics.ends_with("\n# EOF\n"));
    assert!(openmetrics.contains("# TYPE keepwatch_build info\n"));
    assert!(openmetrics.contains("# UNIT keepwatch_detection_seconds seconds\n"));
    assert!(openmetrics.contains("# TYPE keepwatch_events_lost counter\n"));
    let text = scrape(totals, ScrapeFormat::Text);
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
    let of = |text: &str| -> Vec<Sample> {
        samples(text).into_iter().filter(|(name, ..)| !name.starts_with("process_")).collect()
    };
    assert_eq!(of(&openmetrics), of(&text));
}

#[test]
fn before_the_first_walk_a_scrape_is_whole_too() {
    let text = scrape(Totals::default(), ScrapeFormat::Text);
    assert!(samples(&text).iter().any(|(name, ..)| name == "keepwatch_snapshots_total"));
}

#[test]
fn a_hostile_name_is_a_label_value_and_nothing_more() {
    for format in [ScrapeFormat::OpenMetrics, ScrapeFormat::Text] {
        for name in [
            b"a\"} 1\nup 0\n#".as_slice(),
            b"\\",
            b"\\n\"",
            b"\n# EOF\n",
            b"\xff\xfe\r",
            b"{},=\"=",
        ] {
            let text = scrape(totals([named(name)]), format);
            let comm = named(name).owner.unwrap().comm.escaped();
            let found: Vec<_> = samples(&text)
                .into_iter()
                .filter(|(name, ..)| name == "keepwatch_sockets")
                .collect();
            assert_eq!(found.len(), 1);
            assert_eq!((&found[0].1["process"], found[0].2), (&comm, 1.0));
            assert_eq!(
                text.lines().filter(|line| *line == "# EOF").count(),
                usize::from(format == ScrapeFormat::OpenMetrics)
            );
        }
    }
}

#[test]
fn histograms_count_every_connection_with_keepalive_once() {
    let text = scrape(totals(in_every_class(named(b"db"))), ScrapeFormat::Text);
    let value = |name: &str, le: &str| {
        let is_it = |(found, labels, _): &&Sample| {
            found == name
                && labels["direction"] == "inbound"
                && labels.get("le").is_none_or(|found| found == le)
        };
        samples(&text).iter().find(is_it).unwrap().2
    };
    for (le, n) in [("30.0", 0.0), ("60.0", 1.0), ("3600.0", 1.0), ("7200.0", 2.0), ("+Inf", 2.0)] {
        assert!((value("keepwatch_idle_setting_seconds_bucket", le) - n).abs() < 0.1, "{le}");
    }
    assert!((value("keepwatch_idle_setting_seconds_count", "") - 2.0).abs() < 0.1);
    assert!((value("keepwatch_idle_setting_seconds_sum", "") - 7260.0).abs() < 0.1);
}

#[test]
fn namespaces_past_the_bound_are_left_out_and_counted() {
    let mut totals = totals([socket()]);
    totals.netns = (0..120).map(|inode| (inode, NetnsSettings::default())).collect();
    let samples = samples(&scrape(totals, ScrapeFormat::Text));
    let n = |wanted: &str| samples.iter().filter(|(name, ..)| name == wanted).count();
    assert_eq!(n("keepwatch_netns_keepalive_seconds"), 100);
    assert_eq!(n("keepwatch_netns_keepalive_probes"), 50);
    let folded = |(name, labels, _): &&Sample| {
        name == "keepwatch_label_values_folded" && labels["label"] == "netns"
    };
    assert!((samples.iter().find(folded).unwrap().2 - 70.0).abs() < 0.1);
}

/// The sum of a family's values.
fn total(samples: &[Sample], family: &str) -> f64 {
    samples.iter().filter_map(|(name, _, value)| (name == family).then_some(value)).sum()
}

/// A host with 100,000 processes that do their worst: names of 15 bytes, many of them not UTF-8
/// or made of control characters, each with a connection in every class, a connection that died,
/// and a setsockopt call; every tenth in a pod whose names are as long and as bad as can be.
fn worst_host(n_processes: u32) -> (Totals, f64) {
    let mut table = table();
    let bad = |n: u32| bounded(&format!("{n}{}", "\\\u{7f}\"\n".repeat(60)));
    let mut n_sockets = 0.0;
    for n in 0..n_processes {
        // Written in base 4, with bytes that are not UTF-8, control, or need escaping.
        let digit = |at: usize| [0x10, 0x7f, 0xff, b'"'][(n >> (2 * at)) as usize % 4];
        let name = std::array::from_fn(|at| if at < 12 { digit(at) } else { b'\\' });
        let owner = Owner { pid: n + 1, fd: Some(3), comm: Comm::new(name) };
        if n % 10 == 0 {
            let identity = Identity {
                namespace: bad(n),
                workload: bad(n),
                container: bad(n),
                ..Identity::default()
            };
            let known = KnownProcess { started: 1, identity: Arc::new(identity) };
            table.identify([(n + 1, known)]);
        }
        let socket = Socket { owner: Some(owner), ..socket() };
        let id = u64::from(n) * 10 + 1;
        // Not all at once in memory: every process has one, some have all.
        let n_classes = if n % 100 < 9 { 8 } else { 1 };
        for (socket, k) in in_every_class(socket).zip(0..n_classes) {
            table.apply(Event::Seen(Socket { id: SocketId(id + k), ..socket }));
            n_sockets += 1.0;
        }
        let dying = Socket { id: SocketId(id + 9), ..socket };
        table.apply(Event::Seen(dying));
        let (by, when) = (dying.owner, When::AfterConnect);
        let call = Call { option: SockOpt::Idle, value: Some(60), errno: 0, by, when };
        table.apply(Event::Called { socket: dying, call });
        let socket = Socket { state: State::Close, ..dying };
        let (old, ending) = (State::Established, Ending::default());
        table.apply(Event::StateChange { socket, old, ending });
        table.take_happenings();
    }
    (table.totals(), n_sockets)
}

/// A host on which every family has rows.
fn everything() -> Totals {
    let (mut totals, _) = worst_host(100);
    let limit = IdleLimit { seconds: 900, preset: None };
    let peers = "10.0.0.0/8".parse().unwrap();
    let path = ConfiguredPath { name: "db".to_owned(), peers, port: None, limit };
    let limits = Limits::new(vec![path], IdleLimit::default(), false);
    totals.around = Some(Arc::new(Surroundings { limits, ..around() }));
    totals.learned = [(1, 240)].into();
    totals.netns = [(1, NetnsSettings::default())].into();
    totals.tally.occasions.record(&idle_drop(), 1, owner_name(0), Time(0), SocketId(1));
    totals.health.hooks = hooks();
    totals
}

fn owner_name(number: u32) -> OwnerName {
    let name = Some(format!("{number:0>60}").into());
    let identity = Identity { namespace: name.clone(), workload: name, ..Identity::default() };
    let whose = NamedOwner { identity: Some(Arc::new(identity)), ..NamedOwner::default() };
    OwnerLabels::default().of(&whose)
}

/// After 400 s of quiet the first data met a reset (ECONNRESET).
fn idle_drop() -> Death {
    let quiet = Socket { silent_ms: 400_000, ..socket() };
    let reset =
        Ending { errno: 104, unacked: Unacked::Data, sent_ms: Some(0), ..Ending::default() };
    Death::of(&quiet, State::Established, reset, None).unwrap()
}

/// A scrape is bounded: at most 200 KB, whatever the number of sockets and their owners.
#[test]
fn the_worst_that_a_host_can_do_is_a_scrape_of_200_kb_and_the_sums_are_exact() {
    const N_PROCESSES: u32 = 100_000;
    let (mut totals, n_sockets) = worst_host(N_PROCESSES);
    totals.netns = (0..5_000).map(|n| (u32::MAX - n, NetnsSettings::default())).collect();
    for n in 0..2_000 {
        let occasions = &mut totals.tally.occasions;
        occasions.record(&idle_drop(), 1, owner_name(n), Time(0), SocketId(1));
    }
    totals.health.hooks = hooks();
    let n_processes = f64::from(N_PROCESSES);
    for format in [ScrapeFormat::OpenMetrics, ScrapeFormat::Text] {
        let text = scrape(totals.clone(), format);
        assert!(text.len() <= 200_000, "{} bytes", text.len());
        assert!(!text.chars().any(|c| c != '\n' && c.is_control()));
        let samples = samples(&text);
        for (family, expected) in [
            ("keepwatch_sockets", n_sockets),
            ("keepwatch_deaths_total", n_processes),
            ("keepwatch_setsockopt_total", n_processes),
            // Past the first 1,000 owners the moments of all others are taken for one.
            ("keepwatch_idle_drop_occasions_total", 1_001.0),
        ] {
            let sum = total(&samples, family);
            assert!((sum - expected).abs() < 0.1, "{family}: {sum} of {expected}");
            let of_others = |(name, labels, _): &&Sample| {
                name == family && ["namespace", "process"].iter().all(|it| labels[*it] == OTHER)
            };
            assert!(samples.iter().any(|sample| of_others(&sample)), "{family} has {OTHER}");
        }
    }
    assert!(totals.sockets.len() <= 8 * (MAX_OWNERS + 1));
    assert!(totals.n_folded >= 60_000, "{}", totals.n_folded);
}
