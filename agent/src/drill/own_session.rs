//! The connection that the asker's own session goes over, as far as it can be known: cutting it would leave nobody to look.

use crate::view::row::Row;
use std::{
    collections::BTreeSet,
    env, fs,
    net::{IpAddr, SocketAddr},
};

/// Processes that one may be started by, one by the other.
const MOST_ANCESTORS: usize = 64;

/// What is known of the session that this command was typed in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnSession {
    /// This process, and those that started it: one of them has the connection open (sshd, the agent of a cloud).
    ancestors: BTreeSet<u32>,
    /// The peer and our port of `SSH_CONNECTION`.
    ssh: Option<(SocketAddr, u16)>,
}

impl OwnSession {
    /// That of this process.
    pub(crate) fn of_this_process() -> Self {
        let status = |pid: u32| fs::read_to_string(format!("/proc/{pid}/status")).ok();
        Self {
            ancestors: ancestors(std::process::id(), |pid| parent(&status(pid)?)),
            ssh: env::var("SSH_CONNECTION").ok().and_then(|text| ssh_connection(&text)),
        }
    }

    /// Whether a connection may carry it.
    pub(crate) fn goes_over(&self, row: &Row) -> bool {
        let (local, remote) = (row.connection.local, row.connection.remote);
        row.owners.iter().any(|owner| self.ancestors.contains(&owner.pid))
            || self.ssh.is_some_and(|(peer, port)| peer == remote && port == local.port())
    }
}

fn ancestors(pid: u32, parent_of: impl Fn(u32) -> Option<u32>) -> BTreeSet<u32> {
    let chain = std::iter::successors(Some(pid), |pid| parent_of(*pid).filter(|pid| *pid > 0));
    chain.take(MOST_ANCESTORS).collect()
}

/// The parent in the text of /proc/PID/status.
fn parent(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The client's address and port, and the server's port, of `CLIENT PORT SERVER PORT` (ssh(1)).
fn ssh_connection(text: &str) -> Option<(SocketAddr, u16)> {
    let mut words = text.split_whitespace();
    let client: IpAddr = words.next()?.split('%').next()?.parse().ok()?;
    let client_port = words.next()?.parse().ok()?;
    let own_port = words.nth(1)?.parse().ok()?;
    Some((SocketAddr::new(client.to_canonical(), client_port), own_port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drill::choice::tests_support::row,
        model::observed::socket::{Endpoint, Socket, tests_support::socket},
        view::connection::RowOwner,
    };

    #[test]
    fn a_connection_of_a_process_that_started_this_one_is_the_session_and_that_of_another_is_not() {
        let ancestors = ancestors(812, |pid| {
            [(812, 700), (700, 1), (1, 0)]
                .into_iter()
                .find(|(of, _)| *of == pid)
                .map(|(_, parent)| parent)
        });
        assert_eq!(ancestors, BTreeSet::from([1, 700, 812]));
        let session = OwnSession { ancestors, ssh: None };
        let owned_by = |pid| {
            let mut row = row(&socket());
            row.owners = vec![RowOwner { pid, process: "agent".to_owned(), fd: Some(3) }];
            row
        };
        assert!(session.goes_over(&owned_by(700)));
        assert!(!session.goes_over(&owned_by(701)));
        let own = OwnSession::of_this_process();
        assert!(own.goes_over(&owned_by(std::process::id())));
        assert!(own.ancestors.len() > 1, "{own:?}");
    }

    #[test]
    fn ssh_names_its_connection_by_both_ends() {
        let known = ssh_connection("192.0.2.7 51022 10.0.0.5 2222").unwrap();
        assert_eq!(known, ("192.0.2.7:51022".parse().unwrap(), 2222));
        assert_eq!(ssh_connection("::ffff:192.0.2.7 51022 ::1 22").map(|it| it.0), Some(known.0));
        assert!(ssh_connection("fe80::1%eth0 1 fe80::2%eth0 22").is_some());
        assert_eq!(ssh_connection("nonsense"), None);
        let session = OwnSession { ssh: Some(known), ..OwnSession::default() };
        let from = |port| {
            let remote = Endpoint { port, addr: "::ffff:192.0.2.7".parse().unwrap() };
            let local = Endpoint { port: 2222, ..socket().local };
            row(&Socket { local, remote, ..socket() })
        };
        assert!(session.goes_over(&from(51022)));
        assert!(!session.goes_over(&from(51023)));
    }

    #[test]
    fn a_parent_is_read_from_its_own_line() {
        assert_eq!(parent("Name:\tPPid: 3\nPid:\t7\nPPid:\t5\n"), Some(5));
        assert_eq!(parent("Name:\tx\n"), None);
    }
}
