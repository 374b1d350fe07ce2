//! The destination of a connection: what an idle limit is learned for.

use super::facts::ConnectionFacts;
use crate::model::observed::socket::{Direction, Endpoint};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// Where connections go: the address of a peer, with the port of the service that we connected to, as one network
/// namespace knows it. In another namespace the same address may be another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The address, IPv4 as IPv4-mapped.
    pub addr: Ipv6Addr,
    /// The port; 0 of peers that connected to us.
    pub port: u16,
    /// Inode number of the network namespace; none for the agent's own.
    pub netns: Option<u32>,
}

impl Destination {
    /// The destination of a connection. `home`: the agent's own network namespace.
    pub fn of(connection: &impl ConnectionFacts, home: Option<u32>) -> Self {
        let Endpoint { addr, port } = connection.remote();
        let port = match connection.direction() {
            Direction::Outbound => port,
            Direction::Inbound => 0,
        };
        let netns =
            Some(connection.netns()).filter(|_| home.is_some_and(|it| it != connection.netns()));
        Self { addr, port, netns }
    }

    /// The address and port as a socket has them.
    pub const fn endpoint(self) -> Endpoint {
        Endpoint { addr: self.addr, port: self.port }
    }

    /// The same in another network namespace.
    #[must_use]
    pub const fn in_netns(self, netns: Option<u32>) -> Self {
        Self { netns, ..self }
    }
}

/// The address and port; the namespace stands beside it wherever it matters.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            0 => self.addr.to_canonical().fmt(f),
            port => SocketAddr::new(self.addr.to_canonical(), port).fmt(f),
        }
    }
}

impl FromStr for Destination {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mapped = |addr: IpAddr| match addr {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let (addr, port) = match text.parse::<SocketAddr>() {
            Ok(address) => (mapped(address.ip()), address.port()),
            Err(_) => (mapped(text.parse()?), 0),
        };
        Ok(Self { addr, port, netns: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::{Socket, tests_support::socket};

    #[test]
    fn a_destination_reads_back_as_it_is_written() {
        for text in ["10.0.0.5", "10.0.0.5:5432", "2001:db8::1", "[2001:db8::1]:443"] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn only_another_network_namespace_than_the_agents_own_is_part_of_a_destination() {
        let own = socket().netns;
        assert_eq!(Destination::of(&socket(), Some(own)).netns, None);
        assert_eq!(Destination::of(&socket(), None).netns, None);
        let other = Socket { netns: 7, ..socket() };
        assert_eq!(Destination::of(&other, Some(own)).netns, Some(7));
        assert_ne!(Destination::of(&other, Some(own)), Destination::of(&socket(), Some(own)));
        let inbound = Socket { direction: Direction::Inbound, ..socket() };
        assert_eq!(Destination::of(&inbound, Some(own)).port, 0);
    }
}
