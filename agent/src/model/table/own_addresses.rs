//! What this host does with connections to its own addresses: ends them here, or passes them on to another host.
//!
//! DNAT and IPVS give a connection another peer than the one that its socket names, and no socket says so: where kube-proxy
//! uses IPVS, every Service of the cluster has an address of the host (`kube-ipvs0`). But both ends of a connection that ends
//! on this host are in the table; of one that is passed on to another host there is only ours.

use super::{Table, storage::Slot};
use crate::model::{
    judgement::{
        facts::ConnectionFacts as _, host_addresses::HostAddresses, verdict::Surroundings,
    },
    observed::socket::{Direction, Endpoint, Socket, SocketKind, State},
};
use std::{
    collections::{BTreeSet, HashSet},
    net::Ipv6Addr,
    sync::Arc,
};

/// Addresses and ports that are remembered while nothing is connected to them.
const MAX_REMEMBERED: usize = 4096;
/// The other end of a connection is in the table by then.
const SETTLES_MS: u32 = 2000;

impl Table {
    /// After a walk: the addresses of the host are `own` now. `sees_all`: the walk has met the sockets of the whole host.
    pub fn set_addresses(&mut self, own: BTreeSet<Ipv6Addr>, sees_all: bool) {
        let known = &self.around.host;
        let passed_on = if sees_all && self.hears_ends() && self.n_untracked == 0 {
            self.passed_on(&own)
        } else {
            known.passed_on().clone()
        };
        let host = HostAddresses::new(own, passed_on);
        if host == *known {
            return;
        }
        let around = Arc::new(Surroundings { host, ..(*self.around).clone() });
        self.count_anew(&around, None);
        self.around = around;
    }

    /// To which of these addresses connections were made that do not end here.
    fn passed_on(&self, own: &BTreeSet<Ipv6Addr>) -> BTreeSet<Endpoint> {
        let is_own = |addr: &Ipv6Addr| own.contains(addr) && !addr.to_canonical().is_loopback();
        let mut made = Vec::new();
        // What the other end calls its peer: our end, or where the host masquerades it an address of the host with, mostly, the
        // same port.
        let mut masqueraded: HashSet<u16> = HashSet::new();
        for Slot { socket, .. } in self.slots.to_peers(is_own) {
            masqueraded.insert(socket.remote.port);
            if is_made_here(&socket) {
                made.push((socket.local, socket.remote));
            }
        }
        let ends: HashSet<Ipv6Addr> = made.iter().map(|(local, _)| local.addr).collect();
        let answered: HashSet<Endpoint> = self
            .slots
            .to_peers(|addr| ends.contains(addr))
            .map(|slot| slot.socket.remote)
            .collect();
        let ends_here = |(local, _): &&(Endpoint, Endpoint)| {
            answered.contains(local) || masqueraded.contains(&local.port)
        };
        let (here, elsewhere): (Vec<_>, Vec<_>) = made.iter().partition(ends_here);
        let elsewhere: BTreeSet<Endpoint> = elsewhere.into_iter().map(|&(_, peer)| peer).collect();
        let here: HashSet<Endpoint> = here.into_iter().map(|&(_, peer)| peer).collect();
        let before = self.around.host.passed_on().iter().copied();
        // Of what nobody is connected to now, the next connection is like the one before.
        let before = before.filter(|peer| own.contains(&peer.addr) && !here.contains(peer));
        elsewhere.iter().copied().chain(before).take(MAX_REMEMBERED.max(elsewhere.len())).collect()
    }
}

