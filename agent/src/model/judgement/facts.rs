//! The facts about a connection that a conclusion is made of. A sample of its socket gives them, and so does the row that
//! was made of one: nothing has to be turned back into a socket to be judged.

use super::{
    condition::{Diagnosis, diagnose},
    gap::Gap,
};
use crate::model::observed::{
    probe_timing::fires_by_ms,
    setting::Effective,
    socket::{Direction, Endpoint, Socket, State},
    watched::Watched,
};

/// A connection as far as conclusions look at it.
pub trait ConnectionFacts {
    /// Our end.
    fn local(&self) -> Endpoint;
    /// The peer.
    fn remote(&self) -> Endpoint;
    /// Who sent the SYN.
    fn direction(&self) -> Direction;
    /// Inode number of its network namespace.
    fn netns(&self) -> u32;
    /// The TCP state.
    fn state(&self) -> State;
    /// Whether no descriptor refers to it any more: the kernel closes it by itself.
    fn is_orphan(&self) -> bool;
    /// Silence before the first probe, seconds, whether or not keepalive is on.
    fn idle(&self) -> Effective;
    /// Time between two probes, seconds.
    fn interval(&self) -> Effective;
    /// The longest time between two packets that probes of this end leave. None while keepalive is off. `hz`: ticks of the
    /// kernel's clock a second.
    fn gap(&self, hz: u32) -> Option<Gap>;
    /// Milliseconds until the next probe, if one is due.
    fn next_probe_ms(&self) -> Option<u64>;
    /// Silence until the kernel gives up, at the most, seconds. None while keepalive is off.
    fn detected_after_seconds(&self) -> Option<u64>;
    /// How long no packet went either way, milliseconds.
    fn quiet_ms(&self) -> u64;
    /// What looks at it have shown.
    fn watched(&self) -> Watched;
    /// How long it had been quiet at the last look: what came since is not known, and is no quiet time.
    fn seen_quiet_ms(&self) -> u64 {
        self.quiet_ms().saturating_sub(self.watched().age_ms.into())
    }

    /// Whether a program has it open, and the peer may still send: also one of which the program has closed only its own half.
    fn is_open(&self) -> bool {
        match self.state() {
            State::Established => true,
            State::FinWait1 | State::FinWait2 => !self.is_orphan(),
            _ => false,
        }
    }

    /// When a timer of the settings of now has fired at the latest, milliseconds after it was armed.
    fn fires_by_ms(&self) -> u64 {
        fires_by_ms(u64::from(self.idle().value.max(self.interval().value)) * 1000)
    }

    /// Whether the timer that runs may have been armed with the settings of now: what is armed for longer is older.
    fn is_timer_of_now(&self) -> bool {
        self.next_probe_ms().is_some_and(|rest_ms| rest_ms <= self.fires_by_ms())
    }

    /// Milliseconds until a path with this limit forgets it, if no data is sent; less than 0 if it has. A probe that comes in time
    /// keeps it once more, also where the one after it comes too late.
    fn forgotten_in_ms(&self, limit_ms: i64) -> i64 {
        let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let rest_ms = limit_ms.saturating_sub(ms(self.quiet_ms()));
        let interval_ms = i64::from(self.interval().value) * 1000;
        let in_time = self.next_probe_ms().map(ms).filter(|next_ms| *next_ms < rest_ms);
        in_time
            .filter(|_| interval_ms >= limit_ms)
            .map_or(rest_ms, |next_ms| next_ms.saturating_add(limit_ms))
    }

    /// What is wrong with it now, whatever the path.
    fn diagnosis(&self) -> Option<Diagnosis>;

    /// Whether the peer's address is a loopback address.
    fn is_loopback(&self) -> bool {
        self.remote().addr.to_canonical().is_loopback()
    }
}

impl ConnectionFacts for Socket {
    fn local(&self) -> Endpoint {
        self.local
    }

    fn remote(&self) -> Endpoint {
        self.remote
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn netns(&self) -> u32 {
        self.netns
    }

    fn state(&self) -> State {
        self.state
    }

    fn is_orphan(&self) -> bool {
        self.is_orphan
    }

    fn idle(&self) -> Effective {
        self.idle()
    }

    fn interval(&self) -> Effective {
        self.interval()
    }

    fn gap(&self, hz: u32) -> Option<Gap> {
        Gap::of(self, hz)
    }

    fn next_probe_ms(&self) -> Option<u64> {
        self.next_probe_ms()
    }

    fn detected_after_seconds(&self) -> Option<u64> {
        self.detection_at_most_seconds()
    }

    fn quiet_ms(&self) -> u64 {
        self.quiet_ms.into()
    }

    fn watched(&self) -> Watched {
        self.watched
    }

    fn diagnosis(&self) -> Option<Diagnosis> {
        diagnose(self)
    }
}
