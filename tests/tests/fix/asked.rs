//! What `fix` asks an agent.

use crate::stage::{Fixer, SOON, outcome_of, outcomes};
use keepwatch_tests::{
    answer::agent::{Agent, once},
    kernel::socket::Plan,
    network::path::NetworkPath,
    tool::TemporaryFolder,
    wait,
};
use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

/// What stands between a command and an agent, and writes down what is asked.
struct Relay {
    socket: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
    _folder: TemporaryFolder,
}

impl Relay {
    fn to(agent: &Agent) -> Self {
        let folder = TemporaryFolder::new();
        let socket = folder.file("relay.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (asked, of_agent) = (Arc::<Mutex<Vec<String>>>::default(), agent.socket());
        let written = Arc::clone(&asked);
        // It ends with the process of the test.
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a client");
                pass_on(&client, &of_agent, &written).expect("an answer");
            }
        });
        Self { socket, asked, _folder: folder }
    }

    /// How often connections were asked for since the last time.
    fn n_asked_for_sockets(&self) -> usize {
        let asked = std::mem::take(&mut *self.asked.lock().expect("no panic"));
        asked.iter().filter(|target| target.starts_with("/v1/sockets?")).count()
    }
}

/// Writes down one request, which is one connection, and passes it on, and its answer.
fn pass_on(client: &UnixStream, agent: &Path, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut agent = UnixStream::connect(agent)?;
    let mut head = String::new();
    let mut reader = BufReader::new(client);
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head)?;
    }
    // Before the answer, with which the command ends.
    let target = head.split(' ').nth(1).unwrap_or_default();
    asked.lock().expect("no panic").push(target.to_owned());
    agent.write_all(head.as_bytes())?;
    let mut answered = client;
    // A command that has read enough closes its end.
    io::copy(&mut agent, &mut answered).ok();
    Ok(())
}

#[test]
fn an_agent_is_asked_once_for_connections_and_once_more_if_others_to_the_same_hosts_are_left_out() {
    let fixer = Fixer::new(NetworkPath::cable());
    let [ends, other] = [(); 2].map(|()| fixer.path.connect(&Plan::NOTHING));
    let agent = Agent::start(&["--interval", "500ms"]);
    let (netns, port) = (fixer.path.near.inode().to_string(), ends.local.port().to_string());
    wait::until("the agent has met both", SOON, || {
        let rows = agent.sockets(&["--netns", &netns, "--direction", "outbound"]);
        (rows.iter().filter(|row| !row.owners.is_empty()).count() == 2).then_some(())
    });
    let relay = Relay::to(&agent);
    let (socket, state) = (relay.socket.display().to_string(), fixer.state.file("state"));
    let state = state.display().to_string();
    let ask = |more: &[&str]| {
        let words = ["fix", "--json", "--source", "agent", "--socket", &socket];
        let words = [&words[..], &["--state-dir", &state, "--netns", &netns], more].concat();
        outcomes(&once(words))
    };
    let host = fixer.path.server.ip().to_string();
    for of_whole_hosts in [&[][..], &["--peer", &host]] {
        let rows = ask(of_whole_hosts);
        for ends in [&ends, &other] {
            assert_eq!(outcome_of(&rows, ends.local), ("would_fix", ""), "{of_whole_hosts:?}");
        }
        assert_eq!(relay.n_asked_for_sockets(), 1, "{of_whole_hosts:?}");
    }
    let server = fixer.path.server.to_string();
    for of_a_part in [&["--local-port", port.as_str()][..], &["--peer", &server]] {
        let rows = ask(of_a_part);
        assert_eq!(outcome_of(&rows, ends.local), ("would_fix", ""), "{of_a_part:?}");
        assert_eq!(relay.n_asked_for_sockets(), 2, "others show what the path does: {of_a_part:?}");
    }
}
