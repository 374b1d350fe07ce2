//! Whose connection it is, of real processes in real cgroups that the tests make below their own:
//! as a command sees it that reads the kernel, and as the agent does.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

use keepwatch_tests::{
    answer::{
        agent::{Agent, keepwatch, sockets_from_kernel},
        http,
        row::SocketLine,
        trace::Trace,
    },
    kernel::{
        cgroup::{Cgroup, Hierarchy, Holder},
        netns::NetworkNamespace,
        socket::{self, Family, Plan},
    },
    skip::skip,
    tool::{self, TemporaryFolder},
    wait::until,
};
use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(30);

const ID: &str = "b43d92bf1e5c6f78bb9b7bc6f40721280299855ba692092716e3a1b6c0b86f3f";
const SHORT_ID: &str = "b43d92bf1e5c";
const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";

/// A listener in a namespace of its own: one socket, held only by the process that gets it.
struct NamedListener {
    netns: NetworkNamespace,
}

impl NamedListener {
    fn new() -> Self {
        Self { netns: NetworkNamespace::new() }
    }

    fn socket(&self) -> OwnedFd {
        self.netns.run(|| socket::listener(Family::V4, Family::V4.loopback(), 1, &Plan::NOTHING))
    }

    fn rows(&self, args: &[&str]) -> Vec<SocketLine> {
        let netns = self.netns.inode().to_string();
        sockets_from_kernel(&[&["--all", "--netns", &netns], args].concat())
    }

    /// The only row that these options select.
    fn row(&self, args: &[&str]) -> SocketLine {
        let rows = self.rows(args);
        let [row] = rows.as_slice() else { panic!("not one socket: {rows:?}") };
        row.clone()
    }
}

fn parts(row: &SocketLine) -> [&str; 5] {
    let SocketLine { unit, container, namespace, workload, pod, .. } = row;
    [unit, container, namespace, workload, pod].map(|part| part.as_deref().unwrap_or_default())
}

#[test]
fn a_process_is_of_the_container_or_unit_whose_cgroup_it_is_in() {
    for hierarchy in Hierarchy::usable() {
        let expected = [
            (format!("system.slice/docker-{ID}.scope"), ["", SHORT_ID, "", "", ""]),
            (format!("docker/{ID}"), ["", SHORT_ID, "", "", ""]),
            ("system.slice/web\\x2d1.service".to_owned(), ["web\\x2d1.service", "", "", "", ""]),
            (format!("kubepods/burstable/pod{UID}/{ID}"), ["", SHORT_ID, "", "", UID]),
        ];
        for (path, expected) in expected {
            let place = NamedListener::new();
            let cgroup = hierarchy.cgroup(&path);
            let holder = Holder::in_cgroup(&cgroup, place.socket());
            let row = place.row(&[]);
            assert_eq!(row.owners.first().map(|owner| owner.pid), Some(holder.pid()));
            assert_eq!(parts(&row), expected, "{path} in {}", hierarchy.name);
        }
    }
}

#[test]
fn a_connection_can_be_asked_for_by_the_user_that_its_process_runs_as() {
    const NOBODY: u32 = 65534;
    let place = NamedListener::new();
    let holder = Holder::of_user(NOBODY, place.socket());
    let agent = Agent::start(&["--interval", "500ms"]);
    let netns = place.netns.inode().to_string();
    let pids = |rows: &[SocketLine]| -> Vec<u32> {
        rows.iter().flat_map(|row| row.owners.iter().map(|owner| owner.pid)).collect()
    };
    let of_agent = |uid: &str| agent.sockets(&["--all", "--netns", &netns, "--uid", uid]);
    for uid in ["65534", "nobody", "0,65534"] {
        assert_eq!(pids(&place.rows(&["--uid", uid])), [holder.pid()], "{uid}, from the kernel");
        until("the agent has it", SOON, || (pids(&of_agent(uid)) == [holder.pid()]).then_some(()));
    }
    // This process, which is root, has made the socket, and does not hold it any more.
    for uid in ["0", "root", "65533"] {
        assert!(place.rows(&["--uid", uid]).is_empty(), "{uid}, from the kernel");
        assert!(of_agent(uid).is_empty(), "{uid}, from the agent");
    }
    let unknown = keepwatch(["sockets", "--uid", "no-such-user"]).output().expect("keepwatch");
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(2), "{said}");
    assert!(said.contains("no user in /etc/passwd has the name no-such-user"), "{said}");
}

