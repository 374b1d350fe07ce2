//! Every metric, once: what is exported, what it means, which question of somebody on call it
//! answers, and how many series it can become. Exporting and documenting both read it from here.

use crate::model::{
    judgement::{death::Cause, idle_limit::MAX_PATHS, verdict::Verdict},
    observed::{event::Fire, setsockopt::SockOpt, socket::Direction},
    table::{
        counters::{MAX_CALLS, MAX_DEATHS, QUIET_BOUNDS},
        distribution::{DETECTION_BOUNDS, IDLE_BOUNDS},
        owner_label::{MAX_OWNERS, OwnerLabel},
    },
};

/// Network namespaces in one scrape.
pub const MAX_NAMESPACES: usize = 50;

/// Rows of the families by verdict and owner: what the budget of bytes leaves room for, and those of
/// `~other` on each path.
const MAX_SOCKET_ROWS: usize = 384 + Direction::ALL.len() * Verdict::ALL.len() * (MAX_PATHS + 2);

/// No family has more series than this, histogram buckets included.
pub const MAX_SERIES: usize = 512;

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up while the agent lives.
    Counter,
    /// How many values are at or under each of these bounds.
    Histogram(&'static [u32]),
    /// Always 1; the labels are what it says.
    Info,
}

impl Kind {
    /// The name in documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram(_) => "histogram",
            Self::Info => "info",
        }
    }
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The value is in seconds.
    Seconds,
    /// The value is in bytes.
    Bytes,
}

impl Unit {
    /// The suffix of names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }
}

/// Which values a label can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Exactly these values.
    Closed(&'static [&'static str]),
    /// Not known before, but never more at a time than this.
    AtMost {
        /// The bound, without the rest.
        n: usize,
        /// What becomes of the rest.
        rest: &'static str,
    },
}

impl Values {
    /// How many there can be.
    pub const fn bound(self) -> usize {
        match self {
            Self::Closed(values) => values.len(),
            Self::AtMost { n, .. } => n,
        }
    }
}

/// A label of a family, and which values it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The name in the exposition format.
    pub name: &'static str,
    /// What its values say.
    pub meaning: &'static str,
    /// The values, or how many there can be.
    pub values: Values,
}

/// A family of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with the unit, without `_total` or `_info`.
    pub name: &'static str,
    /// What its numbers mean.
    pub kind: Kind,
    /// What they count; none for things.
    pub unit: Option<Unit>,
    /// What it says, from when until when.
    pub help: &'static str,
    /// Its labels, in the order in which values are given.
    pub labels: &'static [Label],
    /// How many rows it has at most, where that is less than its labels could make.
    pub max_rows: Option<usize>,
    /// The question that it answers.
    pub question: &'static str,
}

impl Metric {
    /// The name to query: with the suffix of the kind.
    pub fn exported_name(&self) -> String {
        match self.kind {
            Kind::Gauge | Kind::Histogram(_) => self.name.to_owned(),
            Kind::Counter => format!("{}_total", self.name),
            Kind::Info => format!("{}_info", self.name),
        }
    }

    /// The name without the unit.
    pub fn stem(&self) -> &'static str {
        self.unit
            .and_then(|unit| self.name.strip_suffix(unit.as_str())?.strip_suffix('_'))
            .unwrap_or(self.name)
    }

    /// How many series it can become.
    pub fn max_series(&self) -> usize {
        let each = match self.kind {
            // The buckets, the one above, the sum and the count.
            Kind::Histogram(bounds) => bounds.len() + 3,
            _ => 1,
        };
        let n_rows = self.labels.iter().map(|label| label.values.bound()).product::<usize>();
        self.max_rows.map_or(n_rows, |max_rows| max_rows.min(n_rows)) * each
    }
}

const DIRECTION: Label = Label {
    name: "direction",
    meaning: "who sent the SYN: this host (`outbound`) or the peer (`inbound`)",
    values: Values::Closed(&[Direction::Outbound.as_str(), Direction::Inbound.as_str()]),
};

