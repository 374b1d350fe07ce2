//! Rules and alerts, as promtool and somebody on call meet them.

use keepwatch_tests::{
    dashboards::{
        mixin::{self, Mixin},
        prometheus::promtool,
    },
    tool::TemporaryFolder,
};
use std::{collections::BTreeSet, fmt::Write as _, fs};

fn read(file: &str) -> String {
    fs::read_to_string(mixin::folder().join("..").join(file))
        .unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn promtool_has_nothing_to_say_against_rules_and_config() {
    let generated = ["generated/rules.yml", "generated/alerts.yml"];
    promtool(
        &mixin::folder(),
        &["check", "rules", "--lint=all", "--lint-fatal", generated[0], generated[1]],
    );
    promtool(&mixin::folder(), &["check", "config", "--lint-fatal", "prometheus.yml"]);
}

#[test]
fn alerts_fire_and_stay_silent_as_their_unit_tests_say() {
    promtool(&mixin::folder().join("tests"), &["test", "rules", "alerts.yml"]);
}

#[test]
fn every_alert_has_a_unit_test_that_fires_and_one_that_is_silent() {
    let tests = read("dashboards/tests/alerts.yml");
    for alert in &Mixin::shipped().alerts {
        let name = &alert.alert;
        let expected: Vec<_> = tests
            .split("- alertname: ")
            .filter(|test| test.lines().next() == Some(name.as_str()))
            .map(|test| test.contains("exp_alerts: []"))
            .collect();
        assert!(expected.contains(&false), "{name} is never tested firing");
        assert!(expected.contains(&true), "{name} is never tested silent");
    }
}

/// As one throw-away rule each.
#[test]
fn every_expression_of_every_panel_is_promql() {
    let mut rules = "groups:\n- name: panels\n  rules:\n".to_owned();
    let mixin = Mixin::shipped();
    let panels = mixin.dashboards.values().flat_map(|board| &board.panels);
    for (number, target) in panels.flat_map(|panel| &panel.targets).enumerate() {
        let expr = mixin::with_variables(&target.expr, "5m", "5m");
        writeln!(rules, "  - {{record: 'panel:{number}', expr: '{expr}'}}").unwrap();
    }
    let folder = TemporaryFolder::new();
    fs::write(folder.file("panels.yml"), rules).unwrap();
    promtool(&folder.file(""), &["check", "rules", "panels.yml"]);
}

#[test]
fn an_alert_says_what_is_wrong_where_how_bad_and_what_to_do() {
    for alert in &Mixin::shipped().alerts {
        let name = &alert.alert;
        assert!(name.starts_with("Keepwatch"), "{name}");
        assert!(["critical", "warning", "info"].contains(&&*alert.labels["severity"]), "{name}");
        let [summary, description] = ["summary", "description"].map(|key| &alert.annotations[key]);
        assert!(!summary.contains("{{") && summary.ends_with('.'), "{name}: {summary}");
        assert!(description.ends_with('.'), "{name}: {description}");
        // Without any target there is nothing to name.
        let names_what = description.contains("{{ $labels.") || name == "KeepwatchAgentsMissing";
        assert!(names_what, "{name}: {description}");
    }
}

#[test]
fn an_alert_leads_to_its_section_of_the_runbook_and_each_section_is_of_an_alert() {
    let runbook = read("docs/RUNBOOK.md");
    let sections: BTreeSet<_> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = &Mixin::shipped().alerts;
    let names: BTreeSet<_> = alerts.iter().map(|alert| alert.alert.as_str()).collect();
    assert_eq!(sections, names);
    for alert in alerts {
        let anchor = alert.alert.to_lowercase();
        let url = &alert.annotations["runbook_url"];
        assert!(url.ends_with(&format!("/docs/RUNBOOK.md#{anchor}")), "{url}");
        let text = runbook.split(&format!("## {}\n", alert.alert)).nth(1).unwrap();
        let text = text.split("\n## ").next().unwrap();
        for part in ["**Means.**", "**Type.**", "**Fixes.**"] {
            assert!(text.contains(part), "{}: no {part}", alert.alert);
        }
        assert!(
            text.contains("keepwatch ") || text.contains("systemctl"),
            "{}: nothing to type",
            alert.alert
        );
    }
}

/// The words after `keepwatch` in the runbook's code.
fn typed(runbook: &str) -> Vec<Vec<&str>> {
    let lines = runbook.lines().map(str::trim).filter_map(|line| line.strip_prefix("keepwatch "));
    lines.map(|line| line.split(['#', '|']).next().unwrap().split_whitespace().collect()).collect()
}

#[test]
fn the_runbook_types_commands_and_options_that_there_are() {
    let (runbook, commands) = (read("docs/RUNBOOK.md"), read("docs/COMMANDS.md"));
    let typed = typed(&runbook);
    assert!(typed.len() >= 10, "{typed:?}");
    let everywhere = commands.split("\n## ").nth(1).unwrap();
    for words in typed {
        let section = commands
            .split("\n## ")
            .find(|text| text.starts_with(&format!("keepwatch {}\n", words[0])));
        let section = section.unwrap_or_else(|| panic!("no command {}", words[0]));
        for option in words.iter().filter(|word| word.starts_with("--") && word.len() > 2) {
            let named = |text: &str| {
                text.contains(&format!("`{option} ")) || text.contains(&format!("`{option}`"))
            };
            assert!(named(section) || named(everywhere), "keepwatch {} has no {option}", words[0]);
        }
    }
}