/// What containerd would have written for the container.
fn host_with_names() -> TemporaryFolder {
    let host = TemporaryFolder::new();
    let folder = format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}");
    fs::create_dir_all(host.file(&folder)).expect("a folder");
    let config = r#"{"annotations":{"io.kubernetes.cri.container-name":"server",
        "io.kubernetes.cri.sandbox-name":"web-7c5ddbdf54-x7k2p",
        "io.kubernetes.cri.sandbox-namespace":"shop"}}"#;
    fs::write(host.file(&format!("{folder}/config.json")), config).expect("a file");
    host
}

#[test]
fn names_of_kubernetes_come_from_where_the_hosts_root_is_and_can_be_asked_for() {
    let host = host_with_names();
    let root = host.file("").display().to_string();
    let root = ["--host-root", &root];
    for hierarchy in Hierarchy::usable() {
        let place = NamedListener::new();
        let slice = format!("kubepods.slice/kubepods-pod{}.slice", UID.replace('-', "_"));
        let cgroup = hierarchy.cgroup(&format!("{slice}/cri-containerd-{ID}.scope"));
        let _holder = Holder::in_cgroup(&cgroup, place.socket());
        let expected = ["", "server", "shop", "web", "web-7c5ddbdf54-x7k2p"];
        assert_eq!(parts(&place.row(&root)), expected, "{}", hierarchy.name);
        for (filter, value) in [
            ("--container", "server"),
            ("--container", SHORT_ID),
            ("--namespace", "shop"),
            ("--workload", "web"),
            ("--pod", "web-7c5ddbdf54-x7k2p"),
        ] {
            assert_eq!(place.rows(&[&root[..], &[filter, value]].concat()).len(), 1, "{filter}");
            assert_eq!(place.rows(&[&root[..], &[filter, "other"]].concat()).len(), 0, "{filter}");
        }
    }
}

/// A program of the container that connects, is refused a setting, and closes when it is told to.
fn refused_in(cgroup: &Cgroup, server: SocketAddr) -> Child {
    let script = format!(
        "from socket import *\ns=create_connection(('{}',{}))\ntry: \
         s.setsockopt(IPPROTO_TCP,TCP_KEEPIDLE,0)\nexcept OSError: pass\ninput()\ns.close()",
        server.ip(),
        server.port()
    );
    let mut client = Command::new("sh")
        .args(["-c", "read go; exec python3 -c \"$0\"", &script])
        .stdin(Stdio::piped())
        .spawn()
        .expect("start sh");
    cgroup.take(client.id());
    go_on(&mut client);
    client
}

fn go_on(child: &mut Child) {
    child.stdin.as_mut().expect("its input").write_all(b"\n").expect("it reads");
}

