//! Loading and attaching the hooks, and which of them carries which signal.

mod attach;
mod aya_log;
mod error;
mod hook_place;
mod hook_signal;
mod kfunc;
mod look_again;
mod process_files;

pub use aya_log::{HookLog, LogLevel, TARGET as LOG_TARGET};
pub use error::Error;
pub use hook_place::{HookPlace, Mechanism};
pub use hook_signal::{Signal, SignalStatus};
pub use keepwatch_ebpf::interest::Interest;
pub use look_again::MAX_SOUGHT;
pub use process_files::{FilesOfProcess, ProcessFiles};

use super::{
    borrowed_socket::note_hooks_know_cookies,
    decode,
    field_offsets::{self, Types},
    host, network_namespaces,
    ring::Ring,
    snapshot::Snapshot,
    snapshot_canary::Witness,
};
use crate::model::observed::socket::{SocketAddress, SocketId};
use aya::{
    Btf, Ebpf, EbpfLoader, Endianness, VerifierLogLevel,
    maps::{MapError, PerCpuArray, RingBuf},
    programs::{Iter, ProgramError},
};
use error::failed;
use keepwatch_ebpf::{
    count::{COUNTS_LEN, HookCounts},
    name,
};
use look_again::Sought;
use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    sync::Arc,
};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The hooks, compiled into this binary: nothing is ever loaded from disk.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/keepwatch-hooks"));

/// The bytes of the hooks.
pub(crate) const fn object() -> &'static [u8] {
    OBJECT
}

/// Connections of a command that are open at the same time: some 5 MB in the kernel while it runs. One
/// more is counted as lost.
const MAX_NOTED: u32 = 65_536;

/// Which hooks to load.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// The snapshot alone: for commands that look once.
    Snapshot,
    /// The snapshot and every event, with a ring of this many bytes.
    Events {
        /// A power of two, at least a page.
        ring_bytes: u32,
        /// How hooks that have a choice are to be attached.
        mechanism: Mechanism,
        /// What of the hooks' own troubles is logged.
        log: LogLevel,
        /// Which sockets to report: the hooks pass over the others.
        interest: Interest,
    },
}

/// The loaded hooks. Dropping it detaches all of them: the kernel keeps nothing.
#[derive(Debug)]
pub struct Hooks {
    ebpf: Ebpf,
    status: Vec<SignalStatus>,
    hz: u32,
    /// The size of the ring buffer of events.
    ring_bytes: usize,
    witness: Arc<Witness>,
    log: LogLevel,
    /// Descriptors of MPTCP connections that walks had met, before the last one.
    n_mptcp: u64,
    /// None where the kernel cannot.
    sought: Option<Sought>,
    /// None where the kernel cannot, and when it was taken.
    process_files: Option<ProcessFiles>,
    /// What a hook is attached by that only some calls need; none where all are loaded.
    btf: Option<Btf>,
}

impl Hooks {
    /// Checks what is needed, then loads and attaches the hooks for the running kernel.
    pub fn load(scope: Scope) -> Result<Self, Error> {
        Self::check()?;
        let types = types()?;
        note_hooks_know_cookies(types.layout.has_cookies == 1);
        Self::load_with(scope, &types)
    }