/// Whether a program of this host has made this connection, and the other end would be in the table by now.
fn is_made_here(socket: &Socket) -> bool {
    socket.state == State::Established
        && socket.direction == Direction::Outbound
        && socket.kind == SocketKind::Program
        && socket.watched().ms >= SETTLES_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::verdict::Verdict,
        observed::{
            event::Event,
            socket::{SocketId, Time, tests_support::socket},
            watched::Watched,
        },
        table::{Heard, tests::table},
    };

    const SERVICE: &str = "10.96.0.10";

    fn end(addr: &str, port: u16) -> Endpoint {
        Endpoint { addr: addr.parse::<std::net::Ipv4Addr>().unwrap().to_ipv6_mapped(), port }
    }

    fn open(id: u64, local: Endpoint, remote: Endpoint, direction: Direction) -> Socket {
        let watched = Watched { ms: 10_000, ..Watched::default() };
        Socket { id: SocketId(id), local, remote, direction, watched, ..socket() }
    }

    /// A pod's connection to the Service.
    fn client() -> Socket {
        open(1, end("10.1.0.7", 40_000), end(SERVICE, 443), Direction::Outbound)
    }

    fn verdict_beside(other_end: Option<Socket>) -> (Verdict, String) {
        verdict_of(client(), other_end)
    }

    fn verdict_of(client: Socket, other_end: Option<Socket>) -> (Verdict, String) {
        let mut table = table();
        table.set_heard(Heard { states: true, timers: true, calls: true });
        for socket in [Some(client), other_end].into_iter().flatten() {
            table.apply(Event::Seen(socket));
            let later = Time(socket.at.0 + 10_000_000_000);
            table.apply(Event::Seen(Socket { at: later, ..socket }));
        }
        let own = [end(SERVICE, 0).addr, end("10.1.0.1", 0).addr].into();
        table.set_addresses(own, true);
        let around = table.surroundings();
        (around.verdict(&client), around.reason(&client))
    }

    #[test]
    fn what_the_host_passes_on_is_not_local() {
        let (verdict, reason) = verdict_beside(None);
        assert_eq!(verdict, Verdict::Off);
        assert!(
            reason.contains("the peer's address is of this host, which passes it on"),
            "{reason}"
        );
    }

    #[test]
    fn what_the_host_itself_connects_to_comes_from_the_same_address() {
        let from_host = Socket { local: end(SERVICE, 40_000), ..client() };
        assert_eq!(verdict_of(from_host, None).0, Verdict::Off);
        let server = open(2, from_host.remote, from_host.local, Direction::Inbound);
        assert_eq!(verdict_of(from_host, Some(server)).0, Verdict::Local);
    }

    #[test]
    fn what_ends_here_is_local_also_behind_a_dnat_of_the_same_host() {
        let server = |local, remote| Some(open(2, local, remote, Direction::Inbound));
        let client_end = client().local;
        for other_end in [
            server(end(SERVICE, 443), client_end),
            // To a pod of this host.
            server(end("10.1.0.9", 8443), client_end),
            // And masqueraded.
            server(end("10.1.0.9", 8443), end("10.1.0.1", client_end.port)),
        ] {
            let (verdict, reason) = verdict_beside(other_end);
            assert_eq!(verdict, Verdict::Local, "{other_end:?}");
            assert!(!reason.contains("which passes it on"), "{reason}");
        }
        // Of somebody else.
        let other = server(end("10.1.0.9", 8443), end("10.1.0.8", client_end.port));
        assert_eq!(verdict_beside(other).0, Verdict::Off);
    }

    #[test]
    fn where_not_every_socket_is_seen_nothing_is_concluded() {
        let mut table = table();
        table.set_heard(Heard { states: true, timers: true, calls: true });
        table.apply(Event::Seen(client()));
        let own: BTreeSet<_> = [end(SERVICE, 0).addr].into();
        table.set_addresses(own.clone(), false);
        assert_eq!(table.surroundings().verdict(&client()), Verdict::Local);
        table.set_heard(Heard { states: false, timers: false, calls: false });
        table.set_addresses(own, true);
        assert_eq!(table.surroundings().verdict(&client()), Verdict::Local);
    }

    #[test]
    fn an_address_that_the_host_gives_up_is_not_local_any_more() {
        let mut table = table();
        table.apply(Event::Seen(client()));
        let local =
            |table: &Table| table.totals().sockets.keys().map(|it| it.verdict).collect::<Vec<_>>();
        table.set_addresses([end(SERVICE, 0).addr].into(), false);
        assert_eq!(local(&table), [Verdict::Local]);
        table.set_addresses(BTreeSet::new(), false);
        assert_eq!(local(&table), [Verdict::Off], "as of an address that fails over");
    }
}
