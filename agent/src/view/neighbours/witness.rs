//! What one connection shows of its peer: when it heard it last, and since when it gets no answer; and what several of
//! them show together: a silence that nobody was heard in.

use super::{AtPeer, Neighbours};
use crate::{
    model::{
        judgement::{death::MIDDLEBOX_MS, facts::ConnectionFacts as _},
        observed::socket::State,
        text::{duration::seconds, wall_time::unix_seconds},
    },
    view::{
        connection::Connection,
        connection_group::ConnectionGroup,
        life::{Finding, Life},
    },
};

/// What comes in later than this after something went out shows that the peer lives: clocks of timers are coarse, and an
/// answer may be on its way.
pub(crate) const ANSWER_SECONDS: f64 = 2.0;

/// What one connection shows of its peer; times are Unix times.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PeerWitness {
    /// When it was opened, if that was seen.
    pub(crate) opened: Option<f64>,
    /// When the last packet of the peer came; none if none ever did.
    pub(crate) heard: Option<f64>,
    /// What it sent and nobody answered.
    pub(crate) unanswered: Option<UnansweredSince>,
    /// When it ended.
    pub(crate) ended: Option<f64>,
    /// Of one that gets answers now: how it went on.
    pub(crate) busy: Option<BusyTime>,
}

/// A time in which a connection went on all the time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BusyTime {
    /// When that began: Unix time.
    pub(crate) since: f64,
    /// The peer was never silent for longer, seconds.
    pub(crate) longest_silence: f64,
    /// It had to repeat for long, nobody knows when.
    pub(crate) has_repeated: bool,
}

/// What one connection sent and nobody answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct UnansweredSince {
    /// When the first of it went out: Unix time.
    pub(crate) since: f64,
    /// No limit explains it: it had gone on after as long a quiet time before, or others fell silent with it.
    pub(crate) is_outage: bool,
    /// It ended alone: the path had forgotten it, or others were answered meanwhile. The peer was not gone.
    pub(crate) is_alone: bool,
}

impl PeerWitness {
    /// What a connection shows. `now`: Unix time, of what is not dated itself.
    pub(crate) fn of(life: &Life, now: f64) -> Self {
        let now = life.read_at.unwrap_or(now);
        let opened = life.opened_at.as_deref().and_then(unix_seconds);
        if let Some(end) = &life.end {
            let heard = end.last_packet_at.as_deref().and_then(unix_seconds);
            let ended = unix_seconds(&end.at);
            let is_outage = end.others_silent.is_some_and(|n| n > 0);
            let unanswered = ended.and_then(|ended| fell_silent(life, ended));
            let is_alone = life.finding() == Finding::Dropped || end.others_answered.is_some();
            let unanswered = unanswered.map(|since| UnansweredSince { since, is_outage, is_alone });
            return Self { opened, heard, unanswered, ended, busy: None };
        }
        let connection = &life.connection;
        // A connection that is not there yet has heard nobody.
        let heard = (connection.state != State::SynSent).then_some(now - connection.silent_seconds);
        // What a peer that has closed does not answer shows nothing.
        let since = quiet_before(life).and(connection.condition_seconds);
        let since = since.filter(|_| !connection.is_closed_by_peer());
        let unanswered = since.map(|since| UnansweredSince {
            since: now - since,
            is_outage: no_limit_explains(life)
                && connection.silent_seconds + ANSWER_SECONDS > since,
            is_alone: false,
        });
        let busy = unanswered.is_none().then_some(BusyTime {
            since: now - connection.watched_seconds,
            longest_silence: connection.longest_silence_seconds,
            has_repeated: connection.watched().has_repeated(),
        });
        Self { opened, heard, unanswered, ended: None, busy }
    }

    /// Whether it heard the peer clearly after it had sent what is not answered: the peer is there, and did not get that.
    pub(crate) fn is_heard_although_unanswered(&self) -> bool {
        let heard = self.heard.zip(self.unanswered);
        heard.is_some_and(|(heard, unanswered)| heard > unanswered.since + ANSWER_SECONDS)
    }

    /// Whether it is known to have heard the peer between these times.
    pub(super) fn was_heard_between(&self, from: f64, until: f64) -> bool {
        let is_between = |at: f64| at > from + ANSWER_SECONDS && at <= until;
        let went_on = |busy: BusyTime| {
            !busy.has_repeated
                && busy.since <= from
                && busy.longest_silence + ANSWER_SECONDS < until - from
        };
        [self.heard, self.opened].into_iter().flatten().any(is_between)
            || self.heard.is_some_and(|heard| heard > until) && self.busy.is_some_and(went_on)
    }

    /// Whether it was there at that time, gets answers, and heard the peer after it: a peer that was gone then would have
    /// said nothing.
    pub(super) fn is_answer_to(&self, asked: f64) -> bool {
        let was_there = self.opened.is_none_or(|opened| opened <= asked);
        was_there && self.heard.is_some_and(|heard| heard > asked + ANSWER_SECONDS)
    }
}

/// A time in which some got no answer, and nobody was heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Silence {
    /// The last packet before it, of any: Unix time.
    pub(crate) heard_until: Option<f64>,
    /// When the first was sent that was never answered: Unix time.
    pub(crate) since: f64,
    /// No limit explains it for one of them at least: the peer or the path is gone for all.
    pub(crate) is_outage: bool,
}

