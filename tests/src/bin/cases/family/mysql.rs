//! Clients of MySQL and MariaDB, which turn keepalive on and leave the times to the system.

use super::{first_line, server_of};
use crate::{
    case::{Play, TriedCase},
    kit,
    needed::Needed::{Node, Program, Python},
    program::RunningProgram,
    stage::CaseStage,
    trial::AdviceTrial,
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::{Reset, Silence};
use std::process::Command;

const PORT: u16 = 3306;

pub(super) const CASES: &[TriedCase] = &[
    TriedCase {
        name: "mysql2 of Node, a connection used after the path forgot it",
        kind: "idle_drop",
        complaints: &[],
        needs: &[Program("mariadbd"), Program("node"), Node("mysql2")],
        path: TriedPath::Forgets(Silence),
        play: Play::Advice(&AdviceTrial { ..TRIAL }),
    },
    TriedCase {
        name: "PyMySQL, a connection used after the path forgot it; then with the system's times",
        kind: "idle_drop",
        complaints: &[],
        needs: &[Program("mariadbd"), Python("PyMySQL")],
        path: TriedPath::Forgets(Reset),
        play: Play::Advice(&AdviceTrial {
            client: pymysql,
            advised_as: "PyMySQL",
            place: "sysctl",
            applied: "in a shell, and the program started again",
            ..TRIAL
        }),
    },
];

const TRIAL: AdviceTrial = AdviceTrial {
    port: PORT,
    verdict: "late",
    cause: "idle_drop",
    server,
    client: mysql2,
    advised_as: "mysql2 for Node",
    place: "runtime",
    applied: "as the call",
    then: "protected",
};

/// MariaDB with nothing in it; anybody may come in.
fn server(stage: &CaseStage<'_>) -> RunningProgram {
    let data = stage.new_name("mariadb");
    std::fs::create_dir(&data).expect("a folder of the case");
    let mut mariadbd = stage.program("mariadbd", &["--no-defaults", "--skip-grant-tables"]);
    mariadbd.arg(format!("--datadir={}", data.display()));
    mariadbd.arg(format!("--socket={}", data.join("socket").display()));
    mariadbd.arg(format!("--bind-address={}", stage.server()));
    mariadbd.args([&format!("--port={PORT}"), "--user=root", "--innodb-buffer-pool-size=8M"]);
    let messages = kit::unpacked("usr/share/mysql");
    if messages.is_dir() {
        mariadbd.arg(format!("--lc-messages-dir={}", messages.display()));
        mariadbd.arg(format!("--character-sets-dir={}", messages.join("charsets").display()));
    }
    server_of(stage, PORT, mariadbd)
}

/// The line is a call of `createConnection`, with dots where the address goes.
fn mysql2(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let call = if lines.is_empty() {
        "mysql.createConnection({ ... })".to_owned()
    } else {
        first_line(lines)
    };
    stage.node(&format!(
        "const mysql = require('mysql2/promise');\n\
         Promise.resolve({}).then(c => {{\n\
           c.on('error', () => {{}});\n\
           return talk(() => c.query('select 1').then(([rows]) => rows.length)); }});",
        call.replace("...", "host: HOST, user: 'root'")
    ))
}

/// The lines are commands of a shell.
fn pymysql(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let mut python = stage.python(
        "import subprocess, pymysql\n\
         subprocess.run(['sh', '-c', sys.argv[2]])\n\
         c = pymysql.connect(host=HOST, user='root')\nq = c.cursor()\n\
         talk(lambda: q.execute('select 1'))",
    );
    python.arg(lines.join("\n"));
    python
}
