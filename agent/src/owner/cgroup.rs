//! What the path of a cgroup says: pure, and the one place that knows how runtimes name cgroups.

use crate::model::{observed::owner_identity::Runtime, text::sanitize::escaped};

/// Where a process is in the tree of cgroups. The innermost of each kind counts: a container in a
/// container, a service of the systemd that runs in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CgroupPlace {
    /// systemd unit; none outside the containers of a pod.
    pub(super) unit: Option<String>,
    pub(super) container: Option<Container>,
    /// Uid of the Kubernetes pod; of a static pod the hash of its manifest.
    pub(super) pod_uid: Option<String>,
}

/// A container, as far as a path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) runtime: Option<Runtime>,
    /// Where the path has the name, not only the id.
    pub(super) name: Option<String>,
}

impl Container {
    fn new(id: &str, runtime: Option<Runtime>) -> Self {
        Self { id: id.to_owned(), runtime, name: None }
    }

    fn named(name: &str, id: &str, runtime: Runtime) -> Self {
        Self { id: id.to_owned(), runtime: Some(runtime), name: Some(name.to_owned()) }
    }
}

/// The path that says most in `/proc/PID/cgroup`: one line in cgroup v2; with v1 one a controller,
/// and in a hybrid both: systemd and the runtimes each use some of them.
pub(super) fn path_of(file: &[u8]) -> Option<&[u8]> {
    let mut paths: Vec<&[u8]> = Vec::new();
    for line in file.split(|&byte| byte == b'\n') {
        // hierarchy:controllers:path, and a path may have colons.
        if let Some(path) = line.splitn(3, |&byte| byte == b':').nth(2)
            && !paths.contains(&path)
        {
            paths.push(path);
        }
    }
    // The last of equals, for v2 is the last line; a hybrid's `name=systemd` the one before.
    paths.into_iter().max_by_key(|path| {
        let place = CgroupPlace::of(path);
        (place.container.is_some(), place.pod_uid.is_some(), place.unit.is_some())
    })
}

impl CgroupPlace {
    /// What a path says, as it stands in `/proc/PID/cgroup`: seen from inside a cgroup namespace it
    /// begins with `/..`; of a cgroup that is removed it ends with ` (deleted)`.
    pub(super) fn of(path: &[u8]) -> Self {
        let path = escaped(path);
        let path = path.strip_suffix(" (deleted)").unwrap_or(&path);
        let parts: Vec<&str> =
            path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
        let mut place = Self::default();
        for (n, part) in parts.iter().enumerate() {
            place.enter(parts.get(..n).unwrap_or_default(), part);
        }
        place
    }

    /// Takes the next part of the path.
    fn enter(&mut self, above: &[&str], part: &str) {
        if let Some(uid) = pod_uid(part) {
            // The unit above is the kubelet's or the runtime's, not the pod's.
            *self = Self { pod_uid: Some(uid), ..Self::default() };
        }
        if is_monitor(part) {
            self.container = None;
            return;
        }
        let container = container(above, part);
        // The scope of a container is a unit that says no more than the container; a service does.
        if (container.is_none() || part.ends_with(".service"))
            && let Some(unit) = unit(above, part)
        {
            self.unit = Some(unit.to_owned());
        }
        self.container = container.or_else(|| self.container.take());
    }
}

/// The unit whose cgroup it is. Services, and scopes, in which systemd puts what others started;
/// login sessions come and go by the thousand, so they count as their user's slice. A systemd that
/// runs for a user is in `user@UID.service/init.scope`, and is that unit.
fn unit<'a>(above: &[&'a str], part: &'a str) -> Option<&'a str> {
    let parent = above.last().copied().unwrap_or_default();
    if part == "init.scope" {
        return (!parent.starts_with("user@")).then_some(part);
    }
    if part.starts_with("session-") && parent.starts_with("user-") {
        return Some(parent);
    }
    // systemd sets `_` before names that the kernel would take for its own (cg_escape).
    let part = part.strip_prefix('_').unwrap_or(part);
    [".service", ".scope", ".socket", ".mount", ".swap"]
        .iter()
        .any(|kind| part.ends_with(kind))
        .then_some(part)
}

/// What watches over a container and is not in it.
fn is_monitor(part: &str) -> bool {
    ["libpod-conmon-", "crio-conmon-", "lxc.monitor.", "incus.monitor."]
        .iter()
        .any(|prefix| part.starts_with(prefix))
}

