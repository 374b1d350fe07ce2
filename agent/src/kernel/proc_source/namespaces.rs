//! The network namespaces that are met: what their sysctls say, and the tables of their sockets.

use super::{
    asked_socket,
    connection_table::{self, ListedTimer, TableLine},
};
use crate::{
    kernel::{host, network_namespaces},
    model::observed::{
        setting::NetnsSettings,
        socket::{Endpoint, State},
    },
};
use rustix::fd::BorrowedFd;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io,
    os::linux::fs::MetadataExt as _,
    path::Path,
};

/// What a namespace says.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamespaceSettings {
    /// The sysctls that decide when a connection is probed and given up.
    pub(super) keepalive: NetnsSettings,
    /// `tcp_syn_retries`.
    pub(super) syn_retries: u8,
}

impl NamespaceSettings {
    /// Not to be read: it takes CAP_SYS_ADMIN to enter another namespace, and /proc/sys is that of the reader.
    const UNKNOWN: Self = Self {
        keepalive: NetnsSettings { is_known: false, ..NetnsSettings::OF_A_NEW_NAMESPACE },
        syn_retries: 6,
    };

    /// Of the namespace of this thread.
    fn read() -> Self {
        let number = |name: &str| -> Option<u32> {
            fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?.trim().parse().ok()
        };
        let byte = |name: &str| number(name).and_then(|value| u8::try_from(value).ok());
        let read = || {
            Some(Self {
                keepalive: NetnsSettings {
                    idle_seconds: number("tcp_keepalive_time")?,
                    interval_seconds: number("tcp_keepalive_intvl")?,
                    count: byte("tcp_keepalive_probes")?,
                    retries2: byte("tcp_retries2")?,
                    orphan_retries: byte("tcp_orphan_retries")?,
                    // Since 6.5.
                    syn_linear_timeouts: byte("tcp_syn_linear_timeouts").unwrap_or(0),
                    is_known: true,
                },
                syn_retries: byte("tcp_syn_retries")?,
            })
        };
        read().unwrap_or(Self::UNKNOWN)
    }
}

/// What a table says of a socket that a process has open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    /// The inode of its namespace.
    pub(super) netns: u32,
    /// Its state then.
    pub(super) state: State,
    /// In the table of IPv6.
    pub(super) is_ipv6: bool,
    /// Its ends then.
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
    /// The timer that ran then.
    pub(super) timer: Option<ListedTimer>,
}

/// By what the table of a namespace is read.
#[derive(Debug)]
enum Door {
    /// A process that is in it.
    Process(u32),
    /// It itself.
    Namespace(File),
}

impl Door {
    fn lines(&self, each: impl FnMut(TableLine) + Send) -> io::Result<()> {
        match self {
            Self::Process(pid) => {
                connection_table::read(Path::new(&format!("/proc/{pid}/net")), each)
            }
            Self::Namespace(namespace) => network_namespaces::inside(namespace, || {
                connection_table::read(Path::new("/proc/thread-self/net"), each)
            })?,
        }
    }
}

/// The namespaces that were met on one walk.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    settings: HashMap<u32, NamespaceSettings>,
    doors: HashMap<u32, Door>,
    by_cookie: HashMap<u64, u32>,
    /// Those whose cookie is known.
    with_cookie: HashSet<u32>,
    listed: HashMap<u32, Listed>,
    /// Peers of connections that are not open yet, by inode: getpeername does not say them.
    connecting: HashMap<u32, Endpoint>,
    listening: HashSet<(u32, u16)>,
    /// Further parts of MPTCP connections.
    pub(super) n_further_subflows: u64,
    /// Connections that no process has open: orphans, and those in accept queues.
    pub(super) n_without_descriptor: u64,
}

impl Namespaces {
    /// Reads the namespace of this process, if it was not met yet.
    pub(super) fn meet_process(&mut self, pid: u32, netns: u32) {
        if self.settings.contains_key(&netns) {
            return;
        }
        let settings = if host::own_netns() == Some(netns) {
            NamespaceSettings::read()
        } else {
            File::open(format!("/proc/{pid}/ns/net"))
                .and_then(|namespace| {
                    network_namespaces::inside(&namespace, NamespaceSettings::read)
                })
                .unwrap_or(NamespaceSettings::UNKNOWN)
        };
        self.settings.insert(netns, settings);
        self.read_tables(netns, &Door::Process(pid), true);
        self.doors.insert(netns, Door::Process(pid));
    }

    /// Reads a namespace in which there is no process.
    fn meet(&mut self, namespace: File) -> Option<u32> {
        let netns = u32::try_from(namespace.metadata().ok()?.st_ino()).ok()?;
        if self.settings.contains_key(&netns) {
            return Some(netns);
        }
        let settings = network_namespaces::inside(&namespace, NamespaceSettings::read);
        self.settings.insert(netns, settings.unwrap_or(NamespaceSettings::UNKNOWN));
        let door = Door::Namespace(namespace);
        self.read_tables(netns, &door, true);
        self.doors.insert(netns, door);
        Some(netns)
    }

