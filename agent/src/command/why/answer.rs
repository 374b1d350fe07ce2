//! From connections to the answer: cases with their finding, the learned limit of their path,
//! the advice and the what-if. Serialised, it is what `--json` shows.

use super::{
    first_probe,
    in_window::{self, AskedWhen},
    lessons::{KnownLessons, Lessons},
    measurement,
    needs::{
        constraints, kernel_gives_up, need, now, old_timer, reopen, shorter_interval, spare_probes,
    },
    peer_timer::TimerAdvice,
    recognition::{SeenProcesses, runs_in},
};
use crate::{
    advice::{
        Constraints, Proposal,
        place::{ForeignNetns, RunsIn},
        recognise::Look,
        remedy::{Advice, Need, Situation, advise},
    },
    fix::known::ValueOrigin,
    model::{
        judgement::{
            death::Cause,
            gap::GapFrom,
            learned::{CleanUpRow, LearnedRow, LimitRow, PeerClosesRow},
            learned_limit::Confidence,
            limits_met::LimitsMet,
            verdict::Verdict,
        },
        observed::{setsockopt::SockOpt, socket::Direction},
    },
    view::{
        connection::PartOf,
        connection_group::{ConnectionGroup, ConnectionTimes, Peer, QuietRange, cases as cases_of},
        life::{Finding, Life},
        neighbours::{
            LimitGuess, Neighbours,
            host_heard::HostHeard,
            path_evidence::{KilledAfter, PathEvidence},
            peer_timer::PeerTimers,
            witness::Silence,
        },
        what_if::{Setting, WhatIf},
    },
};
use serde::Serialize;
use std::{collections::BTreeSet, net::SocketAddr};

