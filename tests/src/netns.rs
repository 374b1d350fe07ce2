//! Network namespaces. One ends when the value and all its sockets are gone.

use crate::sys;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        linux::fs::MetadataExt as _,
    },
    process::Command,
    thread,
};

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    file: File,
}

impl Netns {
    /// The namespace that the tests were started in.
    pub fn host() -> Self {
        Self::of_this_thread()
    }

    /// A new namespace with loopback up.
    pub fn new() -> Self {
        require_root();
        let make = || {
            sys::unshare_network().expect("unshare(CLONE_NEWNET)");
            Self::of_this_thread()
        };
        let netns = thread::scope(|scope| scope.spawn(make).join()).expect("a new namespace");
        netns.ip("link set lo up");
        netns
    }

    /// Two new namespaces joined by a cable: 10.77.0.1 and fd77::1 are in the first, 10.77.0.2 and
    /// fd77::2 in the second. Nothing is resolved: neighbours are given.
    pub fn pair() -> (Self, Self) {
        let (near, far) = (Self::new(), Self::new());
        let far_file = format!("/proc/{}/fd/{}", std::process::id(), far.file.as_raw_fd());
        near.ip(&format!(
            "link add veth0 address 02:00:00:00:00:01 type veth \
             peer name veth0 address 02:00:00:00:00:02 netns {far_file}"
        ));
        for (netns, own, other) in [(&near, 1, 2), (&far, 2, 1)] {
            netns.ip("link set veth0 up");
            netns.ip(&format!("address add 10.77.0.{own}/24 dev veth0"));
            netns.ip(&format!("address add fd77::{own}/64 dev veth0 nodad"));
            for neighbour in [format!("10.77.0.{other}"), format!("fd77::{other}")] {
                netns.ip(&format!(
                    "neighbour replace {neighbour} lladdr 02:00:00:00:00:0{other} dev veth0 nud permanent"
                ));
            }
        }
        (near, far)
    }

    /// Runs `work` in this namespace: sockets that it makes and processes that it starts are there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            require_root();
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.file.as_fd(), kind).expect("setns");
            work()
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// The inode number, as `readlink /proc/PID/ns/net` shows it.
    pub fn inode(&self) -> u32 {
        let inode = self.file.metadata().expect("stat of a namespace").st_ino();
        u32::try_from(inode).expect("an inode of nsfs")
    }

    /// `ip WORDS` inside.
    #[track_caller]
    pub fn ip(&self, words: &str) {
        let output = self.run(|| Command::new("ip").args(words.split_whitespace()).output());
        let output = output.expect("the command `ip` of iproute2");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {words}: {said}");
    }

    /// The namespace's sysctls. Never used on the host's.
    pub fn set_keepalive(&self, idle_seconds: u32, interval_seconds: u32, count: u32) {
        let write = |name: &str, value: u32| {
            fs::write(format!("/proc/sys/net/ipv4/tcp_keepalive_{name}"), value.to_string())
        };
        let result: io::Result<()> = self.run(|| {
            assert_ne!(self.inode(), Self::of_process().inode(), "the host's settings stay");
            write("time", idle_seconds)?;
            write("intvl", interval_seconds)?;
            write("probes", count)
        });
        result.expect("write the sysctls of a namespace");
    }

    /// From now on nothing that is sent to `address` from this namespace arrives, and nothing from
    /// there is let in: for the other end of a connection, this one has fallen silent.
    pub fn silence(&self, address: &str) {
        self.ip(&format!("route add blackhole {address}"));
    }

    fn of_this_thread() -> Self {
        Self { file: File::open("/proc/thread-self/ns/net").expect("this thread's namespace") }
    }

    fn of_process() -> Self {
        Self { file: File::open("/proc/self/ns/net").expect("this process's namespace") }
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

/// Fails the test unless it runs as root.
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes network namespaces and loads hooks: it needs root; run `cargo xtask test`"
    );
}
