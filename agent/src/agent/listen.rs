//! The two places where the agent is reached: an address for metrics, a unix socket for commands.

use crate::files::{self, FileKind, Folder, Lock, Seat};
use rustix::{
    fs::{Gid, Mode, fchmod},
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    },
};
use std::{
    ffi::{OsStr, OsString},
    fs, io,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
};

/// Why one of them is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
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
        /// The address and port from `--listen`.
        address: SocketAddr,
        #[source]
        /// The error of bind(2) or listen(2).
        cause: io::Error,
    },
    /// Another agent holds the lock of the socket.
    #[error(
        "another keepwatch agent{} runs already: it holds {}; stop it, or give this one its own \
         --socket and --listen",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        lock.display()
    )]
    SecondInstance {
        /// The lock that it holds.
        lock: PathBuf,
        /// Its process id, if it can be seen.
        pid: Option<u32>,
    },
    /// The path of the API socket is taken.
    #[error(
        "cannot make the API socket {}: {found} is there already, and nothing but a socket is ever \
         replaced; choose another path with --socket",
        path.display()
    )]
    Occupied {
        /// Path of the API socket.
        path: PathBuf,
        /// The kind of file that is there.
        found: FileKind,
    },
    /// Another program has the path.
    #[error(
        "cannot make the API socket {}: another program listens there; stop it, or choose another \
         path with --socket",
        path.display()
    )]
    Answered {
        /// Path of the API socket.
        path: PathBuf,
    },
    /// The API socket cannot be made.
    #[error("cannot make the API socket {}: {cause}; choose another path with --socket", path.display())]
    Socket {
        /// Path of the API socket.
        path: PathBuf,
        /// The error of the file layer.
        cause: files::Error,
    },
    /// The lock beside the API socket is not to be had.
    #[error(
        "cannot use the lock {} of the API socket: {cause}; choose another path with --socket",
        lock.display()
    )]
    Lock {
        /// Path of the lock.
        lock: PathBuf,
        /// The error of the file layer.
        cause: files::Error,
    },
    /// The group of the API socket does not exist.
    #[error("cannot give the API socket to the group {0}: there is no such group in /etc/group")]
    Group(String),
}

/// The listening end of the metrics.
pub(super) fn metrics(address: SocketAddr) -> Result<TcpListener, Error> {
    /// std's 128 are too few where many come at once: a client that finds no room tries again after a second.
    const BACKLOG: i32 = 1024;
    let listener = TcpListener::bind(address).and_then(|listener| {
        listen(&listener, BACKLOG)?;
        Ok(listener)
    });
    listener.map_err(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => Error::InUse(address),
        _ => Error::Address { address, cause },
    })
}

/// The listening end of the API.
#[derive(Debug)]
pub(super) struct Api {
    listener: UnixListener,
    /// None if the socket was passed to us: who made it removes it.
    #[expect(dead_code, reason = "it is removed with this value")]
    own: Option<OwnSocket>,
}

/// A socket that we made: removed with this value.
#[derive(Debug)]
struct OwnSocket {
    folder: Folder,
    seat: Seat,
    #[expect(dead_code, reason = "the lock is held for as long as the file is open")]
    lock: Lock,
}

impl Api {
    /// Makes the socket, for root and `group` only. A lock beside it says whether another agent lives: a
    /// socket that a killed one left is in nobody's way.
    pub(super) fn bind(path: &Path, group: Option<&str>) -> Result<Self, Error> {
        const FOLDER: Mode = Mode::from_raw_mode(0o755);
        const USABLE: Mode = Mode::from_raw_mode(0o660);
        let failed = |cause| Error::Socket { path: path.to_owned(), cause };
        let gid = group
            .map(|name| gid_of(name).ok_or_else(|| Error::Group(name.to_owned())))
            .transpose()?;
        let name = path.file_name().ok_or_else(|| failed(Errno::ISDIR.into()))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = Folder::make(folder.unwrap_or(Path::new(".")), FOLDER).map_err(failed)?;
        // Before the lock is made: a slip of the pen makes no file.
        standing(&folder, name, path)?;
        let lock = locked(&folder, path)?;
        make_room(&folder, name, path)?;
        let listener = closed_listener(path).map_err(|errno| failed(errno.into()))?;
        let seat = folder.seat(name).map_err(failed)?;
        let seat = seat.filter(|seat| seat.kind().is_socket() && seat.is_own());
        let seat = seat.ok_or_else(|| failed(Errno::STALE.into()))?;
        let own = OwnSocket { folder, seat, lock };
        own.folder.grant(&own.seat, gid, USABLE).map_err(failed)?;
        Ok(Self { listener: listener.into(), own: Some(own) })
    }

    /// A socket that was passed to us.
    pub(super) const fn given(listener: UnixListener) -> Self {
        Self { listener, own: None }
    }

    /// Where it is, if it has a path.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.listener.local_addr().ok()?.as_pathname().map(Path::to_owned)
    }

    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        self.folder.remove(&self.seat).ok();
    }
}

fn locked(folder: &Folder, path: &Path) -> Result<Lock, Error> {
    let beside = |name: &OsStr| [name, ".lock".as_ref()].into_iter().collect::<OsString>();
    let lock = PathBuf::from(beside(path.as_os_str()));
    let name = beside(path.file_name().unwrap_or_default());
    let locked = folder.own(&name, Mode::RUSR | Mode::WUSR).and_then(Lock::on);
    locked.map_err(|cause| match cause {
        files::Error::Held(pid) => Error::SecondInstance { lock, pid },
        cause => Error::Lock { lock, cause },
    })
}

/// Removes a socket that an agent left when it was killed, and nothing else.
fn make_room(folder: &Folder, name: &OsStr, path: &Path) -> Result<(), Error> {
    let failed = |cause| Error::Socket { path: path.to_owned(), cause };
    let Some(seat) = standing(folder, name, path)? else {
        return Ok(());
    };
    if !seat.is_own() && !folder.is_own() {
        return Err(failed(files::Error::Foreign(seat.uid())));
    }
    match is_answered(path) {
        Ok(false) => folder.remove(&seat).map_err(failed),
        Ok(true) => Err(Error::Answered { path: path.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// The socket that stands at the path, if one does. Anything else there is an error.
fn standing(folder: &Folder, name: &OsStr, path: &Path) -> Result<Option<Seat>, Error> {
    let seat = folder.seat(name).map_err(|cause| Error::Socket { path: path.to_owned(), cause })?;
    match seat {
        Some(seat) if !seat.kind().is_socket() => {
            Err(Error::Occupied { path: path.to_owned(), found: seat.kind() })
        }
        seat => Ok(seat),
    }
}

/// Whether a program has this socket open to be connected to.
fn is_answered(path: &Path) -> rustix::io::Result<bool> {
    match connect(&stream()?, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => Ok(false),
        // EAGAIN: more wait already than it takes. EPROTOTYPE: it takes datagrams.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Ok(true),
        Err(errno) => Err(errno),
    }
}

fn stream() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// A listener to which nobody else may connect yet: the file gets the mode of the socket before it is bound
/// (`unix_bind_bsd` in net/unix/af_unix.c).
fn closed_listener(path: &Path) -> rustix::io::Result<OwnedFd> {
    const BACKLOG: i32 = 128;
    let socket = stream()?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
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
    fn a_socket_is_for_its_maker_alone_until_it_is_granted() {
        use std::os::unix::fs::PermissionsExt as _;
        let name = format!("keepwatch-closed-{}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _listener = closed_listener(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        fs::remove_file(&path).unwrap();
        assert_eq!(mode & 0o7777 & !0o600, 0, "{mode:o}");
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
