//! Paths of cgroups as runtimes make them, recorded in other projects' tests and reports, and what
//! must be read from each.

use super::cgroup::{CgroupPlace, Container, path_of};
use crate::model::observed::owner_identity::Runtime::{self, *};

/// The id of every container here: of a real one, from coroot's tests.
const ID: &str = "b43d92bf1e5c6f78bb9b7bc6f40721280299855ba692092716e3a1b6c0b86f3f";
const OUTER: &str = "93529524695bb00d91c1f6dba692ea8d3550c3b94fb2463af7bc9ec82f992d26";
const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";

/// A path, with ID, OUTER and UID in it (`U_D`: the uid as systemd's driver writes it), and what it
/// says: unit (empty: none), container, whether the pod's uid.
type RecordedRow = (&'static str, &'static str, Expected, bool);

/// A container: by its id, its runtime known or not; or by its name.
#[derive(Clone, Copy)]
enum Expected {
    No,
    Id(Runtime),
    OfSomebody,
    Named(Runtime, &'static str),
}
use Expected::{Id, Named, No, OfSomebody};

/// Each group with the project whose tests or reports have paths of that form.
const ROWS: &[RecordedRow] = &[
    // Docker: coroot-node-agent cgroup/cgroup_test.go; SPIRE workloadattestor/docker (Docker Desktop).
    ("/docker/ID", "", Id(Docker), false),
    ("/system.slice/docker-ID.scope", "", Id(Docker), false),
    ("/docker/OUTER/docker/ID/system.slice/x.service", "x.service", Id(Docker), false),
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
        "user@1000.service",
        Id(Docker),
        false,
    ),
    // Docker before it had a folder of its own: NeuVector share/system/cgroup_test.go.
    ("/ID", "", OfSomebody, false),
    ("/system.slice/ID.scope", "", OfSomebody, false),
    // Kubernetes, cgroupfs driver: coroot; SPIRE workloadattestor/k8s; dd-trace-py.
    ("/kubepods/burstable/podUID/ID", "", OfSomebody, true),
    ("/kubepods/besteffort/podUID/ID/kube-proxy", "", OfSomebody, true),
    ("/kubepods/podUID/ID", "", OfSomebody, true),
    ("/kubepods/podUID/crio-ID", "", Id(CriO), true),
    ("/kubepods/test/podUID/ID", "", OfSomebody, true),
    ("/kubepods/kubepods/besteffort/podUID/ID", "", OfSomebody, true),
    ("/kubepods/podUID", "", No, true),
    // Kubernetes, systemd driver: coroot, SPIRE, dd-trace-py.
    (
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_D.slice/docker-ID.scope",
        "",
        Id(Docker),
        true,
    ),
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/crio-ID.scope",
        "",
        Id(CriO),
        true,
    ),
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/crio-ID.scope/container",
        "",
        Id(CriO),
        true,
    ),
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/cri-containerd-ID.scope",
        "",
        Id(Containerd),
        true,
    ),
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/cri-containerd-ID",
        "",
        Id(Containerd),
        true,
    ),
    ("/kubepods.slice/kubepods-podU_D.slice/cri-containerd-ID.scope", "", Id(Containerd), true),
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/crio-conmon-ID.scope",
        "",
        No,
        true,
    ),
    // systemd's form of a path given to the cgroupfs driver: coroot, OpenTelemetry Java, Tetragon.
    (
        "/system.slice/containerd.service/kubepods-burstable-podU_D.slice:cri-containerd:ID",
        "",
        Id(Containerd),
        true,
    ),
    ("/kubepods-besteffort-podU_D.slice:cri-containerd:ID", "", Id(Containerd), true),
    // kind: a node that is a container, with a root of its own: SPIRE; reports of kind clusters.
    ("/docker/OUTER/kubepods/besteffort/podUID/ID", "", OfSomebody, true),
    (
        "/system.slice/docker-OUTER.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-podU_D.slice/cri-containerd-ID.scope",
        "",
        Id(Containerd),
        true,
    ),
    (
        "/system.slice/docker-OUTER.scope/system.slice/containerd.service",
        "containerd.service",
        Id(Docker),
        false,
    ),
    // Seen from inside a cgroup namespace: SPIRE; cgroup_namespaces(7).
    ("/../../../burstable/podUID/ID", "", OfSomebody, true),
    ("/../crio-ID.scope", "", Id(CriO), false),
    ("/../../kubepods-burstable-podU_D.slice/cri-containerd-ID.scope", "", Id(Containerd), true),
    ("/../../../../system.slice/sshd.service", "sshd.service", No, false),
    ("/..", "", No, false),
    ("/", "", No, false),
    ("", "", No, false),
    // A cgroup that is removed: proc_cgroup_show() in kernel/cgroup/cgroup.c.
    ("/system.slice/docker-ID.scope (deleted)", "", Id(Docker), false),
    ("/system.slice/cron.service (deleted)", "cron.service", No, false),
    // Plain containerd (nerdctl): reports of nerdctl with both drivers.
    ("/default/ID", "", Id(Containerd), false),
    ("/k8s.io/ID", "", Id(Containerd), false),
    ("/system.slice/nerdctl-ID.scope", "", Id(Containerd), false),
    // Podman, root and rootless, both drivers: SPIRE; Falco libsinsp podman.cpp; quadlets as
    // `systemctl status` prints them.
    ("/machine.slice/libpod-ID.scope", "", Id(Podman), false),
    ("/machine.slice/libpod-ID.scope/container", "", Id(Podman), false),
    ("/machine.slice/libpod-conmon-ID.scope", "", No, false),
    ("/libpod_parent/libpod-ID", "", Id(Podman), false),
    ("/machine.slice/libpod_parent/ID", "", Id(Podman), false),
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
        "user@1000.service",
        Id(Podman),
        false,
    ),
    (
        "/user.slice/user-2000.slice/user@2000.service/user.slice/libpod/ID",
        "user@2000.service",
        Id(Podman),
        false,
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/podman-3886.scope/ID",
        "podman-3886.scope",
        Id(Podman),
        false,
    ),
    ("/system.slice/nginx.service/libpod-payload-ID", "nginx.service", Id(Podman), false),
    ("/system.slice/nginx.service/runtime", "nginx.service", No, false),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/redis.service/libpod-payload-ID",
        "redis.service",
        Id(Podman),
        false,
    ),
    // LXC, LXD, Incus: coroot; reports of Incus.
    ("/lxc/mysql-primary-db", "", Named(Lxc, "mysql-primary-db"), false),
    ("/lxc.payload.web01/system.slice/cron.service", "cron.service", Named(Lxc, "web01"), false),
    ("/lxc.payload.project_web01/.lxc", "", Named(Lxc, "project_web01"), false),
    ("/lxc.monitor.web01", "", No, false),
    ("/incus.payload/web01/init.scope", "init.scope", Named(Lxc, "web01"), false),
    ("/incus.payload.web01", "", Named(Lxc, "web01"), false),
    // systemd-nspawn (systemd.io, "Control Group APIs"); libvirt (a trace on the kernel's mailing list).
    (
        "/machine.slice/machine-web\\x2d1.scope/payload/system.slice/cron.service",
        "cron.service",
        Named(Nspawn, "web-1"),
        false,
    ),
    (
        "/machine.slice/systemd-nspawn@web.service/payload",
        "systemd-nspawn@web.service",
        Named(Nspawn, "web"),
        false,
    ),
    (
        "/machine.slice/machine-qemu\\x2d18\\x2dtest10.scope/libvirt/emulator",
        "",
        Named(Libvirt, "qemu-18-test10"),
        false,
    ),
    // ECS, Fargate, Cloud Foundry: dd-trace-py tests/internal/test_container.py.
    ("/ecs/test-ecs-classic/5a0d5ceddf6c44c1928d367a815d890f/ID", "", Id(Docker), false),
    ("/ecs/55091c13-b8cf-4801-b527-f4601742204d/ID", "", Id(Docker), false),
    (
        "/ecs/34dc0b5e626f2c5c4c5170e34b10e765-1234567890",
        "",
        Named(Ecs, "34dc0b5e626f2c5c4c5170e34b10e765-1234567890"),
        false,
    ),
    (
        "/system.slice/garden.service/garden/6f265890-5165-7fab-6b52-18d1",
        "garden.service",
        Named(Garden, "6f265890-5165-7fab-6b52-18d1"),
        false,
    ),
    // Nomad: its end-to-end tests; a report of its v1 paths.
    (
        "/nomad.slice/share.slice/4744f0ea-7616-ab3a-a420-8e25056e3861.sleep.scope",
        "",
        Named(Nomad, "sleep"),
        false,
    ),
    ("/nomad/4744f0ea-7616-ab3a-a420-8e25056e3861.start", "", Named(Nomad, "start"), false),
    // systemd: coroot; systemd-cgls.
    ("/init.scope", "init.scope", No, false),
    ("/system.slice/springboot.service", "springboot.service", No, false),
    (
        "/system.slice/system-postgresql.slice/postgresql@9.4-main.service",
        "postgresql@9.4-main.service",
        No,
        false,
    ),
    ("/system.slice/system-serial\\x2dgetty.slice", "", No, false),
    (
        "/system.slice/system-serial\\x2dgetty.slice/serial-getty@ttyS0.service",
        "serial-getty@ttyS0.service",
        No,
        false,
    ),
    ("/system.slice/foo\\x2dbar.service", "foo\\x2dbar.service", No, false),
    ("/system.slice/_cpu.service", "cpu.service", No, false),
    ("/system.slice/db.service/worker/7", "db.service", No, false),
    ("/user.slice/user-0.slice/session-14.scope", "user-0.slice", No, false),
    ("/user.slice/user-1000.slice/user@1000.service/init.scope", "user@1000.service", No, false),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4567.scope",
        "app-gnome-firefox-4567.scope",
        No,
        false,
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/session.slice/org.gnome.Shell@x11.service",
        "org.gnome.Shell@x11.service",
        No,
        false,
    ),
    // Names that only look like it: dd-trace-py, coroot (Talos), and our own.
    ("/docker/b43d92bf1e5c6f78bb9b7bc6f4072128", "", No, false),
    ("/system.slice/docker-short.scope", "docker-short.scope", No, false),
    ("/podruntime/runtime", "", No, false),
    ("/system.slice/podman.service", "podman.service", No, false),
    ("/process_api/366ef81affaa965048d4ec3724f451f2", "", No, false),
];

