//! Cgroups that a test makes, below its own, and processes in them.

use crate::skip::skip;
use std::{
    ffi::OsStr,
    fs,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// A mounted tree of cgroups: v2, or v1's for systemd.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    /// `v1` or `v2`.
    pub name: &'static str,
    /// The folder of this process's own cgroup in it.
    own: PathBuf,
}

impl Hierarchy {
    /// Those in which a test may make cgroups; says which it leaves out, and why.
    pub fn usable() -> Vec<Self> {
        let mut usable = Vec::new();
        // The controllers as in /proc/PID/cgroup, the file system and an option as in mountinfo.
        for (name, controllers, kind, option) in
            [("v2", "", "cgroup2", ""), ("v1", "name=systemd", "cgroup", "name=systemd")]
        {
            let Some(own) = own(controllers, kind, option) else {
                skip(&format!("cgroup {name}"), "which is not mounted here");
                continue;
            };
            let trial = own.join(format!("keepwatch-trial-{}", std::process::id()));
            match fs::create_dir(&trial) {
                Ok(()) => {
                    fs::remove_dir(&trial).expect("remove an empty cgroup");
                    usable.push(Self { name, own });
                }
                Err(error) => {
                    let why = format!("none can be made in {}: {error}", own.display());
                    skip(&format!("cgroup {name}"), why);
                }
            }
        }
        usable
    }

    /// The one that bounds memory, and the file that says to how many bytes.
    pub fn of_memory() -> Option<(Self, &'static str)> {
        let v1 = own("memory", "cgroup", "memory")
            .map(|own| (Self { name: "v1", own }, "memory.limit_in_bytes"));
        let v2 = own("", "cgroup2", "").map(|own| (Self { name: "v2", own }, "memory.max"));
        v1.into_iter().chain(v2).find(|(hierarchy, file)| hierarchy.own.join(file).exists())
    }

    /// A new cgroup whose path ends like this, in a folder of its own below our own cgroup.
    pub fn cgroup(&self, path: &str) -> Cgroup {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut folder = self.own.join(format!("keepwatch-test-{}-{number}", std::process::id()));
        let mut made = Cgroup { folder: folder.clone(), made: Vec::new() };
        for part in [""].into_iter().chain(path.split('/')) {
            folder.push(part);
            fs::create_dir(&folder).expect("make a cgroup");
            made.made.push(folder.clone());
        }
        made.folder = folder;
        made
    }
}

/// The folder of this process's own cgroup: the controllers as in /proc/PID/cgroup, the file system and an option as in
/// mountinfo.
fn own(controllers: &str, kind: &str, option: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("our mounts");
    let cgroups = fs::read_to_string("/proc/self/cgroup").expect("our cgroups");
    let own = cgroups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        (fields.next() == Some(controllers)).then(|| fields.next())?
    })?;
    let mount = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_it = after.split(' ').next() == Some(kind) && after.contains(option);
        is_it.then(|| before.split(' ').nth(4))?
    })?;
    Some(Path::new(mount).join(own.trim_start_matches('/')))
}

/// A cgroup, removed when dropped: its processes must have ended by then.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Writes into one of its files.
    pub fn set(&self, file: &str, value: u64) {
        let path = self.folder.join(file);
        fs::write(&path, value.to_string())
            .unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
    }

    /// The most memory that was charged to it, bytes; none where the kernel does not say (v2 before 5.19).
    pub fn most_memory(&self) -> Option<u64> {
        let files = ["memory.max_usage_in_bytes", "memory.peak"].map(|file| self.folder.join(file));
        files.iter().find_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
    }

    /// Moves a process into it.
    pub fn take(&self, pid: u32) {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string()).expect("move a process");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in self.made.iter().rev() {
            drop(fs::remove_dir(folder));
        }
    }
}

/// A process that holds a socket as its standard input, until dropped.
#[derive(Debug)]
pub struct Holder(Child);

impl Holder {
    /// Starts a process that holds this socket.
    pub fn of(socket: OwnedFd) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec sleep infinity"])
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null());
        Self(command.spawn().expect("start sh"))
    }

    /// The same as this user.
    pub fn of_user(uid: u32, socket: OwnedFd) -> Self {
        let mut command = Command::new("sleep");
        command.arg("infinity").uid(uid).stdin(Stdio::from(socket)).stdout(Stdio::null());
        Self(command.spawn().expect("start sleep"))
    }

    /// A shell that calls itself so, whatever bytes that are, and waits to read from the connection.
    pub fn named(name: &[u8], connection: OwnedFd) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "printf %s \"$1\" > /proc/$$/comm; read line", "sh"]);
        command.arg(OsStr::from_bytes(name)).stdin(Stdio::from(connection)).stdout(Stdio::null());
        Self(command.spawn().expect("start sh"))
    }

    /// The same in a cgroup.
    pub fn in_cgroup(cgroup: &Cgroup, socket: OwnedFd) -> Self {
        let holder = Self::of(socket);
        cgroup.take(holder.pid());
        holder
    }

    /// The process id of the holder.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
