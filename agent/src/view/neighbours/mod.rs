//! What connections to one peer show about each other: a path that forgot some of them while others are answered, and
//! what hangs beside those that look well. All of it is a guess beside the limit that is in force.

pub(crate) mod host_heard;
pub(crate) mod path_evidence;
pub(crate) mod peer_timer;
pub(crate) mod witness;

use self::{
    path_evidence::{DiedAfter, KilledAfter},
    peer_timer::{PeerTimer, PeerTimers, refused_at},
    witness::{PeerWitness, Silence, met_outage, quiet_before, whose},
};
use super::{
    connection::Connection,
    connection_group::{ConnectionGroup, Peer},
    life::{Finding, Life, LifeEnd},
};
use crate::model::{
    judgement::death::{Cause, MIDDLEBOX_MS},
    observed::{probe_timing::quiet_before::ProbeAfter, socket::Direction},
    text::duration::seconds,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

/// A server, as one network namespace knows it.
type ServerHere = (u32, SocketAddr);
/// The same, whatever the port.
type HostHere = (u32, IpAddr);
/// A host that connects to a port of ours.
type ClientHere = (u32, u16, IpAddr);

/// A quiet time that killed a connection which the answer shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KilledHere {
    /// Seconds.
    pub(crate) quiet: f64,
    /// Whose death it was, in words.
    pub(crate) death: String,
}

/// What is known of each server, and of each host, from all connections to it.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    servers: BTreeMap<ServerHere, AtPeer>,
    hosts: BTreeMap<HostHere, AtPeer>,
    clients: BTreeMap<ClientHere, AtPeer>,
    now: f64,
}

/// What the connections to one peer show.
#[derive(Debug, Default)]
struct AtPeer {
    witnesses: Vec<PeerWitness>,
    silence: Option<Silence>,
    /// The longest quiet time after which one that lives went on, seconds.
    survived: Option<f64>,
    /// The shortest that killed.
    died: Option<DiedAfter>,
    /// The same of those that died while others were answered.
    died_alone: Option<DiedAfter>,
    /// The shortest that killed one of those that the answer shows.
    died_here: Option<DiedAfter>,
    /// The shortest after which one hangs, whatever others survived, seconds.
    hung: Option<f64>,
    guess: Option<LimitGuess>,
    /// Those that probe and are answered after as long a quiet time: the longest idle time first.
    probing: Vec<Probing>,
    /// When it refused connections: Unix times.
    refused: Vec<f64>,
}

/// A connection, and whether the answer shows it.
#[derive(Clone, Copy, Debug)]
struct LifeHere<'a> {
    life: &'a Life,
    is_shown: bool,
    /// The timer of the peer that may have ended it.
    timer: Option<PeerTimer>,
}

/// One that probes and is answered.
#[derive(Clone, Copy, Debug)]
struct Probing {
    idle: f64,
    witness: PeerWitness,
}

/// One that hangs after a quiet time that a device may forget after.
struct Hanging<'a> {
    quiet: f64,
    since: f64,
    life: &'a Life,
}

/// What is guessed of the limit of a path from those that hang.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LimitGuess {
    /// The longest gap between two packets that is answered, seconds.
    pub(crate) answered_after: Option<f64>,
    /// The longest quiet time of those that went on and were heard since, seconds.
    pub(crate) heard_after: Option<f64>,
    /// Whether others that were there before were heard since the first of them hangs.
    pub(crate) is_heard: bool,
    /// When the last of those was heard, if they get no answer now either: Unix time.
    pub(crate) heard_until: Option<f64>,
    /// The shortest quiet time after which one hangs, seconds.
    pub(crate) hangs_after: f64,
    /// How many hang, of which processes (name and id), and for how long.
    pub(crate) n_hanging: usize,
    pub(crate) processes: BTreeSet<(String, u32)>,
    pub(crate) hanging_seconds: f64,
    /// They go to other ports of the host, too.
    pub(crate) is_of_host: bool,
}

