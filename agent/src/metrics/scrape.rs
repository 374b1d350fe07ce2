//! A scrape: what the catalogue defines, of the sums that were published last.

use super::{
    catalogue::{self, Kind, Label, MAX_NAMESPACES, Metric, Unit},
    format::{Format, text_of},
    process::Process,
};
use crate::{
    model::{
        judgement::{
            idle_limit::{Applied, PathNumber},
            verdict::Verdict,
        },
        observed::{errno::errno_name, event::Fire, setsockopt::SockOpt, socket::SocketId},
        table::{distribution::Distribution, sums::Totals},
    },
    store,
};
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabel as _, EncodeLabelSet,
        LabelSetEncoder, MetricEncoder, NoLabelSet, text,
    },
    metrics::{MetricType, exemplar::CounterWithExemplar},
    registry::{self, Registry},
};
use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

/// The scrape in the wanted format.
pub fn encode(
    snapshot: Arc<Totals>,
    process: Process,
    history: store::HistoryStatus,
    format: Format,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { snapshot, process, history }));
    let mut openmetrics = String::new();
    text::encode(&mut openmetrics, &registry)?;
    Ok(match format {
        Format::OpenMetrics => openmetrics,
        Format::Text => text_of(&openmetrics),
    })
}

#[derive(Debug)]
struct Scrape {
    snapshot: Arc<Totals>,
    process: Process,
    history: store::HistoryStatus,
}

impl Collector for Scrape {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        self.sockets(&mut out)?;
        self.settings(&mut out)?;
        self.paths(&mut out)?;
        self.namespaces(&mut out)?;
        self.probes(&mut out)?;
        self.deaths(&mut out)?;
        self.calls(&mut out)?;
        self.table(&mut out)?;
        self.hooks(&mut out)?;
        self.walks(&mut out)?;
        self.history(&mut out)?;
        self.process(&mut out)
    }
}

impl Scrape {
    /// Only the classes that exist; of these, zeros too.
    fn sockets(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let classes = self.snapshot.series.iter().map(|(series, counts)| {
            let [namespace, workload, container, process] = series.owner.values();
            let (direction, verdict) = (series.direction.as_str(), series.verdict.as_str());
            let path = self.path(series.path);
            (series, [direction, verdict, path, namespace, workload, container, process], counts)
        });
        let sockets = classes.clone().map(|(_, labels, counts)| (labels, counts.sockets));
        family(out, &catalogue::SOCKETS, sockets)?;
        // There is no limit on the way to a peer on this host.
        let past_limit = classes
            .filter(|(series, ..)| series.verdict != Verdict::Local)
            .map(|(_, labels, counts)| (labels, counts.past_limit));
        family(out, &catalogue::QUIET_PAST_LIMIT, past_limit)?;
        let mut probing: BTreeMap<[&str; 4], u64> = BTreeMap::new();
        for (series, counts) in &self.snapshot.series {
            *probing.entry(series.owner.values()).or_default() += counts.probing;
        }
        family(out, &catalogue::PROBING, probing)
    }

    fn path(&self, number: PathNumber) -> &str {
        self.snapshot.around.as_ref().map_or("", |around| around.limits.name(number))
    }

    /// Of each path the shortest limit: one name may stand for several networks.
    fn paths(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let limits = self.snapshot.around.iter().flat_map(|around| around.limits.all());
        let mut shortest: BTreeMap<[&str; 2], u32> = BTreeMap::new();
        for Applied { seconds, from, number, .. } in limits {
            let limit = shortest.entry([self.path(*number), from.kind()]).or_insert(*seconds);
            *limit = (*limit).min(*seconds);
        }
        for (number, seconds) in &self.snapshot.learned {
            shortest.insert([self.path(*number), "learned"], *seconds);
        }
        let limits = shortest.into_iter().map(|(labels, seconds)| (labels, u64::from(seconds)));
        family(out, &catalogue::PATH_IDLE_LIMIT, limits)
    }

    fn settings(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Totals { idle, detection, .. } = &*self.snapshot;
        let idle = idle.iter().map(|(direction, times)| (direction.as_str(), times));
        histogram(out, &catalogue::IDLE_SETTING, idle)?;
        let detection = detection.iter().map(|(direction, times)| (direction.as_str(), times));
        histogram(out, &catalogue::DETECTION, detection)
    }

