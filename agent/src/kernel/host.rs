//! What the host allows: capabilities, lockdown, namespaces, addresses. Nothing here is about one
//! socket.

use crate::{files, model::table::agent_health::HostView};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CapabilitySet, CapabilitySets},
};
use std::{
    collections::BTreeSet,
    fs,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    net::Ipv6Addr,
    os::{fd::RawFd, linux::fs::MetadataExt as _},
    path::Path,
};

/// The inode of the initial pid namespace (`PROC_PID_INIT_INO` in include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;

/// Which capabilities the load needs and this thread lacks. `CAP_SYS_ADMIN` stands for both, as in
/// `bpf_capable` and `perfmon_capable` (include/linux/capability.h).
pub fn missing_capabilities() -> Vec<&'static str> {
    let held = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |c| c.effective);
    if held.contains(CapabilitySet::SYS_ADMIN) {
        return Vec::new();
    }
    [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter_map(|(capability, name)| (!held.contains(capability)).then_some(name))
        .collect()
}

/// Whether this process may enter other network namespaces (`netns_install` in net/core/net_namespace.c).
pub fn enters_network_namespaces() -> bool {
    let held = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |c| c.effective);
    held.contains(CapabilitySet::SYS_ADMIN)
}

/// Whether this process may reach into processes of other users (`ptrace_may_access` in kernel/ptrace.c).
pub fn may_trace() -> bool {
    let held = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |c| c.effective);
    held.contains(CapabilitySet::SYS_PTRACE)
}

/// Whether this process may change the rules of packets (`nfnetlink_rcv` in net/netfilter/nfnetlink.c).
pub fn changes_packet_rules() -> bool {
    let held = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |c| c.effective);
    held.contains(CapabilitySet::NET_ADMIN)
}

/// Whether the security module Yama lets nobody reach into another process until the next boot (`yama_ptrace_access_check` in
/// security/yama/yama_lsm.c).
pub fn yama_forbids_tracing() -> bool {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    scope.is_ok_and(|scope| scope.trim() == "3")
}

/// What this thread lacks to borrow descriptors of other users' processes: CAP_SYS_PTRACE, a capability to list them
/// (`proc_fd_permission` in fs/proc/fd.c), and that Yama permits it.
pub fn missing_for_descriptors() -> Vec<&'static str> {
    let held = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |c| c.effective);
    let lists = held.intersects(CapabilitySet::DAC_READ_SEARCH | CapabilitySet::DAC_OVERRIDE);
    let traces = held.contains(CapabilitySet::SYS_PTRACE);
    [
        (traces, "CAP_SYS_PTRACE"),
        (lists, "CAP_DAC_READ_SEARCH"),
        (!yama_forbids_tracing(), "kernel.yama.ptrace_scope below 3"),
    ]
    .into_iter()
    .filter_map(|(is_held, name)| (!is_held).then_some(name))
    .collect()
}

/// Lets maps be as large as they are: before 5.11 they count as locked memory. Where that is refused it
/// may not be needed, and else creating the maps fails and says so.
pub fn lift_memory_lock() {
    let all = Rlimit { current: None, maximum: None };
    setrlimit(Resource::Memlock, all).ok();
}

/// How much memory this process may lock.
pub fn memory_lock() -> Rlimit {
    getrlimit(Resource::Memlock)
}

/// Takes the limit back to what it was: maps are counted when they are made.
pub fn restore_memory_lock(limit: Rlimit) {
    setrlimit(Resource::Memlock, limit).ok();
}

/// A random number.
pub fn random() -> u64 {
    // Each hasher of the standard library has random keys of its own.
    RandomState::new().build_hasher().finish()
}

/// How often the kernel skipped one of our programs; none before 5.12, which does not say.
pub fn program_misses(fd: RawFd) -> Option<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let misses = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
    misses.trim().parse().ok()
}

/// Whether the kernel compiles BPF programs: one that interprets them lets them call no kernel function.
/// True where it does not say, as to anybody but root.
pub fn compiles_programs() -> bool {
    let mode = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable");
    mode.map_or(true, |mode| mode.trim() != "0")
}

/// The lockdown mode: `none`, `integrity` or `confidentiality`; none where the kernel has no such
/// thing or does not show it.
pub fn lockdown() -> Option<String> {
    let modes = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let begin = modes.find('[')?;
    let end = modes.find(']')?;
    modes.get(begin + 1..end).map(str::to_owned)
}

/// Whether process ids that the hooks report are those that this process sees in /proc, and the
/// snapshot shows the processes of the whole host.
pub fn view() -> HostView {
    match fs::metadata("/proc/self/ns/pid") {
        Ok(namespace) if namespace.st_ino() == INITIAL_PID_NAMESPACE => HostView::Whole,
        Ok(_) => HostView::OtherPidNamespace,
        Err(_) => HostView::NoProc,
    }
}

/// TCP sockets in the network namespace of a process that listen or are connected, whoever has them. `process` is its name in /proc.
pub fn n_tcp_sockets(process: &str) -> Option<u64> {
    let v4 = fs::read_to_string(format!("/proc/{process}/net/sockstat")).ok()?;
    // Not there without IPv6.
    let v6 = fs::read_to_string(format!("/proc/{process}/net/sockstat6")).unwrap_or_default();
    Some(in_use(&v4, "TCP: inuse ")? + in_use(&v6, "TCP6: inuse ").unwrap_or_default())
}

