//! Brokers, whose clients ping.

use super::server_of;
use crate::{
    case::{
        Needed::{Program, Python},
        Play, Road, TriedCase,
    },
    report::CaseReport,
    said::text_at,
    stage::CaseStage,
};
use keepwatch_tests::network::middlebox::MiddleboxAnswer::Silence;
use rustix::process::Signal;

const PORT: u16 = 1883;

pub(super) const CASES: &[TriedCase] = &[TriedCase {
    name: "paho with keepalive=3 at Mosquitto, until it is stopped",
    kind: "kept",
    complaints: &["alanxz/rabbitmq-c#411", "php-amqplib/php-amqplib#461"],
    needs: &[Program("mosquitto"), Python("paho-mqtt")],
    road: Road::Forgets(Silence),
    play: Play::Steps(pings_until_it_is_stopped),
}];

fn pings_until_it_is_stopped(stage: &CaseStage<'_>, report: &mut CaseReport) {
    let config = stage.file(
        "mosquitto.conf",
        &format!("listener {PORT} {}\nallow_anonymous true\nuser root\n", stage.server()),
    );
    let mut mosquitto = stage.program("mosquitto", &["-c"]);
    mosquitto.arg(config);
    let _server = server_of(stage, PORT, mosquitto);
    let client = stage.near(stage.python(&format!(
        "import paho.mqtt.client as mqtt\n\
         c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)\n\
         c.on_connect = lambda *_: say('ready')\n\
         c.connect(HOST, {PORT}, keepalive=3)\nc.loop_forever()"
    )));
    client.until("ready");
    let kept = |row: &serde_json::Value| text_at(row, "/verdict") == "kept";
    let row = stage.until_row(PORT, "is kept", kept);
    let seen = stage.connected(PORT);
    report.truth(format!("it lives after three times what the path keeps; {}", seen.in_words()));
    stage.report_live(report, "pinging", &row, &[("verdict", "kept"), ("condition", "fine")]);
    let why = stage.why(PORT);
    report.must("exit code 0 of why", why.exit == Some(0), format!("{:?}", why.exit));
    report.said(why.headline());
    client.signal_group(Signal::STOP);
    let closed = |row: &serde_json::Value| text_at(row, "/condition") == "peer_closed";
    let row = stage.until_row(PORT, "is closed by the broker", closed);
    let seen = stage.seen_from(seen.local).map(|seen| seen.in_words()).unwrap_or_default();
    report.given("ss has it in CLOSE-WAIT", seen.contains("CLOSE-WAIT"), &seen);
    report.truth(format!("stopped, and the broker closes; {seen}"));
    stage.report_live(report, "stopped", &row, &[("condition", "peer_closed")]);
    client.signal_group(Signal::CONT);
}