const VERDICT: Label = Label {
    name: "verdict",
    meaning: "`protected`: the first probe goes out before the path's idle limit; `late`: keepalive \
              is on, but the first probe goes out after it; `off`: no probe ever goes out; `local`: \
              the peer is on this host",
    values: Values::Closed(&[
        Verdict::Off.as_str(),
        Verdict::Late.as_str(),
        Verdict::Protected.as_str(),
        Verdict::Local.as_str(),
    ]),
};

const REST: &str = "owners with fewer connections are summed up in one row with `~other` in each of \
                    these labels, so that every sum stays exact; `--max-owners` changes the bound";

const NAMESPACE: Label = Label {
    name: OwnerLabel::Namespace.as_str(),
    meaning: "the owner's Kubernetes namespace; empty where there is none, or with the label off by \
              `--owner-labels`",
    values: Values::AtMost { n: MAX_OWNERS + 1, rest: REST },
};

const WORKLOAD: Label = Label {
    name: OwnerLabel::Workload.as_str(),
    meaning: "the owner's Kubernetes workload (Deployment, StatefulSet, DaemonSet, Job, CronJob) or \
              service (Compose, Swarm, ECS, Nomad), else its systemd unit",
    values: Values::AtMost { n: MAX_OWNERS + 1, rest: REST },
};

const CONTAINER: Label = Label {
    name: OwnerLabel::Container.as_str(),
    meaning: "the owner's container: its name, else the first digits of its id",
    values: Values::AtMost { n: MAX_OWNERS + 1, rest: REST },
};

const PATH: Label = Label {
    name: "path",
    meaning: "the name of the configured path to the peer; empty where there is none, and for peers on \
              this host",
    values: Values::AtMost {
        n: MAX_PATHS + 2,
        rest: "names past the first 13 are summed up in `~other`, so that every sum stays exact",
    },
};

const SOURCE: Label = Label {
    name: "source",
    meaning: "how the limit is known: set in the configuration (`configured`), by the name of a device \
              or cloud (`preset`), not at all, so that the usual one is taken (`default`), or what was seen to survive and to \
              die there says otherwise or the same (`learned`; without a path's name: the shortest \
              of any destination)",
    values: Values::Closed(&["configured", "preset", "default", "learned"]),
};

const PROCESS: Label = Label {
    name: OwnerLabel::Process.as_str(),
    meaning: "the name of the process that has the connection open, as the kernel keeps it (15 \
              bytes), escaped; of several owners the foremost (docs/ARCHITECTURE.md); `~unknown` \
              while no owner is known",
    values: Values::AtMost { n: MAX_OWNERS + 1, rest: REST },
};

const NETNS: Label = Label {
    name: "netns",
    meaning: "the network namespace: its inode number, as `readlink /proc/PID/ns/net` and `lsns` \
              print it",
    values: Values::AtMost {
        n: MAX_NAMESPACES,
        rest: "namespaces with higher numbers, as a rule younger ones, are left out: their settings \
               cannot be summed up",
    },
};

const SETTING: Label = Label {
    name: "setting",
    meaning: "`idle`: sysctl `net.ipv4.tcp_keepalive_time`; `interval`: `tcp_keepalive_intvl`",
    values: Values::Closed(&["idle", "interval"]),
};

const SIGNAL: Label = Label {
    name: "signal",
    meaning: "what a hook tells: every socket that a process has open (`snapshot`), connections \
              that open, close or change (`state_change`), sockets that end (`destroy`), each run \
              of a keepalive timer (`keepalive_timer`), calls of setsockopt (`setsockopt`)",
    values: Values::Closed(&[
        "snapshot",
        "state_change",
        "destroy",
        "keepalive_timer",
        "setsockopt",
    ]),
};

const MECHANISM: Label = Label {
    name: "mechanism",
    meaning: "how the hook is attached to the kernel",
    values: Values::Closed(&[
        "iter/task_file",
        "tp_btf/inet_sock_set_state",
        "tp_btf/tcp_destroy_sock",
        "fentry/tcp_keepalive_timer",
        "kprobe/tcp_keepalive_timer",
        "tp_btf/timer_expire_entry",
        "fexit/__x64_sys_setsockopt",
        "kprobe/__x64_sys_setsockopt",
        "tp_btf/sys_exit",
    ]),
};