impl Neighbours {
    /// From the connections that an answer is about, and others to the same peers. `now`: Unix time.
    pub(crate) fn of<'a>(
        shown: impl Iterator<Item = &'a Life>,
        others: impl Iterator<Item = &'a Life>,
        timers: &PeerTimers,
        now: f64,
    ) -> Self {
        let mut servers: BTreeMap<ServerHere, Vec<LifeHere<'a>>> = BTreeMap::new();
        let mut hosts: BTreeMap<HostHere, Vec<LifeHere<'a>>> = BTreeMap::new();
        let mut clients: BTreeMap<ClientHere, Vec<LifeHere<'a>>> = BTreeMap::new();
        let here = |life, is_shown| LifeHere { life, is_shown, timer: timers.that_ended(life) };
        let shown = shown.map(|life| here(life, true));
        let others = others.map(|life| here(life, false));
        // What a drill has cut shows nothing of a path.
        let is_evidence = |here: &LifeHere<'_>| !here.life.cut_by_drill;
        for here in shown.chain(others).filter(is_evidence) {
            let Connection { netns, local, remote, .. } = here.life.connection;
            match here.life.connection.direction() {
                Direction::Outbound => {
                    servers.entry((netns, remote)).or_default().push(here);
                    hosts.entry((netns, remote.ip())).or_default().push(here);
                }
                Direction::Inbound => {
                    clients.entry((netns, local.port(), remote.ip())).or_default().push(here);
                }
            }
        }
        let at = |lives: Vec<LifeHere<'_>>| AtPeer::of(&lives, now);
        Self {
            servers: servers.into_iter().map(|(server, lives)| (server, at(lives))).collect(),
            hosts: hosts.into_iter().map(|(host, lives)| (host, at(lives))).collect(),
            clients: clients.into_iter().map(|(client, lives)| (client, at(lives))).collect(),
            now,
        }
    }

    fn at_host(&self, case: &ConnectionGroup) -> Option<&AtPeer> {
        let (netns, addr) = server(case)?;
        self.hosts.get(&(netns, addr.ip()))
    }

    /// Whether others to the same server go unanswered now, and none was heard since: these do not notice that by
    /// themselves, because nothing is sent on them.
    pub(crate) fn is_silent(&self, case: &ConnectionGroup) -> bool {
        let is_unnoticed = matches!(case.finding(), Finding::Unprotected | Finding::Overdue)
            && !case.key.own.keepalive;
        is_unnoticed && self.at(case).is_some_and(|at| at.silence.is_some())
    }

    /// How many to the host of a case get no answer now.
    pub(crate) fn n_hanging_beside(&self, case: &ConnectionGroup) -> usize {
        self.at_host(case).map_or(0, AtPeer::n_hanging)
    }

    /// The shortest quiet time that killed one of those that the answer is about, whichever case, to the same server.
    pub(crate) fn killed_here(&self, case: &ConnectionGroup) -> Option<KilledHere> {
        let DiedAfter { quiet, process, .. } = self.at(case)?.died_here.clone()?;
        let is_own = case.dead().filter_map(killed).any(|own| own <= quiet);
        let death = match (is_own, process) {
            (true, _) => "the death that is shown here".to_owned(),
            (false, Some(process)) => format!("a death of {process} that this answer shows, too"),
            (false, None) => "a death of others that this answer shows, too".to_owned(),
        };
        Some(KilledHere { quiet, death })
    }

    /// Whether the peer or the path is gone for all that go there, or was when these fell silent: no quiet time explains what
    /// hangs, or what died. What hung before, while others were answered, is not of it.
    pub(crate) fn is_outage(&self, case: &ConnectionGroup) -> bool {
        match case.finding() {
            finding @ (Finding::Stuck | Finding::GivenUp | Finding::PeerSilent) => {
                [self.at(case), self.at_host(case)]
                    .into_iter()
                    .flatten()
                    .any(|at| case.of(finding).all(|life| at.is_of_outage(life, self.now)))
            }
            // One of many may have been lost in one.
            finding @ Finding::Dark => case.of(finding).all(|life| {
                life.end.as_ref().is_some_and(|end| end.others_silent.is_some_and(|n| n > 0))
            }),
            _ => false,
        }
    }

    /// What those that hang let guess of the limit. Of what hangs itself only if it had been quiet before. A quiet one
    /// learns from those to other ports of the host, too.
    pub(crate) fn limit(&self, case: &ConnectionGroup) -> Option<LimitGuess> {
        let of_server = || self.at(case).and_then(|at| at.guess.clone());
        match case.finding() {
            finding @ (Finding::Stuck | Finding::GivenUp | Finding::PeerSilent) => {
                let had_been_quiet =
                    case.of(finding).any(|life| quiet_before_it_hung(life).is_some());
                of_server().filter(|_| had_been_quiet && !self.is_outage(case))
            }
            _ => of_server().or_else(|| {
                let guess = self.at_host(case)?.guess.clone()?;
                Some(LimitGuess { is_of_host: true, ..guess })
            }),
        }
    }

    /// The shortest quiet time before the first probe of connections of a case, seconds, if that met silence for all of them,
    /// and the peer or the path is not gone for all.
    fn quiet_before_first_probe(&self, case: &ConnectionGroup, finding: Finding) -> Option<f64> {
        let is_first_probe = match finding {
            Finding::Dropped | Finding::Dark => case.of(finding).all(died_at_first_probe),
            Finding::PeerSilent => case.of(finding).all(hangs_at_first_probe),
            _ => false,
        };
        let quiet = case.of(finding).filter_map(Life::quiet_before_probe).map(|quiet| quiet.ms);
        quiet.min().filter(|_| is_first_probe && !self.is_outage(case)).map(seconds)
    }

    /// What got no answer after clearly less quiet than there was before the first probe of all connections of a case, which
    /// met silence.
    pub(crate) fn killed_before_probe(
        &self,
        case: &ConnectionGroup,
        finding: Finding,
    ) -> Option<KilledAfter> {
        const CLEARLY: f64 = 0.95;
        let quiet = self.quiet_before_first_probe(case, finding)?;
        let guess = self.evidence(&case.example()?.connection).guess?;
        (guess.quiet < CLEARLY * quiet).then_some(guess)
    }

    /// Whether the first probe of all connections of a case met silence, while others to the same server, else to other
    /// ports of its host, which probe sooner, were answered. Never beside an outage: one function decides both.
    pub(crate) fn earlier_probe(
        &self,
        case: &ConnectionGroup,
        finding: Finding,
    ) -> Option<EarlierProbe> {
        let killed = self.quiet_before_first_probe(case, finding)?;
        // One of them shows it for all: after the last of them no other may have been heard yet.
        let asked = |life: &Life| Some(PeerWitness::of(life, self.now).unanswered?.since);
        let sooner = |at: &AtPeer| {
            let times = case.of(finding).filter_map(asked);
            times.filter_map(|asked| at.answered_sooner(killed, asked)).max_by(f64::total_cmp)
        };
        let at_server = self.at(case)?;
        let of_server = sooner(at_server);
        let of_host = || self.at_host(case).and_then(sooner);
        let (answered, is_of_host) = match of_server {
            Some(answered) => (answered, false),
            // A server behind an address with several of them may be gone alone.
            None if at_server.silence.is_some_and(|it| it.is_outage) => return None,
            None => (of_host()?, true),
        };
        let longest_of_its = case.lives.iter().map(|life| life.connection.longest_quiet_seconds);
        let survived = longest_of_its.filter(|quiet| *quiet < killed).fold(answered, f64::max);
        Some(EarlierProbe { killed, answered, survived, is_of_host })
    }
}

