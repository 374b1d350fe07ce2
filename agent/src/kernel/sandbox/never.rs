//! Seccomp, the first filter: calls that have no innocent reason in a running agent. They kill it.
//!
//! Whoever makes one has taken the agent over. The kernel logs the call (auditd, `journalctl -k`: type 1326), systemd
//! starts the agent anew, and nothing can be tried twice. All other calls that are not needed are merely refused
//! ([`super::calls`]).

use super::Borrowing;
use seccompiler::{Error, SeccompAction, SeccompFilter, apply_filter_all_threads};
use std::env::consts::ARCH;

/// Other programs, other processes, other file systems, other code in the kernel.
const NEVER: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
];
/// What only an agent without eBPF does: it borrows sockets, and reads sysctls in other network namespaces.
const OF_NEIGHBOURS: &[libc::c_long] = &[libc::SYS_pidfd_getfd, libc::SYS_setns];
/// They stand for a new process; a new thread is made by clone.
#[cfg(target_arch = "x86_64")]
const FORK: &[libc::c_long] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const FORK: &[libc::c_long] = &[];

/// Kills the process at any of them, in every thread.
pub(super) fn refuse(borrowing: Borrowing) -> Result<(), Error> {
    let of_neighbours = match borrowing {
        Borrowing::Refused => OF_NEIGHBOURS,
        Borrowing::Allowed => &[],
    };
    let never = NEVER.iter().chain(FORK).chain(of_neighbours);
    let rules = never.map(|&call| (call, Vec::new())).collect();
    let (kill, allow) = (SeccompAction::KillProcess, SeccompAction::Allow);
    let filter = SeccompFilter::new(rules, allow, kill, ARCH.try_into()?)?;
    apply_filter_all_threads(&seccompiler::BpfProgram::try_from(filter)?)
}
