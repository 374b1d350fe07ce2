//! An outage that many connections show at once: said before the cases, of which each shows only its part.

#[cfg(test)]
mod tests;

use super::phrase::connections;
use crate::{
    command::{
        timestamp,
        why::{answer::Judged, in_window::AskedWhen},
    },
    model::text::count::counted,
    view::{
        life::{InWindow, Life},
        neighbours::witness::{ANSWER_SECONDS, BusyTime, PeerWitness, Silence, UnansweredSince},
    },
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What went dark within this time went dark together.
const TOGETHER_SECONDS: f64 = 60.0;
/// The same where different network namespaces saw it: they may have nothing in common.
const ELSEWHERE_SECONDS: f64 = 15.0;
/// Fewer connections, or one kind of them, are said by their case.
const MIN_CONNECTIONS: usize = 4;
const MIN_CASES: usize = 3;
/// Outages of a time that is over, at most.
const MOST_TOLD: usize = 3;
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

/// The hosts with most connections that went dark together, in words: in the time that was asked for, else before it. First the
/// outage that lasts, then one that is over. `now`: Unix time.
pub(super) fn in_words(cases: &[Judged], now: f64) -> Vec<OutageText> {
    let mut hosts: BTreeMap<IpAddr, Vec<HostWitness>> = BTreeMap::new();
    for (number, case) in cases.iter().enumerate() {
        let Some(remote) = case.remote else { continue };
        let of_host = hosts.entry(remote.ip()).or_default();
        for life in &case.case.lives {
            of_host.extend(witnesses(life, (number, remote.port()), case.asked));
        }
    }
    let of_many = |hung_before: bool| {
        let outages = hosts.iter().flat_map(|(host, all)| {
            let of_host = Outage::each_of(all, hung_before);
            of_host.map(|outage| {
                let all = outage.cases.iter().filter_map(|number| cases.get(*number));
                let netns = all.map(|case| case.netns).collect();
                Outage { hosts: [*host].into(), netns, ..outage }
            })
        });
        let together = together(outages.collect()).into_iter();
        let all = together.filter(Outage::is_of_many);
        let is_of_past = cases.iter().any(|case| case.asked.is_of_past);
        let told = if is_of_past { each_of_a_time(all) } else { lasting_then_over(all) };
        told.into_iter().map(move |outage| OutageText {
            sentence: outage.in_words(now),
            is_over: outage.is_over(),
            hung_before,
        })
    };
    let found: Vec<OutageText> = of_many(false).collect();
    if found.is_empty() { of_many(true).collect() } else { found }
}

/// The largest that lasts, whatever was larger, and the largest that is over and was not the same.
fn lasting_then_over(outages: impl Iterator<Item = Outage>) -> Vec<Outage> {
    let (over, lasting): (Vec<_>, Vec<_>) = outages.partition(Outage::is_over);
    let lasting = lasting.into_iter().max_by_key(|outage| outage.n);
    let is_other = |it: &Outage| lasting.as_ref().is_none_or(|lasting| !it.is_with(lasting));
    let over = over.into_iter().filter(is_other).max_by_key(|outage| outage.n);
    [lasting, over].into_iter().flatten().collect()
}

/// Of a time that is over the largest, a few, in the order of time. What began within a minute was one of them.
fn each_of_a_time(outages: impl Iterator<Item = Outage>) -> Vec<Outage> {
    let mut all: Vec<Outage> = outages.collect();
    all.sort_by_key(|outage| Reverse(outage.n));
    let mut told: Vec<Outage> = Vec::new();
    for outage in all {
        if told.len() < MOST_TOLD && !told.iter().any(|it| it.is_with(&outage)) {
            told.push(outage);
        }
    }
    told.sort_by(|a, b| a.since.total_cmp(&b.since));
    told
}

/// What a connection shows of its host: now, or at its end, and in each time in which its data went unanswered.
fn witnesses(life: &Life, (case, port): (usize, u16), asked: AskedWhen) -> Vec<HostWitness> {
    let now = asked.now;
    let witness = PeerWitness::of(life, now);
    let times: Vec<(f64, f64)> =
        life.unanswered_times_of(asked.window.unwrap_or((asked.since, now))).collect();
    let hung_before = life.in_window == Some(InWindow::HungBefore);
    let hung = times.last().copied();
    let now = HostWitness { case, port, witness, answered: None, hung, hung_before };
    let hung = times.into_iter().map(|(since, until)| {
        // A path that had forgotten it would never have answered.
        let unanswered = UnansweredSince { since, is_outage: true, is_alone: false };
        let busy = now.witness.busy;
        let witness = PeerWitness { unanswered: Some(unanswered), busy, ..PeerWitness::default() };
        HostWitness { witness, answered: Some(until), ..now }
    });
    [now].into_iter().chain(hung).collect()
}

/// That others get no answer from a host which connections that are well go to as well, in words; they may be next.
pub(super) fn beside(cases: &[Judged], now: f64) -> Option<String> {
    let (case, silence) = cases
        .iter()
        .filter(|case| case.n_live > 0)
        .find_map(|case| Some((case, case.outage_beside?)))?;
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
    /// The network namespaces that it was seen from.
    netns: BTreeSet<u32>,
    /// The last packet that shows that a host was there: Unix time.
    heard_until: Option<f64>,
    /// When the first was sent that was not answered.
    since: f64,
    /// The next packet after that, of anybody, as far as it is known: of the host that was heard again last.
    heard_again: Option<f64>,
    /// How many of the hosts were heard again.
    n_heard: usize,
    /// When the last of them ended.
    last_end: f64,
    n: usize,
    cases: BTreeSet<usize>,
    ports: BTreeSet<u16>,
}

impl Outage {
    /// The largest of a host, and the one that lasts, if that is another.
    fn each_of(all: &[HostWitness], hung_before: bool) -> impl Iterator<Item = Self> {
        let largest = Self::of(all.to_vec(), hung_before);
        let lasting = || {
            let lasts = |it: &&HostWitness| it.witness.ended.is_none() && it.answered.is_none();
            Self::of(all.iter().filter(lasts).copied().collect(), hung_before)
        };
        let is_over = largest.as_ref().is_none_or(Self::is_over);
        let lasting = is_over.then(lasting).flatten().filter(|outage| !outage.is_over());
        largest.into_iter().chain(lasting)
    }

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
        // What went unanswered sooner, and may have been forgotten, does not tell when it began. Ten clients of a path that
        // forgets hang together, too.
        let began = group.iter().filter(|it| shows_outage(it)).map(since).min_by(f64::total_cmp)?;
        group.retain(|it| since(it) >= began - ANSWER_SECONDS);
        let later = |at: Option<f64>| at.filter(|at| *at > began + ANSWER_SECONDS);
        let heard_of = |it: &HostWitness| {
            let first = [it.witness.opened, it.answered, it.witness.heard].map(later);
            first.into_iter().flatten().min_by(f64::total_cmp)
        };
        let heard_again = others.iter().chain(&group).filter_map(heard_of).min_by(f64::total_cmp);
        // What fell silent when the host was there again is no part of it.
        group.retain(|it| heard_again.is_none_or(|heard| since(it) < heard));
        if !group.iter().any(shows_outage) {
            return None;
        }
        let ended = group.iter().map(|it| it.witness.ended.or(it.answered));
        let last_end = ended.map(|it| it.unwrap_or(f64::INFINITY)).fold(0.0, f64::max);
        let over = heard_again.unwrap_or(f64::INFINITY).min(last_end);
        if others.iter().any(|it| it.was_heard_meanwhile((began, over), last_end)) {
            return None;
        }
        let heard = others.iter().chain(&group).filter_map(|it| it.witness.heard);
        let before = heard.filter(|heard| *heard <= began + ANSWER_SECONDS);
        Some(Self {
            hosts: BTreeSet::new(),
            netns: BTreeSet::new(),
            heard_until: before.max_by(f64::total_cmp).map(|heard| heard.min(began)),
            since: began,
            heard_again,
            n_heard: usize::from(heard_again.is_some()),
            last_end,
            n: group.len(),
            cases: group.iter().map(|it| it.case).collect(),
            ports: group.iter().map(|it| it.port).collect(),
        })
    }

    fn is_of_many(&self) -> bool {
        self.n >= MIN_CONNECTIONS && self.cases.len() >= MIN_CASES
    }

    /// One that is still dark is not over by any time at which others were heard.
    fn is_over(&self) -> bool {
        self.n_heard > 0 && self.n_heard >= self.hosts.len() || self.last_end.is_finite()
    }

    /// Whether both began within a minute: what is told of one is told of the other.
    fn is_with(&self, other: &Self) -> bool {
        (self.since - other.since).abs() <= TOGETHER_SECONDS
    }

    /// The same with that of another host.
    fn and(mut self, other: Self) -> Self {
        let heard_until = self.heard_until.into_iter().chain(other.heard_until);
        self.hosts.extend(other.hosts);
        self.netns.extend(other.netns);
        self.heard_until = heard_until.max_by(f64::total_cmp);
        self.since = self.since.min(other.since);
        let heard_again = self.heard_again.into_iter().chain(other.heard_again);
        self.heard_again = heard_again.max_by(f64::total_cmp);
        self.n_heard += other.n_heard;
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
        let were = match (self.n_heard, self.hosts.len()) {
            _ if them == "it" => "it was".to_owned(),
            (n, all) if n >= all => "all were".to_owned(),
            (1, _) => "one of them was".to_owned(),
            (n, _) => format!("{n} of them were"),
        };
        at.map(|at| format!(", and {were} heard again by {at}")).unwrap_or_default()
    }
}

