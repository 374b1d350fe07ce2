//! Bytes to events: the only module that knows what a record means.

use super::sample_facts::{
    could_not_send, endpoint, fire_of, is_last_word, owner, peer, repetitions, reply,
    retransmitting_ms, round_trip_ms, unacked,
};
use crate::model::observed::{
    ending::{Discovery, Ending, Unacked, Unsent},
    event::Event,
    peer_closed::PeerClosed,
    setsockopt::{Call, SockOpt, When},
    setting::{NetnsSettings, OwnSettings, TCP_RTO_MAX_MS},
    socket::{Direction, DirectionFrom, Socket, SocketAddress, SocketId, SocketKind, State, Time},
    watched::Watched,
};
use keepwatch_ebpf::record::{
    PROCESS_FILE_LEN, ProcessFileRecord, SAMPLE_LEN, SetsockoptRecord, SocketSample, Tag,
    TimerOutcome, TimerRecord, flag, usage,
};
use zerocopy::FromBytes as _;

/// Why a record was skipped. Counted, never fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer bytes than the record has.
    #[error("a record of {0} bytes: too short for what it says it is")]
    Length(usize),
    /// A tag of another version.
    #[error("a record with the unknown tag {0}")]
    Tag(u32),
    /// A state that TCP does not have.
    #[error("a record with the unknown TCP state {0}")]
    State(u8),
    /// A timer's outcome of another version.
    #[error("a record with the unknown outcome {0}")]
    Outcome(u8),
    /// An option that the hooks do not report.
    #[error("a record of the unknown option {1} of level {0}")]
    Option(u32, u32),
    /// A use of a file that this version does not know.
    #[error("a record of a file with the unknown use {0}")]
    Usage(u32),
}

/// Bytes of one record of the snapshot.
pub(crate) const SNAPSHOT_LEN: usize = SAMPLE_LEN;

/// Something that one process has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProcessFile {
    /// The path of its executable.
    Executable(Vec<u8>),
    /// The path of a file that it has mapped, or of a jar that it has open.
    Loaded(Vec<u8>),
    /// A file whose path is too long for a record.
    Unnamed,
    /// Memory of Go's runtime.
    GoMemory,
}

/// Bytes of one record of a process's files.
pub(crate) const FILE_LEN: usize = PROCESS_FILE_LEN;

/// Decodes one record of a process's files.
pub(crate) fn process_file(bytes: &[u8]) -> Result<ProcessFile, Error> {
    let record = ProcessFileRecord::read_from_bytes(bytes);
    let record = record.map_err(|_| Error::Length(bytes.len()))?;
    if record.tag != Tag::ProcessFile.wire() {
        return Err(Error::Tag(record.tag));
    }
    let with_zero = usize::try_from(record.path_len).ok().and_then(|len| record.path.get(..len));
    let path = with_zero.and_then(<[u8]>::split_last).map(|(_zero, path)| path.to_vec());
    Ok(match (record.usage, path) {
        (usage::GO_MEMORY, _) => ProcessFile::GoMemory,
        (usage::EXECUTABLE, Some(path)) => ProcessFile::Executable(path),
        (usage::MAPPED | usage::OPEN, Some(path)) => ProcessFile::Loaded(path),
        (usage::EXECUTABLE | usage::MAPPED | usage::OPEN, None) => ProcessFile::Unnamed,
        (unknown, _) => return Err(Error::Usage(unknown)),
    })
}

/// Decodes records of a kernel whose clock ticks `hz` times a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder {
    hz: u64,
}

impl Decoder {
    /// A decoder for this many ticks a second.
    pub(crate) fn new(hz: u32) -> Self {
        Self { hz: u64::from(hz.max(1)) }
    }

