//! From connections to the answer: cases with their finding, the learned limit of their path,
//! the advice and the what-if. Serialised, it is what `--json` shows.

use crate::{
    advice::{
        Proposal,
        process_clues::Traces,
        recognise::{Look, recognise},
        remedy::{Advice, ForeignNetns, Need, RunsIn, advise},
    },
    kernel::host,
    model::{
        judgement::{death::Cause, learned::LimitRow, verdict::Verdict},
        observed::{setsockopt::SockOpt, socket::Direction},
    },
    view::{
        connection_group::{ConnectionGroup, ConnectionTimes, Peer, cases},
        life::{Finding, Life},
        what_if::{Setting, WhatIf},
    },
};
use ipnet::IpNet;
use serde::Serialize;
use std::{collections::BTreeMap, net::SocketAddr};

/// A case with the numbers and sentences that follow from it.
#[derive(Debug, Serialize)]
pub(super) struct Judged {
    /// The worst that is to be said.
    pub(super) finding: Finding,
    /// `ADDRESS:PORT`, or `clients of port PORT`.
    pub(super) peer: String,
    pub(super) direction: Direction,
    pub(super) process: Option<String>,
    pub(super) pids: Vec<u32>,
    pub(super) part_of: Option<String>,
    pub(super) n_live: usize,
    pub(super) n_dead: usize,
    /// Deaths of each cause, and how many of them are inferred.
    pub(super) causes: Vec<CauseCount>,
    /// When those of the worst finding ended, and when that began; null if they live.
    pub(super) times: Option<ConnectionTimes>,
    /// Nobody ever called setsockopt; null if not all were watched from their beginning.
    pub(super) nobody_ever_set: Option<bool>,
    pub(super) calls: Vec<CallCount>,
    /// Options that changed without a call.
    pub(super) changed: Vec<SockOpt>,
    /// Shortest and longest quiet time, of the worst.
    pub(super) quiet_seconds: Option<(f64, f64)>,
    /// What was learned of the path.
    pub(super) learned_limit: Option<LimitRow>,
    pub(super) proposal: Proposal,
    pub(super) what_if: WhatIf,
    pub(super) advice: Vec<Advice>,
    /// The latest of the worst: with settings, verdict, limit and evidence.
    pub(super) example: Option<Life>,
    #[serde(skip)]
    pub(super) case: ConnectionGroup,
}

#[derive(Debug, Serialize)]
pub(super) struct CauseCount {
    pub(super) cause: Cause,
    pub(super) n: usize,
    pub(super) n_inferred: usize,
}

/// Calls that are alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct CallCount {
    pub(super) option: SockOpt,
    pub(super) value: Option<i32>,
    pub(super) result: String,
    pub(super) n: usize,
    /// The time of the last of these calls.
    pub(super) last_at: String,
    pub(super) by: Option<crate::view::connection::RowOwner>,
}

/// Judges all cases; worst first. `idle`: what if the first probe came then?
pub(super) fn judge(lives: Vec<Life>, limits: &[LimitRow], idle: Option<u32>) -> Vec<Judged> {
    let cases = cases(lives);
    let mut looks: BTreeMap<u32, Traces> = BTreeMap::new();
    let alive = living_pids(&cases);
    cases
        .into_iter()
        .map(|case| {
            let pid = alive.get(&(case.key.process.clone(), case.key.part_of.clone())).copied();
            let traces = match (pid, &case.key.process) {
                (Some(pid), _) => {
                    looks.entry(pid).or_insert_with(|| Traces::of_process(pid)).clone()
                }
                // It is gone: what it showed while it lived.
                (None, Some(process)) => {
                    let kept = case.lives.iter().find_map(|life| life.clues.clone());
                    kept.unwrap_or_else(|| Traces::of_name(process))
                }
                (None, None) => Traces::default(),
            };
            of_case(case, limits, idle, traces, pid)
        })
        .collect()
}

/// For each name a process that lives and still has it.
fn living_pids(cases: &[ConnectionGroup]) -> BTreeMap<(Option<String>, Option<String>), u32> {
    let mut alive = BTreeMap::new();
    for case in cases {
        let key = (case.key.process.clone(), case.key.part_of.clone());
        let first_the_living = case.live().chain(case.dead());
        let pids = first_the_living.filter_map(|life| Some(life.owner.as_ref()?.pid)).take(64);
        for pid in pids {
            if alive.contains_key(&key) {
                break;
            }
            let comm = std::fs::read(format!("/proc/{pid}/comm")).ok();
            let comm =
                comm.map(|comm| crate::model::text::sanitize::escaped(comm.trim_ascii_end()));
            if comm.is_some() && comm == case.key.process {
                alive.insert(key.clone(), pid);
            }
        }
    }
    alive
}