const CAUSE: Label = Label {
    name: "cause",
    meaning: "what the connection died of: `keepalive_timeout` probes went unanswered; \
              `keepalive_reset` a probe was answered by a reset; `idle_drop` the first data after a \
              quiet time met silence or a reset, a middlebox's signature; `user_timeout`; \
              `retransmit_timeout`; `peer_reset`; `unreachable`; `connect_failed`; `peer_closed` and \
              `local_closed` in order; `local_reset`; `unknown` the kernel did not \
              report its end, or not its reason",
    values: Values::Closed(&[
        Cause::KeepaliveTimeout.as_str(),
        Cause::KeepaliveReset.as_str(),
        Cause::IdleDrop.as_str(),
        Cause::UserTimeout.as_str(),
        Cause::RetransmitTimeout.as_str(),
        Cause::PeerReset.as_str(),
        Cause::Unreachable.as_str(),
        Cause::ConnectFailed.as_str(),
        Cause::PeerClosed.as_str(),
        Cause::LocalClosed.as_str(),
        Cause::LocalReset.as_str(),
        Cause::Unknown.as_str(),
    ]),
};

const OUTCOME: Label = Label {
    name: "outcome",
    meaning: "what a run of the timer came to: `sent` a probe; `deferred` the socket was locked; \
              `data_in_flight` retransmission decides; `not_idle` something was received meanwhile; \
              `not_ours` keepalive is off, or the socket is closing; `congested` this host's own \
              queue refused the probe; `death` too many probes went unanswered",
    values: Values::Closed(&[
        Fire::Sent.as_str(),
        Fire::Deferred.as_str(),
        Fire::DataInFlight.as_str(),
        Fire::NotIdle.as_str(),
        Fire::NotOurs.as_str(),
        Fire::Congested.as_str(),
        Fire::Death.as_str(),
    ]),
};

const OPTION: Label = Label {
    name: "option",
    meaning: "the socket option",
    values: Values::Closed(&[
        SockOpt::Keepalive.as_str(),
        SockOpt::Idle.as_str(),
        SockOpt::Interval.as_str(),
        SockOpt::Count.as_str(),
        SockOpt::UserTimeout.as_str(),
    ]),
};

const RESULT: Label = Label {
    name: "result",
    meaning: "`ok`, or the name of the error",
    values: Values::AtMost { n: 30, rest: "errors without a name here are `errno N`" },
};

const FLOW_STAGE: Label = Label {
    name: "stage",
    meaning: "how far records came: a hook ran (`seen`), had nothing to report (`filtered`), put a \
              record into the ring buffer (`submitted`), the agent took it out (`received`) and \
              understood it (`decoded`); seen = filtered + submitted + lost at `ring_full`, \
              received = decoded + lost at `undecodable`",
    values: Values::Closed(&["seen", "filtered", "submitted", "received", "decoded"]),
};

const LOSS_STAGE: Label = Label {
    name: "stage",
    meaning: "where records were lost: the kernel did not run a hook that was due, as a later sample \
              shows (`unseen`: a lower bound; the kernel reports nothing), it skipped one that ran on the \
              CPU already (`skipped`), the ring buffer had no room (`ring_full`), or what came out of it was not \
              understood (`undecodable`)",
    values: Values::Closed(&["unseen", "skipped", "ring_full", "undecodable"]),
};

const HISTORY_REASON: Label = Label {
    name: "reason",
    meaning: "why it is not in the history: it was ordinary (an orderly end, a verdict that changed), \
              and there were more than a hundred a second of that (`ordinary`); the writing thread was \
              behind (`queue`); or it could not be written (`disk`)",
    values: Values::Closed(&["ordinary", "queue", "disk"]),
};

const FOLDED: Label = Label {
    name: "label",
    meaning: "what there is too much of: combinations of the labels that name owners (`owner`), or \
              network namespaces (`netns`)",
    values: Values::Closed(&["owner", NETNS.name]),
};

