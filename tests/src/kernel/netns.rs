//! Network namespaces. One ends when the value and all its sockets are gone.

use crate::{kernel::sys, tool};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        linux::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// A network namespace that ends with this value.
#[derive(Debug)]
pub struct NetworkNamespace {
    file: File,
}

impl NetworkNamespace {
    /// The namespace that the tests were started in.
    pub fn host() -> Self {
        Self::of_this_thread()
    }

    /// All that a process is in or has open, by inode number: the host's, the containers', and those
    /// of tests.
    pub fn all() -> BTreeMap<u32, Self> {
        let processes =
            glob("/proc", |name| name.starts_with(|digit: char| digit.is_ascii_digit()));
        let places = processes
            .flat_map(|process| glob(process.join("fd"), |_| true).chain([process.join("ns/net")]));
        let is_netns = |place: &PathBuf| {
            fs::read_link(place)
                .is_ok_and(|link| link.as_os_str().as_encoded_bytes().starts_with(b"net:["))
        };
        let open = |place| File::open(place).ok().map(|file| Self { file });
        places.filter(is_netns).filter_map(open).map(|netns| (netns.inode(), netns)).collect()
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
        near.join("veth0", &far, "veth0", &[("10.77.0", 24), ("fd77:", 64)]);
        (near, far)
    }

    /// Lays a cable between two namespaces: of each network, this one has the address 1 and the
    /// other one 2.
    pub fn join(&self, device: &str, other: &Self, other_device: &str, networks: &[(&str, u8)]) {
        let other_file = format!("/proc/{}/fd/{}", std::process::id(), other.file.as_raw_fd());
        self.ip(&format!(
            "link add {device} address 02:00:00:00:00:01 type veth \
             peer name {other_device} address 02:00:00:00:00:02 netns {other_file}"
        ));
        for (netns, device, own, peer) in [(self, device, 1, 2), (other, other_device, 2, 1)] {
            netns.ip(&format!("link set {device} up"));
            for (network, length) in networks {
                let (separator, nodad) =
                    if network.contains(':') { (":", "nodad") } else { (".", "") };
                netns.ip(&format!(
                    "address add {network}{separator}{own}/{length} dev {device} {nodad}"
                ));
                netns.ip(&format!(
                    "neighbour replace {network}{separator}{peer} lladdr 02:00:00:00:00:0{peer} \
                     dev {device} nud permanent"
                ));
            }
        }
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

    /// Runs `ip WORDS` inside.
    #[track_caller]
    pub fn ip(&self, words: &str) {
        let output =
            self.run(|| Command::new(tool::program("ip")).args(words.split_whitespace()).output());
        let output = output.expect("the command `ip` of iproute2");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {words}: {said}");
    }

    /// The namespace's sysctls of keepalive.
    pub fn set_keepalive(&self, idle_seconds: u32, interval_seconds: u32, count: u32) {
        for (name, value) in
            [("time", idle_seconds), ("intvl", interval_seconds), ("probes", count)]
        {
            self.set(&format!("ipv4/tcp_keepalive_{name}"), value);
        }
    }

    /// Writes a sysctl below `net`. Never used on the host's.
    #[track_caller]
    pub fn set(&self, name: &str, value: u32) {
        let result: io::Result<()> = self.run(|| {
            assert_ne!(self.inode(), Self::of_process().inode(), "the host's settings stay");
            fs::write(format!("/proc/sys/net/{name}"), value.to_string())
        });
        result.unwrap_or_else(|error| panic!("net/{name} = {value}: {error}"));
    }

    /// A counter of /proc/net/netstat, as `nstat` names it: `TcpExtTCPKeepAlive`.
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        let text = self.run(|| fs::read_to_string("/proc/thread-self/net/netstat"));
        let text = text.expect("/proc/thread-self/net/netstat");
        let lines: Vec<_> = text.lines().collect();
        let value = lines.chunks(2).find_map(|pair| {
            let [names, values] = pair else {
                return None;
            };
            let (group, names) = names.split_once(": ")?;
            let (_, values) = values.split_once(": ")?;
            let wanted = name.strip_prefix(group)?;
            let mut both = names.split(' ').zip(values.split(' '));
            both.find_map(|(name, value)| (name == wanted).then(|| value.parse().ok())?)
        });
        value.unwrap_or_else(|| panic!("no counter {name}"))
    }

    /// From now on nothing that is sent to `address` from this namespace arrives, and nothing from
    /// there is let in: for the other end of a connection, this one has fallen silent.
    pub fn silence(&self, address: &str) {
        self.ip(&format!("route add blackhole {address}"));
    }

    /// Lets packets of the address pass again, after [`Self::silence`].
    pub fn end_silence(&self, address: &str) {
        self.ip(&format!("route del blackhole {address}"));
    }

    fn of_this_thread() -> Self {
        Self { file: File::open("/proc/thread-self/ns/net").expect("this thread's namespace") }
    }

    fn of_process() -> Self {
        Self { file: File::open("/proc/self/ns/net").expect("this process's namespace") }
    }
}

/// A name of a namespace, as `ip netns` gives it: below /run/netns until it is dropped.
#[derive(Debug)]
pub struct NetworkNamespaceName(String);

impl NetworkNamespace {
    /// Gives it a name.
    #[track_caller]
    pub fn named(&self) -> NetworkNamespaceName {
        let name = format!("keepwatch-test-{}-{}", std::process::id(), self.inode());
        let mut shell = Command::new("sh");
        // The shell becomes `ip`, and is in the namespace.
        shell
            .args(["-c", "exec \"$0\" netns attach \"$1\" $$"])
            .arg(tool::program("ip"))
            .arg(&name);
        let output = self.run(|| shell.output()).expect("start sh");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip netns attach: {said}");
        NetworkNamespaceName(name)
    }
}

impl Drop for NetworkNamespaceName {
    fn drop(&mut self) {
        let mut ip = Command::new(tool::program("ip"));
        drop(ip.args(["netns", "delete", &self.0]).status());
    }
}

impl Default for NetworkNamespace {
    fn default() -> Self {
        Self::new()
    }
}

/// The paths in a folder, of these names; none if there is no such folder any more.
fn glob(folder: impl AsRef<Path>, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(move |entry| entry.file_name().to_str().is_some_and(&wanted))
        .map(|entry| entry.path())
}

/// Fails the test unless it runs as root.
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes network namespaces and loads hooks: it needs root; run `cargo xtask test`"
    );
}