/// A case with the numbers and sentences that follow from it.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Judged {
    /// The worst that is to be said.
    pub(super) finding: Finding,
    /// The server; null of clients.
    pub(super) remote: Option<SocketAddr>,
    /// The port that clients connected to; null of a server.
    pub(super) local_port: Option<u16>,
    /// Inode number of the network namespace of this host's end.
    pub(super) netns: u32,
    /// Who sent the SYN.
    pub(super) direction: Direction,
    /// The finding in one sentence; what is fine needs none.
    pub(super) meaning: String,
    /// What is promised of them; null without a peer.
    pub(super) verdict: Option<Verdict>,
    /// The longest time without a packet that the example's own probes allow.
    pub(super) gap_seconds: Option<f64>,
    /// What makes that as long as it is.
    pub(super) gap_from: Option<GapFrom>,
    /// The name of the process that has them open, or had.
    pub(super) process: Option<String>,
    /// The ids of processes with that name.
    pub(super) pids: Vec<u32>,
    /// Those of them that are stopped now, by a signal, a debugger or a frozen cgroup: they neither read nor answer.
    #[serde(rename = "stopped_pids")]
    pub(super) stopped: Vec<u32>,
    #[serde(flatten)]
    pub(super) part_of: PartOf,
    /// Those that live.
    #[serde(rename = "live")]
    pub(super) n_live: usize,
    /// Those that ended.
    #[serde(rename = "deaths")]
    pub(super) n_dead: usize,
    /// Deaths of each cause, and how many of them are inferred.
    pub(super) causes: Vec<CauseCount>,
    /// When those of the worst finding ended, and when that began; null if they live.
    pub(super) times: Option<ConnectionTimes>,
    /// They hung before the time that was asked for, and went on hanging through it: they neither began nor ended in it.
    pub(super) hung_before: bool,
    /// Others to the same peer go unanswered now, which these cannot notice.
    #[serde(rename = "peer_answers_nobody")]
    pub(super) is_peer_silent: bool,
    /// What the path kept before gets no answer either: the peer or the path is gone for all, and no idle limit follows.
    #[serde(rename = "outage")]
    pub(super) is_outage: bool,
    /// Nobody ever called setsockopt; null if not all were watched from their beginning, false if a value was set.
    pub(super) nobody_ever_set: Option<bool>,
    /// The setsockopt calls on them that were seen, counted.
    pub(super) calls: Vec<CallCount>,
    /// Options that changed without a call.
    pub(super) changed: Vec<SockOpt>,
    /// Shortest and longest quiet time, of the worst.
    #[serde(flatten)]
    pub(super) quiet_seconds: Option<QuietRange>,
    /// What was learned of the path to this very peer, however sure it is.
    pub(super) learned_limit: Option<LimitRow>,
    /// How the limit that was set for the path contradicts it, and what to do; null if they agree, and where none was set.
    pub(super) limit_contradiction: Option<String>,
    /// The outage that others to the same host are in now.
    #[serde(skip)]
    pub(super) outage_beside: Option<Silence>,
    /// How others heard the host of those that hang.
    #[serde(skip)]
    pub(super) host_heard: HostHeard,
    /// They were repeated after the peer had been heard again.
    #[serde(skip)]
    pub(super) is_forgotten: bool,
    /// How many to the same host get no answer now.
    #[serde(skip)]
    pub(super) n_hanging_beside: usize,
    /// The timer of the peer, if it may have closed those of the worst finding, and its FIN was lost.
    #[serde(skip)]
    pub(super) ended_by_timer: Option<PeerClosesRow>,
    /// When the peer refused new connections soon after it ended those of the worst finding: Unix time.
    #[serde(skip)]
    pub(super) refused_soon_after: Option<f64>,
    /// Their first probe met silence, and what others show of the path explains that, in words.
    #[serde(skip)]
    pub(super) probed_too_late: Option<String>,
    /// What makes their probes late although the limit in force is longer.
    #[serde(skip)]
    pub(super) killed_sooner: Option<KilledAfter>,
    /// What those let guess that hang now, here or beside.
    #[serde(skip)]
    pub(super) limit_guess: Option<LimitGuess>,
    /// What the connections to the same peer, or to its host, let guess of the limit.
    #[serde(skip)]
    pub(super) path_guess: Option<KilledAfter>,
    /// The peer's own idle timer.
    pub(super) peer_closes: Option<PeerClosesRow>,
    /// Connections end together at a time of day, and some of these did.
    pub(super) clean_up: Option<CleanUpRow>,
    /// Settings that agree with all that is known.
    pub(super) proposal: Proposal,
    /// What makes its times as short as they are, in words; null where they were asked for.
    pub(super) values_from: Option<String>,
    /// The same as a kind.
    #[serde(skip)]
    pub(super) origin: Option<ValueOrigin>,
    /// What these would have made of the deaths.
    pub(super) what_if: WhatIf,
    /// What to do, the best first.
    pub(super) advice: Vec<Advice>,
    /// The latest of the worst: with settings, verdict, limit and evidence.
    pub(super) example: Option<Life>,
    #[serde(skip)]
    pub(super) case: ConnectionGroup,
    #[serde(skip)]
    pub(super) asked: AskedWhen,
}

#[derive(Debug, Serialize)]
pub(super) struct CauseCount {
    /// The cause.
    pub(super) cause: Cause,
    /// Deaths of it.
    #[serde(rename = "deaths")]
    pub(super) n: usize,
    /// Those of them that are inferred.
    #[serde(rename = "deaths_inferred")]
    pub(super) n_inferred: usize,
}

/// Calls that are alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct CallCount {
    /// The option that they set, or tried to set.
    pub(super) option: SockOpt,
    /// The value asked for.
    pub(super) value: Option<i32>,
    /// `ok` or the error's name.
    pub(super) result: String,
    /// How many there were.
    #[serde(rename = "calls")]
    pub(super) n: usize,
    /// The time of the last of these calls.
    pub(super) last_at: String,
    /// The process that made the last of them.
    pub(super) by: Option<crate::view::connection::RowOwner>,
    /// They were made on the listening socket that the connections came out of.
    pub(super) inherited: bool,
}

