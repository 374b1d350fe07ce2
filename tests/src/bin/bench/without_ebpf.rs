//! Reading every connection from /proc, beside the bare system calls that nothing can replace: to list each descriptor, to
//! borrow it, to ask who it is and what is set on it, and to give it back. TCP_INFO, tables and owners come on top.

use crate::budget::budget;
use keepwatch_tests::{
    answer::agent,
    kernel::{crowd::Crowds, netns::NetworkNamespace},
    measure::{measure, thread_cpu},
};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw},
    io::Errno,
    net::sockopt,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};
use std::mem::MaybeUninit;

const ROUNDS: usize = 5;
const KEEPWATCH: [&str; 4] = ["sockets", "--json", "--source", "proc"];
/// CPU that all of it may take, as a multiple of these calls.
const TIMES_BARE: f64 = 2.0;

/// Whether the budget is met.
pub(crate) fn run(n_sockets: u32) -> bool {
    let netns = NetworkNamespace::new();
    let mut crowds = Crowds::default();
    crowds.grow(&netns, n_sockets);
    let (mut least, mut bare) = (f64::MAX, f64::MAX);
    let mut memory = 0.0;
    // They take turns, so that both meet the same disturbances.
    for _ in 0..ROUNDS {
        let cost = measure(&netns, &mut agent::keepwatch(KEEPWATCH));
        (least, memory) = (least.min(cost.cpu_seconds), cost.peak_mib);
        let began = thread_cpu();
        let n_asked: u32 =
            crowds.pids().map(|pid| ask_all(pid).expect("ask a crowd's sockets")).sum();
        assert!(n_asked >= n_sockets, "{n_asked} of {n_sockets}");
        bare = bare.min(thread_cpu().saturating_sub(began).as_secs_f64());
    }
    drop(crowds);
    let times = least / bare;
    println!("{n_sockets} sockets; the least of {ROUNDS} runs each");
    println!("keepwatch {}: {least:.3} s of CPU, {memory:.1} MiB", KEEPWATCH.join(" "));
    println!("the bare calls (readlink, pidfd_getfd, SO_COOKIE, 5 settings, close): {bare:.3} s");
    budget("times the CPU of the bare calls", times, times <= TIMES_BARE, TIMES_BARE)
}

/// How many sockets of a process were asked.
fn ask_all(pid: u32) -> Result<u32, Errno> {
    let id = Pid::from_raw(pid.cast_signed()).ok_or(Errno::SRCH)?;
    let process = pidfd_open(id, PidfdFlags::empty())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, format!("/proc/{pid}/fd"), flags, Mode::empty())?;
    let mut room = vec![MaybeUninit::uninit(); 32 << 10];
    let mut link = [MaybeUninit::uninit(); 64];
    let mut entries = RawDir::new(&folder, &mut room);
    let mut n_asked = 0;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let Some(fd) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let (link, _) = readlinkat_raw(&folder, entry.file_name(), &mut link[..])?;
        if link.starts_with(b"socket:") {
            ask(&pidfd_getfd(process.as_fd(), fd, PidfdGetfdFlags::empty())?)?;
            n_asked += 1;
        }
    }
    Ok(n_asked)
}

fn ask(socket: &OwnedFd) -> Result<(), Errno> {
    sockopt::socket_cookie(socket)?;
    sockopt::socket_keepalive(socket)?;
    sockopt::tcp_keepidle(socket)?;
    sockopt::tcp_keepintvl(socket)?;
    sockopt::tcp_keepcnt(socket)?;
    sockopt::tcp_user_timeout(socket)?;
    Ok(())
}