    /// Decodes one record. Trailing bytes are ring-buffer padding.
    pub(crate) fn decode(self, bytes: &[u8]) -> Result<Event, Error> {
        let short = Error::Length(bytes.len());
        let sample = match SocketSample::ref_from_prefix(bytes) {
            Ok((sample, _)) => *sample,
            // Not aligned, or short.
            Err(_) => SocketSample::read_from_prefix(bytes).map_err(|_| short)?.0,
        };
        let tag = Tag::from_wire(sample.tag).ok_or(Error::Tag(sample.tag))?;
        if tag == Tag::Again && sample.flags & flag::GONE != 0 {
            return Ok(Event::Gone { id: SocketId(sample.cookie), at: Time(sample.at_ns) });
        }
        let socket = self.socket(&sample, tag)?;
        Ok(match tag {
            Tag::Snapshot => Event::Seen(socket),
            Tag::StateChange => Event::StateChange {
                socket,
                old: State::from_kernel(sample.old_state).ok_or(Error::State(sample.old_state))?,
                ending: self.ending(&sample),
            },
            Tag::Again | Tag::Listed => Event::Found(socket),
            Tag::ProcessFile => return Err(Error::Tag(sample.tag)),
            Tag::Destroy => Event::Destroyed(socket),
            Tag::Fire => {
                let (fire, _) = TimerRecord::read_from_prefix(bytes).map_err(|_| short)?;
                let outcome =
                    TimerOutcome::from_wire(fire.outcome).ok_or(Error::Outcome(fire.outcome))?;
                let probes_before = fire.probes_before;
                Event::Fired { socket, outcome: fire_of(outcome), probes_before }
            }
            Tag::Call => {
                let (call, _) = SetsockoptRecord::read_from_prefix(bytes).map_err(|_| short)?;
                let SetsockoptRecord { level, option, value, result, .. } = call;
                let option =
                    SockOpt::from_kernel(level, option).ok_or(Error::Option(level, option))?;
                let refused = sample.flags & flag::VALUE_KNOWN != 0;
                let call = Call {
                    option,
                    value: match result {
                        0 => i32::try_from(option.of(&socket)).ok(),
                        _ => refused.then_some(value),
                    },
                    errno: u16::try_from(result.unsigned_abs()).unwrap_or(u16::MAX),
                    by: socket.owner,
                    when: When::of(socket.state),
                };
                Event::Called { socket, call }
            }
        })
    }

    /// The number of the cgroup of the process in a record, if that was running in a hook.
    pub(crate) fn cgroup(bytes: &[u8]) -> Option<u64> {
        let (sample, _) = SocketSample::read_from_prefix(bytes).ok()?;
        (sample.cgroup != 0).then_some(sample.cgroup)
    }

    fn ending(self, sample: &SocketSample) -> Ending {
        let round_trip_us = sample.srtt_eighth_us / 8;
        Ending {
            found: Discovery::Reported,
            unseen_ms: 0,
            held_back_ms: None,
            errno: sample.error,
            retransmits: repetitions(sample),
            retransmitting_ms: self.repeating_ms(sample),
            round_trip_us: (round_trip_us != 0).then_some(round_trip_us),
            sent_ms: self.age_ms(sample.now_jiffies, sample.sent_jiffies),
            received_data_ms: self.age_ms(sample.now_jiffies, sample.received_jiffies),
            reply: reply(sample),
            segment_unacked: sample.flags & flag::SEGMENT_UNACKED != 0,
            unacked: unacked(sample, sample.old_state),
            unsent: match sample.unsent_bytes {
                0 => Unsent::Nothing,
                _ if sample.flags & flag::WINDOW_CLOSED != 0 => Unsent::WindowClosed,
                _ => Unsent::Waits,
            },
            in_keepalive_timer: sample.flags & flag::IN_KEEPALIVE_TIMER != 0,
            // What closes a listener closes its queue before it orphans it (`inet_child_forget` in
            // net/ipv4/inet_connection_sock.c).
            unaccepted: sample.flags & (flag::UNATTACHED | flag::ORPHAN) == flag::UNATTACHED,
        }
    }

