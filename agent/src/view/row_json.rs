//! Rows as JSON, straight from sockets: for walks over a million of them, and for the API.
//!
//! [`Row`](super::row::Row) defines the form; that this writes the same bytes as serde does for a `Row`, some ten times
//! faster, is held by a test.

use crate::model::{
    judgement::{
        condition::{Condition, Diagnosis},
        gap::{Gap, GapFrom},
        verdict::{Surroundings, Verdict},
    },
    observed::{
        owner_identity::Identity,
        setting::{Effective, SettingOrigin},
        socket::{Endpoint, Owner, Socket, Time},
        watched::Watched,
    },
    text::duration::ms_to_show,
};
use serde::Serialize;
use std::{io::Write as _, net::IpAddr};

/// Writes rows, all measured against the same surroundings. Remembers the words of the last reason: most neighbours
/// share it.
#[derive(Debug, Default)]
pub(crate) struct RowWriter {
    reason: Option<(ReasonKey, String)>,
}

/// What a reason is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReasonKey {
    verdict: Verdict,
    gap: Option<(u64, GapFrom)>,
    /// Idle and interval, seconds.
    settings: (u32, u32),
    /// Which limit it is.
    limit: usize,
}

impl RowWriter {
    /// Appends what is shown of `socket` at `now`, with the line end.
    pub(crate) fn write<'a>(
        &mut self,
        out: &mut Vec<u8>,
        socket: &Socket,
        owners: impl IntoIterator<Item = &'a Owner>,
        identity: Option<&Identity>,
        around: &Surroundings,
        now: Time,
    ) {
        let socket = &socket.aged(now);
        let limit = around.limits.of(socket);
        let (idle, interval, count) = (socket.idle(), socket.interval(), socket.count());
        out.extend_from_slice(b"{\"id\":\"sk:");
        hex(out, socket.id.0);
        out.extend_from_slice(b"\",\"netns\":");
        number(out, socket.netns);
        out.extend_from_slice(if socket.local.is_ipv4() {
            b",\"family\":\"ipv4\",\"local\":\""
        } else {
            b",\"family\":\"ipv6\",\"local\":\""
        });
        endpoint(out, socket.local);
        out.extend_from_slice(b"\",\"remote\":\"");
        endpoint(out, socket.remote);
        word(out, b"\",\"state\":\"", socket.state.as_str());
        word(out, b"\",\"orphan\":", truth(socket.is_orphan));
        word(out, b",\"could_not_send\":", truth(socket.could_not_send));
        optional(out, b",\"network_error\":", socket.network_error().as_deref());
        word(out, b",\"window_closed\":", truth(socket.window_closed));
        maybe_seconds(out, b",\"unread_seconds\":", socket.unread_ms.map(u64::from));
        word(out, b",\"direction\":\"", socket.direction.as_str());
        word(out, b"\",\"made_by\":\"", socket.kind.as_str());
        word(out, b"\",\"keepalive\":", truth(socket.keepalive));
        effective(out, b",\"idle\":{\"seconds\":", idle);
        effective(out, b",\"interval\":{\"seconds\":", interval);
        effective(out, b",\"count\":{\"probes\":", count);
        out.extend_from_slice(b",\"user_timeout_ms\":");
        number(out, socket.own.user_timeout_ms);
        out.extend_from_slice(b",\"detection_seconds\":");
        match socket.detection_seconds() {
            Some(seconds) => number(out, seconds),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"in_flight_detection_seconds\":");
        number(out, socket.gives_up_repeating_ms().div_ceil(1000));
        let gap = Gap::of(socket, around.hz);
        maybe_seconds(out, b",\"gap_seconds\":", gap.map(|gap| gap.ms));
        optional(out, b",\"gap_from\":", gap.map(|gap| gap.from.as_str()));
        let verdict = around.verdict(socket);
        word(out, b",\"verdict\":\"", verdict.as_str());
        out.extend_from_slice(b"\",\"listeners\":");
        match socket.waits_at() {
            Some(n) => number(out, n),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"idle_limit_seconds\":");
        number(out, limit.seconds);
        out.extend_from_slice(b",\"idle_kept_seconds\":");
        number(out, limit.kept_seconds);
        out.extend_from_slice(b",\"idle_limit_from\":");
        json(out, &limit.from);
        optional(out, b",\"path\":", limit.path.as_deref());
        let Diagnosis { condition, since_ms, is_least, gives_up_ms } = around.condition(socket);
        word(out, b",\"condition\":\"", condition.as_str());
        let since_ms = (condition != Condition::Fine).then_some(since_ms);
        maybe_seconds(out, b"\",\"condition_seconds\":", since_ms);
        word(out, b",\"condition_at_least\":", truth(is_least));
        maybe_seconds(out, b",\"gives_up_seconds\":", gives_up_ms);
        clocks(out, socket);
        word(out, b",\"peer_probes\":", truth(socket.watched.is_probed_by_peer()));
        maybe_seconds(out, b",\"next_probe_seconds\":", socket.next_probe_ms());
        out.extend_from_slice(b",\"probes_unanswered\":");
        number(out, socket.probes_missed());
        maybe_seconds(out, b",\"unanswered_seconds\":", socket.unanswered_ms());
        out.extend_from_slice(b",\"retransmits\":");
        number(out, socket.retransmits);
        word(out, b",\"in_flight\":", truth(socket.in_flight));
        word(out, b",\"fin_only\":", truth(socket.fin_only));
        let name =
            |part: fn(&Identity) -> &Option<Box<str>>| identity.and_then(|it| part(it).as_deref());
        optional(out, b",\"unit\":", name(|it| &it.unit));
        optional(out, b",\"container\":", name(|it| &it.container));
        optional(out, b",\"container_id\":", name(|it| &it.container_id));
        optional(out, b",\"namespace\":", name(|it| &it.namespace));
        optional(out, b",\"workload\":", name(|it| &it.workload));
        optional(out, b",\"pod\":", name(|it| &it.pod));
        word(out, b",\"direction_from\":\"", socket.direction_from.as_str());
        out.extend_from_slice(b"\",\"meaning\":");
        self.reason(out, socket, gap, verdict, around);
        out.extend_from_slice(b",\"until_limit_seconds\":");
        match around.until_limit_ms(socket, socket.quiet_ms.into()) {
            Some(ms) => {
                if ms < 0 {
                    out.push(b'-');
                }
                seconds(out, ms.unsigned_abs());
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"owners\":[");
        for (n, it) in owners.into_iter().enumerate() {
            owner(out, it, n > 0);
        }
        out.push(b']');
        out.extend_from_slice(b"}\n");
    }

    /// The reason depends on the socket only by these, unless times of this very socket are in it.
    fn reason(
        &mut self,
        out: &mut Vec<u8>,
        socket: &Socket,
        gap: Option<Gap>,
        verdict: Verdict,
        around: &Surroundings,
    ) {
        let limit = std::ptr::from_ref(around.limits.of(socket)).addr();
        let gap = gap.map(|gap| (gap.ms, gap.from));
        let is_of_settings =
            gap.is_none_or(|(_, from)| !matches!(from, GapFrom::ArmedTimer | GapFrom::WindowProbe));
        if verdict == Verdict::Kept || !is_of_settings {
            json(out, &around.reason(socket));
            return;
        }
        let key = ReasonKey {
            verdict,
            gap,
            settings: (socket.idle().value, socket.interval().value),
            limit,
        };
        if self.reason.as_ref().is_none_or(|(last, _)| *last != key) {
            let mut words = Vec::new();
            json(&mut words, &around.reason(socket));
            self.reason = Some((key, String::from_utf8(words).unwrap_or_default()));
        }
        if let Some((_, words)) = &self.reason {
            out.extend_from_slice(words.as_bytes());
        }
    }
}

