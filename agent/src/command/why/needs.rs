//! What a case needs: which kind of advice, and values that agree with all that is known.

use crate::{
    advice::{
        Constraints, Proposal,
        remedy::{Advice, Holds, Need},
    },
    fix,
    model::{
        judgement::{
            death::Cause, facts::ConnectionFacts as _, idle_limit::is_kept_over, learned::LimitRow,
        },
        observed::{probe_timing::quiet_before::ProbeAfter, setting::OwnValues},
        text::duration::{duration, seconds, tenths},
    },
    view::{
        connection::{Connection, KeepaliveSettings, ms},
        connection_group::ConnectionGroup,
        life::{Finding, Life},
        neighbours::{
            Neighbours,
            path_evidence::{KilledAfter, PathEvidence},
            witness::quiet_before,
        },
    },
};

/// What a proposal must agree with. `only_pings`: nothing of TCP will be set, but a ping of the protocol.
pub(super) fn constraints(
    case: &ConnectionGroup,
    learned: Option<&LimitRow>,
    evidence: &PathEvidence,
    only_pings: bool,
) -> Constraints {
    let mut known = case
        .example()
        .map(|life| fix::known::constraints(&life.connection, learned, evidence))
        .unwrap_or_default();
    known.own = case.key.own;
    let limit = case.lives.iter().map(|life| limit_of(life, learned)).min();
    known.limit = limit.unwrap_or(known.limit);
    if only_pings {
        // A ping of the protocol has nothing to do with the times of keepalive: it is data, which is repeated long before a
        // user timeout.
        (known.now, known.own) = (None, OwnValues::default());
    }
    known
}

/// The limit in force on the path of one connection.
pub(super) fn limit_of(life: &Life, learned: Option<&LimitRow>) -> u32 {
    fix::known::limit_in_force(&life.connection, learned)
}

/// What the kernel uses for these connections.
pub(super) fn now(case: &ConnectionGroup) -> Option<Proposal> {
    let settings = &case.example()?.connection.settings;
    Some(Proposal {
        idle: settings.idle.seconds,
        interval: settings.interval.seconds,
        count: settings.count.probes,
    })
}

/// Seconds until the last timer of those that live fires; none if one of them is not known, and if none lives.
pub(super) fn old_timer(case: &ConnectionGroup) -> Option<u32> {
    let fires = |life: &Life| life.connection.next_probe_seconds.map(ms);
    let all: Option<Vec<u64>> = case.live().map(fires).collect();
    all?.into_iter().max().and_then(|ms| u32::try_from(ms.div_ceil(1000)).ok())
}

/// Seconds until the kernel gives up unanswered data by its own count; what no program waits for it gives up sooner.
pub(super) fn kernel_gives_up(case: &ConnectionGroup) -> Option<u64> {
    let connection = &case.example()?.connection;
    let settings = &connection.settings;
    let is_count = settings.user_timeout_ms == 0 && !connection.orphan;
    Some(settings.in_flight_detection_seconds).filter(|seconds| is_count && *seconds > 0)
}