    /// The socket in a record.
    pub(super) fn socket(self, sample: &SocketSample, tag: Tag) -> Result<Socket, Error> {
        let state = State::from_kernel(sample.state).ok_or(Error::State(sample.state))?;
        let has = |bit| sample.flags & bit != 0;
        let now = sample.now_jiffies;
        let timer = sample.timer_expires_jiffies;
        let timer_ms = has(flag::TIMER_PENDING).then(|| self.ms(timer.saturating_sub(now)));
        let own = OwnSettings {
            idle_seconds: self.seconds(sample.own_idle_jiffies),
            interval_seconds: self.seconds(sample.own_interval_jiffies),
            user_timeout_ms: sample.user_timeout_ms,
            count: sample.own_count,
        };
        let ambient = self.ambient(sample);
        let age = |stamp| self.age_ms(now, stamp);
        let received_ms =
            [age(sample.acked_jiffies), age(sample.received_jiffies)].into_iter().flatten().min();
        let silent_ms = received_ms.into_iter().chain(age(sample.out_of_window_jiffies)).min();
        // `tcp_event_data_sent` (net/ipv4/tcp_output.c) stamps repeated data, too: then the data itself is older.
        let retransmitting_ms = self.repeating_ms(sample);
        // So does what could not be sent (`__tcp_transmit_skb`).
        let mut sent_ms = age(sample.sent_jiffies).map(|ms| ms.max(retransmitting_ms.unwrap_or(0)));
        if unacked(sample, sample.state) == Unacked::Fin {
            // A FIN leaves no stamp; its first repetition, soon after, does.
            sent_ms = sent_ms.into_iter().chain(retransmitting_ms).min();
        }
        // A new socket has no stamps yet: it is not quiet, it has not begun.
        let mut quiet_ms = silent_ms.into_iter().chain(sent_ms).min().unwrap_or_default();
        let in_flight = sample.unacked_bytes > 0 || sample.unsent_bytes > 0;
        if let (1.., Some(timer_ms), false) = (sample.probes_out, timer_ms, in_flight) {
            // A probe leaves no stamp; the timer that was set then does. With data in flight it sends none.
            let interval = match own.interval_seconds {
                0 => ambient.interval_seconds,
                own => own,
            };
            // The first of those that are unanswered went out over the path; the others repeat it.
            let fires_ms = interval.saturating_mul(1000).saturating_mul(sample.probes_out.into());
            quiet_ms = quiet_ms.min(fires_ms.saturating_sub(timer_ms));
        }
        // What dies was connected until now.
        let dies = tag == Tag::StateChange && state == State::Close;
        let was = if dies { State::from_kernel(sample.old_state).unwrap_or(state) } else { state };
        if matches!(was, State::SynSent | State::SynRecv | State::Listen | State::Close) {
            // Not connected: the stamps are of nothing, or of a connection before.
            quiet_ms = 0;
        }
        let local = endpoint(sample.family, sample.local_addr, sample.local_port_be);
        let remote = peer(sample.family, sample.remote_addr, sample.remote_port_be);
        let owner = owner(sample, tag, local, remote);
        Ok(Socket {
            id: SocketId(sample.cookie),
            at: Time(sample.at_ns),
            address: SocketAddress(sample.place),
            local,
            remote,
            netns: sample.netns,
            inode: sample.inode,
            own,
            ambient,
            rto_max_ms: match sample.rto_max_jiffies {
                0 => TCP_RTO_MAX_MS,
                jiffies => self.ms(jiffies.into()),
            },
            syn_retries: match sample.own_syn_retries {
                0 => sample.netns_syn_retries,
                own => own,
            },
            keepalive: has(flag::KEEPALIVE),
            state,
            in_flight,
            retransmits: sample.retransmits,
            retransmitting_ms,
            could_not_send: could_not_send(sample),
            fin_only: unacked(sample, sample.state) == Unacked::Fin && sample.unsent_bytes == 0,
            soft_errno: sample.soft_error,
            window_closed: has(flag::WINDOW_CLOSED),
            unread_ms: age(sample.received_jiffies).filter(|_| has(flag::UNREAD)),
            is_orphan: has(flag::ORPHAN),
            // Events of a new connection come before it is accepted, however soon that is: they show nothing.
            is_unaccepted: matches!(tag, Tag::Again | Tag::Listed)
                && has(flag::UNATTACHED)
                && !has(flag::ORPHAN),
            n_queued: match state {
                State::Listen => u8::try_from(sample.tried_jiffies).unwrap_or(u8::MAX),
                _ => 0,
            },
            n_listeners: 0,
            kind: match () {
                () if has(flag::MPTCP) => SocketKind::Mptcp,
                () if has(flag::KERNEL) => SocketKind::Kernel,
                () => SocketKind::Program,
            },
            probes_unanswered: sample.probes_out,
            round_trip_ms: round_trip_ms(sample),
            direction: if has(flag::BACKLOG) { Direction::Inbound } else { Direction::Outbound },
            direction_from: DirectionFrom::Inferred,
            owner,
            shared: has(flag::SHARED),
            quiet_ms,
            silent_ms: silent_ms.unwrap_or_default(),
            spoke_last_ms: age(sample.sent_jiffies)
                .filter(|_| retransmitting_ms.is_none() && state.is_synchronized())
                .filter(|&sent_ms| is_last_word(sample, sent_ms, age(sample.received_jiffies))),
            peer_closed: peer_closed(state, tag, silent_ms.unwrap_or_default()),
            received_ms: received_ms.unwrap_or_default(),
            quiet_at_most: false,
            segs_in: sample.segs_in,
            segs_out: sample.segs_out,
            watched: Watched::default(),
            timer_ms,
        })
    }