fn written(path: &str) -> String {
    let uid_of_systemd = UID.replace('-', "_");
    let path = path.replace("U_D", &uid_of_systemd).replace("UID", UID);
    path.replace("OUTER", OUTER).replace("ID", ID)
}

#[test]
fn the_paths_of_every_runtime_and_driver_are_understood() {
    for (path, unit, expected, in_pod) in ROWS {
        let path = written(path);
        let CgroupPlace { unit: found_unit, container, pod_uid } = CgroupPlace::of(path.as_bytes());
        assert_eq!(found_unit.unwrap_or_default(), *unit, "unit of {path}");
        assert_eq!(pod_uid.as_deref(), in_pod.then_some(UID), "pod of {path}");
        let innermost = if path.contains(ID) { ID } else { OUTER };
        let found = container
            .as_ref()
            .map(|Container { id, runtime, name }| (name.as_deref().unwrap_or(id), *runtime));
        let expected = match *expected {
            No => None,
            Id(runtime) => Some((innermost, Some(runtime))),
            OfSomebody => Some((innermost, None)),
            Named(runtime, name) => Some((name, Some(runtime))),
        };
        assert_eq!(found, expected, "container of {path}");
    }
}

#[test]
fn a_static_pods_uid_is_the_hash_of_its_manifest() {
    const HASH: &str = "9729a196c4723b60ab401eaff722982d";
    for form in
        ["/kubepods/burstable/podHASH/ID", "/kubepods.slice/kubepods-podHASH.slice/crio-ID.scope"]
    {
        let path = form.replace("HASH", HASH).replace("ID", ID);
        assert_eq!(CgroupPlace::of(path.as_bytes()).pod_uid.as_deref(), Some(HASH), "{path}");
    }
}