fn of_case(
    case: ConnectionGroup,
    limits: &[LimitRow],
    idle: Option<u32>,
    traces: Traces,
    pid: Option<u32>,
) -> Judged {
    let finding = case.finding();
    let learned = case.example().and_then(|life| learned(life, limits)).cloned();
    let limit = limit_seconds(&case, learned.as_ref());
    let proposal = idle.map_or_else(|| Proposal::below(limit), Proposal::with_idle);
    let setting = Setting {
        idle: proposal.idle,
        detection: proposal.detection_seconds(),
        limit: learned.as_ref().map(|learned| {
            learned.longest_survived_seconds.unwrap_or_else(|| f64::from(learned.seconds))
        }),
    };
    let (direction, peer, port) = match case.key.peer {
        Peer::Server(addr) => (Direction::Outbound, addr.to_string(), addr.port()),
        Peer::ClientsOf(port) => (Direction::Inbound, format!("clients of port {port}"), port),
    };
    let look = Look { traces, port, direction, own: case.key.own, refused: refused(&case) };
    let advice = need(&case, finding).map(|need| {
        let around = runs_in(&case, pid);
        advise(need, &case.key.own, recognise(&look).as_ref(), &around, proposal)
    });
    let causes = case
        .causes()
        .into_iter()
        .map(|(cause, n, n_inferred)| CauseCount { cause, n, n_inferred })
        .collect();
    let mut changed: Vec<SockOpt> =
        case.lives.iter().flat_map(|life| life.changed.clone()).collect();
    changed.sort_unstable();
    changed.dedup();
    Judged {
        finding,
        peer,
        direction,
        process: case.key.process.clone(),
        pids: case.pids().into_iter().collect(),
        part_of: case.key.part_of.clone(),
        n_live: case.live().count(),
        n_dead: case.dead().count(),
        causes,
        times: case.times(),
        nobody_ever_set: case.nobody_ever_set(),
        calls: calls(&case),
        changed,
        quiet_seconds: case.quiet_seconds(),
        what_if: case.what_if(&setting),
        learned_limit: learned,
        proposal,
        advice: advice.unwrap_or_default(),
        example: case.example().cloned(),
        case,
    }
}

/// What was learned of the way to this peer: its own, its path's, its network's.
fn learned<'a>(life: &Life, limits: &'a [LimitRow]) -> Option<&'a LimitRow> {
    let connection = &life.connection;
    let addr = connection.remote.ip().to_canonical();
    let own = match life.connection.direction() {
        Direction::Outbound => SocketAddr::new(addr, connection.remote.port()).to_string(),
        Direction::Inbound => addr.to_string(),
    };
    let find = |is: &dyn Fn(&LimitRow) -> bool| limits.iter().find(|limit| is(limit));
    find(&|limit| limit.destination == own)
        .or_else(|| find(&|limit| connection.limit.path.as_deref() == Some(&limit.destination)))
        .or_else(|| {
            find(&|limit| limit.destination.parse::<IpNet>().is_ok_and(|net| net.contains(&addr)))
        })
}

/// How soon the path forgets, at the least that anything says.
fn limit_seconds(case: &ConnectionGroup, learned: Option<&LimitRow>) -> u32 {
    let configured = case.lives.iter().map(|life| life.connection.limit.idle_limit_seconds).min();
    let killed = case
        .dead()
        .filter(|life| life.end.as_ref().is_some_and(|end| end.cause == Cause::IdleDrop))
        .map(|life| life.connection.quiet_seconds)
        .min_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1 s")]
    let killed = killed.map(|seconds| seconds.clamp(1.0, 1e9) as u32);
    let learned = learned.map(|learned| learned.seconds);
    [learned.or(configured), killed].into_iter().flatten().min().unwrap_or(350)
}

/// What advice is wanted, if any.
fn need(case: &ConnectionGroup, finding: Finding) -> Option<Need> {
    let is_late = case.is_unprotected();
    let is_proxy =
        case.lives.iter().any(|life| life.connection.limit.idle_limit_from.counts_bytes());
    match finding {
        _ if is_proxy && finding.is_of_silence() => Some(Need::Ping),
        Finding::ClosedAlthoughProbed => Some(Need::Ping),
        Finding::Dark if !is_late => {
            let in_flight = |life: &Life| {
                life.end.as_ref().is_some_and(|end| end.cause == Cause::RetransmitTimeout)
            };
            case.lives.iter().any(in_flight).then_some(Need::UserTimeout)
        }
        Finding::Dropped | Finding::Unprotected | Finding::Dark => Some(Need::Keepalive),
        Finding::Failed | Finding::Unseen | Finding::Fine => None,
    }
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
            count.option == call.option && count.value == call.value && count.result == call.result
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
            }),
        }
    }
    counts.sort_by_key(|count| (count.result == "ok", count.option));
    counts
}

fn runs_in(case: &ConnectionGroup, pid: Option<u32>) -> RunsIn {
    let Some(life) = case.example() else {
        return RunsIn::default();
    };
    let connection = &life.connection;
    let is_foreign = host::own_netns().is_some_and(|own| own != connection.netns);
    RunsIn {
        unit: connection
            .part_of
            .unit
            .clone()
            .filter(|unit| unit.ends_with(".service") && !unit.starts_with("user@")),
        pod: connection.part_of.pod.clone(),
        container: connection.part_of.container.clone(),
        foreign_netns: is_foreign.then_some(ForeignNetns { pid }),
    }
}

impl Judged {
    /// Whether keepalive is on, and too late for its path.
    pub(super) fn is_late(&self) -> bool {
        self.case.lives.iter().any(|life| life.connection.verdict == Some(Verdict::Late))
    }
}
