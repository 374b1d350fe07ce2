//! What a process has loaded into the kernel, and whether it is still there.

use aya::programs::loaded_programs;
use std::{collections::BTreeSet, fs};

/// BPF objects, by their ids, which the kernel does not use again soon.
#[derive(Debug, PartialEq, Eq)]
pub struct KernelIds {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl KernelIds {
    /// Those that a process has descriptors of.
    #[track_caller]
    pub fn of(pid: u32) -> Self {
        let mut lines = String::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("its descriptors") {
            let path = entry.expect("an entry").path();
            lines.push_str(&fs::read_to_string(path).unwrap_or_default());
        }
        let ids = |key: &str| {
            let values =
                lines.lines().filter_map(|line| line.strip_prefix(key)?.trim().parse().ok());
            values.collect()
        };
        Self { programs: ids("prog_id:"), maps: ids("map_id:"), links: ids("link_id:") }
    }

    fn loaded() -> Self {
        let programs = loaded_programs();
        let maps = aya::maps::loaded_maps();
        let links = aya::programs::loaded_links();
        Self {
            programs: programs.filter_map(|info| Some(info.ok()?.id())).collect(),
            maps: maps.filter_map(|info| Some(info.ok()?.id())).collect(),
            links: links.filter_map(|info| Some(info.ok()?.id())).collect(),
        }
    }

    /// Whether there are any of each kind.
    pub fn are_many(&self) -> bool {
        !(self.programs.is_empty() || self.maps.is_empty() || self.links.is_empty())
    }

    /// Whether all of them are loaded.
    pub fn are_in_the_kernel(&self) -> bool {
        let loaded = Self::loaded();
        self.programs.is_subset(&loaded.programs)
            && self.maps.is_subset(&loaded.maps)
            && self.links.is_subset(&loaded.links)
    }

    /// Whether none of them is.
    pub fn are_gone(&self) -> bool {
        let loaded = Self::loaded();
        self.programs.is_disjoint(&loaded.programs)
            && self.maps.is_disjoint(&loaded.maps)
            && self.links.is_disjoint(&loaded.links)
    }
}

/// Programs that watch the kernel's functions and events, whoever has loaded them.
pub fn watching_programs() -> BTreeSet<u32> {
    // BPF_PROG_TYPE_KPROBE, _TRACEPOINT, _RAW_TRACEPOINT, _TRACING (include/uapi/linux/bpf.h).
    const WATCHING: [u32; 4] = [2, 5, 17, 26];
    let programs = loaded_programs().flatten();
    let watching = programs.filter(|info| WATCHING.contains(&(info.program_type() as u32)));
    watching.map(|info| info.id()).collect()
}
