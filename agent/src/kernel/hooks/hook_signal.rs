//! What the hooks can tell, and whether the kernel lets them.

use super::{
    error::Error,
    hook_place::{self, HookPlace},
};
use serde::Serialize;

/// What the hooks can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Every socket that a process has open.
    Snapshot,
    /// A connection opens, closes or changes its state.
    StateChange,
    /// The kernel destroys a socket.
    Destroy,
    /// The keepalive timer has run: a probe went out, or why not.
    KeepaliveTimer,
    /// A program has set an option.
    Setsockopt,
}

impl Signal {
    /// Every signal, in the order of lists and label values.
    pub const ALL: [Self; 5] =
        [Self::Snapshot, Self::StateChange, Self::Destroy, Self::KeepaliveTimer, Self::Setsockopt];

    /// The name in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::StateChange => "state_change",
            Self::Destroy => "destroy",
            Self::KeepaliveTimer => "keepalive_timer",
            Self::Setsockopt => "setsockopt",
        }
    }

    /// The places in the kernel where its hook can sit, best first.
    pub const fn places(self) -> &'static [HookPlace] {
        match self {
            Self::Snapshot => &[hook_place::SNAPSHOT],
            Self::StateChange => &[hook_place::STATE_CHANGE],
            Self::Destroy => &[hook_place::DESTROY],
            Self::KeepaliveTimer => &hook_place::KEEPALIVE_TIMER,
            Self::Setsockopt => &hook_place::SETSOCKOPT,
        }
    }

    /// What is not known without it.
    pub const fn blind_without(self) -> &'static str {
        match self {
            Self::Snapshot => "everything: no socket can be listed",
            Self::StateChange => {
                "connections that open or close between two snapshots, who opened them, and what they died of"
            }
            Self::Destroy => "the end of sockets whose last state change was missed",
            Self::KeepaliveTimer => {
                "probes as they go out, and whether it was keepalive that ended a connection"
            }
            Self::Setsockopt => "who set what and when, and calls that failed",
        }
    }
}

/// Whether a signal is carried.
#[derive(Debug)]
pub struct SignalStatus {
    /// The signal that the hook carries.
    pub signal: Signal,
    /// The name of the place of the hook that carries it; of the one that was tried last if none does.
    pub mechanism: &'static str,
    /// Why it is not carried, if it is not.
    pub failure: Option<Error>,
    /// Why better mechanisms were passed over.
    pub passed_over: Vec<Error>,
}