const VERSION: Label = Label {
    name: "version",
    meaning: "the version of keepwatch",
    values: Values::AtMost { n: 1, rest: "there is no rest" },
};

/// Gauge of established connections by verdict.
pub static SOCKETS: Metric = Metric {
    name: "keepwatch_sockets",
    kind: Kind::Gauge,
    unit: None,
    help: "Established connections now, by what keepalive does for them.",
    labels: &[DIRECTION, VERDICT, PATH, NAMESPACE, WORKLOAD, CONTAINER, PROCESS],
    max_rows: Some(MAX_SOCKET_ROWS),
    question: "Which of my services hold connections that a quiet hour will kill?",
};

/// Of these, those quiet for longer than the path allows.
pub static QUIET_PAST_LIMIT: Metric = Metric {
    name: "keepwatch_sockets_quiet_past_limit",
    kind: Kind::Gauge,
    unit: None,
    help: "Established connections that at the last snapshot had been quiet for longer than the \
           idle limit of their path: dropped by a middlebox, or about to be found so.",
    labels: &[DIRECTION, VERDICT, PATH, NAMESPACE, WORKLOAD, CONTAINER, PROCESS],
    max_rows: Some(MAX_SOCKET_ROWS),
    question: "Which connections in my pools are probably dead already?",
};

/// Of these, those with unanswered probes.
pub static PROBING: Metric = Metric {
    name: "keepwatch_sockets_probing",
    kind: Kind::Gauge,
    unit: None,
    help: "Established connections that by the last snapshot had sent two or more keepalive probes in a \
           row which nobody had answered.",
    labels: &[NAMESPACE, WORKLOAD, CONTAINER, PROCESS],
    max_rows: Some(MAX_OWNERS + 1),
    question: "Is a peer, or the path to it, gone right now?",
};

/// Histogram of effective idle times.
pub static IDLE_SETTING: Metric = Metric {
    name: "keepwatch_idle_setting_seconds",
    kind: Kind::Histogram(IDLE_BOUNDS),
    unit: Some(Unit::Seconds),
    help: "Effective idle time before the first probe, of the connections that are established with \
           keepalive on now: a state, not cumulative over time, so use histogram_quantile without \
           rate.",
    labels: &[DIRECTION],
    max_rows: None,
    question: "Do our connections probe before the firewall's 350 s, or after the kernel's 2 h?",
};

/// Histogram of detection times.
pub static DETECTION: Metric = Metric {
    name: "keepwatch_detection_seconds",
    kind: Kind::Histogram(DETECTION_BOUNDS),
    unit: Some(Unit::Seconds),
    help: "Silence after which the kernel gives up a connection, of the connections that are \
           established with keepalive on now: a state, not cumulative over time, so use \
           histogram_quantile without rate.",
    labels: &[DIRECTION],
    max_rows: None,
    question: "When a peer vanishes, how long do its connections hang before anybody knows?",
};

/// Times of the namespaces' sysctls.
pub static NETNS_KEEPALIVE: Metric = Metric {
    name: "keepwatch_netns_keepalive_seconds",
    kind: Kind::Gauge,
    unit: Some(Unit::Seconds),
    help: "The keepalive sysctls of each network namespace that had sockets at the last snapshot: \
           what sockets without a setting of their own use.",
    labels: &[NETNS, SETTING],
    max_rows: None,
    question: "Did the sysctl that I set on the node reach the pods?",
};

/// Probes of the namespaces' sysctls.
pub static NETNS_PROBES: Metric = Metric {
    name: "keepwatch_netns_keepalive_probes",
    kind: Kind::Gauge,
    unit: None,
    help: "The sysctl net.ipv4.tcp_keepalive_probes of each network namespace that had sockets at \
           the last snapshot: unanswered probes that end a connection.",
    labels: &[NETNS],
    max_rows: None,
    question: "Did the sysctl that I set on the node reach the pods?",
};