    fn ambient(self, sample: &SocketSample) -> NetnsSettings {
        NetnsSettings {
            idle_seconds: self.seconds(sample.netns_idle_jiffies),
            interval_seconds: self.seconds(sample.netns_interval_jiffies),
            count: sample.netns_count,
            retries2: sample.netns_retries2,
            orphan_retries: sample.netns_orphan_retries,
            syn_linear_timeouts: sample.netns_syn_linear,
            is_known: true,
        }
    }

    /// Milliseconds since the first of the repetitions that go on; where nothing is in flight, since the first try to send
    /// what waits.
    fn repeating_ms(self, sample: &SocketSample) -> Option<u32> {
        let waits = sample.unacked_bytes == 0 && sample.unsent_bytes > 0;
        let tried_ms = self.age_ms(sample.now_jiffies, sample.tried_jiffies);
        retransmitting_ms(sample).or(tried_ms.filter(|_| waits))
    }

    /// Whole seconds: `setsockopt` and sysctl multiply by HZ.
    fn seconds(self, jiffies: u32) -> u32 {
        u32::try_from(u64::from(jiffies) / self.hz).unwrap_or(u32::MAX)
    }

    /// The ticks of this time.
    pub(super) fn ticks(self, ms: u32) -> u32 {
        u32::try_from(u64::from(ms) * self.hz / 1000).unwrap_or(u32::MAX)
    }

    fn ms(self, jiffies: u64) -> u32 {
        u32::try_from(jiffies.saturating_mul(1000) / self.hz).unwrap_or(u32::MAX)
    }

    /// Age of a stamp that holds the low half of jiffies; 0 means that there is no stamp.
    fn age_ms(self, now: u64, stamp: u32) -> Option<u32> {
        let low = u32::try_from(now & u64::from(u32::MAX)).unwrap_or_default();
        // A stamp a tick ahead of `now` was written while we read.
        let age = low.wrapping_sub(stamp);
        let age = if age > i32::MAX.unsigned_abs() { 0 } else { age };
        (stamp != 0).then(|| self.ms(age.into()))
    }
}