/// Judges all cases; worst first. `others`: connections to the same servers; `idle`: what if the first probe came
/// then?
pub(super) fn judge(
    mut lives: Vec<Life>,
    others: &[Life],
    learned: &[LearnedRow],
    idle: Option<u32>,
    asked: AskedWhen,
) -> Vec<Judged> {
    for life in &mut lives {
        in_window::place(life, asked);
    }
    let known = KnownLessons::of(learned);
    let mut cases = cases_of(lives);
    let mut neighbours = neighbours_of(&cases, others, &known.timers, asked.now);
    if !asked.is_of_past && suspect(&mut cases, &known, &neighbours) {
        cases = sorted(cases);
        neighbours = neighbours_of(&cases, others, &known.timers, asked.now);
    }
    let mut processes = SeenProcesses::of(&cases);
    cases
        .into_iter()
        .map(|case| {
            let judged = of_case(case, &known, idle, &mut processes, &neighbours);
            let stopped =
                if asked.is_of_past { Vec::new() } else { processes.stopped(&judged.case) };
            let judged = Judged { stopped, asked, ..judged };
            Judged { meaning: judged.sentence(), ..judged }
        })
        .collect()
}

impl Judged {
    /// Whether it died of silence, or may: once the peer reads, also what is blocked may.
    pub(super) fn is_of_silence(&self) -> bool {
        self.finding.is_of_silence()
            || self.finding == Finding::Blocked && self.case.is_unprotected()
    }
}

fn neighbours_of(
    cases: &[ConnectionGroup],
    others: &[Life],
    timers: &PeerTimers,
    now: f64,
) -> Neighbours {
    Neighbours::of(cases.iter().flat_map(|case| &case.lives), others.iter(), timers, now)
}

/// Marks what is well by the limit in force, and is not by what others show. Whether there is any.
fn suspect(
    cases: &mut [ConnectionGroup],
    known: &KnownLessons<'_>,
    neighbours: &Neighbours,
) -> bool {
    let mut is_any = false;
    for case in cases {
        let learned = Lessons::of(case, known, None).limit;
        for life in case.lives.iter_mut().filter(|life| life.end.is_none()) {
            life.suspicion = neighbours.suspicion(life, learned.as_ref());
            is_any |= life.suspicion.is_some();
        }
    }
    is_any
}

fn sorted(cases: Vec<ConnectionGroup>) -> Vec<ConnectionGroup> {
    cases_of(cases.into_iter().flat_map(|case| case.lives).collect())
}

fn values_from(
    case: &ConnectionGroup,
    known: &Constraints,
    origin: Option<ValueOrigin>,
    learned: Option<&LimitRow>,
    evidence: &PathEvidence,
) -> Option<String> {
    Some(origin?.in_words(&case.example()?.connection, known, learned, evidence))
}

fn limit_contradiction(case: &ConnectionGroup, learned: Option<&LimitRow>) -> Option<String> {
    LimitsMet::of(case.example()?.connection.limit.in_force(), learned?).contradiction
}

/// What makes the probes of a case late although the limit in force is longer.
fn killed_sooner(
    case: &ConnectionGroup,
    neighbours: &Neighbours,
    learned: Option<&LimitRow>,
) -> Option<KilledAfter> {
    let example = case.example().filter(|life| life.suspicion.is_some())?;
    neighbours.killed_sooner(&example.connection, learned)
}

fn what_if_setting(
    case: &ConnectionGroup,
    proposal: Proposal,
    learned: Option<&LimitRow>,
    is_probed_too_late: bool,
) -> Setting {
    Setting {
        idle: proposal.idle,
        is_probed_too_late,
        detection: proposal.noticed_after_seconds(case.key.own.user_timeout_ms),
        limit: learned.filter(|it| it.confidence == Confidence::Sure).map(|it| {
            it.longest_survived_seconds.unwrap_or_else(|| f64::from(it.idle_limit_seconds))
        }),
    }
}

