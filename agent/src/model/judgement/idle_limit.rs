//! Idle limits: how long the path to a peer keeps a quiet connection.

use super::{
    destination::Destination,
    facts::ConnectionFacts,
    learned_limit::{Confidence, LearnedLimit},
    limit_source::{GivenBy, LimitSource},
};
use crate::model::{
    observed::{probe_timing::fires_by_ms, socket::Endpoint},
    text::{duration::duration, sanitize::OTHER},
};
use hashbrown::HashMap;
use ipnet::IpNet;
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    fmt,
    net::Ipv6Addr,
};

/// An idle limit: a preset, or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleLimit {
    /// Seconds, at least 1.
    pub seconds: u32,
    /// The preset that it was given as.
    pub preset: Option<&'static str>,
}

impl IdleLimit {
    /// The configuration as the source of this limit, given in a way that is not known yet.
    fn source(self) -> LimitSource {
        LimitSource::Given { preset: self.preset.map(Cow::Borrowed), by: None }
    }
}

impl Default for IdleLimit {
    /// AWS's: of the large clouds' limits the one that most connections meet.
    fn default() -> Self {
        Self { seconds: 350, preset: None }
    }
}

impl fmt::Display for IdleLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.preset {
            Some(name) => f.write_str(name),
            None => write!(f, "{}s", self.seconds),
        }
    }
}

/// The idle limit of one path, shown as `NAME=CIDR[:PORT]=LIMIT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredPath {
    /// What to call it.
    pub name: String,
    /// The network of the peers behind it.
    pub peers: IpNet,
    /// Only this port of theirs.
    pub port: Option<u16>,
    /// How long it keeps a quiet connection.
    pub limit: IdleLimit,
}

impl fmt::Display for ConfiguredPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, peers, port, limit } = self;
        match port {
            Some(port) if matches!(peers, IpNet::V6(_)) => {
                write!(f, "{name}=[{peers}]:{port}={limit}")
            }
            Some(port) => write!(f, "{name}={peers}:{port}={limit}"),
            None => write!(f, "{name}={peers}={limit}"),
        }
    }
}

/// A limit that applies, and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The limit in seconds.
    pub seconds: u32,
    /// The quiet time that the path keeps for sure, seconds: the limit, unless that was learned as between two times.
    pub kept_seconds: u32,
    /// What gave it.
    pub from: LimitSource,
    /// The path's name, if a path of the configuration matched.
    pub path: Option<String>,
    /// The path in metrics.
    pub number: PathNumber,
}

/// A limit in words; of one that lies between two times both.
pub fn limit_in_words(kept_seconds: u32, seconds: u32) -> String {
    let limit = duration(seconds);
    if kept_seconds < seconds { format!("{} to {limit}", duration(kept_seconds)) } else { limit }
}

/// What a path does to `it` after the limit, in one sentence: the one that every surface says. `path`: its name, if it is
/// configured; `after`: the limit in words.
pub fn limit_sentence(path: Option<&str>, after: &str, from: &LimitSource, it: &str) -> String {
    match (path, from) {
        (Some(path), _) => format!("the path {path} forgets {it} after {after}"),
        // Nobody has said so.
        (None, LimitSource::Default) => {
            format!("the path is taken to forget {it} after {after} ({from})")
        }
        (None, _) => format!("the path forgets {it} after {after} ({from})"),
    }
}

/// Whether a path keeps a connection over a gap. What was survived was mostly the gap of a timer that was late, too.
pub fn is_kept_over(gap_ms: u64, kept_seconds: u32, seconds: u32) -> bool {
    let (kept_ms, limit_ms) = (u64::from(kept_seconds) * 1000, u64::from(seconds) * 1000);
    let kept_ms = if kept_seconds < seconds { fires_by_ms(kept_ms) } else { kept_ms };
    gap_ms < limit_ms.min(kept_ms)
}

impl Applied {
    /// The limit in milliseconds.
    pub fn ms(&self) -> u64 {
        u64::from(self.seconds) * 1000
    }
}

