//! Reading one walk over every socket.

use super::{
    decode::{self, Decoder, SNAPSHOT_LEN},
    snapshot_canary::{self, Witness},
};
use crate::model::observed::{
    event::Event,
    socket::{Socket, SocketId, State},
};
use rustix::io::Errno;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    sync::Arc,
};

/// The kernel hands out at most 8 pages a read, whatever the buffer (`bpf_seq_read` in
/// kernel/bpf/bpf_iter.c).
const READ_BYTES: usize = 32 << 10;

/// Why a walk ended early, or is not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel gave no more.
    #[error("cannot read the snapshot")]
    Read(#[source] io::Error),
    /// A record of another format: the hooks and this program are of one build, so never.
    #[error("cannot decode the snapshot")]
    Decode(#[from] decode::Error),
    /// What it says is wrong.
    #[error(transparent)]
    Witness(#[from] snapshot_canary::Error),
}

/// A walk in progress, of whichever iterator: read until it ends, in memory that does not grow.
#[derive(Debug)]
pub struct Snapshot {
    file: File,
    decoder: Decoder,
    /// What must be met on the way; none in walks that cannot meet it.
    witness: Option<Arc<Witness>>,
    buffer: Vec<u8>,
    /// Bytes of a record that the last read cut.
    rest: usize,
    /// Network namespaces of sockets that have no id yet, and a process that has one of these open.
    without_id: BTreeMap<u32, u32>,
}

impl Snapshot {
    pub(super) const fn new(file: File, decoder: Decoder, witness: Option<Arc<Witness>>) -> Self {
        Self { file, decoder, witness, buffer: Vec::new(), rest: 0, without_id: BTreeMap::new() }
    }

    /// Network namespaces with sockets that were met and not passed on: they have no id before they are listed. Of each a process
    /// that has such a socket open.
    pub(crate) const fn without_id(&self) -> &BTreeMap<u32, u32> {
        &self.without_id
    }

    /// Reads what the kernel gives at once and passes it on. False at the end of the walk, when it
    /// has proven to be right.
    pub fn read(&mut self, mut each: impl FnMut(Event)) -> Result<bool, Error> {
        self.buffer.resize(READ_BYTES + SNAPSHOT_LEN, 0);
        let free = self.buffer.get_mut(self.rest..).unwrap_or_default();
        let n_read = match self.file.read(free) {
            Ok(0) if self.witness.is_none() => return Ok(false),
            Ok(0) => return Err(snapshot_canary::Error::Unmet.into()),
            Ok(n_read) => n_read,
            Err(error) if is_again(&error) => return Ok(true),
            Err(error) => return Err(Error::Read(error)),
        };
        let filled = self.buffer.get(..self.rest + n_read).unwrap_or_default();
        let records = filled.chunks_exact(SNAPSHOT_LEN);
        self.rest = records.remainder().len();
        let whole = filled.len() - self.rest;
        for record in records {
            let event = self.decoder.decode(record)?;
            match (&event, &self.witness) {
                (Event::Seen(socket), Some(witness)) if witness.meets(socket)? => {
                    self.witness = None;
                }
                // Nothing tells it from others.
                (Event::Seen(socket), _) if socket.id == SocketId(0) => {
                    if let Some(owner) = socket.owner.filter(|_| is_listed(socket)) {
                        self.without_id.insert(socket.netns, owner.pid);
                    }
                }
                _ => each(event),
            }
        }
        self.buffer.copy_within(whole..whole + self.rest, 0);
        Ok(true)
    }
}

/// Whether the list of its namespace has it: what was never connected is in no table (`inet_hash` in
/// net/ipv4/inet_hashtables.c).
fn is_listed(socket: &Socket) -> bool {
    socket.state != State::Close
}

/// Whether the kernel wants to be asked again: it does after 1,000,000 silent objects (MAX_ITER_OBJECTS).
pub(super) fn is_again(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AGAIN | Errno::INTR))
}
