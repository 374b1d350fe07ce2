//! A socket of our own in every walk, with known values in every setting.
//!
//! Fields move inside stable branches, and the wrong offset reads plausible garbage. So nothing that
//! a walk says counts until it has read this socket right.

use crate::model::observed::{
    setting::OwnSettings,
    socket::{Endpoint, Socket, SocketId},
};
use rustix::{
    fd::OwnedFd,
    fs::fstat,
    io::Errno,
    net::{
        AddressFamily, SocketAddrAny, SocketFlags, SocketType, bind, getsockname, socket_with,
        sockopt,
    },
};
use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

/// Why a walk is not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was read wrong.
    #[error(
        "the snapshot reads sockets wrong: of our own it says {found}, but it is {expected}; this \
         kernel's layout is not what its BTF says: please report the kernel's version"
    )]
    Misread {
        /// The values that were set on our own socket.
        expected: String,
        /// The values that the walk read from it.
        found: String,
    },
    /// It was not met.
    #[error(
        "the snapshot did not show a socket of our own: it cannot be complete; see `keepwatch doctor`"
    )]
    Unmet,
}

/// Unlike each other and any default, so that no two fields can be confused.
const OWN: OwnSettings = OwnSettings {
    idle_seconds: 11_213,
    interval_seconds: 3_347,
    user_timeout_ms: 45_678,
    count: 101,
};

/// The socket. It is older than the hooks, which would tell of each option set on it.
#[derive(Debug)]
pub(super) struct Witness {
    #[expect(dead_code, reason = "held open as long as walks may meet it")]
    socket: OwnedFd,
    inode: u32,
    /// Its cookie, where hooks can tell cookies.
    id: Option<SocketId>,
    local: Endpoint,
}

impl Witness {
    pub(super) fn new(with_cookies: bool) -> Result<Self, Errno> {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, Duration::from_secs(OWN.idle_seconds.into()))?;
        sockopt::set_tcp_keepintvl(&socket, Duration::from_secs(OWN.interval_seconds.into()))?;
        sockopt::set_tcp_keepcnt(&socket, OWN.count.into())?;
        sockopt::set_tcp_user_timeout(&socket, OWN.user_timeout_ms)?;
        let id = with_cookies.then(|| sockopt::socket_cookie(&socket).map(SocketId)).transpose()?;
        let inode = u32::try_from(fstat(&socket)?.st_ino).unwrap_or(u32::MAX);
        let local: SocketAddr =
            SocketAddrAny::try_into(getsockname(&socket)?).map_err(|_| Errno::AFNOSUPPORT)?;
        Ok(Self { socket, inode, id, local: local.into() })
    }

    /// Whether this sample is of the witness: then it was right.
    pub(super) fn meets(&self, socket: &Socket) -> Result<bool, Error> {
        if socket.inode != self.inode {
            return Ok(false);
        }
        let describe = |id: SocketId, own: &OwnSettings, keepalive: bool, local: Endpoint| {
            format!("{id}, {own:?}, keepalive {keepalive}, bound to {}", local.socket_addr())
        };
        let expected = describe(self.id.unwrap_or(socket.id), &OWN, true, self.local);
        let found = describe(socket.id, &socket.own, socket.keepalive, socket.local);
        if found == expected { Ok(true) } else { Err(Error::Misread { expected, found }) }
    }
}