/// From each host on, those where it began within the time, joined: within a shorter time those that no namespace saw both.
fn together(mut outages: Vec<Outage>) -> Vec<Outage> {
    outages.sort_by(|a, b| a.since.total_cmp(&b.since));
    let joined = (0..outages.len()).filter_map(|first| {
        let all = outages.get(first..)?;
        let Outage { since: begins, netns, .. } = all.first()?;
        let is_in_time = |it: &&Outage| it.since <= begins + TOGETHER_SECONDS;
        let is_of_it =
            |it: &&Outage| it.since <= begins + ELSEWHERE_SECONDS || !it.netns.is_disjoint(netns);
        all.iter().take_while(is_in_time).filter(is_of_it).cloned().reduce(Outage::and)
    });
    joined.collect()
}

impl HostWitness {
    /// Whether it heard the host between these times, as far as it shows: it went on all the time, or heard it last then.
    /// `last_end`: when the last of those that fell silent had been answered, or ended.
    fn was_heard_meanwhile(&self, (began, over): (f64, f64), last_end: f64) -> bool {
        let Some(heard) = self.witness.heard.filter(|heard| *heard > began + ANSWER_SECONDS) else {
            return false;
        };
        // What it heard at the end of that was the answer.
        if self.hung.is_some_and(|(since, until)| since <= over && until >= began) {
            return false;
        }
        let was_there = self.witness.opened.is_none_or(|opened| opened <= began);
        match self.witness.busy {
            Some(BusyTime { has_repeated: true, .. }) => false,
            Some(BusyTime { since, longest_silence, .. }) if was_there && since <= began => {
                longest_silence + ANSWER_SECONDS < over.min(heard) - began
            }
            // What it heard when all of them had been answered is the end of it.
            _ => {
                let is_before_end = heard <= over && heard + ANSWER_SECONDS <= last_end;
                was_there && self.witness.unanswered.is_none() && is_before_end
            }
        }
    }
}

