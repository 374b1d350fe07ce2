//! Which connections the word on the command line means.

use crate::{
    files,
    model::{
        judgement::{idle_limit::ConfiguredPath, verdict::Surroundings},
        observed::{
            owner_identity::Identity,
            socket::{Direction, Owner, Socket, SocketId},
        },
        text::{duration::duration, sanitize},
    },
    store::Query,
    view::filter::Filter,
};
use ipnet::IpNet;
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
};

/// What was asked for, as far as the word itself tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Every connection of this host.
    Everything,
    /// The connection with this id.
    Socket(SocketId),
    /// Peers in this network, with this port if one was typed.
    Peer(IpNet, Option<u16>),
    /// This port, of either end.
    Port(u16),
    /// A number: of a process, or a port.
    Number(u32),
    /// A name, and a port if there was one: then it is a host's.
    Name(String, Option<u16>),
}

impl Target {
    pub(super) fn parse(word: &str) -> Self {
        if let Ok(id) = word.parse() {
            return Self::Socket(id);
        }
        if let Ok(net) = word.parse::<IpNet>() {
            return Self::Peer(net.trunc(), None);
        }
        let bare = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(word);
        if let Ok(addr) = bare.parse::<IpAddr>() {
            return Self::Peer(addr.to_canonical().into(), None);
        }
        if let Ok(addr) = word.parse::<SocketAddr>() {
            return Self::Peer(addr.ip().to_canonical().into(), Some(addr.port()));
        }
        if let Ok(number) = word.parse() {
            return Self::Number(number);
        }
        match word.rsplit_once(':').map(|(host, port)| (host, files::port(port))) {
            Some(("" | "*", Ok(port))) => Self::Port(port),
            Some((host, Ok(port))) => {
                let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                match bare.unwrap_or(host).parse::<IpNet>() {
                    Ok(net) => Self::Peer(net.trunc(), Some(port)),
                    Err(_) => Self::Name(host.to_owned(), Some(port)),
                }
            }
            _ => Self::Name(word.to_owned(), None),
        }
    }

    /// Whether a host may have this name: it has a port, or a last label of letters that is no type of unit.
    pub(super) fn looks_like_a_host(&self) -> bool {
        const UNITS: [&str; 6] = ["service", "scope", "slice", "socket", "mount", "timer"];
        match self {
            Self::Name(_, Some(_)) => true,
            Self::Name(name, None) => {
                name.trim_end_matches('.').rsplit_once('.').is_some_and(|(_, last)| {
                    last.chars().all(|c| c.is_ascii_alphabetic())
                        && !UNITS.contains(&last)
                        && !last.is_empty()
                })
            }
            _ => false,
        }
    }
}

/// One way to find connections: among the living, and in the history.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) filter: Filter,
    pub(super) query: Query,
    /// The peer's port: filters mean that of either end.
    remote_port: Option<u16>,
}

impl Selection {
    fn new(filter: Filter) -> Self {
        let query = Query {
            peer: filter.peer.first().map(|peer| peer.net),
            port: filter.port.first().copied(),
            id: filter.id.first().map(ToString::to_string),
            pid: filter.pid.first().copied(),
            process: filter.process.first().cloned(),
            unit: filter.unit.first().cloned(),
            container: filter.container.first().cloned(),
            workload: filter.workload.first().cloned(),
            namespace: filter.namespace.first().cloned(),
            pod: filter.pod.first().cloned(),
            ..Query::default()
        };
        Self { filter, query, remote_port: None }
    }

    fn peer(net: IpNet, port: Option<u16>) -> Self {
        let filter = Filter {
            peer: vec![net.into()],
            port: port.into_iter().collect(),
            ..Filter::default()
        };
        Self { remote_port: port, ..Self::new(filter) }
    }

    /// Connections of this host to any port of these.
    pub(super) fn servers_at(addresses: impl Iterator<Item = IpAddr>) -> Self {
        let peer = addresses.map(|addr| IpNet::from(addr.to_canonical()).into()).collect();
        Self::new(Filter { peer, direction: Some(Direction::Outbound), ..Filter::default() })
    }

    /// The ends of connections at these ports of this host.
    pub(super) fn at_local_ports(ports: BTreeSet<u16>) -> Self {
        Self::new(Filter { local_port: ports.into_iter().collect(), ..Filter::default() })
    }

    /// Connections that these processes have opened.
    pub(super) fn outbound_of(pids: Vec<u32>) -> Self {
        Self::new(Filter { pid: pids, direction: Some(Direction::Outbound), ..Filter::default() })
    }

