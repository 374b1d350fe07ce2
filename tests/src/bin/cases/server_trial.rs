//! Advice for servers is tried: a client is quiet and its server does not notice; the line that `why` proposes for the
//! server is applied, and the connection must live on that path.

use crate::{
    program::RunningProgram,
    report::{CaseReport, TriedAdvice},
    said::{self, text_at},
    seen_by_ss::SeenBySs,
    stage::{CaseStage, patiently},
    trial::{advice_for, row_settings, texts},
    tried_path::LIMIT_SECONDS,
};
use keepwatch_tests::wait::now;
use serde_json::Value;
use std::{process::Command, time::Duration};

/// A server with a client that sets nothing, and how a proposed line is applied to the server.
#[derive(Debug)]
pub(crate) struct ServerTrial {
    pub(crate) port: u16,
    /// What the server's end has without any advice.
    pub(crate) verdict: &'static str,
    /// Without lines: with its defaults.
    pub(crate) server: fn(&CaseStage<'_>, &[String]) -> RunningProgram,
    pub(crate) client: fn(&CaseStage<'_>) -> Command,
    /// Part of the name of the server in the advice.
    pub(crate) advised_as: &'static str,
    pub(crate) applied: &'static str,
}

impl ServerTrial {
    pub(crate) fn play(&self, stage: &CaseStage<'_>, report: &mut CaseReport) {
        let Some(advice) = self.go_unnoticed(stage, report) else {
            return;
        };
        let lines = texts(&advice, "/lines");
        let client = text_at(&advice, "/client/name").to_owned();
        let applied = self.applied.to_owned();
        let (outcome, survived) = self.live(stage, report, &lines);
        report.advice = Some(TriedAdvice { client, lines, applied, outcome, survived });
    }

    fn go_unnoticed(&self, stage: &CaseStage<'_>, report: &mut CaseReport) -> Option<Value> {
        let _server = (self.server)(stage, &[]);
        let mut client = stage.near((self.client)(stage));
        client.until("ready");
        let seen = stage.until_quiet(self.port);
        report.truth(format!("quiet for {} s; {}", seen.quiet_ms / 1000, seen.in_words()));
        let row = stage.until_row_of_server(&seen, |row| text_at(row, "/condition") == "overdue");
        let wanted =
            [("verdict", self.verdict), ("condition", "overdue"), ("direction", "inbound")];
        report.live("the server, quiet", &row, &wanted);
        let why = said::why(stage.agent, &seen.local.ip().to_string());
        report.must("exit code 1 of why", why.exit == Some(1), format!("{:?}", why.exit));
        report.said(why.headline());
        client.tell("go");
        report.truth(client.until("outcome"));
        let case = why.cases.iter().find(|case| text_at(case, "/direction") == "inbound");
        advice_for(self.advised_as, "runtime", case.unwrap_or(&Value::Null), report)
    }

    fn live(
        &self,
        stage: &CaseStage<'_>,
        report: &mut CaseReport,
        lines: &[String],
    ) -> (String, bool) {
        let _server = (self.server)(stage, lines);
        let mut client = stage.near((self.client)(stage));
        client.until("ready");
        let seen = stage.connected(self.port);
        let quiet = u64::from(LIMIT_SECONDS) * 2 + 2;
        let began = now();
        stage.watch(seen.local, Duration::from_secs(quiet));
        let waited = began.elapsed().as_secs();
        report.given("it was watched for long enough", waited >= quiet, waited);
        let row = stage.until_row_of_server(&seen, |_| true);
        let wanted = [("verdict", "protected"), ("condition", "fine")];
        report.live("the server, with the line", &row, &wanted);
        client.tell("go");
        let outcome = client.until("outcome");
        let survived = outcome.contains("outcome: answered") && stage.has_carried(seen.local);
        report.must("the line works", survived, &outcome);
        let outcome = outcome.trim_start_matches("outcome: ");
        (format!("{}: quiet for {quiet} s, then {outcome}", row_settings(&row)), survived)
    }
}

impl CaseStage<'_> {
    /// Waits for the row of the server's end of a connection that is so.
    #[track_caller]
    pub(crate) fn until_row_of_server(
        &self,
        client: &SeenBySs,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        let find = || {
            let rows = said::rows(self.agent, self.path.far.inode());
            let its = |row: &&Value| text_at(row, "/remote").parse() == Ok(client.local);
            last = rows.iter().find(its).cloned().unwrap_or_default();
            (last.is_object() && is(&last)).then(|| last.clone())
        };
        patiently(Duration::from_mins(1), find)
            .unwrap_or_else(|| panic!("no such row of {}: {last}", client.local))
    }
}