#[test]
fn a_rule_about_a_container_holds_for_a_connection_that_is_gone_and_for_an_id_of_12_digits() {
    let host = host_with_names();
    let root = host.file("").display().to_string();
    for hierarchy in Hierarchy::usable() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let server = listener.local_addr().expect("its address");
        let agent = Agent::start(&["--host-root", &root]);
        let slice = format!("kubepods.slice/kubepods-pod{}.slice", UID.replace('-', "_"));
        let cgroup = hierarchy.cgroup(&format!("{slice}/cri-containerd-{ID}.scope"));
        let mut client = refused_in(&cgroup, server);
        let is_found = |allow: &str| {
            let mut check = keepwatch(["check", "--source", "agent", "--json", "--allow", allow]);
            check.args(["--no-failed-calls", "--protected", "false", "--include-local"]);
            let output = check.arg("--socket").arg(agent.socket()).output().expect("keepwatch");
            let lines = String::from_utf8_lossy(&output.stdout).into_owned();
            lines.lines().any(|line| {
                line.contains(&format!("\"remote\":\"{server}\"")) && line.contains("failed_call")
            })
        };
        until("the agent knows of it", SOON, || is_found("container=other").then_some(()));
        let lives = || {
            let port = server.port().to_string();
            agent.sockets(&["--port", &port, "--container", "server"]).len()
        };
        until("the agent knows whose it is", SOON, || (lives() > 0).then_some(()));
        go_on(&mut client);
        assert!(client.wait().expect("it ended").success());
        until("it is gone", SOON, || (lives() == 0).then_some(()));
        for allow in ["container=server", &format!("container={SHORT_ID}"), "namespace=shop"] {
            assert!(!is_found(allow), "{allow} in {}", hierarchy.name);
        }
        assert!(is_found("container=b43d92bf1e5d") && is_found("container=b43d"), "look-alikes");
    }
}

/// A program that sets an idle time before it connects or listens, and another before it does neither.
fn sets_early(cgroup: &Cgroup, netns: &NetworkNamespace, idle: u32) -> Child {
    let script = format!(
        "from socket import *\nl=socket()\nl.setsockopt(IPPROTO_TCP,TCP_KEEPIDLE,{idle})\n\
         l.bind(('127.0.0.1',0))\nl.listen()\nc=socket()\n\
         c.setsockopt(IPPROTO_TCP,TCP_KEEPIDLE,{idle})\nc.connect(l.getsockname())\ninput()"
    );
    let mut program = Command::new("sh");
    program.args(["-c", "read go; exec python3 -c \"$0\"", &script]).stdin(Stdio::piped());
    let mut program = netns.run(|| program.spawn().expect("start sh"));
    cgroup.take(program.id());
    go_on(&mut program);
    program
}

#[test]
fn what_is_set_before_a_connection_or_a_listener_is_found_by_the_unit_that_set_it() {
    for hierarchy in Hierarchy::usable() {
        let netns = NetworkNamespace::new();
        let cgroups =
            ["gate", "other"].map(|name| hierarchy.cgroup(&format!("system.slice/{name}.service")));
        let agent = Agent::start(&[]);
        let live = Trace::of(&netns, &["--event", "setting", "--unit", "gate"]);
        let mut programs = [(&cgroups[0], 61), (&cgroups[1], 62)]
            .map(|(cgroup, idle)| sets_early(cgroup, &netns, idle));
        let inode = netns.inode().to_string();
        let past = |wanted: &[&str]| {
            let mut trace = keepwatch(["trace", "--json", "--past-only", "--event", "setting"]);
            trace.args(["--netns", &inode, "--socket"]).arg(agent.socket()).args(wanted);
            let output = trace.output().expect("keepwatch");
            let lines = String::from_utf8_lossy(&output.stdout).into_owned();
            let values = lines.lines().map(|line| {
                let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
                (event["value"].as_u64().expect("a value"), event["unit"].clone())
            });
            values.collect::<Vec<_>>()
        };
        let of = |idle: u64, unit: &str| vec![(idle, serde_json::json!(unit)); 2];
        until("both programs have set both", SOON, || (past(&[]).len() == 4).then_some(()));
        assert_eq!(past(&["--unit", "gate"]), of(61, "gate.service"));
        assert_eq!(past(&["--unit", "other.service"]), of(62, "other.service"));
        assert_eq!(past(&["--unit", "third.service"]), []);
        let pid = programs[0].id().to_string();
        assert_eq!(past(&["--process", "python3", "--pid", &pid]), of(61, "gate.service"));
        let told = live.wait_for("both calls of one unit", |events| {
            (events.len() >= 2).then(|| events.to_vec())
        });
        assert!(told.iter().all(|it| it.owners[0].pid == programs[0].id()), "{told:?}");
        for program in &mut programs {
            go_on(program);
            assert!(program.wait().expect("it ended").success());
        }
        assert_eq!(live.events().len(), 2, "nothing of the other unit");
    }
}