/// A path as metrics name it: 0 means no path, the first [`MAX_PATHS`] names have numbers of their own, and
/// all others share one.
pub type PathNumber = u8;

/// Names of paths in metrics; more are summed up.
pub const MAX_PATHS: usize = 13;

const OTHER_PATHS: PathNumber = 255;

/// All limits of a configuration.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most specific first.
    paths: Vec<(ConfiguredPath, Applied)>,
    default: Applied,
    /// Nobody has given a default: what was learned is better, if it is sure.
    may_learn: bool,
    learned: HashMap<Destination, (LearnedLimit, Applied)>,
    /// The network namespace that destinations without one are in.
    home: Option<u32>,
    /// Names in the order of their numbers, from 1.
    names: Vec<String>,
}

impl Limits {
    /// The limits of these paths, and `default` elsewhere. `configured` says whether the default was
    /// given by the user.
    pub fn new(mut paths: Vec<ConfiguredPath>, default: IdleLimit, configured: bool) -> Self {
        paths.sort_by_key(|path| {
            // Bits that an IPv4 prefix would have as an IPv4-mapped one do not matter: families
            // never match each other.
            (std::cmp::Reverse(path.peers.prefix_len()), std::cmp::Reverse(path.port.is_some()))
        });
        let mut names: Vec<String> = Vec::new();
        let paths = paths
            .into_iter()
            .map(|path| {
                let applied = Applied {
                    number: number_of(&mut names, &path.name),
                    seconds: path.limit.seconds,
                    kept_seconds: path.limit.seconds,
                    from: path.limit.source(),
                    path: Some(path.name.clone()),
                };
                (path, applied)
            })
            .collect();
        let from = if configured { default.source() } else { LimitSource::Default };
        let IdleLimit { seconds, .. } = default;
        let default = Applied { seconds, kept_seconds: seconds, from, path: None, number: 0 };
        let learned = HashMap::new();
        Self { paths, default, may_learn: !configured, learned, home: None, names }
    }

    /// The same limits with the numbers that paths of the same names have in `old`: numbers of paths that are gone stay
    /// taken, for what was counted by them is theirs.
    #[must_use]
    pub fn numbered_like(mut self, old: &Self) -> Self {
        let mut names = old.names.clone();
        for (path, applied) in &mut self.paths {
            applied.number = number_of(&mut names, &path.name);
        }
        self.names = names;
        self
    }

    /// This limit, whoever the peer is: as it was of one connection at one moment.
    pub fn only(applied: Applied) -> Self {
        let (paths, names) = (Vec::new(), Vec::new());
        let learned = HashMap::new();
        Self { paths, default: applied, may_learn: false, learned, home: None, names }
    }

    /// The same, saying by what the default and the paths were given. A default that nobody gave stays one.
    #[must_use]
    pub fn given_by(mut self, default: Option<GivenBy>, paths: Option<GivenBy>) -> Self {
        let say = |applied: &mut Applied, giver: Option<GivenBy>| {
            if let LimitSource::Given { by, .. } = &mut applied.from {
                *by = giver;
            }
        };
        say(&mut self.default, default);
        self.paths.iter_mut().for_each(|(_, applied)| say(applied, paths));
        self
    }

    /// The configured paths, most specific first.
    pub fn paths(&self) -> impl Iterator<Item = &ConfiguredPath> {
        self.paths.iter().map(|(path, _)| path)
    }

    /// The limit that counts for a connection: the configured one; where neither a path nor a default is given, one
    /// that was learned of its destination and is sure; else the default.
    pub fn of(&self, connection: &impl ConnectionFacts) -> &Applied {
        let learned = || self.sure_of(self.known_of(connection));
        self.path_of(connection.remote()).or_else(learned).unwrap_or(&self.default)
    }