impl AtPeer {
    fn of(here: &[LifeHere<'_>], now: f64) -> Self {
        let mut at = Self::default();
        for LifeHere { life, .. } in here {
            let witness = PeerWitness::of(life, now);
            at.witnesses.push(witness);
            if let Some(end) = &life.end {
                at.refused.extend(refused_at(end));
                continue;
            }
            let connection = &life.connection;
            at.survived = longest(at.survived, Some(connection.longest_quiet_seconds));
            if is_answered_when_it_probes(connection) {
                at.probing.push(Probing { idle: answered_after(connection), witness });
            }
        }
        at.probing.sort_by(|a, b| b.idle.total_cmp(&a.idle));
        at.silence = Silence::of(&at.witnesses);
        at.guess = at.guessed(here, now);
        let hung = at.hanging(here, now).into_iter().map(|it| it.quiet);
        at.hung = hung.min_by(f64::total_cmp);
        let died: Vec<(DiedAfter, bool)> =
            here.iter().filter_map(|it| Some((at.died_after(it, now)?, it.is_shown))).collect();
        let shortest = |is: &dyn Fn(&DiedAfter, bool) -> bool| {
            let these = died.iter().filter(|(died, is_shown)| is(died, *is_shown));
            these.map(|(died, _)| died).min_by(|a, b| a.quiet.total_cmp(&b.quiet)).cloned()
        };
        at.died = shortest(&|_, _| true);
        at.died_alone = shortest(&|died, _| died.is_alone);
        at.died_here = shortest(&|_, is_shown| is_shown);
        at
    }

    /// How many get no answer now.
    fn n_hanging(&self) -> usize {
        let hangs = |it: &&PeerWitness| it.unanswered.is_some() && it.ended.is_none();
        self.witnesses.iter().filter(hangs).count()
    }

    /// Whether one was heard clearly after a moment.
    fn is_heard_since(&self, moment: f64) -> bool {
        let later = |heard: f64| heard > moment + witness::ANSWER_SECONDS;
        self.witnesses.iter().any(|it| it.heard.is_some_and(later))
    }

    /// The quiet time that killed one. What the peer closes by itself after less shows none.
    fn died_after(&self, here: &LifeHere<'_>, now: f64) -> Option<DiedAfter> {
        let LifeHere { life, timer, .. } = here;
        if timer.is_some_and(|timer| timer.is_habit) {
            return None;
        }
        let end = life.end.as_ref()?;
        let quiet = killed(life).or_else(|| self.killed_before_first_probe(life, now))?;
        let asked = PeerWitness::of(life, now).unanswered.map(|it| it.since);
        let is_answered = |asked: f64| {
            self.witnesses.iter().any(|witness| witness.is_answer_to(asked))
                && !met_outage(&self.witnesses, asked)
        };
        let is_alone = end.others_answered.is_some()
            || end.forgotten && end.cause != Cause::IdleDrop && end.cause != Cause::KeepaliveReset
            || asked.is_some_and(is_answered);
        let process = life.owner().map(|owner| owner.process.clone());
        let is_alone = is_alone && end.others_silent.is_none() && timer.is_none();
        Some(DiedAfter { quiet, process, is_alone })
    }

    /// Of one whose first probe met silence, while others that probe sooner were answered: the quiet time before, seconds.
    fn killed_before_first_probe(&self, life: &Life, now: f64) -> Option<f64> {
        let end = life.end.as_ref()?;
        if !died_at_first_probe(life) || end.others_silent.is_some() {
            return None;
        }
        let quiet = seconds(life.quiet_before_probe()?.ms);
        let asked = PeerWitness::of(life, now).unanswered?.since;
        self.answered_sooner(quiet, asked).map(|_| quiet)
    }

    /// The longest time between the probes of others that are answered, and were after something was sent, if that is clearly
    /// shorter than a quiet time: seconds.
    fn answered_sooner(&self, quiet: f64, asked: f64) -> Option<f64> {
        let is_it = |it: &&Probing| 1.1 * it.idle < quiet && it.witness.is_answer_to(asked);
        self.probing.iter().find(is_it).map(|it| it.idle)
    }

    /// Whether one hangs since an outage that lasts, or that is over.
    fn is_of_outage(&self, life: &Life, now: f64) -> bool {
        let lasts = |silence: Silence| silence.is_outage && silence.is_met_by(life, now);
        let unanswered = PeerWitness::of(life, now).unanswered;
        self.silence.is_some_and(lasts)
            || unanswered.is_some_and(|it| met_outage(&self.witnesses, it.since))
    }

    /// Those that hang after a quiet time, and not because the peer or the path is gone for all, or the peer closes by itself
    /// after less.
    fn hanging<'a>(&self, here: &[LifeHere<'a>], now: f64) -> Vec<Hanging<'a>> {
        let is_closed = |it: &LifeHere<'_>| it.timer.is_some_and(|timer| timer.is_habit);
        let open = here.iter().filter(|it| !is_closed(it)).map(|it| it.life);
        let hanging = open.filter(|life| !self.is_of_outage(life, now)).filter_map(|life| {
            let quiet = quiet_before_it_hung(life)?;
            let since = PeerWitness::of(life, now).unanswered?.since;
            Some(Hanging { quiet, since, life })
        });
        hanging.collect()
    }

    /// From those that hang after a quiet time, and not because the peer or the path is gone for all. Nothing if one went
    /// on after as long a quiet time.
    fn guessed(&self, here: &[LifeHere<'_>], now: f64) -> Option<LimitGuess> {
        let hanging = self.hanging(here, now);
        let hangs_after = hanging.iter().map(|it| it.quiet).min_by(f64::total_cmp)?;
        if self.survived.is_some_and(|survived| survived >= 0.9 * hangs_after) {
            return None;
        }
        let since = hanging.iter().map(|it| it.since).min_by(f64::total_cmp)?;
        let answers = || self.witnesses.iter().filter(|it| it.is_answer_to(since));
        let last_heard = answers().filter_map(|it| it.heard).max_by(f64::total_cmp);
        let answered =
            self.probing.iter().find(|it| it.idle < hangs_after && it.witness.is_answer_to(since));
        Some(LimitGuess {
            heard_after: self
                .survived
                .filter(|survived| last_heard.is_some() && (1.0..hangs_after).contains(survived)),
            answered_after: answered.map(|it| it.idle),
            is_heard: last_heard.is_some(),
            heard_until: last_heard.filter(|_| self.silence.is_some()),
            hangs_after,
            n_hanging: hanging.len(),
            processes: hanging.iter().map(|it| whose(it.life)).collect(),
            hanging_seconds: now - since,
            is_of_host: false,
        })
    }
}