#[test]
fn seen_from_inside_a_cgroup_namespace_it_is_the_same() {
    for hierarchy in Hierarchy::usable() {
        let place = NamedListener::new();
        let cgroup = hierarchy.cgroup(&format!("system.slice/docker-{ID}.scope"));
        let _holder = Holder::in_cgroup(&cgroup, place.socket());
        // From a sibling of system.slice: paths begin with `/../`.
        let own = hierarchy.cgroup("keepwatch.slice");
        let netns = place.netns.inode().to_string();
        let script = "read go; exec unshare --cgroup \"$@\"";
        let mut viewer = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(tool::keepwatch())
            .args(["sockets", "--source", "kernel", "--json", "--all", "--netns", &netns])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start sh");
        own.take(viewer.id());
        drop(viewer.stdin.take());
        let output = viewer.wait_with_output().expect("its output");
        let row: SocketLine = serde_json::from_slice(&output.stdout).expect("one row");
        assert_eq!(parts(&row), ["", SHORT_ID, "", "", ""], "{}", hierarchy.name);
    }
}

#[test]
fn of_several_owners_the_one_in_the_container_comes_first() {
    for hierarchy in Hierarchy::usable() {
        let place = NamedListener::new();
        let socket = place.socket();
        let shared = socket.try_clone().expect("a duplicate");
        let monitor = hierarchy.cgroup("system.slice/cache.service/runtime");
        let payload = hierarchy.cgroup(&format!("system.slice/cache.service/libpod-payload-{ID}"));
        let conmon = Holder::in_cgroup(&monitor, shared);
        let inside = Holder::in_cgroup(&payload, socket);
        let row = place.row(&[]);
        let pids: Vec<u32> = row.owners.iter().map(|owner| owner.pid).collect();
        assert_eq!(pids, [inside.pid(), conmon.pid()], "{}", hierarchy.name);
        assert_eq!(parts(&row), ["cache.service", SHORT_ID, "", "", ""]);
    }
}

/// An established connection in the namespace, its other end, and the listener.
fn connection(netns: &NetworkNamespace) -> (OwnedFd, [OwnedFd; 2]) {
    netns.run(|| {
        let listener = socket::listener(Family::V4, Family::V4.loopback(), 1, &Plan::NOTHING);
        let address = socket::local_address(&listener);
        let client = socket::connected(Family::V4, address, &Plan::NOTHING);
        (client, [socket::accepted(&listener), listener])
    })
}

fn metrics(agent: &Agent) -> String {
    let accept = "text/plain;version=0.0.4";
    http::get(agent.address(), "/metrics", accept).expect("a scrape").body
}

#[test]
fn the_agent_knows_owners_counts_by_them_and_follows_a_process_that_moves() {
    let host = host_with_names();
    let root = host.file("").display().to_string();
    let agent = Agent::start(&["--interval", "1s", "--host-root", &root]);
    for hierarchy in Hierarchy::usable() {
        let netns = NetworkNamespace::new();
        let inode = netns.inode().to_string();
        let slice = format!("kubepods.slice/kubepods-pod{}.slice", UID.replace('-', "_"));
        let pod = hierarchy.cgroup(&format!("{slice}/cri-containerd-{ID}.scope"));
        let service = hierarchy.cgroup("system.slice/job.service");
        let (client, _other_ends) = connection(&netns);
        let holder = Holder::in_cgroup(&pod, client);
        let asked = ["--netns", &inode, "--namespace", "shop", "--direction", "outbound"];
        let row = until("the pod's connection is there", SOON, || agent.sockets(&asked).pop());
        assert_eq!(parts(&row), ["", "server", "shop", "web", "web-7c5ddbdf54-x7k2p"]);
        let series = "keepwatch_sockets{direction=\"outbound\",verdict=\"local\",path=\"\",\
                      namespace=\"shop\",workload=\"web\",container=\"server\",process=\"sleep\"} 1\n";
        until("it is counted for the workload", SOON, || {
            metrics(&agent).contains(series).then_some(())
        });
        service.take(holder.pid());
        let asked = ["--netns", &inode, "--unit", "job.service"];
        until("it is of the service", SOON, || agent.sockets(&asked).pop());
        until("and is counted for it", SOON, || {
            let text = metrics(&agent);
            (text.contains("workload=\"job.service\"") && !text.contains("workload=\"web\""))
                .then_some(())
        });
    }
}

