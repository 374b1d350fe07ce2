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
    ring: RingBuf<MapData>,
    decoder: Decoder,
}

impl Ring {
    pub(super) const fn new(ring: RingBuf<MapData>, decoder: Decoder) -> Self {
        Self { ring, decoder }
    }

    /// Passes on what is there, each with the number of its owner's cgroup, without waiting. How many
    /// records that were.
    pub fn drain(&mut self, mut each: impl FnMut(Result<Event, Error>, Option<u64>)) -> u64 {
        let mut n_records = 0;
        while let Some(record) = self.ring.next() {
            n_records += 1;
            each(self.decoder.decode(&record), Decoder::cgroup(&record));
        }
        n_records
    }

    /// Waits until the hooks wake the reader (a good part of the ring is full), or `timeout` is over:
    /// a few events wait for that.
    pub fn wait(&self, timeout: Duration) -> io::Result<()> {
        Self::poll(&mut [PollFd::new(&self.ring.as_fd(), PollFlags::IN)], timeout)
    }

    /// The same, or until `other` can be read.
    pub fn wait_or(&self, other: impl AsFd, timeout: Duration) -> io::Result<()> {
        let (ring, other) = (self.ring.as_fd(), other.as_fd());
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