    /// What is known without trying: whether this process may load hooks, and whether the kernel lets any process.
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
        // Before the hooks, which would tell what is set on it.
        let witness = Witness::new(layout.has_cookies == 1).map_err(|error| {
            let attempt = "make the socket on loopback that every snapshot is checked against (is `lo` up \
                           in this network namespace?)";
            failed(attempt, error)
        })?;
        // The kernel makes none that is smaller (`ringbuf_map_alloc` in kernel/bpf/ringbuf.c).
        let a_page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
        let (ring_bytes, interest, log) = match scope {
            Scope::Snapshot => (a_page, Interest::default(), LogLevel::Off),
            Scope::Events { ring_bytes, interest, log, .. } => {
                (ring_bytes.max(a_page), interest, log)
            }
        };
        let max_sought = match scope {
            Scope::Snapshot => 1,
            Scope::Events { .. } => MAX_SOUGHT,
        };
        let max_noted = if interest.descendants == 0 { 1 } else { MAX_NOTED };
        host::lift_memory_lock();
        let hz = super::clock::hz();
        let address_key = host::random() | 1;
        let mut layout = *layout;
        if !host::compiles_programs() {
            layout.cast_id = 0;
        }
        let mut ebpf = EbpfLoader::new()
            .btf(None) // the hooks have nothing to relocate
            .verifier_log_level(VerifierLogLevel::DISABLE)
            .override_global(name::LAYOUT, layout.as_bytes(), true)
            .override_global(name::HZ, &hz, true)
            .override_global(name::ADDRESS_KEY, &address_key, true)
            .override_global(name::ADDRESS_KEY_INVERSE, &inverse(address_key), true)
            .override_global(::aya_log::LEVEL, &log.number(), true)
            .map_max_entries(name::LOGS, log.ring_bytes())
            .override_global(name::INTEREST, interest.as_bytes(), true)
            .map_max_entries(name::EVENTS, ring_bytes)
            .map_max_entries(name::NOTED, max_noted)
            .map_max_entries(name::SOUGHT, max_sought)
            .load(kfunc::with_cast(OBJECT, layout.cast_id).as_bytes())
            .map_err(|error| failed("create the hooks' maps", error))?;
        let mut status = match scope {
            Scope::Snapshot => {
                vec![attach::carry(&mut ebpf, &btf, Signal::Snapshot, Mechanism::Auto)]
            }
            Scope::Events { mechanism, .. } => attach::all(&mut ebpf, &btf, mechanism),
        };
        let sought = match scope {
            Scope::Snapshot => None,
            Scope::Events { .. } => look_again::begin(&mut ebpf, &mut status),
        };
        let process_files = match scope {
            Scope::Snapshot => None,
            Scope::Events { .. } => process_files::begin(&mut ebpf, &layout, &mut status),
        };
        let btf = matches!(scope, Scope::Snapshot).then_some(btf);
        let witness = Arc::new(witness);
        let ring_bytes = usize::try_from(ring_bytes).unwrap_or(usize::MAX);
        let hooks = Self {
            ebpf,
            status,
            hz,
            ring_bytes,
            witness,
            log,
            n_mptcp: 0,
            sought,
            process_files,
            btf,
        };
        match scope {
            // A user who names a mechanism wants that one or an error. Where it cannot carry setsockopt, which
            // is not in every kernel's BTF, that is reported as any blindness is.
            Scope::Events { mechanism, .. } if mechanism != Mechanism::Auto => {
                hooks.require(Signal::KeepaliveTimer)
            }
            _ => Ok(hooks),
        }
    }

    /// Which signals are carried, and why others are not.
    pub fn status(&self) -> &[SignalStatus] {
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
        let witness = Some(Arc::clone(&self.witness));
        self.iterate(name::SNAPSHOT, "begin a snapshot", witness)
    }

    /// Begins a walk over what MPTCP connections are made of, if the walk before has met any.
    pub fn subflows(&mut self) -> Result<Option<Snapshot>, Error> {
        let n_mptcp = self.counts()?.mptcp;
        let has_met = n_mptcp > std::mem::replace(&mut self.n_mptcp, n_mptcp);
        has_met.then(|| self.subflows_again()).transpose()
    }

    /// The same walk once more.
    pub fn subflows_again(&mut self) -> Result<Snapshot, Error> {
        self.iterate(name::SUBFLOWS, "begin a snapshot of MPTCP", None)
    }

    fn iterate(
        &mut self,
        name: &str,
        attempt: &str,
        witness: Option<Arc<Witness>>,
    ) -> Result<Snapshot, Error> {
        let program: &mut Iter = program(&mut self.ebpf, name)?;
        let link = program.attach().map_err(|error| failed(attempt, error))?;
        let link = program.take_link(link).map_err(|error| failed(attempt, error))?;
        let file = link.into_file().map_err(|error| failed(attempt, error))?;
        Ok(Snapshot::new(file, decode::Decoder::new(self.hz), witness))
    }

    /// Lists of the sockets of every network namespace that this process may enter, its own first: begun, not read. Once
    /// begun, no capability is needed to read one.
    pub fn lists(&mut self) -> Vec<Snapshot> {
        /// Each takes a descriptor until it is read.
        const N_MOST: usize = 512;
        let mut lists: Vec<Snapshot> = self.listed().into_iter().collect();
        for there in network_namespaces::others().take(N_MOST) {
            match network_namespaces::inside(&there.file, || self.listed()) {
                Ok(Ok(list)) => lists.push(list),
                // Not the next either: it takes CAP_SYS_ADMIN.
                Ok(Err(_)) | Err(_) => break,
            }
        }
        lists
    }

    /// Begins a walk over the TCP sockets of the network namespace of this thread.
    pub fn listed(&mut self) -> Result<Snapshot, Error> {
        if let Some(btf) = self.btf.take() {
            self.status.push(attach::carry(&mut self.ebpf, &btf, Signal::Listed, Mechanism::Auto));
        }
        self.iterate(name::LISTED, "list the sockets of a network namespace", None)
    }

    /// Begins to look at these sockets by their addresses, at most [`MAX_SOUGHT`]. None where the
    /// kernel cannot.
    pub fn look_again(
        &mut self,
        sockets: &[(SocketId, SocketAddress)],
    ) -> Result<Option<Snapshot>, Error> {
        let Some(sought) = &mut self.sought else {
            return Ok(None);
        };
        let file = sought.begin(sockets)?;
        Ok(Some(Snapshot::new(file, decode::Decoder::new(self.hz), None)))
    }

    /// What reads the files of processes, once. None where the kernel cannot.
    pub const fn process_files(&mut self) -> Option<ProcessFiles> {
        self.process_files.take()
    }

    /// The reading end of the events. There is one.
    pub fn ring(&mut self) -> Result<Ring, Error> {
        let map = self
            .ebpf
            .take_map(name::EVENTS)
            .ok_or_else(|| failed("take the ring buffer", "it was taken before"))?;
        let ring = RingBuf::try_from(map).map_err(|error| failed("map the ring buffer", error))?;
        Ok(Ring::new(ring, decode::Decoder::new(self.hz), self.ring_bytes))
    }

    /// The reading end of the hooks' own log, if it is on.
    pub fn log(&mut self) -> Result<Option<HookLog>, Error> {
        (self.log != LogLevel::Off).then(|| HookLog::new(&mut self.ebpf)).transpose()
    }

    /// Runs that the kernel skipped because the same hook was running on that CPU already. Where
    /// tracepoints can be preempted (seen on 7.2) that is a loss which no hook can count
    /// (`bpf_prog_inc_misses_counter` in kernel/bpf/syscall.c). Not of `sys_exit`, which comes by for
    /// every system call of the host: next to none of those is a setsockopt.
    pub fn n_skipped(&self) -> u64 {
        self.n_skipped_of(|hook| hook != name::SETSOCKOPT_EXIT.tracepoint)
    }

    /// Like [`Self::n_skipped`], for the state-change hook only.
    pub fn n_changes_skipped(&self) -> u64 {
        self.n_skipped_of(|hook| hook == name::STATE_CHANGE)
    }

    fn n_skipped_of(&self, counts: impl Fn(&str) -> bool) -> u64 {
        let of = |(hook, program): (&str, &aya::programs::Program)| {
            let fd = counts(hook).then(|| program.fd().ok())??.as_fd().as_raw_fd();
            host::program_misses(fd)
        };
        self.ebpf.programs().filter_map(of).sum()
    }

    /// The hooks' totals, of all CPUs.
    pub fn counts(&self) -> Result<HookCounts, Error> {
        let read = |error: MapError| failed("read the hooks' counters", error);
        let map = self
            .ebpf
            .map(name::COUNTS)
            .ok_or_else(|| failed("read the hooks' counters", "no such map"))?;
        let counts: PerCpuArray<_, [u8; COUNTS_LEN]> = PerCpuArray::try_from(map).map_err(read)?;
        let mut total = HookCounts::default();
        for bytes in counts.get(&0, 0).map_err(read)?.iter() {
            total.add(&HookCounts::read_from_bytes(bytes).unwrap_or_default());
        }
        Ok(total)
    }
}

