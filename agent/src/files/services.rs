//! Ports by the names that services(5) gives them.

use super::{Error, text};
use std::path::Path;

/// The list of services: only root writes it.
const FILE: &str = "/etc/services";
/// Debian's has 13 KB.
const MOST_BYTES: usize = 4 << 20;

/// Why a word is no port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoPort {
    /// A number that no port has.
    #[error("a port is a number up to 65535, or the name of a service in {FILE}")]
    Number,
    /// No service of TCP has that name.
    #[error("no TCP service in {FILE} has the name {0}: give its port as a number")]
    Unknown(String),
    /// The list is not to be had.
    #[error("{name} is no number, and the services in {FILE} cannot be read: {cause}")]
    Unread {
        /// The name that was asked for.
        name: String,
        /// The error of the file layer.
        cause: Error,
    },
}

/// The port that a number or the name of a service means.
pub(crate) fn port(word: &str) -> Result<u16, NoPort> {
    port_by(Path::new(FILE), word)
}

fn port_by(list: &Path, word: &str) -> Result<u16, NoPort> {
    if let Ok(port) = word.parse() {
        return Ok(port);
    }
    if word.is_empty() || word.chars().all(|c| c.is_ascii_digit()) {
        return Err(NoPort::Number);
    }
    let services =
        text(list, MOST_BYTES).map_err(|cause| NoPort::Unread { name: word.to_owned(), cause })?;
    let found = services.lines().find_map(|line| port_of_line(line, word));
    found.ok_or_else(|| NoPort::Unknown(word.to_owned()))
}

/// `postgresql 5432/tcp postgres # PostgreSQL Database`: a name, port and protocol, other names.
fn port_of_line(line: &str, name: &str) -> Option<u16> {
    let mut words = line.split('#').next()?.split_whitespace();
    let first = words.next()?;
    let port = words.next()?.strip_suffix("/tcp")?;
    let is_it = first == name || words.any(|other| other == name);
    is_it.then(|| port.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_tcp_is_found_by_each_of_its_names_and_no_other() {
        let line = "postgresql\t5432/tcp\tpostgres\t# PostgreSQL Database";
        assert_eq!(port_of_line(line, "postgresql"), Some(5432));
        assert_eq!(port_of_line(line, "postgres"), Some(5432));
        for (line, name) in [
            (line, "PostgreSQL"),
            (line, "5432/tcp"),
            ("syslog 514/udp", "syslog"),
            ("# smtp 25/tcp", "smtp"),
            ("broken x/tcp", "broken"),
            ("", ""),
        ] {
            assert_eq!(port_of_line(line, name), None, "{line}: {name}");
        }
    }

    #[test]
    fn a_number_needs_no_list_and_what_is_wrong_says_what_is_expected() {
        let nowhere = Path::new("/nowhere/services");
        assert_eq!(port_by(nowhere, "5432").ok(), Some(5432));
        let said = |word| port_by(nowhere, word).unwrap_err().to_string();
        assert!(said("65536").contains("up to 65535"));
        assert!(said("").contains("up to 65535"));
        assert!(said("postgresql").contains("/etc/services cannot be read"));
    }
}
