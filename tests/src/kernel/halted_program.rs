//! A program that is halted just before a system call of its main thread (ptrace(2)), so that a test does something at exactly that
//! moment, or kills it there.
#![expect(unsafe_code, reason = "ptrace(2), and what comes between fork(2) and execve(2)")]

use std::{
    io, mem,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Output, Stdio},
    ptr,
};

/// A system call by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemCall(libc::c_long);

impl SystemCall {
    /// `pidfd_getfd(2)`
    pub const PIDFD_GETFD: Self = Self(libc::SYS_pidfd_getfd);
    /// `fdatasync(2)`
    pub const FDATASYNC: Self = Self(libc::SYS_fdatasync);
    /// `fsync(2)`
    pub const FSYNC: Self = Self(libc::SYS_fsync);
    /// `renameat(2)`
    pub const RENAMEAT: Self = Self(libc::SYS_renameat);
    /// `setsockopt(2)`
    pub const SETSOCKOPT: Self = Self(libc::SYS_setsockopt);
    /// `clone3(2)`: starts a thread.
    pub const CLONE3: Self = Self(libc::SYS_clone3);
}

/// Entry into a system call, in what `PTRACE_GET_SYSCALL_INFO` answers (include/uapi/linux/ptrace.h).
const ENTRY: u8 = 1;
/// A stop at a system call, with `PTRACE_O_TRACESYSGOOD`.
const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// Where a program stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProgramStop {
    /// It is about to make this call.
    Before(SystemCall),
    /// It has made one, or gets a signal.
    Other,
    Ended,
}

/// A program that stands still. It is killed when dropped.
#[derive(Debug)]
pub struct HaltedProgram(Option<Child>);

impl HaltedProgram {
    /// Starts a program, and halts it before its call of this kind with this number. They are counted from 1, and from the moment on
    /// at which it copies a descriptor of another program: before, it sets options of a socket of its own. Only the thread that
    /// calls this may let it go on.
    #[track_caller]
    pub fn before(mut command: Command, call: SystemCall, number: u32) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let halted = Self::start(command);
        let (mut signal, mut n_calls, mut has_begun) = (0, 0, false);
        loop {
            let stop = halted.step(&mut signal);
            assert_ne!(stop, ProgramStop::Ended, "it ended after {n_calls} of {number} calls");
            has_begun |= stop == ProgramStop::Before(SystemCall::PIDFD_GETFD);
            n_calls += u32::from(has_begun && stop == ProgramStop::Before(call));
            if stop == ProgramStop::Before(call) && n_calls == number {
                return halted;
            }
        }
    }

    /// How many calls of this kind a program's main thread makes from its start to its end. What it says is thrown away.
    #[track_caller]
    pub fn n_calls(mut command: Command, call: SystemCall) -> u32 {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = Self::start(command);
        let (mut signal, mut n_calls) = (0, 0);
        loop {
            match running.step(&mut signal) {
                ProgramStop::Before(made) => n_calls += u32::from(made == call),
                ProgramStop::Other => {}
                ProgramStop::Ended => break,
            }
        }
        // Its end was waited for.
        running.0 = None;
        n_calls
    }

    fn start(mut command: Command) -> Self {
        // SAFETY: ptrace(2) is one system call, and touches no memory of ours.
        unsafe { command.pre_exec(|| trace(libc::PTRACE_TRACEME, 0, 0)) };
        let child = command.spawn().expect("start the program");
        let halted = Self(Some(child));
        // It stops when it has executed the program.
        assert!(libc::WIFSTOPPED(halted.wait()), "it ended at once");
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        let options = usize::try_from(options).expect("some bits");
        trace(libc::PTRACE_SETOPTIONS, halted.pid(), options).expect("PTRACE_SETOPTIONS");
        halted
    }

    /// Lets its main thread go on to its next stop, with this signal, and takes over the one that it gets there.
    fn step(&self, signal: &mut usize) -> ProgramStop {
        trace(libc::PTRACE_SYSCALL, self.pid(), *signal).expect("PTRACE_SYSCALL");
        let status = self.wait();
        if !libc::WIFSTOPPED(status) {
            return ProgramStop::Ended;
        }
        let stopped_by = libc::WSTOPSIG(status);
        let is_call = stopped_by == SYSCALL_STOP;
        *signal = if is_call { 0 } else { usize::try_from(stopped_by).expect("a signal") };
        is_call.then(|| self.entered()).flatten().map_or(ProgramStop::Other, ProgramStop::Before)
    }

    /// Lets it go on, to its end.
    #[track_caller]
    pub fn go_on(mut self) -> Output {
        trace(libc::PTRACE_DETACH, self.pid(), 0).expect("PTRACE_DETACH");
        self.0.take().expect("the program").wait_with_output().expect("its end")
    }

    /// Kills it where it stands: the call is not made.
    pub fn kill(self) {
        drop(self);
    }

    fn pid(&self) -> libc::pid_t {
        let child = self.0.as_ref().expect("the program");
        child.id().try_into().expect("a process id")
    }

    fn wait(&self) -> i32 {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let waited = unsafe { libc::waitpid(self.pid(), &raw mut status, libc::__WALL) };
        assert_eq!(waited, self.pid(), "waitpid: {}", io::Error::last_os_error());
        status
    }

    /// The call that it is about to make; none if it returns from one.
    fn entered(&self) -> Option<SystemCall> {
        // SAFETY: it is made of integers.
        let mut info: libc::ptrace_syscall_info = unsafe { mem::zeroed() };
        let size = size_of_val(&info);
        // SAFETY: the kernel writes `size` bytes to `info` at most.
        let n =
            unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, self.pid(), size, &raw mut info) };
        assert!(n > 0, "PTRACE_GET_SYSCALL_INFO: {}", io::Error::last_os_error());
        if info.op != ENTRY {
            return None;
        }
        // SAFETY: of an entry, `entry` is what was written.
        let number = unsafe { info.u.entry.nr };
        number.try_into().ok().map(SystemCall)
    }
}

impl Drop for HaltedProgram {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// A request without an address: `data` is a number.
fn trace(request: libc::c_uint, pid: libc::pid_t, data: usize) -> io::Result<()> {
    let nowhere = ptr::null_mut::<libc::c_void>();
    // SAFETY: these requests take no memory of ours.
    let result = unsafe { libc::ptrace(request, pid, nowhere, data) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