fn of_case(
    case: ConnectionGroup,
    known: &KnownLessons<'_>,
    idle: Option<u32>,
    processes: &mut SeenProcesses,
    neighbours: &Neighbours,
) -> Judged {
    let finding = case.finding();
    let learned = Lessons::of(&case, known, neighbours.killed_here(&case).as_ref());
    let timer = TimerAdvice::of(&case, finding, neighbours, learned.closes.as_ref());
    let is_of_pool = timer.is_the_answer();
    let earlier = neighbours.earlier_probe(&case, finding).filter(|_| !is_of_pool);
    let sooner = neighbours.killed_before_probe(&case, finding);
    let sooner = sooner.filter(|_| earlier.is_none() && !is_of_pool);
    let probed_too_late = first_probe::too_late(earlier.as_ref(), sooner.as_ref());
    let of_path = neighbours.evidence_of(&case);
    let need = match &probed_too_late {
        Some(_) => Some(Need::Keepalive),
        None if is_of_pool => None,
        None => need(&case, finding, neighbours, learned.limit.as_ref(), &of_path),
    };
    let (direction, port, remote) = match case.key.peer {
        Peer::Server(addr) => (Direction::Outbound, addr.port(), Some(addr)),
        Peer::ClientsOf(port) => (Direction::Inbound, port, None),
    };
    let (traces, pid) = processes.of_case(&case);
    let is_kernel = traces.is_kernel();
    let look = Look { traces, port, direction, own: case.key.own, refused: refused(&case) };
    let recognised = need.map(|_| processes.recognise(look)).unwrap_or_default();
    let only_pings = need == Some(Need::PingThroughProxy)
        || recognised.first().is_some_and(|it| it.client.only_pings());
    let bounds = constraints(&case, learned.limit.as_ref(), &of_path, only_pings);
    let proposal = idle.map_or_else(|| Proposal::fitting(&bounds), Proposal::with_idle);
    let origin = idle.is_none().then(|| ValueOrigin::of(&bounds));
    let values_from = values_from(&case, &bounds, origin, learned.limit.as_ref(), &of_path);
    let setting =
        what_if_setting(&case, proposal, learned.limit.as_ref(), probed_too_late.is_some());
    let mut advice = first_probe::advice(earlier.as_ref(), sooner.as_ref(), proposal);
    advice.extend(reopen(&case, &of_path).into_iter().chain(timer.pool).chain(timer.apart));
    advice.extend(spare_probes(&case, finding));
    let interval = shorter_interval(&case, finding, neighbours, proposal);
    advice.extend(interval.filter(|_| need == Some(Need::Keepalive)));
    if let Some(need) = need {
        let foreign_netns = known.is_foreign(case.key.netns).then_some(ForeignNetns { pid });
        let around = RunsIn { foreign_netns, ..runs_in(&case) };
        let situation = Situation {
            need,
            direction,
            own: &case.key.own,
            now: now(&case).unwrap_or(proposal),
            old_timer: old_timer(&case),
            kernel_gives_up: kernel_gives_up(&case),
            is_kernel,
            around: &around,
            proposal,
        };
        advice.extend(advise(&situation, recognised));
    }
    advice.extend(measurement::advice(&case, need, neighbours));
    Judged {
        finding,
        remote,
        local_port: remote.is_none().then_some(port),
        netns: case.key.netns,
        direction,
        meaning: String::new(),
        verdict: case.key.verdict,
        gap_seconds: case.example().and_then(|life| life.connection.gap_seconds),
        gap_from: case.example().and_then(|life| life.connection.gap_from),
        process: case.key.process.clone(),
        pids: case.pids().into_iter().collect(),
        stopped: Vec::new(),
        part_of: case.example().map(|life| life.connection.part_of.clone()).unwrap_or_default(),
        n_live: case.live().count(),
        n_dead: case.dead().count(),
        causes: causes(&case),
        times: case.times(),
        hung_before: case.key.hung_before,
        is_peer_silent: neighbours.is_silent(&case),
        is_outage: neighbours.is_outage(&case),
        outage_beside: neighbours.outage_beside(&case),
        host_heard: neighbours.host_heard(&case),
        is_forgotten: neighbours.is_forgotten(&case),
        n_hanging_beside: neighbours.n_hanging_beside(&case),
        ended_by_timer: timer.ended,
        refused_soon_after: neighbours.refused_soon_after(&case),
        probed_too_late,
        killed_sooner: killed_sooner(&case, neighbours, learned.limit.as_ref()),
        limit_guess: neighbours.limit(&case),
        path_guess: of_path.guess,
        nobody_ever_set: case.nobody_ever_set(),
        calls: calls(&case),
        changed: changed(&case),
        quiet_seconds: case.quiet_seconds(),
        what_if: case.what_if(&setting),
        limit_contradiction: limit_contradiction(&case, learned.limit.as_ref()),
        learned_limit: learned.limit,
        peer_closes: learned.closes,
        clean_up: learned.clean_up,
        proposal,
        values_from,
        origin: origin.filter(|_| need == Some(Need::Keepalive)),
        advice,
        example: case.example().cloned(),
        case,
        asked: AskedWhen::default(),
    }
}

