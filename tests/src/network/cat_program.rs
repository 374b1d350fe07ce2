//! cat(1) with a connection: a program of its own that reads from it, or writes to it.

use super::path::{Ends, NetworkPath};
use crate::kernel::socket::{self, Plan};
use std::{
    io::Read as _,
    net::SocketAddr,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

/// cat(1) with a connection, in the namespace of its path. It ends when dropped.
#[derive(Debug)]
pub struct CatProgram {
    /// The process. A reading one has the connection as descriptor 0, a writing one as 1.
    pub child: Child,
    accepted: OwnedFd,
    /// Its end of the connection.
    pub local: SocketAddr,
}

impl CatProgram {
    /// It waits for what the peer says.
    #[track_caller]
    pub fn reading(path: &NetworkPath, plan: &Plan) -> Self {
        Self::reading_from(path, path.connect(plan))
    }

    /// The same, of a connection that is there.
    #[track_caller]
    pub fn reading_from(path: &NetworkPath, ends: Ends) -> Self {
        let Ends { client, accepted, local } = ends;
        let mut cat = cat(Stdio::from(client), Stdio::piped());
        let child = path.near.run(|| cat.spawn()).expect("start cat");
        Self { child, accepted, local }
    }

    /// It writes what it is given.
    #[track_caller]
    pub fn writing(path: &NetworkPath, plan: &Plan) -> Self {
        let Ends { client, accepted, local } = path.connect(plan);
        let mut cat = cat(Stdio::piped(), Stdio::from(client));
        let child = path.near.run(|| cat.spawn()).expect("start cat");
        Self { child, accepted, local }
    }

    /// The port of its end, in digits.
    pub fn port(&self) -> String {
        self.local.port().to_string()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait for cat").is_some()
    }

    /// The peer says something, and the program that reads hears it.
    #[track_caller]
    pub fn hears(&mut self) {
        socket::send(&self.accepted, b"data");
        let mut bytes = [0; 4];
        self.child.stdout.as_mut().expect("a pipe").read_exact(&mut bytes).expect("what was sent");
        assert_eq!(&bytes, b"data");
    }
}

impl Drop for CatProgram {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// cat(1), not started yet.
pub fn cat(stdin: Stdio, stdout: Stdio) -> Command {
    let mut cat = Command::new("cat");
    cat.stdin(stdin).stdout(stdout).stderr(Stdio::null());
    cat
}