#[test]
fn of_a_process_that_was_gone_before_anybody_could_look_the_cgroup_is_known() {
    let place = NamedListener::new();
    let Some(hierarchy) = Hierarchy::usable().into_iter().find(|it| it.name == "v2") else {
        skip("cgroup v2", "the only cgroups that hooks report");
        return;
    };
    let cgroup = hierarchy.cgroup("system.slice/backup.service");
    let listener = place.socket();
    let port = socket::local_address(&listener).port();
    let mut short = place.netns.run(|| {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("read line; exec 3<>/dev/tcp/127.0.0.1/{port}")]);
        command.stdin(Stdio::piped()).spawn().expect("start bash")
    });
    cgroup.take(short.id());
    let agent = Agent::start(&[]);
    agent.freeze();
    drop(short.stdin.take());
    assert!(short.wait().expect("wait for it").success(), "it connects and ends");
    drop(listener);
    agent.thaw();
    until("what it did is counted for its unit", SOON, || {
        let metrics = metrics(&agent);
        let mut deaths = metrics.lines().filter(|line| line.starts_with("keepwatch_deaths_total{"));
        deaths.any(|line| line.contains("workload=\"backup.service\"")).then_some(())
    });
}

#[test]
fn no_name_of_a_process_breaks_a_scrape_and_every_connection_is_counted() {
    const N: u32 = 150;
    let netns = NetworkNamespace::new();
    let holders: Vec<(Holder, [OwnedFd; 2])> = (0..N)
        .map(|n| {
            let (client, other_ends) = connection(&netns);
            let first =
                [0x1b, 0x7f, 0xff, b'"', b'\n', b'\\'][usize::try_from(n % 6).expect("an index")];
            let mut name = vec![first, 0xc3, b'{'];
            name.extend(n.to_string().bytes());
            (Holder::named(&name, client), other_ends)
        })
        .collect();
    let agent = Agent::start(&["--interval", "1s"]);
    let text = until("the sums are those of the table", SOON, || {
        let text = metrics(&agent);
        let n_rows = agent.sockets(&["--state", "established"]).len();
        let rows = text.lines().filter(|line| line.starts_with("keepwatch_sockets{"));
        let n_counted: usize = rows
            .map(|line| {
                line.rsplit_once(' ').expect("a value").1.parse::<usize>().expect("a count")
            })
            .sum();
        let is_named =
            text.contains("process=\"\\\\xff\\\\xc3{2\"") || text.contains("process=\"~other\"");
        (n_rows == n_counted && n_rows >= 2 * holders.len() && is_named).then_some(text)
    });
    assert!(text.len() < 200_000 && !text.chars().any(|c| c != '\n' && c.is_control()));
    let mut promtool = Command::new(tool::program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: run `cargo xtask setup`");
    promtool.stdin.take().expect("its stdin").write_all(text.as_bytes()).expect("write");
    let said = promtool.wait_with_output().expect("its output");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn a_host_root_that_is_not_there_is_named() {
    let args = ["sockets", "--source", "kernel", "--host-root", "/nowhere"];
    let output = keepwatch(args).output().expect("start keepwatch");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("/nowhere") && said.contains("--host-root"), "{said}");
    assert!(!Path::new("/nowhere").exists());
}
