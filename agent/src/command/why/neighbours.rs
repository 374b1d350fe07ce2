//! What connections to one peer show about each other: a path that forgot some of them while others are answered, and
//! what hangs beside those that look well. All of it is a guess beside the limit that is in force.

use crate::{
    advice::{
        Proposal,
        remedy::{Advice, Holds},
    },
    command::timestamp::unix_seconds,
    model::{
        judgement::death::{Cause, MIDDLEBOX_MS},
        text::duration::{duration, tenths},
    },
    view::{
        connection::ms,
        connection_group::{ConnectionGroup, Peer},
        life::{Finding, Life},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// A server, as one network namespace knows it.
type ServerHere = (u32, SocketAddr);

/// What comes in later than this after the first trouble shows that the server lives.
pub(super) const ANSWER_SECONDS: f64 = 2.0;

/// What is known of each server from all connections to it.
#[derive(Debug, Default)]
pub(super) struct Neighbours(BTreeMap<ServerHere, AtServer>);

/// What the connections to one server show.
#[derive(Debug, Default)]
struct AtServer {
    /// The longest idle time of those that probe and are answered, after as long a quiet time, seconds.
    answered_after: Option<f64>,
    /// The longest quiet time after which one went on, seconds.
    survived: Option<f64>,
    /// The shortest after which one hangs, seconds.
    hangs_after: Option<f64>,
    n_hanging: usize,
    /// When the first of those began to hang: Unix time.
    hanging_since: Option<f64>,
    /// The processes of those that hang, by name and id, and for how long the first has hung, seconds.
    hanging: BTreeSet<(String, u32)>,
    hanging_seconds: Option<f64>,
    /// The shortest that killed, seconds.
    killed: Option<f64>,
    /// None of them gets an answer.
    is_silent: bool,
    /// One gets no answer after a quiet time that it had survived before.
    is_outage: bool,
    /// When the trouble of the last one began that was lost because nobody answered, and when one that lives heard the
    /// server last: Unix time.
    went_dark: Option<f64>,
    heard: Option<f64>,
}

/// What is guessed of the limit of a path from those that hang.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LimitGuess {
    /// The longest gap between two packets that is answered, seconds.
    pub(super) answered_after: Option<f64>,
    /// The longest quiet time of those that went on and were heard since, seconds.
    pub(super) heard_after: Option<f64>,
    /// The shortest quiet time after which one hangs, seconds.
    pub(super) hangs_after: f64,
    /// How many hang, of which processes (name and id), and for how long.
    pub(super) n_hanging: usize,
    pub(super) processes: BTreeSet<(String, u32)>,
    pub(super) hanging_seconds: f64,
}

impl Neighbours {
    /// From the connections that the answer is about, and others to the same servers.
    pub(super) fn of(cases: &[ConnectionGroup], others: &[Life], now: f64) -> Self {
        let mut all = Self::default();
        for life in cases.iter().flat_map(|case| &case.lives).chain(others) {
            all.meet(life, now);
        }
        for case in cases {
            let finding = case.finding();
            let is_silent =
                matches!(finding, Finding::Stuck | Finding::GivenUp | Finding::PeerSilent)
                    && !case.of(finding).all(Life::is_blocked);
            if let Some(server) = server(case) {
                let at = all.0.entry(server).or_default();
                at.is_silent |= is_silent;
                at.killed = shortest(at.killed, killed(case));
            }
        }
        all
    }

    fn meet(&mut self, life: &Life, now: f64) {
        let connection = &life.connection;
        let at = self.0.entry((connection.netns, connection.remote)).or_default();
        if life.end.is_some() {
            at.went_dark = longest(at.went_dark, went_dark(life));
            return;
        }
        at.heard = longest(at.heard, Some(now - connection.silent_seconds));
        at.survived = longest(at.survived, Some(connection.longest_quiet_seconds));
        let idle = f64::from(connection.settings.idle.seconds);
        // A busy one never sends a probe: an answered one leaves a quiet time as long.
        let has_probed = connection.watched_seconds > 2.0 * idle
            && connection.longest_quiet_seconds >= 0.8 * idle;
        if connection.settings.keepalive && connection.probes_unanswered == 0 && has_probed {
            at.answered_after = longest(at.answered_after, Some(idle));
        }
        at.is_outage |= hangs_although_it_went_on_before(life);
        if let Some(quiet) = quiet_before_it_hung(life) {
            at.hangs_after = shortest(at.hangs_after, Some(quiet));
            at.n_hanging += 1;
            let since = connection.condition_seconds.unwrap_or_default();
            at.hanging_since = shortest(at.hanging_since, Some(now - since));
            at.hanging.extend(life.owner().map(|owner| (owner.process.clone(), owner.pid)));
            at.hanging_seconds = longest(at.hanging_seconds, Some(since));
        }
    }

    fn at(&self, case: &ConnectionGroup) -> Option<&AtServer> {
        self.0.get(&server(case)?)
    }

    /// Whether others to the same server go unanswered now.
    pub(super) fn is_silent(&self, case: &ConnectionGroup) -> bool {
        self.at(case).is_some_and(|at| {
            let heard_nothing_since = |dark| at.heard.is_none_or(|heard| heard < dark);
            at.is_silent || at.n_hanging > 0 || at.went_dark.is_some_and(heard_nothing_since)
        })
    }

    /// The shortest quiet time that killed a connection to the same server, or after which one hangs, seconds.
    pub(super) fn killed(&self, case: &ConnectionGroup) -> Option<f64> {
        let at = self.at(case)?;
        shortest(at.killed, self.limit(case).map(|guess| guess.hangs_after))
    }

    /// Whether the peer or the path is gone for all that go there: no quiet time explains what hangs, or what died.
    pub(super) fn is_outage(&self, case: &ConnectionGroup) -> bool {
        match case.finding() {
            Finding::Stuck | Finding::GivenUp | Finding::PeerSilent => {
                self.at(case).is_some_and(|at| at.is_outage)
            }
            finding @ Finding::Dark => case.of(finding).any(|life| {
                life.end.as_ref().is_some_and(|end| end.others_silent.is_some_and(|n| n > 0))
            }),
            _ => false,
        }
    }

    /// What those that hang let guess of the limit; nothing if one went on after as long a quiet time: then the peer or
    /// the path is gone for all of them.
    pub(super) fn limit(&self, case: &ConnectionGroup) -> Option<LimitGuess> {
        let at = self.at(case)?;
        let hangs_after = at.hangs_after.filter(|_| !at.is_outage)?;
        if at.survived.is_some_and(|survived| survived >= 0.9 * hangs_after) {
            return None;
        }
        let is_heard = at
            .heard
            .zip(at.hanging_since)
            .is_some_and(|(heard, since)| heard > since + ANSWER_SECONDS);
        Some(LimitGuess {
            heard_after: at
                .survived
                .filter(|survived| is_heard && (1.0..hangs_after).contains(survived)),
            answered_after: at.answered_after.filter(|answered| *answered < hangs_after),
            hangs_after,
            n_hanging: at.n_hanging,
            processes: at.hanging.clone(),
            hanging_seconds: at.hanging_seconds?,
        })
    }

    /// Whether the first probe of all connections of a case met silence, while others to the same server, which probe
    /// sooner, are answered.
    pub(super) fn earlier_probe(
        &self,
        case: &ConnectionGroup,
        finding: Finding,
    ) -> Option<EarlierProbe> {
        let life = case.example()?;
        let is_first_probe = match finding {
            Finding::Dropped | Finding::Dark => case.of(finding).all(died_at_first_probe),
            Finding::PeerSilent => case.of(finding).all(hangs_at_first_probe),
            _ => false,
        };
        let idle = f64::from(life.connection.settings.idle.seconds);
        let answered = self.at(case)?.answered_after.filter(|answered| *answered < idle)?;
        is_first_probe.then_some(EarlierProbe { killed: idle, survived: answered })
    }
}

const fn server(case: &ConnectionGroup) -> Option<ServerHere> {
    match case.key.peer {
        Peer::Server(addr) => Some((case.key.netns, addr)),
        Peer::ClientsOf(_) => None,
    }
}

fn shortest(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).min_by(f64::total_cmp)
}

