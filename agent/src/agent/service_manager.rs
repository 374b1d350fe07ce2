//! What the service manager hears of the agent (sd_notify(3)): that it is ready, that it stops, and signs of life as long as it watches.

use crate::{kernel::clock, model::observed::socket::Time};
use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
};
use tracing::warn;

/// The sums are published each second, and a walk over a million sockets takes seconds: what is older than this hangs.
const HANGS_AFTER_MS: u64 = 60_000;

/// The socket of the service manager, if one has started the agent and waits for news.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    socket: Option<UnixDatagram>,
    wants_signs: bool,
}

impl ServiceManager {
    /// The one that the environment names. The socket is opened now: in its sandbox the agent opens no other.
    pub(super) fn from_env() -> Self {
        let Some(address) = env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let is_for_us = match env::var("WATCHDOG_PID") {
            Ok(pid) => pid.parse() == Ok(process::id()),
            Err(_) => true,
        };
        let wants_signs = is_for_us && env::var_os("WATCHDOG_USEC").is_some();
        match connected(&address) {
            Ok(socket) => Self { socket: Some(socket), wants_signs },
            Err(cause) => {
                let socket = address.to_string_lossy().into_owned();
                warn!(socket, %cause, "the service manager hears nothing: its NOTIFY_SOCKET cannot be reached");
                Self::default()
            }
        }
    }

    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Shows life, unless the watching thread has published nothing for too long.
    pub(super) fn show_life(&self, published: Time) {
        if self.wants_signs && clock::now().ms_since(published) < HANGS_AFTER_MS {
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, what: &str) {
        // A manager that is gone is no reason to end.
        drop(self.socket.as_ref().map(|socket| socket.send(what.as_bytes())));
    }
}

/// A path, or with an `@` before it a name without a file.
fn connected(address: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match address.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(address)?,
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(manager: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 64];
        manager.set_nonblocking(true).unwrap();
        let n = manager.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..n].to_vec()).unwrap())
    }

    #[test]
    fn it_shows_life_while_sums_are_published_and_not_when_that_hangs() {
        let name = format!("keepwatch-test-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let socket = connected(OsStr::new(&format!("@{name}"))).unwrap();
        let agent = ServiceManager { socket: Some(socket), wants_signs: true };
        agent.show_life(clock::now());
        assert_eq!(heard(&manager).as_deref(), Some("WATCHDOG=1"));
        agent.show_life(Time(clock::now().0 - (HANGS_AFTER_MS + 1) * 1_000_000));
        assert_eq!(heard(&manager), None);
        let ServiceManager { socket, .. } = agent;
        ServiceManager { socket, wants_signs: false }.show_life(clock::now());
        assert_eq!(heard(&manager), None, "nobody asked for signs");
    }
}
