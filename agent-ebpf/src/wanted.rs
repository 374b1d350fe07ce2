//! Whether user space wants to hear of a socket ([`Interest`]).
//!
//! The ancestors of a process are known for certain while it calls. So a connection of a descendant is
//! noted when it begins, by the address of its socket; later events come in anybody's context, and
//! find it there.

use crate::read::{Read, at, current_process, global, with_current_task};
use aya_ebpf::{macros::map, maps::HashMap};
use core::ptr::{read_volatile, write_volatile};
use keepwatch_ebpf::interest::Interest;

/// Written by user space before the hooks load. Not all zeros, or it would become `.bss`.
#[unsafe(no_mangle)]
static INTEREST: Interest = {
    // SAFETY: Interest is made of integers only; any bytes are a value.
    unsafe { core::mem::transmute([0xff_u8; size_of::<Interest>()]) }
};

/// Sockets of connections that descendants opened, by address. User space sets the size: 1 where it
/// does not ask for descendants.
#[map]
static NOTED: HashMap<u64, u8> = HashMap::with_max_entries(1, 0);

/// The process that walks, as the initial pid namespace numbers it; 0 before the first walk.
static mut WALKER: u32 = 0;

/// Generations that are looked through. A process below more than these is nobody's descendant.
const N_GENERATIONS: u32 = 64;

/// Whether user space wants to hear of this socket.
#[inline(always)]
pub(crate) fn wants(sk: impl Read, address: *const u8) -> bool {
    (!descendants_only() || is_noted(address)) && is_in_namespace(sk) && has_port(sk)
}

/// The same for a call that the current process makes.
#[inline(always)]
pub(crate) fn wants_call(sk: impl Read, address: *const u8) -> bool {
    (!descendants_only() || is_noted(address) || descends()) && is_in_namespace(sk) && has_port(sk)
}

/// Notes a connection that the current process begins, if that is asked for. False: there is no room.
#[inline(always)]
pub(crate) fn note(address: *const u8) -> bool {
    if !descendants_only() {
        return true;
    }
    if descends() {
        return NOTED.insert(&(address as u64), &1, 0).is_ok();
    }
    // Its address was another socket's, whose end was missed.
    forget(address);
    true
}

/// The socket at this address is gone.
#[inline(always)]
pub(crate) fn forget(address: *const u8) {
    if descendants_only() && is_noted(address) {
        let _ = NOTED.remove(&(address as u64));
    }
}

/// The current process reads a walk: from now on its descendants are known.
#[inline(always)]
pub(crate) fn learn_walker() {
    if descendants_only() {
        // SAFETY: our own global; there is one such process.
        unsafe { write_volatile(&raw mut WALKER, current_process()) };
    }
}

/// Whether this task is of the process that walks: that wants to meet its own socket in every walk.
#[inline(always)]
pub(crate) fn walks(task: impl Read) -> bool {
    task.load::<u32>(at!(task_tgid)) == current_process()
}

#[inline(always)]
fn descendants_only() -> bool {
    global(&INTEREST.descendants) != 0
}

#[inline(always)]
fn is_noted(address: *const u8) -> bool {
    // SAFETY: the value is not looked at.
    unsafe { NOTED.get(&(address as u64)) }.is_some()
}

/// Whether the current process descends from the one that walks. That adopts whoever loses its parent
/// (PR_SET_CHILD_SUBREAPER), so the line of parents (`task_struct.real_parent`) leads to it.
#[inline(always)]
fn descends() -> bool {
    // SAFETY: our own global.
    let walker = unsafe { read_volatile(&raw const WALKER) };
    with_current_task!(|task| {
        let mut ancestor = task;
        let mut found = false;
        for _ in 0..N_GENERATIONS {
            ancestor = ancestor.follow(at!(task_real_parent));
            let process: u32 = ancestor.load(at!(task_tgid));
            // The parent of process 1 is process 0.
            if process == 0 || process == walker {
                found = process != 0;
                break;
            }
        }
        found
    })
}

#[inline(always)]
fn is_in_namespace(sk: impl Read) -> bool {
    let [a, b, c, d] = &INTEREST.netns;
    if global(a) == 0 {
        return true;
    }
    let netns: u32 = sk.follow(at!(skc_net)).load(at!(net_inum));
    netns == global(a) || netns == global(b) || netns == global(c) || netns == global(d)
}

#[inline(always)]
fn has_port(sk: impl Read) -> bool {
    if global(&INTEREST.ports_be[0]) == 0 {
        return true;
    }
    let remote: u16 = sk.load(at!(skc_dport));
    if remote == 0 && sk.load::<u8>(at!(skc_state)) != TCP_LISTEN {
        return true;
    }
    is_wanted_port(remote) || is_wanted_port(sk.load(at!(inet_sport)))
}

const TCP_LISTEN: u8 = 10;

#[inline(always)]
fn is_wanted_port(port_be: u16) -> bool {
    let [a, b, c, d, e, f, g, h] = &INTEREST.ports_be;
    // 0 is no port yet, and an unused place in the list.
    port_be != 0
        && (port_be == global(a)
            || port_be == global(b)
            || port_be == global(c)
            || port_be == global(d)
            || port_be == global(e)
            || port_be == global(f)
            || port_be == global(g)
            || port_be == global(h))
}
