//! What happens to connections, one thing at a time: what `trace` shows, histories keep and counters
//! count. The table makes moments of events.

use super::{
    call::{Call, SockOpt, When},
    death::{Cause, Death, errno_name},
    event::Fire,
    filter::Filter,
    row::{Row, RowOwner},
    socket::{Direction, Socket, State, Time},
    verdict::{Policy, Verdict},
    words::{duration, tenths},
};
use serde::{Deserialize, Serialize};

/// One thing that happened to one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: Time,
    /// The socket at that moment, with the owner if one is known.
    pub socket: Socket,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A connection is established.
    Opened,
    /// A program called setsockopt.
    Setting(Call),
    /// A setting is not what it was, and nobody called setsockopt.
    Changed {
        /// Which.
        option: SockOpt,
        /// The own value before; 0 was unset.
        from: u32,
        /// The own value now.
        to: u32,
    },
    /// A probe went out.
    ProbeSent,
    /// Probes were answered.
    ProbeAnswered {
        /// So many had gone unanswered before.
        unanswered: u8,
    },
    /// The keepalive timer ran, and no probe went out.
    TimerFired(Fire),
    /// The connection went on after it had been quiet.
    QuietSurvived {
        /// For so long, at least.
        quiet_ms: u32,
    },
    /// The end.
    Died(Death),
}

/// The names of what can happen.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Name {
    /// A connection is established
    Opened,
    /// A setsockopt call of an option that decides about keepalive
    Setting,
    /// A setting that changed without a setsockopt call
    Changed,
    /// A keepalive probe went out
    ProbeSent,
    /// Probes were answered
    ProbeAnswered,
    /// The keepalive timer ran and no probe went out
    TimerFired,
    /// A connection went on after a long quiet time
    QuietSurvived,
    /// A connection ended
    Died,
    /// Events were lost
    Lost,
    /// After a loss everything was read anew
    Resynchronised,
}

impl Name {
    /// As it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Setting => "setting",
            Self::Changed => "changed",
            Self::ProbeSent => "probe_sent",
            Self::ProbeAnswered => "probe_answered",
            Self::TimerFired => "timer_fired",
            Self::QuietSurvived => "quiet_survived",
            Self::Died => "died",
            Self::Lost => "lost",
            Self::Resynchronised => "resynchronised",
        }
    }
}

impl What {
    /// Its name.
    pub const fn name(&self) -> Name {
        match self {
            Self::Opened => Name::Opened,
            Self::Setting(_) => Name::Setting,
            Self::Changed { .. } => Name::Changed,
            Self::ProbeSent => Name::ProbeSent,
            Self::ProbeAnswered { .. } => Name::ProbeAnswered,
            Self::TimerFired(_) => Name::TimerFired,
            Self::QuietSurvived { .. } => Name::QuietSurvived,
            Self::Died(_) => Name::Died,
        }
    }

    /// Whether it tells something to who did not ask for it by name: a timer that found nothing to do
    /// does not.
    pub const fn is_news(&self) -> bool {
        !matches!(self, Self::TimerFired(Fire::NotIdle | Fire::NotOurs | Fire::Sent | Fire::Death))
    }
}

/// A moment as it is shown. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MomentRow {
    /// RFC 3339, UTC.
    pub at: String,
    /// `CLOCK_MONOTONIC`.
    pub monotonic_seconds: f64,
    /// What happened.
    pub event: Name,
    /// Who did it, or whose connection it is.
    pub owner: Option<RowOwner>,
    /// What it means, in words.
    pub meaning: String,
    /// What only some events have.
    #[serde(flatten)]
    pub details: Details,
    /// The connection at that moment; `quiet_seconds` is what the event is about, if it is about one.
    #[serde(flatten)]
    pub socket: Row,
}

/// What only some events have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// `setting`, `changed`: the option.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub option: Option<SockOpt>,
    /// `setting`: the value asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<i32>,
    /// `setting`: `ok` or the error's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// `setting`: when in the life of the socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// `changed`: the own value before, 0 is unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// `changed`: the own value now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
    /// `probe_sent`: which of the probes in a row; `probe_answered`: how many were unanswered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<u8>,
    /// `probe_sent`: until the timer fires next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_seconds: Option<f64>,
    /// `timer_fired`: what it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Fire>,
    /// `died`: of what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// `died`: how that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certainty: Option<super::death::Certainty>,
    /// `died`: what the application was told, if it was an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// `died`: what says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// `died`: since it was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<f64>,
    /// `died`: since a packet was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_seconds: Option<f64>,
    /// `died`: over its life, as far as seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes_sent: Option<u32>,
}

