//! One connection that is left quiet, and then probed at once.
//!
//! The moment of the probe is ours: a TCP_KEEPIDLE below the quiet time makes the kernel probe immediately
//! (`tcp_sock_set_keepidle_locked` in net/ipv4/tcp.c arms the timer with what is left of it, which is nothing), so no slack of
//! the timer wheel comes in. Three probes, a second apart: one that is lost decides nothing.

use super::search::Found;
use crate::{kernel::clock, model::observed::socket::Time};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    io::{Errno, ioctl_fionbio},
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, connect, recv, socket_with,
        sockopt,
    },
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Far beyond every quiet time that is tried: the kernel takes no more (`MAX_TCP_KEEPIDLE` in include/net/tcp.h).
const NEVER: Duration = Duration::from_secs(32_767);
const AT_ONCE: Duration = Duration::from_secs(1);
const N_PROBES: u32 = 3;
const APART: Duration = Duration::from_secs(1);
/// When every probe and its answer have had their time.
const ANSWERED_WITHIN: Duration = Duration::from_millis(4_500);
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// A connection that nothing is sent on.
#[derive(Debug)]
pub(crate) struct Trial {
    socket: OwnedFd,
    /// When it was opened, or the peer sent something last: its program knows nothing of probes.
    heard: Time,
    /// Since when nothing has passed, probes included.
    quiet_since: Time,
}

/// What happened while it was waited for.
enum PeerEvent {
    Nothing,
    Data,
    Closed,
    Error(Errno),
}

impl Trial {
    /// Connects.
    pub(crate) fn connect(peer: SocketAddr, from: Option<IpAddr>) -> Result<Self, Errno> {
        let family = if peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        if let Some(from) = from {
            bind(&socket, &SocketAddr::new(from, 0))?;
        }
        sockopt::set_tcp_keepidle(&socket, NEVER)?;
        sockopt::set_tcp_keepintvl(&socket, APART)?;
        sockopt::set_tcp_keepcnt(&socket, N_PROBES)?;
        sockopt::set_socket_keepalive(&socket, true)?;
        ioctl_fionbio(&socket, true)?;
        match connect(&socket, &peer) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => {
                ready(&socket, PollFlags::OUT, CONNECTED_WITHIN)?.ok_or(Errno::TIMEDOUT)?;
                sockopt::socket_error(&socket)??;
            }
            Err(errno) => return Err(errno),
        }
        Ok(Self { socket, heard: clock::now(), quiet_since: clock::now() })
    }

    /// Leaves it quiet for that time, and probes it. What the peer sends begins the time anew, and is thrown away.
    /// Together with the quiet time that it really was; of one that the peer closed, with the time since it last heard of us or
    /// spoke itself.
    pub(crate) fn stay_quiet(&mut self, quiet: Duration) -> Result<(Duration, Found), Errno> {
        loop {
            let left = quiet.saturating_sub(since(self.quiet_since));
            let event = self.wait(left)?;
            match event {
                PeerEvent::Nothing => break,
                PeerEvent::Data => (self.heard, self.quiet_since) = (clock::now(), clock::now()),
                PeerEvent::Closed | PeerEvent::Error(Errno::CONNRESET | Errno::PIPE) => {
                    return Ok((since(self.heard), Found::ClosedByPeer));
                }
                // Something on the way says that there is no way.
                PeerEvent::Error(_) => return Ok((since(self.quiet_since), Found::Silence)),
            }
        }
        let was = since(self.quiet_since);
        sockopt::set_tcp_keepidle(&self.socket, AT_ONCE)?;
        let began = clock::now();
        loop {
            match self.wait(ANSWERED_WITHIN.saturating_sub(since(began)))? {
                PeerEvent::Nothing => break,
                PeerEvent::Data => self.heard = clock::now(),
                // A peer that closes in these seconds was heard, and so was the path.
                PeerEvent::Closed => return Ok((since(self.heard), Found::ClosedByPeer)),
                PeerEvent::Error(Errno::CONNRESET | Errno::PIPE) => return Ok((was, Found::Reset)),
                // ETIMEDOUT, or what something on the way said meanwhile.
                PeerEvent::Error(_) => return Ok((was, Found::Silence)),
            }
        }
        sockopt::set_tcp_keepidle(&self.socket, NEVER)?;
        self.quiet_since = clock::now();
        Ok((was, Found::Survived))
    }

    /// Waits for something from the peer, at most for that time.
    fn wait(&self, most: Duration) -> Result<PeerEvent, Errno> {
        if ready(&self.socket, PollFlags::IN | PollFlags::RDHUP, most)?.is_none() {
            return Ok(PeerEvent::Nothing);
        }
        if let Err(errno) = sockopt::socket_error(&self.socket)? {
            return Ok(PeerEvent::Error(errno));
        }
        let mut buffer = [0_u8; 4096];
        match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Ok(PeerEvent::Closed),
            Ok(_) => Ok(PeerEvent::Data),
            Err(Errno::AGAIN) => Ok(PeerEvent::Nothing),
            Err(errno) => Ok(PeerEvent::Error(errno)),
        }
    }
}

/// What of `wanted` is so, or an error of the socket; none after the time.
fn ready(socket: &OwnedFd, wanted: PollFlags, most: Duration) -> Result<Option<PollFlags>, Errno> {
    let began = clock::now();
    loop {
        let left = most.saturating_sub(since(began));
        let timeout = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        let mut fds = [PollFd::new(socket, wanted)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) if since(began) >= most => return Ok(None),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(fds.first().map(PollFd::revents)),
            Err(errno) => return Err(errno),
        }
    }
}

/// The time since then.
fn since(then: Time) -> Duration {
    Duration::from_millis(clock::now().ms_since(then))
}
