//! One connection as far as it is known, live or dead: its settings, who called setsockopt on it, and
//! how it ended.

mod finding;
mod in_window;
mod joined;

pub(crate) use finding::{Finding, Suspicion};
pub(crate) use in_window::InWindow;
pub(crate) use joined::lives;

use super::{
    connection::{Connection, RowOwner, ms},
    event_row::EventRow,
    row::Row,
};
use crate::advice::process_clues::Traces;
use crate::model::{
    judgement::{
        condition::Condition,
        death::{Cause, Certainty, MIDDLEBOX_MS, quiet_before_probe},
        facts::ConnectionFacts as _,
        verdict::Verdict,
    },
    observed::{
        probe_timing::quiet_before::QuietBeforeProbe,
        setsockopt::SockOpt,
        setting::OwnValues,
        socket::{DirectionFrom, State},
    },
    table::happening::EventName,
    text::{
        duration::seconds,
        wall_time::{WallTime, unix_seconds},
    },
};
use serde::Serialize;

/// A setsockopt call as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CallSeen {
    /// The time of the call: RFC 3339, UTC.
    pub at: String,
    /// The option that it set, or tried to set.
    pub option: SockOpt,
    /// The value asked for.
    pub value: Option<i32>,
    /// `ok` or the error's name.
    pub result: String,
    /// The calling process.
    pub by: Option<RowOwner>,
    /// It was made on the listening socket that the connection came out of.
    pub inherited: bool,
}

/// A time in which data of a connection went unanswered, before it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct UnansweredTime {
    /// When the first of the data was sent: RFC 3339, UTC.
    pub since: String,
    /// When it had been answered, at the latest: RFC 3339, UTC.
    pub until: String,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct LifeEnd {
    /// The time of the end: RFC 3339, UTC.
    pub at: String,
    /// The cause of death.
    pub cause: Cause,
    /// How that is known.
    pub certainty: Certainty,
    /// The error that the program got, by name.
    pub errno: Option<String>,
    /// The facts behind the cause, in words.
    pub evidence: String,
    /// Since it was opened.
    pub age_seconds: Option<f64>,
    /// Other connections to the same peer that were answered at that time.
    pub others_answered: Option<u32>,
    /// Others to the same peer that had not been quiet, and got no answer any more either.
    pub others_silent: Option<u32>,
    /// Since data was sent or received last: probes and their answers carry none.
    pub without_data_seconds: Option<f64>,
    /// A path that forgot it explains that best: by what is known of it, or of others of its case that died alike.
    pub forgotten: bool,
    /// Of an abandoned one: the silence after which this host closed it, if that is known.
    pub closed_after_seconds: Option<f64>,
    /// For how long this host tried, and could not send, what was never answered; null if that left this host.
    pub unsent_seconds: Option<f64>,
    /// Of an abandoned one: the peer had spoken last, and only the FIN went unanswered: no request was, unless the answer was not whole.
    pub peer_spoke_last: bool,
    /// Of one whose data was never taken: how long before the end, or before this host closed it, the peer was heard all the same;
    /// null if it was not.
    pub heard_seconds: Option<f64>,
    /// Of one that this host closed: from its last data until then, if the peer acknowledged that and sent none since; else null.
    pub unreplied_seconds: Option<f64>,
    /// The time of the last packet from the peer: RFC 3339, UTC.
    pub last_packet_at: Option<String>,
    /// The time when the first data was sent that was never answered: RFC 3339, UTC.
    pub unanswered_since: Option<String>,
    /// Over its life, as far as seen.
    pub probes_sent: u32,
    /// The time of the end by the clock that nobody sets, milliseconds.
    #[serde(skip)]
    pub monotonic_ms: u64,
}

