//! `--source proc`: without eBPF, by borrowed descriptors. Its rows are those of the kernel source, field by field; each field
//! that may differ is named here, with the reason and with the only way in which it may.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use keepwatch_tests::{
    answer::{
        agent::{assert_refused, once, sockets_from_proc},
        truth::compare,
    },
    kernel::{
        netns::{NetworkNamespace, require_root},
        population::Population,
        socket::{self, Family, Plan, Road, SocketOption},
    },
    network::path::NetworkPath,
    skip::skip,
    tool::{self, TemporaryFolder},
    wait,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    time::Duration,
};

const NOBODY: &str = "65534";

/// A tick of each clock, and what lies between two calls, seconds.
const SLACK: f64 = 0.06;
/// An acknowledgement is held back for at most this time (`TCP_DELACK_MAX` in include/net/tcp.h), seconds.
const DELAYED_ACK: f64 = 0.25;
const SETTLED: Duration = Duration::from_mins(1);
/// Some probe each second or two.
const OFTEN: f64 = 2.0;

/// Starting a process copies this process's descriptors for a moment, and keepwatch would rightly
/// list a second owner: so one test at a time starts processes.
static ALONE: Mutex<()> = Mutex::new(());

type Fields = Map<String, Value>;

/// The rows of sockets that this process holds, by the first of its descriptors.
#[track_caller]
fn rows_of(source: &str) -> BTreeMap<u64, Fields> {
    let output = once(["sockets", "--json", "--all", "--source", source]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let rows = text.lines().map(|line| serde_json::from_str::<Fields>(line).expect("JSON"));
    rows.filter_map(|row| Some((first_descriptor(&row)?, row))).collect()
}

fn first_descriptor(row: &Fields) -> Option<u64> {
    let own = u64::from(std::process::id());
    let owners = row["owners"].as_array().expect("owners").iter();
    owners.filter(|owner| owner["pid"] == own).filter_map(|owner| owner["fd"].as_u64()).min()
}

/// What the kernel source said before and after, and /proc in between.
struct Looks<'a> {
    before: &'a Fields,
    said: &'a Fields,
    after: &'a Fields,
    /// From the first of them to the end of the last, seconds: of a slow guest half a minute.
    took: f64,
    /// A probe is due meanwhile, at either end, and may be answered.
    is_probed: bool,
}

/// Whether an end sends a probe within that many seconds, the first or one of several.
fn probes_within(row: &Fields, seconds: f64) -> bool {
    let first = row["next_probe_seconds"].as_f64().is_some_and(|due| due <= seconds);
    first || row["keepalive"] == true && row["idle"]["seconds"].as_f64() <= Some(seconds)
}

fn ends(row: &Fields) -> [String; 2] {
    [row["local"].to_string(), row["remote"].to_string()]
}

/// The ends of connections of which one probes so soon, seen from both sides.
fn probed_ends(rows: &BTreeMap<u64, Fields>, seconds: f64) -> BTreeSet<[String; 2]> {
    let probing = rows.values().filter(|row| probes_within(row, seconds)).map(ends);
    probing.flat_map(|[near, far]| [[near.clone(), far.clone()], [far, near]]).collect()
}

impl Looks<'_> {
    /// Whether it is as one of the other source, or a number between theirs: time passes.
    fn agree_on(&self, field: &str) -> bool {
        let [before, said, after] = [self.before, self.said, self.after].map(|row| &row[field]);
        if said == before || said == after {
            return true;
        }
        match [before, said, after].map(Value::as_f64) {
            // It fires meanwhile.
            [Some(_), _, Some(_)] if field == "next_probe_seconds" && self.is_probed => true,
            // It was answered after the look.
            [Some(before), Some(said), None] if field == "spoke_last_seconds" => {
                (before - SLACK..before + self.took).contains(&said)
            }
            // It began meanwhile.
            [None, Some(said), Some(after)]
                if self.said["condition"] != self.before["condition"]
                    && self.said["condition"] == self.after["condition"] =>
            {
                (said - after).abs() < self.took
            }
            [Some(before), Some(said), Some(after)]
                if self.is_probed && matches!(field, "quiet_seconds" | "silent_seconds") =>
            {
                said <= before.max(after) + self.took
            }
            // A packet came after the look.
            [Some(before), Some(said), Some(after)]
                if after < before && matches!(field, "quiet_seconds" | "silent_seconds") =>
            {
                (after..before + self.took).contains(&said)
            }
            [Some(before), Some(said), Some(after)] => {
                (before.min(after) - SLACK..=before.max(after) + SLACK).contains(&said)
            }
            _ => match [before, said, after].map(Value::as_str) {
                [Some(before), Some(said), Some(after)] => {
                    let words = [before, said, after].map(without_numbers);
                    words[1] == words[0] || words[1] == words[2]
                }
                _ => false,
            },
        }
    }
}