fn seconds(ms: impl Into<u64>) -> f64 {
    std::time::Duration::from_millis(ms.into()).as_secs_f64()
}

impl MomentRow {
    /// What is shown of `moment`; `at` is its wall clock time.
    pub fn new(moment: &Moment, at: String, policy: &Policy) -> Self {
        let Moment { socket, what, .. } = moment;
        let mut row = Row::new(socket, socket.owner.iter(), policy, socket.at);
        let mut details = Details::default();
        match what {
            What::Opened => {}
            What::Setting(call) => {
                details.option = Some(call.option);
                details.value = call.value;
                let ok = || "ok".to_owned();
                details.result = Some(if call.errno == 0 { ok() } else { errno_name(call.errno) });
                details.when = Some(When::of(socket.state));
            }
            What::Changed { option, from, to } => {
                details.option = Some(*option);
                (details.from, details.to) = (Some(*from), Some(*to));
            }
            What::ProbeSent => {
                details.unanswered = Some(socket.probes_unanswered);
                details.next_seconds = socket.timer_ms.map(seconds);
            }
            What::ProbeAnswered { unanswered } => details.unanswered = Some(*unanswered),
            What::TimerFired(outcome) => details.outcome = Some(*outcome),
            What::QuietSurvived { quiet_ms } => row.quiet_seconds = seconds(*quiet_ms),
            What::Died(death) => {
                row.quiet_seconds = seconds(death.quiet_ms);
                row.state = death.old;
                row.in_flight = death.ending.unacked || death.ending.unsent;
                details.cause = Some(death.cause);
                details.certainty = Some(death.certainty);
                let errno = death.ending.errno;
                details.errno = (errno != 0).then(|| errno_name(errno));
                details.evidence = Some(death.evidence(socket));
                details.age_seconds = death.age_ms.map(seconds);
                details.silent_seconds = Some(seconds(death.silent_ms));
                details.probes_sent = Some(death.probes_sent);
            }
        }
        Self {
            at,
            monotonic_seconds: moment.at.seconds(),
            event: what.name(),
            owner: socket.owner.as_ref().map(RowOwner::from),
            meaning: moment.meaning(policy),
            details,
            socket: row,
        }
    }
}

impl Moment {
    /// What it means, in one sentence.
    pub fn meaning(&self, policy: &Policy) -> String {
        let Self { socket, what, .. } = self;
        match what {
            What::Opened => match policy.verdict(socket) {
                Verdict::Local => "opened to this host".to_owned(),
                Verdict::Off => "opened, keepalive is off".to_owned(),
                verdict => format!(
                    "opened {}: first probe after {}, noticed dead after {}",
                    verdict.as_str(),
                    duration(socket.idle().value),
                    socket.detection_seconds().map(duration).unwrap_or_default(),
                ),
            },
            What::Setting(call) => setting(call, socket),
            What::Changed { option, from, to } => format!(
                "{} went from {} to {} without a setsockopt call (io_uring, a 32-bit program, BPF or \
                 the kernel itself)",
                option.as_str(),
                own_value(*option, *from),
                own_value(*option, *to)
            ),
            What::ProbeSent => {
                let n_probes = socket.probes_unanswered;
                let next = socket.timer_ms.map(tenths).unwrap_or_default();
                let silent = tenths(socket.silent_ms);
                if socket.own.user_timeout_ms > 0 {
                    let limit = socket.own.user_timeout_ms;
                    format!(
                        "probe {n_probes} after {silent} of silence, next in {next}, until {limit} ms have passed"
                    )
                } else {
                    let count = socket.count().value;
                    format!("probe {n_probes} of {count} after {silent} of silence, next in {next}")
                }
            }
            What::ProbeAnswered { unanswered: 1 } => {
                "the probe was answered: the peer lives".into()
            }
            What::ProbeAnswered { unanswered } => {
                format!("answered after {unanswered} probes: the peer lives")
            }
            What::TimerFired(outcome) => fired(*outcome).to_owned(),
            What::QuietSurvived { quiet_ms } => {
                format!("went on after {} of quiet", duration(quiet_ms / 1000))
            }
            What::Died(death) => format!("{}: {}", death.cause.as_str(), death.evidence(socket)),
        }
    }
}