    fn namespaces(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let shown = || {
            let netns = self.snapshot.netns.iter().take(MAX_NAMESPACES);
            netns.map(|(inode, sysctls)| (inode.to_string(), sysctls))
        };
        let times = shown().flat_map(|(inode, sysctls)| {
            [
                ([inode.clone(), "idle".to_owned()], u64::from(sysctls.idle_seconds)),
                ([inode, "interval".to_owned()], u64::from(sysctls.interval_seconds)),
            ]
        });
        family(out, &catalogue::NETNS_KEEPALIVE, times)?;
        let probes = shown().map(|(inode, sysctls)| ([inode], u64::from(sysctls.count)));
        family(out, &catalogue::NETNS_PROBES, probes)
    }

    fn probes(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let fires = Fire::ALL.into_iter().zip(self.snapshot.health.fires);
        let n_sent = fires.clone().find_map(|(fire, n)| (fire == Fire::Sent).then_some(n));
        single(out, &catalogue::PROBES_SENT, n_sent.unwrap_or_default())?;
        single(out, &catalogue::PROBES_ANSWERED, self.snapshot.tally.n_answered)?;
        let fires = fires.map(|(fire, n)| ([fire.as_str()], n));
        family(out, &catalogue::TIMER_FIRES, fires)
    }

    fn deaths(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let tally = &self.snapshot.tally;
        let deaths =
            tally.deaths.iter().map(|((direction, cause, verdict, path), owner, n, last)| {
                let [namespace, workload, container, process] = owner.values();
                let (direction, cause, verdict) =
                    (direction.as_str(), cause.as_str(), verdict.as_str());
                let path = self.path(path);
                let labels =
                    [direction, cause, verdict, path, namespace, workload, container, process];
                (labels, Exemplified { n, last })
            });
        family(out, &catalogue::DEATHS, deaths)?;
        let quiet = &tally.quiet_before_death;
        let quiet = quiet.iter().map(|(cause, times)| (cause.as_str(), times));
        histogram(out, &catalogue::QUIET_BEFORE_DEATH, quiet)?;
        single(out, &catalogue::ENDED, self.snapshot.health.n_ended)
    }

    fn calls(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let tally = &self.snapshot.tally;
        let calls = tally.calls.iter().map(|((option, errno), owner, n, _)| {
            let [namespace, workload, container, process] = owner.values().map(Cow::Borrowed);
            let result =
                if errno == 0 { Cow::Borrowed("ok") } else { Cow::Owned(errno_name(errno)) };
            ([option.as_str().into(), result, namespace, workload, container, process], n)
        });
        family(out, &catalogue::SETSOCKOPT, calls)?;
        let changed = SockOpt::ALL
            .map(|option| ([option.as_str()], tally.changed.get(&option).copied().unwrap_or(0)));
        family(out, &catalogue::SETTINGS_CHANGED, changed)
    }

    fn table(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = &self.snapshot;
        single(out, &catalogue::SOCKETS_TRACKED, snapshot.n_tracked)?;
        single(out, &catalogue::SOCKETS_UNTRACKED, snapshot.n_untracked)?;
        single(out, &catalogue::SOCKETS_PRUNED, snapshot.health.n_pruned)?;
        let folded = [
            (["owner"], number(snapshot.n_folded)),
            (["netns"], number(snapshot.netns.len().saturating_sub(MAX_NAMESPACES))),
        ];
        family(out, &catalogue::LABEL_VALUES_FOLDED, folded)
    }

    fn hooks(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let hooks = self.snapshot.health.hooks.iter();
        let attached =
            hooks.map(|&(signal, mechanism, attached)| ([signal, mechanism], u64::from(attached)));
        family(out, &catalogue::HOOK_ATTACHED, attached)?;
        let flow = self.snapshot.health.flow;
        let events = [
            (["seen"], flow.seen),
            (["filtered"], flow.filtered),
            (["submitted"], flow.submitted),
            (["received"], flow.received),
            (["decoded"], flow.decoded),
        ];
        family(out, &catalogue::EVENTS, events)?;
        let lost = flow.lost().map(|(stage, n)| ([stage], n));
        family(out, &catalogue::EVENTS_LOST, lost)
    }

    fn walks(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let health = &self.snapshot.health;
        single(out, &catalogue::SNAPSHOT, health.walk_seconds)?;
        single(out, &catalogue::SNAPSHOTS, health.n_walks)?;
        single(out, &catalogue::SNAPSHOT_FAILURES, health.n_failed_walks)?;
        single(out, &catalogue::SNAPSHOT_TIMESTAMP, health.walked_at_seconds)
    }

