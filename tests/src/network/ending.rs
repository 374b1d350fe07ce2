//! How connections end, and what the kernel tells the program that holds one.

use crate::{
    kernel::{
        socket::{self, Plan},
        sys,
    },
    network::path::{Ends, NetworkPath},
    skip::skip,
    tool, wait,
};
use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, sockopt},
};
use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    thread,
    time::Duration,
};

/// Longer than any death of these tests takes, also in a slow guest.
pub const ENDED_WITHIN: Duration = Duration::from_mins(2);

/// `close` with SO_LINGER 0: RST, whatever was sent.
#[track_caller]
pub fn reset(fd: OwnedFd) {
    sockopt::set_socket_linger(&fd, Some(Duration::ZERO)).expect("SO_LINGER");
    drop(fd);
}

/// Ends a connection without a packet, as a power failure does (TCP_REPAIR): a packet that
/// the peer sends afterwards is answered by RST.
#[track_caller]
pub fn forget(fd: OwnedFd) {
    sys::setsockopt(fd.as_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR, 1).expect("TCP_REPAIR");
    drop(fd);
}

/// A connection that the peer resets: its address and port on this side.
#[track_caller]
pub fn reset_by_peer(path: &NetworkPath) -> SocketAddr {
    let Ends { client, accepted, local } = path.connect(&Plan::keepalive(60, 10, 3));
    exchange(&client, &accepted);
    reset(accepted);
    error_at_end(&client);
    local
}

/// A connection that the middlebox has forgotten when it is used again after this time: its address and port on this
/// side.
#[track_caller]
pub fn forgotten(path: &NetworkPath, quiet: Duration) -> SocketAddr {
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    exchange(&client, &accepted);
    wait_for_quiet(&client, quiet);
    socket::send(&client, b"are you there?");
    error_at_end(&client);
    local
}

/// Waits for the end and returns the error that the next call on the descriptor would meet.
///
/// The error is read, and by that taken, only when the state is CLOSE already: hooks have seen it.
#[track_caller]
pub fn error_at_end(fd: &OwnedFd) -> Option<Errno> {
    socket::wait_for_state(fd, socket::CLOSE, ENDED_WITHIN);
    sockopt::socket_error(fd).expect("SO_ERROR").err()
}

/// Waits until no packet with data or an ACK went either way for this long.
#[track_caller]
pub fn wait_for_quiet(fd: &OwnedFd, time: Duration) {
    wait::until(format!("{time:?} of silence"), ENDED_WITHIN, || {
        let info = sys::tcp_info(fd.as_fd()).expect("TCP_INFO");
        let quiet_ms =
            info.tcpi_last_data_sent.min(info.tcpi_last_data_recv).min(info.tcpi_last_ack_recv);
        (u128::from(quiet_ms) >= time.as_millis()).then_some(())
    });
}

/// Data there and back, all of it acknowledged and read.
#[track_caller]
pub fn exchange(near: &OwnedFd, far: &OwnedFd) {
    for (from, to) in [(near, far), (far, near)] {
        socket::send(from, b"data");
        receive(to, 4);
    }
    wait_until_acknowledged(near);
    wait_until_acknowledged(far);
}

/// Reads this many bytes.
#[track_caller]
pub fn receive(fd: &OwnedFd, n_bytes: usize) {
    let mut bytes = vec![0; n_bytes];
    let (n_read, _) =
        rustix::net::recv(fd, bytes.as_mut_slice(), RecvFlags::WAITALL).expect("recv");
    assert_eq!(n_read, n_bytes, "the peer sent it all");
}

/// Waits until there is something to read.
#[track_caller]
pub fn wait_for_data(fd: &OwnedFd) {
    let peek = RecvFlags::PEEK;
    let (n_peeked, _) = rustix::net::recv(fd, &mut [0; 1], peek).expect("recv");
    assert_eq!(n_peeked, 1);
}

/// Sends as much as the window of a peer that does not read takes, and more.
#[track_caller]
pub fn fill_window(fd: &OwnedFd) {
    let block = [0; 4096];
    wait::until("the window is closed", ENDED_WITHIN, || {
        loop {
            match rustix::net::send(fd, &block, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => {}
                // The buffer is full. A window that is smaller than a segment is filled by the first probe of it.
                Err(Errno::AGAIN) => {
                    let info = sys::tcp_info(fd.as_fd()).expect("TCP_INFO");
                    break (info.tcpi_unacked == 0 && info.tcpi_snd_wnd == 0).then_some(());
                }
                Err(error) => panic!("send: {error}"),
            }
        }
    });
}

/// Reads what has come.
#[track_caller]
pub fn drain(fd: &OwnedFd) {
    let mut bytes = vec![0; 65_536];
    loop {
        match rustix::net::recv(fd, bytes.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((1.., _)) => {}
            Ok(_) | Err(Errno::AGAIN) => return,
            Err(error) => panic!("recv: {error}"),
        }
    }
}

/// Waits until the peer has acknowledged all data.
#[track_caller]
pub fn wait_until_acknowledged(fd: &OwnedFd) {
    wait::until("all data is acknowledged", ENDED_WITHIN, || (in_flight(fd) == 0).then_some(()));
}

#[track_caller]
fn in_flight(fd: &OwnedFd) -> u32 {
    sys::tcp_info(fd.as_fd()).expect("TCP_INFO").tcpi_unacked
}

/// A `recv` that the kernel does not finish until the value is dropped: the socket stays locked by
/// its user. None where the kernel has no userfaultfd.
#[derive(Debug)]
pub struct LockedSocket {
    page: Arc<sys::MissingPage>,
    receiver: Option<thread::JoinHandle<io::Result<()>>>,
}

impl LockedSocket {
    /// Locks a socket that has a byte to receive.
    #[track_caller]
    pub fn new(fd: &OwnedFd) -> Option<Self> {
        let page = match sys::MissingPage::new() {
            Ok(page) => Arc::new(page),
            Err(error) => {
                assert!(!tool::kernel_has(&["USERFAULTFD"]), "userfaultfd: {error}");
                skip("a locked socket", format!("without userfaultfd: {error}"));
                return None;
            }
        };
        let fd = fd.try_clone().expect("dup");
        let there = Arc::clone(&page);
        let receiver = Some(thread::spawn(move || there.receive(fd.as_fd())));
        Some(Self { page, receiver })
    }

    /// Lets the receiver end.
    #[track_caller]
    pub fn unlock(mut self) {
        self.page.fill().expect("UFFDIO_ZEROPAGE");
        let receiver = self.receiver.take().expect("joined once");
        receiver.join().expect("the receiver").expect("recv");
    }
}

impl Drop for LockedSocket {
    fn drop(&mut self) {
        drop(self.page.fill());
    }
}
