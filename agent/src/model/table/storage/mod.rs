//! Where the table keeps its sockets: found by id or by number, packed, in memory that grows by chunks.
//!
//! A hash map of whole sockets would be half empty and copy everything when it grows; here only four
//! bytes a socket are hashed.

mod packed;
mod rare_values;
mod shared_values;

use super::owner_ids::OwnerNumber;
use crate::model::observed::socket::{Socket, SocketId};
use hashbrown::{DefaultHashBuilder, HashTable};
use packed::{Packed, Stocks};
use std::{hash::BuildHasher as _, net::Ipv6Addr};

/// A socket, the last byte of the number of the walk that met it last, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) socket: Socket,
    pub(super) walk: u8,
    pub(super) whose: OwnerNumber,
}

/// Slots of one allocation: the table grows without copying what it has.
const CHUNK: usize = 4096;

/// The sockets, found by id or by number.
#[derive(Debug, Default)]
pub(super) struct Slots {
    chunks: Vec<Vec<Packed>>,
    free: Vec<u32>,
    by_id: HashTable<u32>,
    hasher: DefaultHashBuilder,
    stocks: Stocks,
}

impl Slots {
    pub(super) fn get(&self, number: u32) -> Option<Slot> {
        self.place(number)?.unpacked(&self.stocks)
    }

    /// The slot at a number, if the walk did not meet it.
    pub(super) fn unmet(&self, number: u32, walk: u8) -> Option<Slot> {
        let place = self.place(number)?;
        if place.is_unmet(walk) { place.unpacked(&self.stocks) } else { None }
    }

    fn place(&self, number: u32) -> Option<&Packed> {
        let number = usize::try_from(number).ok()?;
        self.chunks.get(number / CHUNK)?.get(number % CHUNK)
    }

    pub(super) fn find(&self, id: SocketId) -> Option<u32> {
        let is_it = |&number: &u32| self.place(number).is_some_and(|place| place.id() == id);
        self.by_id.find(self.hasher.hash_one(id), is_it).copied()
    }

    /// Puts a slot in the place of the one with its id; whether there is one.
    pub(super) fn replace(&mut self, slot: &Slot) -> bool {
        let found = self.find(slot.socket.id);
        found.is_some_and(|number| self.write(number, slot))
    }

    fn write(&mut self, number: u32, slot: &Slot) -> bool {
        let Self { chunks, stocks, .. } = self;
        let place = place_mut(chunks, number);
        let is_there = place.is_some();
        if let Some(place) = place {
            *place = place.replaced(slot, stocks);
        }
        is_there
    }

    pub(super) fn insert(&mut self, slot: &Slot) {
        let number = self.free.pop().unwrap_or_else(|| self.grow());
        self.write(number, slot);
        let hash = self.hasher.hash_one(slot.socket.id);
        let Self { chunks, by_id, hasher, .. } = self;
        let hash_of = |&number: &u32| {
            let number = usize::try_from(number).unwrap_or_default();
            let place = chunks.get(number / CHUNK).and_then(|chunk| chunk.get(number % CHUNK));
            hasher.hash_one(place.map(Packed::id).unwrap_or_default())
        };
        by_id.insert_unique(hash, number, hash_of);
    }

    /// The number of a new, empty slot.
    fn grow(&mut self) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let n_before = (self.chunks.len() - 1) * CHUNK;
        let last = self.chunks.last_mut().map_or(0, |chunk| {
            chunk.push(Packed::EMPTY);
            chunk.len() - 1
        });
        u32::try_from(n_before + last).unwrap_or(u32::MAX)
    }

    pub(super) fn remove(&mut self, id: SocketId) -> Option<Slot> {
        let number = self.find(id)?;
        let slot = self.get(number);
        let hash = self.hasher.hash_one(id);
        if let Ok(entry) = self.by_id.find_entry(hash, |&found| found == number) {
            entry.remove();
        }
        if let Some(place) = place_mut(&mut self.chunks, number) {
            *place = place.emptied(&mut self.stocks);
        }
        self.free.push(number);
        slot
    }

    /// The slots of sockets whose peer has one of these addresses. The others are not unpacked.
    pub(super) fn to_peers(
        &self,
        is_one: impl Fn(&Ipv6Addr) -> bool,
    ) -> impl Iterator<Item = Slot> {
        let places = self.chunks.iter().flatten();
        let is_one = move |place: &&Packed| place.peer(&self.stocks).is_some_and(|it| is_one(&it));
        let places = places.filter(is_one);
        places.filter_map(|place| place.unpacked(&self.stocks))
    }

    /// The sockets whose peer has this address.
    pub(super) fn to_peer(&self, addr: Ipv6Addr) -> impl Iterator<Item = Socket> {
        self.to_peers(move |it| *it == addr).map(|slot| slot.socket)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Upper bound of slot numbers.
    pub(super) fn end(&self) -> u32 {
        u32::try_from(self.chunks.len() * CHUNK).unwrap_or(u32::MAX)
    }
}

fn place_mut(chunks: &mut [Vec<Packed>], number: u32) -> Option<&mut Packed> {
    let number = usize::try_from(number).ok()?;
    chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
}
