//! What the hooks can tell, and whether the kernel lets them.

use super::{
    error::Error,
    hook_place::{self, HookPlace},
};
use crate::model::text::closed_set::closed_set;

closed_set! {
    /// What the hooks can tell.
    pub enum Signal {
        /// Every socket that a process has open.
        Snapshot = "snapshot",
        /// A socket that no process has open any more, or not yet.
        LookAgain = "look_again",
        /// Sockets that nobody has open and that are older than the hooks.
        Listed = "listed",
        /// The files that a process has loaded.
        ProcessFiles = "process_files",
        /// A connection opens, closes or changes its state.
        StateChange = "state_change",
        /// The kernel destroys a socket.
        Destroy = "destroy",
        /// The keepalive timer has run: a probe went out, or why not.
        KeepaliveTimer = "keepalive_timer",
        /// A program has set an option.
        Setsockopt = "setsockopt",
    }
}

impl Signal {
    /// Whether connections or events can go unseen without it.
    pub const fn is_needed(self) -> bool {
        !matches!(self, Self::ProcessFiles)
    }

    /// The places in the kernel where its hook can sit, best first.
    pub const fn places(self) -> &'static [HookPlace] {
        match self {
            Self::Snapshot => &[hook_place::SNAPSHOT],
            Self::LookAgain => &[hook_place::LOOK_AGAIN],
            Self::Listed => &[hook_place::LISTED],
            Self::ProcessFiles => &[hook_place::PROCESS_FILES],
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
            Self::LookAgain => {
                "how sockets without a descriptor are now (the kernel's own, in an accept queue, in io_uring), and \
                 their end if no hook reports it"
            }
            Self::Listed => {
                "sockets without a descriptor that are older than keepwatch: the kernel's own (NFS), and \
                 those in accept queues"
            }
            Self::ProcessFiles => {
                "which libraries a process had loaded that has ended: without them `why` can only guess its client"
            }
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