/// `TCP: inuse 3 orphan 0 tw 588 alloc 61 mem 220`.
fn in_use(text: &str, before: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(before))?;
    line.split(' ').next()?.parse().ok()
}

/// The inode number of this process's network namespace.
pub fn own_netns() -> Option<u32> {
    fs::metadata("/proc/self/ns/net").ok().and_then(|ns| u32::try_from(ns.st_ino()).ok())
}

/// What tells one boot from another.
pub fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// The kernel's release, as `uname -r` prints it.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Addresses of this host's interfaces in the agent's network namespace, IPv4 as IPv4-mapped. From
/// /proc, which needs no netlink: the local table of IPv4, and the IPv6 interfaces.
pub fn addresses() -> BTreeSet<Ipv6Addr> {
    addresses_within(usize::MAX).unwrap_or_default()
}

/// The same, for each walk. None where that takes long: the table has every route of the host, too.
pub fn addresses_again() -> Option<BTreeSet<Ipv6Addr>> {
    /// Some 10,000 routes.
    const MAX_BYTES: usize = 1 << 20;
    addresses_within(MAX_BYTES)
}

fn addresses_within(max_bytes: usize) -> Option<BTreeSet<Ipv6Addr>> {
    let read = |path| match files::text(Path::new(path), max_bytes) {
        Err(files::Error::TooLarge(_)) => None,
        // Not there without IPv6.
        text => Some(text.unwrap_or_default()),
    };
    let (v4, v6) = (read("/proc/self/net/fib_trie")?, read("/proc/self/net/if_inet6")?);
    Some(parse_fib_trie(&v4).into_iter().chain(parse_if_inet6(&v6)).collect())
}

/// `/32 host LOCAL` under an address: that address is ours.
fn parse_fib_trie(text: &str) -> Vec<Ipv6Addr> {
    let mut addresses = Vec::new();
    let mut leaf = None;
    for line in text.lines() {
        let line = line.trim_start();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<std::net::Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(address) = leaf
        {
            addresses.push(address.to_ipv6_mapped());
        }
    }
    addresses
}

/// The first column is the address in 32 hexadecimal digits.
fn parse_if_inet6(text: &str) -> Vec<Ipv6Addr> {
    text.lines()
        .filter_map(|line| u128::from_str_radix(line.split(' ').next()?, 16).ok())
        .map(Ipv6Addr::from)
        .collect()
}

/// Gives up every capability but those by which an agent without eBPF sees more: processes of other users, the sysctls of
/// other network namespaces, and in which of them a socket is. Which it has of these.
pub fn keep_for_descriptors() -> io::Result<CapabilitySet> {
    let wanted = CapabilitySet::SYS_PTRACE
        | CapabilitySet::DAC_READ_SEARCH
        | CapabilitySet::SYS_ADMIN
        | CapabilitySet::NET_ADMIN;
    let held = rustix::thread::capabilities(None)?.effective;
    let mut kept = held & wanted;
    // It lists what they have open, too, and lets everything be written.
    if !held.contains(CapabilitySet::DAC_READ_SEARCH) {
        kept |= held & CapabilitySet::DAC_OVERRIDE;
    }
    keep_only(kept)?;
    Ok(kept)
}

/// Their names with commas; `none` without any.
pub fn names_of(capabilities: CapabilitySet) -> String {
    let names: Vec<_> = capabilities.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}

/// Gives up every capability but `kept`, for this thread and those it starts, and for good.
pub fn keep_only(kept: CapabilitySet) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_counted_by_family() {
        let v4 = "sockets: used 45\nTCP: inuse 3 orphan 12 tw 588 alloc 61 mem 220\n";
        assert_eq!(in_use(v4, "TCP: inuse "), Some(3));
        assert_eq!(in_use("TCP6: inuse 7\nUDP6: inuse 0\n", "TCP6: inuse "), Some(7));
        assert_eq!(in_use("", "TCP: inuse "), None);
    }

    #[test]
    fn the_addresses_of_this_host_are_read_and_a_large_table_is_left_alone() {
        assert!(addresses().contains(&"::ffff:127.0.0.1".parse().unwrap()));
        assert_eq!(addresses_within(10), None);
    }

    #[test]
    fn the_local_table_gives_our_ipv4_addresses() {
        let text = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n\
                    Local:\n  +-- 10.0.0.0/24\n     |-- 10.0.0.5\n        /32 host LOCAL\n     \
                    |-- 10.0.0.255\n        /32 link BROADCAST\n";
        let ours: Vec<Ipv6Addr> = vec!["::ffff:10.0.0.5".parse().unwrap()];
        assert_eq!(parse_fib_trie(text), ours);
    }

    #[test]
    fn the_interface_list_gives_our_ipv6_addresses() {
        let text = "fe80000000000000aabbccfffe000001 02 40 20 80     eth0\n";
        let ours: Vec<Ipv6Addr> = vec!["fe80::aabb:ccff:fe00:1".parse().unwrap()];
        assert_eq!(parse_if_inet6(text), ours);
    }
}
