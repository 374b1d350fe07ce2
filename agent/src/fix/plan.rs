//! What would be set on a connection, or why it is left alone: from its row alone.

use crate::{
    advice::{Constraints, Proposal},
    kernel::borrowed_socket::SocketOptions,
    model::{
        judgement::{gap::with_slack, idle_limit::is_kept_over, verdict::Verdict},
        observed::{setting::OwnValues, socket::State},
        text::closed_set::closed_set,
    },
    view::{connection::Connection, row::Row},
};

closed_set! {
    /// Why a connection is left as it is.
    pub(crate) enum LeftAlone {
        /// Its probes come in time.
        Protected = "protected",
        /// The peer's probes, or traffic, keep it.
        Kept = "kept",
        /// The peer is on this host.
        Local = "local",
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
            Self::Kept => "kept by traffic or by the peer's probes",
            Self::Local => "with a peer on this host",
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

/// The options that `row` shall have, of the kind that getsockopt answers; or why it is left alone.
pub(crate) fn plan(row: &Row, most: MostValues, hz: u32) -> Result<SocketOptions, LeftAlone> {
    let connection = &row.connection;
    match row.verdict() {
        Verdict::Protected => return Err(LeftAlone::Protected),
        Verdict::Kept => return Err(LeftAlone::Kept),
        Verdict::Local => return Err(LeftAlone::Local),
        Verdict::Off | Verdict::Late => {}
    }
    if connection.state != State::Established {
        return Err(LeftAlone::NotEstablished);
    }
    if connection.limit.idle_limit_from.counts_bytes() {
        return Err(LeftAlone::CountsBytes);
    }
    let new = values(connection, most)?;
    let gap_ms = with_slack(u64::from(new.idle_seconds.max(new.interval_seconds)) * 1000, hz);
    let limit = &connection.limit;
    if !is_kept_over(gap_ms, limit.idle_kept_seconds, limit.idle_limit_seconds) {
        return Err(LeftAlone::LimitTooShort);
    }
    Ok(new)
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

/// The first probe, and each one after it, at half the time that the path keeps it at the latest; nothing that the program
/// set is raised.
fn values(connection: &Connection, most: MostValues) -> Result<SocketOptions, LeftAlone> {
    let now = options(connection);
    let settings = &connection.settings;
    let own: OwnValues = settings.own();
    let known = Constraints {
        limit: connection.limit.idle_kept_seconds,
        now: now.keepalive.then_some(Proposal {
            idle: now.idle_seconds,
            interval: now.interval_seconds,
            count: now.count,
        }),
        ..Constraints::default()
    };
    let fitting = Proposal::fitting(&known);
    let at_most = |value: u32, own: u32, wanted: Option<u32>| {
        let own = if own == 0 { u32::MAX } else { own };
        value.min(own).min(wanted.unwrap_or(u32::MAX)).max(1)
    };
    let mut idle = at_most(fitting.idle, own.idle, most.idle);
    let mut interval = at_most(fitting.interval, own.interval, most.interval);
    // A number that the program set is its own; with a user timeout the number counts for nothing.
    let is_set = own.count != 0 || settings.user_timeout_ms != 0;
    let count = if is_set { now.count } else { most.count.unwrap_or(fitting.count) };
    if settings.user_timeout_ms != 0 {
        // A second probe must fit between the first one and the timeout (`tcp_keepalive_timer`).
        let third = settings.user_timeout_ms / 3000;
        if third == 0 {
            return Err(LeftAlone::UserTimeout);
        }
        (idle, interval) = (idle.min(third), interval.min(third));
    }
    Ok(SocketOptions { keepalive: true, idle_seconds: idle, interval_seconds: interval, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::{
            idle_limit::{IdleLimit, Limits},
            verdict::Surroundings,
        },
        observed::{
            setting::OwnSettings,
            socket::{Socket, tests_support::socket},
        },
    };

    const HZ: u32 = 250;

    fn of(socket: Socket, limit_seconds: u32) -> Result<SocketOptions, LeftAlone> {
        let limits =
            Limits::new(Vec::new(), IdleLimit { seconds: limit_seconds, preset: None }, true);
        let around = Surroundings { limits, host: std::collections::BTreeSet::new(), hz: HZ };
        plan(&Row::new(&socket, [], None, &around, socket.at), MostValues::default(), HZ)
    }

    fn values(of: Result<SocketOptions, LeftAlone>) -> (u32, u32, u32) {
        let it = of.unwrap();
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
        assert_eq!(values(of(with(false, own), 350)), (10, 10, 9));
        let short = OwnSettings { user_timeout_ms: 2_999, ..OwnSettings::default() };
        assert_eq!(of(with(false, short), 350), Err(LeftAlone::UserTimeout));
    }

    #[test]
    fn what_no_probe_helps_is_left_alone() {
        let closing = Socket { state: State::CloseWait, ..socket() };
        assert_eq!(of(closing, 350), Err(LeftAlone::NotEstablished));
        let limits = |preset| {
            Limits::new(Vec::new(), IdleLimit { seconds: 600, preset: Some(preset) }, true)
        };
        let around = |preset| Surroundings {
            limits: limits(preset)
                .given_by(Some(crate::model::judgement::limit_source::GivenBy::Flag), None),
            host: std::collections::BTreeSet::new(),
            hz: HZ,
        };
        let planned = |preset| {
            let row = Row::new(&socket(), [], None, &around(preset), socket().at);
            plan(&row, MostValues::default(), HZ)
        };
        assert_eq!(planned("nginx-stream"), Err(LeftAlone::CountsBytes));
        assert!(planned("gcp").is_ok());
    }

    #[test]
    fn a_person_can_ask_for_less_and_not_for_more() {
        let limits = Limits::new(Vec::new(), IdleLimit { seconds: 45, preset: None }, true);
        let around = Surroundings { limits, host: std::collections::BTreeSet::new(), hz: HZ };
        let row = Row::new(&socket(), [], None, &around, socket().at);
        let asked = |idle, interval, count| {
            values(plan(
                &row,
                MostValues { idle: Some(idle), interval: Some(interval), count: Some(count) },
                HZ,
            ))
        };
        assert_eq!(asked(10, 5, 6), (10, 5, 6));
        assert_eq!(asked(300, 300, 6), (22, 10, 6));
    }
}