/// Gauge of the idle limit of each path.
pub static PATH_IDLE_LIMIT: Metric = Metric {
    name: "keepwatch_path_idle_limit_seconds",
    kind: Kind::Gauge,
    unit: Some(Unit::Seconds),
    help: "How long each path keeps a quiet connection, as far as is known now; the path without a \
           name is every other.",
    labels: &[PATH, SOURCE],
    max_rows: None,
    question: "Against which limits are my connections judged?",
};

/// Counter of keepalive probes sent.
pub static PROBES_SENT: Metric = Metric {
    name: "keepwatch_probes_sent",
    kind: Kind::Counter,
    unit: None,
    help: "Keepalive probes sent on this host since the agent's start: exact, whether or not events \
           were lost.",
    labels: &[],
    max_rows: None,
    question: "Is keepalive at work at all, and how much traffic does it make?",
};

/// Counter of answers after unanswered probes.
pub static PROBES_ANSWERED: Metric = Metric {
    name: "keepwatch_probes_answered",
    kind: Kind::Counter,
    unit: None,
    help: "Times since the agent's start that a peer answered after one or more unanswered probes, \
           as far as events reported them.",
    labels: &[],
    max_rows: None,
    question: "Do peers answer probes, or do probes go into the void?",
};

/// Counter of timer runs by outcome.
pub static TIMER_FIRES: Metric = Metric {
    name: "keepwatch_timer_fires",
    kind: Kind::Counter,
    unit: None,
    help: "Runs of keepalive timers on this host since the agent's start, by what they came to: \
           exact, whether or not events were lost.",
    labels: &[OUTCOME],
    max_rows: None,
    question: "Why do connections with keepalive on not send probes?",
};

/// Counter of ended connections by cause.
pub static DEATHS: Metric = Metric {
    name: "keepwatch_deaths",
    kind: Kind::Counter,
    unit: None,
    help: "Connections that ended since the agent's start, by what they died of and what keepalive \
           did for them.",
    labels: &[DIRECTION, CAUSE, VERDICT, PATH, NAMESPACE, WORKLOAD, CONTAINER, PROCESS],
    max_rows: Some(MAX_DEATHS + 96),
    question: "What do our connections die of, and would keepalive have prevented it?",
};

/// Quiet times before them.
pub static QUIET_BEFORE_DEATH: Metric = Metric {
    name: "keepwatch_quiet_before_death_seconds",
    kind: Kind::Histogram(QUIET_BOUNDS),
    unit: Some(Unit::Seconds),
    help: "How long connections that ended since the agent's start had been quiet before their last \
           data, or before their end if none was in flight.",
    labels: &[CAUSE],
    max_rows: None,
    question: "After how much silence do connections turn out to be dead: where is the idle limit?",
};

/// Counter of setsockopt calls by result.
pub static SETSOCKOPT: Metric = Metric {
    name: "keepwatch_setsockopt",
    kind: Kind::Counter,
    unit: None,
    help: "Calls since the agent's start that set an option which decides about keepalive on a TCP \
           socket.",
    labels: &[OPTION, RESULT, NAMESPACE, WORKLOAD, CONTAINER, PROCESS],
    max_rows: Some(MAX_CALLS + 150),
    question: "Which program sets keepalive, and whose attempts fail unseen?",
};

/// Counter of settings that changed without a call.
pub static SETTINGS_CHANGED: Metric = Metric {
    name: "keepwatch_settings_changed_unseen",
    kind: Kind::Counter,
    unit: None,
    help: "Settings of live sockets that changed since the agent's start without a setsockopt call: \
           by io_uring, a 32-bit program, BPF or the kernel itself.",
    labels: &[OPTION],
    max_rows: None,
    question: "Does something set keepalive that strace would not show?",
};

/// Counter of changes to CLOSE, exact even when events are lost.
pub static ENDED: Metric = Metric {
    name: "keepwatch_connections_ended",
    kind: Kind::Counter,
    unit: None,
    help: "Sockets that changed to CLOSE since the agent's start, failed handshakes included: exact, \
           whether or not events were lost.",
    labels: &[],
    max_rows: None,
    question: "How much churn is there, and does keepwatch_deaths_total tell all of it?",
};