/// What advice is wanted, if any.
pub(super) fn need(
    case: &ConnectionGroup,
    finding: Finding,
    neighbours: &Neighbours,
    learned: Option<&LimitRow>,
    evidence: &PathEvidence,
) -> Option<Need> {
    let is_late = case.is_unprotected();
    // By what others show of the path.
    let killed_sooner = |life: &Life| neighbours.killed_sooner(&life.connection, learned);
    let is_late_there = || case.example().and_then(killed_sooner).is_some();
    let is_proxy =
        case.lives.iter().any(|life| life.connection.limit.idle_limit_from.counts_bytes());
    match finding {
        Finding::Opening => None,
        Finding::Dark if case.of(finding).all(Life::is_unsent) => None,
        // Both have closed it.
        Finding::GivenUp if case.was_closed_by_peer(finding) => None,
        // No setting makes a peer read, or a route.
        Finding::Stuck | Finding::GivenUp if case.key.is_held_back => None,
        // What is set is right, or something keeps it busy.
        _ if case.key.is_busy || reopen(case, evidence).is_some() => None,
        Finding::ClosedAlthoughProbed if neighbours.refused_soon_after(case).is_some() => None,
        Finding::Dark if is_noticed_by_user_timeout(case) => {
            let is_hasty = case.of(finding).any(is_ended_by_one_probe);
            is_hasty.then_some(Need::LongerUserTimeout)
        }
        _ if is_proxy && finding.is_of_silence() => Some(Need::PingThroughProxy),
        Finding::Stuck | Finding::GivenUp | Finding::PeerSilent | Finding::Dark
            if lost_between_probes(case, finding, neighbours).is_some() =>
        {
            Some(Need::Keepalive)
        }
        Finding::ClosedAlthoughProbed if closed_all_at_once(case) => None,
        Finding::ClosedAlthoughProbed => Some(Need::PingThePeer),
        // Its program noticed by itself, and no probe would have changed what became of the peer.
        Finding::Dark if is_given_up_in_outage(case, neighbours) => None,
        // Keepalive waits while data is in flight.
        Finding::Dark if case.of(finding).all(died_repeating) => Some(Need::UserTimeout),
        Finding::Dark if !is_late => {
            let died_of = |cause| {
                case.lives
                    .iter()
                    .filter(move |life| life.end.as_ref().is_some_and(|end| end.cause == cause))
            };
            let has_user_timeout = |life: &&Life| life.connection.settings.user_timeout_ms > 0;
            if case.dead().filter(has_user_timeout).any(is_ended_by_one_probe) {
                Some(Need::LongerUserTimeout)
            } else {
                died_of(Cause::RetransmitTimeout).next().map(|_| Need::UserTimeout)
            }
        }
        // Keepalive waits while data is in flight: what hangs is noticed by a user timeout. What did not begin to hang after
        // a quiet time is no matter of keepalive.
        Finding::Stuck | Finding::GivenUp
            if !(is_late || is_late_there())
                || !hangs_after_quiet(case)
                || neighbours.is_outage(case) =>
        {
            Some(Need::UserTimeout)
        }
        Finding::PeerSilent if !is_late => None,
        // The peer or the path may be gone, or the path has forgotten it.
        Finding::ProbablyLost if !(is_late || is_late_there()) => None,
        Finding::Stuck
        | Finding::GivenUp
        | Finding::PeerSilent
        | Finding::Overdue
        | Finding::ProbablyForgotten
        | Finding::ProbablyLost
        | Finding::Dropped
        | Finding::Unprotected
        | Finding::ProbablyLate
        | Finding::Dark => Some(Need::Keepalive),
        // No setting makes the peer read; but once it does, silence counts again.
        Finding::Blocked if is_late => Some(Need::Keepalive),
        Finding::Blocked
        | Finding::AnsweredAgain
        | Finding::ProbeUnanswered
        | Finding::Unaccepted
        | Finding::PeerClosed
        | Finding::Failed
        | Finding::Drilled
        | Finding::Unseen
        | Finding::Fine => None,
    }
}

/// What is set is early enough, and only the timer that runs is not.
pub(super) fn reopen(case: &ConnectionGroup, evidence: &PathEvidence) -> Option<Advice> {
    let connection = &case.example().filter(|_| case.key.is_late_by_timer)?.connection;
    let Connection { limit, next_probe_seconds, .. } = connection;
    let is_kept =
        is_kept_over(connection.fires_by_ms(), limit.idle_kept_seconds, limit.idle_limit_seconds);
    let is_killed = |killed: &KilledAfter| connection.fires_by_ms() >= ms(killed.quiet);
    if !is_kept
        || limit.idle_limit_from.counts_bytes()
        || evidence.killed.as_ref().is_some_and(is_killed)
    {
        return None;
    }
    // It may have been armed with what is set now, when the path had been quiet already.
    if connection.is_timer_of_now() {
        let because =
            "what is set is right from the next probe on: set it before a connection gets quiet";
        return Some(without_lines("connection", because.to_owned()));
    }
    let fires = next_probe_seconds.map(|rest| format!(", in {}", duration(ms(rest) / 1000)));
    let because = format!(
        "re-open these connections (restart the pool or the program): new ones follow what is set at once, these only when \
         the timer fires{}",
        fires.unwrap_or_default()
    );
    Some(without_lines("connection", because))
}

/// Advice that has no line to set.
fn without_lines(place: &'static str, because: String) -> Advice {
    let (lines, client) = (Vec::new(), None);
    Advice { place, holds: Holds::Surely, because, lines, client, needs_previous: false }
}