    /// Reads the tables of these namespaces again: timers have fired since.
    pub(super) fn read_again(&mut self, namespaces: &BTreeSet<u32>) {
        for netns in namespaces {
            if let Some(door) = self.doors.remove(netns) {
                self.read_tables(*netns, &door, false);
                self.doors.insert(*netns, door);
            }
        }
    }

    fn read_tables(&mut self, netns: u32, door: &Door, is_first: bool) {
        let read = door.lines(|line| match line.inode {
            // What waits for its peer's segments to die out, and requests, are no sockets.
            0 if matches!(line.state, State::TimeWait | State::SynRecv) => {}
            0 => self.n_without_descriptor += u64::from(is_first),
            inode => {
                let TableLine { state, is_ipv6, local, remote, timer, .. } = line;
                let listed = Listed { netns, state, is_ipv6, local, remote, timer };
                if self.listed.insert(inode, listed).is_some() {
                    self.n_further_subflows += u64::from(is_first);
                }
                match line.state {
                    State::Listen => drop(self.listening.insert((netns, line.local.port))),
                    State::SynSent => drop(self.connecting.insert(inode, line.remote)),
                    _ => {}
                }
            }
        });
        if let Err(error) = read {
            tracing::debug!(%error, netns, "cannot read the table of connections of a network namespace");
        }
    }

    /// The table of a namespace as it is now; none of a namespace that was not met.
    pub(super) fn lines(
        &self,
        netns: u32,
        each: impl FnMut(TableLine) + Send,
    ) -> Option<io::Result<()>> {
        let own = host::own_netns() == Some(netns);
        if own {
            return Some(connection_table::read(Path::new("/proc/thread-self/net"), each));
        }
        Some(self.doors.get(&netns)?.lines(each))
    }

    /// What the tables say of a socket.
    pub(super) fn listed(&self, inode: u32) -> Option<&Listed> {
        self.listed.get(&inode)
    }

    /// The peer that a socket connects to.
    pub(super) fn connecting_to(&self, inode: u32) -> Option<Endpoint> {
        self.connecting.get(&inode).copied()
    }

    /// Whether a socket listens there.
    pub(super) fn listens(&self, netns: u32, port: u16) -> bool {
        self.listening.contains(&(netns, port))
    }

    /// What the namespace says.
    pub(super) fn settings(&self, netns: u32) -> NamespaceSettings {
        self.settings.get(&netns).copied().unwrap_or(NamespaceSettings::UNKNOWN)
    }

    /// The namespace of a socket: that of the table which has it, and of one that is in none, that which has the same cookie.
    /// Only with CAP_NET_ADMIN does the kernel name another one; else it is 0, unknown.
    pub(super) fn of_socket(&mut self, socket: BorrowedFd<'_>, inode: u32) -> u32 {
        if let Some(&Listed { netns, .. }) = self.listed(inode) {
            if self.with_cookie.insert(netns)
                && let Ok(cookie) = asked_socket::netns_cookie(socket)
            {
                self.by_cookie.insert(cookie, netns);
            }
            return netns;
        }
        let cookie = asked_socket::netns_cookie(socket).ok();
        if let Some(known) = cookie.and_then(|cookie| self.by_cookie.get(&cookie)) {
            return *known;
        }
        let namespace = asked_socket::namespace_of(socket).ok();
        let found = namespace.and_then(|namespace| self.meet(File::from(namespace)));
        if let (Some(cookie), Some(found)) = (cookie, found) {
            self.by_cookie.insert(cookie, found);
        }
        found.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        net::{TcpListener, TcpStream},
        os::fd::AsFd as _,
    };

    #[test]
    fn the_namespace_of_this_process_is_read_once_with_what_is_in_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let inode = |fd: &dyn std::os::fd::AsRawFd| {
            let link = fs::metadata(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
            u32::try_from(link.st_ino()).unwrap()
        };
        let netns = host::own_netns().unwrap();
        let mut met = Namespaces::default();
        met.meet_process(std::process::id(), netns);
        let said = fs::read_to_string("/proc/sys/net/ipv4/tcp_keepalive_time").unwrap();
        let settings = met.settings(netns).keepalive;
        assert!(settings.is_known);
        assert_eq!(settings.idle_seconds.to_string(), said.trim());
        let port = listener.local_addr().unwrap().port();
        assert!(met.listens(netns, port) && !met.listens(netns + 1, port));
        assert_eq!(met.listed(inode(&stream)).unwrap().netns, netns);
        assert_eq!(met.of_socket(stream.as_fd(), inode(&stream)), netns);
        assert!(met.n_without_descriptor > 0, "it waits to be accepted");
        assert!(!met.settings(netns + 1).keepalive.is_known);
        // In no table: by the cookie of another one, or by the kernel's word.
        let bound = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(met.of_socket(bound.as_fd(), inode(&bound)), netns);
    }
}
