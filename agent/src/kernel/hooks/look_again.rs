//! Sockets that a walk did not meet, looked at by their addresses: what is to be looked at stands in a map, over which an
//! iterator goes. Both are made while this process may do that; filling and reading take no capability.

use super::{
    Signal, SignalStatus,
    error::{Error, failed},
    program,
};
use crate::{
    kernel::map_iterator,
    model::observed::socket::{SocketAddress, SocketId},
};
use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData},
    programs::Iter,
};
use keepwatch_ebpf::name;
use rustix::fd::{AsFd as _, OwnedFd};
use std::{collections::BTreeMap, fs::File};

/// Sockets that can be looked at in one go: half a megabyte in the kernel.
pub const MAX_SOUGHT: u32 = 8192;

/// The map and the iterator over it.
#[derive(Debug)]
pub(super) struct Sought {
    map: HashMap<MapData, u64, u64>,
    link: OwnedFd,
    /// What is in the map: most of what nobody has open stays so for several walks.
    inside: BTreeMap<u64, u64>,
}

/// Binds the iterator to its map. Where that fails, it is said of its signal.
pub(super) fn begin(ebpf: &mut Ebpf, status: &mut [SignalStatus]) -> Option<Sought> {
    let status = status.iter_mut().find(|status| status.signal == Signal::LookAgain)?;
    if status.failure.is_some() {
        return None;
    }
    match Sought::new(ebpf) {
        Ok(sought) => Some(sought),
        Err(error) => {
            status.failure = Some(error);
            None
        }
    }
}

const ATTEMPT: &str = "look at sockets by their addresses";

impl Sought {
    fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let map = ebpf.take_map(name::SOUGHT).ok_or_else(|| failed(ATTEMPT, "no such map"))?;
        let Map::HashMap(data) = &map else {
            return Err(failed(ATTEMPT, "no hash map"));
        };
        let iter: &mut Iter = program(ebpf, name::LOOK_AGAIN)?;
        let iter = iter.fd().map_err(|error| failed(ATTEMPT, error))?;
        let link = map_iterator::attach(iter.as_fd(), data.fd())
            .map_err(|error| failed(ATTEMPT, error))?;
        let map: HashMap<MapData, u64, u64> =
            map.try_into().map_err(|error| failed(ATTEMPT, error))?;
        Ok(Self { map, link, inside: BTreeMap::new() })
    }

    /// Begins to look at these, and at no others.
    pub(super) fn begin(&mut self, sockets: &[(SocketId, SocketAddress)]) -> Result<File, Error> {
        let wanted: BTreeMap<u64, u64> =
            sockets.iter().map(|&(SocketId(id), SocketAddress(place))| (id, place)).collect();
        let over: Vec<u64> =
            self.inside.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in over {
            self.map.remove(&id).map_err(|error| failed(ATTEMPT, error))?;
            self.inside.remove(&id);
        }
        for (id, place) in wanted {
            if self.inside.get(&id) != Some(&place) {
                self.map.insert(id, place, 0).map_err(|error| failed(ATTEMPT, error))?;
                self.inside.insert(id, place);
            }
        }
        let file = map_iterator::begin(&self.link).map_err(|error| failed(ATTEMPT, error))?;
        Ok(file.into())
    }
}