/// Sentences have times in them.
fn without_numbers(text: &str) -> String {
    text.chars().filter(|it| !it.is_ascii_digit() && !matches!(it, '.' | ' ')).collect()
}

/// The fields that may differ, why, and how.
type NamedDifference = (&'static [&'static str], &'static str, fn(&Looks<'_>, &str) -> bool);

const DIFFERENCES: [NamedDifference; 4] = [
    (
        &["idle", "interval", "count"],
        "a value that was set to what its namespace says is shown as the namespace's",
        |looks, field| {
            let value = |row: &Fields| {
                let of = &row[field];
                of.get("seconds").or(of.get("probes")).cloned()
            };
            looks.said[field]["from"] == "netns"
                && looks.before[field]["from"] == "socket"
                && value(looks.said) == value(looks.before)
        },
    ),
    (&["silent_seconds"], "stamps of a connection that was before are not shown", |looks, _| {
        looks.said["state"] == "close" && looks.said["silent_seconds"] == 0.0
    }),
    (&["quiet_at_most"], "only hooks see probes of the peer", |looks, _| {
        looks.said["quiet_at_most"] == true
    }),
    (
        &["quiet_seconds", "silent_seconds", "until_limit_seconds", "meaning", "reason"],
        "so quiet times are the longest that they can be",
        |looks, field| {
            let number = |row: &Fields| row[field].as_f64().unwrap_or_default();
            let is_longer = match field {
                "until_limit_seconds" => number(looks.said) < number(looks.after),
                "meaning" | "reason" => looks.said["condition"] == "overdue",
                _ => number(looks.said) > number(looks.before),
            };
            looks.said["quiet_at_most"] == true && is_longer
        },
    ),
];

#[test]
fn rows_are_those_of_the_kernel_source_and_each_difference_has_a_name() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    require_root();
    let population = Population::everything();
    let (began, before) =
        wait::until("acknowledgements that were delayed have gone", SETTLED, || {
            let (began, rows) = (wait::now(), rows_of("kernel"));
            let is_settled = |row: &Fields| row["quiet_seconds"].as_f64() >= Some(DELAYED_ACK);
            let is_open = |row: &Fields| row["state"] == "established";
            let probed = probed_ends(&rows, OFTEN);
            let mut rest = rows.values().filter(|row| is_open(row) && !probed.contains(&ends(row)));
            rest.all(is_settled).then_some((began, rows))
        });
    let (said, after) = (rows_of("proc"), rows_of("kernel"));
    let took = began.elapsed().as_secs_f64();
    assert!(before.len() >= 2_000 && before.len() == population.sockets.len());
    let keys = |rows: &BTreeMap<u64, Fields>| rows.keys().copied().collect::<BTreeSet<_>>();
    assert_eq!(keys(&before), keys(&said), "the same sockets");
    let mut wrong = Vec::new();
    let mut met = BTreeSet::new();
    let probed = probed_ends(&before, took);
    for (fd, said) in &said {
        let is_probed = probed.contains(&ends(said));
        let looks = Looks { before: &before[fd], said, after: &after[fd], took, is_probed };
        let fields = |row: &Fields| row.keys().cloned().collect::<Vec<_>>();
        assert_eq!(fields(said), fields(looks.before));
        // Where hooks make no cookies, they have ids of their own.
        let has_ids = tool::kernel_has_cookies_for_hooks();
        let differs = |field: &&String| !looks.agree_on(field) && (has_ids || *field != "id");
        for field in said.keys().filter(differs) {
            let named = DIFFERENCES.iter().position(|(fields, _, may)| {
                fields.contains(&field.as_str()) && may(&looks, field)
            });
            match named {
                Some(named) => drop(met.insert(named)),
                None => wrong.push(format!(
                    "{} {} {field}: {} / {} / {}",
                    said["local"],
                    said["state"],
                    looks.before[field],
                    said[field],
                    looks.after[field]
                )),
            }
        }
    }
    let first = wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} fields differ (kernel / proc / kernel):\n{first}", wrong.len());
    assert_eq!(met.len(), DIFFERENCES.len(), "each difference is one that is met: {met:?}");
}