/// What `/proc/PID/cgroup` holds, and which of its paths counts.
#[test]
fn of_many_controllers_the_path_that_says_most_counts() {
    let cases = [
        // v2 alone.
        ("0::/system.slice/cron.service\n", "/system.slice/cron.service"),
        // v1: Cloud Foundry, whose controllers differ (dd-trace-py).
        (
            "12:rdma:/\n10:freezer:/garden/6f265890-5165-7fab-6b52-18d1\n\
             1:name=systemd:/system.slice/garden.service/garden/6f265890-5165-7fab-6b52-18d1\n",
            "/system.slice/garden.service/garden/6f265890-5165-7fab-6b52-18d1",
        ),
        // Hybrid: runtimes put containers where their driver is, and leave v2 at the root, or where
        // the shim is.
        ("11:memory:/docker/ID\n1:name=systemd:/docker/ID\n0::/\n", "/docker/ID"),
        (
            "11:memory:/kubepods/podUID/ID\n1:name=systemd:/kubepods/podUID/ID\n\
             0::/system.slice/containerd.service\n",
            "/kubepods/podUID/ID",
        ),
        // This project's own machine: no systemd.
        ("4:memory:/process_api/366ef81affaa965048d4ec3724f451f2\n1:cpu:/\n0::/\n", "/"),
        // A path may have colons.
        (
            "0::/kubepods-podU_D.slice:cri-containerd:ID\n",
            "/kubepods-podU_D.slice:cri-containerd:ID",
        ),
    ];
    for (file, path) in cases {
        let (file, path) = (written(file), written(path));
        assert_eq!(path_of(file.as_bytes()).map(String::from_utf8_lossy), Some(path.into()));
    }
    assert_eq!(path_of(b""), None);
    assert_eq!(path_of(b"no colons\n1:one\n"), None);
}

#[test]
fn hostile_names_of_cgroups_stay_harmless() {
    let mut path = b"/system.slice/\x1b[2J\xff\xfe\nweb.service".to_vec();
    let unit = CgroupPlace::of(&path).unit.unwrap();
    assert_eq!(unit, "\\u{1b}[2J\\xff\\xfe\\nweb.service");
    path = b"/machine.slice/machine-\\x1b\\x0a\\xff\\x2d\\x2.scope".to_vec();
    let name = CgroupPlace::of(&path).container.unwrap().name.unwrap();
    assert_eq!(name, "\\x1b\\x0a\\xff-\\x2", "systemd's escapes are undone only for what is plain");
    for part in ["pod", "-pod", "kubepods-pod", ".service", "-", ":", "lxc.payload.", "é-pod\u{e9}"]
    {
        for path in [format!("/{part}"), format!("/{part}/{part}"), format!("/kubepods/{part}")] {
            CgroupPlace::of(path.as_bytes());
        }
    }
    CgroupPlace::of(&b"/a".repeat(100_000));
}
