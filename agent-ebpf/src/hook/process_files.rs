//! `iter/task_vma` (since 5.12) and `iter/task_file`, both bound to one process: its executable, the files that it has
//! mapped to execute, and the jars that it has open. /proc shows these to nobody without CAP_SYS_PTRACE if the process is
//! another user's or has capabilities of its own; the agent has none.
//!
//! Nothing of a process's memory is read, but the addresses and names of its mappings.

use super::iterator::{FileContext, Meta};
use crate::{
    read::{Raw, Read, Typed, at},
    report,
};
use aya_ebpf::{
    helpers::generated,
    macros::map,
    maps::{Array, PerCpuArray},
};
use core::{
    mem::MaybeUninit,
    ptr::{read_volatile, write_volatile},
};
use keepwatch_ebpf::{
    layout::ABSENT,
    record::{PATH_LEN, PROCESS_FILE_LEN, ProcessFileRecord, Tag, usage},
};

/// Room for a record, of which the stack has too little.
#[map]
static FILE: PerCpuArray<MaybeUninit<ProcessFileRecord>> = PerCpuArray::with_max_entries(1, 0);

/// The walk that has shown memory of Go's last: a process may have as many mappings of it as it likes.
#[map]
static GO_SESSION: Array<u64> = Array::with_max_entries(1, 0);

/// `struct bpf_iter__task_vma` (kernel/bpf/task_iter.c).
#[repr(C)]
struct MappingContext {
    meta: *const Meta,
    task: *const u8,
    vma: *const u8,
}

/// The mapping may be executed (include/linux/mm.h).
const VM_EXEC: u64 = 4;

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_vma")]
extern "C" fn mapped_files(context: *const MappingContext) -> i32 {
    // SAFETY: the kernel calls an iterator program with its context.
    let (meta, vma) = unsafe {
        (read_volatile(&raw const (*context).meta), read_volatile(&raw const (*context).vma))
    };
    if vma.is_null() {
        return 0;
    }
    let vma = Typed(vma);
    // SAFETY: `meta` is the iterator's.
    if unsafe { read_volatile(&raw const (*meta).seq_num) } == 0 {
        write(meta, usage::EXECUTABLE, vma.follow(at!(vma_mm)).follow(at!(mm_exe_file)));
    }
    let file = vma.follow(at!(vma_file));
    if file.0.is_null() {
        if is_of_go(vma) {
            write_go(meta);
        }
    } else if vma.load::<u64>(at!(vma_flags)) & VM_EXEC != 0 {
        write(meta, usage::MAPPED, file);
    }
    0
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn open_jars(context: *const FileContext) -> i32 {
    // SAFETY: the kernel calls an iterator program with its context.
    let (meta, file) = unsafe {
        (read_volatile(&raw const (*context).meta), read_volatile(&raw const (*context).file))
    };
    if !file.is_null() && is_jar(Typed(file)) {
        write(meta, usage::OPEN, Typed(file));
    }
    0
}

/// Whether memory that is no file's is that of Go's runtime: it names it since Go 1.25 (`setVMAName` in
/// src/runtime/set_vma_name_linux.go), and up to then its heap begins at an address of Go's choice.
#[inline(always)]
fn is_of_go(vma: Typed) -> bool {
    if at!(vma_name) != ABSENT {
        let name: u32 = vma.follow(at!(vma_name)).raw().load(at!(vma_name_text));
        if name == u32::from_ne_bytes(*b" Go:") {
            return true;
        }
    }
    vma.load::<u64>(at!(vma_start)) == u64::from(at!(go_heap)) << 32
}

/// Says once in a walk that there is memory of Go's. Of two walks at once one may say it again.
#[inline(always)]
fn write_go(meta: *const Meta) {
    let Some(last) = GO_SESSION.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: `meta` is the iterator's; the element exists, and is read and written whole.
    unsafe {
        let session = read_volatile(&raw const (*meta).session);
        // Where the kernel's page is full it shows the mapping again: what was not written is not said.
        if read_volatile(last) != session && write_record(meta, usage::GO_MEMORY, |_| 0) {
            write_volatile(last, session);
        }
    }
}

/// Whether the name of a file ends with `.jar`.
#[inline(always)]
fn is_jar(file: Typed) -> bool {
    const EXTENSION: [u8; 4] = *b".jar";
    let entry = file.follow(at!(file_entry));
    let name = Raw(entry.load::<u64>(at!(entry_name)) as *const u8);
    let len: u32 = entry.load(at!(entry_name_len));
    let extension = name.after(len).before(EXTENSION.len() as u32);
    extension.load::<u32>(0) == u32::from_ne_bytes(EXTENSION)
}

/// Writes the path of a file.
#[inline(always)]
fn write(meta: *const Meta, usage: u32, file: Typed) {
    if file.0.is_null() {
        return;
    }
    let path = file.0.wrapping_add(at!(file_path) as usize).cast_mut();
    write_record(meta, usage, |to| {
        // SAFETY: the path is a member of a file that the iterator holds; the room is PATH_LEN bytes.
        unsafe { generated::bpf_d_path(path.cast(), to.cast(), PATH_LEN as u32) }
    });
}

/// Whether there was room for it.
#[inline(always)]
fn write_record(meta: *const Meta, usage: u32, path: impl FnOnce(*mut u8) -> i64) -> bool {
    // SAFETY: element 0 exists; one thread reads this iterator, and a program does not migrate.
    let Some(room) = FILE.get_ptr_mut(0).and_then(|room| unsafe { room.as_mut() }) else {
        report::no_slot(report::word("FILE"));
        return false;
    };
    let record = room.as_mut_ptr();
    // SAFETY: every field but the path is written here; the map had zeros there, or paths of records before. `meta` and
    // its sequence file are the iterator's.
    unsafe {
        (*record).tag = Tag::ProcessFile.wire();
        (*record).usage = usage;
        (*record)._pad = 0;
        (*record).path_len = path((&raw mut (*record).path).cast()) as i32;
        generated::bpf_seq_write((*meta).seq.cast(), record.cast(), PROCESS_FILE_LEN as u32) == 0
    }
}
