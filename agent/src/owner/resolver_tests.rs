//! Trees of files as hosts have them, and what the resolver makes of each.

use super::Resolver;
use crate::model::observed::owner_identity::{Identity, KnownProcess, Runtime};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

const ID: &str = "b43d92bf1e5c6f78bb9b7bc6f40721280299855ba692092716e3a1b6c0b86f3f";
const SHORT_ID: &str = "b43d92bf1e5c";
const SANDBOX: &str = "93529524695bb00d91c1f6dba692ea8d3550c3b94fb2463af7bc9ec82f992d26";
const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";
const POD: &str = "web-7c5ddbdf54-x7k2p";

/// A host in a folder: its files below `host`, its processes below `proc`.
struct Host {
    folder: PathBuf,
}

impl Host {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("keepwatch-host-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(folder.join("host/etc")).unwrap();
        fs::create_dir_all(folder.join("proc")).unwrap();
        fs::write(folder.join("host/etc/hostname"), "node-1.example.org\n").unwrap();
        Self { folder }
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.folder.join(filled(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// A file of the host. In path and text, `<id>` and the like are filled in.
    fn file(self, path: &str, text: &str) -> Self {
        fs::write(self.path(&format!("host/{path}")), filled(text)).unwrap();
        self
    }

    fn process(self, pid: u32, started: u64, cgroup: &str) -> Self {
        let zeros = "0 ".repeat(18);
        let stat = format!("{pid} (a b) c) S {zeros}{started} 0 0\n");
        fs::write(self.path(&format!("proc/{pid}/stat")), stat).unwrap();
        fs::write(self.path(&format!("proc/{pid}/cgroup")), filled(cgroup)).unwrap();
        self
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(&self.folder.join("proc"), &self.folder.join("host"), 100).unwrap()
    }

    /// What process 7 is part of.
    fn identity(&self) -> Identity {
        (*self.resolver().look_up(7, None).unwrap().identity).clone()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn filled(text: &str) -> String {
    let systemd_uid = UID.replace('-', "_");
    [("<id>", ID), ("<sandbox>", SANDBOX), ("<uid>", UID), ("<u_d>", &systemd_uid), ("<pod>", POD)]
        .iter()
        .fold(text.to_owned(), |text, (mark, value)| text.replace(mark, value))
}

/// Fields that are expected, empty for none: unit, container, namespace, workload, pod.
fn fields(identity: &Identity) -> [&str; 5] {
    let Identity { unit, container, namespace, workload, pod, .. } = identity;
    [unit, container, namespace, workload, pod].map(|field| field.as_deref().unwrap_or_default())
}

const CRI: &str = "0::/kubepods.slice/kubepods-pod<u_d>.slice/cri-containerd-<id>.scope\n";
const CRIO: &str = "0::/kubepods.slice/kubepods-pod<u_d>.slice/crio-<id>.scope\n";
const CGROUPFS: &str = "0::/kubepods/besteffort/pod<uid>/<id>\n";
const OF_CONTAINERD: &str = r#"{"ociVersion":"1.1.0","process":{"args":["/web"]},"annotations":{
    "io.kubernetes.cri.container-name":"server","io.kubernetes.cri.container-type":"container",
    "io.kubernetes.cri.sandbox-id":"<sandbox>","io.kubernetes.cri.sandbox-name":"<pod>",
    "io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-uid":"<uid>"}}"#;
const CONTAINERD_CONFIG: &str =
    "run/containerd/io.containerd.runtime.v2.task/k8s.io/<id>/config.json";

#[test]
fn containerd_keeps_the_pods_names_with_each_container() {
    let host = Host::new().process(7, 1, CRI).file(CONTAINERD_CONFIG, OF_CONTAINERD);
    let identity = host.identity();
    assert_eq!(fields(&identity), ["", "server", "shop", "web", POD]);
    assert_eq!(identity.runtime, Some(Runtime::Containerd));
    assert_eq!(identity.container_id.as_deref(), Some(ID));
}

#[test]
fn so_does_the_containerd_of_k3s_with_the_other_cgroup_driver() {
    let path = "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/<id>/config.json";
    let host = Host::new().process(7, 1, CGROUPFS).file(path, OF_CONTAINERD);
    let identity = host.identity();
    assert_eq!(fields(&identity), ["", "server", "shop", "web", POD]);
    assert_eq!(identity.runtime, Some(Runtime::Containerd), "which the path did not tell");
}

#[test]
fn crio_keeps_the_pods_labels_with_its_sandbox() {
    let host = Host::new()
        .process(7, 1, CRIO)
        .file(
            "run/containers/storage/overlay-containers/<id>/userdata/config.json",
            r#"{"annotations":{"io.kubernetes.container.name":"train","io.kubernetes.pod.name":"train-3-0-x7k2p",
                "io.kubernetes.pod.namespace":"ml","io.kubernetes.cri-o.SandboxID":"<sandbox>",
                "io.kubernetes.cri-o.TTY":"false"}}"#,
        )
        .file(
            "var/lib/containers/storage/overlay-containers/<sandbox>/userdata/config.json",
            r#"{"annotations":{"io.kubernetes.cri-o.Labels":
                "{\"batch.kubernetes.io/job-name\":\"train-3\",\"io.kubernetes.pod.name\":\"train-3-0-x7k2p\"}"}}"#,
        );
    assert_eq!(fields(&host.identity()), ["", "train", "ml", "train-3", "train-3-0-x7k2p"]);
}

