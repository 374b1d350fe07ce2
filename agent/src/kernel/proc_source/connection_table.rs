//! `/proc/PID/net/tcp` and `tcp6`: the TCP sockets of the network namespace of a process, with the one timer of each that
//! runs (`get_tcp4_sock` in net/ipv4/tcp_ipv4.c). The table gives what TCP_INFO does not: timers, the peer of a connection
//! that is not open yet, and how many connections no process has open.

use crate::{
    kernel::clock,
    model::observed::socket::{Endpoint, State, Time},
};
use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableLine {
    /// In the table of IPv6, where an IPv4 socket may be, too: under a mapped address.
    pub(super) is_ipv6: bool,
    /// Its state.
    pub(super) state: State,
    /// Address and port of our end.
    pub(super) local: Endpoint,
    /// The peer, of an IPv4 or IPv6 socket.
    pub(super) remote: Endpoint,
    /// Bytes that the peer has not acknowledged, our FIN among them.
    pub(super) unacked: u32,
    /// Repetitions of them.
    pub(super) retransmits: u8,
    /// Probes that are unanswered.
    pub(super) probes: u8,
    /// The timer that runs.
    pub(super) timer: Option<ListedTimer>,
    /// The inode of its socket; 0 if no process has it open.
    pub(super) inode: u32,
}

/// Which timer of a socket runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerKind {
    /// Repeats what is not acknowledged.
    Retransmit,
    /// Keepalive.
    Keepalive,
    /// Probes a closed window.
    Window,
}

/// A timer that runs. Of several, the kernel shows the first of these kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListedTimer {
    /// What it is for.
    pub(super) kind: TimerKind,
    /// When it fires.
    pub(super) fires: Time,
}

impl ListedTimer {
    /// How long until it fires; none if that has passed since the table was read: what it is set to now is not known.
    pub(super) fn left_ms(self, now: Time) -> Option<u32> {
        let left_ns = self.fires.0.checked_sub(now.0)?;
        u32::try_from(left_ns / 1_000_000).ok()
    }
}

/// Reads both tables in this folder.
pub(super) fn read(net: &Path, mut each: impl FnMut(TableLine)) -> io::Result<()> {
    read_one(&net.join("tcp"), &mut each)?;
    match read_one(&net.join("tcp6"), &mut each) {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn read_one(path: &Path, each: &mut impl FnMut(TableLine)) -> io::Result<()> {
    let mut table = BufReader::with_capacity(64 << 10, File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if table.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Some(line) = parse(&line, clock::now()) {
            each(line);
        }
    }
}

/// `   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 02:000AFC5E 00000000     0        0 12345 1 ...`; none of the
/// line of titles.
fn parse(line: &[u8], now: Time) -> Option<TableLine> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).skip(1);
    let local = words.next()?;
    let remote = words.next()?;
    let state = u8::try_from(hex(words.next()?)?).ok()?;
    let (unacked, _) = split(words.next()?)?;
    let timer = words.next()?;
    let retransmits = hex(words.next()?)?;
    let probes = decimal(words.nth(1)?)?;
    let inode = decimal(words.next()?)?;
    let (kind, ticks) = split(timer)?;
    let kind = match hex(kind)? {
        1 => Some(TimerKind::Retransmit),
        2 => Some(TimerKind::Keepalive),
        4 => Some(TimerKind::Window),
        _ => None,
    };
    let fires = now.ms_after(hex(ticks)?.saturating_mul(MS_OF_A_CLOCK_TICK));
    Some(TableLine {
        is_ipv6: split(local)?.0.len() == 32,
        state: State::from_kernel(state)?,
        local: endpoint(local)?,
        remote: endpoint(remote)?,
        unacked: u32::try_from(hex(unacked)?).unwrap_or(u32::MAX),
        retransmits: u8::try_from(retransmits).unwrap_or(u8::MAX),
        probes: u8::try_from(probes).unwrap_or(u8::MAX),
        timer: kind.map(|kind| ListedTimer { kind, fires }),
        inode,
    })
}

