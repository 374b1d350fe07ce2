//! Why a command has no answer from the agent, and the way out.

use super::PATIENCE;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why the agent's answer is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No process listens on the socket.
    #[error(
        "no agent answers on {}: start one with `keepwatch run`, or name with --socket the socket \
         of an agent that runs",
        path.display()
    )]
    NoAgent {
        /// Path of the API socket.
        path: PathBuf,
    },
    /// The socket is not for us.
    #[error(
        "not allowed to use the agent's socket {}: run as root, or as a member of the group that \
         the agent was given with --socket-group",
        path.display()
    )]
    Denied {
        /// Path of the API socket.
        path: PathBuf,
    },
    /// The agent sends nothing.
    #[error("the agent on {} gave no answer: does it still run?", path.display())]
    NoAnswer {
        /// Path of the API socket.
        path: PathBuf,
        #[source]
        /// What was seen of it.
        cause: io::Error,
    },
    /// The agent has begun to answer, and says nothing more.
    #[error(
        "the agent on {} has sent nothing for {} s: does it hang? See its log, or ask the kernel with \
         --source kernel",
        path.display(),
        PATIENCE.as_secs()
    )]
    Silent {
        /// Path of the API socket.
        path: PathBuf,
    },
    /// The agent's answer has no end, so that what came may be a part of it.
    #[error(
        "the agent on {} broke off its answer, which is not complete: ask again, and see the agent's \
         log if it does not run any more",
        path.display()
    )]
    BrokenOff {
        /// Path of the API socket.
        path: PathBuf,
        #[source]
        /// What was seen of it.
        cause: io::Error,
    },
    /// The agent does not do what it was asked.
    #[error("the agent on {} refuses with status {status}: {message}", path.display())]
    Refused {
        /// Path of the API socket.
        path: PathBuf,
        /// The HTTP status code.
        status: u16,
        /// The text of the answer.
        message: String,
    },
    /// What came is not the API.
    #[error(
        "the program that answers on {} does not speak this API: is it an agent, of version {}?",
        path.display(),
        env!("CARGO_PKG_VERSION")
    )]
    Protocol {
        /// Path of the API socket.
        path: PathBuf,
        #[source]
        /// What is wrong with it.
        cause: io::Error,
    },
    /// The system refused something else.
    #[error("cannot use the agent's socket {}", path.display())]
    Socket {
        /// Path of the API socket.
        path: PathBuf,
        #[source]
        /// The error of the system call.
        cause: io::Error,
    },
}

impl Error {
    /// What an error says while the connection is made.
    pub(super) fn connecting(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NoAgent { path },
            io::ErrorKind::PermissionDenied => Self::Denied { path },
            _ => Self::Socket { path, cause },
        }
    }

    /// What an error says once it is made, until an answer begins.
    pub(super) fn asking(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        match cause.kind() {
            io::ErrorKind::InvalidData => Self::Protocol { path, cause },
            _ => Self::NoAnswer { path, cause },
        }
    }

    /// What an error says in the middle of an answer.
    pub(super) fn reading(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        match cause.kind() {
            io::ErrorKind::InvalidData => Self::Protocol { path, cause },
            // What a read says whose timeout has passed.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent { path },
            _ => Self::BrokenOff { path, cause },
        }
    }
}
