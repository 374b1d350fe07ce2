//! Real programs as clients: they send a word, wait until the test lets them go on, and send another.

use keepwatch_tests::{
    kernel::socket,
    network::{ending::receive, path::NetworkPath},
    skip::skip,
};
use rustix::process::{Pid, Signal};
use std::{
    io::Write as _,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

/// A program to run.
pub(crate) struct ClientProgram {
    name: String,
    words: Vec<String>,
    says_a_word: bool,
}

impl ClientProgram {
    /// CPython, with `setting` done to its socket `s`.
    pub(crate) fn python(name: &str, setting: &str) -> Self {
        Self::python_that(name, "pass", setting)
    }

    /// CPython that calls itself by this name, as setproctitle does.
    pub(crate) fn renamed(name: &str) -> Self {
        let rename = format!("open('/proc/self/comm', 'w').write('{name}')");
        Self::python_that(name, &rename, "pass")
    }

    fn python_that(name: &str, before: &str, setting: &str) -> Self {
        let code = "import socket, sys\n\
            exec(sys.argv[4])\n\
            s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n\
            exec(sys.argv[3])\n\
            s.sendall(b'word'); sys.stdin.readline()\n\
            try:\n    s.sendall(b'more'); s.recv(1)\n\
            except OSError as error: print(error)\n\
            sys.stdin.readline()";
        Self::new(name, &["/usr/bin/python3", "-c", code, "ADDRESS", "PORT", setting, before], true)
    }

    /// CPython as two processes: one of the name `client`, whose only connection leads to the other over loopback, and that other one,
    /// of the name `name`, which passes its word on to the server.
    pub(crate) fn proxy(name: &str, client: &str) -> Self {
        let code = format!(
            "import os, socket, sys\n\
            call = lambda name: open('/proc/self/comm', 'w').write(name)\n\
            here = socket.create_server(('127.0.0.1', 0))\n\
            if os.fork() == 0:\n    \
                at = here.getsockname(); here.close(); call('{client}')\n    \
                s = socket.create_connection(at); s.sendall(b'word'); s.recv(1); sys.exit()\n\
            call('{name}')\n\
            up = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n\
            s, _ = here.accept(); up.sendall(s.recv(4))\n\
            sys.stdin.readline(); up.sendall(b'more'); up.recv(1)"
        );
        Self::new(name, &["/usr/bin/python3", "-c", &code, "ADDRESS", "PORT"], true)
    }

    /// Node, with `setting` done to its socket `s`.
    pub(crate) fn node(name: &str, setting: &str) -> Self {
        let code = format!(
            "const s = require('net').connect({{host: process.argv[1], port: process.argv[2]}}, () => {{
                {setting}; s.write('word');
                process.stdin.once('data', () => s.write('more'));
            }});
            s.on('error', () => {{}}); s.on('data', () => {{}}); setTimeout(() => {{}}, 1e6);"
        );
        Self::new(name, &["/usr/bin/node", "-e", &code, "ADDRESS", "PORT"], true)
    }

    /// psql, which waits for an answer to its first packet.
    pub(crate) fn psql(path: &NetworkPath) -> Self {
        let uri = format!("postgresql://x@{}/x", path.server);
        Self::new("psql", &["/usr/bin/psql", &uri], false)
    }

    /// curl, which waits for an answer to its request.
    pub(crate) fn curl(path: &NetworkPath) -> Self {
        let url = format!("http://{}/", path.server);
        Self::new("curl", &["/usr/bin/curl", "--silent", &url], false)
    }

    fn new(name: &str, words: &[&str], says_a_word: bool) -> Self {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Self { name: name.to_owned(), words, says_a_word }
    }

    /// The name in messages of the test.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is installed; if not, the test leaves it out.
    pub(crate) fn is_here(&self) -> bool {
        let is_here = std::path::Path::new(&self.words[0]).exists();
        if !is_here {
            let program = self.words[0].rsplit('/').next().unwrap_or_default();
            skip(program, format!("which is not at {}", self.words[0]));
        }
        is_here
    }
}

/// A program that runs, until it is dropped.
pub(crate) struct RunningClient(Child);

impl RunningClient {
    /// Starts it at the near host; when it has said its word, with the far end of its connection.
    #[track_caller]
    pub(crate) fn start(path: &NetworkPath, program: &ClientProgram) -> (Self, OwnedFd) {
        let (client, end) = Self::start_waiting(path, program);
        socket::send(&end, b"heard");
        (client, end)
    }

    /// The same, and it is not answered.
    #[track_caller]
    pub(crate) fn start_waiting(path: &NetworkPath, program: &ClientProgram) -> (Self, OwnedFd) {
        let server = path.server;
        let words = program.words.iter().map(|word| match word.as_str() {
            "ADDRESS" => server.ip().to_string(),
            "PORT" => server.port().to_string(),
            word => word.to_owned(),
        });
        let words: Vec<String> = words.collect();
        let spawn = || {
            Command::new(&words[0])
                .args(&words[1..])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        };
        let child = path.near.run(spawn).expect("start a client");
        let end = path.accept();
        if program.says_a_word {
            receive(&end, 4);
        }
        (Self(child), end)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Stops it, or lets it go on again.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.0), signal).expect("signal a client");
    }

    /// Lets it say its second word.
    #[track_caller]
    pub(crate) fn go_on(&self) {
        let mut stdin = self.0.stdin.as_ref().expect("its stdin");
        stdin.write_all(b"go on\n").expect("tell it to go on");
    }
}

impl Drop for RunningClient {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
