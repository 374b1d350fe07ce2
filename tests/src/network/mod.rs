//! What plays the network: two hosts, what is between them, and how their connections end.

pub mod cat_program;
pub mod ending;
pub mod kernel_tls;
pub mod middlebox;
pub mod path;