#[test]
fn settings_and_states_are_what_getsockopt_says() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let population = Population::everything();
    let mut comparison =
        compare(&population.sockets, Duration::ZERO, || sockets_from_proc(&["--all"]));
    // Named above.
    comparison.differences.retain(|line| !line.ends_with(r#"is "socket", keepwatch says "netns""#));
    comparison.assert_equal();
}

#[test]
fn connections_by_mptcp_have_one_row_each_with_the_id_of_the_whole() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !Path::new("/proc/sys/net/mptcp").is_dir() {
        skip("MPTCP", "which this kernel does not have");
        return;
    }
    let netns = NetworkNamespace::new();
    netns.set("mptcp/enabled", 1);
    let make = || -> OwnedFd {
        let protocol = Some(rustix::net::ipproto::MPTCP);
        let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
        rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol)
            .expect("a socket of MPTCP")
    };
    let (listener, client) = netns.run(|| {
        let (listener, client) = (make(), make());
        rustix::net::bind(&listener, &Family::V4.loopback()).expect("bind");
        rustix::net::listen(&listener, 8).expect("listen");
        rustix::net::connect(&client, &socket::local_address(&listener)).expect("connect");
        (listener, client)
    });
    let accepted = socket::accepted(&listener);
    Road::Call.set(&client, SocketOption::Keepalive, 1);
    let rows = sockets_from_proc(&["--all", "--netns", &netns.inode().to_string()]);
    assert_eq!(rows.len(), 3, "{rows:?}");
    for (fd, direction, keepalive) in [(&client, "outbound", true), (&accepted, "inbound", false)] {
        let id = format!("sk:{:x}", sockopt::socket_cookie(fd).expect("SO_COOKIE"));
        let row = rows.iter().find(|row| row.id == id).expect("its row");
        assert_eq!((row.direction.as_str(), row.keepalive), (direction, keepalive));
        assert_eq!(row.local, socket::local_address(fd));
        assert_eq!(row.idle.seconds, 7200);
    }
}

/// `keepwatch WORDS` as a user without any right but these capabilities.
fn as_nobody(capabilities: &str, words: &[&str]) -> Output {
    let folder = TemporaryFolder::new();
    Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .args(["--inh-caps", capabilities, "--ambient-caps", capabilities])
        .arg(tool::keepwatch())
        .args(words)
        .arg("--socket")
        .arg(folder.file("no-agent.sock"))
        .output()
        .expect("setpriv of util-linux")
}

const WITHOUT_EBPF: &str = "-all,+sys_ptrace,+dac_read_search";

