//! Where the table keeps its sockets: found by id or by number, in memory that grows by chunks.
//!
//! A hash map of whole sockets would be half empty and copy everything when it grows; here only four
//! bytes a socket are hashed.

use super::{
    roll::Number,
    socket::{Socket, SocketId},
};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher as _;

/// A socket, the walk that met it last, the longest quiet time that it has survived, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) socket: Socket,
    pub(super) walk: u16,
    pub(super) survived_ms: u32,
    pub(super) whose: Number,
}

/// Slots of one allocation: the table grows without copying what it has.
const CHUNK: usize = 4096;

/// The sockets, found by id or by number.
#[derive(Debug, Default)]
pub(super) struct Slots {
    chunks: Vec<Vec<Option<Slot>>>,
    free: Vec<u32>,
    by_id: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Slots {
    pub(super) fn get(&self, number: u32) -> Option<&Slot> {
        let number = usize::try_from(number).ok()?;
        self.chunks.get(number / CHUNK)?.get(number % CHUNK)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Option<Slot>> {
        let number = usize::try_from(number).ok()?;
        self.chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }

    pub(super) fn find(&self, id: SocketId) -> Option<u32> {
        let is_it = |&number: &u32| self.get(number).is_some_and(|slot| slot.socket.id == id);
        self.by_id.find(self.hasher.hash_one(id), is_it).copied()
    }

    pub(super) fn insert(&mut self, slot: Slot) {
        let number = self.free.pop().unwrap_or_else(|| self.grow());
        if let Some(place) = self.get_mut(number) {
            *place = Some(slot);
        }
        let Self { chunks, by_id, hasher, .. } = self;
        let hash_of = |&number: &u32| {
            let number = usize::try_from(number).unwrap_or_default();
            let slot = chunks.get(number / CHUNK).and_then(|chunk| chunk.get(number % CHUNK));
            hasher.hash_one(
                slot.and_then(Option::as_ref).map(|slot| slot.socket.id).unwrap_or_default(),
            )
        };
        by_id.insert_unique(hasher.hash_one(slot.socket.id), number, hash_of);
    }

    /// The number of a new, empty slot.
    fn grow(&mut self) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let n_before = (self.chunks.len() - 1) * CHUNK;
        let last = self.chunks.last_mut().map_or(0, |chunk| {
            chunk.push(None);
            chunk.len() - 1
        });
        u32::try_from(n_before + last).unwrap_or(u32::MAX)
    }

    pub(super) fn remove(&mut self, id: SocketId) -> Option<Slot> {
        let number = self.find(id)?;
        let hash = self.hasher.hash_one(id);
        if let Ok(entry) = self.by_id.find_entry(hash, |&found| found == number) {
            entry.remove();
        }
        self.free.push(number);
        self.get_mut(number)?.take()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Upper bound of slot numbers.
    pub(super) fn end(&self) -> u32 {
        u32::try_from(self.chunks.len() * CHUNK).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_slots_fit_the_memory_budget() {
        assert!(size_of::<Option<Slot>>() <= 152, "{} bytes a slot", size_of::<Option<Slot>>());
    }
}