/// How long ago what happened last, and for how long it was watched.
fn clocks(out: &mut Vec<u8>, socket: &Socket) {
    let Watched { ms: watched_ms, age_ms, longest_quiet_ms, longest_silence_ms, .. } =
        socket.watched;
    out.extend_from_slice(b",\"quiet_seconds\":");
    seconds(out, socket.quiet_ms.into());
    word(out, b",\"quiet_at_most\":", truth(socket.quiet_at_most));
    out.extend_from_slice(b",\"silent_seconds\":");
    seconds(out, socket.silent_ms.into());
    maybe_seconds(out, b",\"spoke_last_seconds\":", socket.spoke_last_ms.map(u64::from));
    let closed_ms = socket.peer_closed.map(|closed| u64::from(closed.ms));
    maybe_seconds(out, b",\"peer_closed_seconds\":", closed_ms);
    for (key, ms) in [
        (b",\"longest_quiet_seconds\":".as_slice(), longest_quiet_ms),
        (b",\"longest_silence_seconds\":", longest_silence_ms),
        (b",\"watched_seconds\":", watched_ms),
        (b",\"looked_at_seconds_ago\":", age_ms),
    ] {
        out.extend_from_slice(key);
        seconds(out, ms.into());
    }
}

fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Milliseconds as seconds, as short as a float is printed.
fn seconds(out: &mut Vec<u8>, ms: u64) {
    let ms = ms_to_show(ms);
    number(out, ms / 1000);
    let digits = |n: u64| b'0' + u8::try_from(n % 10).unwrap_or_default();
    let fraction = [b'.', digits(ms / 100), digits(ms / 10), digits(ms)];
    let n_zeros = fraction.iter().skip(2).rev().take_while(|&&digit| digit == b'0').count();
    out.extend(fraction.iter().take(fraction.len() - n_zeros));
}

