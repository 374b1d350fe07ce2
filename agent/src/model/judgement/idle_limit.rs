//! Idle limits: how long the path to a peer keeps a quiet connection.

use super::{
    destination::Destination,
    limit_source::{GivenBy, LimitSource},
};
use crate::model::{observed::socket::Endpoint, text::sanitize::OTHER};
use hashbrown::HashMap;
use ipnet::IpNet;
use std::{borrow::Cow, collections::BTreeMap, fmt};

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
    /// What gave it.
    pub from: LimitSource,
    /// The path's name, if a path of the configuration matched.
    pub path: Option<String>,
    /// The path in metrics.
    pub number: PathNumber,
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
    /// Nobody has given a default: what was learned is better.
    may_learn: bool,
    learned: HashMap<Destination, Applied>,
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
                let place = names.iter().position(|name| *name == path.name).unwrap_or(names.len());
                if place == names.len() && place < MAX_PATHS {
                    names.push(path.name.clone());
                }
                let number = PathNumber::try_from(place + 1).unwrap_or(OTHER_PATHS);
                let applied = Applied {
                    number: if place < MAX_PATHS { number } else { OTHER_PATHS },
                    seconds: path.limit.seconds,
                    from: path.limit.source(),
                    path: Some(path.name.clone()),
                };
                (path, applied)
            })
            .collect();
        let from = if configured { default.source() } else { LimitSource::Default };
        let default = Applied { seconds: default.seconds, from, path: None, number: 0 };
        Self { paths, default, may_learn: !configured, learned: HashMap::new(), names }
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

    /// The limit on the way to `remote`: of the longest prefix, one with the port before one without.
    /// Where no path is configured and no default is given: the one that was learned.
    pub fn of(&self, remote: Endpoint) -> &Applied {
        self.path_of(remote).or_else(|| self.learned_of(remote)).unwrap_or(&self.default)
    }

    fn learned_of(&self, remote: Endpoint) -> Option<&Applied> {
        if self.learned.is_empty() {
            return None;
        }
        let Endpoint { addr, port } = remote;
        let there = self.learned.get(&Destination { addr, port });
        there.or_else(|| self.learned.get(&Destination { addr, port: 0 }))
    }

    /// The same limits with what was learned, seconds by destination; none if that changes nothing.
    pub fn with_learned(&self, learned: &BTreeMap<Destination, u32>) -> Option<Self> {
        if !self.may_learn {
            return None;
        }
        let applied = |(&destination, &seconds): (&Destination, &u32)| {
            (destination, Applied { seconds, from: LimitSource::Learned, path: None, number: 0 })
        };
        let learned: HashMap<Destination, Applied> = learned.iter().map(applied).collect();
        (learned != self.learned).then(|| Self { learned, ..self.clone() })
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let applied = limits.of(remote.parse::<std::net::SocketAddr>().unwrap().into());
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
}
