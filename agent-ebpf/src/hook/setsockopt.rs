//! setsockopt(2): which process asked for which value, with which result. The values that hold come from samples.
//!
//! At the return of the system call its arguments still stand in the caller's registers, so one hook
//! sees both. Function hooks and probes sit on that system call alone; the tracepoint `sys_exit`
//! comes by for every system call of the host. None of them sees io_uring, 32-bit programs, or what
//! the kernel and BPF programs set.

use super::iterator::is_mptcp;
use crate::{
    emit::{Run, counted, reserve, submit},
    read::{Cast, Copied, Raw, Read, Room, Typed, at, file_of, sock_of_file, with_current_task},
    report,
    sample::{Sock, fill, own_by_current},
    wanted::wants_call,
};
use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user},
    macros::{btf_tracepoint, fexit, kprobe, kretprobe, map},
    maps::{HashMap, PerCpuArray},
    programs::{BtfTracePointContext, FExitContext, ProbeContext, RetProbeContext},
};
use keepwatch_ebpf::{
    abi::{
        IPPROTO_MPTCP, SO_KEEPALIVE, SOL_SOCKET, SOL_TCP, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL,
        TCP_USER_TIMEOUT,
    },
    layout::ABSENT,
    record::{SetsockoptRecord, Tag, flag},
};

/// Registers of calls that a probe saw begin, by thread.
#[map]
static CALLS: HashMap<u64, u64> = HashMap::with_max_entries(16_384, 0);

/// The socket of the call that returns on this CPU. One of the three hooks is attached, and the kernel
/// does not run a program where it runs already (`bpf_prog->active` since 5.12, before that nothing
/// else runs on its CPU meanwhile).
#[map]
static ROOM: PerCpuArray<Room> = PerCpuArray::with_max_entries(1, 0);

#[fexit(function = "__x64_sys_setsockopt")]
fn setsockopt_fexit(context: FExitContext) -> i32 {
    let result: i64 = context.arg(1);
    // Copied, not loaded: 5.10's BTF only declares `struct pt_regs`, and its verifier refuses to load
    // a pointer to what it does not know (btf_ctx_access in kernel/bpf/btf.c).
    let regs = Raw(context.as_ptr().cast_const().cast()).follow(0);
    counted(|| returned(regs, result as i32));
    0
}

#[kprobe]
fn setsockopt_kprobe(context: ProbeContext) -> u32 {
    if let Some(regs) = context.arg::<*const u8>(0) {
        // The map is full: then the return is not reported either.
        if let Err(error) = CALLS.insert(&bpf_get_current_pid_tgid(), &(regs as u64), 0) {
            report::calls_full(error.into());
        }
    }
    0
}

#[kretprobe]
fn setsockopt_kretprobe(context: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the value is copied at once, and only this thread changes it.
    let Some(regs) = (unsafe { CALLS.get(&thread) }).copied() else {
        report::call_unseen();
        return 0;
    };
    if let Err(error) = CALLS.remove(&thread) {
        report::call_stuck(error);
    }
    counted(|| returned(Raw(regs as *const u8), context.ret()));
    0
}

#[btf_tracepoint(function = "sys_exit")]
fn sys_exit(context: BtfTracePointContext) -> i32 {
    let regs = Typed(context.arg::<*const u8>(0));
    // Every system call of the host comes by here: one load and one comparison. Of 32 bits: that is all of arm64's
    // `syscallno`, and the low half of x86's `orig_ax`.
    if regs.load::<u32>(at!(regs_syscall)) == at!(nr_setsockopt) && !in_32_bit_call() {
        let result: i64 = context.arg(1);
        counted(|| returned(regs, result as i32));
    }
    0
}

/// Whether the number is of the other system call table.
#[inline(always)]
fn in_32_bit_call() -> bool {
    let flags = with_current_task!(|task| task.load::<u32>(at!(compat_flags)));
    flags & (1 << at!(compat_bit)) != 0
}

