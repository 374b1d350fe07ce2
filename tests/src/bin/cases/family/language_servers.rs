//! Servers in languages, with clients that set nothing: each with the line that is advised for it.

use super::{
    ECHO_PORT, HTTP_PORT, bare, server_of,
    servers::{http_client, line_client},
};
use crate::{
    case::{Play, TriedCase},
    needed::Needed::{Program, Python},
    program::RunningProgram,
    server_trial::ServerTrial,
    stage::CaseStage,
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::Silence;

pub(super) const CASES: &[TriedCase] = &[
    TriedCase {
        name: "uvicorn, whose quiet client is forgotten",
        needs: &[Python("uvicorn")],
        play: Play::ServerAdvice(&ServerTrial {
            port: HTTP_PORT,
            server: uvicorn,
            client: |stage| http_client(stage, HTTP_PORT),
            advised_as: "uvicorn",
            applied: "in a program that runs it",
            ..TRIAL
        }),
        ..CASE
    },
    TriedCase {
        name: "a Java server, whose quiet client is forgotten",
        needs: &[Program("java")],
        play: Play::ServerAdvice(&ServerTrial {
            server: java,
            advised_as: "a Java server",
            applied: "where it accepts",
            ..TRIAL
        }),
        ..CASE
    },
    TriedCase {
        name: "a Go server, whose quiet client is forgotten",
        needs: &[Program("go")],
        play: Play::ServerAdvice(&ServerTrial {
            verdict: "late",
            server: go,
            advised_as: "a Go server",
            applied: "where it listens",
            ..TRIAL
        }),
        ..CASE
    },
    TriedCase {
        name: "a Ruby server, whose quiet client is forgotten",
        needs: &[Program("ruby")],
        play: Play::ServerAdvice(&ServerTrial {
            server: ruby,
            advised_as: "a Ruby server",
            ..TRIAL
        }),
        ..CASE
    },
    TriedCase {
        name: "a PHP server, whose quiet client is forgotten",
        needs: &[Program("php")],
        play: Play::ServerAdvice(&ServerTrial { server: php, advised_as: "a PHP server", ..TRIAL }),
        ..CASE
    },
    TriedCase {
        name: "a Perl server, whose quiet client is forgotten",
        needs: &[Program("perl")],
        play: Play::ServerAdvice(&ServerTrial {
            server: perl,
            advised_as: "a Perl server",
            ..TRIAL
        }),
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
    server: ruby,
    client: |stage| line_client(stage, ECHO_PORT, "word"),
    advised_as: "",
    applied: "to the listening socket",
};

/// Without lines the command, with them a program.
fn uvicorn(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let app = "async def app(scope, receive, send):\n\
               \x20   await send({'type': 'http.response.start', 'status': 200,\n\
               \x20       'headers': [(b'content-length', b'2')]})\n\
               \x20   await send({'type': 'http.response.body', 'body': b'ok'})\n";
    stage.file("app.py", app);
    let host = stage.server();
    let command = if lines.is_empty() {
        let port = HTTP_PORT.to_string();
        let mut uvicorn = stage.command(stage.kit.python_program("uvicorn"));
        uvicorn.args(["app:app", "--lifespan", "off", "--host", &host, "--port", &port]);
        uvicorn.args(["--timeout-keep-alive", "600"]);
        uvicorn
    } else {
        stage.python(&format!(
            "import uvicorn\nfrom app import app\n\
             config = uvicorn.Config(app, host=HOST, port={HTTP_PORT}, lifespan='off',\n\
             \x20   timeout_keep_alive=600)\n{}",
            lines.join("\n")
        ))
    };
    server_of(stage, HTTP_PORT, command)
}

/// The first line accepts.
fn java(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let accept = if lines.is_empty() {
        "Socket s = serverSocket.accept();".to_owned()
    } else {
        lines.join("\n")
    };
    let file = stage.file(
        "Server.java",
        &format!(
            "import java.io.*;\nimport java.net.*;\nimport jdk.net.ExtendedSocketOptions;\n\
             public class Server {{\n\
             static void echo(Socket s) {{\n\
               try {{ s.getInputStream().transferTo(s.getOutputStream()); }} catch (IOException e) {{ }} }}\n\
             public static void main(String[] words) throws Exception {{\n\
               InetAddress here = InetAddress.getByName(words[0]);\n\
               ServerSocket serverSocket = new ServerSocket({ECHO_PORT}, 50, here);\n\
               while (true) {{\n{accept}\nnew Thread(() -> echo(s)).start(); }} }} }}\n"
        ),
    );
    let mut java = stage.program("java", &["-XX:TieredStopAtLevel=1"]);
    java.arg(file).arg(stage.server());
    server_of(stage, ECHO_PORT, java)
}

/// The lines listen and serve.
fn go(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let listen = if lines.is_empty() {
        "listener, err := net.Listen(\"tcp\", addr)\nserver.Serve(listener)".to_owned()
    } else {
        lines.join("\n")
    };
    let file = stage.file(
        "server.go",
        &format!(
            "package main\nimport (\"context\"; \"io\"; \"net\"; \"os\"; \"time\")\n\
             type echo struct{{}}\n\
             func (echo) Serve(listener net.Listener) {{\n\
               for {{ c, err := listener.Accept(); if err != nil {{ panic(err) }}; go io.Copy(c, c) }} }}\n\
             func main() {{\n\
               ctx, server, addr := context.Background(), echo{{}}, os.Args[1]\n\
               _, _ = ctx, time.Second\n{listen}\n\
               if err != nil {{ panic(err) }} }}\n"
        ),
    );
    let mut go = stage.program("go", &["run"]);
    go.arg(file).arg(format!("{}:{ECHO_PORT}", stage.server()));
    go.env("GOCACHE", stage.kit.cache("go")).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod");
    server_of(stage, ECHO_PORT, go)
}

fn ruby(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let code = format!(
        "require 'socket'\nlistener = TCPServer.new(ARGV[0], {ECHO_PORT})\n{}\n\
         loop {{ Thread.new(listener.accept) {{ |s| loop {{ s.write(s.readpartial(100)) }} }} }}",
        lines.join("\n")
    );
    let ruby = stage.program("ruby", &["--disable-gems", "-e", &code, &stage.server()]);
    server_of(stage, ECHO_PORT, ruby)
}

/// One client at a time.
fn php(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let code = format!(
        "$listener = socket_create(AF_INET, SOCK_STREAM, SOL_TCP);\n\
         socket_set_option($listener, SOL_SOCKET, SO_REUSEADDR, 1);\n\
         socket_bind($listener, '{}', {ECHO_PORT}); socket_listen($listener);\n{}\n\
         while ($s = socket_accept($listener)) {{\n\
           while ($word = socket_read($s, 100)) {{ socket_write($s, $word); }} }}",
        stage.server(),
        lines.iter().map(|line| bare(line)).collect::<Vec<_>>().join("\n")
    );
    server_of(stage, ECHO_PORT, stage.program("php", &["-r", &code]))
}

/// One client at a time.
fn perl(stage: &CaseStage<'_>, lines: &[String]) -> RunningProgram {
    let code = format!(
        "use Socket qw(:all);\n\
         socket(my $listener, PF_INET, SOCK_STREAM, 0) or die $!;\n\
         setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1);\n\
         bind($listener, sockaddr_in({ECHO_PORT}, inet_aton('{}'))) or die $!;\n{}\n\
         listen($listener, 5) or die $!;\n\
         while (accept(my $s, $listener)) {{\n\
           while (sysread($s, my $word, 100)) {{ syswrite($s, $word); }} }}",
        stage.server(),
        lines.join("\n")
    );
    server_of(stage, ECHO_PORT, stage.program("perl", &["-e", &code]))
}
