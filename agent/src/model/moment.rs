//! What happens to connections, one thing at a time: what `trace` shows, histories keep and counters
//! count. The table makes moments of events.

use super::{
    call::{Call, SockOpt},
    death::{Death, errno_name},
    event::Fire,
    filter::Filter,
    identity::Identity,
    socket::{Direction, Socket, State, Time},
    verdict::{Policy, Verdict},
    words::{duration, tenths},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One thing that happened to one socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time of the event, by the clock of the kernel.
    pub at: Time,
    /// The socket at that moment, with the owner if one is known.
    pub socket: Socket,
    /// The kind of event and its details.
    pub what: What,
    /// What the owner is part of, as far as it is known.
    pub identity: Option<Arc<Identity>>,
    /// Of a death: the setsockopt calls of its life, oldest first.
    pub calls: Vec<(Time, Call)>,
}

/// The kind of event, with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A connection is established.
    Opened,
    /// A program called setsockopt.
    Setting(Call),
    /// A setting is not what it was, and nobody called setsockopt.
    Changed {
        /// The option whose value changed.
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
        /// Probes that had gone unanswered before.
        unanswered: u8,
    },
    /// The keepalive timer ran, and no probe went out.
    TimerFired(Fire),
    /// The connection went on after it had been quiet.
    QuietSurvived {
        /// A quiet time that it survived: the real one may be a little longer.
        quiet_ms: u32,
    },
    /// A setting changed, and with it the verdict.
    VerdictChanged {
        /// The verdict before.
        from: Verdict,
        /// The verdict now.
        to: Verdict,
    },
    /// The connection ended.
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
    /// A setting changed, and with it the verdict
    VerdictChanged,
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
            Self::VerdictChanged => "verdict_changed",
            Self::Died => "died",
            Self::Lost => "lost",
            Self::Resynchronised => "resynchronised",
        }
    }
}

impl What {
    /// The name in JSON, filters and help.
    pub const fn name(&self) -> Name {
        match self {
            Self::Opened => Name::Opened,
            Self::Setting(_) => Name::Setting,
            Self::Changed { .. } => Name::Changed,
            Self::ProbeSent => Name::ProbeSent,
            Self::ProbeAnswered { .. } => Name::ProbeAnswered,
            Self::TimerFired(_) => Name::TimerFired,
            Self::QuietSurvived { .. } => Name::QuietSurvived,
            Self::VerdictChanged { .. } => Name::VerdictChanged,
            Self::Died(_) => Name::Died,
        }
    }

    /// Whether it is shown without `--event` naming it: a timer that found nothing to do is not.
    pub const fn is_news(&self) -> bool {
        !matches!(self, Self::TimerFired(Fire::NotIdle | Fire::NotOurs | Fire::Sent | Fire::Death))
    }
}

impl Moment {
    /// A moment of a socket whose owner nobody has looked up.
    pub const fn new(at: Time, socket: Socket, what: What) -> Self {
        Self { at, socket, what, identity: None, calls: Vec::new() }
    }

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
            What::VerdictChanged { from, to } => {
                format!("was {}, is {}: {}", from.as_str(), to.as_str(), policy.reason(socket))
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
    /// Events were lost.
    Lost {
        /// Events that were there, and found no room or could not be decoded.
        events: u64,
        /// Runs of hooks that the kernel skipped, of the whole host: each may have been an event.
        skipped: u64,
    },
    /// After a loss all sockets were read anew.
    Resynchronised {
        /// Sockets that the walk found.
        sockets: u64,
        /// Sockets gone without a reported end.
        pruned: u64,
    },
}

/// Which moments somebody wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default)]
pub struct Wanted {
    /// Only these events [default: all but fires of a timer that finds nothing to do]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub event: Vec<Name>,
    /// Print past events of these connections first (needs an agent)
    #[arg(long)]
    pub past: bool,
    /// Only what is remembered: the stream ends with it.
    #[arg(skip)]
    pub past_only: bool,
    /// Only events of these connections.
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
            && self.filter.admits_identity(moment.identity.as_deref())
    }
}

/// The arrow between our end and the peer: who sent the SYN.
pub const fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "->",
        Direction::Inbound => "<-",
    }
}
