//! Events as they are shown: one JSON object a line. Fields are only ever added.

use super::{
    connection::{Connection, RowOwner},
    event_text::meaning,
};
use crate::advice::process_clues::Traces;
use crate::model::{
    judgement::{
        death::{Cause, Certainty, Others},
        verdict::{Surroundings, Verdict},
    },
    observed::{
        errno::errno_name,
        event::Fire,
        setsockopt::{SockOpt, When},
        socket::{SocketId, Time},
    },
    table::happening::{EventName, Happened, Happening, Notice},
    text::{count::counted, duration::seconds, wall_time::WallTime},
};
use serde::{Deserialize, Serialize};

/// An event as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRow {
    /// When it happened.
    #[serde(flatten)]
    pub time: WallTime,
    /// The time in seconds of `CLOCK_MONOTONIC`.
    pub monotonic_seconds: f64,
    /// The kind of event.
    pub event: EventName,
    /// The process that owns the connection; of `setting` the one that called. Empty if it is not known.
    pub owners: Vec<RowOwner>,
    /// The meaning in words.
    pub meaning: String,
    /// Fields that only some events have.
    #[serde(flatten)]
    pub details: EventDetails,
    /// The connection at the time of the event.
    #[serde(flatten)]
    pub connection: Connection,
}

/// Fields that only some events have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventDetails {
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
    /// `setting`, by another process: the one that has the connection open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<RowOwner>,
    /// `changed`: the own value before, 0 is unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// `changed`: the own value now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
    /// `probe_sent`: its number since the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<u8>,
    /// `probe_answered`: how many probes in a row were unanswered before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered_before: Option<u8>,
    /// `data_answered`: for how long the data had gone unanswered, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_unanswered_seconds: Option<f64>,
    /// `timer_fired`: what it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Fire>,
    /// `verdict_changed`: what it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict_before: Option<Verdict>,
    /// `died`: the cause of death.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// `died`: how that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certainty: Option<Certainty>,
    /// `died`: the error that the application got, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// `died`: what says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// `died`: since it was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<f64>,
    /// `died`: the number of other connections to the same peer that were answered at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others_answered: Option<u32>,
    /// `died`: the number of others to the same peer that had not been quiet, and got no answer any more either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others_silent: Option<u32>,
    /// `died`: since data was sent or received last, until then or until the FIN of a peer that closed it; probes and their answers
    /// carry none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_data_seconds: Option<f64>,
    /// `died`: that a path which forgot it explains that best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<bool>,
    /// `died`, cause `abandoned`: the silence after which this host closed it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_after_seconds: Option<f64>,
    /// `died`: since this host closed it while its last data, or probes, were unanswered, if it did and that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_up_seconds: Option<f64>,
    /// `died`: for how long this host tried, and could not send, what was never answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsent_seconds: Option<f64>,
    /// `died`, cause `abandoned`: that the peer had spoken last, and only the FIN went unanswered: no request was, unless the answer was not whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_spoke_last: Option<bool>,
    /// `died`, with data that was never taken: how long before the end, or before this host closed it, the peer was heard all the
    /// same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_seconds: Option<f64>,
    /// `ended`, by this host: since it sent its last data, if the peer acknowledged that and sent none since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreplied_seconds: Option<f64>,
    /// `died`: over its life, as far as seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes_sent: Option<u32>,
    /// `died`: what its process showed of itself, as far as the agent may see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clues: Option<Traces>,
}

impl EventRow {
    /// The row of a happening at `time`.
    pub fn new(happening: &Happening, time: WallTime, around: &Surroundings) -> Self {
        let Happening { socket, what, identity, .. } = happening;
        let mut connection = Connection::new(socket, identity.as_deref(), around, socket.at);
        if socket.id == SocketId::default() {
            connection.id = None;
        }
        // One that is opened has a peer, also at port 0.
        let may_have_none = !matches!(what, Happened::Opened | Happened::Died(_));
        if socket.remote.port == 0 && may_have_none {
            (connection.direction, connection.verdict) = (None, None);
            connection.condition = None;
        }
        let mut details = EventDetails::default();
        match what {
            Happened::Opened | Happened::GivenUp => {}
            Happened::ProbeSent => details.probe = Some(socket.probes_unanswered),
            Happened::Setting(call) => {
                details.option = Some(call.option);
                details.value = call.value;
                details.result = Some(call.result());
                details.when = Some(call.when);
                details.holder = happening.holder.as_ref().map(|it| RowOwner::from(&it.owner));
            }
            Happened::Changed { option, from, to } => {
                details.option = Some(*option);
                (details.from, details.to) = (Some(*from), Some(*to));
            }
            Happened::ProbeAnswered { unanswered } => details.unanswered_before = Some(*unanswered),
            Happened::TimerFired(outcome) => details.outcome = Some(*outcome),
            Happened::VerdictChanged { from, .. } => details.verdict_before = Some(*from),
            Happened::QuietSurvived { quiet_ms } => connection.quiet_seconds = seconds(*quiet_ms),
            Happened::DataAnswered { unanswered_ms } => {
                details.data_unanswered_seconds = Some(seconds(*unanswered_ms));
            }
            Happened::Died(death) => {
                connection.quiet_seconds = seconds(death.quiet_ms);
                connection.state = death.old;
                connection.condition = None;
                connection.retransmits = connection.retransmits.max(death.ending.retransmits);
                connection.in_flight = death.ending.has_unsent() || death.unanswered_ms().is_some();
                details.cause = Some(death.cause);
                details.certainty = Some(death.certainty);
                let errno = death.ending.errno;
                details.errno = (errno != 0).then(|| errno_name(errno));
                details.evidence = Some(death.evidence(socket));
                details.age_seconds = death.age_ms.map(seconds);
                (details.others_answered, details.others_silent) = match death.others {
                    Others::Answered(n) => (Some(n), None),
                    Others::Silent(n) => (None, Some(n)),
                    Others::HostAnswered(_) | Others::Unknown => (None, None),
                };
                // After the peer's FIN none could come.
                let closed = socket.peer_closed.filter(|_| death.cause == Cause::PeerClosed);
                let closed_ms = closed.map_or(0, |closed| closed.ms);
                let without_data = death.ending.without_data_ms();
                details.without_data_seconds =
                    without_data.map(|ms| seconds(ms.saturating_sub(closed_ms)));
                details.forgotten = Some(death.is_forgotten(socket));
                details.closed_after_seconds = death.closed_after_ms().map(seconds);
                details.unsent_seconds = death.unsent_ms(socket).map(seconds);
                details.peer_spoke_last = Some(death.peer_spoke_last(socket));
                details.heard_seconds = death.heard_ms(socket).map(seconds);
                details.unreplied_seconds = death.unreplied_ms(socket).map(seconds);
                details.given_up_seconds = death.given_up.map(|it| seconds(it.ago_ms));
                connection.silent_seconds = seconds(death.silent_ms);
                details.probes_sent = Some(death.probes_sent);
            }
        }
        Self {
            time,
            monotonic_seconds: happening.at.seconds(),
            event: what.name(),
            owners: socket.owner.iter().map(RowOwner::from).collect(),
            meaning: meaning(happening, around),
            details,
            connection,
        }
    }
}