/// `podUID` (cgroupfs driver), `kubepods-burstable-podUID.slice` with `_` for `-` (systemd driver),
/// the same with `:cri-containerd:ID` behind (systemd's form given to the cgroupfs driver).
fn pod_uid(part: &str) -> Option<String> {
    let slice = part.split(':').next().unwrap_or(part);
    let stem = slice.strip_suffix(".slice").unwrap_or(slice);
    let uid = match stem.strip_prefix("pod") {
        Some(uid) => uid,
        None if stem.contains("kubepods") => stem.rsplit_once("-pod")?.1,
        None => return None,
    };
    let uid = uid.replace('_', "-");
    (is_uuid(&uid) || is_hex(&uid, 32)).then_some(uid)
}

/// The container whose cgroup it is, below `above`.
fn container(above: &[&str], part: &str) -> Option<Container> {
    let parent = above.last().copied().unwrap_or_default();
    let stem = part.strip_suffix(".scope").unwrap_or(part);
    if is_hex(stem, ID_DIGITS) {
        return Some(Container::new(stem, runtime_above(above)));
    }
    if let Some((prefix, id)) = stem.rsplit_once(['-', ':'])
        && is_hex(id, ID_DIGITS)
    {
        return Some(Container::new(id, runtime_named(prefix)));
    }
    machine(parent, part).or_else(|| task(above, stem))
}

pub(super) const ID_DIGITS: usize = 64;

/// Containers with an init in them, and machines that systemd-machined knows.
fn machine(parent: &str, part: &str) -> Option<Container> {
    let lxc = ["lxc.payload.", "incus.payload."].iter().find_map(|it| part.strip_prefix(it));
    if let Some(name) = lxc.filter(|name| !name.is_empty()) {
        return Some(Container::named(name, name, Runtime::Lxc));
    }
    if matches!(parent, "lxc" | "lxd" | "incus" | "lxc.payload" | "incus.payload") {
        return Some(Container::named(part, part, Runtime::Lxc));
    }
    let name = if let Some(instance) = part.strip_prefix("systemd-nspawn@") {
        instance.strip_suffix(".service")
    } else if parent == "machine.slice" {
        part.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope"))
    } else {
        None
    };
    let name = unescaped(name?);
    let of_libvirt = ["qemu-", "lxc-"].iter().any(|prefix| name.starts_with(prefix));
    let runtime = if of_libvirt { Runtime::Libvirt } else { Runtime::Nspawn };
    Some(Container::named(&name, &name, runtime))
}

/// Tasks of schedulers that give cgroups names of their own.
fn task(above: &[&str], stem: &str) -> Option<Container> {
    let parent = above.last().copied().unwrap_or_default();
    if parent == "garden" {
        return Some(Container::new(stem, Some(Runtime::Garden)));
    }
    // Fargate: task id and a number.
    if let Some((task, number)) = stem.split_once('-')
        && above.contains(&"ecs")
        && is_hex(task, 32)
        && is_number(number)
    {
        return Some(Container::new(stem, Some(Runtime::Ecs)));
    }
    // Allocation and task.
    if let Some((allocation, task)) = stem.split_once('.')
        && above.iter().any(|part| matches!(*part, "nomad" | "nomad.slice"))
        && is_uuid(allocation)
    {
        return Some(Container::named(task, allocation, Runtime::Nomad));
    }
    None
}

/// The runtime that sets this before the ids of its containers.
fn runtime_named(prefix: &str) -> Option<Runtime> {
    match prefix.rsplit([':', '/']).next()? {
        "docker" => Some(Runtime::Docker),
        "cri-containerd" | "nerdctl" => Some(Runtime::Containerd),
        "crio" => Some(Runtime::CriO),
        "libpod" | "libpod-payload" => Some(Runtime::Podman),
        _ => None,
    }
}

/// The runtime whose folder of containers it is.
fn runtime_above(above: &[&str]) -> Option<Runtime> {
    if above.contains(&"ecs") {
        return Some(Runtime::Docker);
    }
    match *above.last()? {
        "docker" => Some(Runtime::Docker),
        "default" | "k8s.io" => Some(Runtime::Containerd),
        "libpod" | "libpod_parent" => Some(Runtime::Podman),
        parent if parent.starts_with("podman-") => Some(Runtime::Podman),
        _ => None,
    }
}

/// A name as it was before systemd escaped it (systemd.unit(5)): `\x2d` for `-`. Only what is
/// harmless to print.
fn unescaped(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = byte.filter(u8::is_ascii_graphic) {
            text.push(byte.into());
            text.push_str(part.get(2..).unwrap_or_default());
        } else {
            text.push_str("\\x");
            text.push_str(part);
        }
    }
    text
}

/// Whether the text is exactly `n_digits` lower-case hexadecimal digits.
pub(super) fn is_hex(text: &str, n_digits: usize) -> bool {
    text.len() == n_digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Only digits, at least one.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.split('-').all(|part| is_hex(part, part.len()))
}