#[test]
fn docker_keeps_names_and_labels() {
    let docker = |config: &str| {
        let path = "var/lib/docker/containers/<id>/config.v2.json";
        Host::new()
            .process(7, 1, "0::/system.slice/docker-<id>.scope\n")
            .file(path, config)
            .identity()
    };
    let plain = docker(r#"{"ID":"<id>","Name":"/proxy","Config":{"Image":"x","Labels":{}}}"#);
    assert_eq!(fields(&plain), ["", "proxy", "", "", ""]);
    let no_labels = docker(r#"{"Name":"/proxy","Config":{"Labels":null}}"#);
    assert_eq!(fields(&no_labels), ["", "proxy", "", "", ""]);
    let compose = docker(
        r#"{"Name":"/shop-web-1","Config":{"Labels":{"com.docker.compose.project":"shop",
            "com.docker.compose.service":"web"}}}"#,
    );
    assert_eq!(fields(&compose), ["", "shop-web-1", "", "shop-web", ""]);
    let swarm = docker(
        r#"{"Name":"/api.1.q8w","Config":{"Labels":{"com.docker.swarm.service.name":"api"}}}"#,
    );
    assert_eq!(fields(&swarm), ["", "api.1.q8w", "", "api", ""]);
}

#[test]
fn cri_dockerd_keeps_the_pods_labels_with_its_sandbox() {
    let container = r#"{"Name":"/k8s_web_x","Config":{"Labels":{"io.kubernetes.container.name":"web",
        "io.kubernetes.pod.name":"web-5b-x7k2p","io.kubernetes.pod.namespace":"shop",
        "io.kubernetes.sandbox.id":"<sandbox>"}}}"#;
    let sandbox = r#"{"Name":"/k8s_POD_x","Config":{"Labels":{"pod-template-hash":"5b"}}}"#;
    let host = Host::new()
        .process(7, 1, CGROUPFS)
        .file("var/lib/docker/containers/<id>/config.v2.json", container)
        .file("var/lib/docker/containers/<sandbox>/config.v2.json", sandbox);
    assert_eq!(fields(&host.identity()), ["", "web", "shop", "web", "web-5b-x7k2p"]);
}

#[test]
fn podman_and_nerdctl_keep_names() {
    let list =
        r#"[{"id":"<sandbox>","names":["other"]},{"id":"<id>","names":["cache"],"layer":"x"}]"#;
    let host = Host::new()
        .process(7, 1, "0::/system.slice/cache.service/libpod-payload-<id>\n")
        .file("var/lib/containers/storage/overlay-containers/containers.json", list);
    assert_eq!(fields(&host.identity()), ["cache.service", "cache", "", "", ""]);
    let host = Host::new().process(7, 1, "0::/default/<id>\n").file(
        "run/containerd/io.containerd.runtime.v2.task/default/<id>/config.json",
        r#"{"annotations":{"nerdctl/name":"tool"}}"#,
    );
    assert_eq!(fields(&host.identity()), ["", "tool", "", "", ""]);
}

#[test]
fn the_kubelets_log_folders_tell_where_the_runtimes_state_cannot_be_read() {
    let host = Host::new()
        .process(7, 1, CRI)
        .file("var/log/containers/<pod>_shop_server-<id>.log", "")
        .file("var/log/pods/shop_<pod>_<uid>/server/0.log", "");
    assert_eq!(fields(&host.identity()), ["", "server", "shop", "web", POD]);
    let one_container =
        Host::new().process(7, 1, CRI).file("var/log/pods/shop_<pod>_<uid>/server/0.log", "");
    assert_eq!(fields(&one_container.identity()), ["", "server", "shop", "web", POD]);
    let two = one_container.file("var/log/pods/shop_<pod>_<uid>/proxy/0.log", "");
    assert_eq!(fields(&two.identity()), ["", SHORT_ID, "shop", "web", POD]);
    let nothing = Host::new().process(7, 1, CRI);
    assert_eq!(fields(&nothing.identity()), ["", SHORT_ID, "", "", UID]);
}

#[test]
fn a_static_pod_is_of_the_workload_without_the_nodes_name() {
    let hash = "9729a196c4723b60ab401eaff722982d";
    let cgroup = format!("0::/kubepods/burstable/pod{hash}/<id>\n");
    for node in ["node-1.example.org", "node-1"] {
        let log = format!("var/log/pods/kube-system_etcd-{node}_{hash}/etcd/0.log");
        let identity = Host::new().process(7, 1, &cgroup).file(&log, "").identity();
        let pod = format!("etcd-{node}");
        assert_eq!(fields(&identity), ["", "etcd", "kube-system", "etcd", &pod]);
    }
}