fn longest(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).max_by(f64::total_cmp)
}

/// The shortest quiet time that killed connections of a case, seconds.
fn killed(case: &ConnectionGroup) -> Option<f64> {
    let killed = case.dead().filter_map(|life| {
        let connection = &life.connection;
        match life.end.as_ref()?.cause {
            Cause::IdleDrop => Some(connection.quiet_seconds),
            Cause::Abandoned if life.finding() == Finding::Dropped => {
                Some(connection.quiet_seconds)
            }
            // A path that forgot it answers no probe: the quiet time before the first one killed.
            Cause::KeepaliveTimeout | Cause::KeepaliveReset
                if life.finding() == Finding::Dropped =>
            {
                Some(connection.quiet_seconds.min(f64::from(connection.settings.idle.seconds)))
            }
            _ => None,
        }
    });
    killed.min_by(f64::total_cmp)
}

/// Of one that was lost because nobody answered, whatever the path keeps: when that began, Unix time.
fn went_dark(life: &Life) -> Option<f64> {
    let end = life.end.as_ref().filter(|_| life.finding() == Finding::Dark)?;
    let settings = &life.connection.settings;
    let began = match end.cause {
        Cause::KeepaliveTimeout => {
            let probed = settings.interval.seconds.saturating_mul(settings.count.probes);
            unix_seconds(&end.at)? - f64::from(probed)
        }
        _ => unix_seconds(end.unanswered_since.as_ref()?)?,
    };
    Some(began)
}