/// When the peer closed its half, if it did so first: a hook sees that as it happens.
fn peer_closed(state: State, tag: Tag, silent_ms: u32) -> Option<PeerClosed> {
    let is_seen = tag == Tag::StateChange && state == State::CloseWait;
    state.is_closed_by_peer().then(|| PeerClosed::of(silent_ms, is_seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::{FromZeros as _, IntoBytes as _};

    fn sample() -> SocketSample {
        let mut sample = SocketSample::new_zeroed();
        sample.tag = Tag::Snapshot.wire();
        sample.state = 1;
        sample.family = 2;
        sample.now_jiffies = 0x1_0000_0100;
        sample.local_addr[..4].copy_from_slice(&[10, 0, 0, 5]);
        sample.local_port_be = 44307u16.to_be();
        sample
    }

    fn decode(sample: &SocketSample) -> Result<Socket, Error> {
        Decoder::new(250).decode(sample.as_bytes()).map(|event| match event {
            Event::Seen(socket)
            | Event::Found(socket)
            | Event::Destroyed(socket)
            | Event::StateChange { socket, .. }
            | Event::Fired { socket, .. }
            | Event::Called { socket, .. } => socket,
            Event::Gone { .. } => panic!("gone"),
        })
    }

    #[test]
    fn files_of_a_process_are_told_apart_and_one_whose_path_is_too_long_has_no_name() {
        let record = |usage, path_len, path: &[u8]| {
            let mut record = ProcessFileRecord::new_zeroed();
            (record.tag, record.usage, record.path_len) =
                (Tag::ProcessFile.wire(), usage, path_len);
            record.path[..path.len()].copy_from_slice(path);
            process_file(record.as_bytes())
        };
        let path = b"/usr/lib/libpq.so.5\0behind its end";
        let known = b"/usr/lib/libpq.so.5".to_vec();
        assert_eq!(record(usage::MAPPED, 20, path), Ok(ProcessFile::Loaded(known.clone())));
        assert_eq!(record(usage::OPEN, 20, path), Ok(ProcessFile::Loaded(known.clone())));
        assert_eq!(record(usage::EXECUTABLE, 20, path), Ok(ProcessFile::Executable(known)));
        assert_eq!(record(usage::GO_MEMORY, 0, b""), Ok(ProcessFile::GoMemory));
        for len in [-36, 0, 1009, i32::MAX] {
            assert_eq!(record(usage::MAPPED, len, path), Ok(ProcessFile::Unnamed), "{len}");
        }
        assert_eq!(record(77, 20, path), Err(Error::Usage(77)));
        assert_eq!(process_file(&[0; 200]), Err(Error::Length(200)));
        assert_eq!(process_file(&[0; FILE_LEN]), Err(Error::Tag(0)));
    }

    #[test]
    fn a_fin_that_a_hook_saw_gives_the_time_and_one_that_was_found_a_least_time() {
        let mut sample = sample();
        (sample.state, sample.acked_jiffies) = (8, 0x100 - 250);
        let found = decode(&sample).unwrap().peer_closed;
        assert_eq!(found, Some(PeerClosed { ms: 1000, is_seen: false }));
        (sample.tag, sample.old_state) = (Tag::StateChange.wire(), 1);
        let seen = decode(&sample).unwrap().peer_closed;
        assert_eq!(seen, Some(PeerClosed { ms: 0, is_seen: true }));
        sample.state = 1;
        assert_eq!(decode(&sample).unwrap().peer_closed, None);
    }

    #[test]
    fn ticks_become_seconds_and_ages() {
        let mut sample = sample();
        sample.own_idle_jiffies = 60 * 250;
        sample.acked_jiffies = 0x100 - 250;
        sample.received_jiffies = 0xffff_ff00;
        sample.sent_jiffies = 0x100 - 125;
        let socket = decode(&sample).unwrap();
        assert_eq!(socket.own.idle_seconds, 60);
        assert_eq!((socket.silent_ms, socket.quiet_ms), (1000, 500));
        assert_eq!(socket.local.socket_addr().to_string(), "10.0.0.5:44307");
    }

    #[test]
    fn a_socket_without_stamps_has_not_been_quiet_since_boot() {
        assert_eq!(decode(&sample()).unwrap().quiet_ms, 0);
        assert_eq!(decode(&sample()).unwrap().silent_ms, 0);
    }

    #[test]
    fn an_unanswered_probe_ends_the_quiet_time() {
        let mut sample = sample();
        sample.flags = flag::KEEPALIVE | flag::TIMER_PENDING;
        sample.probes_out = 1;
        sample.own_interval_jiffies = 10 * 250;
        sample.timer_expires_jiffies = sample.now_jiffies + 4 * 250;
        sample.received_jiffies = 6;
        assert_eq!(decode(&sample).unwrap().quiet_ms, 1000);
        sample.received_jiffies = u32::MAX - 10_000 * 250;
        sample.acked_jiffies = sample.received_jiffies;
        sample.sent_jiffies = sample.received_jiffies;
        assert_eq!(decode(&sample).unwrap().quiet_ms, 6000);
    }

    #[test]
    fn a_probe_that_repeats_one_does_not_begin_the_quiet_time_anew() {
        let mut sample = sample();
        sample.flags = flag::KEEPALIVE | flag::TIMER_PENDING;
        sample.own_interval_jiffies = 75 * 250;
        sample.timer_expires_jiffies = sample.now_jiffies + 55 * 250;
        sample.acked_jiffies = 0x100u32.wrapping_sub(475 * 250);
        sample.probes_out = 6;
        let socket = decode(&sample).unwrap();
        assert_eq!((socket.quiet_ms, socket.silent_ms), (5 * 75_000 + 20_000, 475_000));
    }

    #[test]
    fn an_unanswered_fin_ends_the_quiet_time_and_a_timer_that_sends_no_probe_does_not() {
        let mut sample = sample();
        sample.state = 4;
        sample.acked_jiffies = 0x100u32.wrapping_sub(170 * 250);
        sample.sent_jiffies = sample.acked_jiffies;
        sample.unacked_bytes = 1;
        sample.at_ns = 1_000_000_000_000;
        sample.retransmitted_ms = 1_000_000 - 84_000;
        sample.retransmits = 7;
        sample.probes_out = 2;
        sample.flags = flag::TIMER_PENDING;
        sample.own_interval_jiffies = 60 * 250;
        sample.timer_expires_jiffies = sample.now_jiffies + 52 * 250;
        assert_eq!(decode(&sample).unwrap().quiet_ms, 84_000);
        sample.unacked_bytes = 0;
        sample.retransmitted_ms = 0;
        assert_eq!(
            decode(&sample).unwrap().quiet_ms,
            68_000,
            "the first of two probes was sent then"
        );
    }

    #[test]
    fn what_dies_has_been_quiet_until_now_and_what_was_not_connected_has_not() {
        let mut sample = sample();
        (sample.tag, sample.state) = (Tag::StateChange.wire(), 7);
        sample.received_jiffies = 6;
        let mut quiet_ms_after = |old_state| {
            sample.old_state = old_state;
            decode(&sample).unwrap().quiet_ms
        };
        assert_eq!((quiet_ms_after(1), quiet_ms_after(2)), (1000, 0));
    }

    #[test]
    fn every_truncation_and_every_unknown_tag_is_an_error() {
        let bytes = sample().as_bytes().to_vec();
        for end in 0..bytes.len() {
            assert_eq!(Decoder::new(250).decode(&bytes[..end]), Err(Error::Length(end)));
        }
        for tag in [0, 8, u32::MAX] {
            assert_eq!(decode(&SocketSample { tag, ..sample() }), Err(Error::Tag(tag)));
        }
        assert_eq!(decode(&SocketSample { state: 13, ..sample() }), Err(Error::State(13)));
    }
}
