//! Brokers, whose clients ping.

use super::server_of;
use crate::{
    case::{Play, TriedCase},
    needed::Needed::{self, Program, Python},
    program::RunningProgram,
    report::CaseReport,
    said::text_at,
    stage::CaseStage,
    tried_path::TriedPath,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::Silence;
use rustix::process::Signal;

pub(super) const PORT: u16 = 1883;

const NEEDS: &[Needed] = &[Program("mosquitto"), Python("paho-mqtt")];

pub(super) const CASES: &[TriedCase] = &[
    TriedCase {
        name: "paho with keepalive=3 at Mosquitto",
        kind: "kept",
        complaints: &["alanxz/rabbitmq-c#411", "php-amqplib/php-amqplib#461"],
        needs: NEEDS,
        path: TriedPath::Forgets(Silence),
        play: Play::Steps(pings),
    },
    TriedCase {
        name: "Mosquitto, which closes a client that does not ping any more",
        kind: "peer_closed",
        complaints: &[],
        needs: NEEDS,
        path: TriedPath::SaidToForget,
        play: Play::Steps(broker_closes),
    },
];

pub(super) fn broker(stage: &CaseStage<'_>) -> RunningProgram {
    let config = stage.file(
        "mosquitto.conf",
        &format!("listener {PORT} {}\nallow_anonymous true\nuser root\n", stage.server()),
    );
    let mut mosquitto = stage.program("mosquitto", &["-c"]);
    mosquitto.arg(config);
    server_of(stage, PORT, mosquitto)
}

fn paho(stage: &CaseStage<'_>) -> RunningProgram {
    let client = stage.near(stage.python(&format!(
        "import paho.mqtt.client as mqtt\n\
         c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)\n\
         c.on_connect = lambda *_: say('ready')\n\
         c.connect(HOST, {PORT}, keepalive=3)\nc.loop_forever()"
    )));
    client.until("ready");
    client
}

fn pings(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = broker(stage);
    let _client = paho(stage);
    stage.report_kept(report, PORT, "false");
    let why = stage.why(PORT);
    report.must("exit code 0 of why", why.exit == Some(0), format!("{:?}", why.exit));
    report.said(why.headline());
}

fn broker_closes(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let _server = broker(stage);
    let client = paho(stage);
    let seen = stage.connected(PORT);
    client.signal_group(Signal::STOP);
    let closed = |row: &serde_json::Value| text_at(row, "/condition") == "peer_closed";
    let row = stage.until_row(PORT, "is closed by the broker", closed);
    let seen = stage.seen_from(seen.local).map(|seen| seen.in_words()).unwrap_or_default();
    report.given("ss has it in CLOSE-WAIT", seen.contains("CLOSE-WAIT"), &seen);
    report.truth(format!("stopped, and the broker closes; {seen}"));
    report.live("stopped", &row, &[("condition", "peer_closed")]);
    let why = stage.why(PORT);
    report.said(why.headline());
    client.signal_group(Signal::CONT);
}