/// Sockets in the table.
pub static SOCKETS_TRACKED: Metric = Metric {
    name: "keepwatch_sockets_tracked",
    kind: Kind::Gauge,
    unit: None,
    help: "TCP sockets of any state in the agent's table now, listeners included.",
    labels: &[],
    max_rows: None,
    question: "How much does this agent watch, and how near is it to its bound?",
};

/// Sockets that the table could not take.
pub static SOCKETS_UNTRACKED: Metric = Metric {
    name: "keepwatch_sockets_untracked",
    kind: Kind::Gauge,
    unit: None,
    help: "TCP sockets that the last snapshot met and the full table could not take.",
    labels: &[],
    max_rows: None,
    question: "Are there connections that keepwatch leaves out?",
};

/// Sockets removed by a walk.
pub static SOCKETS_PRUNED: Metric = Metric {
    name: "keepwatch_sockets_pruned",
    kind: Kind::Counter,
    unit: None,
    help: "Sockets removed since the agent's start because a snapshot did not meet them any more, \
           without an event that reported their end.",
    labels: &[],
    max_rows: None,
    question: "Do the events tell everything, or do snapshots have to correct them?",
};

/// Label values that are not shown.
pub static LABEL_VALUES_FOLDED: Metric = Metric {
    name: "keepwatch_label_values_folded",
    kind: Kind::Gauge,
    unit: None,
    help: "Owners, and network namespaces, that are too many to be shown now: owners are summed up in \
           ~other, namespaces are left out.",
    labels: &[FOLDED],
    max_rows: None,
    question: "Is the owner that I look for hidden in ~other?",
};

/// Gauge by signal: 1 if its hook is attached.
pub static HOOK_ATTACHED: Metric = Metric {
    name: "keepwatch_hook_attached",
    kind: Kind::Gauge,
    unit: None,
    help: "Whether the hook that carries a signal has been attached since the agent's start: 1 yes, \
           0 no.",
    labels: &[SIGNAL, MECHANISM],
    max_rows: None,
    question: "To what is this agent blind? (`keepwatch doctor` says why, and the way out.)",
};

/// Records at each stage.
pub static EVENTS: Metric = Metric {
    name: "keepwatch_events",
    kind: Kind::Counter,
    unit: None,
    help: "Records of events at each stage of their way from the hooks to the table, since the \
           agent's start.",
    labels: &[FLOW_STAGE],
    max_rows: None,
    question: "How many connections open and close here, and does the agent keep up?",
};

/// Counter of lost records by stage.
pub static EVENTS_LOST: Metric = Metric {
    name: "keepwatch_events_lost",
    kind: Kind::Counter,
    unit: None,
    help: "Records of events lost on their way from the hooks to the table, since the agent's start; \
           the next snapshot corrects the table.",
    labels: &[LOSS_STAGE],
    max_rows: None,
    question: "May the agent have missed something? (`--ring-bytes` makes the ring buffer larger.)",
};

/// Gauge of the bytes that the history uses on disk.
pub static HISTORY_BYTES: Metric = Metric {
    name: "keepwatch_history_bytes",
    kind: Kind::Gauge,
    unit: Some(Unit::Bytes),
    help: "Bytes that the history on disk uses now, within a few seconds.",
    labels: &[],
    max_rows: None,
    question: "Does the history fit its place? (`--history-bytes` and `--history-days` bound it.)",
};

/// What is not in the history.
pub static HISTORY_LOST: Metric = Metric {
    name: "keepwatch_history_lost",
    kind: Kind::Counter,
    unit: None,
    help: "Deaths, calls and the like that belong into the history on disk and are not there, since \
           the agent's start.",
    labels: &[HISTORY_REASON],
    max_rows: None,
    question: "Does `keepwatch why` know everything? Is the disk full?",
};