impl LifeEnd {
    /// From the first data that was never answered until the end, seconds.
    pub(crate) fn waited_seconds(&self) -> Option<f64> {
        let since: jiff::Timestamp = self.unanswered_since.as_ref()?.parse().ok()?;
        let at: jiff::Timestamp = self.at.parse().ok()?;
        Some(at.duration_since(since).as_secs_f64())
    }
}

/// A connection with its calls and, if it is dead, its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Life {
    /// It, now or as it was at its end.
    #[serde(flatten)]
    pub connection: Connection,
    /// The processes that have it open, or had: first the one that it is counted for.
    pub owners: Vec<RowOwner>,
    /// The calls that were seen, oldest first.
    pub calls: Vec<CallSeen>,
    /// Options that changed without a call.
    pub changed: Vec<SockOpt>,
    /// It was watched from its beginning, so that calls are missing from `calls` only if there were
    /// none.
    #[serde(rename = "seen_from_opening")]
    pub is_whole: bool,
    /// The agent has no hook for calls: of `calls`, all may be missing.
    #[serde(skip)]
    pub calls_unseen: bool,
    /// Events were lost while it was watched: a call that `calls` lacks may be one of them.
    pub events_lost: bool,
    /// The time of its opening, if that was seen: RFC 3339, UTC.
    pub opened_at: Option<String>,
    /// The time when this host closed it while its last data, or probes, were unanswered: RFC 3339, UTC; null if that was
    /// not seen.
    pub given_up_at: Option<String>,
    /// Times in which its data went unanswered, after which it went on, as far as the agent remembers: oldest first.
    pub unanswered_times: Vec<UnansweredTime>,
    /// What its process showed of itself, if it is dead and the agent saw that.
    pub clues: Option<Traces>,
    /// Of one that lives: when it was as it is here, Unix time, if that is known. Several questions are asked one after the
    /// other.
    #[serde(skip)]
    pub read_at: Option<f64>,
    /// How it stands to a time that was asked for and is over; none if none was, or it is not.
    #[serde(skip)]
    pub in_window: Option<InWindow>,
    /// One of these times belongs to the time that was asked for, and nothing worse does.
    #[serde(skip)]
    pub went_on: bool,
    /// Of one without trouble of its own: what others to its peer let fear.
    #[serde(skip)]
    pub suspicion: Option<Suspicion>,
    /// A drill of keepwatch had cut its path when it died, or has now.
    pub cut_by_drill: bool,
    /// Its program's own values, where they are others than those of the socket: `fix --undo` had to write numbers.
    #[serde(skip)]
    pub own_of_program: Option<OwnValues>,
    /// Its end, if it has come.
    #[serde(flatten)]
    pub end: Option<LifeEnd>,
}

impl Life {
    /// A connection that exists now, without calls: only the history knows those.
    pub(crate) fn live(row: Row) -> Self {
        let sent_its_syn = row.direction_from == DirectionFrom::Seen;
        Self {
            is_whole: row.connection.state == State::SynSent && sent_its_syn,
            connection: row.connection,
            owners: row.owners,
            calls: Vec::new(),
            changed: Vec::new(),
            calls_unseen: false,
            events_lost: false,
            opened_at: None,
            given_up_at: None,
            unanswered_times: Vec::new(),
            clues: None,
            read_at: None,
            in_window: None,
            went_on: false,
            suspicion: None,
            cut_by_drill: false,
            own_of_program: None,
            end: None,
        }
    }