    /// Whether the peer's port is the one asked for.
    pub(super) fn admits_remote(&self, remote: SocketAddr) -> bool {
        self.remote_port.is_none_or(|port| port == remote.port())
    }

    /// Whether it finds a socket that the kernel shows.
    pub(super) fn admits(
        &self,
        socket: &Socket,
        owners: &[Owner],
        identity: Option<&Identity>,
        around: &Surroundings,
    ) -> bool {
        self.filter.admits(socket, around, socket.quiet_ms.into())
            && self.filter.admits_owner(owners)
            && self.filter.admits_identity(identity)
            && self.admits_remote(socket.remote.socket_addr())
    }
}

/// Ways to find something, and what they take the word for.
#[derive(Clone, Debug)]
pub(super) struct Meaning {
    pub(super) selections: Vec<Selection>,
    pub(super) taken_for: String,
}

impl Target {
    /// What it may mean on this host, the likeliest first. What finds nothing makes room for the next.
    pub(super) fn meanings(&self, paths: &[ConfiguredPath]) -> Vec<Meaning> {
        match self {
            Self::Everything => {
                vec![Meaning::of(Filter::default(), "this host".to_owned())]
            }
            Self::Socket(id) => {
                vec![Meaning::of(Filter { id: vec![*id], ..Filter::default() }, id.to_string())]
            }
            Self::Peer(net, port) => vec![Meaning {
                selections: vec![Selection::peer(*net, *port)],
                taken_for: peer_in_words(*net, *port),
            }],
            Self::Port(port) => vec![Meaning::of_port(*port)],
            Self::Number(number) => {
                let process = Filter { pid: vec![*number], ..Filter::default() };
                let process = Meaning::of(process, format!("process {number}"));
                let port = as_port(*number).map(Meaning::of_port);
                [process].into_iter().chain(port).collect()
            }
            Self::Name(name, None) => {
                [of_name(name)].into_iter().chain(of_path(name, paths)).collect()
            }
            Self::Name(_, Some(_)) => Vec::new(),
        }
    }

    /// The host of this name, as this host resolves it; none if it is no name.
    pub(super) fn as_host(&self) -> Option<io::Result<Meaning>> {
        match self {
            Self::Name(name, port) => Some(of_host(name, *port)),
            _ => None,
        }
    }
}

/// A number that may be a port.
pub(super) fn as_port(number: u32) -> Option<u16> {
    u16::try_from(number).ok().filter(|&port| port > 0)
}

impl Meaning {
    fn of(filter: Filter, taken_for: String) -> Self {
        Self { selections: vec![Selection::new(filter)], taken_for }
    }

    /// A port, of either end.
    pub(super) fn of_port(port: u16) -> Self {
        Self::of(Filter { port: vec![port], ..Filter::default() }, format!("port {port}"))
    }
}

fn peer_in_words(net: IpNet, port: Option<u16>) -> String {
    let is_one = net.prefix_len() == net.max_prefix_len();
    match (is_one, port) {
        (true, Some(port)) => SocketAddr::new(net.addr(), port).to_string(),
        (true, None) => net.addr().to_string(),
        (false, Some(port)) => format!("{net} port {port}"),
        (false, None) => net.to_string(),
    }
}

/// Whatever has this name on this host.
fn of_name(word: &str) -> Meaning {
    let named = |set: fn(&mut Filter, String)| {
        let mut filter = Filter::default();
        set(&mut filter, word.to_owned());
        Selection::new(filter)
    };
    let mut selections = vec![
        named(|filter, name| filter.process = vec![name]),
        named(|filter, name| filter.unit = vec![name]),
        named(|filter, name| filter.pod = vec![name]),
        named(|filter, name| filter.workload = vec![name]),
        named(|filter, name| filter.container = vec![name]),
        named(|filter, name| filter.namespace = vec![name]),
    ];
    if !word.contains('.') {
        selections.push(named(|filter, name| filter.unit = vec![format!("{name}.service")]));
    }
    Meaning { selections, taken_for: sanitize::escaped(word.as_bytes()) }
}

/// The path of the configuration that has this name.
fn of_path(word: &str, paths: &[ConfiguredPath]) -> Option<Meaning> {
    let called_so = || paths.iter().filter(|path| path.name == word);
    let selections: Vec<_> =
        called_so().map(|path| Selection::peer(path.peers, path.port)).collect();
    let parts: Vec<String> = called_so()
        .map(|path| {
            let peers = peer_in_words(path.peers, path.port);
            format!("{peers}, idle limit {}", duration(path.limit.seconds))
        })
        .collect();
    let taken_for = format!("path {} ({})", sanitize::escaped(word.as_bytes()), parts.join("; "));
    (!selections.is_empty()).then_some(Meaning { selections, taken_for })
}

