//! `keepwatch top` as a person meets it: on a real terminal, with real connections.
#![expect(clippy::expect_used, reason = "a test")]

use keepwatch_tests::{
    answer::{
        agent::{Agent, assert_refused, keepwatch, once},
        terminal::Terminal,
    },
    kernel::{
        crowd::Crowd,
        netns::{NetworkNamespace, require_root},
        socket::Plan,
    },
    network::path::NetworkPath,
    tool::TemporaryFolder,
    wait,
};
use rustix::{
    net::sockopt,
    process::{Pid, Signal, kill_process},
};
use std::{process::Command, time::Duration};

/// `keepwatch top` on the agent's socket, or on one where nobody answers.
fn top(socket: &std::path::Path, args: &[&str]) -> Command {
    let mut command = keepwatch(["top", "--interval", "200ms", "--socket"]);
    command.arg(socket).args(args);
    command
}

fn signal(terminal: &Terminal, signal: Signal) {
    let pid = Pid::from_raw(terminal.pid().cast_signed()).expect("a process id");
    kill_process(pid, signal).expect("signal our own child");
}

/// Only what this test made.
fn of(netns: &NetworkNamespace) -> [String; 2] {
    ["--netns".to_owned(), netns.inode().to_string()]
}

#[test]
fn a_connection_is_shown_with_what_happened_to_it_at_any_size() {
    let agent = Agent::start(&[]);
    let path = NetworkPath::cable();
    let ends = path.connect(&Plan::NOTHING);
    let [flag, inode] = of(&path.near);
    let mut terminal = Terminal::start(&top(&agent.socket(), &[&flag, &inode]), 80, 24);
    let peer = path.server.to_string();
    let lines = terminal.wait_for("the connection", |lines| {
        lines.iter().any(|line| line.contains(&peer) && line.contains("off"))
    });
    let pid = agent.pid();
    assert!(lines[0].contains(&format!("as the agent sees it (process {pid})")), "{}", lines[0]);
    assert!(lines[3].starts_with("DROPPED IN") && !lines[3].contains("LOCAL"), "{}", lines[3]);
    terminal.resize(200, 50);
    terminal.wait_for("more columns", |lines| lines.len() == 50 && lines[3].contains("LOCAL"));
    terminal.types("/no such thing");
    terminal.wait_for("nothing found", |lines| lines[4].starts_with("nothing found"));
    terminal.types("\x1b");
    terminal.wait_for("all of them", |lines| lines[4].contains(&peer));
    terminal.types("\r");
    terminal.wait_for("its timeline", |lines| {
        lines.iter().any(|line| line.contains("opened, keepalive is off"))
    });
    drop(ends);
    terminal.wait_for("its end", |lines| {
        lines.iter().any(|line| line.contains("not there any more"))
            && lines.iter().any(|line| line.contains("ended"))
    });
    terminal.resize(40, 10);
    terminal
        .wait_for("a narrow screen", |lines| lines.len() == 10 && lines[9].contains("Esc back"));
    terminal.types("q");
    assert_eq!(terminal.wait_for_end().code(), Some(0));
    terminal.assert_restored();
}

#[test]
fn without_an_agent_it_reads_the_kernel_and_says_so() {
    require_root();
    let path = NetworkPath::cable();
    let _ends = path.connect(&Plan::NOTHING);
    let folder = TemporaryFolder::new();
    let [flag, inode] = of(&path.near);
    let command = top(&folder.file("none.sock"), &[&flag, &inode]);
    let mut terminal = Terminal::start(&command, 80, 24);
    terminal.wait_for("the source and the connection", |lines| {
        lines[0].contains("read from the kernel, without an agent")
            && lines[4].contains(&path.server.to_string())
    });
    terminal.types("\r");
    terminal.wait_for("that nobody remembers", |lines| {
        lines.iter().any(|line| line.contains("Nobody watched"))
    });
    terminal.types("q");
    assert_eq!(terminal.wait_for_end().code(), Some(0));
    terminal.assert_restored();
}

#[test]
fn without_ebpf_it_reads_proc_says_so_and_follows_what_changes() {
    require_root();
    let path = NetworkPath::cable();
    let ends = path.connect(&Plan::NOTHING);
    let folder = TemporaryFolder::new();
    let [flag, inode] = of(&path.near);
    let words = [flag.as_str(), &inode, "--source", "proc"];
    let mut terminal = Terminal::start(&top(&folder.file("none.sock"), &words), 120, 24);
    let peer = path.server.to_string();
    let shows = |lines: &[String], verdict: &str| {
        lines.iter().any(|line| line.contains(&peer) && line.contains(verdict))
    };
    let lines = terminal.wait_for("the connection", |lines| shows(lines, "off"));
    let source = "read from /proc, without an agent and eBPF";
    assert!(lines[0].contains(source), "{}", lines[0]);
    sockopt::set_tcp_keepidle(&ends.client, Duration::from_mins(1)).expect("TCP_KEEPIDLE");
    sockopt::set_socket_keepalive(&ends.client, true).expect("SO_KEEPALIVE");
    terminal.wait_for("its new verdict", |lines| shows(lines, "protected"));
    terminal.types("\r");
    terminal.wait_for("that nobody remembers", |lines| {
        lines.iter().any(|line| line.contains("Nobody watched"))
    });
    drop(ends);
    terminal
        .wait_for("its end", |lines| lines.iter().any(|line| line.contains("not there any more")));
    terminal.types("q");
    assert_eq!(terminal.wait_for_end().code(), Some(0));
    terminal.assert_restored();
}