/// `USER_HZ` is 100 (include/asm-generic/param.h): the kernel converts its own ticks (`jiffies_delta_to_clock_t`).
const MS_OF_A_CLOCK_TICK: u64 = 10;

fn split(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = word.iter().position(|&byte| byte == b':')?;
    Some((word.get(..at)?, word.get(at + 1..)?))
}

fn decimal(word: &[u8]) -> Option<u32> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn hex(word: &[u8]) -> Option<u64> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(u64::from);
    let is_short = (1..=16).contains(&word.len());
    is_short.then_some(())?;
    word.iter().try_fold(0, |sum, &byte| Some(sum << 4 | digit(byte)?))
}

/// An address in words of 32 bits, as the machine has them, and a port.
fn endpoint(word: &[u8]) -> Option<Endpoint> {
    let (addr, port) = split(word)?;
    let mut bytes = [0; 16];
    for (to, digits) in bytes.chunks_exact_mut(4).zip(addr.chunks(8)) {
        to.copy_from_slice(&u32::try_from(hex(digits)?).ok()?.to_ne_bytes());
    }
    let [a, b, c, d, ..] = bytes;
    let addr = match addr.len() {
        8 => Ipv4Addr::new(a, b, c, d).to_ipv6_mapped(),
        32 => Ipv6Addr::from(bytes),
        _ => return None,
    };
    Some(Endpoint { addr, port: u16::try_from(hex(port)?).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000_000_000);

    #[test]
    fn a_line_is_read_and_its_timer_is_a_time() {
        let line = b"   4: 0500000A:81A6 0900000A:18EB 01 00000000:00000000 02:000002BC 00000000     0        0 77881 2 0000 20 4 30 10 -1\n";
        let read = parse(line, NOW).unwrap();
        assert_eq!((read.state, read.local.port, read.inode), (State::Established, 33190, 77881));
        assert_eq!(read.remote.socket_addr().to_string(), "10.0.0.9:6379");
        let timer = read.timer.unwrap();
        assert_eq!((timer.kind, timer.left_ms(NOW)), (TimerKind::Keepalive, Some(7_000)));
        assert_eq!(timer.left_ms(NOW.ms_after(7_001)), None, "it has fired since");
    }

    #[test]
    fn an_ipv6_line_is_read_and_one_without_a_timer_has_none() {
        let line = b"   0: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 9 1\n";
        let read = parse(line, NOW).unwrap();
        assert_eq!((read.state, read.local.port, read.timer), (State::Listen, 80, None));
        assert_eq!(read.remote.socket_addr().to_string(), "[::]:0");
    }

    #[test]
    fn what_is_unanswered_is_read() {
        let line = b"   4: 0500000A:81A6 0900000A:18EB 04 00000001:00000000 01:000002BC 00000005     0        3 0 2 0000 20 4 30 10 -1\n";
        let read = parse(line, NOW).unwrap();
        assert_eq!((read.state, read.inode), (State::FinWait1, 0));
        assert_eq!((read.unacked, read.retransmits, read.probes), (1, 5, 3));
        assert_eq!(read.timer.unwrap().kind, TimerKind::Retransmit);
    }

    #[test]
    fn titles_and_cut_lines_are_no_sockets() {
        for line in [
            &b"  sl  local_address rem_address   st tx_queue rx_queue tr\n"[..],
            b"",
            b"   0: 0100007F:1F90",
        ] {
            assert_eq!(parse(line, NOW), None);
        }
    }

    #[test]
    fn a_listener_of_this_process_is_in_the_table() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut found = Vec::new();
        read(Path::new("/proc/self/net"), |line| found.push(line)).unwrap();
        assert!(found.iter().any(|it| it.local.port == port && it.state == State::Listen));
    }
}
