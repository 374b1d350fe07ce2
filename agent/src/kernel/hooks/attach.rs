//! Attaching: each signal by the best mechanism that the kernel lets us have.

use super::{
    Mechanism, Signal, SignalStatus,
    error::{Error, failed},
    hook_place::{HookProgram, Way},
    program,
};
use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, FEntry, FExit, Iter, KProbe},
};

/// Everything that a hook may sit on, as BTF names it.
pub(super) fn targets() -> Vec<String> {
    let places = Signal::ALL.into_iter().flat_map(Signal::places);
    places.flat_map(|place| place.programs).filter_map(HookProgram::btf_name).collect()
}

/// Loads and attaches everything.
pub(super) fn all(ebpf: &mut Ebpf, btf: &Btf, wanted: Mechanism) -> Vec<SignalStatus> {
    Signal::ALL.map(|signal| carry(ebpf, btf, signal, wanted)).into()
}

/// Loads and attaches what carries this signal: of its places the first that the kernel allows.
pub(super) fn carry(ebpf: &mut Ebpf, btf: &Btf, signal: Signal, wanted: Mechanism) -> SignalStatus {
    let mut passed_over = Vec::new();
    let mut tried = "";
    for place in signal.places().iter().filter(|place| place.is_of(wanted)) {
        tried = place.name;
        match place.programs.iter().try_for_each(|program| attach(ebpf, btf, program)) {
            Ok(()) => return SignalStatus { signal, mechanism: tried, failure: None, passed_over },
            Err(error) => passed_over.push(error),
        }
    }
    SignalStatus { signal, mechanism: tried, failure: passed_over.pop(), passed_over }
}

fn attach(ebpf: &mut Ebpf, btf: &Btf, what: &HookProgram) -> Result<(), Error> {
    let HookProgram { name, way, target } = *what;
    match way {
        Way::Iterator => iterator(ebpf, btf, name, target),
        Way::Tracepoint => tracepoint(ebpf, btf, name, target),
        Way::FunctionEntry => fentry(ebpf, btf, name, target),
        Way::FunctionExit => fexit(ebpf, btf, name, target),
        Way::Probe => kprobe(ebpf, name, target),
    }
}

/// Loaded only: each walk attaches a new one.
fn iterator(ebpf: &mut Ebpf, btf: &Btf, name: &str, over: &str) -> Result<(), Error> {
    let iter: &mut Iter = program(ebpf, name)?;
    iter.load(over, btf).map_err(|error| failed(format!("load the hook iter/{over}"), error))
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