    /// One that died, with the event that says so. None if the event is another.
    pub(crate) fn dead(happening: EventRow) -> Option<Self> {
        let EventRow {
            time: WallTime { at, .. },
            event: EventName::Died | EventName::Ended,
            monotonic_seconds,
            owners,
            details,
            connection,
            ..
        } = happening
        else {
            return None;
        };
        let cause = details.cause?;
        let silent = Some(connection.silent_seconds).filter(|_| cause != Cause::ConnectFailed);
        // In flight is what was sent after the quiet time.
        let unanswered = silent.filter(|_| connection.in_flight);
        // Or it was answered after this host had closed it.
        let too_late = details.given_up_seconds.zip(details.closed_after_seconds);
        let too_late = too_late.filter(|(ago, _)| silent.is_some_and(|silent| silent < *ago));
        let unanswered = unanswered.or(too_late.map(|(ago, closed_after)| ago + closed_after));
        let unanswered = unanswered.map(|silent| silent - connection.quiet_seconds);
        let end = LifeEnd {
            last_packet_at: silent.and_then(|silent| before(&at, silent)),
            unanswered_since: unanswered.and_then(|unanswered| before(&at, unanswered)),
            at,
            cause,
            certainty: details.certainty.unwrap_or(Certainty::Inferred),
            errno: details.errno,
            evidence: details.evidence.unwrap_or_default(),
            age_seconds: details.age_seconds,
            others_answered: details.others_answered,
            others_silent: details.others_silent,
            without_data_seconds: details.without_data_seconds,
            forgotten: details.forgotten.unwrap_or_default(),
            closed_after_seconds: details.closed_after_seconds,
            unsent_seconds: details.unsent_seconds,
            peer_spoke_last: details.peer_spoke_last.unwrap_or_default(),
            heard_seconds: details.heard_seconds,
            unreplied_seconds: details.unreplied_seconds,
            probes_sent: details.probes_sent.unwrap_or_default(),
            monotonic_ms: ms(monotonic_seconds),
        };
        let is_whole = end.age_seconds.is_some();
        Some(Self {
            connection,
            owners,
            calls: Vec::new(),
            changed: Vec::new(),
            is_whole,
            calls_unseen: false,
            events_lost: false,
            given_up_at: details.given_up_seconds.and_then(|ago| before(&end.at, ago)),
            unanswered_times: Vec::new(),
            clues: details.clues,
            read_at: None,
            in_window: None,
            went_on: false,
            suspicion: None,
            cut_by_drill: false,
            own_of_program: None,
            opened_at: end.age_seconds.and_then(|age| before(&end.at, age)),
            end: Some(end),
        })
    }

    /// The values that its program has set itself; 0 is left to the namespace.
    pub(crate) fn own(&self) -> OwnValues {
        self.own_of_program.unwrap_or_else(|| self.connection.settings.own())
    }

    /// The process that it is counted for; none if it waits to be accepted by one of several.
    pub(crate) fn owner(&self) -> Option<&RowOwner> {
        let first = self.owners.first()?;
        let is_another = |owner: &RowOwner| owner.process != first.process;
        let is_unclear =
            self.connection.listeners.is_some_and(|n| n > 1) && self.owners.iter().any(is_another);
        (!is_unclear).then_some(first)
    }

    /// Of one that died of silence: the silence after which that was noticed, by the kernel or by a program that gave up.
    pub(crate) fn noticed_after_seconds(&self) -> f64 {
        let closed_after = self.end.as_ref().and_then(|end| end.closed_after_seconds);
        closed_after.unwrap_or(self.connection.silent_seconds)
    }

    /// Of one that ended: when the peer's FIN came, if that was its end and is known, else the end itself: Unix time.
    pub(crate) fn closed_at(&self) -> Option<f64> {
        let end = self.end.as_ref()?;
        let closed = self.connection.peer_closed_seconds.filter(|_| end.cause == Cause::PeerClosed);
        unix_seconds(&end.at).map(|at| at - closed.unwrap_or_default())
    }

