//! Names of programs, maps and globals in the hooks' object file: the only place they are spelled.

/// `iter/task_file`: one walk over every open file of every process.
pub const SNAPSHOT: &str = "snapshot";
/// `iter/task_file`, too: the TCP sockets that MPTCP connections are made of.
pub const SUBFLOWS: &str = "subflows";
/// `iter/tcp`: every TCP socket of one network namespace.
pub const LISTED: &str = "listed";
/// `iter/bpf_map_elem`: the sockets of [`SOUGHT`], by their addresses.
pub const LOOK_AGAIN: &str = "look_again";
/// `iter/task_vma`: what one process has mapped.
pub const MAPPED_FILES: &str = "mapped_files";
/// `iter/task_file` of one process: the jars that it has open.
pub const OPEN_JARS: &str = "open_jars";
/// `tp_btf/inet_sock_set_state`: a socket changed its state.
pub const STATE_CHANGE: &str = "state_change";
/// `tp_btf/tcp_destroy_sock`: a socket's end.
pub const DESTROY: &str = "destroy";

/// `fentry/tcp_keepalive_timer` and its siblings: a keepalive timer begins to fire.
pub const TIMER_ENTRY: Adapters =
    Adapters { function: "timer_fentry", probe: "timer_kprobe", tracepoint: "timer_expire_entry" };
/// The same, done firing.
pub const TIMER_EXIT: Adapters =
    Adapters { function: "timer_fexit", probe: "timer_kretprobe", tracepoint: "timer_expire_exit" };
/// Only a probe needs to note the call's arguments before it runs.
pub const SETSOCKOPT_ENTRY: &str = "setsockopt_kprobe";
/// A setsockopt call returns.
pub const SETSOCKOPT_EXIT: Adapters = Adapters {
    function: "setsockopt_fexit",
    probe: "setsockopt_kretprobe",
    tracepoint: "sys_exit",
};

/// The same body behind three mechanisms.
#[derive(Clone, Copy, Debug)]
pub struct Adapters {
    /// For fentry or fexit.
    pub function: &'static str,
    /// For kprobe or kretprobe.
    pub probe: &'static str,
    /// The name of the adapter for tracepoints.
    pub tracepoint: &'static str,
}

/// The ring buffer that carries every event.
pub const EVENTS: &str = "EVENTS";
/// The per-CPU array that holds one [`HookCounts`](crate::count::HookCounts).
pub const COUNTS: &str = "COUNTS";
/// The read-only global that holds the [`Layout`](crate::layout::Layout).
pub const LAYOUT: &str = "LAYOUT";
/// The read-only global that holds the kernel's ticks a second.
pub const HZ: &str = "HZ";
/// The read-only global that holds the [`Interest`](crate::interest::Interest).
pub const INTEREST: &str = "INTEREST";
/// The hash map of the connections that descendants opened.
pub const NOTED: &str = "NOTED";
/// The read-only global that makes a number of an address, from which nobody can tell the address.
pub const ADDRESS_KEY: &str = "ADDRESS_KEY";
/// Its inverse: what makes the address of that number again.
pub const ADDRESS_KEY_INVERSE: &str = "ADDRESS_KEY_INVERSE";
/// The hash map of sockets to look at again: id, and number of the address.
pub const SOUGHT: &str = "SOUGHT";
/// The per-CPU array that holds a [`Meter`](crate::trouble::Meter) for each kind of trouble.
pub const METERS: &str = "METERS";
/// The ring buffer of aya-log (`aya_log_ebpf::macro_support`), which names it nowhere in public.
pub const LOGS: &str = "AYA_LOGS";
