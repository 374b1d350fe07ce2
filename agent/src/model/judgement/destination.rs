//! The destination of a connection: what an idle limit is learned for.

use crate::model::observed::socket::{Direction, Endpoint, Socket};
use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// Where connections go: the address of a peer, with the port of the service that we connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The address, IPv4 as IPv4-mapped.
    pub addr: Ipv6Addr,
    /// The port; 0 of peers that connected to us.
    pub port: u16,
}

impl Destination {
    /// Where a connection goes.
    pub const fn of(socket: &Socket) -> Self {
        let port = match socket.direction {
            Direction::Outbound => socket.remote.port,
            Direction::Inbound => 0,
        };
        Self { addr: socket.remote.addr, port }
    }

    /// The address and port as a socket has them.
    pub const fn endpoint(self) -> Endpoint {
        Endpoint { addr: self.addr, port: self.port }
    }

    /// Its neighbours: what probably is behind the same devices.
    pub(super) fn network(self) -> IpNet {
        let addr = self.addr.to_canonical();
        let len = if addr.is_ipv4() { 24 } else { 64 };
        IpNet::new(addr, len).map_or_else(|_| IpNet::from(addr), |net| net.trunc())
    }
}

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
        match text.parse::<SocketAddr>() {
            Ok(address) => Ok(Self { addr: mapped(address.ip()), port: address.port() }),
            Err(_) => Ok(Self { addr: mapped(text.parse()?), port: 0 }),
        }
    }
}
