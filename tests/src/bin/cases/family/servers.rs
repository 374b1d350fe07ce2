//! Servers whose clients set nothing: the server's probes keep the connection, if it is told to.

use super::{ECHO_PORT, HTTP_PORT, bare, echo_server, postgres, server_of, without_remarks};
use crate::{
    case::{Play, TriedCase},
    needed::Needed::{Program, Python},
    program::RunningProgram,
    server_trial::ServerTrial,
    stage::CaseStage,
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::Silence;
use std::process::Command;

const NGINX: u16 = 8100;
const REDIS: u16 = 6379;
const HAPROXY: u16 = 7100;

pub(super) const CASES: &[TriedCase] = &[
    TriedCase {
        name: "nginx, whose quiet client is forgotten",
        needs: &[Program("nginx")],
        play: Play::ServerAdvice(&ServerTrial {
            port: NGINX,
            server: nginx,
            client: |stage| http_client(stage, NGINX),
            advised_as: "nginx, towards clients",
            applied: "in the section server, with its own address",
            ..TRIAL
        }),
        ..CASE
    },
    TriedCase {
        name: "redis-server, whose quiet client is forgotten",
        needs: &[Program("redis-server")],
        play: Play::ServerAdvice(&ServerTrial {
            port: REDIS,
            verdict: "late",
            server: redis_server,
            client: |stage| line_client(stage, REDIS, "PING\\r\\n"),
            advised_as: "the Redis server",
            applied: "in redis.conf",
        }),
        ..CASE
    },
    TriedCase {
        name: "PostgreSQL, whose quiet client is forgotten",
        needs: &[Program("postgres"), Program("initdb"), Python("psycopg2-binary")],
        play: Play::ServerAdvice(&ServerTrial {
            port: postgres::PORT,
            verdict: "late",
            server: postgres_server,
            client: |stage| postgres::psycopg2(stage, &["keepalives=0".to_owned()]),
            advised_as: "the PostgreSQL server",
            applied: "as SQL",
        }),
        ..CASE
    },
    TriedCase {
        name: "HAProxy, whose quiet client is forgotten",
        needs: &[Program("haproxy")],
        play: Play::ServerAdvice(&ServerTrial {
            port: HAPROXY,
            server: haproxy,
            client: |stage| line_client(stage, HAPROXY, "word"),
            advised_as: "HAProxy, towards clients",
            applied: "in the section defaults",
            ..TRIAL
        }),
        ..CASE
    },
    TriedCase {
        name: "gunicorn, whose quiet client is forgotten",
        complaints: &["benoitc/gunicorn#1458", "benoitc/gunicorn#3115"],
        needs: &[Python("gunicorn")],
        play: Play::ServerAdvice(&ServerTrial {
            port: HTTP_PORT,
            server: gunicorn,
            client: |stage| http_client(stage, HTTP_PORT),
            advised_as: "gunicorn",
            applied: "in gunicorn.conf.py",
            ..TRIAL
        }),
        ..CASE
    },
    TriedCase {
        name: "a Node server, whose quiet client is forgotten",
        needs: &[Program("node")],
        play: Play::ServerAdvice(&ServerTrial {
            server: node,
            advised_as: "a Node server",
            applied: "its first line, before it listens",
            ..TRIAL
        }),
        ..CASE
    },
    TriedCase {
        name: "a Python server, whose quiet client is forgotten",
        needs: &[Program("python3")],
        play: Play::ServerAdvice(&ServerTrial { ..TRIAL }),
        ..CASE
    },
];

const CASE: TriedCase = TriedCase {
    name: "",
    kind: "overdue",
    complaints: &[],
    needs: &[],
    path: TriedPath::Forgets(Silence),
    play: Play::ServerAdvice(&TRIAL),
};

const TRIAL: ServerTrial = ServerTrial {
    port: ECHO_PORT,
    verdict: "off",
    server: python,
    client: |stage| line_client(stage, ECHO_PORT, "word"),
    advised_as: "a Python server",
    applied: "to the listening socket",
};

pub(super) fn http_client(stage: &CaseStage<'_>, port: u16) -> Command {
    stage.python(&format!(
        "import http.client\nc = http.client.HTTPConnection(HOST, {port}, timeout=10)\n\
         c.auto_open = True\n\
         def get():\n\x20   c.request('GET', '/')\n\x20   return c.getresponse().read()\ntalk(get)"
    ))
}

pub(super) fn line_client(stage: &CaseStage<'_>, port: u16, word: &str) -> Command {
    stage.python(&format!(
        "s = socket.create_connection((HOST, {port}))\ns.settimeout(10)\n\
         def ask():\n\x20   s.sendall(b'{word}')\n\x20   answer = s.recv(100)\n\
         \x20   if not answer: raise EOFError('closed')\n\x20   return answer\ntalk(ask)"
    ))
}

fn nginx(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let here = format!("{}:{NGINX}", stage.server());
    let listen = if lines.is_empty() { "listen 443 ssl;".to_owned() } else { lines.join("\n") };
    let folder = stage.folder_for_all("nginx");
    let place = folder.display();
    let config = stage.file(
        "nginx.conf",
        &format!(
            "daemon off; pid {place}/pid; error_log stderr; worker_processes 1; events {{}}\n\
             http {{ access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n\
             fastcgi_temp_path {place}/fcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;\n\
             server {{ {}\nkeepalive_timeout 1h; location / {{ return 200 ok; }} }} }}\n",
            listen.replace("443 ssl", &here)
        ),
    );
    let mut nginx = stage.program("nginx", &["-c"]);
    nginx.arg(config).arg("-p").arg(folder);
    server_of(stage, NGINX, nginx)
}

fn redis_server(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let config = format!(
        "bind {}\nport {REDIS}\nsave \"\"\nprotected-mode no\n{}\n",
        stage.server(),
        without_remarks(lines)
    );
    let mut redis = stage.program("redis-server", &[]);
    redis.arg(stage.file("redis.conf", &config));
    server_of(stage, REDIS, redis)
}

fn postgres_server(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let server = postgres::server(stage);
    if lines.is_empty() {
        return server;
    }
    let mut sql = stage.python(
        "import psycopg2\n\
         c = psycopg2.connect('host=' + HOST + ' user=postgres dbname=postgres')\n\
         c.autocommit = True\n\
         for line in sys.argv[2].split(';'):\n\x20   if line.strip(): c.cursor().execute(line)",
    );
    sql.arg(lines.join("\n"));
    let mut sql = stage.far(sql);
    assert!(sql.wait().success(), "the lines as SQL: {:?}", sql.printed());
    server
}

fn haproxy(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let host = stage.server();
    let config = stage.file(
        "haproxy.cfg",
        &format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n{}\n\
             listen front\n bind {host}:{HAPROXY}\n server back {host}:{ECHO_PORT}\n",
            lines.iter().map(|line| bare(line)).collect::<Vec<_>>().join("\n")
        ),
    );
    let mut haproxy = stage.program("haproxy", &["-db", "-f"]);
    haproxy.arg(config);
    let front = server_of(stage, HAPROXY, haproxy);
    front.with(echo_server(stage))
}

fn gunicorn(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let config = stage.file("gunicorn.conf.py", &format!("import socket\n{}\n", lines.join("\n")));
    let app = "def app(environ, start):\n    start('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n";
    stage.file("app.py", app);
    let mut gunicorn = stage.command(stage.kit.python_program("gunicorn"));
    let bind = format!("{}:{HTTP_PORT}", stage.server());
    gunicorn.args(["--bind", &bind, "--keep-alive", "600", "--worker-class", "gthread", "-c"]);
    gunicorn.arg(config).arg("app:app");
    server_of(stage, HTTP_PORT, gunicorn)
}

fn node(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let line = lines.first().map_or("", |line| bare(line));
    let code = format!(
        "const server = require('net').createServer(s => {{ s.on('error', () => {{}}); s.pipe(s); }});\n\
         {line}\nserver.listen({ECHO_PORT}, HOST);"
    );
    server_of(stage, ECHO_PORT, stage.node(&code))
}

fn python(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let code = format!(
        "listener = socket.create_server((HOST, {ECHO_PORT}))\n{}\nserve_echo_on(listener)",
        lines.join("\n")
    );
    server_of(stage, ECHO_PORT, stage.python(&code))
}
