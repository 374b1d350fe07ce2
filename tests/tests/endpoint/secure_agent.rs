//! An agent whose metrics endpoint asks for TLS, and what is needed to speak with it.

use super::SOON;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use keepwatch_tests::{
    answer::{
        agent::Agent,
        tls::{Authority, TlsClient, replace},
    },
    tool::TemporaryFolder,
    wait::until,
};
use std::path::PathBuf;

/// An agent with TLS, and what is needed to speak with it.
pub(super) struct SecureAgent {
    pub(super) agent: Agent,
    pub(super) ours: Authority,
    pub(super) folder: TemporaryFolder,
}

impl SecureAgent {
    /// `more`: what the web config says besides certificate and key.
    #[track_caller]
    pub(super) fn start(more: &str) -> Self {
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

    pub(super) fn client(&self) -> TlsClient {
        TlsClient::trusting(&self.ours)
    }

    pub(super) fn web_config(&self) -> PathBuf {
        self.folder.file("web.yml")
    }
}

pub(super) fn web_config(more: &str) -> String {
    format!("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n{more}")
}

/// A user with the bcrypt hash of a password, at the lowest cost.
pub(super) fn user(name: &str, password: &str) -> String {
    let hash = bcrypt::hash(password, 4).expect("a hash");
    format!("basic_auth_users:\n  {name}: {hash}\n")
}

pub(super) fn basic(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{name}:{password}")))
}
