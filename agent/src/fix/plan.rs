//! What would be set on a connection, or why it is left alone: from its row, and from what was learned of its path. The values
//! are those that `why` proposes.

use super::known::{KnownPaths, ValueOrigin, constraints};
use crate::{
    advice::Proposal,
    kernel::borrowed_socket::SocketOptions,
    model::{
        judgement::{idle_limit::is_kept_over, limit_source::LimitSource, verdict::Verdict},
        observed::{probe_timing::timer_wheel::with_slack, socket::State},
        text::closed_set::closed_set,
    },
    view::{
        connection::{Connection, RowOwner, ms},
        row::Row,
    },
};

closed_set! {
    /// Why a connection is left as it is.
    pub(crate) enum LeftAlone {
        /// Its probes come in time.
        Protected = "protected",
        /// Its probes come in time for the limit that was set, and later than what killed others to its peer.
        ProtectedAsSet = "protected_as_set",
        /// The peer's probes, or traffic, keep it.
        Kept = "kept",
        /// The peer is on this host.
        Local = "local",
        /// It is one of keepwatch itself, which measures a path by it.
        Keepwatch = "of_keepwatch",
        /// It is being opened or closed.
        NotEstablished = "not_established",
        /// Its path is kept by bytes, and probes bring none.
        CountsBytes = "path_counts_bytes",
        /// No time that the kernel knows is shorter than its limit.
        LimitTooShort = "limit_too_short",
        /// Its user timeout would end it after a single lost probe.
        UserTimeout = "user_timeout",
        /// Its program has had it for too short a time: it may set it yet.
        InGrace = "in_grace",
    }
}

impl LeftAlone {
    /// The reason in words, after "left alone: N".
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Protected => "protected already",
            Self::ProtectedAsSet => {
                "protected by the limit that was set for the path, but others there got no answer any more after less quiet than \
                 their probes leave: see `keepwatch why`, and set the limit"
            }
            Self::Kept => "kept by traffic or by the peer's probes",
            Self::Local => "with a peer on this host",
            Self::Keepwatch => "of keepwatch itself, which measures by them",
            Self::NotEstablished => "being opened or closed",
            Self::CountsBytes => "on a path that counts bytes: probes bring none",
            Self::LimitTooShort => "on a path whose limit is shorter than any keepalive",
            Self::UserTimeout => "with a user timeout that would end it after a single lost probe",
            Self::InGrace => "too young: the program may set it yet",
        }
    }
}

/// What a person wants at most; the path may demand less.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MostValues {
    /// Silence before the first probe, seconds.
    pub(crate) idle: Option<u32>,
    /// Time between two probes, seconds.
    pub(crate) interval: Option<u32>,
    /// Probes that may go unanswered, where the program has set no number.
    pub(crate) count: Option<u32>,
}

/// What a connection gets, of the kind that getsockopt answers, and where that comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedOptions {
    pub(crate) options: SocketOptions,
    /// What the first probe has to come before, in words.
    pub(crate) origin: String,
}

/// What values follow that were asked for.
const ASKED_FOR: &str = "what was asked for";

/// Why a connection is left alone whatever is known of its path.
pub(crate) fn left_at_sight(row: &Row) -> Option<LeftAlone> {
    let connection = &row.connection;
    // A program that starts keepwatch shares its descriptors with it for a moment.
    let is_ours = |owner: &RowOwner| owner.process == env!("CARGO_PKG_NAME");
    if !row.owners.is_empty() && row.owners.iter().all(is_ours) {
        return Some(LeftAlone::Keepwatch);
    }
    match row.verdict() {
        // Others there may have died of less.
        Verdict::Protected => None,
        Verdict::Kept => Some(LeftAlone::Kept),
        Verdict::Local => Some(LeftAlone::Local),
        Verdict::Off | Verdict::Late => left_by_state(connection),
    }
}

/// Why no probe helps it.
fn left_by_state(connection: &Connection) -> Option<LeftAlone> {
    if connection.state != State::Established {
        Some(LeftAlone::NotEstablished)
    } else if connection.limit.idle_limit_from.counts_bytes() {
        Some(LeftAlone::CountsBytes)
    } else {
        None
    }
}