fn maybe_seconds(out: &mut Vec<u8>, key: &[u8], ms: Option<u64>) {
    out.extend_from_slice(key);
    match ms {
        Some(ms) => seconds(out, ms),
        None => out.extend_from_slice(b"null"),
    }
}

fn effective(out: &mut Vec<u8>, key: &[u8], Effective { value, from }: Effective) {
    out.extend_from_slice(key);
    number(out, value);
    out.extend_from_slice(match from {
        SettingOrigin::Socket => b",\"from\":\"socket\"}",
        SettingOrigin::Netns => b",\"from\":\"netns\"}".as_slice(),
        SettingOrigin::Unknown => b",\"from\":\"unknown\"}",
    });
}

fn endpoint(out: &mut Vec<u8>, endpoint: Endpoint) {
    match endpoint.addr.to_canonical() {
        IpAddr::V4(v4) => {
            for (n, octet) in v4.octets().into_iter().enumerate() {
                if n > 0 {
                    out.push(b'.');
                }
                number(out, octet);
            }
        }
        IpAddr::V6(v6) => drop(write!(out, "[{v6}]")),
    }
    out.push(b':');
    number(out, endpoint.port);
}

fn owner(out: &mut Vec<u8>, owner: &Owner, another: bool) {
    if another {
        out.push(b',');
    }
    out.extend_from_slice(b"{\"pid\":");
    number(out, owner.pid);
    out.extend_from_slice(b",\"process\":");
    let name = owner.comm.as_bytes();
    if name.iter().all(|byte| matches!(byte, b' '..=b'~' if !matches!(byte, b'"' | b'\\'))) {
        out.push(b'"');
        out.extend_from_slice(name);
        out.push(b'"');
    } else {
        json(out, &owner.comm.escaped());
    }
    out.extend_from_slice(b",\"fd\":");
    match owner.fd {
        Some(fd) => number(out, fd),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

fn word(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    out.extend_from_slice(value.as_bytes());
}

fn optional(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    out.extend_from_slice(key);
    match value {
        Some(value) => json(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

const fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Writing to memory cannot fail, nor can a text be no JSON.
    drop(serde_json::to_writer(out, value));
}

fn hex(out: &mut Vec<u8>, number: u64) {
    let n_digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..n_digits).rev().map(|n| {
        let digit = u8::try_from(number >> (4 * n) & 0xf).unwrap_or_default();
        if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
    }));
}

#[cfg(test)]
mod tests {
    use super::{super::row::Row, *};
    use crate::model::{
        judgement::idle_limit::{ConfiguredPath, IdleLimit, Limits},
        observed::{
            peer_closed::PeerClosed,
            setting::OwnSettings,
            socket::{
                Comm, Direction, DirectionFrom, SocketId, SocketKind, State, tests_support::socket,
            },
        },
    };

    /// Sockets that differ in everything that is shown.
    fn sockets() -> Vec<Socket> {
        let comm = |name: &[u8]| {
            let mut bytes = [0; 16];
            bytes[..name.len()].copy_from_slice(name);
            Comm::new(bytes)
        };
        let mut sockets = Vec::new();
        for n in 0..4000_u32 {
            let bit = |at: u32| n >> at & 1 == 1;
            let byte = u8::try_from(n % 251).unwrap();
            let mut socket = socket();
            socket.id = SocketId(u64::from(n) * 0x1234_5678_9abc);
            socket.keepalive = bit(0);
            socket.own = OwnSettings {
                idle_seconds: if bit(1) { n } else { 0 },
                interval_seconds: if bit(2) { 10 } else { 0 },
                user_timeout_ms: if bit(3) { n } else { 0 },
                count: if bit(4) { byte } else { 0 },
            };
            socket.in_flight = bit(5);
            socket.timer_ms = bit(6).then_some(n * 7);
            socket.probes_unanswered = if bit(7) { byte } else { 0 };
            socket.quiet_ms = n * 113;
            socket.silent_ms = n * 211;
            socket.received_ms = n * 211;
            socket.watched = Watched {
                ms: n * 12_345,
                age_ms: 0,
                longest_quiet_ms: if bit(9) { n * 3 } else { 0 },
                longest_silence_ms: if bit(9) { n * 5 } else { 0 },
                peer_probes: byte,
            };
            socket.ambient.is_known = !bit(4);
            socket.quiet_at_most = bit(5);
            socket.is_orphan = bit(10);
            (socket.is_unaccepted, socket.n_listeners) = (bit(6), byte % 3);
            (socket.window_closed, socket.could_not_send) = (bit(11), bit(2));
            (socket.fin_only, socket.unread_ms) = (bit(12), bit(1).then_some(n * 19));
            socket.soft_errno = if bit(3) { 113 } else { 0 };
            socket.kind = SocketKind::ALL[usize::from(byte % 3)];
            socket.retransmits = if bit(11) { byte } else { 0 };
            socket.retransmitting_ms = bit(11).then_some(n * 31);
            socket.spoke_last_ms = bit(7).then_some(n * 17);
            if bit(8) {
                socket.peer_closed = Some(PeerClosed { ms: n * 41, is_seen: bit(10) });
                socket.remote.addr = "2001:db8::1".parse().unwrap();
                socket.local.addr = "2001:db8::2".parse().unwrap();
                socket.direction = Direction::Inbound;
                socket.direction_from = DirectionFrom::Seen;
                socket.state = State::CloseWait;
            }
            let name: &[u8] = match n % 4 {
                0 => b"we\"ird\\na\nme",
                1 => b"\xff\xfe",
                2 => b"",
                _ => "ngi\u{f1}x".as_bytes(),
            };
            socket.owner =
                bit(9).then(|| Owner { pid: n, fd: bit(10).then_some(n), comm: comm(name) });
            sockets.push(socket);
        }
        sockets
    }

    fn identities() -> [Identity; 2] {
        let name = |name: &str| Some(name.into());
        let container = Identity {
            container: name("we\"ird\\\\na\nme"),
            namespace: name("shop"),
            workload: name("web"),
            pod: name("web-0"),
            ..Identity::default()
        };
        [Identity { unit: name("foo\\x2dbar.service"), ..Identity::default() }, container]
    }

    #[test]
    fn the_fast_writer_writes_what_serde_writes() {
        let path = |name: &str, peers: &str, port, seconds, preset| ConfiguredPath {
            name: name.to_owned(),
            peers: peers.parse().unwrap(),
            port,
            limit: IdleLimit { seconds, preset },
        };
        let paths = vec![
            path("db", "172.16.0.0/12", Some(2717), 350, Some("aws")),
            path("six", "2001:db8::/32", None, 900, None),
        ];
        let azure = IdleLimit { seconds: 240, preset: Some("azure") };
        let limits = Limits::new(paths, azure, true);
        let around = Surroundings::new(limits, 250);
        let identities = identities();
        let mut writer = RowWriter::default();
        for (n, socket) in sockets().into_iter().enumerate() {
            let identity = identities.get(n % (identities.len() + 1));
            // Seen just now, a while ago, and by an event after the clock was read.
            let (at, now) = [(5, 5), (5, 9_000_777_005), (7, 5)][n % 3];
            let (socket, now) = (Socket { at: Time(at), ..socket }, Time(now));
            let mut fast = Vec::new();
            writer.write(&mut fast, &socket, socket.owner.iter(), identity, &around, now);
            let row = Row::new(&socket, socket.owner.iter(), identity, &around, now);
            let expected = format!("{}\n", serde_json::to_string(&row).unwrap());
            assert_eq!(String::from_utf8(fast).unwrap(), expected);
        }
    }
}
