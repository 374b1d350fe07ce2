//! What can go wrong inside a hook: the kinds that the hooks' log is limited and counted by.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A reason why a hook gave up although it should not, or not in silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A program called setsockopt on a descriptor that is no socket, or not open: its own mistake.
    NoSocket,
    /// The kernel took a call of setsockopt for a socket, and the hook found none.
    LostSocket,
    /// What a descriptor leads to has a family or protocol that it cannot have.
    OddSocket,
    /// No room to note that a call of setsockopt begins: its return is not seen.
    CallsFull,
    /// A noted call could not be forgotten: its room is lost.
    CallStuck,
    /// A call of setsockopt returned whose beginning was not noted.
    CallUnseen,
    /// The value that setsockopt refused could not be read.
    NoValue,
    /// The kernel has no TCP socket where its tracepoint is only for those.
    NotTcp,
    /// A field of a TCP socket has a value that it cannot have.
    OddFields,
    /// An element of a map is not there that always is.
    NoSlot,
    /// A keepalive timer runs that is not inside a TCP socket.
    TimerWithoutSocket,
    /// A keepalive timer began to run whose predecessor on that CPU did not end.
    FireUnended,
    /// A keepalive timer has run whose beginning was not seen.
    FireUnbegun,
}

impl Trouble {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::NoSocket,
        Self::LostSocket,
        Self::OddSocket,
        Self::CallsFull,
        Self::CallStuck,
        Self::CallUnseen,
        Self::NoValue,
        Self::NotTcp,
        Self::OddFields,
        Self::NoSlot,
        Self::TimerWithoutSocket,
        Self::FireUnended,
        Self::FireUnbegun,
    ];

    /// Its element in the map of [`Meter`]s.
    #[expect(clippy::as_conversions, reason = "a fieldless enum's discriminant")]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The target of its lines in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSocket => "no_socket",
            Self::LostSocket => "lost_socket",
            Self::OddSocket => "odd_socket",
            Self::CallsFull => "calls_full",
            Self::CallStuck => "call_stuck",
            Self::CallUnseen => "call_unseen",
            Self::NoValue => "no_value",
            Self::NotTcp => "not_tcp",
            Self::OddFields => "odd_fields",
            Self::NoSlot => "no_slot",
            Self::TimerWithoutSocket => "timer_without_socket",
            Self::FireUnended => "fire_unended",
            Self::FireUnbegun => "fire_unbegun",
        }
    }

    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// How often one CPU met one kind of trouble, and how often it was let into the log.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Meter {
    /// Times since the hooks were loaded.
    pub met: u64,
    /// Lines written to the log's ring, or lost because that was full.
    pub said: u64,
    /// The number of the current window of [`WINDOW_BITS`].
    pub window: u64,
    /// Lines in that window.
    pub in_window: u64,
}

/// Bytes of one [`Meter`].
pub const METER_LEN: usize = size_of::<Meter>();

/// A window lasts 2 to the power of this many nanoseconds: 8.6 s.
pub const WINDOW_BITS: u32 = 33;
/// Lines of one kind that one CPU writes in a window.
pub const LINES_A_WINDOW: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back_to_their_kind() {
        for (number, kind) in (0..).zip(Trouble::ALL) {
            assert_eq!(kind.number(), number);
            assert_eq!(Trouble::named(kind.name()), Some(kind));
        }
        assert_eq!(Trouble::named("nothing"), None);
    }
}
