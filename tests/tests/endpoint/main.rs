//! The metrics endpoint where not everybody is a friend: TLS, passwords, reloads, names, sockets of systemd, and clients that
//! hold on to it.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

mod activation;
mod clients;
mod names;
mod reload;
mod tls;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use keepwatch_tests::{
    answer::{
        agent::Agent,
        tls::{Authority, TlsClient, replace},
    },
    tool::TemporaryFolder,
    wait::until,
};
use std::{path::PathBuf, time::Duration};

const SOON: Duration = Duration::from_secs(30);
const HOST: &str = "Host: localhost";

/// An agent with TLS, and what is needed to speak with it.
struct SecureAgent {
    agent: Agent,
    ours: Authority,
    folder: TemporaryFolder,
}

impl SecureAgent {
    /// `more`: what the web config says besides certificate and key.
    #[track_caller]
    fn start(more: &str) -> Self {
        let (ours, folder) = (Authority::new("ours"), TemporaryFolder::new());
        ours.server().write(&folder.file(""), "server");
        replace(&folder.file("ca.crt"), ours.certificate());
        replace(&folder.file("web.yml"), &web_config(more));
        let file = folder.file("web.yml").display().to_string();
        let args = ["--interval", "1s", "--web-config-file", &file];
        let agent = Agent::spawn_in(TemporaryFolder::new(), &args);
        until("the agent listens", SOON, || {
            std::net::TcpStream::connect(agent.address()).ok().map(drop)
        });
        Self { agent, ours, folder }
    }

    fn client(&self) -> TlsClient {
        TlsClient::trusting(&self.ours)
    }

    fn web_config(&self) -> PathBuf {
        self.folder.file("web.yml")
    }
}

fn web_config(more: &str) -> String {
    format!("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n{more}")
}

/// A user with the bcrypt hash of a password, at the lowest cost.
fn user(name: &str, password: &str) -> String {
    let hash = bcrypt::hash(password, 4).expect("a hash");
    format!("basic_auth_users:\n  {name}: {hash}\n")
}

fn basic(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// Whether a metric has this value, in Prometheus' text.
fn has(metrics: &str, series: &str, value: &str) -> bool {
    metrics.lines().any(|line| line == format!("{series} {value}"))
}