/// When the first of what one sent went out that is not answered.
fn since(it: &HostWitness) -> f64 {
    it.witness.unanswered.map_or(f64::NAN, |unanswered| unanswered.since)
}

/// Whether no limit explains that it got no answer.
fn shows_outage(it: &HostWitness) -> bool {
    it.witness.unanswered.is_some_and(|unanswered| unanswered.is_outage)
}

/// The most that fell silent within the time, of those that show an outage if any do, and the others. What was heard later than
/// one of them fell silent did not fall silent with it. `dark`: in the order of time.
fn longest_together(dark: Vec<HostWitness>) -> (Vec<HostWitness>, Vec<HostWitness>) {
    let is_with = |first: f64, it: &HostWitness| {
        let is_in_time = (first..=first + TOGETHER_SECONDS).contains(&since(it));
        is_in_time && it.witness.heard.is_none_or(|heard| heard <= first + ANSWER_SECONDS)
    };
    let n_with = |place: usize, first: f64| {
        let rest = dark.get(place..).unwrap_or_default();
        let in_time = rest.iter().take_while(|it| since(it) <= first + TOGETHER_SECONDS);
        let with = || in_time.clone().filter(|it| is_with(first, it));
        (with().any(shows_outage), with().count())
    };
    let sizes = dark.iter().enumerate().map(|(place, it)| (n_with(place, since(it)), since(it)));
    let first = sizes.reduce(|most, it| if it.0 >= most.0 { it } else { most }).map(|(_, at)| at);
    dark.into_iter().partition(|it| first.is_some_and(|first| is_with(first, it)))
}
