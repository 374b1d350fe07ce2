//! Clients and servers, what they set of themselves, and how to set something better.
//!
//! A row is a fact about the versions that it names, with where it was learned: `traced` was run here
//! under strace, `source` was read in that project's source. The first matching row of equal weight wins.

mod brokers;
mod databases;
mod go;
mod infrastructure;
mod kernel;
mod languages;
mod libraries;
mod managed;
mod runtimes_serving;
mod scripting;
mod servers;

use crate::model::observed::{setsockopt::SockOpt, setting::OwnValues, socket::Direction};

/// One client, library or server.
#[derive(Debug)]
pub(crate) struct Client {
    /// What to call it.
    pub name: &'static str,
    /// The versions that the row is about.
    pub versions: &'static str,
    /// Programs and libraries that are built on it: part of a process's name or of the path of a loaded file.
    pub used_by: &'static [&'static str],
    /// What it sets when nobody asks it to.
    pub default: OwnValues,
    /// How to set the values.
    pub how: How,
    /// The least idle time that its own line can set, seconds.
    pub least_idle: u32,
    /// Its line sets the idle time alone: the time between two probes is the system's.
    pub leaves_interval: bool,
    /// The least time between two of its own pings, seconds.
    pub least_ping: u32,
    /// Its own idle timeout, which ends quiet connections whatever probes say, and which to raise.
    pub patience: Option<&'static str>,
    /// A ping of its own protocol: what helps where TCP keepalive does not reach.
    pub ping: Option<&'static str>,
    /// How to bound the time that data may be unanswered.
    pub user_timeout: Option<&'static str>,
    /// The minor versions of Go that its lines compile with: from the first on, before the second.
    pub go: (u32, u32),
    /// What gives it away: each list alone is enough, all of a list must hold.
    pub clues: &'static [&'static [Clue]],
    /// Where this was learned.
    #[cfg_attr(not(test), expect(dead_code, reason = "where a row comes from, held by a test"))]
    pub source: &'static str,
}

impl Client {
    /// What it says to do first: two rows with the same line are one advice.
    pub(crate) const fn line(&self) -> Option<&'static str> {
        match self.how {
            How::Line(line) | How::System(Some(line)) => Some(line),
            How::System(None) | How::None => self.ping,
        }
    }

    /// Whether it can do nothing but send pings of its own.
    pub(crate) const fn only_pings(&self) -> bool {
        matches!(self.how, How::None) && self.ping.is_some()
    }
}

/// What a row leaves out.
const ROW: Client = Client {
    name: "",
    versions: "",
    used_by: &[],
    default: OFF,
    how: How::None,
    least_idle: 1,
    leaves_interval: false,
    least_ping: 1,
    patience: None,
    ping: None,
    user_timeout: None,
    go: (0, u32::MAX),
    clues: &[],
    source: "",
};

