//! `iter/bpf_map_elem` (since 5.9): the sockets that a walk did not meet, each by its address. So nothing is taken for
//! dead that only nobody has open: handed to the kernel, on its way between two processes, in io_uring's table.
//!
//! TCP sockets are `SLAB_TYPESAFE_BY_RCU`: what was freed reads as CLOSE, or is another socket with another cookie. Reads of
//! memory that is no socket any more cannot fault.

use super::iterator::Meta;
use crate::{
    read::Cast,
    sample::{Sock, address_of, fill},
};
use aya_ebpf::{helpers::generated, macros::map, maps::HashMap};
use core::{ffi::c_void, ptr::read_volatile};
use keepwatch_ebpf::record::{SAMPLE_LEN, SocketSample, Tag, flag};

/// Sockets to look at: id, and the number of the address. User space sets the size, and what is in it.
#[map]
static SOUGHT: HashMap<u64, u64> = HashMap::with_max_entries(1, 0);

/// `struct bpf_iter__bpf_map_elem` (kernel/bpf/map_iter.c).
#[repr(C)]
struct ElementContext {
    meta: *const Meta,
    map: *const c_void,
    id: *const u64,
    place: *const u64,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
extern "C" fn look_again(context: *const ElementContext) -> i32 {
    // SAFETY: the kernel calls an iterator program with its context.
    let (meta, id, place) = unsafe {
        (
            read_volatile(&raw const (*context).meta),
            read_volatile(&raw const (*context).id),
            read_volatile(&raw const (*context).place),
        )
    };
    if id.is_null() || place.is_null() {
        return 0;
    }
    // SAFETY: key and value of one element.
    let (id, place) = unsafe { (read_volatile(id), read_volatile(place)) };
    let sk = address_of(place);
    if Cast::is_possible() {
        look(meta, id, Cast::tcp_sock(sk));
    } else {
        look(meta, id, sk);
    }
    0
}

#[inline(always)]
fn look(meta: *const Meta, id: u64, sk: impl Sock) {
    let mut sample = core::mem::MaybeUninit::<SocketSample>::uninit();
    fill(sample.as_mut_ptr(), Tag::Again, sk, sk);
    // SAFETY: `fill` has written every field.
    let sample = unsafe { sample.assume_init_mut() };
    if sample.cookie != id || !sk.is_tcp() {
        sample.flags |= flag::GONE;
    }
    sample.cookie = id;
    // SAFETY: `meta` and its sequence file are the iterator's.
    unsafe {
        generated::bpf_seq_write(
            (*meta).seq.cast(),
            (&raw const *sample).cast(),
            SAMPLE_LEN as u32,
        );
    }
}
