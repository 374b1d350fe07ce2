//! Loading and attaching the hooks, and which of them carries which signal.

use super::{
    decode, host,
    layout::{self, Types},
    ring::Ring,
    snapshot::Snapshot,
};
use aya::{
    Btf, Ebpf, EbpfLoader, Endianness, VerifierLogLevel,
    maps::{MapError, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, Iter, ProgramError},
};
use keepwatch_ebpf::{
    count::{COUNTS_LEN, Counts},
    name,
};
use serde::Serialize;
use std::io;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The hooks, compiled into this binary: nothing is ever loaded from disk.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/keepwatch-hooks"));

/// Why the hooks do not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's layout is not known.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// Not allowed.
    #[error(
        "cannot load the hooks: needs {}: run as root, or see `keepwatch doctor`",
        missing.join(" and ")
    )]
    Privilege {
        /// The capabilities that are missing.
        missing: Vec<&'static str>,
    },
    /// The kernel hides its memory.
    #[error(
        "cannot load the hooks: kernel lockdown is in mode `confidentiality`, which forbids reading \
         kernel memory; boot with lockdown=integrity or none"
    )]
    Confidentiality,
    /// The kernel refused with EPERM although the capabilities are held.
    #[error(
        "cannot {attempt}: the kernel refused (EPERM) although the capabilities are held: is this a \
         user namespace, or does seccomp or an LSM forbid bpf(2)? See `keepwatch doctor`"
    )]
    Refused {
        /// What was tried.
        attempt: String,
    },
    /// Anything else the kernel or aya said.
    #[error("cannot {attempt}")]
    Kernel {
        /// What was tried.
        attempt: String,
        #[source]
        /// What was answered.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn failed(
    attempt: impl Into<String>,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    let (attempt, cause) = (attempt.into(), cause.into());
    if is_eperm(&*cause) { Error::Refused { attempt } } else { Error::Kernel { attempt, cause } }
}

/// Not EACCES, which is the verifier's no.
const EPERM: Option<i32> = Some(1);

fn is_eperm(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.raw_os_error() == EPERM
        {
            return true;
        }
        if let Some(ProgramError::LoadError { io_error, .. }) = error.downcast_ref()
            && io_error.raw_os_error() == EPERM
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What the hooks can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Every socket that a process has open.
    Snapshot,
    /// A connection opens, closes or changes its state.
    StateChange,
    /// A socket ends.
    Destroy,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 3] = [Self::Snapshot, Self::StateChange, Self::Destroy];

    /// The name in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::StateChange => "state_change",
            Self::Destroy => "destroy",
        }
    }

    /// The kernel mechanism that carries it.
    pub const fn mechanism(self) -> &'static str {
        match self {
            Self::Snapshot => "iter/task_file",
            Self::StateChange => "tp_btf/inet_sock_set_state",
            Self::Destroy => "tp_btf/tcp_destroy_sock",
        }
    }

    /// What is not known without it.
    pub const fn blind_without(self) -> &'static str {
        match self {
            Self::Snapshot => "everything: no socket can be listed",
            Self::StateChange => {
                "connections that open or close between two snapshots, and who opened them"
            }
            Self::Destroy => "the end of sockets whose last state change was missed",
        }
    }
}

/// Whether a signal is carried.
#[derive(Debug)]
pub struct Status {
    /// The signal.
    pub signal: Signal,
    /// Why not, if it is not.
    pub failure: Option<Error>,
}

/// Which hooks to load.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// The snapshot alone: for commands that look once.
    Snapshot,
    /// The snapshot and every event, with a ring of this many bytes.
    Events {
        /// A power of two, at least a page.
        ring_bytes: u32,
    },
}

/// The loaded hooks. Dropping it detaches all of them: the kernel keeps nothing.
#[derive(Debug)]
pub struct Hooks {
    ebpf: Ebpf,
    status: Vec<Status>,
    hz: u32,
}

impl Hooks {
    /// Checks what is needed, then loads and attaches the hooks for the running kernel.
    pub fn load(scope: Scope) -> Result<Self, Error> {
        Self::check()?;
        Self::load_with(scope, &types()?)
    }

    /// What can be said without trying: whether this process may, and whether the kernel lets anybody.
    pub fn check() -> Result<(), Error> {
        let missing = host::missing_capabilities();
        if !missing.is_empty() {
            return Err(Error::Privilege { missing });
        }
        if host::lockdown().as_deref() == Some("confidentiality") {
            return Err(Error::Confidentiality);
        }
        Ok(())
    }

