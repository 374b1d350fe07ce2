//! Advice is tried: a client dies on a path; the line that `why` proposes is applied, and it must live on that path.

use crate::{
    program::RunningProgram,
    report::{CaseReport, TriedAdvice},
    said::text_at,
    stage::CaseStage,
    tried_path::LIMIT_SECONDS,
};
use keepwatch_tests::wait::now;
use serde_json::Value;
use std::{process::Command, time::Duration};

/// A client with its server, and how a proposed line is applied to it.
///
/// The client prints `ready` when it has had an answer; a line on its stdin lets it ask again, and it prints `outcome:`
/// with how that went.
#[derive(Debug)]
pub(crate) struct AdviceTrial {
    pub(crate) port: u16,
    /// What the client has without any advice.
    pub(crate) verdict: &'static str,
    pub(crate) cause: &'static str,
    pub(crate) server: fn(&CaseStage<'_>) -> RunningProgram,
    /// Without lines: with its defaults.
    pub(crate) client: fn(&CaseStage<'_>, &[String]) -> Command,
    /// Part of the name of the client in the advice: the first advice that has it is applied.
    pub(crate) advised_as: &'static str,
    /// Which of its lines: `runtime`, `ping`, `sysctl`.
    pub(crate) place: &'static str,
    /// How the lines are applied.
    pub(crate) applied: &'static str,
    /// The verdict with the line applied.
    pub(crate) then: &'static str,
}

impl AdviceTrial {
    pub(crate) fn play(&self, stage: &CaseStage<'_>, report: &mut CaseReport) {
        let _server = (self.server)(stage);
        let (client, advice) = self.die(stage, report);
        // A sysctl is set by the id of a process that lives in the network namespace.
        let _client = (self.place == "sysctl").then_some(client);
        let Some(advice) = advice else {
            return;
        };
        let lines: Vec<String> = texts(&advice, "/lines");
        let client = text_at(&advice, "/client/name").to_owned();
        let (outcome, survived) = self.live(stage, report, &lines);
        let applied = self.applied.to_owned();
        report.advice = Some(TriedAdvice { client, lines, applied, outcome, survived });
    }

    /// Quiet for longer than the path keeps, and then used. Returns the advice about that.
    fn die(
        &self,
        stage: &CaseStage<'_>,
        report: &mut CaseReport,
    ) -> (RunningProgram, Option<Value>) {
        let mut client = stage.near((self.client)(stage, &[]));
        client.until("ready");
        let seen = stage.until_quiet(self.port);
        report.truth(format!("quiet for {} s; {}", seen.quiet_ms / 1000, seen.in_words()));
        let overdue = |row: &Value| text_at(row, "/condition") == "overdue";
        let row = stage.until_row(self.port, "is overdue", overdue);
        let wanted = [("verdict", self.verdict), ("condition", "overdue")];
        report.live("quiet", &row, &wanted);
        let why = stage.why(self.port);
        report.must("exit code 1 of why", why.exit == Some(1), format!("{:?}", why.exit));
        client.tell("go");
        report.truth(client.until("outcome"));
        let (_, case) = stage.death(self.port, seen.local);
        report.death(&case, &[("cause", self.cause)]);
        let found = advice_for(self.advised_as, self.place, &case, report);
        (client, found)
    }

    fn live(
        &self,
        stage: &CaseStage<'_>,
        report: &mut CaseReport,
        lines: &[String],
    ) -> (String, bool) {
        let mut client = stage.near((self.client)(stage, lines));
        client.until("ready");
        let local = stage.connected(self.port).local;
        let began = now();
        // Twice what the path keeps, without a word; what something else keeps must be watched for longer.
        let times = if self.then == "kept" { 4 } else { 2 };
        let quiet = Duration::from_secs(u64::from(LIMIT_SECONDS * times) + 2);
        stage.watch(local, quiet);
        let waited = began.elapsed();
        report.given("it was watched for long enough", waited >= quiet, waited.as_secs());
        let its = |row: &Value| text_at(row, "/local").parse() == Ok(local);
        let row = stage.until_row(self.port, "is that of the connection", its);
        report.live("with the line", &row, &[("verdict", self.then), ("condition", "fine")]);
        let timer = stage.seen_from(local).map_or_else(String::new, |seen| seen.timer);
        client.tell("go");
        let outcome = client.until("outcome");
        let survived = outcome.contains("outcome: answered") && stage.has_carried(local);
        report.must("the line works", survived, &outcome);
        let seconds = began.elapsed().as_secs();
        (
            format!(
                "{}: quiet for {seconds} s, then {} {timer}",
                row_settings(&row),
                outcome.trim_start_matches("outcome: ")
            ),
            survived,
        )
    }
}

/// The first advice of a case of `why` for this software and of this kind; that there is one is demanded.
pub(crate) fn advice_for(
    name: &str,
    place: &str,
    case: &Value,
    report: &mut CaseReport,
) -> Option<Value> {
    let advice = case.pointer("/advice").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_it = |one: &&Value| {
        text_at(one, "/client/name").contains(name) && text_at(one, "/place") == place
    };
    let found = advice.iter().find(is_it).cloned();
    let all = advice.iter().map(|one| (text_at(one, "/client/name"), text_at(one, "/place")));
    let what = format!("advice for {name}: {place}");
    report.must(&what, found.is_some(), format!("{:?}", all.collect::<Vec<_>>()));
    found
}

/// `3/1/3`, or what is off.
pub(crate) fn row_settings(row: &Value) -> String {
    let number = |path: &str| row.pointer(path).map_or_else(String::new, Value::to_string);
    if row.pointer("/keepalive") == Some(&Value::Bool(false)) {
        return "keepalive off".to_owned();
    }
    let numbers = ["/idle/seconds", "/interval/seconds", "/count/probes"].map(number);
    numbers.join("/")
}

pub(crate) fn texts(value: &Value, path: &str) -> Vec<String> {
    let list = value.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