fn setting(call: &Call, socket: &Socket) -> String {
    let option = call.option.as_str();
    let value = call.value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    let asked = format!("{option} = {value}{}", call.option.unit());
    if call.errno != 0 {
        return format!("{asked} was refused with {}: nothing changed", errno_name(call.errno));
    }
    let note = match (call.option, socket.keepalive, socket.state) {
        (_, _, State::Listen) => ": what it accepts inherits it",
        (SockOpt::Idle | SockOpt::Interval | SockOpt::Count, false, _) => {
            ", without effect while SO_KEEPALIVE is off"
        }
        (SockOpt::Count, true, _) if socket.own.user_timeout_ms > 0 => {
            ", without effect: the user timeout decides"
        }
        _ => "",
    };
    format!("{asked}{note}")
}

fn own_value(option: SockOpt, value: u32) -> String {
    match (option, value) {
        (SockOpt::Keepalive, 0) => "off".to_owned(),
        (SockOpt::Keepalive, _) => "on".to_owned(),
        (_, 0) => "unset".to_owned(),
        _ => format!("{value}{}", option.unit()),
    }
}

const fn fired(outcome: Fire) -> &'static str {
    match outcome {
        Fire::Sent => "a probe was sent",
        Fire::Deferred => "the program was working on the socket: the timer tries again in 50 ms",
        Fire::DataInFlight => {
            "data is in flight: no probe, retransmission decides; the timer starts over"
        }
        Fire::NotIdle => "something was received meanwhile: no probe is due",
        Fire::NotOurs => "not keepalive's: it is off, or the socket is closing",
        Fire::Congested => "this host's own queue refused the probe: next try in 500 ms",
        Fire::Death => "too many probes went unanswered",
    }
}

/// What concerns the stream itself, not one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// So many events were lost.
    Lost(u64),
    /// After a loss all sockets were read anew.
    Resynchronised {
        /// So many there are.
        sockets: u64,
        /// So many were gone, unseen.
        pruned: u64,
    },
}

/// A notice as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoticeRow {
    /// RFC 3339, UTC.
    pub at: String,
    /// `CLOCK_MONOTONIC`.
    pub monotonic_seconds: f64,
    /// What happened.
    pub event: Name,
    /// What it means, in words.
    pub meaning: String,
    /// `lost`: how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// `resynchronised`: how many sockets there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<u64>,
    /// `resynchronised`: how many were gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<u64>,
}

impl NoticeRow {
    /// What is shown of `notice`.
    pub fn new(notice: Notice, now: Time, at: String) -> Self {
        let monotonic_seconds = now.seconds();
        match notice {
            Notice::Lost(events) => Self {
                at,
                monotonic_seconds,
                event: Name::Lost,
                meaning: format!("{events} events were lost: the totals stay exact"),
                events: Some(events),
                sockets: None,
                pruned: None,
            },
            Notice::Resynchronised { sockets, pruned } => Self {
                at,
                monotonic_seconds,
                event: Name::Resynchronised,
                meaning: format!(
                    "after the loss every socket was read anew: {sockets} there, {pruned} gone unseen"
                ),
                events: None,
                sockets: Some(sockets),
                pruned: Some(pruned),
            },
        }
    }
}

/// One line of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// About one connection.
    Moment(Box<MomentRow>),
    /// About the stream.
    Notice(NoticeRow),
}

/// Which moments somebody wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default)]
pub struct Wanted {
    /// Only these events [default: all but fires of a timer that finds nothing to do]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub event: Vec<Name>,
    /// First what is remembered of these connections (asks the agent)
    #[arg(long)]
    pub past: bool,
    /// Of which connections.
    #[command(flatten)]
    pub filter: Filter,
}

impl Wanted {
    /// Whether `moment` is wanted. Unlike `sockets`, any state will do unless one is asked for: the
    /// calls before a connection belong to it, and so does its end.
    pub fn admits(&self, moment: &Moment, policy: &Policy) -> bool {
        let name = moment.what.name();
        let event =
            if self.event.is_empty() { moment.what.is_news() } else { self.event.contains(&name) };
        event
            && self.filter.admits_in_any_state(&moment.socket, policy)
            && self.filter.admits_owner(moment.socket.owner.iter())
    }
}

/// The arrow between our end and the peer: who sent the SYN.
pub const fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "->",
        Direction::Inbound => "<-",
    }
}