/// Duration of a walk.
pub static SNAPSHOT: Metric = Metric {
    name: "keepwatch_snapshot_seconds",
    kind: Kind::Gauge,
    unit: Some(Unit::Seconds),
    help: "Wall time that the last snapshot of all sockets took.",
    labels: &[],
    max_rows: None,
    question: "What does a snapshot cost on this host?",
};

/// Counter of finished snapshots.
pub static SNAPSHOTS: Metric = Metric {
    name: "keepwatch_snapshots",
    kind: Kind::Counter,
    unit: None,
    help: "Snapshots of all sockets finished since the agent's start.",
    labels: &[],
    max_rows: None,
    question: "How often does the agent look?",
};

/// Counter of failed snapshots.
pub static SNAPSHOT_FAILURES: Metric = Metric {
    name: "keepwatch_snapshot_failures",
    kind: Kind::Counter,
    unit: None,
    help: "Snapshots that failed since the agent's start.",
    labels: &[],
    max_rows: None,
    question: "Is what the agent shows older than it should be?",
};

/// Time of the last walk.
pub static SNAPSHOT_TIMESTAMP: Metric = Metric {
    name: "keepwatch_snapshot_timestamp_seconds",
    kind: Kind::Gauge,
    unit: Some(Unit::Seconds),
    help: "Unix time at the end of the last snapshot of all sockets; 0 before the first.",
    labels: &[],
    max_rows: None,
    question: "How old are the settings, owners and quiet times that I see?",
};

/// Info with the version as its label.
pub static BUILD: Metric = Metric {
    name: "keepwatch_build",
    kind: Kind::Info,
    unit: None,
    help: "The agent that runs since its start; always 1.",
    labels: &[VERSION],
    max_rows: None,
    question: "Which version runs where?",
};

/// Counter of CPU seconds of the agent.
pub static PROCESS_CPU: Metric = Metric {
    name: "process_cpu_seconds",
    kind: Kind::Counter,
    unit: Some(Unit::Seconds),
    help: "CPU time of the agent, in user and system mode, since its start.",
    labels: &[],
    max_rows: None,
    question: "What does keepwatch cost?",
};

/// Gauge of resident bytes of the agent.
pub static PROCESS_RESIDENT_MEMORY: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: Kind::Gauge,
    unit: Some(Unit::Bytes),
    help: "Resident memory of the agent now.",
    labels: &[],
    max_rows: None,
    question: "What does keepwatch cost?",
};

/// Gauge of the agent's start in Unix seconds.
pub static PROCESS_START_TIME: Metric = Metric {
    name: "process_start_time_seconds",
    kind: Kind::Gauge,
    unit: Some(Unit::Seconds),
    help: "Unix time of the agent's start.",
    labels: &[],
    max_rows: None,
    question: "Did the agent restart, so that its counters began anew?",
};

/// Gauge of open descriptors of the agent.
pub static PROCESS_OPEN_FDS: Metric = Metric {
    name: "process_open_fds",
    kind: Kind::Gauge,
    unit: None,
    help: "File descriptors that the agent has open now.",
    labels: &[],
    max_rows: None,
    question: "Does keepwatch leak?",
};

