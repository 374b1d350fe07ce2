//! The cases, a file for each family of software.

mod http;
mod language_servers;
mod languages;
mod libraries;
mod mysql;
mod node;
mod pgbouncer;
mod postgres;
mod proxies;
mod queues;
mod redis;
mod servers;
mod ssh;
mod syslog;

use crate::{case::TriedCase, program::RunningProgram, stage::CaseStage};
use std::process::Command;

/// All cases, in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = &'static TriedCase> {
    let families = [
        postgres::CASES,
        mysql::CASES,
        redis::CASES,
        node::CASES,
        http::CASES,
        languages::CASES,
        libraries::CASES,
        ssh::CASES,
        proxies::CASES,
        syslog::CASES,
        queues::CASES,
        servers::CASES,
        pgbouncer::CASES,
        language_servers::CASES,
    ];
    families.into_iter().flatten()
}

/// Proposed lines without what stands behind three spaces: `LINE   (where it goes)`, `LINE   # remark`.
fn without_remarks(lines: &[String]) -> String {
    let bare = lines.iter().map(|line| bare(line));
    bare.collect::<Vec<_>>().join("\n")
}

fn first_line(lines: &[String]) -> String {
    lines.first().map(|line| bare(line).to_owned()).unwrap_or_default()
}

fn bare(line: &str) -> &str {
    let remarks = ["   (", "   #", "   //", "  //"];
    let ends = remarks.iter().filter_map(|remark| line.find(remark));
    ends.min().and_then(|end| line.get(..end)).unwrap_or(line)
}

/// Starts a server at the far host, and waits until it listens.
#[track_caller]
fn server_of(stage: &CaseStage<'_>, port: u16, command: Command) -> RunningProgram {
    let server = stage.far(command);
    stage.until_listens(port, &server);
    server
}

/// A server that sends back what it gets.
const ECHO_PORT: u16 = 7007;

fn echo_server(stage: &CaseStage<'_>) -> RunningProgram {
    server_of(stage, ECHO_PORT, stage.python(&format!("serve_echo({ECHO_PORT})")))
}

/// A server of HTTP that answers `/slow/N` after N seconds, and `/large` with 64 MiB.
const HTTP_PORT: u16 = 8080;

fn http_server(stage: &CaseStage<'_>) -> RunningProgram {
    server_of(stage, HTTP_PORT, stage.python(&format!("serve_http({HTTP_PORT})")))
}
