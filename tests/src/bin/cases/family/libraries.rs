//! Libraries that send pings of their own protocol, if they are told to.

use super::{first_line, server_of, ssh, without_remarks};
use crate::{
    case::{Play, TriedCase},
    needed::Needed::{Node, Program, Python},
    program::RunningProgram,
    stage::CaseStage,
    trial::AdviceTrial,
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::Silence;
use std::process::Command;

const GRPC: u16 = 50051;

pub(super) const CASES: &[TriedCase] = &[
    TriedCase {
        name: "grpcio, a channel used after the path forgot it",
        needs: &[Python("grpcio")],
        play: Play::Advice(&AdviceTrial {
            port: GRPC,
            server: grpc_server,
            client: grpc,
            advised_as: "gRPC core",
            applied: "as options of the channel, and of the server",
            ..TRIAL
        }),
        ..CASE
    },
    TriedCase {
        name: "Paramiko, a session left open; then with its own pings",
        needs: &[Python("paramiko"), Python("asyncssh")],
        play: Play::Advice(&AdviceTrial { ..TRIAL }),
        ..CASE
    },
    TriedCase {
        name: "MQTT.js with its keepalive of 60 s; then with the one that is advised",
        needs: &[Program("mosquitto"), Program("node"), Node("mqtt")],
        play: Play::Advice(&AdviceTrial {
            port: super::queues::PORT,
            server: super::queues::broker,
            client: mqtt_js,
            advised_as: "MQTT.js",
            applied: "as the call",
            ..TRIAL
        }),
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
    port: ssh::PORT,
    verdict: "off",
    cause: "idle_drop",
    server: ssh::server,
    client: paramiko,
    advised_as: "Paramiko",
    place: "ping",
    applied: "after it has connected",
    then: "kept",
};

/// It allows pings as the line demands.
fn grpc_server(stage: &CaseStage<'_>) -> RunningProgram {
    let code = format!(
        "import grpc\nfrom concurrent.futures import ThreadPoolExecutor\n\
         echo = grpc.unary_unary_rpc_method_handler(lambda word, _: word)\n\
         server = grpc.server(ThreadPoolExecutor(4), options=[\n\
         \x20   ('grpc.keepalive_permit_without_calls', 1),\n\
         \x20   ('grpc.http2.min_ping_interval_without_data_ms', 1000)])\n\
         server.add_generic_rpc_handlers(\n\
         \x20   [grpc.method_handlers_generic_handler('cases.Echo', {{'Say': echo}})])\n\
         server.add_insecure_port('%s:{GRPC}' % HOST)\nserver.start()\nserver.wait_for_termination()"
    );
    server_of(stage, GRPC, stage.python(&code))
}

/// The line names options of the channel, until it goes on about the server.
fn grpc(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let line = lines.join(" ");
    let of_client = line.split("(the server").next().unwrap_or_default();
    let words = of_client.split([' ', ',']).filter_map(|word| word.split_once('='));
    let options = words.map(|(name, value)| {
        format!("('{name}', {})", value.trim_end_matches(|it: char| !it.is_ascii_digit()))
    });
    let options = options.collect::<Vec<_>>().join(", ");
    stage.python(&format!(
        "import grpc\nchannel = grpc.insecure_channel('%s:{GRPC}' % HOST, options=[{options}])\n\
         echo = channel.unary_unary('/cases.Echo/Say')\n\
         talk(lambda: echo(b'word', timeout=5))"
    ))
}

/// The line is a call on `client`.
fn paramiko(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    stage.python(&format!(
        "import paramiko\nclient = paramiko.SSHClient()\n\
         client.set_missing_host_key_policy(paramiko.AutoAddPolicy())\n\
         client.connect(HOST, {}, username='root', password='', look_for_keys=False,\n\
         \x20   allow_agent=False, timeout=20)\n{}\n\
         _, out, _ = client.exec_command('answer')\n\
         def ask():\n\
         \x20   session = client.get_transport().open_session(timeout=5)\n\
         \x20   session.close()\n\x20   return 'a new session'\ntalk(ask)",
        ssh::PORT,
        first_line(lines)
    ))
}

/// The line is a call of `mqtt.connect`. It shall not connect again by itself.
fn mqtt_js(stage: &CaseStage<'_>, lines: &[String]) -> Command {
    let call =
        if lines.is_empty() { "mqtt.connect(url, {})".to_owned() } else { without_remarks(lines) };
    stage.node(&format!(
        "const plain = require('mqtt');\nconst url = `mqtt://${{HOST}}:{}`;\n\
         const mqtt = {{ connect: (to, options) => \
         plain.connect(to, {{ ...options, reconnectPeriod: 0 }}) }};\n\
         const client = {call};\nclient.on('error', () => {{}});\n\
         const ask = () => new Promise((done, failed) => {{\n\
           client.once('close', () => failed(Error('closed')));\n\
           client.publish('news', 'word', {{ qos: 1 }}, \
         error => error ? failed(error) : done('published')); }});\n\
         client.once('connect', () => talk(ask));",
        super::queues::PORT
    ))
}
