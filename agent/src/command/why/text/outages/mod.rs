//! An outage that many connections show at once: said before the cases, of which each shows only its part.

use super::phrase::connections;
use crate::{
    command::{
        timestamp,
        why::{answer::Judged, in_window::AskedWhen},
    },
    model::text::count::counted,
    view::{
        life::{InWindow, Life},
        neighbours::witness::{ANSWER_SECONDS, PeerWitness, Silence, UnansweredSince},
    },
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
/// Of more hosts the names are no help.
const HOSTS_NAMED: usize = 3;

/// A connection to a host, with its place in the answer.
#[derive(Clone, Copy, Debug)]
struct HostWitness {
    case: usize,
    port: u16,
    witness: PeerWitness,
    /// When what it had sent was answered after all: Unix time.
    answered: Option<f64>,
    /// It has never been quiet for longer, seconds, since it is watched: Unix time. None while it hangs.
    busy: Option<(f64, f64)>,
    /// The last time in which its data went unanswered, before it was answered: Unix times.
    hung: Option<(f64, f64)>,
    /// It hung before the time that was asked for.
    hung_before: bool,
}

/// What is said of an outage.
pub(super) struct OutageText {
    pub(super) sentence: String,
    /// None of those that it took lives, or the hosts were heard again.
    pub(super) is_over: bool,
    /// It began before the time that was asked for.
    pub(super) hung_before: bool,
}

/// The hosts with most connections that went dark together, in words: in the time that was asked for, else before it. `now`:
/// Unix time.
pub(super) fn in_words(cases: &[Judged], now: f64) -> Option<OutageText> {
    let mut hosts: BTreeMap<IpAddr, Vec<HostWitness>> = BTreeMap::new();
    for (number, case) in cases.iter().enumerate() {
        let Some(remote) = case.remote else { continue };
        let of_host = hosts.entry(remote.ip()).or_default();
        for life in &case.case.lives {
            of_host.extend(witnesses(life, (number, remote.port()), case.asked));
        }
    }
    let largest = |hung_before: bool| {
        let outages = hosts.iter().filter_map(|(host, all)| {
            Some(Outage { hosts: [*host].into(), ..Outage::of(all.clone(), hung_before)? })
        });
        let together = together(outages.collect());
        let outages = together.into_iter().filter(Outage::is_of_many);
        outages.max_by_key(|outage| outage.n).map(|outage| (outage, hung_before))
    };
    let (outage, hung_before) = largest(false).or_else(|| largest(true))?;
    let is_over = outage.heard_again.is_some() || outage.last_end.is_finite();
    Some(OutageText { sentence: outage.in_words(now), is_over, hung_before })
}

/// What a connection shows of its host: now, or at its end, and in each time in which its data went unanswered.
fn witnesses(life: &Life, (case, port): (usize, u16), asked: AskedWhen) -> Vec<HostWitness> {
    let now = asked.now;
    let witness = PeerWitness::of(life, now);
    let connection = &life.connection;
    let watched_since = life.read_at.unwrap_or(now) - connection.watched_seconds;
    let is_busy = life.end.is_none() && witness.unanswered.is_none();
    let times: Vec<(f64, f64)> =
        life.unanswered_times_of(asked.window.unwrap_or((asked.since, now))).collect();
    let busy = is_busy.then_some((connection.longest_quiet_seconds, watched_since));
    let hung_before = life.in_window == Some(InWindow::HungBefore);
    let hung = times.last().copied();
    let now = HostWitness { case, port, witness, answered: None, busy, hung, hung_before };
    let hung = times.into_iter().map(|(since, until)| {
        // A path that had forgotten it would never have answered.
        let unanswered = UnansweredSince { since, is_outage: true, is_alone: false };
        let witness = PeerWitness { unanswered: Some(unanswered), ..PeerWitness::default() };
        HostWitness { witness, answered: Some(until), ..now }
    });
    [now].into_iter().chain(hung).collect()
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
    let clock = |at: f64| timestamp::short_of_unix(at, now);
    let heard = silence.heard_until.map(|at| format!(" after {}", clock(at)));
    format!(
        "others to {host} get no answer since {}, and nobody has heard it{}",
        clock(silence.since),
        heard.unwrap_or_else(|| " since".to_owned())
    )
}

/// A time in which connections to some hosts got no answer.
#[derive(Clone, Debug, PartialEq)]
struct Outage {
    hosts: BTreeSet<IpAddr>,
    /// The last packet that shows that a host was there: Unix time.
    heard_until: Option<f64>,
    /// When the first was sent that was not answered.
    since: f64,
    /// The next packet after that, of anybody, as far as it is known.
    heard_again: Option<f64>,
    /// When the last of them ended.
    last_end: f64,
    n: usize,
    cases: BTreeSet<usize>,
    ports: BTreeSet<u16>,
}

impl Outage {
    /// Where most fell silent within the time. `hung_before`: of those that hung before the time that was asked for.
    fn of(all: Vec<HostWitness>, hung_before: bool) -> Option<Self> {
        let is_dark = |it: &HostWitness| {
            let is_alone = it.witness.unanswered.is_none_or(|it| it.is_alone);
            !is_alone && it.hung_before == hung_before
        };
        let (mut dark, mut others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_dark);
        dark.sort_by(|a, b| since(a).total_cmp(&since(b)));
        let (mut group, later_or_before) = longest_together(dark);
        others.extend(later_or_before);
        let began = group.first().map(since)?;
        let later = |at: Option<f64>| at.filter(|at| *at > began + ANSWER_SECONDS);
        let heard_of = |it: &HostWitness| {
            let first = [it.witness.opened, it.answered, it.witness.heard].map(later);
            first.into_iter().flatten().min_by(f64::total_cmp)
        };
        let heard_again = others.iter().chain(&group).filter_map(heard_of).min_by(f64::total_cmp);
        // What fell silent when the host was there again is no part of it.
        group.retain(|it| heard_again.is_none_or(|heard| since(it) < heard));
        let is_within =
            |it: &HostWitness| it.witness.unanswered.is_some_and(|unanswered| unanswered.is_outage);
        // Ten clients of a path that forgets hang together, too.
        if !group.iter().any(is_within) {
            return None;
        }
        let ended = group.iter().map(|it| it.witness.ended.or(it.answered));
        let last_end = ended.map(|it| it.unwrap_or(f64::INFINITY)).fold(0.0, f64::max);
        let over = heard_again.unwrap_or(f64::INFINITY).min(last_end);
        if others.iter().any(|it| it.was_heard_meanwhile((began, over))) {
            return None;
        }
        let heard = others.iter().chain(&group).filter_map(|it| it.witness.heard);
        let before = heard.filter(|heard| *heard <= began + ANSWER_SECONDS);
        Some(Self {
            hosts: BTreeSet::new(),
            heard_until: before.max_by(f64::total_cmp).map(|heard| heard.min(began)),
            since: began,
            heard_again,
            last_end,
            n: group.len(),
            cases: group.iter().map(|it| it.case).collect(),
            ports: group.iter().map(|it| it.port).collect(),
        })
    }

    fn is_of_many(&self) -> bool {
        self.n >= MIN_CONNECTIONS && self.cases.len() >= MIN_CASES
    }

    /// The same with that of another host.
    fn and(mut self, other: Self) -> Self {
        let heard_until = self.heard_until.into_iter().chain(other.heard_until);
        self.hosts.extend(other.hosts);
        self.heard_until = heard_until.max_by(f64::total_cmp);
        self.since = self.since.min(other.since);
        // One that is still dark is not heard again by any time.
        self.heard_again = self.heard_again.zip(other.heard_again).map(|(a, b)| a.max(b));
        self.last_end = self.last_end.max(other.last_end);
        self.n += other.n;
        self.cases.extend(other.cases);
        self.ports.extend(other.ports);
        self
    }

    fn in_words(&self, now: f64) -> String {
        let ports =
            if self.ports.len() == 1 { "1 port" } else { &format!("{} ports", self.ports.len()) };
        let named: Vec<String> =
            self.hosts.iter().take(HOSTS_NAMED).map(IpAddr::to_string).collect();
        let rest = self.hosts.len() - named.len();
        let (hosts, them) = match (named.as_slice(), rest) {
            ([host], 0) => (host.clone(), "it"),
            (named, 0) => (named.join(", "), "them"),
            (named, rest) => {
                (format!("{} and {} more", named.join(", "), counted(rest, "host")), "them")
            }
        };
        format!(
            "{hosts}, or the path to {them}, went dark {} for {} of {} kinds, to {ports}{}",
            self.when(them, now),
            connections(self.n),
            self.cases.len(),
            self.over(them, now)
        )
    }

    /// Between which times it began.
    fn when(&self, them: &str, now: f64) -> String {
        let clock = |at: f64| timestamp::short_of_unix(at, now);
        let since = clock(self.since);
        match self.heard_until.map(|at| (at, clock(at))) {
            // One host was heard when another one did not answer any more.
            Some((at, heard)) if at > self.since + ANSWER_SECONDS => {
                format!("between {since} and {heard}")
            }
            Some((_, heard)) if heard != since => format!(
                "between {heard} (the last packet from {them}) and {since} (the first that {} did not answer)",
                if them == "it" { "it" } else { "they" }
            ),
            Some(_) => format!("at {since}"),
            None => format!("at {since} or before"),
        }
    }

    /// When it was over, if it is.
    fn over(&self, them: &str, now: f64) -> String {
        let at = self.heard_again.map(|at| timestamp::short_of_unix(at, now));
        let were = if them == "it" { "it was" } else { "all were" };
        at.map(|at| format!(", and {were} heard again by {at}")).unwrap_or_default()
    }
}

/// From each host on, those where it began within the time, joined.
fn together(mut outages: Vec<Outage>) -> Vec<Outage> {
    outages.sort_by(|a, b| a.since.total_cmp(&b.since));
    let joined = (0..outages.len()).filter_map(|first| {
        let all = outages.get(first..)?;
        let begins = all.first()?.since;
        let is_of_it = |it: &&Outage| it.since <= begins + TOGETHER_SECONDS;
        all.iter().take_while(is_of_it).cloned().reduce(Outage::and)
    });
    joined.collect()
}

impl HostWitness {
    /// Whether it heard the host between these times, as far as it shows: it went on all the time, or heard it last then.
    fn was_heard_meanwhile(&self, (began, over): (f64, f64)) -> bool {
        let Some(heard) = self.witness.heard.filter(|heard| *heard > began + ANSWER_SECONDS) else {
            return false;
        };
        // What it heard at the end of that was the answer.
        if self.hung.is_some_and(|(since, until)| since <= over && until >= began) {
            return false;
        }
        let was_there = self.witness.opened.is_none_or(|opened| opened <= began);
        match self.busy {
            Some((longest_quiet, watched_since)) if was_there && watched_since <= began => {
                longest_quiet + ANSWER_SECONDS < over.min(heard) - began
            }
            _ => was_there && self.witness.unanswered.is_none() && heard <= over,
        }
    }
}

/// When the first of what one sent went out that is not answered.
fn since(it: &HostWitness) -> f64 {
    it.witness.unanswered.map_or(f64::NAN, |unanswered| unanswered.since)
}

/// The most that fell silent within the time, and the others. What was heard later than one of them fell silent did not fall
/// silent with it. `dark`: in the order of time.
fn longest_together(dark: Vec<HostWitness>) -> (Vec<HostWitness>, Vec<HostWitness>) {
    let is_with = |first: f64, it: &HostWitness| {
        let is_in_time = (first..=first + TOGETHER_SECONDS).contains(&since(it));
        is_in_time && it.witness.heard.is_none_or(|heard| heard <= first + ANSWER_SECONDS)
    };
    let n_with = |place: usize, first: f64| {
        let rest = dark.get(place..).unwrap_or_default();
        let in_time = rest.iter().take_while(|it| since(it) <= first + TOGETHER_SECONDS);
        in_time.filter(|it| is_with(first, it)).count()
    };
    let sizes = dark.iter().enumerate().map(|(place, it)| (n_with(place, since(it)), since(it)));
    let first = sizes.reduce(|most, it| if it.0 >= most.0 { it } else { most }).map(|(_, at)| at);
    dark.into_iter().partition(|it| first.is_some_and(|first| is_with(first, it)))
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
        HostWitness { witness, ..of_case(case) }
    }

    fn of_case(case: usize) -> HostWitness {
        let witness = PeerWitness::default();
        HostWitness {
            case,
            port: 443,
            witness,
            answered: None,
            busy: None,
            hung: None,
            hung_before: false,
        }
    }

    fn heard(at: f64) -> HostWitness {
        let witness = PeerWitness { heard: Some(at), ..PeerWitness::default() };
        HostWitness { witness, ..of_case(99) }
    }

    #[test]
    fn the_most_that_fell_silent_within_a_minute_are_together() {
        let all: Vec<HostWitness> = [0.0, 100.0, 110.0, 130.0, 160.0, 161.0, 200.0]
            .into_iter()
            .enumerate()
            .map(|(case, since)| darkened(case, -1.0, since))
            .collect();
        let outage = Outage::of(all.clone(), false).unwrap();
        assert_eq!((outage.since, outage.n, outage.cases.len()), (110.0, 4, 4));
        assert!(outage.is_of_many());
        assert!(!Outage::of(all[..4].to_vec(), false).unwrap().is_of_many());
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
        assert!(outage.last_end.is_infinite() && outage.heard_again.is_none(), "they still wait");
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
        assert!(
            beside(500.0).is_some_and(|it| it.last_end < 131.0),
            "heard after the last had ended"
        );
        assert_eq!(beside(120.0), None, "heard meanwhile");
    }

    /// Went unanswered from then to then.
    fn went_on(case: usize, since: f64, answered: f64) -> HostWitness {
        let unanswered = UnansweredSince { since, is_outage: true, is_alone: false };
        let witness = PeerWitness { unanswered: Some(unanswered), ..PeerWitness::default() };
        HostWitness { witness, answered: Some(answered), ..of_case(case) }
    }

    #[test]
    fn what_went_on_shows_an_outage_that_is_over_and_what_was_answered_all_the_time_that_there_was_none()
     {
        let times = [(1, 101.0), (2, 102.0), (3, 103.0), (4, 104.0)];
        let mut all = times.map(|(case, since)| went_on(case, since, 175.0)).to_vec();
        // One of them is heard since, and a new one was opened.
        all.push(heard(900.0));
        all.last_mut().unwrap().witness.opened = Some(180.0);
        let outage = Outage::of(all.clone(), false).unwrap();
        assert_eq!((outage.since, outage.heard_again, outage.n), (101.0, Some(175.0), 4));
        let hosts = [IpAddr::from([10, 0, 0, 1])].into();
        let said = Outage { hosts, ..outage }.in_words(1_000.0);
        assert!(said.contains("to 1 port, and it was heard again by "), "{said}");
        // The answer itself comes before it is seen.
        let hung = Some((101.0, 175.0));
        let answer = HostWitness { hung, ..heard(174.0) };
        assert_eq!(Outage::of([&all[..], &[answer]].concat(), false).unwrap().n, 4);
        // It has never been quiet for longer than 3 s: it was answered in these 74 s, too.
        let beside = |longest_quiet, watched_since| {
            let busy = Some((longest_quiet, watched_since));
            Outage::of([&all[..], &[HostWitness { busy, ..heard(990.0) }]].concat(), false)
        };
        assert_eq!(beside(3.0, 0.0), None);
        assert!(beside(80.0, 0.0).is_some(), "it may have been quiet all the time");
        assert!(beside(3.0, 200.0).is_some(), "nobody watched it then");
    }

    #[test]
    fn what_a_path_forgot_in_an_outage_hangs_on_when_the_host_is_heard_again() {
        // The path forgot them while it was cut: a new connection is answered, these wait.
        let mut all = [1, 2, 3, 4].map(|case| darkened(case, 99.0, 101.0)).to_vec();
        all.push(heard(300.0));
        all.last_mut().unwrap().witness.opened = Some(160.0);
        let outage = Outage::of(all.clone(), false).unwrap();
        assert_eq!((outage.heard_again, outage.n), (Some(160.0), 4));
        // One that fell silent when it was there again is no part of it.
        all.push(darkened(5, 161.0, 161.0));
        assert_eq!(Outage::of(all, false).unwrap().n, 4);
    }

    #[test]
    fn hosts_that_went_dark_together_are_one_outage_and_one_that_was_answered_is_not_of_it() {
        let host = |last: u8, since: f64, n: usize| Outage {
            hosts: [IpAddr::from([10, 0, 0, last])].into(),
            heard_until: Some(since - 2.0),
            since,
            heard_again: None,
            last_end: f64::INFINITY,
            n,
            cases: (0..n).map(|it| usize::from(last) * 10 + it).collect(),
            ports: [443].into(),
        };
        let hosts = [(1, 100.0, 2), (2, 101.0, 1), (3, 101.5, 1), (4, 101.5, 1), (5, 400.0, 3)];
        let joined = together(hosts.map(|(last, since, n)| host(last, since, n)).to_vec());
        let largest = joined.iter().filter(|it| it.is_of_many()).max_by_key(|it| it.n).unwrap();
        let said = largest.in_words(1_000.0);
        assert!(
            said.starts_with("10.0.0.1, 10.0.0.2, 10.0.0.3 and 1 host more, or the path to them, went dark between "),
            "{said}"
        );
        assert!(said.ends_with("for 5 connections of 5 kinds, to 1 port"), "{said}");
        // All are heard again only if each is.
        let again = |first: Option<f64>, second: Option<f64>| {
            let heard = |last, heard_again| Outage { heard_again, ..host(last, 100.0, 2) };
            heard(1, first).and(heard(2, second)).in_words(1_000.0)
        };
        assert!(again(Some(150.0), Some(160.0)).contains("all were heard again by "));
        assert!(!again(Some(150.0), None).contains("heard again"), "the second is still dark");
        assert!(!again(None, Some(160.0)).contains("heard again"), "the first is still dark");
        // Three alone are said by their cases.
        assert!(!joined.last().unwrap().is_of_many());
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
