//! Peers that somebody means: an address, a network, or one of these with a port.

use crate::{files, model::observed::socket::Endpoint};
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// `10.0.0.0/8`, `10.0.0.9`, `10.0.0.9:5432`, `10.0.0.0/8:5432`, `[2001:db8::1]:443`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerPattern {
    /// The networks' addresses; one address is a network, too.
    pub net: IpNet,
    /// The port, if it matters.
    pub port: Option<u16>,
}

impl PeerPattern {
    /// Whether it means this end of a connection.
    pub(crate) fn means(&self, endpoint: Endpoint) -> bool {
        self.net.contains(&endpoint.addr.to_canonical())
            && self.port.is_none_or(|port| port == endpoint.port)
    }
}

impl From<IpNet> for PeerPattern {
    fn from(net: IpNet) -> Self {
        Self { net, port: None }
    }
}

impl From<SocketAddr> for PeerPattern {
    fn from(address: SocketAddr) -> Self {
        Self { net: address.ip().to_canonical().into(), port: Some(address.port()) }
    }
}

/// An address, or a network. One of IPv4-mapped addresses is the IPv4 network, as which peers are known.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map(|net| mapped(net).unwrap_or(net))
        .map_err(|_| "expected an address or a network, like 10.0.0.0/8 or 2001:db8::1".to_owned())
}

/// The IPv4 network in a network of IPv4-mapped addresses (RFC 4291, 2.5.5.2).
fn mapped(net: IpNet) -> Option<IpNet> {
    let IpNet::V6(net) = net else {
        return None;
    };
    let prefix_len = net.prefix_len().checked_sub(96)?;
    Some(Ipv4Net::new(net.addr().to_ipv4_mapped()?, prefix_len).ok()?.into())
}

impl FromStr for PeerPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let with_port = || {
            let (net, port) = text.rsplit_once(':')?;
            let inside = net.strip_prefix('[').and_then(|net| net.strip_suffix(']'));
            // Without brackets the last part of an IPv6 address would be taken for a port.
            let net = inside.or_else(|| (!net.contains(':')).then_some(net))?;
            Some(Self { net: network(net).ok()?, port: Some(files::port(port).ok()?) })
        };
        let expected = || {
            "expected an address or a network, with or without a port, like 10.0.0.0/8, 10.0.0.9:5432 \
             or [2001:db8::1]:443"
                .to_owned()
        };
        network(text).map(Self::from).ok().or_else(with_port).ok_or_else(expected)
    }
}

impl fmt::Display for PeerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { net, port } = *self;
        let is_one = net.prefix_len() == net.max_prefix_len();
        match (is_one, port, net) {
            (true, Some(port), _) => SocketAddr::new(net.addr(), port).fmt(f),
            (true, None, _) => net.addr().fmt(f),
            (false, Some(port), IpNet::V4(net)) => write!(f, "{net}:{port}"),
            (false, Some(port), IpNet::V6(net)) => write!(f, "[{net}]:{port}"),
            (false, None, _) => net.fmt(f),
        }
    }
}

impl Serialize for PeerPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(pattern: &str, end: &str) -> bool {
        let end: SocketAddr = end.parse().unwrap();
        pattern.parse::<PeerPattern>().unwrap().means(end.into())
    }

    #[test]
    fn a_peer_is_an_address_or_a_network_and_the_port_counts_if_it_is_given() {
        for (pattern, end) in [
            ("10.0.0.9", "10.0.0.9:5432"),
            ("10.0.0.0/8", "10.0.0.9:5432"),
            ("10.0.0.9:5432", "10.0.0.9:5432"),
            ("10.0.0.0/8:5432", "10.0.0.9:5432"),
            ("2001:db8::1", "[2001:db8::1]:443"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("[2001:db8::/32]:443", "[2001:db8::1]:443"),
        ] {
            assert!(means(pattern, end), "{pattern}");
            let shown = pattern.parse::<PeerPattern>().unwrap().to_string();
            assert_eq!(shown, pattern);
        }
        assert!(!means("10.0.0.9:5432", "10.0.0.9:5433"));
        assert!(!means("10.0.0.8:5432", "10.0.0.9:5432"));
        assert!(!means("2001:db8::443", "[2001:db8::1]:443"), "an address, and no port");
    }

    #[test]
    fn anything_else_is_an_error_with_examples() {
        for wrong in ["", "db", ":5432", "10.0.0.9:", "10.0.0.9:x", "10.0.0.9:70000", "10.0.0.0/33"]
        {
            let error = wrong.parse::<PeerPattern>().unwrap_err();
            assert!(error.contains("10.0.0.9:5432"), "{wrong}: {error}");
        }
    }
}