#[inline(always)]
fn returned(regs: impl Read, result: i32) -> Run {
    let level = regs.load::<u64>(at!(regs_arg1)) as u32;
    let option = regs.load::<u64>(at!(regs_arg2)) as u32;
    let concerns_us = match level {
        SOL_SOCKET => option == SO_KEEPALIVE,
        SOL_TCP => {
            matches!(option, TCP_KEEPIDLE | TCP_KEEPINTVL | TCP_KEEPCNT | TCP_USER_TIMEOUT)
        }
        _ => false,
    };
    if !concerns_us {
        return Run::Filtered;
    }
    let fd = regs.load::<u64>(at!(regs_arg0)) as u32;
    let call = Asked { level, option, result, fd };
    let Some(file) = with_current_task!(|task| file_of(task, fd)) else {
        return no_socket(call);
    };
    if Cast::is_possible() {
        let file = Cast::of(file.0, at!(file_id));
        let inode = file.follow(at!(file_inode));
        let Some(mut sk) = sock_of_file(file, inode) else {
            return no_socket(call);
        };
        let mut tcp = Cast::tcp_sock(sk);
        if !tcp.is_tcp() {
            sk = first_subflow(sk);
            tcp = Cast::tcp_sock(sk);
        }
        return told(regs, call, inode, tcp, sk);
    }
    let inode = file.follow(at!(file_inode));
    let Some(mut sk) = sock_of_file(file, inode) else {
        return no_socket(call);
    };
    if !sk.is_tcp() {
        sk = first_subflow(sk);
    }
    // SAFETY: element 0 exists; nobody else uses it meanwhile.
    match ROOM.get_ptr_mut(0).and_then(|room| unsafe { room.as_mut() }) {
        Some(room) => told(regs, call, inode, Copied::of(sk, room), sk),
        None => {
            report::no_slot(report::word("ROOM"));
            Run::Filtered
        }
    }
}

/// The first subflow of an MPTCP connection, to which the kernel passes the options of the whole; any other
/// socket is itself. Before it connects there is none: then nothing of it is known that could be reported.
#[inline(always)]
fn first_subflow(sk: Raw) -> Raw {
    if at!(mptcp_first) != ABSENT && is_mptcp(sk) {
        let first = sk.follow(at!(mptcp_first));
        if !first.0.is_null() {
            return first;
        }
    }
    sk
}

/// One call, but for what stands in the caller's memory.
#[derive(Clone, Copy)]
struct Asked {
    level: u32,
    option: u32,
    result: i32,
    fd: u32,
}

const EBADF: i32 = -9;
/// Then the kernel could not read the value either.
const EFAULT: i32 = -14;
const ENOTSOCK: i32 = -88;

/// No socket is behind the descriptor: as the kernel says, or not.
#[inline(always)]
fn no_socket(call: Asked) -> Run {
    let Asked { level, option, result, fd } = call;
    if !report::is_on() {
        return Run::Filtered;
    }
    if result == EBADF || result == ENOTSOCK {
        report::no_socket(fd.cast_signed(), level, option, result);
    } else {
        report::lost_socket(fd.cast_signed(), level, option, result);
    }
    Run::Filtered
}

/// Reports a socket that is not TCP's and cannot be another's.
#[inline(always)]
fn doubt(call: Asked, sk: impl Sock) {
    /// More than any kernel has (`AF_MAX` in include/linux/socket.h is 46).
    const AF_MAX: u16 = 64;
    const AF_SMC: u16 = 43;
    let (family, protocol): (u16, u16) = (sk.load(at!(skc_family)), sk.load(at!(sk_protocol)));
    // But for TCP's, only MPTCP's and SMC's sockets take TCP's options.
    let takes_options = (family == AF_SMC) | (protocol == IPPROTO_MPTCP);
    let took = (call.level == SOL_TCP) & (call.result == 0) & !takes_options;
    if (family == 0) | (family >= AF_MAX) | took {
        report::odd_socket(call.fd.cast_signed(), family, protocol, call.result);
    }
}

#[inline(always)]
fn told(regs: impl Read, asked: Asked, inode: impl Read, sk: impl Sock, address: Raw) -> Run {
    if !sk.is_tcp() {
        if report::is_on() {
            doubt(asked, sk);
        }
        return Run::Filtered;
    }
    if !wants_call(sk, address.0) {
        return Run::Filtered;
    }
    let value_at = regs.load::<u64>(at!(regs_arg3)) as *const i32;
    let value_len = regs.load::<u64>(at!(regs_arg4)) as i32;
    let Some(mut record) = reserve::<SetsockoptRecord>() else {
        return Run::Emitted;
    };
    let call = record.as_mut_ptr();
    // SAFETY: the record is ours until it is submitted; `fill` writes the sample.
    let call = unsafe {
        fill(&raw mut (*call).sample, Tag::Call, sk, sk);
        &mut *call
    };
    own_by_current(&mut call.sample);
    let Asked { level, option, result, fd } = asked;
    call.sample.fd = fd;
    call.sample.inode = inode.load(at!(inode_number));
    call.level = level;
    call.option = option;
    call.result = result;
    call.value = 0;
    // Accepted values are in the socket already. Only a refused one is read from user memory, which the kernel
    // has just faulted in: that read costs as much as all the socket's fields.
    // SAFETY: a checked read of the caller's memory.
    if result != 0 && value_len >= size_of::<i32>() as i32 {
        if let Ok(value) = unsafe { bpf_probe_read_user(value_at) } {
            call.value = value;
            call.sample.flags |= flag::VALUE_KNOWN;
        } else if report::is_on() && result != EFAULT {
            report::no_value(fd.cast_signed(), option, result);
        }
    }
    submit(record)
}
