//! The manifests in `deploy/kubernetes`: what they promise, that what they name is there, and that an agent with exactly the
//! rights and the files of their pod tells whose a connection is.
#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use keepwatch_tests::{
    answer::{
        agent::{Agent, bpf_needs_capabilities, keepwatch, once},
        http,
    },
    dashboards::prometheus::Prometheus,
    kernel::{
        cgroup::{Hierarchy, Holder},
        container::with_rights_of_a_container,
        netns::NetworkNamespace,
        socket::{self, Family, Plan},
    },
    network::path::NetworkPath,
    tool::{self, TemporaryFolder},
    wait::until,
};
use rustix::{net::sockopt, thread::CapabilitySet};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(30);
const OVERLAYS: [&str; 4] = ["aks", "eks", "gke", "kind"];
const COMPONENT: &str = "deploy/kubernetes/components/prometheus-operator";
const SIDECAR: &str = "deploy/kubernetes/components/sidecar-without-ebpf";
const SIDECAR_AGENT: &str = "deploy/kubernetes/components/sidecar-agent-without-ebpf";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A YAML file of the workspace.
#[track_caller]
fn manifest(path: &str) -> Value {
    let path = workspace().join(path);
    let snippet = format!("std.parseYaml(importstr '{}')", path.display());
    let output = Command::new(tool::program("jsonnet")).args(["--exec", &snippet]).output();
    let output = output.expect("the command `jsonnet`: run `cargo xtask setup`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", path.display());
    serde_json::from_slice(&output.stdout).expect("what jsonnet writes")
}

fn daemon_set() -> Value {
    manifest("deploy/kubernetes/base/daemon-set.yaml")
}

fn pod(daemon_set: &Value) -> (&Value, &Value) {
    let pod = &daemon_set["spec"]["template"]["spec"];
    let [container] = list(&pod["containers"]) else { panic!("not one container: {pod}") };
    (pod, container)
}

#[track_caller]
fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn variable<'a>(container: &'a Value, name: &str) -> &'a str {
    let found = list(&container["env"]).iter().find(|variable| variable["name"] == name);
    text(&found.unwrap_or_else(|| panic!("no {name}"))["value"])
}

