//! PgBouncer, whose clients set nothing.

use super::{postgres, server_of, without_remarks};
use crate::{
    case::{Play, TriedCase},
    needed::Needed::{Program, Python},
    program::RunningProgram,
    server_trial::ServerTrial,
    stage::CaseStage,
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::Silence;
use std::os::unix::process::CommandExt as _;

const PORT: u16 = 6432;

pub(super) const CASES: &[TriedCase] = &[TriedCase {
    name: "PgBouncer, whose quiet client is forgotten",
    kind: "overdue",
    complaints: &[],
    needs: &[
        Program("pgbouncer"),
        Program("postgres"),
        Program("initdb"),
        Python("psycopg2-binary"),
    ],
    path: TriedPath::Forgets(Silence),
    play: Play::ServerAdvice(&ServerTrial {
        port: PORT,
        verdict: "late",
        server,
        client: |stage| postgres::psycopg2(stage, &[format!("keepalives=0 port={PORT}")]),
        advised_as: "PgBouncer, towards clients",
        applied: "in pgbouncer.ini",
    }),
}];

/// The lines go into its section.
fn server(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let behind = postgres::server(stage);
    let host = stage.server();
    let config = format!(
        "[databases]\npostgres = host={host} port={} user=postgres\n\
         [pgbouncer]\nlisten_addr = {host}\nlisten_port = {PORT}\nauth_type = any\n\
         unix_socket_dir =\n{}\n",
        postgres::PORT,
        without_remarks(lines)
    );
    let mut pgbouncer = stage.program("pgbouncer", &[]);
    pgbouncer.arg(stage.file("pgbouncer.ini", &config));
    // It refuses to run as root.
    pgbouncer.uid(postgres::NOBODY).gid(postgres::NOBODY);
    server_of(stage, PORT, pgbouncer).with(behind)
}