/// The longest quiet time between two probes in which one was lost, seconds: the first probe came sooner, and only the interval
/// left the path quiet for as long.
pub(super) fn lost_between_probes(
    case: &ConnectionGroup,
    finding: Finding,
    neighbours: &Neighbours,
) -> Option<f64> {
    let KeepaliveSettings { keepalive, idle, interval, .. } = case.example()?.connection.settings;
    let (idle, interval) = (f64::from(idle.seconds), f64::from(interval.seconds));
    let is_between = |quiet: &f64| (1.1 * idle..1.25 * interval).contains(quiet);
    let quiet_before = |life: &Life| match life.quiet_before_probe() {
        Some(quiet) if quiet.after == ProbeAfter::Interval => Some(seconds(quiet.ms)),
        Some(_) => None,
        None if life.end.is_some() => None,
        None => quiet_before(life),
    };
    let quiet = case.of(finding).filter_map(quiet_before).filter(is_between);
    quiet.max_by(f64::total_cmp).filter(|_| keepalive && !neighbours.is_outage(case))
}

/// Why the interval has to be shorter, too.
pub(super) fn shorter_interval(
    case: &ConnectionGroup,
    finding: Finding,
    neighbours: &Neighbours,
    proposal: Proposal,
) -> Option<Advice> {
    let quiet = lost_between_probes(case, finding, neighbours)?;
    let KeepaliveSettings { idle, interval, .. } = case.example()?.connection.settings;
    Some(without_lines(
        "path",
        format!(
            "the interval is what is too long: after the first probe ({}) the next one comes only {} later, answered or not, and \
             nobody answered after {} of quiet. If the path forgot it: interval of at most {}",
            duration(idle.seconds),
            duration(interval.seconds),
            tenths(ms(quiet)),
            duration(proposal.interval),
        ),
    ))
}

/// The peer closed several in one moment, after different times without data: that is no idle timer.
pub(super) fn closed_all_at_once(case: &ConnectionGroup) -> bool {
    const MOMENT_SECONDS: f64 = 2.0;
    let ends = || case.of(Finding::ClosedAlthoughProbed).filter_map(|life| life.end.as_ref());
    let without_data = ends().filter_map(|end| end.without_data_seconds);
    let range = |times: &mut dyn Iterator<Item = f64>| {
        times.fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), it| {
            (least.min(it), most.max(it))
        })
    };
    let (shortest, longest) = range(&mut without_data.into_iter());
    let closed = case.of(Finding::ClosedAlthoughProbed).filter_map(Life::closed_at);
    let (first, last) = range(&mut closed.into_iter());
    last - first <= MOMENT_SECONDS && longest - shortest > MOMENT_SECONDS
}

/// One packet was lost, and that was enough.
pub(super) fn spare_probes(case: &ConnectionGroup, finding: Finding) -> Option<Advice> {
    let is_it = |life: &Life| {
        let settings = &life.connection.settings;
        settings.user_timeout_ms == 0 && is_ended_by_one_probe(life)
    };
    let is_any = matches!(finding, Finding::Dark | Finding::Dropped) && case.of(finding).any(is_it);
    is_any.then(|| Advice {
        place: "code",
        holds: Holds::Surely,
        because: "a single lost probe ends a healthy connection with a count of 1: let at least 3 go unanswered"
            .to_owned(),
        lines: vec!["setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, 3)".to_owned()],
        client: None,
        needs_previous: false,
    })
}

/// Whether the programs closed them soon, while the peer or the path was gone for all.
fn is_given_up_in_outage(case: &ConnectionGroup, neighbours: &Neighbours) -> bool {
    // As soon as keepalive would, with the usual times.
    let soon = f64::from(Proposal::USUAL.detection_seconds());
    let is_it = |life: &Life| {
        let end = life.end.as_ref().filter(|end| end.cause == Cause::Abandoned);
        end.and_then(|end| end.closed_after_seconds).is_some_and(|after| after <= soon)
    };
    case.of(Finding::Dark).all(is_it) && neighbours.is_outage(case)
}

fn died_repeating(life: &Life) -> bool {
    life.end.as_ref().is_some_and(|end| end.cause == Cause::RetransmitTimeout)
}

fn hangs_after_quiet(case: &ConnectionGroup) -> bool {
    case.live().any(|life| life.quiet_before_stuck_seconds().is_some())
}