/// How values are set. In a line `{idle}`, `{interval}`, `{count}` are seconds, seconds and a number,
/// `{idle_ms}` and `{timeout_ms}` milliseconds, `{tenths}` idle in tenths of a second, `{minutes}` idle in
/// whole minutes, and `{retrans}` one probe less than `{count}`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// A line of code or configuration.
    Line(&'static str),
    /// It turns keepalive on, or does so by this line, and leaves the times to the system.
    System(Option<&'static str>),
    /// It has no way at all.
    None,
}

/// Something that gives a client away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clue {
    /// The name of the process or of its executable, but for a version at its end.
    Name(&'static str),
    /// The same of an interpreter or a virtual machine: it says the language, not the library.
    Runtime(&'static str),
    /// It has the virtual machine or interpreter of a language mapped.
    VirtualMachine(&'static str),
    /// It has a file mapped, or a jar open, whose path contains this.
    Library(&'static str),
    /// The same of a library that is loaded together with others for the same protocol: no proof that it is used.
    Loaded(&'static str),
    /// Its mapped files could be read, and none has this in its path.
    Without(&'static str),
    /// Its mapped files could not be read.
    Unread,
    /// Its code can call C: no interpreter or virtual machine is known to run it.
    Native,
    /// The executable was built by the Go toolchain.
    Go,
    /// A Go program that contains this module.
    Module(&'static str),
    /// The kernel itself owns the connection.
    Kernel,
    /// systemd handed its listening socket over.
    SocketActivated,
    /// The server listens on this port.
    Port(u16),
    /// The values on the socket are exactly these.
    Values(OwnValues),
    /// The values on the socket are its defaults.
    Defaults,
    /// The socket has an idle time of its own, and exactly these for interval and count.
    Repeats(u32, u32),
    /// A user timeout is set, and keepalive is off.
    UserTimeoutOnly,
    /// A call with this value was refused.
    Refused(SockOpt, i32),
}

impl Clue {
    /// How much it says.
    pub(crate) const fn weight(self) -> u32 {
        match self {
            Self::Kernel => 10,
            Self::SocketActivated => 9,
            Self::Library(_) | Self::Module(_) | Self::Refused(..) => 8,
            Self::Name(_) | Self::Runtime(_) | Self::VirtualMachine(_) => 7,
            // Off, and on without times, are what most sockets have.
            Self::Values(values) if !is_telling(&values) => 1,
            Self::Repeats(..) => 1,
            Self::Values(_) | Self::Go => 5,
            Self::Loaded(_) => 4,
            Self::Defaults => 3,
            Self::Port(_) | Self::UserTimeoutOnly | Self::Without(_) => 2,
            Self::Native | Self::Unread => 0,
        }
    }

    /// Whether many processes and sockets show it.
    pub(crate) const fn is_commonplace(self) -> bool {
        match self {
            Self::Name(_)
            | Self::Kernel
            | Self::SocketActivated
            | Self::Port(_)
            | Self::Repeats(..)
            | Self::UserTimeoutOnly
            | Self::Refused(..) => false,
            Self::Values(values) => !is_telling(&values),
            _ => true,
        }
    }

    /// Whether it is about the process, not about the socket.
    pub(crate) const fn is_of_process(self) -> bool {
        !matches!(
            self,
            Self::Port(_)
                | Self::Values(_)
                | Self::Repeats(..)
                | Self::Defaults
                | Self::UserTimeoutOnly
                | Self::Refused(..)
        )
    }

    /// Whether it shows the program or library itself, and not only what others have, too.
    pub(crate) const fn is_proof(self) -> bool {
        matches!(
            self,
            Self::Name(_)
                | Self::Library(_)
                | Self::Module(_)
                | Self::Kernel
                | Self::SocketActivated
                | Self::Refused(..)
        )
    }
}

/// Whether these clues show no more than the language of the program.
pub(crate) fn is_generic(clues: &[Clue]) -> bool {
    clues.iter().all(|clue| matches!(clue, Clue::Runtime(_) | Clue::VirtualMachine(_) | Clue::Go))
}

/// Whether few clients set just these.
pub(crate) const fn is_telling(values: &OwnValues) -> bool {
    values.idle > 0 || values.user_timeout_ms > 0
}

/// Values of a client that leaves keepalive off.
pub(crate) const OFF: OwnValues =
    OwnValues { keepalive: false, idle: 0, interval: 0, count: 0, user_timeout_ms: 0 };
/// Keepalive is on, with the system's times.
pub(crate) const ON: OwnValues = OwnValues { keepalive: true, ..OFF };

/// Keepalive is on with these values.
pub(crate) const fn on(idle: u32, interval: u32, count: u32) -> OwnValues {
    OwnValues { keepalive: true, idle, interval, count, user_timeout_ms: 0 }
}

/// What may own this end of a connection: clients where this host opened it, servers where the peer did. A
/// client's line is of no use to a server, and the other way round.
pub(crate) fn of(direction: Direction) -> impl Iterator<Item = &'static Client> {
    let lists: &'static [&'static [Client]] = match direction {
        Direction::Outbound => &[
            languages::CLIENTS,
            databases::CLIENTS,
            brokers::CLIENTS,
            libraries::CLIENTS,
            scripting::CLIENTS,
            managed::CLIENTS,
            infrastructure::CLIENTS,
            kernel::CLIENTS,
        ],
        Direction::Inbound => &[servers::SERVERS, runtimes_serving::SERVERS],
    };
    let of_go: &'static [&'static [Client]] = match direction {
        Direction::Outbound => go::CLIENTS,
        Direction::Inbound => &[],
    };
    lists.iter().chain(of_go).copied().flatten()
}

/// Modules by which a Go program is recognised.
pub(crate) fn modules() -> impl Iterator<Item = &'static str> {
    all_clues().filter_map(|clue| match clue {
        Clue::Module(module) => Some(module),
        _ => None,
    })
}

/// Names of interpreters and virtual machines.
pub(super) fn runtimes() -> impl Iterator<Item = &'static str> {
    all_clues().filter_map(|clue| match clue {
        Clue::Runtime(name) => Some(name),
        _ => None,
    })
}

/// Parts of paths by which a loaded library is recognised.
pub(crate) fn libraries() -> impl Iterator<Item = &'static str> {
    all_clues().filter_map(|clue| match clue {
        Clue::Library(part) | Clue::Loaded(part) | Clue::VirtualMachine(part) => Some(part),
        _ => None,
    })
}

fn all_clues() -> impl Iterator<Item = Clue> {
    let all = Direction::ALL.into_iter().flat_map(of);
    all.flat_map(|client| client.clues.iter().copied().flatten().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::Proposal;
    use std::collections::BTreeSet;

    fn all() -> impl Iterator<Item = &'static Client> {
        of(Direction::Outbound).chain(of(Direction::Inbound))
    }

    #[test]
    fn every_row_has_a_source_and_clues_and_names_are_unique() {
        let mut names = BTreeSet::new();
        for client in all() {
            assert!(names.insert((client.name, client.versions)), "{} twice", client.name);
            assert!(!client.source.is_empty() && !client.clues.is_empty(), "{}", client.name);
            for clues in client.clues {
                let weight: u32 = clues.iter().map(|clue| clue.weight()).sum();
                assert!(weight > 4, "{}: {clues:?} would match nearly anything", client.name);
            }
        }
        assert!(names.len() > 100, "{}", names.len());
    }

    #[test]
    fn every_place_in_a_line_is_filled_and_what_can_be_set_is_set_to_what_is_proposed() {
        for client in all() {
            let line = match client.how {
                How::Line(line) | How::System(Some(line)) => Some(line),
                How::System(None) | How::None => None,
            };
            for line in
                [line, client.ping, client.patience, client.user_timeout].into_iter().flatten()
            {
                let filled = Proposal::USUAL.fill(line);
                let places = filled.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
                let is_place = |name: &str| {
                    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                };
                let left: Vec<_> = places.filter(|(name, _)| is_place(name)).collect();
                assert!(left.is_empty(), "{}: {left:?}", client.name);
                assert!(!filled.ends_with([' ', '\n']), "{}: {filled:?}", client.name);
            }
            if let How::Line(line) = client.how {
                let places = ["{idle", "{tenths", "{minutes"];
                assert!(places.iter().any(|place| line.contains(place)), "{}", client.name);
            }
            if let Some(line) = client.user_timeout {
                assert!(line.contains("{timeout_ms}"), "{}", client.name);
            }
        }
    }

    #[test]
    fn what_can_set_all_three_values_sets_them() {
        for client in all() {
            let (How::Line(line) | How::System(Some(line))) = client.how else { continue };
            if ["KEEPIDLE", "TcpKeepAliveTime"].iter().any(|option| line.contains(option)) {
                let is_curl = line.to_lowercase().contains("curl");
                let sets_all = line.contains("{interval}") && line.contains("{count}");
                assert!(sets_all || is_curl || client.leaves_interval, "{}: {line}", client.name);
            }
        }
    }

    #[test]
    fn a_ping_follows_the_path_and_is_no_fixed_number() {
        for ping in all().filter_map(|client| client.ping) {
            let is_fixed = |number: &&str| ping.contains(*number);
            let fixed: Vec<_> = ["=30", "=60", " 30 s", "180000", "120000"]
                .iter()
                .filter(|n| is_fixed(n))
                .collect();
            assert!(fixed.is_empty(), "{ping}: {fixed:?} may be longer than the path keeps");
        }
    }
}