/// A notice as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NoticeRow {
    /// When it happened.
    #[serde(flatten)]
    pub time: WallTime,
    /// The time in seconds of `CLOCK_MONOTONIC`.
    pub monotonic_seconds: f64,
    /// The kind of event.
    pub event: EventName,
    /// The meaning in words.
    pub meaning: String,
    /// `lost`: events that found no room, or could not be decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// `lost`: runs of hooks on this host that the kernel skipped; each may have been an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
    /// `resynchronised`: how many sockets there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<u64>,
    /// `resynchronised`: how many were gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<u64>,
}

impl NoticeRow {
    /// The row of a notice.
    pub(crate) fn new(notice: Notice, now: Time, time: WallTime) -> Self {
        let monotonic_seconds = now.seconds();
        match notice {
            Notice::Lost { events, skipped } => Self {
                time,
                monotonic_seconds,
                event: EventName::Lost,
                meaning: lost(events, skipped),
                events: Some(events),
                skipped: Some(skipped),
                sockets: None,
                pruned: None,
            },
            Notice::Resynchronised { sockets, pruned } => Self {
                time,
                monotonic_seconds,
                event: EventName::Resynchronised,
                meaning: format!(
                    "after the loss every socket was read anew: {sockets} there, {pruned} gone unseen"
                ),
                events: None,
                skipped: None,
                sockets: Some(sockets),
                pruned: Some(pruned),
            },
        }
    }
}

fn lost(events: u64, skipped: u64) -> String {
    let lost = (events > 0).then(|| {
        let were = if events == 1 { "was" } else { "were" };
        format!("{} {were} lost: the totals stay exact", counted(events, "event"))
    });
    let may_be_lost = (skipped > 0).then(|| {
        let runs = counted(skipped, "run");
        format!("the kernel skipped {runs} of hooks on this host: events may be missing")
    });
    lost.into_iter().chain(may_be_lost).collect::<Vec<_>>().join("; ")
}

/// One line of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum StreamLine {
    /// An event of one connection.
    Event(Box<EventRow>),
    /// A message about the stream itself, like a loss.
    Notice(NoticeRow),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            judgement::death::Cause,
            observed::{
                ending::{Ending, Unacked},
                peer_closed::PeerClosed,
                socket::{Socket, State},
            },
        },
        view::life::tests_support::{RESET, app, around, died_from},
    };

    #[test]
    fn the_time_without_data_ends_when_the_peer_closes_and_not_at_the_probe_that_finds_it_gone() {
        let ms = Some(110_000);
        let ending =
            Ending { unacked: Unacked::Nothing, sent_ms: ms, received_data_ms: ms, ..RESET };
        let told = |peer_closed, old| {
            let socket = Socket { peer_closed, ..app(1, Some(30), 60_000) };
            let details = died_from(&socket, old, ending).details;
            (details.cause, details.without_data_seconds)
        };
        let closed = Some(PeerClosed { ms: 60_000, is_seen: true });
        assert_eq!(told(closed, State::CloseWait), (Some(Cause::PeerClosed), Some(50.0)));
        assert_eq!(told(None, State::CloseWait).1, Some(110.0));
        assert_eq!(told(None, State::Established), (Some(Cause::PeerReset), Some(110.0)));
    }

    #[test]
    fn an_event_with_details_is_read_back_as_the_event_that_it_was() {
        // A detail with the name of a fact of connections would make it unreadable.
        for what in [
            Happened::Opened,
            Happened::ProbeSent,
            Happened::ProbeAnswered { unanswered: 3 },
            Happened::QuietSurvived { quiet_ms: 60_000 },
            Happened::DataAnswered { unanswered_ms: 59_000 },
            Happened::VerdictChanged { from: Verdict::Off, to: Verdict::Protected },
            Happened::GivenUp,
        ] {
            let socket = app(1, Some(60), 0);
            let row = EventRow::new(
                &Happening::new(socket.at, socket, what),
                WallTime::default(),
                &around(),
            );
            let json = serde_json::to_string(&row).unwrap();
            let read: StreamLine = serde_json::from_str(&json).unwrap();
            assert_eq!(read, StreamLine::Event(Box::new(row)), "{what:?}");
        }
    }
}
