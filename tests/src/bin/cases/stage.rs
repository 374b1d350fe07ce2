//! Where a case is played: two hosts, what is between them, the agent that watches, programs at both ends.

use crate::{
    kit::{self, SoftwareKit},
    program::RunningProgram,
    report::CaseReport,
    said::{self, WhySaid, text_at},
    seen_by_ss::SeenBySs,
    tried_path::{LIMIT_SECONDS, TriedPath},
};
use keepwatch_tests::{
    answer::agent::Agent, network::path::NetworkPath, tool::TemporaryFolder, wait,
};
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two questions to the agent: each is a process.
const PAUSE: Duration = Duration::from_millis(400);
/// Longer than an acknowledgement may be delayed, and shorter than the kernel repeats.
const DELAYED_ACK: Duration = Duration::from_secs(2);
/// What Python programs of the cases begin with.
const PYTHON: &str = include_str!("family/prelude.py");
/// Networks from here on are taken to forget after [`LIMIT_SECONDS`], those below after the default.
const FORGETFUL: u8 = 128;

/// The stage of one case.
#[derive(Debug)]
pub(crate) struct CaseStage<'a> {
    pub(crate) path: NetworkPath,
    pub(crate) agent: &'a Agent,
    pub(crate) kit: &'a SoftwareKit,
    pub(crate) folder: TemporaryFolder,
}

impl<'a> CaseStage<'a> {
    /// An agent for all cases, which knows what paths forget after by their networks.
    #[track_caller]
    pub(crate) fn agent() -> Agent {
        let forgets = format!("short=10.{FORGETFUL}.0.0/9={LIMIT_SECONDS}s");
        Agent::start(&["--interval", "1s", "--path", &forgets])
    }

    /// None if this kernel cannot be a middlebox. No two cases may have one number.
    #[track_caller]
    pub(crate) fn new(
        tried: TriedPath,
        number: u8,
        agent: &'a Agent,
        kit: &'a SoftwareKit,
    ) -> Option<Self> {
        assert!(number < FORGETFUL, "there are not that many networks");
        let is_forgetful = tried != TriedPath::Keeps;
        let path = NetworkPath::router_in(if is_forgetful { FORGETFUL + number } else { number });
        let path = match tried {
            TriedPath::Forgets(answer) => path.with_middlebox(LIMIT_SECONDS, answer)?,
            TriedPath::SaidToForget | TriedPath::Keeps => path,
        };
        // The kernel gives up after some 6 s of repeating, not after 15 min; of what is closed, not after 100 s.
        for host in [&path.near, &path.far] {
            host.set("ipv4/tcp_retries2", 4);
            host.set("ipv4/tcp_orphan_retries", 4);
        }
        Some(Self { path, agent, kit, folder: TemporaryFolder::new() })
    }

    /// The address of the server's host.
    pub(crate) fn server(&self) -> String {
        self.path.server.ip().to_string()
    }

