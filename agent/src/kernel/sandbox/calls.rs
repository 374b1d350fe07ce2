//! Seccomp, the second filter: the calls that a running agent makes. All others answer ENOSYS, as if the kernel did not
//! know them.
//!
//! Why that answer: a call that nobody foresaw (another C library, another way of an old kernel) then fails like one that is
//! missing. Libraries have a second way for that (glibc makes a thread by clone where clone3 is missing, and only clone
//! shows its flags to a filter), and the agent counts the failure, says so, and goes on watching. Killing it would turn an
//! oversight of ours into a host that nobody watches.
//!
//! The list was found by `strace -f` over runs with all functions and by the tests, on each kernel of `cargo xtask vm`.

use super::Borrowing;
use seccompiler::{
    BackendError, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter_all_threads,
};
use std::{collections::BTreeMap, env::consts::ARCH};

/// Whatever their arguments are. What they reach is bounded by open descriptors, or by landlock.
const FREE: &[libc::c_long] = &[
    // Files.
    libc::SYS_close,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
    // Connections that others have opened to it.
    libc::SYS_accept4,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Waiting.
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Itself: threads, signals, ids, clocks.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];
/// Older names of the same, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_epoll_wait,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
/// renameat, by which glibc renames; the library has no name for it (include/uapi/asm-generic/unistd.h).
#[cfg(target_arch = "aarch64")]
const OLDER: &[libc::c_long] = &[38];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER: &[libc::c_long] = &[];

/// The argument of this number, under this mask, is this value.
type ArgumentCheck = (u8, u32, u32);

const ALL: u32 = u32::MAX;
const SOCKET_TYPE: u32 = 0xf;
/// include/uapi/linux/bpf.h
const BPF_COMMANDS: [(&str, u32); 5] = [
    ("BPF_MAP_LOOKUP_ELEM", 1),
    ("BPF_MAP_UPDATE_ELEM", 2),
    ("BPF_MAP_DELETE_ELEM", 3),
    ("BPF_LINK_CREATE", 28),
    ("BPF_ITER_CREATE", 33),
];
/// `PERF_EVENT_IOC_DISABLE` in include/uapi/linux/perf_event.h: a hook is taken off.
const PERF_EVENT_IOC_DISABLE: u32 = 0x2401;
/// In include/uapi/linux/sockios.h: the network namespace of a socket.
const SIOCGSKNS: u32 = 0x894c;
/// Rights that the history's files may keep: nothing is given to anybody.
const MODE: u32 = 0o640;

/// Those that depend on their arguments: one of the lists of checks must hold. Of no call the filter can see what a
/// pointer leads to.
fn bounded() -> Vec<(libc::c_long, Vec<Vec<ArgumentCheck>>)> {
    let one_of = |argument: u8, values: &[u32]| -> Vec<Vec<ArgumentCheck>> {
        values.iter().map(|&value| vec![(argument, ALL, value)]).collect()
    };
    let number = |value: libc::c_int| value.cast_unsigned();
    let threads = number(libc::CLONE_VM | libc::CLONE_THREAD);
    let namespaces = number(
        libc::CLONE_NEWNS
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUSER
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWCGROUP,
    );
    let executable = number(libc::PROT_EXEC);
    let bounded = vec![
        // A thread, and no process.
        (libc::SYS_clone, vec![vec![(0, threads | namespaces, threads)]]),
        // No new code.
        (libc::SYS_mmap, vec![vec![(2, executable, 0)]]),
        (libc::SYS_mprotect, vec![vec![(2, executable, 0)]]),
        // Maps, and iterators of the programs that it has: no program is loaded.
        (libc::SYS_bpf, one_of(0, &BPF_COMMANDS.map(|(_, command)| command))),
        // The pair by which tokio's signals wake it. It leads nowhere else, and `socket` and `connect` are not in the list.
        (
            libc::SYS_socketpair,
            vec![vec![
                (0, ALL, number(libc::AF_UNIX)),
                (1, SOCKET_TYPE, number(libc::SOCK_STREAM)),
            ]],
        ),
        // To whom it is connected, and nobody else: there is no address.
        (libc::SYS_sendto, vec![vec![(5, ALL, 0)]]),
        (
            libc::SYS_fcntl,
            one_of(
                1,
                &[
                    libc::F_DUPFD_CLOEXEC,
                    libc::F_GETFD,
                    libc::F_SETFD,
                    libc::F_GETFL,
                    libc::F_SETFL,
                    libc::F_GETLK,
                    libc::F_SETLK,
                    libc::F_SETLKW,
                ]
                .map(number),
            ),
        ),
        (libc::SYS_ioctl, ioctls().map(|request| vec![(1, ALL, request)]).into()),
        (libc::SYS_prctl, one_of(0, &[number(libc::PR_SET_NAME)])),
        // Its own limits.
        (libc::SYS_prlimit64, vec![vec![(0, ALL, 0)]]),
        // To end itself.
        (libc::SYS_tgkill, one_of(0, &[std::process::id()])),
        (libc::SYS_fchmodat, vec![vec![(2, !MODE, 0)]]),
    ];
    #[cfg(target_arch = "x86_64")]
    let bounded = [bounded, vec![(libc::SYS_chmod, vec![vec![(1, !MODE, 0)]])]].concat();
    bounded
}

/// What it asks of open descriptors.
fn ioctls() -> [u32; 3] {
    // Their type differs by C library, and their values fit.
    let number = |request: libc::Ioctl| u32::try_from(request).unwrap_or_default();
    [number(libc::FIONBIO), number(libc::TCGETS), PERF_EVENT_IOC_DISABLE]
}

/// What an agent without eBPF asks for beside these: sockets of other processes, and their network namespaces.
fn of_neighbours() -> Vec<(libc::c_long, Vec<Vec<ArgumentCheck>>)> {
    let network = libc::CLONE_NEWNET.cast_unsigned();
    vec![
        // Whether rights are missing for what is not seen.
        (libc::SYS_capget, Vec::new()),
        (libc::SYS_pidfd_open, Vec::new()),
        (libc::SYS_pidfd_getfd, Vec::new()),
        (libc::SYS_setns, vec![vec![(1, ALL, network)]]),
        (libc::SYS_ioctl, vec![vec![(1, ALL, SIOCGSKNS)]]),
    ]
}

/// Refuses all other calls, in every thread.
pub(super) fn allow(borrowing: Borrowing) -> Result<(), Error> {
    let free = FREE.iter().chain(OLDER).map(|&call| (call, Vec::new()));
    let mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>> = free.collect();
    let more = match borrowing {
        Borrowing::Refused => Vec::new(),
        Borrowing::Allowed => of_neighbours(),
    };
    for (call, ways) in bounded().into_iter().chain(more) {
        let ways = ways.into_iter().map(rule).collect::<Result<Vec<_>, _>>()?;
        rules.entry(call).or_default().extend(ways);
    }
    let refuse = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, ARCH.try_into()?)?;
    apply_filter_all_threads(&seccompiler::BpfProgram::try_from(filter)?)
}

fn rule(conditions: Vec<ArgumentCheck>) -> Result<SeccompRule, BackendError> {
    let condition = |(argument, mask, value): ArgumentCheck| {
        let is = SeccompCmpOp::MaskedEq(mask.into());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value.into())
    };
    SeccompRule::new(conditions.into_iter().map(condition).collect::<Result<_, _>>()?)
}