impl Silence {
    /// The silence that lasts, if there is one. What hung before somebody was heard is not of it.
    pub(crate) fn of(witnesses: &[PeerWitness]) -> Option<Self> {
        let heard = witnesses.iter().filter_map(|it| it.heard).max_by(f64::total_cmp);
        let is_later = |since: f64| heard.is_none_or(|heard| heard <= since + ANSWER_SECONDS);
        let of_it = || {
            let unanswered = witnesses.iter().filter_map(|it| it.unanswered);
            unanswered.filter(|it| !it.is_alone && is_later(it.since))
        };
        let since = of_it().map(|it| it.since).min_by(f64::total_cmp)?;
        Some(Self {
            heard_until: heard.map(|heard| heard.min(since)),
            since,
            is_outage: of_it().any(|it| it.is_outage),
        })
    }

    /// Whether a connection got no answer in it, and none since.
    pub(super) fn is_met_by(&self, life: &Life, now: f64) -> bool {
        let unanswered = PeerWitness::of(life, now).unanswered;
        unanswered.is_some_and(|it| it.since >= self.since)
    }
}

impl Neighbours {
    /// Whether all that hang of a case were repeated after somebody had heard the peer again, and got no answer: they are
    /// forgotten. The wait before a repetition doubles, up to `rto_max_ms` (`tcp_retransmit_timer` in net/ipv4/tcp_timer.c), so the
    /// last one went out in the second half of the time.
    pub(crate) fn is_forgotten(&self, case: &ConnectionGroup) -> bool {
        const LONGEST_WAIT_SECONDS: f64 = 120.0;
        let hang = || case.of(case.finding()).filter(|life| life.end.is_none());
        let is_repeated = |at: &AtPeer, life: &Life| {
            let witness = PeerWitness::of(life, self.now);
            let unanswered = witness.unanswered.filter(|_| !witness.is_heard_although_unanswered());
            unanswered.is_some_and(|UnansweredSince { since, .. }| {
                let lasts = life.read_at.unwrap_or(self.now) - since;
                let last_sent = (lasts / 2.0 - ANSWER_SECONDS).max(lasts - LONGEST_WAIT_SECONDS);
                at.witnesses.iter().any(|it| it.was_heard_between(since, since + last_sent))
            })
        };
        let at = [self.at(case), self.at_host(case)];
        hang().next().is_some()
            && at.into_iter().flatten().any(|at| hang().all(|life| is_repeated(at, life)))
    }
}

/// What falls silent within this time may do so together.
const TOGETHER_SECONDS: f64 = 60.0;

/// Whether what was sent at a moment met an outage, over or not: another one fell silent about then, no limit explains that, and
/// nobody was heard in between. Nor was anybody within the time after it in which a path forgets nothing.
pub(super) fn met_outage(witnesses: &[PeerWitness], at: f64) -> bool {
    let was_heard_between =
        |from: f64, until: f64| witnesses.iter().any(|it| it.was_heard_between(from, until));
    let outages = witnesses.iter().filter_map(|it| it.unanswered);
    outages.filter(|it| it.is_outage && !it.is_alone).any(|it| {
        (it.since - at).abs() <= TOGETHER_SECONDS
            && !was_heard_between(it.since.min(at), it.since.max(at))
            && !was_heard_between(it.since, it.since + seconds(MIDDLEBOX_MS))
    })
}

/// The process of a connection: name and id.
pub(super) fn whose(life: &Life) -> (String, u32) {
    let owner = life.owner().map(|owner| (owner.process.clone(), owner.pid));
    owner.unwrap_or_else(|| ("a program that has ended".to_owned(), 0))
}

/// Of one that hangs now: the quiet time before that, seconds.
pub(crate) fn quiet_before(life: &Life) -> Option<f64> {
    let connection = &life.connection;
    // Before a window was probed in vain it was probed with success.
    let hangs = !connection.is_held_back()
        && matches!(life.finding(), Finding::Stuck | Finding::GivenUp | Finding::PeerSilent);
    connection.condition_seconds.filter(|_| hangs).map(|since| connection.silent_seconds - since)
}

/// It hangs, and no idle limit explains that: the quiet time before was too short for any, or it had gone on after as long a
/// one before.
fn no_limit_explains(life: &Life) -> bool {
    hangs_after_a_moment(life) || hangs_although_it_went_on_before(life)
}

/// It hangs after less quiet than any device forgets after, as far as the limits that are in force tell.
pub(crate) fn hangs_after_a_moment(life: &Life) -> bool {
    const CLEARLY: f64 = 0.8;
    let limit = f64::from(life.connection.limit.idle_limit_seconds);
    let least = (CLEARLY * limit).min(seconds(MIDDLEBOX_MS));
    quiet_before(life).is_some_and(|quiet| quiet < least)
}

/// It hangs, and had gone on after as long a quiet time before.
fn hangs_although_it_went_on_before(life: &Life) -> bool {
    /// The first repetition comes a moment after the data.
    const MOMENT_SECONDS: f64 = 0.5;
    let connection = &life.connection;
    quiet_before(life).is_some_and(|quiet| {
        quiet <= 1.1 * connection.longest_quiet_seconds + MOMENT_SECONDS
            && connection.watched_seconds > 3.0 * quiet
    })
}

/// Of one that was lost because nobody answered: when the first was sent that nobody answered, Unix time.
fn fell_silent(life: &Life, ended: f64) -> Option<f64> {
    let is_it = matches!(life.finding(), Finding::Dark | Finding::Dropped);
    let end = life.end.as_ref().filter(|_| is_it)?;
    if let Some(since) = &end.unanswered_since {
        return unix_seconds(since);
    }
    let heard = end.last_packet_at.as_deref().and_then(unix_seconds)?;
    let Connection { settings, .. } = &life.connection;
    let is_probed = life.connection.probes_unanswered > 0;
    let quiet = match life.quiet_before_probe() {
        Some(quiet) => seconds(quiet.ms),
        None if is_probed => f64::from(settings.idle.seconds),
        None => 0.0,
    };
    Some((heard + quiet).min(ended))
}
