//! The observer while calls are made: nobody, keepwatch, or others that see the same.

use crate::call::Caller;
use keepwatch_tests::{
    answer::agent::Agent, kernel::netns::NetworkNamespace, tool::TemporaryFolder, wait,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    fs::{self, File},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Debian's packages of the others.
const PACKAGES: &str = "bpftrace libbpf-tools";
const READY_WITHIN: Duration = Duration::from_mins(1);
/// Room for the events of a whole turn: calls are cheaper while the ring is full.
const RING_BYTES: &str = "4194304";

/// The events of keepwatch, printed by bpftrace: one line an event.
const BPFTRACE: &str = r#"
tracepoint:syscalls:sys_enter_setsockopt {
    @fd[tid] = args->fd; @level[tid] = args->level; @option[tid] = args->optname;
}
tracepoint:syscalls:sys_exit_setsockopt /@option[tid]/ {
    printf("setsockopt %d %s %d %d %d %d\n", pid, comm, @fd[tid], @level[tid], @option[tid], args->ret);
    delete(@fd[tid]); delete(@level[tid]); delete(@option[tid]);
}
tracepoint:sock:inet_sock_set_state /args->protocol == 6/ {
    printf("state %d %s %s %d %s %d %d %d\n", pid, comm, ntop(args->saddr), args->sport,
        ntop(args->daddr), args->dport, args->oldstate, args->newstate);
}
tracepoint:timer:timer_expire_entry /args->function == kaddr("tcp_keepalive_timer")/ {
    @timer[cpu] = args->timer;
}
tracepoint:timer:timer_expire_exit /@timer[cpu]/ {
    printf("timer %p\n", @timer[cpu]);
    delete(@timer[cpu]);
}
"#;

/// The observer of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observer<'a> {
    Nobody,
    /// An agent whose hooks use this mechanism.
    Keepwatch(&'a str),
    Bpftrace,
    Tcpstates,
    Tcplife,
}

impl Observer<'_> {
    /// The others, as far as they are here.
    pub(crate) fn others() -> Vec<Self> {
        let (here, missing): (Vec<_>, Vec<_>) = [Self::Bpftrace, Self::Tcpstates, Self::Tcplife]
            .into_iter()
            .partition(|one| one.is_here());
        if !missing.is_empty() {
            let missing = missing.into_iter().map(Self::name).collect::<Vec<_>>().join(", ");
            println!("not compared with {missing}: not here; help: `apt-get install {PACKAGES}`");
        }
        here
    }

    fn is_here(self) -> bool {
        let path = env::var_os("PATH").unwrap_or_default();
        let system = ["/usr/sbin", "/sbin"].map(Into::into);
        env::split_paths(&path).chain(system).any(|folder| folder.join(self.name()).is_file())
    }

    /// As it is shown.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Nobody => "nobody".into(),
            Self::Keepwatch(mechanism) => format!("keepwatch {mechanism}"),
            Self::Bpftrace => "bpftrace".into(),
            Self::Tcpstates => "tcpstates".into(),
            Self::Tcplife => "tcplife".into(),
        }
    }

    /// Starts it; returns when it sees what happens.
    pub(crate) fn start(self, netns: &NetworkNamespace, caller: &Caller) -> Watching {
        match self {
            Self::Nobody => Watching::Nobody,
            Self::Keepwatch(mechanism) => Watching::Keepwatch(Agent::start(&[
                "--hooks",
                mechanism,
                "--ring-bytes",
                RING_BYTES,
                "--interval",
                "1h",
            ])),
            Self::Bpftrace => {
                Watching::Other(Other::start(&["bpftrace", "-q", "-e", BPFTRACE], |other| {
                    // What is attached last is not said.
                    netns.run(|| {
                        caller.set_keepalive();
                        caller.connect_and_close();
                    });
                    let said = other.said();
                    said.contains("setsockopt ") && said.contains("state ")
                }))
            }
            // Their heading is printed when they are attached.
            Self::Tcpstates | Self::Tcplife => {
                Watching::Other(Other::start(&["stdbuf", "-oL", &self.name()], |other| {
                    other.said().contains("RADDR")
                }))
            }
        }
    }
}

/// Ends with the value.
pub(crate) enum Watching {
    Nobody,
    Keepwatch(Agent),
    Other(Other),
}

/// A program whose output goes to a file, as a user would keep it.
pub(crate) struct Other {
    child: Child,
    folder: TemporaryFolder,
}

impl Other {
    fn start(words: &[&str], is_ready: impl Fn(&Self) -> bool) -> Self {
        let folder = TemporaryFolder::new();
        let output = File::create(folder.file("output")).expect("a file for its output");
        // The tracepoints of perf are found in tracefs, which is mounted for this program alone.
        let script = "mountpoint --quiet /sys/kernel/tracing \
                      || mount -t tracefs tracefs /sys/kernel/tracing; exec \"$@\"";
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .expect("start `unshare` of util-linux");
        let mut other = Self { child, folder };
        wait::until(format_args!("{words:?} watches"), READY_WITHIN, || {
            let ended = other.child.try_wait().expect("wait for it");
            assert_eq!(ended, None, "{words:?} ended");
            is_ready(&other).then_some(())
        });
        other
    }

    fn said(&self) -> String {
        let said = fs::read(self.folder.file("output")).expect("what it said");
        String::from_utf8_lossy(&said).into_owned()
    }

    /// All that it said, when it has ended after SIGINT.
    pub(crate) fn stop(mut self) -> String {
        self.interrupt();
        self.said()
    }

    fn interrupt(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, Signal::INT).expect("signal our own child");
        self.child.wait().expect("wait for it");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.interrupt();
        }
    }
}