#[test]
fn a_reused_pid_is_another_process_and_processes_of_a_cgroup_share_one_identity() {
    let host = Host::new().process(7, 1, "0::/system.slice/a.service").process(
        8,
        2,
        "0::/system.slice/a.service",
    );
    let mut resolver = host.resolver();
    let (Some(seven), Some(eight)) = (resolver.look_up(7, None), resolver.look_up(8, None)) else {
        panic!("both are there");
    };
    assert!(std::sync::Arc::ptr_eq(&seven.identity, &eight.identity));
    let host = host.process(7, 99, "0::/system.slice/b.service");
    let KnownProcess { started, identity } = resolver.look_up(7, None).unwrap();
    assert_eq!((started, fields(&identity)), (99, ["b.service", "", "", "", ""]));
    fs::remove_dir_all(host.folder.join("proc/7")).unwrap();
    assert_eq!(resolver.look_up(7, None), None);
}

#[test]
fn names_that_come_later_are_found_later() {
    let host = Host::new().process(7, 1, CRI);
    let mut resolver = host.resolver();
    assert_eq!(fields(&resolver.look_up(7, None).unwrap().identity)[4], UID);
    resolver.pause();
    let host = host.file(CONTAINERD_CONFIG, OF_CONTAINERD);
    assert_eq!(fields(&resolver.look_up(7, None).unwrap().identity)[4], POD);
    // And what is complete is not read again.
    fs::remove_file(host.path(&format!("host/{CONTAINERD_CONFIG}"))).unwrap();
    assert_eq!(fields(&resolver.look_up(7, None).unwrap().identity)[4], POD);
}

#[test]
fn memory_is_bounded_whatever_cgroups_come_and_go() {
    let mut host = Host::new();
    let mut resolver =
        Resolver::new(&host.folder.join("proc"), &host.folder.join("host"), 10).unwrap();
    for n in 0..100 {
        host = host.process(7, n, &format!("0::/system.slice/run-{n}.scope"));
        resolver.look_up(7, None).unwrap();
        assert!(resolver.n_remembered() <= 20);
    }
}

/// Whatever the files are, the container is there by its id, and nothing else is.
#[test]
fn hostile_files_are_harmless() {
    let unnamed = |host: &Host| {
        let identity = host.identity();
        assert_eq!(fields(&identity), ["", SHORT_ID, "", "", UID]);
    };
    let huge = format!(r#"{{"annotations":{{"a":"{}"}}}}"#, "x".repeat(2 << 20));
    let deep = "[".repeat(100_000);
    for text in [
        "",
        "null",
        "[]",
        "{",
        r#"{"annotations":[]}"#,
        r#"{"annotations":{"io.kubernetes.cri.sandbox-name":7}}"#,
        &huge,
        &deep,
    ] {
        unnamed(&Host::new().process(7, 1, CRI).file(CONTAINERD_CONFIG, text));
    }
    // A pipe, a folder, a link out of the host's root.
    let host = Host::new().process(7, 1, CRI);
    let config = host.path(&format!("host/{CONTAINERD_CONFIG}"));
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &config, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    unnamed(&host);
    fs::remove_file(&config).unwrap();
    fs::create_dir(&config).unwrap();
    unnamed(&host);
    fs::remove_dir(&config).unwrap();
    fs::write(host.path("outside.json"), filled(OF_CONTAINERD)).unwrap();
    for target in [host.folder.join("outside.json"), "../../../../../../../outside.json".into()] {
        symlink(&target, &config).unwrap();
        unnamed(&host);
        fs::remove_file(&config).unwrap();
    }
    // A link within it, absolute as the host means it, is followed.
    fs::write(host.path("host/data/config.json"), filled(OF_CONTAINERD)).unwrap();
    symlink("/data/config.json", &config).unwrap();
    assert_eq!(fields(&host.identity())[1], "server");
}

#[test]
fn hostile_names_are_escaped_and_cut() {
    let text = OF_CONTAINERD
        .replace("<pod>", &"\\u001b[2J\\u202e".repeat(10_000))
        .replace("shop", "a\\nb\\u0000");
    let identity = Host::new().process(7, 1, CRI).file(CONTAINERD_CONFIG, &text).identity();
    let [_, _, namespace, workload, pod] = fields(&identity);
    assert_eq!(namespace, "a\\nb\\u{0}");
    for name in [workload, pod] {
        assert!(name.starts_with("\\u{1b}[2J\\u{202e}") && name.len() <= 253, "{name}");
    }
    let mut cgroup = b"0::/system.slice/".to_vec();
    cgroup.extend([0xff; 200]);
    cgroup.extend(b".service\n");
    let host = Host::new().process(7, 1, "");
    fs::write(host.path("proc/7/cgroup"), cgroup).unwrap();
    let unit = host.identity().unit.unwrap();
    assert!(unit.starts_with("\\xff") && unit.len() <= 253, "{unit}");
}

#[test]
fn this_very_process_is_found_on_this_very_host() {
    let mut resolver = Resolver::new(Path::new("/proc"), Path::new("/"), 10).unwrap();
    assert!(resolver.look_up(std::process::id(), None).unwrap().started > 0);
}