/// The number that undoes a multiplication by this odd one, modulo 2^64: each round doubles the bits that are right
/// (Newton), and the number itself is right in three.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut round = 0;
    while round < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
}

/// What the hooks need to know of the running kernel's types.
pub fn types() -> Result<Types, Error> {
    let targets = attach::targets();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    Ok(field_offsets::of_running_kernel(&targets)?)
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

#[cfg(test)]
mod tests {
    use super::{OBJECT, inverse};
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
    use std::collections::BTreeSet;

    #[test]
    fn an_address_comes_back_from_its_number() {
        for odd in [1, 3, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
            assert_eq!(odd.wrapping_mul(inverse(odd)), 1, "{odd}");
        }
    }

    /// The hooks as built. There are none where they were left out.
    pub(super) fn object() -> object::File<'static> {
        object::File::parse(OBJECT).expect("hooks: build without AYA_BUILD_SKIP")
    }

    /// All that the hooks' `name` module spells: read from its source, so that nothing is forgotten here.
    fn names() -> BTreeSet<&'static str> {
        let source =
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../agent-ebpf/src/name.rs"));
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        code.flat_map(|line| line.split('"').skip(1).step_by(2)).collect()
    }

    #[test]
    fn every_name_is_in_the_object_and_every_program_has_a_name() {
        let names = names();
        assert!(names.len() >= 18 && names.contains("timer_kretprobe"), "{names:?}");
        let object = object();
        let symbols: Vec<_> =
            object.symbols().filter(object::ObjectSymbol::is_definition).collect();
        let named: BTreeSet<_> = symbols.iter().filter_map(|symbol| symbol.name().ok()).collect();
        assert_eq!(names.difference(&named).collect::<Vec<_>>(), [""; 0].each_ref(), "not built");
        // Each in a section of its own; what they share is in `.text`.
        let is_shared = |symbol: &object::Symbol<'_, '_>| {
            let section = symbol.section_index().and_then(|at| object.section_by_index(at).ok());
            section.is_some_and(|section| section.name() == Ok(".text"))
        };
        let programs = symbols.iter().filter(|symbol| {
            symbol.is_global() && symbol.kind() == SymbolKind::Text && !is_shared(symbol)
        });
        let programs: BTreeSet<_> = programs.filter_map(|symbol| symbol.name().ok()).collect();
        assert!(programs.len() >= 13, "{programs:?}");
        assert_eq!(
            programs.difference(&names).collect::<Vec<_>>(),
            [""; 0].each_ref(),
            "not loaded"
        );
    }
}
