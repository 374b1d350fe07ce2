//! What follows from what the kernel said: how long a path keeps a quiet connection, whether keepalive protects it
//! there, and why it ended. Nothing here remembers a socket.

pub mod check_policy;
pub mod condition;
pub mod death;
pub mod destination;
pub mod facts;
pub mod gap;
pub mod given_limits;
pub mod host_addresses;
pub mod idle_limit;
pub mod learned;
pub mod learned_limit;
pub mod limit_source;
pub mod limits_met;
mod path_condition;
pub mod preset;
pub mod promise_text;
pub mod verdict;
pub mod worth;