/// The options that `row` shall have; or why it is left alone. `paths`: what is known of its path by experience. A limit that
/// is only assumed does not speak against experience; one that was set does.
pub(crate) fn plan(
    row: &Row,
    paths: &KnownPaths,
    most: MostValues,
    hz: u32,
) -> Result<PlannedOptions, LeftAlone> {
    let connection = &row.connection;
    if let Some(why) = left_at_sight(row) {
        return Err(why);
    }
    if row.verdict() == Verdict::Protected {
        if paths.killed_sooner(connection).is_none() {
            return Err(LeftAlone::Protected);
        }
        if is_set(&connection.limit.idle_limit_from) {
            return Err(LeftAlone::ProtectedAsSet);
        }
        if let Some(why) = left_by_state(connection) {
            return Err(why);
        }
    }
    let learned = paths.learned.of(connection);
    let evidence = paths.neighbours.evidence(connection);
    let known = constraints(connection, learned, &evidence);
    let fitting = Proposal::fitting(&known);
    let proposal = most.lower(fitting, known.own.count > 0);
    if proposal.is_cut_short_by(known.own.user_timeout_ms) {
        return Err(LeftAlone::UserTimeout);
    }
    let gap_ms = with_slack(u64::from(proposal.idle.max(proposal.interval)) * 1000, hz);
    let limit = &connection.limit;
    let is_killed = known.killed.is_some_and(|killed| gap_ms >= ms(killed));
    if is_killed || !is_kept_over(gap_ms, limit.idle_kept_seconds, limit.idle_limit_seconds) {
        return Err(LeftAlone::LimitTooShort);
    }
    let Proposal { idle: idle_seconds, interval: interval_seconds, count } = proposal;
    let options = SocketOptions { keepalive: true, idle_seconds, interval_seconds, count };
    let origin = if proposal == fitting {
        ValueOrigin::of(&known).in_words(connection, &known, learned, &evidence)
    } else {
        ASKED_FOR.to_owned()
    };
    Ok(PlannedOptions { options, origin })
}

/// Whether somebody gave a limit.
const fn is_set(from: &LimitSource) -> bool {
    matches!(from, LimitSource::Given { .. } | LimitSource::Other(_))
}

/// The options of a row as getsockopt would answer them.
pub(crate) const fn options(connection: &Connection) -> SocketOptions {
    let settings = &connection.settings;
    SocketOptions {
        keepalive: settings.keepalive,
        idle_seconds: settings.idle.seconds,
        interval_seconds: settings.interval.seconds,
        count: settings.count.probes,
    }
}