    /// A file in the folder of this case, with this text.
    #[track_caller]
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.file(name);
        fs::write(&path, text).expect("write a file of the case");
        path
    }

    /// A path in the folder of this case where there is nothing yet.
    pub(crate) fn new_name(&self, name: &str) -> PathBuf {
        let names = (0..).map(|number: u32| self.folder.file(&format!("{name}-{number}")));
        let mut free = names.filter(|path| !path.exists());
        free.next().unwrap_or_default()
    }

    /// A command with nothing of our own environment: no proxies.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", self.folder.file("")).env("LANG", "C.UTF-8");
        command.current_dir(self.folder.file(""));
        command
    }

    /// A program of Debian's with these words.
    #[track_caller]
    pub(crate) fn program(&self, name: &str, words: &[&str]) -> Command {
        let program = kit::find_program(name).unwrap_or_else(|| panic!("no program {name}"));
        let mut command = self.command(program);
        command.args(words).envs(kit::libraries(name, &self.folder.file("")));
        command
    }

    /// Python with the prelude; `HOST` is the server's address.
    pub(crate) fn python(&self, code: &str) -> Command {
        let mut command = self.command(self.kit.python());
        command.args(["-c", &format!("{PYTHON}\n{code}"), &self.server()]);
        command
    }

    /// Node; `HOST` is the server's address, `outcome(promise)` tells how it went.
    #[track_caller]
    pub(crate) fn node(&self, code: &str) -> Command {
        let prelude = include_str!("family/prelude.js");
        let mut command =
            self.program("node", &["-e", &format!("{prelude}\n{code}"), &self.server()]);
        command.env("NODE_PATH", self.kit.node_modules());
        command
    }

    #[track_caller]
    pub(crate) fn near(&self, command: Command) -> RunningProgram {
        RunningProgram::start(&self.path.near, command)
    }

    #[track_caller]
    pub(crate) fn far(&self, command: Command) -> RunningProgram {
        RunningProgram::start(&self.path.far, command)
    }

    /// Waits until something listens on this port of the server, by `ss`: a connection would be one more to tell of.
    #[track_caller]
    pub(crate) fn until_listens(&self, port: u16, server: &RunningProgram) {
        let listens = || SeenBySs::listens(&self.path.far, port).then_some(());
        let found = patiently(PATIENCE, listens);
        assert!(found.is_some(), "nothing listens on port {port}: {:?}", server.printed());
    }

    /// The client's connection to this port, by `ss`, once it is established.
    #[track_caller]
    pub(crate) fn connected(&self, port: u16) -> SeenBySs {
        wait::until(format!("a connection to port {port}"), PATIENCE, || {
            SeenBySs::all(&self.path.near, port).into_iter().find(|seen| seen.state == "ESTAB")
        })
    }

    /// Watches the connection from this address for a time, by `ss`: less if it is gone before.
    pub(crate) fn watch(&self, local: SocketAddr, time: Duration) {
        let lives = |seen: SeenBySs| seen.state == "ESTAB";
        patiently(time, || (!self.seen_from(local).is_some_and(lives)).then_some(()));
    }

    /// Whether the connection from this address carried an answer: it is there, and nothing of it stays unanswered. A
    /// program may have asked on a new one.
    pub(crate) fn has_carried(&self, local: SocketAddr) -> bool {
        let is_answered = |seen: SeenBySs| seen.unacked == 0;
        let find = || self.seen_from(local).is_some_and(is_answered).then_some(());
        patiently(DELAYED_ACK, find).is_some()
    }

    /// The connection from this address as it is now.
    pub(crate) fn seen_from(&self, local: SocketAddr) -> Option<SeenBySs> {
        SeenBySs::of(&self.path.near).into_iter().find(|seen| seen.local == local)
    }

    /// Waits until the client's connection carried neither data nor an ACK for longer than the limit, by `ss`.
    #[track_caller]
    pub(crate) fn until_quiet(&self, port: u16) -> SeenBySs {
        let longest = u64::from(LIMIT_SECONDS) * 1000 + 1500;
        wait::until(format!("a quiet connection to port {port}"), PATIENCE, || {
            let all = SeenBySs::all(&self.path.near, port);
            all.into_iter().find(|seen| seen.state == "ESTAB" && seen.quiet_ms >= longest)
        })
    }

    /// The rows of a connection with this port at its other end.
    #[track_caller]
    pub(crate) fn rows(&self, port: u16) -> Vec<Value> {
        let rows = said::rows(self.agent, self.path.near.inode());
        let end = format!(":{port}");
        rows.into_iter().filter(|row| text_at(row, "/remote").ends_with(&end)).collect()
    }

    /// Waits for the row of a connection of this host to this port that is so.
    #[track_caller]
    pub(crate) fn until_row(&self, port: u16, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut last = Vec::new();
        let found = patiently(PATIENCE, || {
            last = self.rows(port);
            last.iter().find(|row| is(row)).cloned()
        });
        found.unwrap_or_else(|| panic!("no row of port {port} {what}: {last:?}"))
    }

    /// Waits until the row of a connection to this port is so, and looks at it by `ss` all the while: the row, and the
    /// longest quiet time that `ss` saw, in seconds.
    #[track_caller]
    pub(crate) fn until_kept(&self, port: u16) -> (Value, f64) {
        let mut longest_ms = 0;
        let mut last = None;
        let is_due = |last: &Option<Instant>| last.is_none_or(|at| at.elapsed() > PAUSE);
        let row = wait::within(PATIENCE, || {
            let quiet = SeenBySs::all(&self.path.near, port).first().map_or(0, |it| it.quiet_ms);
            longest_ms = longest_ms.max(quiet);
            if !is_due(&last) {
                return None;
            }
            last = Some(wait::now());
            self.rows(port).into_iter().find(|row| text_at(row, "/verdict") == "kept")
        });
        let longest = Duration::from_millis(longest_ms).as_secs_f64();
        (row.unwrap_or_else(|| panic!("no row of port {port} is kept")), longest)
    }

    /// What is said of a connection that something else than its own probes keeps.
    #[track_caller]
    pub(crate) fn report_kept(&self, report: &mut CaseReport, port: u16, own: &str) -> Value {
        let (row, longest) = self.until_kept(port);
        let wanted = [("verdict", "kept"), ("condition", "fine"), ("keepalive", own)];
        report.live("kept", &row, &wanted);
        let said = row.pointer("/longest_quiet_seconds").and_then(Value::as_f64).unwrap_or(0.0);
        report.truth(format!(
            "it lives after three times what the path keeps; quiet for up to {longest:.1} s by ss"
        ));
        let what = format!(
            "seen quiet for a time that is no more than {longest:.1} s, and half of it or more"
        );
        let is_so = (longest / 2.0..=longest + 0.15).contains(&said);
        report.must(&what, is_so, format!("{said}"));
        row
    }

    /// What `why` answers of the server's port.
    #[track_caller]
    pub(crate) fn why(&self, port: u16) -> WhySaid {
        said::why(self.agent, &format!("{}:{port}", self.server()))
    }

    /// Waits until `why` knows a death of a connection from this address, and returns its answer with that case.
    #[track_caller]
    pub(crate) fn death(&self, port: u16, local: SocketAddr) -> (WhySaid, Value) {
        let mut last = None;
        let found = patiently(PATIENCE, || {
            let why = self.why(port);
            let is_it = |case: &&Value| {
                !text_at(case, "/example/cause").is_empty()
                    && text_at(case, "/example/local").parse() == Ok(local)
            };
            let case = why.cases.iter().find(is_it).cloned();
            let found = case.map(|case| (why.clone(), case));
            last = Some(why);
            found
        });
        found.unwrap_or_else(|| panic!("no death of {local} to port {port}: {last:?}"))
    }

    /// The folder of this case.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.file("")
    }

    /// A new folder below it that any user may write.
    #[track_caller]
    pub(crate) fn folder_for_all(&self, name: &str) -> PathBuf {
        let path = self.new_name(name);
        fs::create_dir(&path).expect("a folder of the case");
        open_to_all(&path);
        path
    }
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("chmod of our folder");
}

/// Asks now and then, until there is an answer or the time is over.
pub(crate) fn patiently<T>(time: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let mut last = None;
    wait::within(time, || {
        if last.is_some_and(|at: Instant| at.elapsed() < PAUSE) {
            return None;
        }
        let answer = ask();
        last = Some(wait::now());
        answer
    })
}
