//! Settings: what connections use, and what network namespaces give those that set nothing.

use crate::{
    metrics::{
        family::MetricFamily,
        label::{DIRECTION, LabelValues, MetricLabel},
        sample_writer::{FamilyRows, MetricKind},
    },
    model::{
        observed::{setting::NetnsSettings, socket::Direction},
        table::{
            histogram::{DETECTION_BOUNDS, Distribution, IDLE_BOUNDS},
            sums::Totals,
        },
    },
};
use std::{collections::BTreeMap, fmt};

/// Network namespaces in one scrape.
pub(super) const MAX_NAMESPACES: usize = 50;

pub(super) const NETNS: MetricLabel = MetricLabel {
    name: "netns",
    meaning: "the network namespace: its inode number, as `readlink /proc/PID/ns/net` and `lsns` \
              print it",
    values: LabelValues::AtMost {
        n: MAX_NAMESPACES,
        rest: "namespaces with higher numbers, as a rule younger ones, are left out: their settings \
               cannot be summed up",
    },
};

const IDLE: &str = "idle";
const INTERVAL: &str = "interval";

const SETTING: MetricLabel = MetricLabel {
    name: "setting",
    meaning: "`idle`: sysctl `net.ipv4.tcp_keepalive_time`; `interval`: `tcp_keepalive_intvl`",
    values: LabelValues::Closed(&[IDLE, INTERVAL]),
};

pub(super) const FAMILIES: &[MetricFamily] = &[
    MetricFamily {
        name: "keepwatch_idle_setting_seconds",
        kind: MetricKind::Histogram(IDLE_BOUNDS),
        help: "Effective idle time before the first probe, of the connections that are established with \
               keepalive on now. The buckets hold the connections of this moment: use histogram_quantile \
               without rate.",
        question: "Do our connections probe before the firewall's 350 s, or after the kernel's 2 h?",
        labels: &[DIRECTION],
        max_rows: None,
        fill: |scrape, rows| by_direction(&scrape.totals.idle, rows),
    },
    MetricFamily {
        name: "keepwatch_detection_seconds",
        kind: MetricKind::Histogram(DETECTION_BOUNDS),
        help: "Silence after which the kernel gives up a connection, of the connections that are \
               established with keepalive on now. The buckets hold the connections of this moment: use \
               histogram_quantile without rate.",
        question: "When a peer vanishes, how long do its connections hang before anybody knows?",
        labels: &[DIRECTION],
        max_rows: None,
        fill: |scrape, rows| by_direction(&scrape.totals.detection, rows),
    },
    MetricFamily {
        name: "keepwatch_netns_keepalive_seconds",
        kind: MetricKind::Gauge,
        help: "The keepalive sysctls of each network namespace that had sockets at the last snapshot: \
               what sockets without a setting of their own use.",
        question: "Did the sysctl that I set on the node reach the pods?",
        labels: &[NETNS, SETTING],
        max_rows: None,
        fill: |scrape, rows| {
            namespaces(&scrape.totals).try_for_each(|(netns, sysctls)| {
                rows.row(&[&netns, IDLE], sysctls.idle_seconds)?;
                rows.row(&[&netns, INTERVAL], sysctls.interval_seconds)
            })
        },
    },
    MetricFamily {
        name: "keepwatch_netns_keepalive_probes",
        kind: MetricKind::Gauge,
        help: "The sysctl net.ipv4.tcp_keepalive_probes of each network namespace that had sockets at \
               the last snapshot: the number of unanswered probes after which the kernel gives up.",
        question: "Did the sysctl that I set on the node reach the pods?",
        labels: &[NETNS],
        max_rows: None,
        fill: |scrape, rows| {
            namespaces(&scrape.totals)
                .try_for_each(|(netns, sysctls)| rows.row(&[&netns], u64::from(sysctls.count)))
        },
    },
];

fn by_direction(
    distributions: &BTreeMap<Direction, Distribution>,
    rows: &mut FamilyRows<'_>,
) -> fmt::Result {
    distributions.iter().try_for_each(|(direction, times)| rows.row(&[direction.as_str()], times))
}

/// The namespaces that are shown, by their inode numbers.
fn namespaces(totals: &Totals) -> impl Iterator<Item = (String, &NetnsSettings)> {
    let shown = totals.netns.iter().take(MAX_NAMESPACES);
    shown.map(|(inode, sysctls)| (inode.to_string(), sysctls))
}