/// The quiet time after which its probes are answered, seconds: the interval, if that is longer than the idle time and was
/// survived.
fn answered_after(connection: &Connection) -> f64 {
    let settings = &connection.settings;
    let (idle, interval) = (f64::from(settings.idle.seconds), f64::from(settings.interval.seconds));
    let is_seen = connection.longest_quiet_seconds >= 0.9 * interval;
    if is_seen { idle.max(interval) } else { idle }
}

/// It probes, and gets answers. A busy one never sends a probe: an answered one leaves a quiet time as long.
fn is_answered_when_it_probes(connection: &Connection) -> bool {
    let idle = f64::from(connection.settings.idle.seconds);
    let has_probed =
        connection.watched_seconds > 2.0 * idle && connection.longest_quiet_seconds >= 0.8 * idle;
    connection.settings.keepalive && connection.probes_unanswered == 0 && has_probed
}

const fn server(case: &ConnectionGroup) -> Option<ServerHere> {
    match case.key.peer {
        Peer::Server(addr) => Some((case.key.netns, addr)),
        Peer::ClientsOf(_) => None,
    }
}

fn longest(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).max_by(f64::total_cmp)
}

/// The quiet time that killed a connection, seconds, if a path forgot it.
fn killed(life: &Life) -> Option<f64> {
    let connection = &life.connection;
    let is_dropped = life.finding() == Finding::Dropped;
    match life.end.as_ref()?.cause {
        Cause::IdleDrop => Some(connection.quiet_seconds),
        Cause::Abandoned if is_dropped => Some(connection.quiet_seconds),
        // A path that forgot it answers no probe: the quiet time before the first one killed.
        Cause::KeepaliveTimeout | Cause::KeepaliveReset if is_dropped => {
            Some(life.quiet_before_end_seconds())
        }
        _ => None,
    }
}