/// All of them are gone, and the user timeout noticed it: keepalive would have changed nothing.
pub(super) fn is_noticed_by_user_timeout(case: &ConnectionGroup) -> bool {
    let is_it = |life: &Life| life.end.as_ref().is_some_and(|end| end.cause == Cause::UserTimeout);
    case.live().next().is_none() && case.of(Finding::Dark).all(is_it)
}

/// A probe went unanswered, and its settings allow no second one.
pub(super) fn is_ended_by_one_probe(life: &Life) -> bool {
    let settings = &life.connection.settings;
    let second_probe = u64::from(settings.idle.seconds) + u64::from(settings.interval.seconds);
    let user_timeout = u64::from(settings.user_timeout_ms);
    let is_single = match user_timeout {
        0 => settings.count.probes == 1,
        _ => user_timeout <= second_probe * 1000,
    };
    let is_by_timer = life
        .end
        .as_ref()
        .is_some_and(|end| matches!(end.cause, Cause::KeepaliveTimeout | Cause::UserTimeout));
    settings.keepalive && is_single && is_by_timer && !life.connection.in_flight
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::timestamp::unix_seconds,
        command::why::{
            answer::{Judged, judge},
            in_window::AskedWhen,
        },
        model::observed::{setting::OwnSettings, socket::Socket, watched::Watched},
        view::life::tests_support::{GAVE_UP, app, dead, live},
    };

    /// First probe after 30 s, the next after 75 s: the path keeps 45 s.
    fn between(process_sets: bool, longest_quiet_ms: u32) -> Socket {
        let mut socket = app(1, Some(30), 0);
        socket.own = OwnSettings { idle_seconds: 30, ..OwnSettings::default() };
        if !process_sets {
            socket.own.idle_seconds = 0;
            socket.ambient.idle_seconds = 30;
        }
        socket.ambient.interval_seconds = 75;
        socket.watched = Watched { ms: 900_000, age_ms: 0, longest_quiet_ms, ..Watched::default() };
        socket
    }

    fn stuck_after(quiet_ms: u32, socket: Socket) -> Socket {
        Socket {
            in_flight: true,
            retransmits: 7,
            retransmitting_ms: Some(39_000),
            silent_ms: quiet_ms + 39_000,
            quiet_ms: 39_000,
            ..socket
        }
    }

    fn advised(socket: &Socket) -> (String, Vec<String>) {
        let judged = judge(vec![live(socket)], &[], &[], None, AskedWhen::default()).remove(0);
        let because = judged.advice.first().map(|it| it.because.clone()).unwrap_or_default();
        (because, judged.advice.iter().flat_map(|it| it.lines.clone()).collect())
    }

    #[test]
    fn what_hangs_in_the_gap_that_only_the_interval_leaves_is_told_the_interval_first() {
        let (first, lines) = advised(&stuck_after(53_000, between(true, 30_000)));
        assert!(first.starts_with("the interval is what is too long"), "{first}");
        assert!(first.contains("interval of at most 10 s"), "{first}");
        let lines = lines.join("\n");
        assert!(
            lines.contains("TCP_KEEPINTVL, &(int){10}") && !lines.contains("retries2"),
            "{lines}"
        );
        // The system's interval, and probes that nobody answers.
        let silent = Socket {
            probes_unanswered: 6,
            timer_ms: Some(55_000),
            silent_ms: 470_000,
            quiet_ms: 395_000,
            ..between(false, 30_000)
        };
        let (first, lines) = advised(&silent);
        assert!(first.starts_with("the interval is what is too long"), "{first}");
        assert!(lines.join("\n").contains("tcp_keepalive_intvl=10"), "{lines:?}");
    }

    /// First probe after 20 s, which was answered; the others came an interval of 35 s apart, each 1.9 s late.
    fn lost_between(n_unanswered: u8) -> Socket {
        let own = OwnSettings {
            idle_seconds: 20,
            interval_seconds: 35,
            count: 9,
            ..OwnSettings::default()
        };
        let silent_ms = 36_864 * u32::from(n_unanswered) + 10_000;
        Socket {
            own,
            probes_unanswered: n_unanswered,
            silent_ms,
            timer_ms: Some(25_000),
            ..app(1, Some(20), 0)
        }
    }

    /// It probes sooner, and is answered.
    fn answered() -> Life {
        let mut life = live(&app(2, Some(10), 0));
        life.connection.watched_seconds = 600.0;
        life.connection.longest_quiet_seconds = 10.0;
        life
    }

    fn said(lives: Vec<Life>) -> String {
        let now = unix_seconds("2026-01-02T03:05:00Z").unwrap();
        let asked = AskedWhen { now, ..AskedWhen::default() };
        let judged = judge(lives, &[answered()], &[], None, asked).remove(0);
        let because = judged.advice.iter().map(|it| it.because.as_str());
        [judged.meaning.as_str()].into_iter().chain(because).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_was_forgotten_between_two_probes_is_told_the_interval_however_long_ago_that_was() {
        // Also by an agent that was started after its first probe had been answered.
        for n in [2, 5, 8] {
            let living = said(vec![live(&lost_between(n))]);
            assert!(living.contains("the interval is what is too long"), "{n}: {living}");
            assert!(living.contains("nobody answered after 36 s of quiet"), "{n}: {living}");
            assert!(!living.contains("the path forgets quiet connections"), "{n}: {living}");
        }
        let mut life = dead(&Socket { silent_ms: 368_640, ..lost_between(9) }, GAVE_UP);
        let end = life.end.as_mut().unwrap();
        (end.others_answered, end.forgotten) = (Some(1), true);
        let died = said(vec![life]);
        assert!(died.contains("forgot it between two probes, which come 35 s apart"), "{died}");
        assert!(died.contains("the interval is what is too long"), "{died}");
    }

    #[test]
    fn what_was_forgotten_before_its_first_probe_is_told_the_idle_time() {
        let at_first = |n: u8| {
            let silent_ms = 20_480 + 36_864 * u32::from(n - 1) + 10_000;
            Socket { silent_ms, ..lost_between(n) }
        };
        for n in [2, 5, 7] {
            let living = said(vec![live(&at_first(n))]);
            assert!(living.contains("the path forgets quiet connections between that"), "{living}");
            assert!(!living.contains("interval is what"), "{n}: {living}");
        }
    }

    #[test]
    fn a_proposal_leaves_room_for_a_second_probe_before_a_user_timeout() {
        let lines = |user_timeout_ms, idle| {
            let mut socket = app(1, None, 0);
            socket.own.user_timeout_ms = user_timeout_ms;
            let asked = AskedWhen::default();
            judge(vec![live(&socket)], &[], &[], idle, asked).remove(0)
        };
        let text = |judged: &Judged| {
            let all = judged.advice.iter().flat_map(|it| [it.because.clone(), it.lines.join("\n")]);
            all.collect::<Vec<_>>().join("\n")
        };
        let judged = lines(9_000, None);
        let said = text(&judged);
        assert!(said.contains("TCP_KEEPIDLE, &(int){3}"), "{said}");
        assert!(said.contains("TCP_KEEPINTVL, &(int){3}"), "{said}");
        assert!(!said.contains("one lost probe"), "{said}");
        assert!(judged.values_from.as_ref().unwrap().contains("user timeout of 9.0 s"));
        // Times that were asked for, or a timeout that is too short for any: it has to be raised with them.
        let asked = text(&lines(9_000, Some(60)));
        assert!(asked.contains("{60}") && asked.contains("TCP_USER_TIMEOUT, 81000"), "{asked}");
        let short = text(&lines(1_500, None));
        assert!(short.contains("one lost probe ends a healthy connection"), "{short}");
        let long = lines(180_000, None);
        assert!(text(&long).contains("TCP_KEEPIDLE, &(int){60}"), "{}", text(&long));
        assert!(long.values_from.as_ref().unwrap().starts_with("the limit of 5 min 50 s"));
    }

    #[test]
    fn what_hangs_in_another_gap_is_not_told_the_interval() {
        // Before the first probe was due; after as long a quiet time as it had survived; with an interval that is short.
        let early = stuck_after(21_000, between(true, 20_000));
        let survived = stuck_after(53_000, between(true, 74_000));
        let mut short = stuck_after(53_000, between(true, 30_000));
        short.ambient.interval_seconds = 10;
        for socket in [early, survived, short] {
            let (first, _) = advised(&socket);
            assert!(!first.contains("interval is what"), "{first}");
        }
    }
}