fn causes(case: &ConnectionGroup) -> Vec<CauseCount> {
    let counts = case.causes().into_iter();
    counts.map(|(cause, n, n_inferred)| CauseCount { cause, n, n_inferred }).collect()
}

fn changed(case: &ConnectionGroup) -> Vec<SockOpt> {
    let all: BTreeSet<SockOpt> =
        case.lives.iter().flat_map(|life| life.changed.iter().copied()).collect();
    all.into_iter().collect()
}

fn refused(case: &ConnectionGroup) -> Vec<(SockOpt, Option<i32>)> {
    let calls = case.lives.iter().flat_map(|life| &life.calls);
    let mut refused: Vec<_> =
        calls.filter(|call| call.result != "ok").map(|call| (call.option, call.value)).collect();
    refused.sort_unstable();
    refused.dedup();
    refused
}

/// Calls that are alike, counted; refused ones first.
fn calls(case: &ConnectionGroup) -> Vec<CallCount> {
    let mut counts: Vec<CallCount> = Vec::new();
    for call in case.lives.iter().flat_map(|life| &life.calls) {
        let same = counts.iter_mut().find(|count| {
            (count.option, count.value, count.inherited)
                == (call.option, call.value, call.inherited)
                && count.result == call.result
        });
        match same {
            Some(count) => {
                count.n += 1;
                if call.at > count.last_at {
                    count.last_at.clone_from(&call.at);
                    count.by.clone_from(&call.by);
                }
            }
            None => counts.push(CallCount {
                option: call.option,
                value: call.value,
                result: call.result.clone(),
                n: 1,
                last_at: call.at.clone(),
                by: call.by.clone(),
                inherited: call.inherited,
            }),
        }
    }
    counts.sort_by_key(|count| (count.result == "ok", count.option));
    counts
}

impl Judged {
    /// `ADDRESS:PORT`, or `clients of port PORT`.
    pub(super) fn peer(&self) -> String {
        match self.case.key.peer {
            Peer::Server(addr) => addr.to_string(),
            Peer::ClientsOf(port) => format!("clients of port {port}"),
        }
    }

    /// Whether the peer had probably closed those of the worst finding, as it does again and again.
    pub(super) fn is_ended_by_habit(&self) -> bool {
        self.ended_by_timer.as_ref().is_some_and(|timer| timer.confidence > Confidence::Guess)
    }

    /// Whether keepalive is on, and too late for its path.
    pub(super) fn is_late(&self) -> bool {
        self.case.key.verdict == Some(Verdict::Late)
    }
}
