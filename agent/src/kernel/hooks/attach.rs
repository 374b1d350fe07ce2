//! Attaching: each signal by the best mechanism that the kernel lets us have.

use super::{
    Mechanism, Signal, SignalStatus,
    error::{Error, failed},
    program,
};
use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, FEntry, FExit, Iter, KProbe},
};
use keepwatch_ebpf::name;

/// Everything that a hook may sit on, as BTF names it.
pub(super) const TARGETS: &[&str] = &[
    "bpf_iter_task_file",
    "btf_trace_inet_sock_set_state",
    "btf_trace_tcp_destroy_sock",
    "btf_trace_timer_expire_entry",
    "btf_trace_timer_expire_exit",
    "btf_trace_sys_exit",
    TIMER,
    SETSOCKOPT,
];

/// Called only through a pointer, so no compiler inlines or renames it (net/ipv4/tcp_timer.c).
const TIMER: &str = "tcp_keepalive_timer";

/// The system call itself: what it calls may be inlined into it.
#[cfg(target_arch = "x86_64")]
const SETSOCKOPT: &str = "__x64_sys_setsockopt";
#[cfg(target_arch = "aarch64")]
const SETSOCKOPT: &str = "__arm64_sys_setsockopt";

pub(super) fn snapshot(ebpf: &mut Ebpf, btf: &Btf) -> SignalStatus {
    let load = |ebpf: &mut Ebpf| {
        let iter: &mut Iter = program(ebpf, name::SNAPSHOT)?;
        iter.load("task_file", btf).map_err(|error| failed("load the hook iter/task_file", error))
    };
    only(Signal::Snapshot, load(ebpf))
}

/// Loads and attaches everything.
pub(super) fn all(ebpf: &mut Ebpf, btf: &Btf, mechanism: Mechanism) -> Vec<SignalStatus> {
    vec![
        snapshot(ebpf, btf),
        only(Signal::StateChange, tracepoint(ebpf, btf, name::STATE_CHANGE, "inet_sock_set_state")),
        only(Signal::Destroy, tracepoint(ebpf, btf, name::DESTROY, "tcp_destroy_sock")),
        best(Signal::KeepaliveTimer, mechanism, |mechanism| timer(ebpf, btf, mechanism)),
        best(Signal::Setsockopt, mechanism, |mechanism| setsockopt(ebpf, btf, mechanism)),
    ]
}

fn only(signal: Signal, attached: Result<(), Error>) -> SignalStatus {
    let mechanism = signal.mechanisms().first().copied().unwrap_or_default();
    SignalStatus { signal, mechanism, failure: attached.err(), passed_over: Vec::new() }
}

fn best(
    signal: Signal,
    wanted: Mechanism,
    mut attach: impl FnMut(Mechanism) -> Result<(), Error>,
) -> SignalStatus {
    let mut passed_over = Vec::new();
    let mut tried = "";
    for &mechanism in wanted.in_turn() {
        let place = Mechanism::Auto.in_turn().iter().position(|&one| one == mechanism);
        tried = place.and_then(|at| signal.mechanisms().get(at)).copied().unwrap_or_default();
        match attach(mechanism) {
            Ok(()) => return SignalStatus { signal, mechanism: tried, failure: None, passed_over },
            Err(error) => passed_over.push(error),
        }
    }
    SignalStatus { signal, mechanism: tried, failure: passed_over.pop(), passed_over }
}

fn timer(ebpf: &mut Ebpf, btf: &Btf, mechanism: Mechanism) -> Result<(), Error> {
    // The exit first: it does nothing without an entry.
    let (entry, exit) = (name::TIMER_ENTRY, name::TIMER_EXIT);
    match mechanism {
        Mechanism::Auto | Mechanism::Fentry => {
            fexit(ebpf, btf, exit.function, TIMER)?;
            fentry(ebpf, btf, entry.function, TIMER)
        }
        Mechanism::Kprobe => {
            kprobe(ebpf, exit.probe, TIMER)?;
            kprobe(ebpf, entry.probe, TIMER)
        }
        Mechanism::Tracepoint => {
            tracepoint(ebpf, btf, exit.tracepoint, "timer_expire_exit")?;
            tracepoint(ebpf, btf, entry.tracepoint, "timer_expire_entry")
        }
    }
}

fn setsockopt(ebpf: &mut Ebpf, btf: &Btf, mechanism: Mechanism) -> Result<(), Error> {
    let exit = name::SETSOCKOPT_EXIT;
    match mechanism {
        Mechanism::Auto | Mechanism::Fentry => fexit(ebpf, btf, exit.function, SETSOCKOPT),
        Mechanism::Kprobe => {
            kprobe(ebpf, exit.probe, SETSOCKOPT)?;
            kprobe(ebpf, name::SETSOCKOPT_ENTRY, SETSOCKOPT)
        }
        Mechanism::Tracepoint => tracepoint(ebpf, btf, exit.tracepoint, "sys_exit"),
    }
}

fn tracepoint(ebpf: &mut Ebpf, btf: &Btf, name: &str, tracepoint: &str) -> Result<(), Error> {
    let hook: &mut BtfTracePoint = program(ebpf, name)?;
    let attempt = |what: &str| format!("{what} the hook tp_btf/{tracepoint}");
    hook.load(tracepoint, btf).map_err(|error| failed(attempt("load"), error))?;
    hook.attach().map_err(|error| failed(attempt("attach"), error))?;
    Ok(())
}

fn fentry(ebpf: &mut Ebpf, btf: &Btf, name: &str, function: &str) -> Result<(), Error> {
    let hook: &mut FEntry = program(ebpf, name)?;
    let attempt = |what: &str| format!("{what} the hook fentry/{function}");
    hook.load(function, btf).map_err(|error| failed(attempt("load"), error))?;
    hook.attach().map_err(|error| failed(attempt("attach"), error))?;
    Ok(())
}

fn fexit(ebpf: &mut Ebpf, btf: &Btf, name: &str, function: &str) -> Result<(), Error> {
    let hook: &mut FExit = program(ebpf, name)?;
    let attempt = |what: &str| format!("{what} the hook fexit/{function}");
    hook.load(function, btf).map_err(|error| failed(attempt("load"), error))?;
    hook.attach().map_err(|error| failed(attempt("attach"), error))?;
    Ok(())
}

fn kprobe(ebpf: &mut Ebpf, name: &str, function: &str) -> Result<(), Error> {
    let hook: &mut KProbe = program(ebpf, name)?;
    let attempt = |what: &str| format!("{what} a probe to {function}");
    hook.load().map_err(|error| failed(attempt("load"), error))?;
    hook.attach(function, 0).map_err(|error| failed(attempt("attach"), error))?;
    Ok(())
}
