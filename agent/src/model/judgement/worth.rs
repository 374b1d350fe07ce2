//! What a record of the past is worth, and whom it counts for: where not all can be kept, what is worth least goes
//! first, and nobody's records push out somebody else's.

use super::death::Cause;
use crate::model::{
    observed::{
        owner_identity::Identity,
        socket::{Owner, Socket},
    },
    text::closed_set::closed_set,
};
use std::{borrow::Cow, net::Ipv6Addr};

closed_set! {
    /// How much a record is worth, the most first.
    pub enum Worth {
        /// A connection died of silence: what keepwatch is there for, and what nothing else records.
        Silence = "silence",
        /// What explains such a death: refused calls, verdicts that changed, quiet times survived, answers that came late, whose an orphan was.
        Setting = "setting",
        /// Resets, failures and orderly ends: everyday life, in any number.
        Ordinary = "ordinary",
    }
}

impl Worth {
    /// In the order in which they make room.
    pub const LEAST_FIRST: [Self; 3] = [Self::Ordinary, Self::Setting, Self::Silence];

    /// How many records of it, in words.
    pub fn counted(self, n: u64) -> String {
        match (self, n) {
            (Self::Silence, 1) => "1 death of silence".to_owned(),
            (Self::Setting, 1) => {
                "1 refused call, changed verdict, survived quiet time, late answer or orphan"
                    .to_owned()
            }
            (Self::Ordinary, 1) => "1 reset, failure or orderly end".to_owned(),
            (_, n) => format!("{n} {}", self.words()),
        }
    }

    /// What the records are, in the plural.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Silence => "deaths of silence",
            Self::Setting => {
                "refused calls, changed verdicts, survived quiet times, late answers and orphans"
            }
            Self::Ordinary => "resets, failures and orderly ends",
        }
    }
}

impl Cause {
    /// What the record of such a death is worth.
    pub const fn worth(self) -> Worth {
        match self {
            Self::IdleDrop
            | Self::Abandoned
            | Self::KeepaliveTimeout
            | Self::KeepaliveReset
            | Self::UserTimeout
            | Self::RetransmitTimeout => Worth::Silence,
            // Anybody who can connect makes as many of these as there are ports.
            Self::PeerReset
            | Self::LocalReset
            | Self::Unreachable
            | Self::ConnectFailed
            | Self::PeerClosed
            | Self::LocalClosed
            | Self::Unknown => Worth::Ordinary,
        }
    }
}

/// Whose record it is, and about whom: no name that a process can give itself, where the host gives it one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Party<'a> {
    /// The container, else the pod, the unit, or the name of the process; empty if nobody is known.
    pub owner: Cow<'a, str>,
    /// The peer's address: of an IPv6 one the first 64 bits, which one host may use as it likes.
    pub peer: Ipv6Addr,
}

impl<'a> Party<'a> {
    /// The party of a record about `socket`.
    pub fn of(socket: &Socket, identity: Option<&'a Identity>) -> Self {
        Self { owner: party_owner(socket.owner, identity), peer: network(socket.remote.addr) }
    }
}

/// Whom a record of this owner counts for.
pub fn party_owner(owner: Option<Owner>, identity: Option<&Identity>) -> Cow<'_, str> {
    let given = identity.and_then(|identity| {
        let names = [&identity.container_id, &identity.pod, &identity.unit];
        names.into_iter().find_map(Option::as_deref)
    });
    match given {
        Some(name) => Cow::Borrowed(name),
        None => owner.map_or(Cow::Borrowed(""), |owner| Cow::Owned(owner.comm.escaped())),
    }
}

const fn network(addr: Ipv6Addr) -> Ipv6Addr {
    if addr.to_ipv4_mapped().is_some() {
        return addr;
    }
    Ipv6Addr::from_bits(addr.to_bits() >> 64 << 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::{Comm, tests_support::socket};

    #[test]
    fn each_worth_makes_room_once_and_silence_last() {
        let mut reversed = Worth::LEAST_FIRST;
        reversed.reverse();
        assert_eq!(reversed, Worth::ALL);
        assert_eq!(Cause::IdleDrop.worth(), Worth::Silence);
        for cause in Cause::ALL.into_iter().filter(|cause| cause.is_orderly()) {
            assert_eq!(cause.worth(), Worth::Ordinary);
        }
    }

    #[test]
    fn a_process_that_renames_itself_stays_the_same_party_in_its_unit() {
        let named = |comm: &[u8; 16]| {
            let owner = Owner { pid: 7, fd: None, comm: Comm::new(*comm) };
            Socket { owner: Some(owner), ..socket() }
        };
        let (one, other) =
            (named(b"a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), named(b"b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
        let unit = Identity { unit: Some("web.service".into()), ..Identity::default() };
        assert_eq!(Party::of(&one, Some(&unit)), Party::of(&other, Some(&unit)));
        assert_ne!(Party::of(&one, None), Party::of(&other, None));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_peer_and_those_of_ipv4_are_not() {
        let with = |addr: &str| {
            let mut socket = socket();
            socket.remote.addr = addr.parse().unwrap();
            Party::of(&socket, None).peer
        };
        assert_eq!(with("2001:db8::1"), with("2001:db8::2"));
        assert_ne!(with("2001:db8::1"), with("2001:db8:0:1::1"));
        assert_ne!(with("::ffff:10.0.0.1"), with("::ffff:10.0.0.2"));
    }
}
