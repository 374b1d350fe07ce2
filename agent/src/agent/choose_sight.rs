//! By what the agent looks: hooks, or /proc where eBPF is refused or nobody wants it. What needs a privilege or can be
//! refused is done here, and what is not needed afterwards is given up.

use super::{
    Error, health_log, system,
    watch::{HookSight, ProcSight, Sight},
};
use crate::{
    kernel::{
        heap_trim,
        hooks::{self, Hooks, Interest, LogLevel, Mechanism, ProcessFiles, Scope, Signal},
        host,
        proc_source::ProcSource,
    },
    log::in_full,
    model::observed::socket::{SocketAddress, SocketId},
};
use rustix::thread::CapabilitySet;
use std::{io, thread};

/// What an agent reads connections by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WatchedBy {
    /// The kernel, by eBPF; /proc where that is refused: then /-/ready answers 503
    Auto,
    /// Only the kernel, by eBPF
    Kernel,
    /// Only /proc, without eBPF: settings and states from look to look; needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH
    Proc,
}

/// How hooks are to be loaded, where they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HookOptions {
    /// Size of the ring buffer.
    pub ring_bytes: u32,
    /// How hooks are attached.
    pub mechanism: Mechanism,
    /// What of the hooks' own troubles is logged.
    pub log: LogLevel,
}

/// What the agent looks with from now on.
pub(super) struct ChosenSight {
    pub(super) sight: Box<dyn Sight>,
    /// What reads the files of processes that /proc refuses.
    pub(super) files: Option<ProcessFiles>,
    /// What is not given up.
    pub(super) kept: CapabilitySet,
    pub(super) is_proc: bool,
}

impl WatchedBy {
    /// Whether a refusal of eBPF is no error. Without these capabilities a part would be taken for all; and a user who names a
    /// mechanism wants that one.
    fn does_without(self, options: HookOptions) -> bool {
        self == Self::Auto
            && options.mechanism == Mechanism::Auto
            && host::missing_for_descriptors().is_empty()
    }

    /// What is known without trying.
    pub(super) fn check(self, options: HookOptions) -> Result<(), Error> {
        match self {
            Self::Proc => ProcSource::open().map(drop).map_err(Error::Proc),
            _ => match Hooks::check() {
                Err(_) if self.does_without(options) => Ok(()),
                checked => Ok(checked?),
            },
        }
    }

    /// Opens it.
    pub(super) fn open(self, options: HookOptions) -> Result<ChosenSight, Error> {
        if self == Self::Proc {
            return by_proc(None);
        }
        match by_hooks(options) {
            Err(Error::Hooks(refused)) if self.does_without(options) => by_proc(Some(&refused)),
            opened => opened,
        }
    }
}

fn by_hooks(options: HookOptions) -> Result<ChosenSight, Error> {
    let HookOptions { ring_bytes, mechanism, log } = options;
    let interest = Interest::default();
    let scope = Scope::Events { ring_bytes, mechanism, interest, log };
    let mut hooks = Hooks::load(scope)?.require(Signal::Snapshot)?;
    hooks.status().iter().for_each(health_log::hook);
    heap_trim::give_back();
    let lists = hooks.lists();
    let kept = give_up_all_but_bpf(&mut hooks).map_err(system("give up capabilities"))?;
    let files = hooks.process_files();
    let sight = Box::new(HookSight::new(hooks, lists)?);
    Ok(ChosenSight { sight, files, kept, is_proc: false })
}

fn by_proc(refused: Option<&hooks::Error>) -> Result<ChosenSight, Error> {
    let source = ProcSource::open()?;
    let refused = refused.map(|error| in_full(error));
    health_log::without_ebpf(refused.as_deref());
    let kept = host::keep_for_descriptors().map_err(system("give up capabilities"))?;
    let sight = Box::new(ProcSight::new(source, refused));
    Ok(ChosenSight { sight, files: None, kept, is_proc: true })
}

/// Gives up every capability that the kernel does not want to see again. Since 5.17 or so none is
/// needed to begin a snapshot with hooks that are loaded; before, `bpf(2)` as a whole may be closed
/// (`kernel.unprivileged_bpf_disabled`). Whichever: a thread without any tries it.
fn give_up_all_but_bpf(hooks: &mut Hooks) -> io::Result<CapabilitySet> {
    let none = CapabilitySet::empty();
    let works = thread::scope(|scope| {
        scope
            .spawn(|| {
                host::keep_only(none).is_ok()
                    && hooks.snapshot().is_ok()
                    && hooks.counts().is_ok()
                    && hooks.look_again(&[(SocketId::default(), SocketAddress::default())]).is_ok()
            })
            .join()
            .unwrap_or(false)
    });
    let kept = if works { none } else { CapabilitySet::BPF | CapabilitySet::PERFMON };
    host::keep_only(kept)?;
    Ok(kept)
}
