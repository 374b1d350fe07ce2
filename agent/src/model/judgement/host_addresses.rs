//! The addresses of this host, and what of them leads further: some hosts pass on what comes to an address of theirs.

use crate::model::observed::socket::Endpoint;
use std::{collections::BTreeSet, net::Ipv6Addr};

/// The addresses of this host. IPv4 as IPv4-mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAddresses {
    own: BTreeSet<Ipv6Addr>,
    passed_on: BTreeSet<Endpoint>,
}

impl HostAddresses {
    /// The addresses `own`. Connections to those `passed_on` end elsewhere.
    pub const fn new(own: BTreeSet<Ipv6Addr>, passed_on: BTreeSet<Endpoint>) -> Self {
        Self { own, passed_on }
    }

    /// Its interfaces' addresses.
    pub const fn own(&self) -> &BTreeSet<Ipv6Addr> {
        &self.own
    }

    /// What it passes on, of its own addresses.
    pub const fn passed_on(&self) -> &BTreeSet<Endpoint> {
        &self.passed_on
    }

    /// What of it matters to connections with this peer.
    #[must_use]
    pub fn only(&self, peer: Endpoint) -> Self {
        let own = self.own.get(&peer.addr).copied().into_iter().collect();
        let passed_on = self.passed_on.get(&peer).copied().into_iter().collect();
        Self { own, passed_on }
    }

    /// Whether this is an address of the host, and it was not seen to pass on what comes to it.
    pub fn has(&self, peer: Endpoint) -> bool {
        self.own.contains(&peer.addr) && !self.passed_on.contains(&peer)
    }

    /// Whether the host passes on what comes to this address of its own: by DNAT or IPVS, as to a Service of Kubernetes.
    pub fn passes_on(&self, peer: Endpoint) -> bool {
        self.passed_on.contains(&peer)
    }
}

impl From<BTreeSet<Ipv6Addr>> for HostAddresses {
    /// These. None is known to lead further.
    fn from(own: BTreeSet<Ipv6Addr>) -> Self {
        Self::new(own, BTreeSet::new())
    }
}