    /// The limit that counts for a destination: [`Self::of`] its connections.
    pub fn of_destination(&self, destination: &Destination) -> &Applied {
        let learned = || self.sure_of(self.learned.get(destination));
        self.path_of(destination.endpoint()).or_else(learned).unwrap_or(&self.default)
    }

    /// The limit on the way to `remote` without what was learned: of the longest prefix, one with the port before one
    /// without; else the default.
    pub fn configured(&self, remote: Endpoint) -> &Applied {
        self.path_of(remote).unwrap_or(&self.default)
    }

    /// What was learned of the destination of a connection, however sure it is: to show beside the limit that counts.
    pub fn learned(&self, connection: &impl ConnectionFacts) -> Option<LearnedLimit> {
        self.known_of(connection).map(|&(limit, _)| limit)
    }

    fn sure_of<'a>(&self, known: Option<&'a (LearnedLimit, Applied)>) -> Option<&'a Applied> {
        let (limit, applied) = known?;
        (self.may_learn && limit.confidence == Confidence::Sure).then_some(applied)
    }

    fn known_of(&self, connection: &impl ConnectionFacts) -> Option<&(LearnedLimit, Applied)> {
        if self.learned.is_empty() {
            return None;
        }
        self.learned.get(&Destination::of(connection, self.home))
    }

    /// The shortest quiet time after which the path of a connection can have forgotten it, milliseconds: what a device
    /// could have, or most of what is given or sure for the path.
    pub fn shortest_idle_drop_ms(&self, connection: &impl ConnectionFacts) -> u32 {
        /// No device forgets sooner.
        const SHORTEST_MS: u32 = 20_000;
        let limit = self.of(connection);
        match limit.from {
            LimitSource::Default => SHORTEST_MS,
            _ => SHORTEST_MS.min(limit.seconds.saturating_mul(800)),
        }
    }

    /// The same limits with what was learned, seen from the agent's network namespace; none if that changes nothing.
    pub fn with_learned(
        &self,
        learned: BTreeMap<Destination, LearnedLimit>,
        home: Option<u32>,
    ) -> Option<Self> {
        let is_same = self.home == home
            && self.learned.len() == learned.len()
            && learned
                .iter()
                .all(|(it, limit)| self.learned.get(it).is_some_and(|(known, _)| known == limit));
        if is_same {
            return None;
        }
        let applied = |limit: LearnedLimit| Applied {
            seconds: limit.seconds,
            kept_seconds: limit.kept_seconds,
            from: LimitSource::Learned,
            path: None,
            number: 0,
        };
        let learned = learned.into_iter().map(|(it, limit)| (it, (limit, applied(limit))));
        Some(Self { learned: learned.collect(), home, ..self.clone() })
    }

    /// The peers of whose connections verdicts may differ by these limits and by others that differ in what was learned.
    /// None: those of all, for destinations are named otherwise.
    pub fn peers_that_differ(&self, other: &Self) -> Option<HashSet<Ipv6Addr>> {
        if self.home != other.home {
            return None;
        }
        let sure = |limits: &Self, of: &Destination| {
            let known = limits.learned.get(of).filter(|_| limits.may_learn);
            known.map(|&(limit, _)| limit).filter(|limit| limit.confidence == Confidence::Sure)
        };
        let all = self.learned.keys().chain(other.learned.keys());
        Some(all.filter(|of| sure(self, of) != sure(other, of)).map(|of| of.addr).collect())
    }

    /// The same limits with a default or paths that the command line gives in place of these.
    #[must_use]
    pub fn with_given(
        &self,
        default: Option<IdleLimit>,
        paths: Option<Vec<ConfiguredPath>>,
    ) -> Self {
        let by = Some(GivenBy::Flag);
        let (has_paths, paths) = (paths.is_some(), paths.unwrap_or_default());
        let given = Self::new(paths, default.unwrap_or_default(), true).given_by(by, by);
        let mut limits = self.clone();
        if has_paths {
            (limits.paths, limits.names) = (given.paths, given.names);
        }
        if default.is_some() {
            (limits.default, limits.may_learn) = (given.default, false);
            limits.learned.clear();
        }
        limits
    }

    fn path_of(&self, remote: Endpoint) -> Option<&Applied> {
        if self.paths.is_empty() {
            return None;
        }
        let addr = remote.addr.to_canonical();
        self.paths
            .iter()
            .find(|(path, _)| {
                path.peers.contains(&addr) && path.port.is_none_or(|port| port == remote.port)
            })
            .map(|(_, applied)| applied)
    }

    /// What metrics call a path.
    pub fn name(&self, number: PathNumber) -> &str {
        match number.checked_sub(1) {
            None => "",
            Some(place) => self.names.get(usize::from(place)).map_or(OTHER, String::as_str),
        }
    }

    /// Every limit that can apply: those of the paths, then the default.
    pub fn all(&self) -> impl Iterator<Item = &Applied> {
        self.paths.iter().map(|(_, applied)| applied).chain([&self.default])
    }
}