/// Of one that hangs now: the quiet time before that, seconds.
pub(super) fn quiet_before(life: &Life) -> Option<f64> {
    let connection = &life.connection;
    // Before a window was probed in vain it was probed with success.
    let hangs = !connection.is_held_back()
        && matches!(life.finding(), Finding::Stuck | Finding::GivenUp | Finding::PeerSilent);
    connection.condition_seconds.filter(|_| hangs).map(|since| connection.silent_seconds - since)
}

/// The same, if a device may have forgotten it meanwhile.
fn quiet_before_it_hung(life: &Life) -> Option<f64> {
    quiet_before(life).filter(|quiet| *quiet >= f64::from(MIDDLEBOX_MS) / 1000.0)
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

fn died_at_first_probe(life: &Life) -> bool {
    life.end.as_ref().is_some_and(|end| {
        let all_unanswered = end.probes_sent <= u32::from(life.connection.probes_unanswered);
        end.cause == Cause::KeepaliveTimeout && all_unanswered
    })
}

/// It has not gone on after as long a quiet time before.
fn hangs_at_first_probe(life: &Life) -> bool {
    let survived = life.connection.longest_quiet_seconds;
    quiet_before_it_hung(life).is_some_and(|quiet| survived < 0.9 * quiet)
}

/// Connections whose first probe met silence while others to the same server, which probe sooner, are answered.
pub(super) struct EarlierProbe {
    /// The quiet time before the probe that met silence, seconds.
    pub(super) killed: f64,
    /// The longest between two probes of the others.
    pub(super) survived: f64,
}

impl EarlierProbe {
    /// What follows for the first probe.
    pub(super) fn advice(&self, proposal: Proposal) -> Advice {
        let because = format!(
            "others to the same peer, which probe after {}, are answered: the path forgets quiet connections between that \
             and {}. First probe after at most {}",
            tenths(ms(self.survived)),
            tenths(ms(self.killed)),
            duration(proposal.idle)
        );
        Advice {
            place: "path",
            holds: Holds::Surely,
            because,
            lines: Vec::new(),
            client: None,
            needs_previous: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observed::socket::Socket,
        view::{
            connection_group::cases,
            life::tests_support::{GAVE_UP, app, dead, live},
        },
    };

    fn found(lives: Vec<Life>, others: &[Life]) -> Option<(f64, f64)> {
        let cases = cases(lives);
        let case = cases.first().unwrap();
        let earlier = Neighbours::of(&cases, others, 0.0).earlier_probe(case, case.finding());
        earlier.map(|earlier| (earlier.survived, earlier.killed))
    }

    fn probing(id: u64, idle: u32, watched_seconds: f64) -> Life {
        let mut life = live(&app(id, Some(idle), 0));
        life.connection.watched_seconds = watched_seconds;
        life.connection.longest_quiet_seconds = f64::from(idle);
        life
    }

    /// Two probes are unanswered: the first after 60 s of silence.
    fn silent(id: u64) -> Socket {
        let mut socket = app(id, Some(60), 130_000);
        (socket.own.interval_seconds, socket.own.count) = (60, 9);
        Socket { probes_unanswered: 2, timer_ms: Some(50_000), ..socket }
    }

    #[test]
    fn a_probe_that_met_silence_beside_sooner_ones_that_were_answered_came_too_late() {
        let died = || dead(&app(1, Some(60), 90_000), GAVE_UP);
        let soon = [probing(2, 30, 600.0), probing(3, 15, 600.0)];
        assert_eq!(found(vec![died()], &soon), Some((30.0, 60.0)));
        // Nobody else lives; the others probe as late; nobody has seen them probe yet.
        assert_eq!(found(vec![died()], &[]), None);
        assert_eq!(found(vec![died()], &[probing(2, 60, 600.0)]), None);
        assert_eq!(found(vec![died()], &[probing(2, 30, 5.0)]), None);
        // A busy one has sent none.
        let mut busy = probing(2, 30, 600.0);
        busy.connection.longest_quiet_seconds = 1.0;
        assert_eq!(found(vec![died()], &[busy]), None);
        // They get no answer either: the peer is silent.
        let mut unanswered = probing(2, 30, 600.0);
        unanswered.connection.probes_unanswered = 1;
        assert_eq!(found(vec![died()], &[unanswered]), None);
        // It was answered before.
        let mut answered_before = died();
        answered_before.end.as_mut().unwrap().probes_sent = 7;
        assert_eq!(found(vec![answered_before], &soon), None);
    }

    #[test]
    fn a_first_probe_that_meets_silence_now_is_judged_beside_its_neighbours_as_well() {
        let neighbour = [probing(2, 20, 600.0)];
        assert_eq!(found(vec![live(&silent(1))], &neighbour), Some((20.0, 60.0)));
        let cases = cases(vec![live(&silent(1))]);
        let guess = Neighbours::of(&cases, &neighbour, 0.0).limit(&cases[0]).unwrap();
        assert_eq!((guess.answered_after, guess.n_hanging), (Some(20.0), 1));
        assert!((59.0..=61.0).contains(&guess.hangs_after), "{guess:?}");
        // It went on after as long a quiet time before: the peer is gone, even if others are answered.
        let mut answered_before = live(&silent(1));
        answered_before.connection.longest_quiet_seconds = 60.0;
        assert_eq!(found(vec![answered_before.clone()], &neighbour), None);
        let cases = crate::view::connection_group::cases(vec![answered_before]);
        assert_eq!(Neighbours::of(&cases, &neighbour, 0.0).limit(&cases[0]), None);
    }

    #[test]
    fn what_hangs_is_shown_to_a_quiet_neighbour_to_the_same_server_in_the_same_namespace() {
        let stuck = |id| Socket {
            in_flight: true,
            retransmits: 7,
            retransmitting_ms: Some(39_000),
            silent_ms: 119_000,
            ..app(id, None, 39_000)
        };
        let quiet = || cases(vec![live(&app(1, None, 195_000))]);
        let hanging = [live(&stuck(8)), live(&stuck(9))];
        let neighbours = Neighbours::of(&quiet(), &hanging, 0.0);
        let guess = neighbours.limit(&quiet()[0]).unwrap();
        assert_eq!((guess.hangs_after, guess.n_hanging), (80.0, 2));
        let processes = [("app".to_owned(), 812)].into();
        assert_eq!((guess.processes, guess.hanging_seconds), (processes, 39.0));
        assert!(neighbours.is_silent(&quiet()[0]));
        // One went on after 100 s: no limit explains those that hang.
        let mut survived = live(&app(3, None, 0));
        survived.connection.longest_quiet_seconds = 100.0;
        let mut others = hanging.to_vec();
        others.push(survived);
        assert_eq!(Neighbours::of(&quiet(), &others, 0.0).limit(&quiet()[0]), None);
        let elsewhere = [live(&Socket { netns: 7, ..stuck(8) })];
        assert_eq!(Neighbours::of(&quiet(), &elsewhere, 0.0).limit(&quiet()[0]), None);
    }

    #[test]
    fn a_neighbour_that_was_lost_in_the_dark_tells_those_that_would_never_notice() {
        // It died at 03:04:05, its 9 probes unanswered; 75 s lie between two of them.
        let lost = [dead(&app(9, Some(60), 90_000), GAVE_UP)];
        let now = unix_seconds("2026-01-02T03:05:00Z").unwrap();
        let is_silent = |silent_ms, lost: &[Life]| {
            let cases = cases(vec![live(&app(1, None, silent_ms))]);
            Neighbours::of(&cases, lost, now).is_silent(&cases[0])
        };
        assert!(is_silent(800_000, &lost));
        // It heard the server since.
        assert!(!is_silent(5_000, &lost));
        assert!(!is_silent(800_000, &[]));
    }
}