    /// Whether this host could not send what was never answered.
    pub(crate) fn is_unsent(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.unsent_seconds.is_some())
    }

    /// Of one that died of silence: when that began, as far as it is known.
    pub(crate) fn trouble_began(&self) -> Option<&str> {
        let end = self.end.as_ref().filter(|_| self.finding().is_of_silence())?;
        end.unanswered_since.as_deref().or(end.last_packet_at.as_deref())
    }

    /// Whether it lives, and the peer's host answers, but not its program.
    pub(crate) fn is_blocked(&self) -> bool {
        self.end.is_none() && self.connection.condition() == Condition::Blocked
    }

    /// Of one that ended: the quiet time before the first of what was never answered, data or probe, seconds.
    pub(crate) fn quiet_before_end_seconds(&self) -> f64 {
        let Connection { settings, quiet_seconds, probes_unanswered, in_flight, .. } =
            &self.connection;
        // Before data that is in flight they are counted already.
        let is_probed = settings.keepalive && *probes_unanswered > 0 && !in_flight;
        // A path that forgot it answers no probe.
        let most = match self.quiet_before_probe() {
            Some(quiet) => seconds(quiet.ms),
            None if is_probed => f64::from(settings.idle.seconds),
            None => f64::INFINITY,
        };
        quiet_seconds.min(most)
    }

    /// Of one whose probes go unanswered now, or that they ended: the quiet time before the first of them.
    pub(crate) fn quiet_before_probe(&self) -> Option<QuietBeforeProbe> {
        let Connection { settings, silent_seconds, probes_unanswered, .. } = &self.connection;
        let times = (settings.idle.seconds, settings.interval.seconds);
        if let Some(end) = &self.end {
            return quiet_before_probe(end.cause, ms(*silent_seconds), *probes_unanswered, times);
        }
        let is_silent = self.connection.condition() == Condition::PeerSilent;
        let since = self.connection.condition_seconds.filter(|_| is_silent)?;
        Some(QuietBeforeProbe::of(ms(silent_seconds - since), 1, times.0, times.1))
    }

    /// Of one whose data goes unanswered now: the quiet time before that, seconds, if a device may have forgotten it meanwhile.
    pub(crate) fn quiet_before_stuck_seconds(&self) -> Option<f64> {
        let connection = &self.connection;
        let is_stuck = self.end.is_none() && connection.condition() == Condition::Stuck;
        let quiet =
            connection.silent_seconds - connection.condition_seconds.filter(|_| is_stuck)?;
        (quiet >= f64::from(MIDDLEBOX_MS) / 1000.0).then_some(quiet)
    }

    /// Of one that ended: no data went either way before, for a time in which probes did.
    fn was_probed_without_data(&self) -> bool {
        const LEAST_SECONDS: f64 = 5.0;
        let idle = f64::from(self.connection.settings.idle.seconds);
        let without_data = self.end.as_ref().and_then(|end| end.without_data_seconds);
        self.connection.settings.keepalive
            && without_data.is_some_and(|seconds| seconds > idle.max(LEAST_SECONDS))
    }

    /// Whether its program sent data, or was about to, that the peer had no more use for.
    pub(crate) fn wrote_into_closed(&self) -> bool {
        let is_closed = self.end.as_ref().is_some_and(|end| end.cause == Cause::PeerClosed);
        let Connection { in_flight, fin_only, state, .. } = self.connection;
        is_closed && in_flight && !fin_only && state.is_closed_by_peer()
    }

    /// Of one that this host closed: whether nothing but its FIN, neither data nor a probe, went unanswered.
    pub(crate) fn lacks_fin(&self) -> bool {
        let is_abandoned =
            |end: &LifeEnd| end.cause == Cause::Abandoned && end.closed_after_seconds.is_some();
        let is_given_up = self.given_up_at.is_some() || self.connection.probes_unanswered > 0;
        !is_given_up && self.end.as_ref().is_some_and(is_abandoned)
    }

    /// Of one that this host closed: whether the peer never took what was written: its program did not read enough.
    fn was_closed_unread(&self) -> bool {
        let is_ended_by_kernel = |end: &LifeEnd| {
            end.cause == Cause::LocalClosed && end.errno.as_deref() == Some("ETIMEDOUT")
        };
        self.connection.in_flight && self.end.as_ref().is_some_and(is_ended_by_kernel)
    }

    /// The finding about it.
    pub(crate) fn finding(&self) -> Finding {
        let found = self.finding_without_drill();
        if self.cut_by_drill && found.may_be_of_a_drill() { Finding::Drilled } else { found }
    }

    fn finding_without_drill(&self) -> Finding {
        if self.went_on {
            return Finding::AnsweredAgain;
        }
        let Some(end) = &self.end else {
            let is_unprotected = self.connection.verdict.is_some_and(Verdict::is_unprotected);
            return match self.connection.condition() {
                // Both ends had closed it, and nothing is lost: only the kernel still waits, for the last acknowledgement.
                Condition::Stuck if self.connection.lacks_the_last_ack() => Finding::Fine,
                Condition::Stuck | Condition::Blocked if self.connection.orphan => Finding::GivenUp,
                Condition::Stuck if self.connection.state == State::SynSent => Finding::Opening,
                Condition::Stuck => Finding::Stuck,
                Condition::PeerSilent => Finding::PeerSilent,
                Condition::Overdue => Finding::Overdue,
                Condition::Blocked => Finding::Blocked,
                Condition::Unaccepted => Finding::Unaccepted,
                Condition::PeerClosed => Finding::PeerClosed,
                Condition::Fine if self.suspicion == Some(Suspicion::Lost) => Finding::ProbablyLost,
                // The kernel ends by itself what is closing.
                Condition::Fine if is_unprotected && self.connection.is_open() => {
                    Finding::Unprotected
                }
                Condition::Fine if self.suspicion == Some(Suspicion::Forgotten) => {
                    Finding::ProbablyForgotten
                }
                Condition::Fine if self.connection.probe_unanswered_seconds().is_some() => {
                    Finding::ProbeUnanswered
                }
                Condition::Fine if self.suspicion.is_some() => Finding::ProbablyLate,
                Condition::Fine => Finding::Fine,
            };
        };
        // At any time of its life.
        let was_probed = end.probes_sent > u32::from(self.connection.probes_unanswered);
        match end.cause {
            _ if end.forgotten => Finding::Dropped,
            Cause::IdleDrop => Finding::Dropped,
            Cause::KeepaliveTimeout
            | Cause::UserTimeout
            | Cause::RetransmitTimeout
            | Cause::Abandoned => Finding::Dark,
            Cause::PeerClosed if was_probed && self.was_probed_without_data() => {
                Finding::ClosedAlthoughProbed
            }
            Cause::KeepaliveReset
            | Cause::PeerReset
            | Cause::Unreachable
            | Cause::ConnectFailed => Finding::Failed,
            // Its program wrote into what the peer had closed.
            Cause::PeerClosed if self.wrote_into_closed() => Finding::Failed,
            Cause::LocalClosed if self.was_closed_unread() => Finding::Failed,
            // Somebody else did that to its program (`tcp_abort` in net/ipv4/tcp.c).
            Cause::LocalReset if end.errno.as_deref() == Some("ECONNABORTED") => Finding::Failed,
            Cause::Unknown => Finding::Unseen,
            Cause::PeerClosed | Cause::LocalClosed | Cause::LocalReset => Finding::Fine,
        }
    }
}

/// The time this much before another: both RFC 3339, UTC.
fn before(at: &str, seconds: f64) -> Option<String> {
    let length = jiff::SignedDuration::try_from_secs_f64(seconds.max(0.0)).ok()?;
    let time = at.parse::<jiff::Timestamp>().ok()?.checked_sub(length).ok()?;
    Some(format!("{time:.6}"))
}

impl CallSeen {
    pub(crate) fn of(happening: EventRow) -> Option<Self> {
        let details = happening.details;
        Some(Self {
            at: happening.time.at,
            option: details.option?,
            value: details.value,
            result: details.result?,
            by: happening.owners.into_iter().next(),
            inherited: false,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests_support;

#[cfg(test)]
mod tests;
