//! stderr: what is said to a person, as opposed to data.

use std::io::{self, Write as _};

/// Says something. Nobody listening is no reason to stop.
pub fn say(text: &str) {
    drop(writeln!(io::stderr(), "keepwatch: {text}"));
}