#[test]
fn the_pod_has_two_capabilities_and_cannot_write_its_root_nor_ask_the_api_server() {
    let daemon_set = daemon_set();
    let (pod, container) = pod(&daemon_set);
    let expected = json!({
        "runAsUser": 0,
        "runAsGroup": 0,
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"], "add": ["BPF", "PERFMON"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    assert_eq!(container["securityContext"], expected);
    assert_eq!(pod["hostPID"], true);
    for namespace in ["hostNetwork", "hostIPC"] {
        assert_eq!(pod[namespace], Value::Null, "{namespace}");
    }
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(
        manifest("deploy/kubernetes/base/service-account.yaml")["automountServiceAccountToken"],
        false
    );
}

#[test]
fn of_the_host_it_mounts_names_to_read_and_one_folder_to_write() {
    let daemon_set = daemon_set();
    let (pod, container) = pod(&daemon_set);
    let volumes = list(&pod["volumes"]);
    let volume = |mount: &Value| volumes.iter().find(|volume| volume["name"] == mount["name"]);
    let mut of_host = BTreeSet::new();
    for mount in list(&container["volumeMounts"]) {
        let volume = volume(mount).unwrap_or_else(|| panic!("no volume for {mount}"));
        if let Some(path) = volume["hostPath"]["path"].as_str() {
            let root = variable(container, "KEEPWATCH_HOST_ROOT");
            let is_below = text(&mount["mountPath"]) == format!("{root}{path}");
            let is_read_only = mount["readOnly"] == true;
            assert_eq!(is_below, is_read_only, "{mount}");
            of_host.insert((path, is_read_only));
        }
    }
    let expected = [
        ("/sys/fs/cgroup", true),
        ("/var/lib/keepwatch", false),
        ("/var/log/containers", true),
        ("/var/log/pods", true),
    ];
    assert_eq!(of_host, expected.into());
    assert_eq!(volumes.len(), list(&container["volumeMounts"]).len());
}

#[test]
fn ports_probes_labels_and_versions_fit_together() {
    let daemon_set = daemon_set();
    let (_, container) = pod(&daemon_set);
    let image = format!("keepwatch:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(container["image"], image);
    let [port] = list(&container["ports"]) else { panic!("not one port: {container}") };
    let listen = variable(container, "KEEPWATCH_LISTEN");
    assert!(listen.ends_with(&format!(":{}", port["containerPort"])), "{listen}");
    for (probe, path) in [
        ("startupProbe", "/-/healthy"),
        ("livenessProbe", "/-/healthy"),
        ("readinessProbe", "/-/ready"),
    ] {
        let asked = &container[probe]["httpGet"];
        assert_eq!(asked, &json!({"path": path, "port": port["name"]}), "{probe}");
    }
    let monitor = manifest(&format!("{COMPONENT}/pod-monitor.yaml"));
    let base = manifest("deploy/kubernetes/base/kustomization.yaml");
    let [selected] = list(&base["labels"]) else { panic!("not one: {base}") };
    assert_eq!(selected["includeSelectors"], true);
    assert_eq!(monitor["spec"]["selector"]["matchLabels"], selected["pairs"]);
    // The job is the value of this label, and rules ask for it.
    let job = &selected["pairs"][text(&monitor["spec"]["jobLabel"])];
    let rules = fs::read_to_string(workspace().join(COMPONENT).join("rules.yaml")).expect("rules");
    assert!(rules.contains(&format!("job={job}")), "no rule asks for job={job}");
    let [endpoint] = list(&monitor["spec"]["podMetricsEndpoints"]) else { panic!("{monitor}") };
    assert_eq!(endpoint["port"], port["name"]);
    let policy = manifest("deploy/kubernetes/base/network-policy.yaml");
    assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["port"], port["name"]);
}

#[test]
fn every_file_that_kustomize_is_told_of_is_there() {
    let overlays = OVERLAYS.map(|name| format!("deploy/kubernetes/overlays/{name}"));
    let others = ["deploy/kubernetes/base", COMPONENT, SIDECAR, SIDECAR_AGENT, "dashboards"]
        .map(str::to_owned);
    let mut n_named = 0;
    for folder in overlays.iter().chain(&others) {
        let kustomization = manifest(&format!("{folder}/kustomization.yaml"));
        let empty = Vec::new();
        let all = |key: &str| kustomization[key].as_array().unwrap_or(&empty).clone();
        let generated = all("configMapGenerator");
        let files = generated.iter().flat_map(|map| list(&map["files"]).to_vec());
        let patches = all("patches").into_iter().map(|patch| patch["path"].clone());
        for named in all("resources").into_iter().chain(patches).chain(files) {
            let path = workspace().join(folder).join(text(&named));
            assert!(path.exists(), "{folder} names {named}");
            n_named += 1;
        }
    }
    assert!(n_named > 20, "{n_named}");
    let folders = fs::read_dir(workspace().join("deploy/kubernetes/overlays")).expect("overlays");
    let folders = folders.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    assert_eq!(folders.collect::<BTreeSet<_>>(), OVERLAYS.map(str::to_owned).into());
}

/// What `keepwatch config check` says of a file.
fn checked(file: &Path) -> (Option<i32>, String) {
    let output = once([Path::new("config"), Path::new("check"), file]);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_config_is_one_that_an_agent_takes() {
    let overlays = OVERLAYS.map(|name| format!("overlays/{name}"));
    for folder in overlays.iter().map(String::as_str).chain(["base"]) {
        let file = workspace().join("deploy/kubernetes").join(folder).join("config.toml");
        let (status, said) = checked(&file);
        assert_eq!(status, Some(0), "{folder}: {said}");
        let config = fs::read_to_string(&file).expect("a config");
        assert!(config.contains("idle_limit = ") && config.contains("max_sockets = "), "{config}");
    }
    let folder = TemporaryFolder::new();
    let wrong = folder.file("config.toml");
    fs::write(&wrong, "idle_limit = \"eks\"\n").expect("a config");
    assert_eq!(checked(&wrong).0, Some(2), "no preset is called so");
}

const ID: &str = "b43d92bf1e5c6f78bb9b7bc6f40721280299855ba692092716e3a1b6c0b86f3f";
const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";
const POD: &str = "web-7c5ddbdf54-x7k2p";

/// The folders of a host that the pod mounts to read, and what a kubelet has in them.
fn host(container: &Value) -> TemporaryFolder {
    let host = TemporaryFolder::new();
    let root = variable(container, "KEEPWATCH_HOST_ROOT");
    for mount in list(&container["volumeMounts"]) {
        if let Some(path) = text(&mount["mountPath"]).strip_prefix(root) {
            fs::create_dir_all(host.file(path.trim_start_matches('/'))).expect("a folder");
        }
    }
    let of_pod = format!("var/log/pods/shop_{POD}_{UID}");
    for folder in [of_pod.clone(), format!("{of_pod}/server"), format!("{of_pod}/sidecar")] {
        fs::create_dir(host.file(&folder)).expect("a folder of logs in one that is mounted");
    }
    let link = host.file(&format!("var/log/containers/{POD}_shop_server-{ID}.log"));
    let log = format!("/var/log/pods/shop_{POD}_{UID}/server/0.log");
    std::os::unix::fs::symlink(log, link).expect("a link");
    host
}

/// As the kernel counts them, from their names in a manifest.
fn capabilities(container: &Value) -> CapabilitySet {
    let added = list(&container["securityContext"]["capabilities"]["add"]).iter();
    added
        .map(|name| CapabilitySet::from_name(text(name)).unwrap_or_else(|| panic!("{name}")))
        .fold(CapabilitySet::empty(), CapabilitySet::union)
}

fn held(agent: &Agent, kind: &str) -> CapabilitySet {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(kind)).expect("its capabilities");
    CapabilitySet::from_bits_retain(u64::from_str_radix(line.trim(), 16).expect("a number"))
}

#[test]
fn an_agent_with_the_rights_and_files_of_the_pod_names_the_pods_of_its_node() {
    let daemon_set = daemon_set();
    let (_, container) = pod(&daemon_set);
    let (host, folder) = (host(container), TemporaryFolder::new());
    let root = host.file("").display().to_string();
    let may = capabilities(container);
    let writable = folder.file("");
    let agent = with_rights_of_a_container(may, &writable, move || {
        let trial = fs::write("/keepwatch-trial", "").expect_err("the root is read-only");
        assert_eq!(trial.kind(), io::ErrorKind::ReadOnlyFilesystem);
        let mut agent = Agent::spawn_changed(folder, &[], |command| {
            command.env("KEEPWATCH_HOST_ROOT", &root);
        });
        agent.wait();
        agent
    });
    assert_eq!(held(&agent, "CapBnd:"), may);
    if !bpf_needs_capabilities() {
        assert_eq!(held(&agent, "CapEff:"), CapabilitySet::empty());
    }
    for hierarchy in Hierarchy::usable() {
        for (path, name) in [
            (format!("kubepods/burstable/pod{UID}/{ID}"), Some("server")),
            // Of two containers of a pod the folder of logs does not tell which; the file's name does.
            (format!("kubepods/burstable/pod{UID}/{}", "0".repeat(64)), None),
        ] {
            let netns = NetworkNamespace::new();
            let listens = || socket::listener(Family::V4, Family::V4.loopback(), 1, &Plan::NOTHING);
            let cgroup = hierarchy.cgroup(&path);
            let _holder = Holder::in_cgroup(&cgroup, netns.run(listens));
            let inode = netns.inode().to_string();
            let row = until("the pod's socket has its pod", SOON, || {
                let rows = agent.sockets(&["--all", "--netns", &inode, "--namespace", "shop"]);
                rows.into_iter().next()
            });
            assert_eq!(row.pod.as_deref(), Some(POD));
            assert_eq!(row.workload.as_deref(), Some("web"));
            let shown = row.container.expect("a container");
            assert_eq!(shown, name.unwrap_or("000000000000"), "{path}");
        }
    }
}

/// A command that ends with this.
struct SidecarProcess(Child);

impl Drop for SidecarProcess {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn the_sidecar_with_its_rights_turns_keepalive_on_for_its_neighbour_without_ebpf() {
    let sidecar = manifest(&format!("{SIDECAR}/sidecar.yaml"));
    let (pod, container) = pod(&sidecar);
    assert_eq!(pod["shareProcessNamespace"], true);
    let daemon_set = daemon_set();
    assert_eq!(
        container["image"],
        daemon_set["spec"]["template"]["spec"]["containers"][0]["image"]
    );
    let path = NetworkPath::cable();
    let ends = path.connect(&Plan::NOTHING);
    // A program of the pod is in the pod's network namespace.
    let copy = ends.client.try_clone().expect("a copy");
    let _program = path.near.run(|| Holder::of(copy));
    let folder = TemporaryFolder::new();
    let [mount] = list(&container["volumeMounts"]) else { panic!("not one: {container}") };
    let state = folder.file("").display().to_string();
    let words = list(&container["args"]).iter().map(text);
    let mut words: Vec<_> =
        words.map(|word| if word == mount["mountPath"] { state.as_str() } else { word }).collect();
    // In a container nobody else's connections are there.
    let netns = path.near.inode().to_string();
    words.extend(["--netns", &netns]);
    let _running = with_rights_of_a_container(capabilities(container), &folder.file(""), || {
        SidecarProcess(keepwatch(&words).stdin(Stdio::null()).spawn().expect("start keepwatch"))
    });
    until("keepalive is on", Duration::from_mins(1), || {
        sockopt::socket_keepalive(&ends.client).expect("SO_KEEPALIVE").then_some(())
    });
    assert!(!sockopt::socket_keepalive(&ends.accepted).expect("SO_KEEPALIVE"), "not ours");
}

/// The containers are of one pod: they must not take each other's place, and agree in what they share.
#[test]
fn the_two_sidecars_fit_together_and_their_pod_is_ready_without_them() {
    let both = [format!("{SIDECAR}/sidecar.yaml"), format!("{SIDECAR_AGENT}/agent.yaml")];
    let [fix, agent] = both.map(|path| manifest(&path));
    let (of_fix, of_agent) = (pod(&fix), pod(&agent));
    assert_ne!(of_fix.1["name"], of_agent.1["name"]);
    for shared in ["shareProcessNamespace", "volumes"] {
        assert_eq!(of_fix.0[shared], of_agent.0[shared], "{shared}");
    }
    for shared in ["image", "securityContext", "volumeMounts"] {
        assert_eq!(of_fix.1[shared], of_agent.1[shared], "{shared}");
    }
    for container in [of_fix.1, of_agent.1] {
        assert_eq!(container["readinessProbe"], Value::Null);
    }
    let monitor = manifest(&format!("{SIDECAR_AGENT}/pod-monitor.yaml"));
    assert_eq!(
        monitor["spec"]["selector"]["matchLabels"],
        agent["spec"]["template"]["metadata"]["labels"]
    );
    let [port] = list(&of_agent.1["ports"]) else { panic!("not one port: {agent}") };
    assert!(variable(of_agent.1, "KEEPWATCH_LISTEN").ends_with(&port["containerPort"].to_string()));
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], port["name"]);
}

#[test]
fn the_agent_of_the_sidecar_with_its_rights_measures_its_neighbour_without_ebpf() {
    let sidecar = manifest(&format!("{SIDECAR_AGENT}/agent.yaml"));
    let (_, container) = pod(&sidecar);
    let path = NetworkPath::cable();
    let ends = path.connect(&Plan::NOTHING);
    let copy = ends.client.try_clone().expect("a copy");
    let _program = path.near.run(|| Holder::of(copy));
    let folder = TemporaryFolder::new();
    let [mount] = list(&container["volumeMounts"]) else { panic!("not one: {container}") };
    let address = http::free_address();
    let at_home = |value: &str| {
        let state = folder.file("").display().to_string();
        value.replace(text(&mount["mountPath"]), state.trim_end_matches('/'))
    };
    let socket = at_home(variable(container, "KEEPWATCH_SOCKET"));
    let state = at_home(variable(container, "KEEPWATCH_STATE_DIR"));
    let words: Vec<&str> = list(&container["args"]).iter().map(text).collect();
    let _running = with_rights_of_a_container(capabilities(container), &folder.file(""), || {
        let mut agent = keepwatch(&words);
        agent.env("KEEPWATCH_LISTEN", address.to_string());
        agent.env("KEEPWATCH_SOCKET", &socket).env("KEEPWATCH_STATE_DIR", &state);
        SidecarProcess(agent.stdin(Stdio::null()).spawn().expect("start keepwatch"))
    });
    let netns = path.near.inode().to_string();
    let words = ["sockets", "--json", "--source", "agent", "--socket", &socket, "--netns", &netns];
    let row: Value = until("the agent has the neighbour's connection", SOON, || {
        let said = String::from_utf8(once(words).stdout).expect("UTF-8");
        said.lines().find_map(|line| serde_json::from_str(line).ok())
    });
    assert_eq!((&row["keepalive"], &row["verdict"]), (&json!(false), &json!("off")));
    assert_eq!(text(&row["local"]), ends.local.to_string());
    let metrics = http::get(address, "/metrics", "text/plain").expect("metrics");
    let metrics = metrics.body;
    assert!(metrics.contains("keepwatch_source_info{source=\"proc\""), "{metrics}");
    assert!(metrics.contains("verdict=\"off\""), "{metrics}");
}

/// What the Prometheus operator makes of a PodMonitor's relabelings: Prometheus' own names.
fn relabelings() -> Value {
    let monitor = manifest(&format!("{COMPONENT}/pod-monitor.yaml"));
    let steps = &monitor["spec"]["podMetricsEndpoints"][0]["relabelings"];
    let text = steps.to_string().replace("sourceLabels", "source_labels");
    serde_json::from_str(&text.replace("targetLabel", "target_label")).expect("JSON")
}

/// The operator adds labels of a target's pod, which have the names of labels of ours.
#[test]
fn a_scrape_by_the_pod_monitor_names_the_workload_and_not_the_agents_own_pod() {
    let daemon_set = daemon_set();
    let host = host(pod(&daemon_set).1);
    let netns = NetworkNamespace::new();
    let (listener, client) = netns.run(|| {
        let listener = socket::listener(Family::V4, Family::V4.loopback(), 1, &Plan::NOTHING);
        let address = socket::local_address(&listener);
        let client = socket::connected(Family::V4, address, &Plan::NOTHING);
        (listener, client)
    });
    let Some(hierarchy) = Hierarchy::usable().pop() else { return };
    let cgroup = hierarchy.cgroup(&format!("kubepods/burstable/pod{UID}/{ID}"));
    let _holder = Holder::in_cgroup(&cgroup, client);
    let agent =
        Agent::start(&["--interval", "1s", "--host-root", &host.file("").display().to_string()]);
    let target = json!([{
        "targets": [agent.address().to_string()],
        "labels": {
            "namespace": "keepwatch",
            "pod": "keepwatch-x7k2p",
            "container": "keepwatch",
            "__meta_kubernetes_pod_node_name": "node-1",
        },
    }]);
    let folder = TemporaryFolder::new();
    let config = json!({"global": {"scrape_interval": "1s"}, "scrape_configs": [
        {"job_name": "keepwatch", "static_configs": target, "relabel_configs": relabelings()},
        {"job_name": "without", "static_configs": target},
    ]});
    fs::write(folder.file("prometheus.yml"), config.to_string()).expect("a config");
    let prometheus = Prometheus::in_folder(folder);
    let found = |expr: &str| until(expr, SOON, || prometheus.query(expr).into_iter().next()).labels;
    let labels = found("keepwatch_sockets{job='keepwatch',workload='web'}");
    let shown = ["namespace", "container", "instance", "pod", "exported_namespace"];
    let shown = shown.map(|name| labels.get(name).map_or("", String::as_str));
    assert_eq!(shown, ["shop", "server", "node-1", "", ""]);
    let labels = found("keepwatch_sockets{job='without',workload='web'}");
    assert_eq!(labels["namespace"], "keepwatch", "without them the agent's own pod is named");
    drop(listener);
}