    /// The same for given types: tests hand in a wrong layout.
    pub fn load_with(scope: Scope, types: &Types) -> Result<Self, Error> {
        let Types { layout, targets } = types;
        let btf = Btf::parse(targets, Endianness::default())
            .map_err(|error| failed("read the kernel's BTF", error))?;
        let ring_bytes = match scope {
            Scope::Snapshot => u32::try_from(rustix::param::page_size()).unwrap_or(4096),
            Scope::Events { ring_bytes } => ring_bytes,
        };
        let mut ebpf = EbpfLoader::new()
            .btf(None) // the hooks have nothing to relocate
            .verifier_log_level(VerifierLogLevel::DISABLE)
            .override_global(name::LAYOUT, layout.as_bytes(), true)
            .map_max_entries(name::EVENTS, ring_bytes)
            .load(OBJECT)
            .map_err(|error| failed("create the hooks' maps", error))?;
        let mut status = vec![Status {
            signal: Signal::Snapshot,
            failure: load_snapshot(&mut ebpf, &btf).err(),
        }];
        if matches!(scope, Scope::Events { .. }) {
            for (signal, program, tracepoint) in [
                (Signal::StateChange, name::STATE_CHANGE, "inet_sock_set_state"),
                (Signal::Destroy, name::DESTROY, "tcp_destroy_sock"),
            ] {
                let failure = attach(&mut ebpf, &btf, program, tracepoint).err();
                status.push(Status { signal, failure });
            }
        }
        Ok(Self { ebpf, status, hz: super::clock::hz() })
    }

    /// Which signals are carried, and why others are not.
    pub fn status(&self) -> &[Status] {
        &self.status
    }

    /// Takes the first failure out: for callers that cannot do without the signal.
    pub fn require(mut self, signal: Signal) -> Result<Self, Error> {
        let status = self.status.iter_mut().find(|status| status.signal == signal);
        match status.and_then(|status| status.failure.take()) {
            Some(failure) => Err(failure),
            None => Ok(self),
        }
    }

    /// Begins a walk over every socket. Each walk is a new one: an iterator reads once.
    pub fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let program: &mut Iter = program(&mut self.ebpf, name::SNAPSHOT)?;
        let link = program.attach().map_err(|error| failed("begin a snapshot", error))?;
        let link = program.take_link(link).map_err(|error| failed("begin a snapshot", error))?;
        let file = link.into_file().map_err(|error| failed("begin a snapshot", error))?;
        Snapshot::new(file, decode::Decoder::new(self.hz))
            .map_err(|error| failed("begin a snapshot", error))
    }

    /// The reading end of the events. There is one.
    pub fn ring(&mut self) -> Result<Ring, Error> {
        let map = self
            .ebpf
            .take_map(name::EVENTS)
            .ok_or_else(|| failed("take the ring buffer", "it was taken before"))?;
        let ring = RingBuf::try_from(map).map_err(|error| failed("map the ring buffer", error))?;
        Ok(Ring::new(ring, decode::Decoder::new(self.hz)))
    }

    /// The hooks' totals, of all CPUs.
    pub fn counts(&self) -> Result<Counts, Error> {
        let read = |error: MapError| failed("read the hooks' counters", error);
        let map = self
            .ebpf
            .map(name::COUNTS)
            .ok_or_else(|| failed("read the hooks' counters", "no such map"))?;
        let counts: PerCpuArray<_, [u8; COUNTS_LEN]> = PerCpuArray::try_from(map).map_err(read)?;
        let mut total = Counts::default();
        for bytes in counts.get(&0, 0).map_err(read)?.iter() {
            let one = Counts::read_from_bytes(bytes).unwrap_or_default();
            total.seen += one.seen;
            total.submitted += one.submitted;
            total.dropped += one.dropped;
            total.filtered += one.filtered;
        }
        Ok(total)
    }
}

/// What the hooks need to know of the running kernel's types.
pub fn types() -> Result<Types, Error> {
    Ok(layout::of_running_kernel(&[
        "bpf_iter_task_file",
        "btf_trace_inet_sock_set_state",
        "btf_trace_tcp_destroy_sock",
    ])?)
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, Error>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or_else(|| failed(format!("find the hook {name}"), "not in the object"))?
        .try_into()
        .map_err(|error| failed(format!("find the hook {name}"), error))
}

fn load_snapshot(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), Error> {
    let iter: &mut Iter = program(ebpf, name::SNAPSHOT)?;
    iter.load("task_file", btf).map_err(|error| failed("load the hook iter/task_file", error))
}

fn attach(ebpf: &mut Ebpf, btf: &Btf, name: &str, tracepoint: &str) -> Result<(), Error> {
    let hook: &mut BtfTracePoint = program(ebpf, name)?;
    let attempt = |what: &str| format!("{what} the hook tp_btf/{tracepoint}");
    hook.load(tracepoint, btf).map_err(|error| failed(attempt("load"), error))?;
    hook.attach().map_err(|error| failed(attempt("attach"), error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_in_the_object() {
        if OBJECT.is_empty() {
            eprintln!("skipped: built with AYA_BUILD_SKIP, without hooks");
            return;
        }
        for name in [
            name::SNAPSHOT,
            name::STATE_CHANGE,
            name::DESTROY,
            name::EVENTS,
            name::COUNTS,
            name::LAYOUT,
        ] {
            let name = format!("\0{name}\0");
            assert!(OBJECT.windows(name.len()).any(|at| at == name.as_bytes()), "{name}");
        }
    }
}
