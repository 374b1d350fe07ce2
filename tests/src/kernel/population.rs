//! The sockets of law 1 (docs/ARCHITECTURE.md#laws): every combination that users meet, all held by this process.

use crate::{
    answer::{
        row::SocketHolder,
        truth::{Held, Role, process_name},
    },
    kernel::{
        netns::NetworkNamespace,
        socket::{
            self, Family, Keepalive, Plan, Road, SocketOption, SocketSettings, wait_for_state,
        },
    },
    skip::skip,
    wait,
};
use rustix::io::fcntl_dupfd_cloexec;
use std::{
    net::SocketAddr,
    os::fd::{AsRawFd as _, OwnedFd},
    process::{Child, Command, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_mins(1);
const BACKLOG: i32 = 16;
/// What a new namespace begins with.
const DEFAULT_IDLE: u32 = 7200;

/// Sockets, and what they need to stay as they are.
#[derive(Debug, Default)]
pub struct Population {
    /// The sockets, held open.
    pub sockets: Vec<Held>,
    namespaces: Vec<NetworkNamespace>,
    children: Vec<Child>,
    duplicates: Vec<OwnedFd>,
}

/// A namespace, and its idle time while sockets are made in it.
struct PopulatedNamespace<'a> {
    name: &'static str,
    netns: &'a NetworkNamespace,
    netns_idle: u32,
}

impl Population {
    /// Everything: more than 2,000 sockets.
    #[track_caller]
    pub fn everything() -> Self {
        socket::allow_many();
        let mut all = Self::default();
        let (host, before, after) =
            (NetworkNamespace::host(), NetworkNamespace::new(), NetworkNamespace::new());
        before.set_keepalive(600, 11, 3);
        let place = |name, netns, netns_idle| PopulatedNamespace { name, netns, netns_idle };
        let places = [
            place("host", &host, host_idle()),
            place("sysctl before", &before, 600),
            place("sysctl after", &after, DEFAULT_IDLE),
        ];
        for place in &places {
            for family in Family::ALL {
                all.every_combination(place, family);
            }
            all.every_road(place);
            all.half_closed(place);
            all.unconnected(place);
            all.shared(place);
            all.changed_listener(place);
            all.probed(place);
        }
        let [host, ..] = &places;
        all.without_backlog(host);
        all.across_a_cable();
        after.set_keepalive(1_000_000, 32_767, 255);
        all.namespaces.extend([before, after]);
        all
    }

    /// One of each kind, for tests that look often.
    #[track_caller]
    pub fn one_of_each() -> Self {
        let mut few = Self::default();
        let netns = NetworkNamespace::new();
        netns.set_keepalive(600, 11, 3);
        let place = PopulatedNamespace { name: "few", netns: &netns, netns_idle: 600 };
        few.every_road(&place);
        few.half_closed(&place);
        few.unconnected(&place);
        few.shared(&place);
        few.probed(&place);
        few.across_a_cable();
        few.namespaces.push(netns);
        few
    }

    /// Each time that keepalive can be set, each of the four options set or not, once with ordinary
    /// values and once with the ends of their ranges; on a listener, a client and, inherited, on the
    /// accepted socket.
    #[track_caller]
    fn every_combination(&mut self, place: &PopulatedNamespace<'_>, family: Family) {
        for (round, values) in
            [ordinary as fn(u32) -> SocketSettings, extreme].into_iter().enumerate()
        {
            for keepalive in Keepalive::ALL {
                for mask in 0..16 {
                    let number = u32::try_from(self.sockets.len()).expect("few sockets") * 3;
                    let plan =
                        |seed| Plan { keepalive, own: values(seed).masked(mask), road: Road::Call };
                    let what = format!("{keepalive:?}, options {mask:04b}, round {round}");
                    self.connection(place, family, &what, &plan(number), &plan(number + 1));
                }
            }
        }
    }

    /// Every way to reach the kernel.
    #[track_caller]
    fn every_road(&mut self, place: &PopulatedNamespace<'_>) {
        let mut roads = vec![Road::Duplicate];
        match socket::takes_io_uring_commands() {
            Ok(()) => roads.push(Road::IoUring),
            Err(error) => {
                skip("io_uring commands", format!("which this kernel refuses: {error}"));
            }
        }
        if socket::takes_32_bit_calls() {
            roads.push(Road::Call32);
        } else {
            skip("32-bit system calls", "which this kernel is built or booted without");
        }
        for road in roads {
            for keepalive in Keepalive::ALL {
                for mask in [0, 1, 2, 4, 8, 15] {
                    let plan = Plan { keepalive, own: ordinary(mask.into()).masked(mask), road };
                    let what = format!("{road:?}, {keepalive:?}, options {mask:04b}");
                    self.connection(place, Family::V4, &what, &plan, &plan);
                }
            }
        }
    }

    /// FIN_WAIT2 on one side and CLOSE_WAIT on the other.
    #[track_caller]
    fn half_closed(&mut self, place: &PopulatedNamespace<'_>) {
        for keepalive in Keepalive::ALL {
            for mask in [0, 15] {
                let plan = plan(keepalive, ordinary(7).masked(mask));
                let what = format!("half closed, {keepalive:?}, options {mask:04b}");
                self.connection(place, Family::V4, &what, &plan, &plan);
                let [.., client, accepted] = self.sockets.as_slice() else {
                    panic!("two ends");
                };
                socket::end_sending(&client.fd);
                wait_for_state(&client.fd, socket::FIN_WAIT2, SOON);
                wait_for_state(&accepted.fd, socket::CLOSE_WAIT, SOON);
            }
        }
    }

    /// Not connected: new, bound, and connected once.
    #[track_caller]
    fn unconnected(&mut self, place: &PopulatedNamespace<'_>) {
        for keepalive in [Keepalive::Off, Keepalive::Before] {
            let plan = plan(keepalive, ordinary(3));
            for family in Family::ALL {
                let fd = place.netns.run(|| socket::unconnected(family, &plan));
                self.hold(place, &format!("{family:?} new"), fd, Role::Unconnected, &plan);
                let fd = place.netns.run(|| socket::unconnected(family, &plan));
                rustix::net::bind(&fd, &family.loopback()).expect("bind");
                self.hold(place, &format!("{family:?} bound"), fd, Role::Unconnected, &plan);
                self.connection(place, family, "disconnected", &Plan::NOTHING, &plan);
                let [.., client, _] = self.sockets.as_mut_slice() else {
                    panic!("two ends");
                };
                rustix::net::connect_unspec(&client.fd).expect("connect(AF_UNSPEC)");
                client.role = Role::Unconnected;
                // Its peer is reset, so that nothing in it shows a connection any more.
                drop(self.sockets.pop());
            }
        }
    }

    /// Each end has two descriptors: one a second one in this process, the other one in a child.
    #[track_caller]
    fn shared(&mut self, place: &PopulatedNamespace<'_>) {
        for keepalive in Keepalive::ALL {
            let plan = plan(keepalive, ordinary(5));
            self.connection(place, Family::V4, &format!("shared, {keepalive:?}"), &plan, &plan);
            let [.., client, accepted] = self.sockets.as_mut_slice() else {
                panic!("two ends");
            };
            let duplicate = fcntl_dupfd_cloexec(&client.fd, 0).expect("dup");
            client.other_owners.push(SocketHolder {
                pid: std::process::id(),
                fd: Some(duplicate.as_raw_fd().cast_unsigned()),
                process: process_name("self"),
            });
            self.duplicates.push(duplicate);
            let inherited = fcntl_dupfd_cloexec(&accepted.fd, 0).expect("dup");
            let child = Command::new("cat").stdin(inherited).stdout(Stdio::null()).spawn();
            let child = child.expect("start cat");
            let process = "cat".to_owned();
            accepted.other_owners.push(SocketHolder { pid: child.id(), fd: Some(0), process });
            self.children.push(child);
        }
    }

    /// Nothing but probes and their answers since it was opened.
    #[track_caller]
    fn probed(&mut self, place: &PopulatedNamespace<'_>) {
        let plan = plan(
            Keepalive::Before,
            SocketSettings { idle: 1, interval: 1, ..SocketSettings::default() },
        );
        self.connection(place, Family::V4, "probed", &Plan::NOTHING, &plan);
        let [.., client, _] = self.sockets.as_slice() else {
            panic!("two ends");
        };
        wait::until("a probe is answered", SOON, || {
            socket::was_probed_since_data(&client.fd).then_some(())
        });
    }

    /// What is changed on a listener does not reach the connections that it has.
    #[track_caller]
    fn changed_listener(&mut self, place: &PopulatedNamespace<'_>) {
        let plan = plan(Keepalive::Before, ordinary(9).masked(1));
        self.connection(place, Family::V4, "listener changed later", &plan, &Plan::NOTHING);
        let [.., listener, _, _] = self.sockets.as_mut_slice() else {
            panic!("a listener and two ends");
        };
        Road::Call.set(&listener.fd, SocketOption::Keepalive, 0);
        Road::Call.set(&listener.fd, SocketOption::KeepIntvl, 77);
        (listener.keepalive, listener.own.interval) = (false, 77);
    }

    /// `listen(fd, 0)`: nothing in the accepted socket itself tells that it was accepted.
    #[track_caller]
    fn without_backlog(&mut self, place: &PopulatedNamespace<'_>) {
        let nothing = Plan::NOTHING;
        let (listener, client, accepted) = place.netns.run(|| {
            let listener = socket::listener(Family::V4, Family::V4.loopback(), 0, &nothing);
            let address = socket::local_address(&listener);
            let client = socket::connected(Family::V4, address, &nothing);
            let accepted = socket::accepted(&listener);
            (listener, client, accepted)
        });
        self.hold(place, "no backlog, listener", listener, Role::Listener, &nothing);
        self.hold(place, "no backlog, client", client, Role::Outbound, &nothing);
        self.hold(place, "no backlog, accepted", accepted, Role::Inbound, &nothing);
    }

    /// Peers that are not on this host, as far as addresses tell: every verdict; an attempt that
    /// nobody answers; then the peer falls silent: probes and data that nobody answers.
    #[track_caller]
    fn across_a_cable(&mut self) {
        let (near, far) = NetworkNamespace::pair();
        let here = PopulatedNamespace { name: "cable", netns: &near, netns_idle: DEFAULT_IDLE };
        let there = PopulatedNamespace { name: "far end", netns: &far, netns_idle: DEFAULT_IDLE };
        let ends =
            [(Family::V4, "10.77.0.2:0"), (Family::V6, "[fd77::2]:0"), (Family::Mapped, "[::]:0")];
        for (family, address) in ends {
            let nothing = Plan::NOTHING;
            let address = address.parse().expect("an address");
            let listener = far.run(|| socket::listener(family, address, BACKLOG, &nothing));
            let mut address = socket::local_address(&listener);
            if family == Family::Mapped {
                address.set_ip("::ffff:10.77.0.2".parse().expect("an address"));
            }
            for keepalive in Keepalive::ALL {
                for own in [
                    SocketSettings::default(),
                    ordinary(11),
                    SocketSettings { idle: 3600, ..SocketSettings::default() },
                ] {
                    let plan = plan(keepalive, own);
                    let client = near.run(|| socket::connected(family, address, &plan));
                    let what = format!("{family:?}, {keepalive:?}, idle {}", own.idle);
                    self.hold(&here, &what, client, Role::Outbound, &plan);
                    let accepted = socket::accepted(&listener);
                    self.hold(&there, &what, accepted, Role::Inbound, &nothing);
                }
            }
            self.falls_silent(&here, family, address);
            self.hold(&there, &format!("{family:?} listener"), listener, Role::Listener, &nothing);
        }
        self.unanswered_attempts(&here);
        far.silence("10.77.0.1");
        far.silence("fd77::1");
        for held in self.sockets.iter().filter(|held| held.what.contains("probing")) {
            // Of one alone it is not said: it may be on its way.
            wait::until("two probes are not answered", SOON, || {
                (socket::probes_unanswered(&held.fd) > 1).then_some(())
            });
        }
        // By now these have been quiet for a second: so what was sent last tells from what was received last.
        for held in self.sockets.iter().filter(|held| held.what.contains("data in flight")) {
            socket::send(&held.fd, b"nobody reads this");
        }
        self.namespaces.extend([near, far]);
    }

    /// Connections for when the peer falls silent. Nobody accepts them there.
    #[track_caller]
    fn falls_silent(&mut self, here: &PopulatedNamespace<'_>, family: Family, address: SocketAddr) {
        let short = SocketSettings { idle: 1, interval: 1, count: 127, user_timeout_ms: 0 };
        let cases = [
            ("probing", Keepalive::Before, short),
            ("data in flight, off", Keepalive::Off, SocketSettings::default()),
            // Without the user timeout, which would end it.
            ("data in flight, on", Keepalive::After, ordinary(13).masked(7)),
        ];
        for (what, keepalive, own) in cases {
            let plan = plan(keepalive, own);
            let client = here.netns.run(|| socket::connected(family, address, &plan));
            self.hold(here, &format!("{family:?} {what}"), client, Role::Outbound, &plan);
        }
    }

    #[track_caller]
    fn unanswered_attempts(&mut self, here: &PopulatedNamespace<'_>) {
        here.netns
            .ip("neighbour replace 10.77.0.9 lladdr 02:00:00:00:00:09 dev veth0 nud permanent");
        let address: SocketAddr = "10.77.0.9:80".parse().expect("an address");
        for keepalive in Keepalive::ALL {
            let plan = plan(keepalive, ordinary(15).masked(7));
            let fd = here.netns.run(|| socket::connecting(Family::V4, address, &plan));
            self.hold(here, &format!("attempt, {keepalive:?}"), fd, Role::Outbound, &plan);
            if let Some(held) = self.sockets.last_mut() {
                held.connecting_to = Some(address);
            }
        }
    }

    /// A listener, a client and the socket accepted from it, on loopback.
    #[track_caller]
    fn connection(
        &mut self,
        place: &PopulatedNamespace<'_>,
        family: Family,
        what: &str,
        on_listener: &Plan,
        on_client: &Plan,
    ) {
        let (listener, client, accepted) = place.netns.run(|| {
            let listener = socket::listener(family, family.loopback(), BACKLOG, on_listener);
            let address = socket::local_address(&listener);
            let client = socket::connected(family, address, on_client);
            let accepted = socket::accepted(&listener);
            wait_for_state(&accepted, socket::ESTABLISHED, SOON);
            (listener, client, accepted)
        });
        let name = |role: &str| format!("{family:?} {what}, {role}");
        self.hold(place, &name("listener"), listener, Role::Listener, on_listener);
        self.hold(place, &name("client"), client, Role::Outbound, on_client);
        self.hold(place, &name("accepted"), accepted, Role::Inbound, on_listener);
    }

    fn hold(
        &mut self,
        place: &PopulatedNamespace<'_>,
        what: &str,
        fd: OwnedFd,
        role: Role,
        plan: &Plan,
    ) {
        self.sockets.push(Held {
            what: format!("{}: {what}", place.name),
            fd,
            role,
            netns: place.netns.inode(),
            own: plan.own,
            keepalive: plan.keepalive.is_on(),
            netns_idle_when_armed: place.netns_idle,
            made: wait::now(),
            connecting_to: None,
            other_owners: Vec::new(),
        });
    }
}

impl Drop for Population {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

const fn plan(keepalive: Keepalive, own: SocketSettings) -> Plan {
    Plan { keepalive, own, road: Road::Call }
}

/// Values as people set them, different for each seed.
const fn ordinary(seed: u32) -> SocketSettings {
    SocketSettings {
        idle: 10 + seed * 7 % 300,
        interval: 1 + seed * 3 % 100,
        count: 1 + seed % 126,
        user_timeout_ms: 1000 + seed * 13,
    }
}

/// The least and the most that the kernel takes.
const fn extreme(seed: u32) -> SocketSettings {
    const LONGEST: u32 = 32_767;
    let (low, high) = (seed.is_multiple_of(2), !seed.is_multiple_of(3));
    SocketSettings {
        idle: if low { 1 } else { LONGEST },
        interval: if high { LONGEST } else { 1 },
        count: if low { 127 } else { 1 },
        user_timeout_ms: if high { i32::MAX.cast_unsigned() } else { 1 },
    }
}

fn host_idle() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_keepalive_time");
    text.expect("the host's sysctl").trim().parse().expect("a number")
}
