//! An outage that many connections show at once: said before the cases, of which each shows only its part.

use super::phrase::connections;
use crate::{
    command::{timestamp, why::answer::Judged},
    model::text::count::counted,
    view::neighbours::witness::{ANSWER_SECONDS, PeerWitness, Silence},
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

/// A connection to a host, with its place in the answer.
#[derive(Clone, Copy, Debug)]
struct HostWitness {
    case: usize,
    port: u16,
    witness: PeerWitness,
    /// It hung before the time that was asked for.
    hung_before: bool,
}

/// What is said of an outage.
pub(super) struct OutageText {
    pub(super) sentence: String,
    /// None of those that it took lives.
    pub(super) is_over: bool,
    /// It began before the time that was asked for.
    pub(super) hung_before: bool,
}

/// The host with most connections that went dark together, in words: in the time that was asked for, else before it. `now`: Unix
/// time.
pub(super) fn in_words(cases: &[Judged], now: f64) -> Option<OutageText> {
    let mut hosts: BTreeMap<IpAddr, Vec<HostWitness>> = BTreeMap::new();
    for (number, case) in cases.iter().enumerate() {
        let Some(remote) = case.remote else { continue };
        let port = remote.port();
        let witnesses = case.case.lives.iter().map(|life| PeerWitness::of(life, now));
        let hung_before = case.hung_before;
        let place = |witness| HostWitness { case: number, port, witness, hung_before };
        let placed = witnesses.map(place);
        hosts.entry(remote.ip()).or_default().extend(placed);
    }
    let largest = |hung_before: bool| {
        let outages = hosts.iter().filter_map(|(host, all)| {
            Some((*host, Outage::of(all.clone(), hung_before)?, hung_before))
        });
        outages.max_by_key(|(_, outage, _)| outage.n)
    };
    let (host, outage, hung_before) = largest(false).or_else(|| largest(true))?;
    let ports = if outage.n_ports == 1 { "1 port" } else { &format!("{} ports", outage.n_ports) };
    let sentence = format!(
        "{host}, or the path to it, went dark {} for {} of {} kinds, to {ports}",
        outage.when(now),
        connections(outage.n),
        outage.n_cases
    );
    Some(OutageText { sentence, is_over: outage.is_over, hung_before })
}

/// That others get no answer from a host which connections that are well go to as well, in words; they may be next.
pub(super) fn beside(cases: &[Judged], now: f64) -> Option<String> {
    let (case, silence) = cases.iter().find_map(|case| Some((case, case.outage_beside?)))?;
    Some(format!(" But {}.", get_no_answer(case.remote?.ip(), silence, now)))
}

/// That others get no answer either from the host of a case, in words.
pub(super) fn others_too(case: &Judged) -> Option<String> {
    let host = case.remote?.ip();
    let hang = || {
        let n = case.n_hanging_beside;
        let get = if n == 1 { "gets" } else { "get" };
        format!(
            "{} to {host} {get} no answer either, and nobody has heard it since",
            counted(n, "other connection")
        )
    };
    Some(
        case.outage_beside
            .map_or_else(hang, |silence| get_no_answer(host, silence, case.asked.now)),
    )
}

fn get_no_answer(host: IpAddr, silence: Silence, now: f64) -> String {
    let clock = |at: f64| timestamp::short(&timestamp::of_unix(at).to_string(), now);
    let heard = silence.heard_until.map(|at| format!(" after {}", clock(at)));
    format!(
        "others to {host} get no answer since {}, and nobody has heard it{}",
        clock(silence.since),
        heard.unwrap_or_else(|| " since".to_owned())
    )
}

/// A time in which several connections to one host got no answer.
#[derive(Debug, PartialEq)]
struct Outage {
    /// The last packet that shows that the host was there: Unix time.
    heard_until: Option<f64>,
    /// When the first was sent that was not answered.
    since: f64,
    n: usize,
    n_cases: usize,
    n_ports: usize,
    is_over: bool,
}

impl Outage {
    /// Where most fell silent within the time, if these are many. `hung_before`: of those that hung before the time that was asked
    /// for.
    fn of(all: Vec<HostWitness>, hung_before: bool) -> Option<Self> {
        let is_dark = |it: &HostWitness| {
            let is_alone = it.witness.unanswered.is_none_or(|it| it.is_alone);
            !is_alone && it.hung_before == hung_before
        };
        let (mut dark, mut others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_dark);
        dark.sort_by(|a, b| since(a).total_cmp(&since(b)));
        let group = longest_together(&dark)?;
        let (start, end) = (group.start, group.end);
        others.extend(dark.iter().take(start).chain(dark.iter().skip(end)));
        let group = dark.get(start..end)?;
        let began = group.first().map(since)?;
        let is_within =
            |it: &HostWitness| it.witness.unanswered.is_some_and(|unanswered| unanswered.is_outage);
        let cases: BTreeSet<usize> = group.iter().map(|it| it.case).collect();
        let ports: BTreeSet<u16> = group.iter().map(|it| it.port).collect();
        let is_many = group.len() >= MIN_CONNECTIONS && cases.len() >= MIN_CASES;
        // Ten clients of a path that forgets hang together, too.
        let is_outage = is_many && group.iter().any(is_within);
        // A host that others heard meanwhile is not dark; what is over may have been one.
        let ended = group.iter().map(|it| it.witness.ended.unwrap_or(f64::INFINITY));
        let last_end = ended.fold(0.0, f64::max);
        let is_heard = |it: &HostWitness| {
            it.witness
                .heard
                .is_some_and(|heard| heard > began + ANSWER_SECONDS && heard <= last_end)
        };
        if !is_outage || others.iter().any(is_heard) {
            return None;
        }
        let heard = others.iter().chain(group).filter_map(|it| it.witness.heard);
        let before = heard.filter(|heard| *heard <= began + ANSWER_SECONDS);
        Some(Self {
            heard_until: before.max_by(f64::total_cmp).map(|heard| heard.min(began)),
            since: began,
            n: group.len(),
            n_cases: cases.len(),
            n_ports: ports.len(),
            is_over: last_end.is_finite(),
        })
    }

    /// Between which times it began.
    fn when(&self, now: f64) -> String {
        let clock = |at: f64| timestamp::short(&timestamp::of_unix(at).to_string(), now);
        let since = clock(self.since);
        match self.heard_until.map(clock) {
            Some(heard) if heard != since => format!(
                "between {heard} (the last packet from it) and {since} (the first that it did not answer)"
            ),
            Some(_) => format!("at {since}"),
            None => format!("at {since} or before"),
        }
    }
}

/// When the first of what one sent went out that is not answered.
fn since(it: &HostWitness) -> f64 {
    it.witness.unanswered.map_or(f64::NAN, |unanswered| unanswered.since)
}

/// The places of the most that fell silent within the time, without those that hung before one of the others was heard.
/// `dark`: in the order of time.
fn longest_together(dark: &[HostWitness]) -> Option<std::ops::Range<usize>> {
    // In the order of time the end only advances with the beginning.
    let mut end = 0;
    let groups = dark.iter().enumerate().map(|(place, first)| {
        let rest = dark.get(end..).unwrap_or_default();
        end += rest.iter().take_while(|it| since(it) <= since(first) + TOGETHER_SECONDS).count();
        let group = dark.get(place..end).unwrap_or_default();
        let heard = group.iter().filter_map(|it| it.witness.heard).max_by(f64::total_cmp);
        let is_older =
            |it: &&HostWitness| heard.is_some_and(|heard| since(it) + ANSWER_SECONDS < heard);
        place + group.iter().take_while(is_older).count()..end
    });
    groups.max_by_key(ExactSizeIterator::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::neighbours::witness::UnansweredSince;

    fn darkened(case: usize, heard: f64, since: f64) -> HostWitness {
        let unanswered = UnansweredSince { since, is_outage: true, is_alone: false };
        let witness = PeerWitness {
            heard: Some(heard),
            unanswered: Some(unanswered),
            ..PeerWitness::default()
        };
        HostWitness { case, port: 443, witness, hung_before: false }
    }

    fn heard(at: f64) -> HostWitness {
        let witness = PeerWitness { heard: Some(at), ..PeerWitness::default() };
        HostWitness { case: 99, port: 443, witness, hung_before: false }
    }

    #[test]
    fn the_most_that_fell_silent_within_a_minute_are_together() {
        let all: Vec<HostWitness> = [0.0, 100.0, 110.0, 130.0, 160.0, 161.0, 200.0]
            .into_iter()
            .enumerate()
            .map(|(case, since)| darkened(case, -1.0, since))
            .collect();
        let outage = Outage::of(all.clone(), false).unwrap();
        assert_eq!((outage.since, outage.n, outage.n_cases), (110.0, 4, 4));
        assert_eq!(Outage::of(all[..4].to_vec(), false), None);
    }

    #[test]
    fn what_hung_before_the_last_packet_came_is_not_of_it_and_hides_it_not() {
        // As one that hangs for 24 s when the wire is cut at 100, and one that dies of an earlier trouble.
        let cut = [(1, 99.0, 101.0), (2, 100.0, 102.0), (3, 98.0, 103.0), (4, 97.0, 104.0)];
        let cut = cut.map(|(case, heard, since)| darkened(case, heard, since));
        let older = [darkened(5, 20.0, 76.0), darkened(6, 10.0, 80.0)];
        let all = [&cut[..], &older].concat();
        let outage = Outage::of(all.clone(), false).unwrap();
        assert_eq!((outage.heard_until, outage.since, outage.n), (Some(100.0), 101.0, 4));
        assert!(!outage.is_over, "they still wait");
        // A neighbour that was answered shows the bound; one that still is shows that the host is there.
        let beside = |at| Outage::of([&all[..], &[heard(at)]].concat(), false);
        assert_eq!(beside(100.9).unwrap().heard_until, Some(100.9));
        assert_eq!(beside(140.0), None);
    }

    #[test]
    fn an_outage_that_is_over_is_reported_although_the_host_is_heard_again() {
        let mut all = [1, 2, 3, 4].map(|case| darkened(case, 99.0, 101.0));
        for it in &mut all {
            it.witness.ended = Some(130.0);
        }
        let beside = |at| Outage::of([&all[..], &[heard(at)]].concat(), false);
        assert!(beside(500.0).is_some_and(|it| it.is_over), "heard after the last had ended");
        assert_eq!(beside(120.0), None, "heard meanwhile");
    }

    #[test]
    fn an_older_outage_does_not_hide_the_one_of_the_time_that_was_asked_for() {
        let older: Vec<HostWitness> = (10..16)
            .map(|case| HostWitness { hung_before: true, ..darkened(case, -1.0, 1.0) })
            .collect();
        let of_then = [1, 2, 3, 4].map(|case| darkened(case, 99.0, 101.0));
        let all = [&older[..], &of_then].concat();
        assert_eq!(Outage::of(all.clone(), false).map(|it| (it.since, it.n)), Some((101.0, 4)));
        assert_eq!(Outage::of(older.clone(), false), None);
        assert_eq!(Outage::of(older, true).map(|it| (it.since, it.n)), Some((1.0, 6)));
    }
}
