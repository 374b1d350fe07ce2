//! The two places where the agent is reached: an address for metrics, a unix socket for commands.

use rustix::{
    fs::{AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, chmod, chownat, flock, open},
    io::Errno,
};
use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
};

/// Why one of them is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else has the address.
    #[error(
        "cannot listen on {0}: the address is in use; choose another with --listen, or see who has \
         it: ss -ltnp 'sport = :{port}'",
        port = .0.port()
    )]
    InUse(SocketAddr),
    /// The address cannot be had for another reason.
    #[error("cannot listen on {address}; choose another with --listen")]
    Address {
        /// The address.
        address: SocketAddr,
        #[source]
        /// Why.
        cause: io::Error,
    },
    /// Another agent runs.
    #[error(
        "another keepwatch agent runs already: it holds {}; stop it, or give this one its own \
         --socket and --listen",
        lock.display()
    )]
    SecondInstance {
        /// The lock that it holds.
        lock: PathBuf,
    },
    /// The API socket cannot be made.
    #[error("cannot make the API socket {}; choose another with --socket", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        #[source]
        /// Why.
        cause: io::Error,
    },
    /// The group of the API socket does not exist.
    #[error("cannot give the API socket to the group {0}: there is no such group in /etc/group")]
    Group(String),
}

/// The listening end of the metrics.
pub(super) fn metrics(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => Error::InUse(address),
        _ => Error::Address { address, cause },
    })
}

/// The listening end of the API: removed with this value.
#[derive(Debug)]
pub(super) struct Api {
    path: PathBuf,
    listener: UnixListener,
    #[expect(dead_code, reason = "the lock is held for as long as the file is open")]
    lock: OwnedFd,
}

impl Api {
    /// Makes the socket, for root and `group` only. A lock beside it tells whether another agent
    /// lives: a socket that a killed one left is in nobody's way.
    pub(super) fn bind(path: &Path, group: Option<&str>) -> Result<Self, Error> {
        let failed = |cause: io::Error| Error::Socket { path: path.to_owned(), cause };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = open(Path::new(&lock_path), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| failed(errno.into()))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::SecondInstance { lock: lock_path.into() });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let gid = group
            .map(|name| gid_of(name).ok_or_else(|| Error::Group(name.to_owned())))
            .transpose()?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        let api = Self { path: path.to_owned(), listener, lock };
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP;
        chmod(path, mode).map_err(|errno| failed(errno.into()))?;
        if let Some(gid) = gid {
            chownat(CWD, path, None, Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| failed(errno.into()))?;
        }
        Ok(api)
    }

    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

/// From /etc/group: a static binary has no NSS.
fn gid_of(name: &str) -> Option<Gid> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok().map(Gid::from_raw))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_told_of_the_first_and_a_dead_ones_socket_is_no_hindrance() {
        let folder = std::env::temp_dir().join(format!("keepwatch-listen-{}", std::process::id()));
        let path = folder.join("api.sock");
        let first = Api::bind(&path, None).unwrap();
        assert!(matches!(Api::bind(&path, None), Err(Error::SecondInstance { .. })));
        drop(first);
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap());
        Api::bind(&path, None).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_taken_port_is_named_with_a_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let _holder = TcpListener::bind(taken).unwrap();
        let error = metrics(taken).unwrap_err().to_string();
        assert!(error.contains(&taken.to_string()) && error.contains("--listen"), "{error}");
    }

    #[test]
    fn an_unknown_group_is_an_error() {
        let path =
            std::env::temp_dir().join(format!("keepwatch-group-{}.sock", std::process::id()));
        assert!(matches!(Api::bind(&path, Some("no such group")), Err(Error::Group(_))));
    }
}