    fn history(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        single(out, &catalogue::HISTORY_BYTES, self.history.bytes)?;
        let lost = self.history.lost.iter().map(|(reason, n)| ([reason.as_str()], *n));
        family(out, &catalogue::HISTORY_LOST, lost)
    }

    fn process(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        family(out, &catalogue::BUILD, [([env!("CARGO_PKG_VERSION")], 1_u64)])?;
        single(out, &catalogue::PROCESS_CPU, self.process.cpu_seconds)?;
        if let Some(bytes) = self.process.resident_bytes {
            single(out, &catalogue::PROCESS_RESIDENT_MEMORY, bytes)?;
        }
        single(out, &catalogue::PROCESS_START_TIME, self.process.started_at_seconds)?;
        if let Some(n_open_fds) = self.process.n_open_fds {
            single(out, &catalogue::PROCESS_OPEN_FDS, n_open_fds)?;
        }
        Ok(())
    }
}

/// Values for the labels that the catalogue names.
struct Labels<'a, L, const N: usize> {
    labels: &'static [Label],
    values: &'a [L; N],
}

impl<L: AsRef<str>, const N: usize> EncodeLabelSet for Labels<'_, L, N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.labels.iter().zip(self.values).try_for_each(|(label, value)| {
            (label.name, value.as_ref()).encode(encoder.encode_label())
        })
    }
}

/// Writes a family of gauges, counters or infos.
fn family<L: AsRef<str>, V: Value, const N: usize>(
    out: &mut DescriptorEncoder<'_>,
    metric: &'static Metric,
    samples: impl IntoIterator<Item = ([L; N], V)>,
) -> fmt::Result {
    debug_assert_eq!(metric.labels.len(), N, "{}", metric.name);
    let unit = unit_of(metric);
    let mut family = descriptor(out, metric, unit.as_ref())?;
    for (values, value) in samples {
        let labels = Labels { labels: metric.labels, values: &values };
        match metric.kind {
            Kind::Info => family.encode_info(&labels)?,
            _ if N == 0 => value.encode(&mut family, metric.kind)?,
            _ => value.encode(&mut family.encode_family(&labels)?, metric.kind)?,
        }
    }
    Ok(())
}

/// What a sample says.
trait Value {
    fn encode(&self, encoder: &mut MetricEncoder<'_>, kind: Kind) -> fmt::Result;
}

impl<V: EncodeGaugeValue + EncodeCounterValue> Value for V {
    fn encode(&self, encoder: &mut MetricEncoder<'_>, kind: Kind) -> fmt::Result {
        match kind {
            Kind::Counter => encoder.encode_counter::<NoLabelSet, V, f64>(self, None),
            _ => encoder.encode_gauge(self),
        }
    }
}

/// A count, with the connection that was counted last as its exemplar: to be asked `keepwatch why`.
struct Exemplified {
    n: u64,
    last: SocketId,
}

impl Value for Exemplified {
    fn encode(&self, encoder: &mut MetricEncoder<'_>, _: Kind) -> fmt::Result {
        // An exemplar is made by nothing else.
        let last = CounterWithExemplar::<[(&str, String); 1]>::default();
        last.inc_by(1, Some([("id", self.last.to_string())]), None);
        let (_, exemplar) = last.get();
        encoder.encode_counter(&self.n, exemplar.as_ref())
    }
}

/// Writes a family of one series.
fn single<V: Value>(
    out: &mut DescriptorEncoder<'_>,
    metric: &'static Metric,
    value: V,
) -> fmt::Result {
    family(out, metric, [([""; 0], value)])
}

/// Writes a family of histograms.
fn histogram<'a>(
    out: &mut DescriptorEncoder<'_>,
    metric: &'static Metric,
    distributions: impl IntoIterator<Item = (&'static str, &'a Distribution)>,
) -> fmt::Result {
    let unit = unit_of(metric);
    let mut family = descriptor(out, metric, unit.as_ref())?;
    for (label, Distribution { bounds, counts, sum }) in distributions {
        let bounds = bounds.iter().map(|&bound| f64::from(bound)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        #[expect(clippy::cast_precision_loss, reason = "a sum past 2^53 s may be rounded")]
        let sum = *sum as f64;
        let values = [label];
        let labels = Labels { labels: metric.labels, values: &values };
        family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
            sum,
            counts.iter().sum(),
            &buckets,
            None,
        )?;
    }
    Ok(())
}

fn unit_of(metric: &Metric) -> Option<registry::Unit> {
    metric.unit.map(|unit| match unit {
        Unit::Seconds => registry::Unit::Seconds,
        Unit::Bytes => registry::Unit::Bytes,
    })
}

