//! What the history holds, as it is shown: in JSON and over the API. Fields are only ever added.

use crate::{
    model::{
        observed::setsockopt::{SockOpt, When},
        text::wall_time::WallTime,
    },
    view::{
        connection::{PartOf, RowOwner},
        event_row::EventRow,
    },
};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The end of a connection: the event `died` or `ended` as `trace` shows it, and what else is known by then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeathRow {
    /// RFC 3339, UTC; null if the connection was older than the agent.
    pub opened_at: Option<String>,
    /// Every setsockopt call on it that was seen, oldest first.
    pub calls: Vec<CallRow>,
    /// The end, and the connection as it was then.
    #[serde(flatten)]
    pub event: EventRow,
}

/// Which connection, and whose: what a history says of something smaller than a death.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionRef {
    /// The socket cookie, as `ss -e` writes it; null while it had none.
    pub id: Option<String>,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Address and port of our end.
    pub local: SocketAddr,
    /// The peer; port 0 if there was none yet.
    pub remote: SocketAddr,
    /// What the process is part of.
    #[serde(flatten)]
    pub part_of: PartOf,
}

/// Data that was answered after it had gone unanswered for some time.
#[derive(Debug)]
pub(crate) struct LateAnswer {
    /// The socket cookie.
    pub id: String,
    /// When it had been answered, at the latest.
    pub time: WallTime,
    /// Since the first of the data was sent.
    pub unanswered_seconds: f64,
}

/// A setsockopt call as the hook saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRow {
    /// When the call was made.
    #[serde(flatten)]
    pub time: WallTime,
    /// Time of the call, seconds of `CLOCK_MONOTONIC`.
    pub monotonic_seconds: f64,
    /// The option that it set, or tried to set.
    pub option: SockOpt,
    /// The value asked for; null if it could not be read.
    pub value: Option<i32>,
    /// `ok` or the error's name.
    pub result: String,
    /// When in the life of the socket.
    pub when: When,
    /// The process that called.
    pub by: Option<RowOwner>,
    /// On which socket.
    #[serde(flatten)]
    pub on: ConnectionRef,
}
