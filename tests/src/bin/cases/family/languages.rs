//! Plain sockets of languages: each with the line that is advised for it.

use super::{ECHO_PORT, bare, echo_server, without_remarks};
use crate::{
    case::{Play, TriedCase},
    needed::Needed::Program,
    stage::CaseStage,
    trial::AdviceTrial,
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::Silence;
use std::process::Command;

pub(super) const CASES: &[TriedCase] = &[
    TriedCase {
        name: "Python sockets, used after the path forgot it",
        needs: &[Program("python3")],
        play: Play::Advice(&AdviceTrial { client: python, advised_as: "Python sockets", ..TRIAL }),
        ..CASE
    },
    TriedCase {
        name: "Java sockets, used after the path forgot it",
        needs: &[Program("java")],
        play: Play::Advice(&AdviceTrial { client: java, advised_as: "Java sockets", ..TRIAL }),
        ..CASE
    },
    TriedCase {
        name: "Go net.Dialer, used after the path forgot it",
        needs: &[Program("go")],
        play: Play::Advice(&AdviceTrial {
            verdict: "late",
            client: go,
            advised_as: "Go's net.Dialer",
            applied: "as the dialer",
            ..TRIAL
        }),
        ..CASE
    },
    TriedCase {
        name: "Ruby sockets, used after the path forgot it",
        needs: &[Program("ruby")],
        play: Play::Advice(&AdviceTrial { client: ruby, advised_as: "Ruby sockets", ..TRIAL }),
        ..CASE
    },
    TriedCase {
        name: "PHP streams, used after the path forgot it",
        needs: &[Program("php")],
        play: Play::Advice(&AdviceTrial { client: php, advised_as: "PHP streams", ..TRIAL }),
        ..CASE
    },
    TriedCase {
        name: "Perl sockets, used after the path forgot it",
        needs: &[Program("perl")],
        play: Play::Advice(&AdviceTrial { client: perl, advised_as: "Perl", ..TRIAL }),
        ..CASE
    },
];

const CASE: TriedCase = TriedCase {
    name: "",
    kind: "idle_drop",
    complaints: &[],
    needs: &[],
    path: TriedPath::Forgets(Silence),
    play: Play::Advice(&TRIAL),
};

const TRIAL: AdviceTrial = AdviceTrial {
    port: ECHO_PORT,
    verdict: "off",
    cause: "idle_drop",
    server: echo_server,
    client: python,
    advised_as: "",
    place: "runtime",
    applied: "after the socket is connected",
    then: "protected",
};

fn python(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    stage.python(&format!(
        "s = socket.create_connection((HOST, {ECHO_PORT}))\n{}\n\
         talk(lambda: s.sendall(b'word') or s.recv(100))",
        lines.join("\n")
    ))
}

fn java(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let file = stage.file(
        "Client.java",
        &format!(
            "import java.io.*;\nimport java.net.*;\nimport jdk.net.ExtendedSocketOptions;\n\
             public class Client {{\n\
             static void ask(Socket s) throws IOException {{\n\
               s.getOutputStream().write('w'); s.getOutputStream().flush();\n\
               if (s.getInputStream().read() < 0) throw new IOException(\"closed\"); }}\n\
             public static void main(String[] words) throws Exception {{\n\
               Socket s = new Socket(words[0], {ECHO_PORT});\n{}\n\
               ask(s); System.out.println(\"ready\"); System.in.read();\n\
               try {{ ask(s); System.out.println(\"outcome: answered\"); }}\n\
               catch (IOException error) {{ System.out.println(\"outcome: \" + error); }}\n\
               System.in.read(); System.in.read(); Thread.sleep(100000); }} }}\n",
            lines.join("\n")
        ),
    );
    let mut java = stage.program("java", &["-XX:TieredStopAtLevel=1"]);
    java.arg(file).arg(stage.server());
    java
}

/// The lines make a dialer, `d`.
fn go(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let dialer =
        if lines.is_empty() { "d := &net.Dialer{}".to_owned() } else { without_remarks(lines) };
    let file = stage.file(
        "client.go",
        &format!(
            "package main\nimport (\"bufio\"; \"fmt\"; \"net\"; \"os\"; \"time\")\n\
             func ask(c net.Conn) error {{\n\
               if _, err := c.Write([]byte(\"word\")); err != nil {{ return err }}\n\
               _, err := c.Read(make([]byte, 10)); return err }}\n\
             func main() {{\n\
               var _ = time.Second\n\
               {dialer}\n\
               c, err := d.Dial(\"tcp\", os.Args[1]+\":{ECHO_PORT}\")\n\
               if err != nil {{ panic(err) }}\n\
               if err := ask(c); err != nil {{ panic(err) }}\n\
               fmt.Println(\"ready\"); in := bufio.NewReader(os.Stdin); in.ReadString('\\n')\n\
               if err := ask(c); err != nil {{ fmt.Println(\"outcome:\", err) }} else {{ \
             fmt.Println(\"outcome: answered\") }}\n\
               in.ReadString('\\n') }}\n"
        ),
    );
    let mut go = stage.program("go", &["run"]);
    go.arg(file).arg(stage.server());
    // Its cache outlives the case: the standard library is compiled once.
    go.env("GOCACHE", stage.kit.cache("go")).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod");
    go
}

fn ruby(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let code = format!(
        "require 'socket'; $stdout.sync = true\ns = TCPSocket.new(ARGV[0], {ECHO_PORT})\n{}\n\
         ask = -> {{ s.write('word'); s.readpartial(100) }}\n\
         ask.call; puts 'ready'; $stdin.gets\n\
         begin\n  puts \"outcome: answered #{{ask.call}}\"\nrescue => error\n  puts \"outcome: #{{error}}\"\nend\n\
         $stdin.gets",
        lines.join("\n")
    );
    stage.program("ruby", &["--disable-gems", "-e", &code, &stage.server()])
}

fn php(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let code = format!(
        "$f = stream_socket_client(\"tcp://{}:{ECHO_PORT}\");\n{}\n\
         $ask = fn() => @fwrite($f, 'word') ? @fread($f, 100) : false;\n\
         $ask(); echo \"ready\\n\"; fgets(STDIN);\n\
         $answer = $ask(); echo $answer ? \"outcome: answered $answer\\n\" : \"outcome: no answer\\n\";\n\
         fgets(STDIN);",
        stage.server(),
        lines.iter().map(|line| bare(line)).collect::<Vec<_>>().join("\n")
    );
    stage.program("php", &["-d", "default_socket_timeout=60", "-r", &code])
}

fn perl(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let code = format!(
        "use Socket qw(:all); use IO::Handle; $| = 1;\n\
         socket(my $s, PF_INET, SOCK_STREAM, 0) or die $!;\n\
         connect($s, sockaddr_in({ECHO_PORT}, inet_aton('{}'))) or die $!; $s->autoflush(1);\n{}\n\
         sub ask {{ syswrite($s, 'word') or return; sysread($s, my $answer, 100); $answer }}\n\
         ask(); print \"ready\\n\"; <STDIN>;\n\
         my $answer = ask(); print 'outcome: ', $answer ? \"answered $answer\" : \"$!\", \"\\n\"; <STDIN>;",
        stage.server(),
        lines.join("\n")
    );
    stage.program("perl", &["-e", &code])
}
