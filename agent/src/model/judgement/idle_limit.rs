//! Idle limits: how long the path to a peer keeps a quiet connection.

use super::{
    destination::Destination,
    limit_source::{GivenBy, LimitSource},
    preset::PRESETS,
};
use crate::model::{observed::socket::Endpoint, text::name::OTHER};
use hashbrown::HashMap;
use ipnet::IpNet;
use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

/// An idle limit: a preset's name, or a time like `350s`, `15m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleLimit {
    /// Seconds, at least 1.
    pub seconds: u32,
    /// The preset that it was given as.
    pub preset: Option<&'static str>,
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

impl FromStr for IdleLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(preset) = PRESETS.iter().find(|preset| preset.name == text) {
            return Ok(Self { seconds: preset.seconds, preset: Some(preset.name) });
        }
        let expected = || {
            let presets: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
            format!("expected a time like 350s, 15m or 1h, or one of: {}", presets.join(", "))
        };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match text.strip_prefix(digits) {
            Some("s" | "") => 1,
            Some("m") => 60,
            Some("h") => 3600,
            _ => return Err(expected()),
        };
        let number: u32 = digits.parse().map_err(|_| expected())?;
        let seconds = number.checked_mul(factor).filter(|&seconds| seconds > 0);
        Ok(Self { seconds: seconds.ok_or_else(expected)?, preset: None })
    }
}

/// The idle limit of one path: `NAME=CIDR[:PORT]=LIMIT`, IPv6 in brackets when a port follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// What to call it.
    pub name: String,
    /// The network of the peers behind it.
    pub peers: IpNet,
    /// Only this port of theirs.
    pub port: Option<u16>,
    /// How long it keeps a quiet connection.
    pub limit: IdleLimit,
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "expected NAME=CIDR[:PORT]=LIMIT, like db=10.0.0.0/8:5432=aws";
        let (name, rest) = text.split_once('=').ok_or(FORM)?;
        let (peers, limit) = rest.rsplit_once('=').ok_or(FORM)?;
        if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("{FORM}: a name without spaces"));
        }
        let (net, port) = match peers.strip_prefix('[') {
            Some(v6) => {
                let (net, port) = v6.split_once(']').ok_or(FORM)?;
                (net, port.strip_prefix(':'))
            }
            // Only IPv4 has no colon of its own.
            None => match peers.split_once(':') {
                Some((net, port)) if net.contains('.') => (net, Some(port)),
                _ => (peers, None),
            },
        };
        let peers = net
            .parse::<IpNet>()
            .or_else(|_| net.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| format!("{FORM}: {net:?} is no network"))?
            .trunc();
        let port = port
            .map(|port| port.parse().map_err(|_| format!("{FORM}: {port:?} is no port")))
            .transpose()?;
        Ok(Self { name: name.to_owned(), peers, port, limit: limit.parse()? })
    }
}

impl fmt::Display for Path {
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
    paths: Vec<(Path, Applied)>,
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
    pub fn new(mut paths: Vec<Path>, default: IdleLimit, configured: bool) -> Self {
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
                    from: LimitSource::given_as(path.limit),
                    path: Some(path.name.clone()),
                };
                (path, applied)
            })
            .collect();
        let from = if configured { LimitSource::given_as(default) } else { LimitSource::Default };
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

    fn limits(paths: &[&str]) -> Limits {
        let paths = paths.iter().map(|path| path.parse().unwrap()).collect();
        Limits::new(paths, IdleLimit::default(), false)
    }

    fn limit_of(limits: &Limits, remote: &str) -> (u32, String) {
        let applied = limits.of(remote.parse::<std::net::SocketAddr>().unwrap().into());
        (applied.seconds, applied.from.to_string())
    }

    #[test]
    fn without_configuration_the_limit_is_350_seconds() {
        assert_eq!(limit_of(&limits(&[]), "10.1.2.3:80"), (350, "default".to_owned()));
    }

    #[test]
    fn the_longest_prefix_wins_then_the_port() {
        let limits = limits(&[
            "all=0.0.0.0/0=azure",
            "ten=10.0.0.0/8=900s",
            "db=10.0.0.0/8:5432=aws",
            "rack=10.1.0.0/16=1h",
            "six=[2001:db8::/32]:443=15m",
        ]);
        assert_eq!(limit_of(&limits, "8.8.8.8:53"), (240, "preset azure".to_owned()));
        assert_eq!(limit_of(&limits, "10.9.9.9:80"), (900, "configured".to_owned()));
        assert_eq!(limit_of(&limits, "10.9.9.9:5432"), (350, "preset aws".to_owned()));
        assert_eq!(limit_of(&limits, "10.1.9.9:5432"), (3600, "configured".to_owned()));
        assert_eq!(limit_of(&limits, "[2001:db8::1]:443"), (900, "configured".to_owned()));
        assert_eq!(limit_of(&limits, "[2001:db8::1]:80"), (350, "default".to_owned()));
    }

    #[test]
    fn a_path_reads_back_as_it_is_written() {
        for text in ["db=10.0.0.0/8:5432=aws", "six=[2001:db8::/32]:443=900s", "v6=fe80::/10=60s"] {
            assert_eq!(text.parse::<Path>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_path_or_limit_says_what_was_expected() {
        for text in
            ["", "db", "db=10.0.0.0/8", "db=10.0.0.0/33=aws", "db=10.0.0.0/8:x=aws", "=::/0=1s"]
        {
            let error = text.parse::<Path>().unwrap_err();
            assert!(error.contains("NAME=CIDR"), "{text}: {error}");
        }
        for text in ["", "0s", "-1s", "5 s", "5d", "99999999h", "awz"] {
            let error = text.parse::<IdleLimit>().unwrap_err();
            assert!(error.contains("350s") && error.contains("azure"), "{text}: {error}");
        }
    }

    #[test]
    fn presets_are_sorted_and_unique() {
        for pair in PRESETS.windows(2) {
            assert!(pair[0].seconds <= pair[1].seconds && pair[0].name != pair[1].name);
        }
    }
}
