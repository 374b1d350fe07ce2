//! Reading events.

use super::decode::{Decoder, Error};
use crate::model::observed::event::Event;
use aya::maps::{MapData, RingBuf};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use std::{io, os::fd::AsFd, time::Duration};

/// The reading end of the ring buffer.
pub struct Ring {
    buffer: RingBuf<MapData>,
    decoder: Decoder,
    n_bytes: usize,
}

impl Ring {
    /// `n_bytes`: the size of the ring.
    pub(super) const fn new(buffer: RingBuf<MapData>, decoder: Decoder, n_bytes: usize) -> Self {
        Self { buffer, decoder, n_bytes }
    }

    /// Passes on what is there, each with the number of its owner's cgroup, without waiting. How many
    /// records that were. What comes meanwhile is read at most to the size of the ring: hooks that are always
    /// faster do not hold the reader. `wait` ends at once while something is left (`ringbuf_map_poll` in kernel/bpf/ringbuf.c).
    pub fn drain(&mut self, mut each: impl FnMut(Result<Event, Error>, Option<u64>)) -> u64 {
        let Self { buffer, decoder, n_bytes } = self;
        take_a_ringful(*n_bytes, || {
            let record = buffer.next()?;
            each(decoder.decode(&record), Decoder::cgroup(&record));
            Some(record.len())
        })
    }

    /// Waits until the hooks wake the reader (a good part of the ring is full), or `timeout` is over:
    /// a few events wait for that.
    pub fn wait(&self, timeout: Duration) -> io::Result<()> {
        Self::poll(&mut [PollFd::new(&self.buffer.as_fd(), PollFlags::IN)], timeout)
    }

    /// The same, or until `other` can be read.
    pub fn wait_or(&self, other: impl AsFd, timeout: Duration) -> io::Result<()> {
        let (ring, other) = (self.buffer.as_fd(), other.as_fd());
        let both = [&ring, &other].map(|fd| PollFd::new(fd, PollFlags::IN));
        Self::poll(&mut { both }, timeout)
    }

    fn poll(fds: &mut [PollFd<'_>], timeout: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Bytes in front of each record (`struct bpf_ringbuf_hdr` in kernel/bpf/ringbuf.c).
const HEADER: usize = 8;

/// Takes records, whose lengths `next` returns, until there are none or they would fill a ring: so whatever was in it
/// before is taken. How many.
fn take_a_ringful(n_bytes: usize, mut next: impl FnMut() -> Option<usize>) -> u64 {
    let (mut n_records, mut n_taken) = (0, 0);
    while n_taken < n_bytes
        && let Some(len) = next()
    {
        n_records += 1;
        // As much as `__bpf_ringbuf_reserve` takes for it.
        n_taken += (HEADER + len).next_multiple_of(8);
    }
    n_records
}

#[cfg(test)]
mod tests {
    use super::take_a_ringful;

    const RING: usize = 4096;

    #[test]
    fn hooks_that_are_always_faster_hold_the_reader_for_one_ring() {
        assert_eq!(take_a_ringful(RING, || Some(200)), 20);
        assert_eq!(take_a_ringful(RING, || Some(1)), 256);
    }

    #[test]
    fn what_was_in_a_full_ring_is_read_at_once_and_the_rest_the_next_time() {
        // 17 of 240 bytes with their headers, and 16 that fill it to the last byte.
        let mut full = [232; 17].into_iter().chain([8]);
        assert_eq!(take_a_ringful(RING, || full.next()), 18);
        assert_eq!(full.next(), None);
        let mut flood = (0..1000).map(|_| 200);
        let mut taken = Vec::new();
        while taken.last() != Some(&0) {
            taken.push(take_a_ringful(RING, || flood.next()));
        }
        assert_eq!(taken.iter().sum::<u64>(), 1000);
    }
}
