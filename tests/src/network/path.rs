//! Two hosts, and what is between them: a cable, a router, or a middlebox that forgets.
//!
//! The near host has the clients, the far one a server, on port 2717 unless a test asks for another.

use crate::{
    kernel::{
        netns::NetworkNamespace,
        socket::{self, Family, Plan},
    },
    network::middlebox::{self, MiddleboxAnswer},
};
use std::{net::SocketAddr, ops::Range, os::fd::OwnedFd};

const BACKLOG: i32 = 512;

/// A path from clients to a server.
#[derive(Debug)]
pub struct NetworkPath {
    /// Where the clients are.
    pub near: NetworkNamespace,
    /// Where the server is.
    pub far: NetworkNamespace,
    /// Where the server listens.
    pub server: SocketAddr,
    service: Option<SocketAddr>,
    middle: Option<NetworkNamespace>,
    client: String,
    listener: OwnedFd,
}

/// Both ends of a connection.
#[derive(Debug)]
pub struct Ends {
    /// At the near host.
    pub client: OwnedFd,
    /// At the far host.
    pub accepted: OwnedFd,
    /// Address and port of the client.
    pub local: SocketAddr,
}

impl NetworkPath {
    /// Nothing but a cable.
    pub fn cable() -> Self {
        Self::cable_to_port(2717)
    }

    /// The same with the server on another port: what a client is taken for depends on it.
    pub fn cable_to_port(port: u16) -> Self {
        let (near, far) = NetworkNamespace::pair();
        Self::between(near, None, far, "10.77.0.1", &format!("10.77.0.2:{port}"))
    }

    /// Through a router that keeps no state.
    pub fn router() -> Self {
        Self::router_in(77)
    }

    /// The same with the client at 10.N.1.1 and the server at 10.N.2.1: one agent tells several paths apart.
    pub fn router_in(network: u8) -> Self {
        let (near, middle, far) =
            (NetworkNamespace::new(), NetworkNamespace::new(), NetworkNamespace::new());
        let (near_network, far_network) = (format!("10.{network}.1"), format!("10.{network}.2"));
        near.join("veth0", &middle, "near", &[(&near_network, 24)]);
        far.join("veth0", &middle, "far", &[(&far_network, 24)]);
        near.ip(&format!("route add default via {near_network}.2"));
        far.ip(&format!("route add default via {far_network}.2"));
        middle.set("ipv4/ip_forward", 1);
        let (client, server) = (format!("{near_network}.1"), format!("{far_network}.1:2717"));
        Self::between(near, Some(middle), far, &client, &server)
    }

    /// Through a middlebox that forgets a connection which is quiet for longer than `idle_limit`
    /// seconds. None where the kernel cannot be one, which is said.
    pub fn middlebox(idle_limit: u32, answer: MiddleboxAnswer) -> Option<Self> {
        Self::router().with_middlebox(idle_limit, answer)
    }

    /// From now on the router is a middlebox.
    pub fn with_middlebox(self, idle_limit: u32, answer: MiddleboxAnswer) -> Option<Self> {
        middlebox::install(self.middle(), idle_limit, answer).then_some(self)
    }

    /// From now on the router is a node of a cluster, and `service` an address of its own: what comes there is passed on to
    /// the server, from one of the ports `leaves_from` if there are any.
    pub fn with_service(
        self,
        service: SocketAddr,
        leaves_from: Option<Range<u16>>,
    ) -> Option<Self> {
        let is_node = middlebox::pass_on(self.middle(), service, self.server, leaves_from);
        is_node.then_some(Self { service: Some(service), ..self })
    }

    /// From now on only SYNs pass to the server. None where the kernel cannot do that, which is said.
    pub fn with_syns_only(self) -> Option<Self> {
        middlebox::pass_only_syns(self.middle(), self.server).then_some(self)
    }

    /// A connection that is open here, and that the server never takes.
    #[track_caller]
    pub fn connect_untaken(&self, plan: &Plan) -> (OwnedFd, SocketAddr) {
        let client = self.near.run(|| socket::connected(Family::V4, self.server, plan));
        let local = socket::local_address(&client);
        (client, local)
    }

    /// Where clients connect to: the Service if there is one, else the server.
    pub fn entrance(&self) -> SocketAddr {
        self.service.unwrap_or(self.server)
    }

    fn between(
        near: NetworkNamespace,
        middle: Option<NetworkNamespace>,
        far: NetworkNamespace,
        client: &str,
        server: &str,
    ) -> Self {
        let server = server.parse().expect("an address");
        let listener = far.run(|| socket::listener(Family::V4, server, BACKLOG, &Plan::NOTHING));
        Self { near, far, server, service: None, middle, client: client.to_owned(), listener }
    }

    /// A connection from the near host to the far one.
    #[track_caller]
    pub fn connect(&self, plan: &Plan) -> Ends {
        let client = self.near.run(|| socket::connected(Family::V4, self.entrance(), plan));
        let local = socket::local_address(&client);
        Ends { client, accepted: socket::accepted(&self.listener), local }
    }

    /// The far end of a connection that somebody else makes from the near host.
    #[track_caller]
    pub fn accept(&self) -> OwnedFd {
        socket::accepted(&self.listener)
    }

    /// The far host falls silent: nothing of it arrives any more.
    pub fn darken(&self) {
        self.far.silence(&self.client);
    }

    /// Lets packets pass again, after [`Self::darken`].
    pub fn lighten(&self) {
        self.far.end_silence(&self.client);
    }

    /// The middlebox forgets as soon what one end has closed: by default it keeps that for a minute.
    pub fn middle_forgets_half_closed_after(&self, seconds: u32) {
        for state in ["close_wait", "fin_wait", "last_ack"] {
            self.middle().set(&format!("netfilter/nf_conntrack_tcp_timeout_{state}"), seconds);
        }
    }

    /// From now on the router answers what is for `network` by ICMP "host unreachable".
    pub fn lose_route_to(&self, network: &str) {
        self.middle().ip(&format!("route replace unreachable {network}"));
    }

    /// The router.
    pub const fn middle(&self) -> &NetworkNamespace {
        self.middle.as_ref().expect("there is something between the hosts")
    }
}