#[test]
fn without_the_rights_for_all_processes_it_says_that_it_shows_a_part() {
    require_root();
    let folder = TemporaryFolder::new();
    let of_top = top(&folder.file("none.sock"), &["--source", "proc"]);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(of_top.get_program()).args(of_top.get_args());
    let mut terminal = Terminal::start(&command, 120, 24);
    terminal.wait_for("that it is a part", |lines| lines[0].contains("rights are missing"));
    terminal.types("q");
    assert_eq!(terminal.wait_for_end().code(), Some(0));
    terminal.assert_restored();
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let agent = Agent::start(&[]);
    let end_by = |what: &str, end: &dyn Fn(&Terminal)| {
        let mut terminal = Terminal::start(&top(&agent.socket(), &[]), 80, 24);
        terminal.wait_for("a picture", |lines| lines[0].starts_with("keepwatch top"));
        assert!(terminal.is_taken(), "else nothing would be given back");
        end(&terminal);
        assert_eq!(terminal.wait_for_end().code(), Some(0), "{what}");
        terminal.assert_restored();
    };
    end_by("q", &|terminal| terminal.types("q"));
    end_by("Ctrl-C", &|terminal| terminal.types("\x03"));
    end_by("SIGTERM", &|terminal| signal(terminal, Signal::TERM));
    end_by("SIGINT", &|terminal| signal(terminal, Signal::INT));
    end_by("SIGHUP", &|terminal| signal(terminal, Signal::HUP));
}

#[test]
fn it_ends_when_the_terminal_is_gone() {
    let agent = Agent::start(&[]);
    let mut terminal = Terminal::start(&top(&agent.socket(), &[]), 80, 24);
    terminal.wait_for("a picture", |lines| lines[0].starts_with("keepwatch top"));
    assert_eq!(terminal.vanish().code(), Some(0));
}

#[test]
fn it_goes_on_when_the_agent_goes_and_says_that_it_is_not_of_now() {
    let agent = Agent::start(&[]);
    let mut terminal = Terminal::start(&top(&agent.socket(), &[]), 120, 24);
    terminal.wait_for("a picture", |lines| lines[0].starts_with("keepwatch top"));
    let folder = agent.kill();
    terminal.wait_for("that nobody answers", |lines| {
        lines[1].starts_with("not of now: no agent answers")
    });
    let agent = Agent::start_in(folder, &[]);
    let pid = format!("process {}", agent.pid());
    terminal.wait_for("the next agent", |lines| {
        lines[0].contains(&pid) && lines[1].contains("connection")
    });
    terminal.types("q");
    assert_eq!(terminal.wait_for_end().code(), Some(0));
}

#[test]
fn without_colours_none_are_written() {
    let agent = Agent::start(&[]);
    let path = NetworkPath::cable();
    let _ends = path.connect(&Plan::NOTHING);
    let has_colour = |args: &[&str], variable: Option<&str>| {
        let mut command = top(&agent.socket(), args);
        command.args(of(&path.near));
        command.envs(variable.map(|value| ("NO_COLOR", value)));
        let mut terminal = Terminal::start(&command, 80, 24);
        let peer = path.server.to_string();
        terminal.wait_for("a row", |lines| lines.iter().any(|line| line.contains(&peer)));
        terminal.types("q");
        terminal.wait_for_end();
        // 38;5 and 31 to 35: the colours of letters.
        let written = terminal.written();
        ["\x1b[38;5;", "\x1b[31", "\x1b[33", ";38;5;"].iter().any(|colour| written.contains(colour))
    };
    assert!(has_colour(&[], None), "else the rest shows nothing");
    assert!(has_colour(&[], Some("")), "an empty NO_COLOR forbids nothing");
    assert!(!has_colour(&["--no-color"], None));
    assert!(!has_colour(&[], Some("1")));
}

#[test]
fn where_there_is_no_terminal_it_says_what_to_do_instead() {
    let output = once(["top"]);
    assert_refused(
        &output,
        2,
        &["needs one on stdin and stdout", "keepwatch sockets --sort limit"],
    );
}

#[test]
fn five_thousand_connections_cost_little_while_nothing_happens() {
    const WINDOW: Duration = Duration::from_secs(10);
    let agent = Agent::start(&[]);
    let netns = NetworkNamespace::new();
    let address = "127.0.0.1:2717".parse().expect("an address");
    let mut crowd = Crowd::start(&netns, "both", address, 2_500);
    crowd.wait_for("ready");
    for (columns, lines) in [(80, 24), (200, 50)] {
        let mut command = keepwatch(["top", "--sort", "process", "--socket"]);
        command.arg(agent.socket()).args(of(&netns));
        let mut terminal = Terminal::start(&command, columns, lines);
        terminal.wait_for("all of them", |lines| lines[1].starts_with("5000 connections"));
        let (began, before) = (wait::now(), terminal.cpu_ticks());
        wait::within(WINDOW, || {
            terminal.lines();
            None::<()>
        });
        let ticks = u32::try_from(terminal.cpu_ticks() - before).expect("a small number");
        let share = f64::from(ticks) / f64::from(TICKS_A_SECOND) / began.elapsed().as_secs_f64();
        assert!(share < 0.02, "{share} of a core at {columns}x{lines}");
        terminal.types("q");
        assert_eq!(terminal.wait_for_end().code(), Some(0));
    }
}

/// USER_HZ: the same on every Linux that this runs on.
const TICKS_A_SECOND: u32 = 100;