impl MostValues {
    /// A proposal with no more than these. The number of probes is as wanted, unless the program has set one.
    fn lower(self, to: Proposal, is_count_set: bool) -> Proposal {
        let at_most = |value: u32, wanted: Option<u32>| value.min(wanted.unwrap_or(value)).max(1);
        let count = self.count.filter(|_| !is_count_set).unwrap_or(to.count);
        Proposal {
            idle: at_most(to.idle, self.idle),
            interval: at_most(to.interval, self.interval),
            count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::known::LearnedPaths;
    use crate::model::{
        judgement::{
            idle_limit::{IdleLimit, Limits},
            learned::{LearnedRow, LimitRow, tests_support::limit_row},
            learned_limit::Confidence,
            verdict::Surroundings,
        },
        observed::{
            setting::OwnSettings,
            socket::{Socket, tests_support::socket},
        },
    };

    const HZ: u32 = 250;

    fn row(socket: &Socket, limit_seconds: u32) -> Row {
        let limits =
            Limits::new(Vec::new(), IdleLimit { seconds: limit_seconds, preset: None }, true);
        let around = Surroundings::new(limits, HZ);
        Row::new(socket, [], None, &around, socket.at)
    }

    type Planned = Result<PlannedOptions, LeftAlone>;

    fn of(socket: Socket, limit_seconds: u32) -> Planned {
        let learned = KnownPaths::default();
        plan(&row(&socket, limit_seconds), &learned, MostValues::default(), HZ)
    }

    fn values(of: Planned) -> (u32, u32, u32) {
        let it = of.unwrap().options;
        assert!(it.keepalive);
        (it.idle_seconds, it.interval_seconds, it.count)
    }

    fn with(keepalive: bool, own: OwnSettings) -> Socket {
        Socket { own, keepalive, ..socket() }
    }

    #[test]
    fn the_first_probe_goes_out_at_half_the_limit() {
        assert_eq!(values(of(socket(), 350)), (60, 10, 3));
        assert_eq!(values(of(socket(), 45)), (22, 10, 3));
        assert_eq!(of(socket(), 1), Err(LeftAlone::LimitTooShort));
    }

    #[test]
    fn what_only_keepwatch_has_is_left_alone() {
        let plan_of = |names: &[&str]| {
            let mut row = row(&socket(), 350);
            let owner = |name: &&str| RowOwner { pid: 1, process: (*name).to_owned(), fd: Some(3) };
            row.owners = names.iter().map(owner).collect();
            plan(&row, &KnownPaths::default(), MostValues::default(), HZ)
        };
        assert_eq!(plan_of(&["keepwatch"]), Err(LeftAlone::Keepwatch), "a measurement");
        assert!(plan_of(&["app", "keepwatch"]).is_ok(), "app has just started it");
        assert!(plan_of(&[]).is_ok());
    }

    #[test]
    fn what_the_program_set_is_never_raised() {
        let own = OwnSettings {
            idle_seconds: 15,
            interval_seconds: 4,
            count: 2,
            ..OwnSettings::default()
        };
        assert_eq!(values(of(with(false, own), 350)), (15, 4, 2), "it forgot the flag");
        let late = OwnSettings {
            idle_seconds: 10,
            interval_seconds: 60,
            count: 5,
            ..OwnSettings::default()
        };
        assert_eq!(values(of(with(true, late), 45)), (10, 10, 5), "its interval is the gap");
        assert_eq!(of(with(true, own), 350), Err(LeftAlone::Protected));
    }

    #[test]
    fn a_user_timeout_stays_and_no_single_lost_probe_may_kill() {
        let own = OwnSettings { user_timeout_ms: 30_000, ..OwnSettings::default() };
        assert_eq!(values(of(with(false, own), 350)), (10, 10, 3));
        let short = OwnSettings { user_timeout_ms: 2_000, ..OwnSettings::default() };
        assert_eq!(of(with(false, short), 350), Err(LeftAlone::UserTimeout));
    }

    fn learned(remote: &str, netns: Option<u32>, confidence: Confidence) -> KnownPaths {
        let row = LimitRow { remote: remote.to_owned(), netns, confidence, ..limit_row() };
        let learned = LearnedPaths::new(vec![LearnedRow::PathLimit(row)], Some(socket().netns));
        KnownPaths { learned, ..KnownPaths::default() }
    }

    #[test]
    fn a_path_that_was_learned_to_forget_sooner_is_obeyed_as_why_does() {
        let peer = socket().remote.socket_addr().to_string();
        let planned = |socket: &Socket, learned: &KnownPaths| {
            plan(&row(socket, 350), learned, MostValues::default(), HZ)
        };
        for confidence in [Confidence::Guess, Confidence::Likely] {
            let known = learned(&peer, None, confidence);
            let got = planned(&socket(), &known);
            let expected = format!(
                "what was learned of {peer}: quiet connections are dropped between 11 s and 38 s"
            );
            assert_eq!(got.as_ref().unwrap().origin, expected);
            assert_eq!(values(got), (9, 9, 3));
        }
        // What was learned elsewhere, of the same address in another namespace, or of nothing.
        let elsewhere = learned("172.16.0.99:2717", None, Confidence::Likely);
        let foreign = learned(&peer, Some(7), Confidence::Likely);
        for known in [elsewhere, foreign, KnownPaths::default()] {
            let got = planned(&socket(), &known);
            assert_eq!(got.as_ref().unwrap().origin, "the limit of 5 min 50 s (configured)");
            assert_eq!(values(got), (60, 10, 3));
        }
        // A user timeout asks for less still.
        let own = OwnSettings { user_timeout_ms: 9_000, ..OwnSettings::default() };
        let got = planned(&with(false, own), &learned(&peer, None, Confidence::Likely));
        assert!(got.as_ref().unwrap().origin.starts_with("the user timeout of 9.0 s:"), "{got:?}");
        assert_eq!(values(got), (3, 3, 3));
    }

    #[test]
    fn what_no_probe_helps_is_left_alone() {
        let closing = Socket { state: State::CloseWait, ..socket() };
        assert_eq!(of(closing, 350), Err(LeftAlone::NotEstablished));
        let limits = |preset| {
            Limits::new(Vec::new(), IdleLimit { seconds: 600, preset: Some(preset) }, true)
        };
        let around = |preset| {
            let by_flag = Some(crate::model::judgement::limit_source::GivenBy::Flag);
            Surroundings::new(limits(preset).given_by(by_flag, None), HZ)
        };
        let planned = |preset| {
            let row = Row::new(&socket(), [], None, &around(preset), socket().at);
            plan(&row, &KnownPaths::default(), MostValues::default(), HZ)
        };
        assert_eq!(planned("nginx-stream"), Err(LeftAlone::CountsBytes));
        assert!(planned("gcp").is_ok());
    }

    #[test]
    fn a_person_can_ask_for_less_and_not_for_more() {
        let row = row(&socket(), 45);
        let learned = KnownPaths::default();
        let planned = |idle, interval, count| {
            let most =
                MostValues { idle: Some(idle), interval: Some(interval), count: Some(count) };
            plan(&row, &learned, most, HZ)
        };
        let origin = |idle, count| planned(idle, 300, count).unwrap().origin;
        assert_eq!(values(planned(10, 5, 6)), (10, 5, 6));
        assert_eq!(values(planned(300, 300, 6)), (22, 10, 6));
        assert_eq!((origin(10, 3), origin(300, 6)), (ASKED_FOR.to_owned(), ASKED_FOR.to_owned()));
        assert_eq!(origin(300, 3), "the limit of 45 s (configured)");
    }
}