/// Of one that hangs now: the quiet time before that, seconds, if a device may have forgotten it meanwhile.
fn quiet_before_it_hung(life: &Life) -> Option<f64> {
    quiet_before(life).filter(|quiet| *quiet >= f64::from(MIDDLEBOX_MS) / 1000.0)
}

fn died_at_first_probe(life: &Life) -> bool {
    let is_it = |end: &LifeEnd| {
        let all_unanswered = end.probes_sent <= u32::from(life.connection.probes_unanswered);
        end.cause == Cause::KeepaliveTimeout && all_unanswered
    };
    life.end.as_ref().is_some_and(is_it) && is_first_probe(life)
}

fn hangs_at_first_probe(life: &Life) -> bool {
    quiet_before_it_hung(life).is_some() && is_first_probe(life)
}

/// Whether the first probe that nobody answered was the first of all, as far as its time shows that: not an interval after one
/// that was answered. Nor had it gone on after as long a quiet time before.
fn is_first_probe(life: &Life) -> bool {
    let survived = life.connection.longest_quiet_seconds;
    life.quiet_before_probe()
        .is_some_and(|quiet| quiet.after == ProbeAfter::Idle && survived < 0.9 * seconds(quiet.ms))
}

/// Connections whose first probe met silence while others, which probe sooner, are answered.
pub(crate) struct EarlierProbe {
    /// The quiet time before the probe that met silence, seconds.
    pub(crate) killed: f64,
    /// The longest between two probes of the others.
    pub(crate) answered: f64,
    /// The longest that was survived: that, or what these had survived before.
    pub(crate) survived: f64,
    /// The others go to other ports of the host.
    pub(crate) is_of_host: bool,
}

#[cfg(test)]
mod tests;