/// The number of a path, which is new if its name is.
fn number_of(names: &mut Vec<String>, path: &str) -> PathNumber {
    let place = names.iter().position(|name| name == path).unwrap_or(names.len());
    if place >= MAX_PATHS {
        return OTHER_PATHS;
    }
    if place == names.len() {
        names.push(path.to_owned());
    }
    PathNumber::try_from(place + 1).unwrap_or(OTHER_PATHS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::{Socket, tests_support::socket};

    fn toward(remote: &str) -> Socket {
        Socket { remote: remote.parse::<std::net::SocketAddr>().unwrap().into(), ..socket() }
    }

    fn path(name: &str, peers: &str, port: impl Into<Option<u16>>, seconds: u32) -> ConfiguredPath {
        let (name, peers) = (name.to_owned(), peers.parse().unwrap());
        ConfiguredPath {
            name,
            peers,
            port: port.into(),
            limit: IdleLimit { seconds, preset: None },
        }
    }

    fn limit_of(limits: &Limits, remote: &str) -> (u32, String) {
        let applied = limits.of(&toward(remote));
        (applied.seconds, applied.from.to_string())
    }

    #[test]
    fn without_configuration_the_limit_is_350_seconds() {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        assert_eq!(limit_of(&limits, "10.1.2.3:80"), (350, "default".to_owned()));
    }

    #[test]
    fn the_longest_prefix_wins_then_the_port() {
        let mut aws = path("db", "10.0.0.0/8", 5432, 350);
        aws.limit.preset = Some("aws");
        let paths = vec![
            path("all", "0.0.0.0/0", None, 240),
            path("ten", "10.0.0.0/8", None, 900),
            aws,
            path("rack", "10.1.0.0/16", None, 3600),
            path("six", "2001:db8::/32", 443, 901),
        ];
        let limits = Limits::new(paths, IdleLimit::default(), false);
        let configured = |seconds| (seconds, "configured".to_owned());
        assert_eq!(limit_of(&limits, "8.8.8.8:53"), configured(240));
        assert_eq!(limit_of(&limits, "10.9.9.9:80"), configured(900));
        assert_eq!(limit_of(&limits, "10.9.9.9:5432"), (350, "preset aws".to_owned()));
        assert_eq!(limit_of(&limits, "10.1.9.9:5432"), configured(3600));
        assert_eq!(limit_of(&limits, "[2001:db8::1]:443"), configured(901));
        assert_eq!(limit_of(&limits, "[2001:db8::1]:80"), (350, "default".to_owned()));
    }

    fn knows(limits: &Limits, of: &str, seconds: u32, confidence: Confidence) -> Limits {
        let learned = LearnedLimit { seconds, kept_seconds: seconds / 2, confidence };
        let home = Some(socket().netns);
        limits.with_learned([(of.parse().unwrap(), learned)].into(), home).unwrap()
    }

    #[test]
    fn a_learned_limit_counts_where_it_is_sure_and_nothing_is_given_and_is_known_beside_elsewhere()
    {
        let bare = Limits::new(Vec::new(), IdleLimit::default(), false);
        let there = "10.0.0.9:5432";
        for confidence in [Confidence::Guess, Confidence::Likely] {
            let limits = knows(&bare, there, 21, confidence);
            assert_eq!(limit_of(&limits, there), (350, "default".to_owned()));
            let beside = limits.learned(&toward(there)).unwrap();
            assert_eq!(beside.to_string(), format!("~21 s ({})", confidence.as_str()));
            let nothing = bare.with_learned([].into(), limits.home).unwrap();
            assert_eq!(limits.peers_that_differ(&nothing), Some([].into()));
        }
        let sure = knows(&bare, there, 21, Confidence::Sure);
        assert_eq!(limit_of(&sure, there), (21, "learned".to_owned()));
        assert_eq!(sure.peers_that_differ(&bare), None, "it did not know its own namespace");
        let nothing = bare.with_learned([].into(), sure.home).unwrap();
        let there_only = [toward(there).remote().addr].into();
        assert_eq!(sure.peers_that_differ(&nothing), Some(there_only));
        // Given for the path, as a time or as a preset; or for all.
        let mut preset = path("db", "10.0.0.0/8", None, 240);
        preset.limit.preset = Some("azure");
        for (paths, default, given) in [
            (vec![path("db", "10.0.0.0/8", None, 8)], None, (8, "configured")),
            (vec![preset], None, (240, "preset azure")),
            (Vec::new(), Some(900), (900, "configured")),
        ] {
            let limit = IdleLimit { seconds: default.unwrap_or(350), preset: None };
            let limits =
                knows(&Limits::new(paths, limit, default.is_some()), there, 21, Confidence::Sure);
            assert_eq!(limit_of(&limits, there), (given.0, given.1.to_owned()));
            assert_eq!(limits.learned(&toward(there)).map(|it| it.seconds), Some(21), "beside");
        }
    }

    #[test]
    fn what_was_learned_stays_with_its_port_its_direction_and_its_network_namespace() {
        use crate::model::observed::socket::Direction;
        let bare = Limits::new(Vec::new(), IdleLimit::default(), false);
        let limits = knows(&bare, "10.0.0.9:5432", 21, Confidence::Sure);
        for neighbour in ["10.0.0.9:5433", "10.0.0.8:5432"] {
            assert_eq!(limits.learned(&toward(neighbour)), None, "{neighbour}");
        }
        let elsewhere = Socket { netns: 7, ..toward("10.0.0.9:5432") };
        assert_eq!((limits.learned(&elsewhere), limits.of(&elsewhere).seconds), (None, 350));
        let of_clients = knows(&bare, "10.0.0.9", 21, Confidence::Sure);
        assert_eq!(of_clients.learned(&toward("10.0.0.9:5432")), None, "clients taught it");
        let client = Socket { direction: Direction::Inbound, ..toward("10.0.0.9:40000") };
        assert_eq!(of_clients.of(&client).seconds, 21);
    }

    #[test]
    fn an_idle_drop_takes_what_a_device_could_have_or_most_of_what_is_given_or_sure() {
        let shortest = |limits: &Limits| limits.shortest_idle_drop_ms(&toward("10.0.0.9:5432"));
        let bare = Limits::new(Vec::new(), IdleLimit::default(), false);
        assert_eq!(shortest(&bare), 20_000);
        assert_eq!(shortest(&knows(&bare, "10.0.0.9:5432", 8, Confidence::Likely)), 20_000);
        assert_eq!(shortest(&knows(&bare, "10.0.0.9:5432", 21, Confidence::Sure)), 16_800);
        let short = IdleLimit { seconds: 8, preset: None };
        assert_eq!(shortest(&Limits::new(Vec::new(), short, true)), 6_400);
        let long = IdleLimit { seconds: 900, preset: None };
        assert_eq!(shortest(&Limits::new(Vec::new(), long, true)), 20_000);
    }
}
