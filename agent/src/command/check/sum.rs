//! The last line of a report: how many connections were judged, how many fall short, and what was not seen.

use crate::model::text::count::counted;
use serde::Serialize;

/// How many of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sum {
    /// Always `summary`: tells this line from findings.
    result: &'static str,
    /// Outbound connections that were judged.
    pub(super) judged: u64,
    /// Those of them that violate the policy.
    pub(super) violating: u64,
    /// Peers on this host, not judged.
    pub(super) local: u64,
    /// Allowed by the policy.
    pub(super) allowed: u64,
    /// No rule is about them.
    pub(super) uncovered: u64,
    /// Attempts that ended before a connection was established.
    pub(super) never_connected: u64,
    /// Settings that the kernel refused, where the policy asks.
    pub(super) failed_calls: u64,
    /// Settings that the kernel refused, where it does not.
    pub(super) refused_settings: u64,
    /// Connections that the peer opened are judged, too.
    #[serde(skip)]
    with_inbound: bool,
    /// The policy leaves connections out.
    #[serde(skip)]
    is_partial: bool,
    /// Events that were lost: connections may be missing.
    pub(super) events_lost: u64,
    /// A filter was given, and no connection to judge has it: what there is instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nothing_has: Option<String>,
    /// Runs of the hook that the kernel skipped, on the whole host: connections may be missing.
    pub(super) hooks_skipped: u64,
    /// What all this was seen by.
    pub(super) source: String,
    /// How the command ended, as a shell tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command_exit_code: Option<u8>,
}

impl Sum {
    pub(super) fn new(with_inbound: bool, is_partial: bool) -> Self {
        Self { result: "summary", with_inbound, is_partial, ..Self::default() }
    }

    /// Whether a connection may have gone unseen.
    pub(super) const fn may_have_missed(&self) -> bool {
        self.events_lost > 0 || self.hooks_skipped > 0
    }

    /// Whether nothing can be said of any connection: none was judged, on this host, or allowed.
    pub(super) const fn is_nothing_judged(&self) -> bool {
        self.judged + self.local + self.allowed + self.failed_calls == 0
    }

    /// The last line of the report.
    pub(super) fn words(&self) -> String {
        let Self { judged, violating, failed_calls, events_lost, hooks_skipped, .. } = self;
        // A setting may be refused on a listener, or on a connection that is gone: on none of these.
        let the_policy = if *failed_calls > 0 { "the rest of the policy" } else { "the policy" };
        let kind = if self.with_inbound { "connection" } else { "outbound connection" };
        let mut words = match (violating, judged) {
            (0, 0) if self.may_have_missed() => format!("no {kind} was seen"),
            (0, 0) if let Some(instead) = &self.nothing_has => {
                format!("nothing was judged: {instead} (--allow-none lets that pass)")
            }
            (0, 0) if self.local + self.allowed + self.uncovered > 0 => {
                format!("no {kind} to judge")
            }
            (0, 0) if self.command_exit_code.is_none() => format!("no open {kind} to judge"),
            (0, 0) => format!("no {kind} was made"),
            (0, 1) => format!("the one {kind} obeys {the_policy}"),
            (0, n) => format!("all {n} {kind}s obey {the_policy}"),
            (1, 1) => format!("the one {kind} violates the policy"),
            (1, n) => format!("1 of {n} {kind}s violates the policy"),
            (n_bad, n) if n_bad == n => format!("all {n} {kind}s violate the policy"),
            (n_bad, n) => format!("{n_bad} of {n} {kind}s violate the policy"),
        };
        match failed_calls {
            0 => {}
            1 => words.push_str(", 1 setting was refused"),
            n => words.push_str(&format!(", {n} settings were refused")),
        }
        if *events_lost > 0 {
            let were = if *events_lost == 1 { "was" } else { "were" };
            words.push_str(&format!(
                ", {} {were} lost: connections may be missing (raise --ring-bytes)",
                counted(*events_lost, "event")
            ));
        }
        if *hooks_skipped > 0 {
            words.push_str(&format!(
                ", the kernel skipped {} of hooks on this host: connections may be missing (try again when the host is less \
                 busy)",
                counted(*hooks_skipped, "run")
            ));
        }
        words
    }

    /// What was not judged, and what it was seen by.
    pub(super) fn rest(&self, include_local: bool) -> String {
        let mut words = String::new();
        let mut note = |n: u64, one: &str, many: &str| match n {
            0 => {}
            1 => words.push_str(&format!("; 1 {one}")),
            n => words.push_str(&format!("; {n} {many}")),
        };
        if !include_local {
            note(
                self.local,
                "to this host not judged, see --include-local",
                "to this host not judged, see --include-local",
            );
        }
        note(self.allowed, "is allowed", "are allowed");
        if self.is_partial {
            note(self.uncovered, "is covered by no rule", "are covered by no rule");
        }
        note(self.never_connected, "never connected", "never connected");
        format!("{words} [{}]", self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_claims_no_more_than_was_seen_and_no_more_than_its_exit_code() {
        let of_command = Sum { command_exit_code: Some(0), ..Sum::default() };
        let words = |events_lost| Sum { events_lost, ..of_command.clone() }.words();
        assert_eq!(words(0), "no outbound connection was made");
        // Of a host nobody knows what was made before.
        assert_eq!(Sum::default().words(), "no open outbound connection to judge");
        let refused = Sum { judged: 2, failed_calls: 1, ..Sum::default() }.words();
        let expected =
            "all 2 outbound connections obey the rest of the policy, 1 setting was refused";
        assert_eq!(refused, expected);
        assert!(words(7).starts_with("no outbound connection was seen, 7 events were lost"));
        assert!(words(1).starts_with("no outbound connection was seen, 1 event was lost"));
    }

    #[test]
    fn a_filter_that_no_connection_has_is_said_with_what_there_is() {
        let instead = "no open outbound connection has what the filters ask for, and there are 7 without the filters";
        let sum = Sum { nothing_has: Some(instead.to_owned()), ..Sum::default() };
        assert_eq!(
            sum.words(),
            format!("nothing was judged: {instead} (--allow-none lets that pass)")
        );
        assert!(sum.is_nothing_judged());
        // What is on this host, or allowed, was looked at.
        assert!(!Sum { local: 1, ..Sum::default() }.is_nothing_judged());
        assert!(!Sum { allowed: 1, ..Sum::default() }.is_nothing_judged());
        assert!(Sum { uncovered: 1, ..Sum::default() }.is_nothing_judged());
    }

    #[test]
    fn what_no_rule_covers_is_news_only_if_the_policy_leaves_something_out() {
        let rest = |is_partial| Sum { uncovered: 10, ..Sum::new(false, is_partial) }.rest(false);
        assert!(rest(true).contains("10 are covered by no rule"));
        assert!(!rest(false).contains("rule"));
    }
}