/// Every metric, in the order of export and documentation.
pub static CATALOGUE: &[&Metric] = &[
    &SOCKETS,
    &QUIET_PAST_LIMIT,
    &PROBING,
    &IDLE_SETTING,
    &DETECTION,
    &NETNS_KEEPALIVE,
    &NETNS_PROBES,
    &PATH_IDLE_LIMIT,
    &PROBES_SENT,
    &PROBES_ANSWERED,
    &TIMER_FIRES,
    &DEATHS,
    &QUIET_BEFORE_DEATH,
    &SETSOCKOPT,
    &SETTINGS_CHANGED,
    &ENDED,
    &SOCKETS_TRACKED,
    &SOCKETS_UNTRACKED,
    &SOCKETS_PRUNED,
    &LABEL_VALUES_FOLDED,
    &HOOK_ATTACHED,
    &EVENTS,
    &EVENTS_LOST,
    &HISTORY_BYTES,
    &HISTORY_LOST,
    &SNAPSHOT,
    &SNAPSHOTS,
    &SNAPSHOT_FAILURES,
    &SNAPSHOT_TIMESTAMP,
    &BUILD,
    &PROCESS_CPU,
    &PROCESS_RESIDENT_MEMORY,
    &PROCESS_START_TIME,
    &PROCESS_OPEN_FDS,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::text::name::OTHER;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_metrics_share_a_name() {
        let names: BTreeSet<_> = CATALOGUE.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
    }

    #[test]
    fn suffixes_belong_to_kinds_and_are_added_on_export() {
        for metric in CATALOGUE {
            for suffix in ["_total", "_info", "_count", "_sum", "_bucket", "_created"] {
                assert!(!metric.name.ends_with(suffix), "{}", metric.name);
            }
            let total = metric.exported_name().ends_with("_total");
            assert_eq!(total, metric.kind == Kind::Counter, "{}", metric.name);
        }
    }

    #[test]
    fn a_unit_is_the_suffix_and_a_suffix_is_the_unit() {
        for metric in CATALOGUE {
            let unit = [Unit::Seconds, Unit::Bytes]
                .into_iter()
                .find(|unit| metric.name.ends_with(&format!("_{}", unit.as_str())));
            assert_eq!(metric.unit, unit, "{}", metric.name);
            assert_eq!(metric.stem() != metric.name, unit.is_some(), "{}", metric.name);
        }
    }

    #[test]
    fn names_are_words_of_this_project_or_the_conventional_ones_of_a_process() {
        for Metric { name, .. } in CATALOGUE {
            assert!(name.starts_with("keepwatch_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        }
    }

    #[test]
    fn help_is_a_plain_sentence_that_says_when_and_a_question_is_asked() {
        for Metric { name, help, question, .. } in CATALOGUE {
            assert!(help.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
            assert!(help.ends_with('.') && !help.contains("  "), "{name}");
            assert!(!help.contains(['\\', '"', '\n']), "{name}");
            let when = ["now", "since", "the last snapshot", "the agent's start"];
            assert!(when.iter().any(|when| help.contains(when)), "{name}");
            assert!(question.contains('?'), "{name}");
        }
    }

    #[test]
    fn no_family_can_exceed_the_series_budget() {
        for metric in CATALOGUE {
            let n_series = metric.max_series();
            assert!((1..=MAX_SERIES).contains(&n_series), "{}: {n_series}", metric.name);
        }
    }

    #[test]
    fn no_label_tells_one_connection_from_another() {
        for label in CATALOGUE.iter().flat_map(|metric| metric.labels) {
            for poison in ["pid", "fd", "port", "cookie", "id", "addr", "address", "peer", "le"] {
                assert!(label.name.split('_').all(|part| part != poison), "{}", label.name);
            }
            assert!(label.values.bound() > 0 && !label.meaning.is_empty(), "{}", label.name);
        }
    }

    #[test]
    fn no_family_has_a_label_twice() {
        for metric in CATALOGUE {
            let names: BTreeSet<_> = metric.labels.iter().map(|label| label.name).collect();
            assert_eq!(names.len(), metric.labels.len(), "{}", metric.name);
        }
    }

    #[test]
    fn closed_sets_are_those_of_the_model() {
        let Values::Closed(directions) = DIRECTION.values else { panic!("closed") };
        let Values::Closed(verdicts) = VERDICT.values else { panic!("closed") };
        assert_eq!(directions, Direction::ALL.map(Direction::as_str));
        let Values::Closed(causes) = CAUSE.values else { panic!("closed") };
        let Values::Closed(outcomes) = OUTCOME.values else { panic!("closed") };
        let Values::Closed(options) = OPTION.values else { panic!("closed") };
        assert_eq!(verdicts, Verdict::ALL.map(Verdict::as_str));
        assert_eq!(causes, Cause::ALL.map(Cause::as_str));
        assert_eq!(outcomes, Fire::ALL.map(Fire::as_str));
        assert_eq!(options, SockOpt::ALL.map(SockOpt::as_str));
        assert!(REST.contains(OTHER));
    }
}
