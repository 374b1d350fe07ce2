//! What stands for a socket: the number that the kernel gives it, and the place where it is.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A socket cookie: unique while the kernel runs. Written as `ss -e` writes it, `sk:1f`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct SocketId(pub u64);

impl From<SocketId> for String {
    fn from(id: SocketId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for SocketId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sk:{:x}", self.0)
    }
}

impl FromStr for SocketId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("sk:")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .map(Self)
            .ok_or_else(|| format!("expected a socket id like sk:1f, got {text:?}"))
    }
}

/// Where the kernel keeps a socket: a number that only the hooks can turn into an address. 0 is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketAddress(pub u64);
