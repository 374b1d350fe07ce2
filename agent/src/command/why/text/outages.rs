//! An outage that many connections show at once: said before the cases, of which each shows only its part.

use super::phrase::connections;
use crate::{
    command::{
        timestamp,
        why::{answer::Judged, neighbours::ANSWER_SECONDS},
    },
    view::life::{Finding, Life},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What went dark within this time went dark together.
const TOGETHER_SECONDS: f64 = 60.0;
/// Fewer connections, or one kind of them, are said by their case.
const MIN_CONNECTIONS: usize = 4;
const MIN_CASES: usize = 3;

/// A connection that gets no answer, or got none any more.
struct Darkened {
    began: f64,
    case: usize,
    port: u16,
    /// No quiet time explains it: it had gone on after as much before.
    is_outage: bool,
}

/// The host with most connections that went dark together, in words. `now`: Unix time.
pub(super) fn in_words(cases: &[Judged], now: f64) -> Option<String> {
    let mut hosts: BTreeMap<IpAddr, Vec<Darkened>> = BTreeMap::new();
    let mut heard: BTreeMap<IpAddr, f64> = BTreeMap::new();
    for (number, case) in cases.iter().enumerate() {
        let Some(remote) = case.remote else { continue };
        let answered = case.case.live().filter(|life| began(life, now).is_none());
        let latest =
            answered.map(|life| now - life.connection.silent_seconds).max_by(f64::total_cmp);
        if let Some(latest) = latest {
            heard.entry(remote.ip()).and_modify(|at| *at = at.max(latest)).or_insert(latest);
        }
        for life in &case.case.lives {
            if let Some(began) = began(life, now) {
                let (port, is_outage) = (remote.port(), case.is_outage);
                let trouble = Darkened { began, case: number, port, is_outage };
                hosts.entry(remote.ip()).or_default().push(trouble);
            }
        }
    }
    let outages = hosts.into_iter().filter_map(|(host, mut all)| {
        all.sort_by(|a, b| a.began.total_cmp(&b.began));
        let outage = together(&all)?;
        // A host that was heard since then is not dark.
        let is_heard = heard.get(&host).is_some_and(|at| *at > outage.began + ANSWER_SECONDS);
        (!is_heard).then_some((host, outage))
    });
    let (host, outage) = outages.max_by_key(|(_, outage)| outage.n)?;
    let at = timestamp::local(&timestamp::of_unix(outage.began).to_string(), "%H:%M:%S");
    let ports = if outage.n_ports == 1 { "1 port" } else { &format!("{} ports", outage.n_ports) };
    Some(format!(
        "{host}, or the path to it, went dark at about {at} for {} of {} kinds, to {ports}",
        connections(outage.n),
        outage.n_cases
    ))
}

struct Outage {
    began: f64,
    n: usize,
    n_cases: usize,
    n_ports: usize,
}

/// Where most of them began within the time, if these are many. `all`: in the order of time.
fn together(all: &[Darkened]) -> Option<Outage> {
    // In the order of time the end only advances with the beginning.
    let mut end = 0;
    let groups = all.iter().enumerate().map(|(place, first)| {
        let rest = all.get(end..).unwrap_or_default();
        end += rest.iter().take_while(|it| it.began <= first.began + TOGETHER_SECONDS).count();
        all.get(place..end).unwrap_or_default()
    });
    let group = groups.max_by_key(|group| group.len())?;
    let cases: BTreeSet<usize> = group.iter().map(|it| it.case).collect();
    let ports: BTreeSet<u16> = group.iter().map(|it| it.port).collect();
    let is_many = group.len() >= MIN_CONNECTIONS && cases.len() >= MIN_CASES;
    // Ten clients of a path that forgets hang together, too.
    let is_outage = group.iter().any(|it| it.is_outage);
    let began = group.first().filter(|_| is_many && is_outage)?.began;
    Some(Outage { began, n: group.len(), n_cases: cases.len(), n_ports: ports.len() })
}

/// When the trouble of one began that gets no answer: Unix time.
fn began(life: &Life, now: f64) -> Option<f64> {
    match life.finding() {
        Finding::Stuck | Finding::PeerSilent | Finding::GivenUp => {
            Some(now - life.connection.condition_seconds?)
        }
        Finding::Dark => timestamp::unix_seconds(life.trouble_began()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn darkened(began: f64, case: usize) -> Darkened {
        Darkened { began, case, port: 443, is_outage: true }
    }

    #[test]
    fn the_most_that_began_within_a_minute_are_together() {
        let all: Vec<Darkened> = [0.0, 100.0, 110.0, 130.0, 160.0, 161.0, 200.0]
            .into_iter()
            .enumerate()
            .map(|(case, began)| darkened(began, case))
            .collect();
        let outage = together(&all).unwrap();
        assert_eq!((outage.began, outage.n, outage.n_cases), (110.0, 4, 4));
        assert!(together(&all[..4]).is_none());
    }
}
