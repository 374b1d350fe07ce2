//! Clients and servers, what they set of themselves, and how to set something better.
//!
//! A row is a fact about the versions that it names, with where it was learned: `traced` was run here
//! under strace, `source` was read in that project's source. The first matching row of equal weight wins.

mod infrastructure;
mod languages;
mod stores;

use crate::model::observed::{setsockopt::SockOpt, setting::OwnValues};

/// One client, library or server.
#[derive(Debug)]
pub(crate) struct Client {
    /// What to call it.
    pub name: &'static str,
    /// The versions that the row is about.
    pub versions: &'static str,
    /// What it sets when nobody asks it to.
    pub default: OwnValues,
    /// How to set the values.
    pub how: How,
    /// A ping of its own protocol: what helps where TCP keepalive does not reach.
    pub ping: Option<&'static str>,
    /// What gives it away: each list alone is enough, all of a list must hold.
    pub clues: &'static [&'static [Clue]],
    /// Where this was learned.
    #[cfg_attr(not(test), expect(dead_code, reason = "where a row comes from, held by a test"))]
    pub source: &'static str,
}

/// How values are set. `{idle}`, `{interval}`, `{count}` are seconds, seconds and a number,
/// `{idle_ms}` and `{timeout_ms}` milliseconds, `{tenths}` idle in tenths of a second.
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
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clue {
    /// The name of the process or of its executable, but for a version at its end.
    Name(&'static str),
    /// It has a file mapped whose path contains this.
    Library(&'static str),
    /// The executable was built by the Go toolchain.
    Go,
    /// The server listens on this port.
    Port(u16),
    /// The values on the socket are exactly these.
    Values(OwnValues),
    /// The values on the socket are its defaults.
    Defaults,
    /// A call with this value was refused.
    Refused(SockOpt, i32),
    /// The peer opened the connection.
    Inbound,
    /// This host opened it.
    Outbound,
}

impl Clue {
    /// How much it says.
    pub(crate) const fn weight(self) -> u32 {
        match self {
            Self::Library(_) | Self::Refused(..) => 8,
            Self::Name(_) => 7,
            Self::Values(_) | Self::Go => 5,
            Self::Defaults => 3,
            Self::Port(_) => 2,
            Self::Inbound | Self::Outbound => 1,
        }
    }
}

/// Values of a client that leaves keepalive off.
pub(super) const OFF: OwnValues =
    OwnValues { keepalive: false, idle: 0, interval: 0, count: 0, user_timeout_ms: 0 };
/// Keepalive is on, with the system's times.
pub(super) const ON: OwnValues = OwnValues { keepalive: true, ..OFF };

/// Keepalive is on with these values.
pub(super) const fn on(idle: u32, interval: u32, count: u32) -> OwnValues {
    OwnValues { keepalive: true, idle, interval, count, user_timeout_ms: 0 }
}

/// Every client that advice knows, languages first.
pub(crate) fn all() -> impl Iterator<Item = &'static Client> {
    languages::CLIENTS.iter().chain(stores::CLIENTS).chain(infrastructure::CLIENTS)
}

/// Parts of paths by which a loaded library is recognised.
pub(crate) fn libraries() -> impl Iterator<Item = &'static str> {
    let clues = all().flat_map(|client| client.clues.iter().copied().flatten());
    clues.filter_map(|clue| match clue {
        Clue::Library(part) => Some(*part),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::Proposal;
    use std::collections::BTreeSet;

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
        assert!(names.len() > 50);
    }

    #[test]
    fn every_place_in_a_line_is_filled_and_what_can_be_set_is_set_to_what_is_proposed() {
        for client in all() {
            let lines = match client.how {
                How::Line(line) | How::System(Some(line)) => [Some(line), client.ping],
                How::System(None) | How::None => [None, client.ping],
            };
            for line in lines.into_iter().flatten() {
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
                assert!(line.contains("{idle") || line.contains("{tenths"), "{}", client.name);
            }
        }
    }
}