fn descriptor<'s>(
    out: &'s mut DescriptorEncoder<'_>,
    metric: &'static Metric,
    unit: Option<&'s registry::Unit>,
) -> Result<MetricEncoder<'s>, fmt::Error> {
    let kind = match metric.kind {
        Kind::Gauge => MetricType::Gauge,
        Kind::Counter => MetricType::Counter,
        Kind::Histogram(_) => MetricType::Histogram,
        Kind::Info => MetricType::Info,
    };
    out.encode_descriptor(metric.stem(), metric.help, unit, kind)
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kernel::hooks::Signal,
        metrics::catalogue::{CATALOGUE, Values},
        model::{
            judgement::{
                idle_limit::{IdleLimit, Limits},
                verdict::Surroundings,
            },
            observed::{
                ending::Ending,
                event::Event,
                owner_identity::{Identity, KnownProcess},
                setsockopt::Call,
                setting::{NetnsSettings, OwnSettings},
                socket::{Comm, Direction, Owner, Socket, SocketId, State, tests_support::socket},
            },
            table::{Bounds, Table, health::AgentHealth, owner_label::MAX_OWNERS},
            text::name::{OTHER, bounded},
        },
    };
    use std::collections::{BTreeSet, HashMap};

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
        Surroundings { limits, host: BTreeSet::new(), hz: 250 }
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
        totals.health = AgentHealth {
            hooks: Signal::ALL
                .map(|signal| (signal.as_str(), signal.mechanisms()[0], true))
                .to_vec(),
            ..AgentHealth::default()
        };
        totals
    }

    fn scrape(totals: Totals, format: Format) -> String {
        encode(Arc::new(totals), Process::read(1.7e9), store::Health::default().status(), format)
            .unwrap()
    }

    #[test]
    fn every_metric_of_the_catalogue_is_exported_as_it_stands_there_and_no_other() {
        let text = scrape(totals(in_every_class(named(b"db"))), Format::Text);
        let kinds: HashMap<&str, &str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        let expected: HashMap<String, &str> = CATALOGUE
            .iter()
            .map(|metric| {
                let kind = if metric.kind == Kind::Info { Kind::Gauge } else { metric.kind };
                (metric.exported_name(), kind.as_str())
            })
            .collect();
        let found = kinds.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect();
        assert_eq!(expected, found);
        for metric in CATALOGUE {
            let name = metric.exported_name();
            assert!(text.contains(&format!("# HELP {name} {}\n", metric.help)), "{name}");
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
        let openmetrics = deaths(Format::OpenMetrics);
        assert!(openmetrics.ends_with("} 1 # {id=\"sk:1f\"} 1.0"), "{openmetrics}");
        assert!(deaths(Format::Text).ends_with("} 1"));
    }

    #[test]
    fn labels_and_their_values_are_those_of_the_catalogue() {
        let text = scrape(totals(in_every_class(named(b"db"))), Format::Text);
        for (name, labels, _) in samples(&text) {
            let metric = CATALOGUE
                .iter()
                .find(|metric| match metric.kind {
                    Kind::Histogram(_) => ["_bucket", "_sum", "_count"]
                        .iter()
                        .any(|suffix| name.strip_suffix(suffix) == Some(metric.name)),
                    _ => metric.exported_name() == name,
                })
                .unwrap();
            let names: BTreeSet<&str> =
                labels.keys().map(String::as_str).filter(|&name| name != "le").collect();
            let expected: BTreeSet<&str> = metric.labels.iter().map(|label| label.name).collect();
            assert_eq!(names, expected, "{name}");
            for label in metric.labels {
                if let Values::Closed(values) = label.values {
                    assert!(values.contains(&labels[label.name].as_str()), "{name} {labels:?}");
                }
            }
        }
    }

    #[test]
    fn openmetrics_ends_with_its_end_and_text_has_none() {
        let totals = totals([socket()]);
        let openmetrics = scrape(totals.clone(), Format::OpenMetrics);
        assert!(openmetrics.ends_with("\n# EOF\n"));
        assert!(openmetrics.contains("# TYPE keepwatch_build info\n"));
        assert!(openmetrics.contains("# UNIT keepwatch_detection_seconds seconds\n"));
        assert!(openmetrics.contains("# TYPE keepwatch_events_lost counter\n"));
        let text = scrape(totals, Format::Text);
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
        let of = |text: &str| -> Vec<Sample> {
            samples(text).into_iter().filter(|(name, ..)| !name.starts_with("process_")).collect()
        };
        assert_eq!(of(&openmetrics), of(&text));
    }

    #[test]
    fn before_the_first_walk_a_scrape_is_whole_too() {
        let text = scrape(Totals::default(), Format::Text);
        assert!(samples(&text).iter().any(|(name, ..)| name == "keepwatch_snapshots_total"));
    }

    #[test]
    fn a_hostile_name_is_a_label_value_and_nothing_more() {
        for format in [Format::OpenMetrics, Format::Text] {
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
                    usize::from(format == Format::OpenMetrics)
                );
            }
        }
    }

    #[test]
    fn histograms_count_every_connection_with_keepalive_once() {
        let text = scrape(totals(in_every_class(named(b"db"))), Format::Text);
        let value = |name: &str, le: &str| {
            let is_it = |(found, labels, _): &&Sample| {
                found == name
                    && labels["direction"] == "inbound"
                    && labels.get("le").is_none_or(|found| found == le)
            };
            samples(&text).iter().find(is_it).unwrap().2
        };
        for (le, n) in
            [("30.0", 0.0), ("60.0", 1.0), ("3600.0", 1.0), ("7200.0", 2.0), ("+Inf", 2.0)]
        {
            assert!((value("keepwatch_idle_setting_seconds_bucket", le) - n).abs() < 0.1, "{le}");
        }
        assert!((value("keepwatch_idle_setting_seconds_count", "") - 2.0).abs() < 0.1);
        assert!((value("keepwatch_idle_setting_seconds_sum", "") - 7260.0).abs() < 0.1);
    }

    #[test]
    fn namespaces_past_the_bound_are_left_out_and_counted() {
        let mut totals = totals([socket()]);
        totals.netns = (0..120).map(|inode| (inode, NetnsSettings::default())).collect();
        let samples = samples(&scrape(totals, Format::Text));
        let n = |wanted: &str| samples.iter().filter(|(name, ..)| name == wanted).count();
        assert_eq!(n("keepwatch_netns_keepalive_seconds"), 2 * MAX_NAMESPACES);
        assert_eq!(n("keepwatch_netns_keepalive_probes"), MAX_NAMESPACES);
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
            let (by, when) = (dying.owner, crate::model::observed::setsockopt::When::AfterConnect);
            let call = Call { option: SockOpt::Idle, value: Some(60), errno: 0, by, when };
            table.apply(Event::Called { socket: dying, call });
            let socket = Socket { state: State::Close, ..dying };
            let (old, ending) = (State::Established, Ending::default());
            table.apply(Event::StateChange { socket, old, ending });
            table.take_happenings();
        }
        (table.totals(), n_sockets)
    }

    /// A scrape is bounded (law 5 in docs/ARCHITECTURE.md#laws): at most 200 KB, whatever the number of sockets
    /// and their owners.
    #[test]
    fn the_worst_that_a_host_can_do_is_a_scrape_of_200_kb_and_the_sums_are_exact() {
        const N_PROCESSES: u32 = 100_000;
        let (mut totals, n_sockets) = worst_host(N_PROCESSES);
        totals.netns = (0..5_000).map(|n| (u32::MAX - n, NetnsSettings::default())).collect();
        totals.health.hooks =
            Signal::ALL.map(|signal| (signal.as_str(), signal.mechanisms()[0], true)).to_vec();
        let n_processes = f64::from(N_PROCESSES);
        for format in [Format::OpenMetrics, Format::Text] {
            let text = scrape(totals.clone(), format);
            assert!(text.len() <= 200_000, "{} bytes", text.len());
            assert!(!text.chars().any(|c| c != '\n' && c.is_control()));
            let samples = samples(&text);
            for (family, expected) in [
                ("keepwatch_sockets", n_sockets),
                ("keepwatch_deaths_total", n_processes),
                ("keepwatch_setsockopt_total", n_processes),
            ] {
                let sum = total(&samples, family);
                assert!((sum - expected).abs() < 0.1, "{family}: {sum} of {expected}");
                let of_others = |(name, labels, _): &&Sample| {
                    name == family && ["namespace", "process"].iter().all(|it| labels[*it] == OTHER)
                };
                assert!(samples.iter().any(|sample| of_others(&sample)), "{family} has {OTHER}");
            }
        }
        assert!(totals.series.len() <= 8 * (MAX_OWNERS + 1));
        assert!(totals.n_folded >= 60_000, "{}", totals.n_folded);
    }
}