#[test]
fn a_user_with_two_capabilities_and_no_ebpf_sees_settings_and_is_told_what_is_not_seen() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    require_root();
    let path = NetworkPath::cable();
    let ends = path.connect(&Plan::keepalive(77, 9, 4));
    let port = ends.local.port().to_string();
    let look = |capabilities, source: &str| {
        let words = ["sockets", "--json", "--local-port", &port, "--source", source];
        as_nobody(capabilities, &words)
    };
    // Nobody asked for /proc.
    let output = look(WITHOUT_EBPF, "auto");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for words in ["needs CAP_BPF and CAP_PERFMON", "read from /proc", "not seen are events, deaths"]
    {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let row: Value = serde_json::from_slice(&output.stdout).expect("one row");
    assert_eq!(row["local"], ends.local.to_string());
    assert_eq!((&row["keepalive"], &row["direction"]), (&true.into(), &"outbound".into()));
    assert_eq!((&row["idle"]["seconds"], &row["interval"]["seconds"]), (&77.into(), &9.into()));
    assert_eq!((&row["count"]["probes"], &row["verdict"]), (&4.into(), &"protected".into()));
    // Another namespace's sysctls take CAP_SYS_ADMIN: where a value comes from is not guessed.
    assert_eq!((&row["idle"]["from"], &row["netns"]), (&"unknown".into(), &0.into()));
    assert!(said.contains("where settings come from"), "{said}");
    // A user that asks for eBPF gets no other answer.
    assert_refused(&look(WITHOUT_EBPF, "kernel"), 3, &["CAP_BPF and CAP_PERFMON"]);
    // A part of the host is not taken for all of it, unless it is asked for.
    assert_refused(&look("-all,+sys_ptrace", "auto"), 3, &["CAP_BPF and CAP_PERFMON"]);
    let output = look("-all,+sys_ptrace", "proc");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b""[..]));
    assert!(said.contains("processes (needs CAP_DAC_READ_SEARCH)"), "{said}");
}

#[test]
fn commands_that_take_a_source_work_without_ebpf_by_capability() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    require_root();
    let path = NetworkPath::cable();
    let ends = path.connect(&Plan::NOTHING);
    let port = ends.local.port().to_string();
    let run = |words: &[&str]| as_nobody(WITHOUT_EBPF, words);
    let told = |output: &Output| {
        let text = [&output.stdout[..], &output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let checked = run(&["check", "--source", "proc", "--local-port", &port]);
    assert_eq!(checked.status.code(), Some(1), "{}", told(&checked));
    assert!(
        told(&checked).contains("the one outbound connection violates the policy"),
        "{}",
        told(&checked)
    );
    assert!(told(&checked).contains("[/proc]"), "{}", told(&checked));
    // What is hidden may be what was meant: that there is no such connection is not said.
    let words = ["check", "--source", "proc", "--local-port", &port];
    assert_refused(&as_nobody("-all", &words), 3, &["are not", "CAP_SYS_PTRACE"]);
    let words = ["why", &format!(":{port}"), "--source", "proc"];
    assert_refused(&as_nobody("-all", &words), 3, &["are not", "CAP_SYS_PTRACE"]);
    let why = run(&["why", &format!(":{port}"), "--source", "proc"]);
    assert!(told(&why).contains("keepalive off"), "{}", told(&why));
    assert!(told(&why).contains("not seen are events, deaths"), "{}", told(&why));
    let verified = run(&["doctor", "--verify", "--source", "proc", "--json"]);
    assert_eq!(verified.status.code(), Some(0), "{}", told(&verified));
    let doctor = told(&run(&["doctor"]));
    assert!(doctor.contains("without eBPF `--source proc` reads settings"), "{doctor}");
    let state = TemporaryFolder::new();
    let state = state.file("state").display().to_string();
    let words =
        ["fix", "--apply", "--source", "proc", "--local-port", &port, "--state-dir", &state];
    let fixed = Command::new("setpriv")
        .args(["--inh-caps", "-all", "--bounding-set", WITHOUT_EBPF])
        .arg(tool::keepwatch())
        .args(words)
        .output()
        .expect("setpriv of util-linux");
    assert_eq!(fixed.status.code(), Some(0), "{}", told(&fixed));
    assert!(sockopt::socket_keepalive(&ends.client).expect("SO_KEEPALIVE"));
    assert_eq!(sockopt::tcp_keepidle(&ends.client), Ok(Duration::from_mins(1)));
    assert!(!sockopt::socket_keepalive(&ends.accepted).expect("SO_KEEPALIVE"), "inbound");
}

#[test]
fn a_trace_of_proc_is_refused_with_the_way_out() {
    let output = once(["trace", "--source", "proc"]);
    assert_refused(&output, 2, &["events", "--source agent", "sockets --source proc --watch"]);
}
