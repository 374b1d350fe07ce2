//! What `keepwatch sockets --json` makes of agents that are not this one: newer, killed in the middle of an answer, or
//! hostile. A thread of the test answers in their place.
#![expect(clippy::expect_used, reason = "a test")]

use keepwatch_tests::{
    answer::agent::keepwatch,
    tool::TemporaryFolder,
    wait::{now, until},
};
use serde_json::json;
use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    process::{Output, Stdio},
    thread,
    time::Duration,
};

const SOON: Duration = Duration::from_mins(1);
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

fn row(number: u32) -> String {
    format!("{{\"id\":\"sk:{number:x}\",\"new_word\":{{\"of\":[\"a newer agent\",1.50]}}}}\n")
}

/// Runs `keepwatch sockets --json` against an agent whose answer is what `answer` writes, before it hangs up.
fn sockets(answer: impl Fn(&mut UnixStream) + Send + 'static) -> Output {
    let folder = TemporaryFolder::new();
    let path = folder.file("keepwatch.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let agent = thread::spawn(move || {
        serve_status(&mut accepted(&listener));
        answer(&mut accepted(&listener));
    });
    let mut command = keepwatch(["sockets", "--json", "--source", "agent", "--socket"]);
    let output = command.arg(&path).stdin(Stdio::null()).output().expect("start keepwatch");
    agent.join().expect("the agent's part");
    output
}

/// The next client, once it has asked.
fn accepted(listener: &UnixListener) -> UnixStream {
    let (stream, _) = listener.accept().expect("a client");
    let lines = BufReader::new(stream.try_clone().expect("the same")).lines();
    lines.map(|line| line.expect("a request")).find(String::is_empty).expect("its end");
    stream
}

fn serve_status(stream: &mut UnixStream) {
    let flow = json!({"seen": 0, "submitted": 0, "dropped": 0, "filtered": 0, "received": 0, "decoded": 0,
                      "undecodable": 0});
    let status = json!({"version": "9.0.0", "pid": 1, "started_unix_seconds": 0.0, "hooks": [], "flow": flow,
                        "sockets": 2, "sockets_untracked": 0, "snapshot_unix_seconds": 0.0, "unready": null});
    let body = status.to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    write(stream, &(head + &body));
}

fn write(stream: &mut UnixStream, text: &str) {
    stream.write_all(text.as_bytes()).expect("the client listens");
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_field_that_only_a_newer_agent_knows_is_printed_as_it_was_sent() {
    let output = sockets(|stream| {
        write(stream, &format!("{CHUNKED}{}{}0\r\n\r\n", chunk(&row(1)), chunk(&row(2))));
    });
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(String::from_utf8(output.stdout).expect("text"), row(1) + &row(2));
}

#[test]
fn an_answer_that_was_cut_is_4_and_says_so_wherever_it_was_cut() {
    let second = row(2);
    let cuts = ["", second.trim_end(), second.split_at(9).0].map(str::to_owned);
    for cut in cuts {
        let rest = format!("{:x}\r\n{cut}", second.len());
        let sent = format!("{CHUNKED}{}{rest}", chunk(&row(1)));
        let output = sockets(move |stream| write(stream, &sent));
        assert_eq!(output.status.code(), Some(4), "{cut:?}: {}", said(&output));
        let said = said(&output);
        assert!(said.contains("broke off its answer, which is not complete"), "{cut:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        let printed = String::from_utf8(output.stdout).expect("text");
        assert_eq!(printed, row(1), "whole lines only");
    }
}

#[test]
fn an_agent_that_hangs_up_before_it_answers_is_3() {
    let output = sockets(|_| ());
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("gave no answer"), "{}", said(&output));
}

#[test]
fn what_a_terminal_would_obey_is_an_error_and_not_printed() {
    for bad in ["\u{1b}[2J", "\u{9b}2J", "\r", "\0"] {
        let line = format!("{{\"id\":\"sk:1\",\"process\":\"{bad}\"}}\n");
        let output =
            sockets(move |stream| write(stream, &format!("{CHUNKED}{}0\r\n\r\n", chunk(&line))));
        assert_eq!(output.status.code(), Some(3), "{bad:?}: {}", said(&output));
        assert!(said(&output).contains("control character"), "{bad:?}: {}", said(&output));
        assert_eq!(output.stdout, b"", "{bad:?}");
        assert!(!output.stderr.contains(&0x1b), "{bad:?}");
    }
    // The way in which JSON says the same is harmless, and passes.
    let line = "{\"id\":\"sk:1\",\"process\":\"\\u001b[2J\"}\n";
    let output =
        sockets(move |stream| write(stream, &format!("{CHUNKED}{}0\r\n\r\n", chunk(line))));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(String::from_utf8(output.stdout).expect("text"), line);
}

#[test]
fn a_reader_that_has_enough_ends_the_command_with_success() {
    let folder = TemporaryFolder::new();
    let path = folder.file("keepwatch.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let agent = thread::spawn(move || {
        serve_status(&mut accepted(&listener));
        let mut stream = accepted(&listener);
        write(&mut stream, CHUNKED);
        // Rows without end: only a client that hangs up ends this.
        let began = now();
        while stream.write_all(chunk(&row(1)).as_bytes()).is_ok() {
            assert!(began.elapsed() < SOON, "the command still reads");
        }
    });
    let mut command = keepwatch(["sockets", "--json", "--source", "agent", "--socket"]);
    command.arg(&path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start keepwatch");
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("its stdout"));
    stdout.read_line(&mut first).expect("a row");
    assert_eq!(first, row(1));
    drop(stdout);
    let status = until("the command ends", SOON, || child.try_wait().expect("wait for it"));
    let output = child.wait_with_output().expect("what it said");
    assert_eq!(status.code(), Some(0), "{}", said(&output));
    assert_eq!(said(&output), "");
    agent.join().expect("the agent's part");
}
