//! What rustix does not ask a socket: TCP_INFO, and of which network namespace it is.

use rustix::{
    fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    io::Errno,
};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout};

/// `struct tcp_info` (include/uapi/linux/tcp.h) up to what the last kernel adds that is of use here. What a kernel does not
/// know is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub(super) struct TcpInfo {
    pub(super) state: u8,
    pub(super) congestion_state: u8,
    pub(super) retransmits: u8,
    pub(super) probes: u8,
    pub(super) backoff: u8,
    pub(super) options: [u8; 3],
    pub(super) rto_us: u32,
    pub(super) ato_us: u32,
    pub(super) snd_mss: u32,
    pub(super) rcv_mss: u32,
    /// Segments in flight; of a listener the number of connections in its accept queue.
    pub(super) unacked: u32,
    /// Of a listener the longest accept queue.
    pub(super) sacked: u32,
    pub(super) lost: u32,
    pub(super) retrans: u32,
    pub(super) fackets: u32,
    pub(super) last_data_sent_ms: u32,
    pub(super) last_ack_sent_ms: u32,
    pub(super) last_data_recv_ms: u32,
    pub(super) last_ack_recv_ms: u32,
    pub(super) path: [u32; 2],
    pub(super) rtt_us: u32,
    pub(super) windows: [u32; 8],
    pub(super) pacing: [u64; 2],
    pub(super) bytes_acked: u64,
    pub(super) bytes_received: u64,
    pub(super) segs_out: u32,
    pub(super) segs_in: u32,
    pub(super) notsent_bytes: u32,
    pub(super) min_rtt_us: u32,
    pub(super) data_segs_in: u32,
    pub(super) data_segs_out: u32,
    pub(super) rates: [u64; 4],
    pub(super) delivered: [u32; 2],
    pub(super) bytes_sent: u64,
    pub(super) bytes_retrans: u64,
    pub(super) reordering: [u32; 3],
    pub(super) snd_wnd: u32,
    pub(super) rcv_wnd: u32,
    pub(super) rehash: u32,
    /// Since 6.7, like the following.
    pub(super) total_rto: u16,
    pub(super) total_rto_recoveries: u16,
    pub(super) total_rto_time_ms: u32,
}

/// `TCP_INFO`.
pub(super) fn tcp_info(socket: BorrowedFd<'_>) -> Result<TcpInfo, Errno> {
    let mut info = TcpInfo::new_zeroed();
    option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_bytes())?;
    Ok(info)
}

/// `TCP_SYNCNT`: repetitions of a SYN, its own or its namespace's.
pub(super) fn syn_retries(socket: BorrowedFd<'_>) -> Result<u32, Errno> {
    number(socket, libc::IPPROTO_TCP, libc::TCP_SYNCNT)
}

/// `TCP_RTO_MAX_MS`, since 6.15.
pub(super) fn rto_max_ms(socket: BorrowedFd<'_>) -> Result<u32, Errno> {
    const TCP_RTO_MAX_MS: i32 = 44;
    number(socket, libc::IPPROTO_TCP, TCP_RTO_MAX_MS)
}

/// `SO_NETNS_COOKIE`, since 5.14: a number of its network namespace that is never used again.
pub(super) fn netns_cookie(socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    const SO_NETNS_COOKIE: i32 = 71;
    let mut cookie = 0_u64;
    option(socket, libc::SOL_SOCKET, SO_NETNS_COOKIE, cookie.as_mut_bytes())?;
    Ok(cookie)
}

fn number(socket: BorrowedFd<'_>, level: i32, name: i32) -> Result<u32, Errno> {
    let mut value = 0_u32;
    option(socket, level, name, value.as_mut_bytes())?;
    Ok(value)
}

#[expect(unsafe_code, reason = "rustix asks for none of these")]
fn option(socket: BorrowedFd<'_>, level: i32, name: i32, to: &mut [u8]) -> Result<(), Errno> {
    let mut len = u32::try_from(to.len()).unwrap_or_default();
    // SAFETY: the kernel writes at most `len` bytes there.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, to.as_mut_ptr().cast(), &raw mut len)
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// The network namespace of a socket (`SIOCGSKNS`): it takes CAP_NET_ADMIN there.
#[expect(unsafe_code, reason = "rustix has no call for it")]
pub(super) fn namespace_of(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: takes no argument; it gives a new descriptor.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    if fd < 0 {
        return Err(last_error());
    }
    // SAFETY: a new descriptor, nobody else's.
    let namespace = unsafe { OwnedFd::from_raw_fd(fd) };
    // The call does not mark it; nothing is started by this command.
    rustix::io::fcntl_setfd(namespace.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
    Ok(namespace)
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write as _,
        mem::offset_of,
        net::{TcpListener, TcpStream},
        os::linux::fs::MetadataExt as _,
    };

    #[test]
    fn the_fields_are_where_the_kernel_has_them() {
        assert_eq!(size_of::<TcpInfo>(), 248);
        let places = [
            (offset_of!(TcpInfo, unacked), 24),
            (offset_of!(TcpInfo, last_data_sent_ms), 44),
            (offset_of!(TcpInfo, rtt_us), 68),
            (offset_of!(TcpInfo, bytes_acked), 120),
            (offset_of!(TcpInfo, segs_out), 136),
            (offset_of!(TcpInfo, bytes_sent), 200),
            (offset_of!(TcpInfo, snd_wnd), 228),
            (offset_of!(TcpInfo, total_rto_time_ms), 244),
        ];
        assert!(places.iter().all(|(ours, kernel)| ours == kernel), "{places:?}");
    }

    #[test]
    fn a_socket_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        stream.write_all(b"seven b").unwrap();
        accepted.peek(&mut [0]).unwrap();
        assert_eq!(tcp_info(stream.as_fd()).unwrap().bytes_sent, 7);
        assert_eq!(tcp_info(accepted.as_fd()).unwrap().bytes_received, 7);
        assert_eq!(tcp_info(listener.as_fd()).unwrap().state, 10);
        assert!(syn_retries(stream.as_fd()).unwrap() > 0);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(tcp_info(file.as_fd()), Err(Errno::NOTSOCK));
    }

    #[test]
    fn a_socket_names_its_namespace_where_that_is_allowed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(namespace) = namespace_of(listener.as_fd()) {
            let own = std::fs::metadata("/proc/self/ns/net").unwrap().st_ino();
            let found = std::fs::File::from(namespace).metadata().unwrap().st_ino();
            assert_eq!(found, own);
        }
    }
}