/// The host with this name, as this host resolves it.
fn of_host(word: &str, port: Option<u16>) -> io::Result<Meaning> {
    let mut addresses: Vec<IpAddr> =
        (word, 0).to_socket_addrs()?.map(|addr| addr.ip().to_canonical()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(io::Error::other("it has no address"));
    }
    let selections = addresses.iter().map(|&addr| Selection::peer(addr.into(), port)).collect();
    let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let taken_for = format!("{}{port} ({})", sanitize::escaped(word.as_bytes()), list.join(", "));
    Ok(Meaning { selections, taken_for })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_tells_what_it_is() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let cases = [
            ("sk:1f", Target::Socket(SocketId(31))),
            ("10.0.0.9", Target::Peer(net("10.0.0.9/32"), None)),
            ("10.0.0.9:5432", Target::Peer(net("10.0.0.9/32"), Some(5432))),
            ("::ffff:10.0.0.9", Target::Peer(net("10.0.0.9/32"), None)),
            ("10.1.2.3/8", Target::Peer(net("10.0.0.0/8"), None)),
            ("2001:db8::1", Target::Peer(net("2001:db8::1/128"), None)),
            ("[2001:db8::1]", Target::Peer(net("2001:db8::1/128"), None)),
            ("[2001:db8::1]:443", Target::Peer(net("2001:db8::1/128"), Some(443))),
            ("812", Target::Number(812)),
            (":5432", Target::Port(5432)),
            ("*:5432", Target::Port(5432)),
            ("10.1.2.3/8:5432", Target::Peer(net("10.0.0.0/8"), Some(5432))),
            ("[2001:db8::/32]:443", Target::Peer(net("2001:db8::/32"), Some(443))),
            ("db.example.com:5432", Target::Name("db.example.com".to_owned(), Some(5432))),
            ("web.service", Target::Name("web.service".to_owned(), None)),
            (":70000", Target::Name(":70000".to_owned(), None)),
        ];
        for (word, target) in cases {
            assert_eq!(Target::parse(word), target, "{word}");
        }
    }

    #[test]
    fn a_name_may_be_many_things_and_a_path_of_the_config() {
        let paths = [crate::config::network_path("db=10.0.0.0/8:5432=aws").unwrap()];
        let meanings = Target::parse("db").meanings(&paths);
        assert_eq!(meanings[0].selections.len(), 7);
        assert!(
            meanings[0].selections.iter().any(|it| it.query.unit.as_deref() == Some("db.service"))
        );
        assert_eq!(meanings[1].taken_for, "path db (10.0.0.0/8 port 5432, idle limit 5 min 50 s)");
        let selection = &meanings[1].selections[0];
        assert_eq!(selection.query.port, Some(5432));
        assert!(!selection.admits_remote("10.0.0.1:80".parse().unwrap()));
    }

    #[test]
    fn a_number_may_be_a_process_and_a_port() {
        let said = |word: &str| -> Vec<String> {
            let meanings = Target::parse(word).meanings(&[]);
            meanings.into_iter().map(|meaning| meaning.taken_for).collect()
        };
        assert_eq!(said("5432"), ["process 5432", "port 5432"]);
        assert_eq!(said("70000"), ["process 70000"]);
        assert_eq!(said("0"), ["process 0"]);
        assert_eq!(said(":5432"), ["port 5432"]);
    }

    #[test]
    fn a_name_of_a_host_is_told_from_names_of_this_host() {
        for host in ["db.example.com", "db:5432", "db.internal.", "python3.11:80"] {
            assert!(Target::parse(host).looks_like_a_host(), "{host}");
        }
        for name in
            ["checkout", "web.service", "python3.11", "user-0.slice", "a.", "10.0.0.9", "5432"]
        {
            assert!(!Target::parse(name).looks_like_a_host(), "{name}");
        }
        let host = Target::parse("localhost:80").as_host().unwrap().unwrap();
        assert!(host.taken_for.starts_with("localhost:80 ("), "{}", host.taken_for);
        assert!(Target::parse("no-such-host.invalid").as_host().unwrap().is_err());
        assert!(Target::parse("10.0.0.9").as_host().is_none());
    }
}
