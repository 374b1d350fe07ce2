//! What goes wrong inside a hook is in the log, with what is needed to act on it; what is as it should
//! be is not, and neither is anything while the log is off.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

use aya::{
    maps::{HashMap, Map, MapData},
    programs::loaded_programs,
};
use keepwatch_tests::{
    answer::{
        agent::{Agent, keepwatch, once},
        trace::{is_ready, mechanism},
        truth::process_name,
    },
    kernel::{
        netns::{NetworkNamespace, require_root},
        socket::{self, Family, Plan, Road, SocketOption},
    },
};
use rustix::{
    net::{AddressFamily, SocketType},
    pipe::pipe,
    process::{Pid, Signal, kill_process},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::fd::{AsRawFd as _, OwnedFd},
    process::{Child, ChildStderr, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Calls that no hook can attribute are counted by their kind, of the whole host: one test at a time.
static MISTAKES: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    MISTAKES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_call_on_what_is_no_socket_is_in_the_agents_log_with_its_process_and_descriptor() {
    let _alone = alone();
    let agent = Agent::start(&["--log-hooks", "info"]);
    let (pipe, _end) = pipe().expect("a pipe");
    set_in_vain(&pipe, libc::ENOTSOCK);
    let (_, said) = agent.stop();
    let line = line_with(&said, &call_of(&pipe));
    for word in [&process_name(std::process::id()), "no socket", "-88", "no_socket"] {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
}

#[test]
fn calls_on_sockets_of_any_kind_say_nothing() {
    let _alone = alone();
    let watcher = Watcher::start("debug");
    let netns = NetworkNamespace::new();
    let sockets: Vec<OwnedFd> = netns.run(|| {
        let tcp =
            [Family::V4, Family::V6].map(|family| socket::unconnected(family, &Plan::NOTHING));
        let others = [
            (AddressFamily::INET, SocketType::DGRAM),
            (AddressFamily::INET6, SocketType::DGRAM),
            (AddressFamily::UNIX, SocketType::STREAM),
            (AddressFamily::NETLINK, SocketType::RAW),
        ];
        let other = |(family, kind)| rustix::net::socket(family, kind, None).expect("a socket");
        tcp.into_iter().chain(others.map(other)).collect()
    });
    for socket in &sockets {
        Road::Call.set(socket, SocketOption::Keepalive, 1);
        // Refused by those that are not TCP's, and here by those too: that is an event, no trouble.
        drop(Road::Call.try_set(socket, SocketOption::KeepIdle, 0));
        drop(socket::set_from_nowhere(socket, SocketOption::KeepIdle));
    }
    drop(sockets);
    let (pipe, _end) = pipe().expect("a pipe");
    set_in_vain(&pipe, libc::ENOTSOCK);
    let said = watcher.stop();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains(&by_us())).collect();
    let [line] = ours[..] else {
        panic!("one line, of the pipe: {said}");
    };
    assert!(line.contains(&call_of(&pipe)), "{line}");
    assert!(!said.contains(" cannot be: "), "no field is out of its range: {said}");
}

#[test]
fn what_is_below_the_level_is_not_said() {
    let _alone = alone();
    let watchers = ["off", "error", "warn"].map(Watcher::start);
    let (pipe, _end) = pipe().expect("a pipe");
    set_in_vain(&pipe, libc::ENOTSOCK);
    for watcher in watchers {
        let said = watcher.stop();
        assert!(!said.contains(&by_us()), "{said}");
    }
}

#[test]
fn of_a_hundred_thousand_troubles_a_few_lines_are_shown_and_the_rest_is_counted() {
    const N: u64 = 100_000;
    /// Made by others on this host meanwhile.
    const OTHERS: u64 = 50;
    let _alone = alone();
    let watcher = Watcher::start("info");
    let (pipes, _ends): (Vec<_>, Vec<_>) = (0..20).map(|_| pipe().expect("a pipe")).unzip();
    for pipe in pipes.iter().cycle().take(usize::try_from(N).expect("a number")) {
        set_in_vain(pipe, libc::ENOTSOCK);
    }
    let said = watcher.stop();
    let of_kind = || said.lines().filter(|line| line.contains("no_socket"));
    let (sums, lines): (Vec<&str>, Vec<&str>) =
        of_kind().partition(|line| line.contains("... and "));
    // 8 in 10 s, and however slow the host: a burst takes no minute.
    assert!((1..=48).contains(&lines.len()), "{said}");
    let n_more: u64 = sums.iter().filter_map(|line| number_behind(line, "... and ")).sum();
    let n = n_more + u64::try_from(lines.len()).expect("a number");
    assert!((N..=N + OTHERS).contains(&n), "{n} of {N}: {said}");
}

#[test]
fn a_map_without_room_is_said_with_whose_call_is_not_shown() {
    // Only a probe notes calls in a map. In guests each mechanism has its turn.
    if mechanism() != "kprobe" {
        return;
    }
    let _alone = alone();
    let watcher = Watcher::start("debug");
    let netns = NetworkNamespace::new();
    let tcp = netns.run(|| socket::unconnected(Family::V4, &Plan::NOTHING));
    let mut calls = watcher.map("CALLS");
    let threads: Vec<u64> = (0..1 << 20)
        .map(|number| u64::MAX - number)
        .take_while(|thread| calls.insert(thread, 0, 0).is_ok())
        .collect();
    assert!(threads.len() > 10_000, "full after {}", threads.len());
    Road::Call.set(&tcp, SocketOption::KeepIdle, 61);
    for thread in &threads {
        calls.remove(thread).expect("it was there");
    }
    Road::Call.set(&tcp, SocketOption::KeepIdle, 62);
    let said = watcher.stop();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains(&by_us())).collect();
    let [full, unseen] = ours[..] else {
        panic!("two lines, of the first call: {said}");
    };
    assert!(full.contains("CALLS has no room (error -7)"), "E2BIG: {full}");
    assert!(unseen.contains("call_unseen"), "{unseen}");
}

#[test]
fn hooks_with_a_log_carry_what_they_carry_without_and_are_smaller_without() {
    let carried = |level: &str| {
        let args = ["doctor", "--json", "--hooks", &mechanism(), "--log-hooks", level];
        let said = once(args);
        let lines = String::from_utf8(said.stdout).expect("UTF-8");
        let attached = lines.lines().filter(|line| line.contains(" attached"));
        attached.map(str::to_owned).collect::<Vec<_>>()
    };
    let off = carried("off");
    assert!(off.len() >= 4, "signals: {off:?}");
    for level in ["error", "warn", "info", "debug"] {
        assert_eq!(carried(level), off, "{level}");
    }

    let [without, with] = ["off", "debug"].map(|level| Watcher::start(level).program_bytes());
    let bytes = |of: &BTreeMap<String, u32>, name: &str| of.get(name).copied().unwrap_or_default();
    for name in ["snapshot", "state_change", "destroy"] {
        let (without, with) = (bytes(&without, name), bytes(&with, name));
        assert!(without > 0 && without * 2 < with, "{name}: {without} and {with} bytes");
    }
}

/// A `keepwatch trace` with hooks of its own, and a log.
struct Watcher {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Watcher {
    /// When this returns, all hooks are attached.
    #[track_caller]
    fn start(level: &str) -> Self {
        require_root();
        let mut child = keepwatch(["trace", "--source", "kernel", "--hooks", &mechanism()])
            .args(["--log-hooks", level])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start keepwatch");
        let mut stderr = BufReader::new(child.stderr.take().expect("its stderr"));
        let mut line = String::new();
        while !is_ready(line.trim_end()) {
            line.clear();
            let n_read = stderr.read_line(&mut line).expect("its stderr");
            assert!(n_read > 0, "keepwatch ended: {:?}", child.wait());
        }
        Self { child, stderr }
    }

    /// SIGTERM: all that it said since it was ready.
    #[track_caller]
    fn stop(mut self) -> String {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, Signal::TERM).expect("signal our own child");
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).expect("its stderr");
        assert!(self.child.wait().expect("wait for keepwatch").success(), "{said}");
        said
    }

    /// The numbers behind `key` in what the kernel says of its descriptors.
    fn ids(&self, key: &str) -> BTreeSet<u32> {
        let infos = fs::read_dir(format!("/proc/{}/fdinfo", self.child.id())).expect("its files");
        let texts = infos.flatten().filter_map(|info| fs::read_to_string(info.path()).ok());
        texts.filter_map(|text| number_behind(&text, key)?.try_into().ok()).collect()
    }

    /// One of its maps, by name.
    #[track_caller]
    fn map(&self, name: &str) -> HashMap<MapData, u64, u64> {
        let maps = self.ids("map_id:").into_iter().filter_map(|id| MapData::from_id(id).ok());
        let is_it = |map: &MapData| map.info().is_ok_and(|info| info.name_as_str() == Some(name));
        let map = maps.into_iter().find(is_it).expect("a map with this name");
        HashMap::try_from(Map::HashMap(map)).expect("a hash map of two words")
    }

    /// How long its programs are after the kernel has removed what is never run.
    fn program_bytes(&self) -> BTreeMap<String, u32> {
        let ids = self.ids("prog_id:");
        loaded_programs()
            .flatten()
            .filter(|program| ids.contains(&program.id()))
            .filter_map(|program| {
                Some((program.name_as_str()?.to_owned(), program.size_translated()?))
            })
            .collect()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// SO_KEEPALIVE on what the kernel refuses it with this error.
#[track_caller]
fn set_in_vain(fd: &OwnedFd, errno: i32) {
    let error = Road::Call.try_set(fd, SocketOption::Keepalive, 1).expect_err("no socket");
    assert_eq!(error.raw_os_error(), Some(errno), "{error}");
}

/// How lines name this process.
fn by_us() -> String {
    format!("process {} (", std::process::id())
}

/// How lines name a call of SO_KEEPALIVE.
fn call_of(fd: &OwnedFd) -> String {
    format!("setsockopt({}, {}, {})", fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_KEEPALIVE)
}

#[track_caller]
fn line_with<'a>(said: &'a str, words: &str) -> &'a str {
    let ours = said.lines().filter(|line| line.contains(&by_us()));
    let line = ours.into_iter().find(|line| line.contains(words));
    line.unwrap_or_else(|| panic!("no line with {words}: {said}"))
}

fn number_behind(text: &str, words: &str) -> Option<u64> {
    let (_, rest) = text.split_once(words)?;
    let rest = rest.trim_start();
    rest.get(..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()))?.parse().ok()
}
