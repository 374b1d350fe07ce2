//! SIGHUP, and what `config check` says before.

use super::{HOST, SOON, has};
use keepwatch_tests::{
    answer::{
        agent::{Agent, assert_refused, keepwatch},
        http,
        tls::replace,
    },
    tool::TemporaryFolder,
    wait::until,
};
use std::{path::Path, process::Output};

const GOOD: &str = "keepwatch_config_last_reload_successful{file=\"config\"}";

fn metrics(agent: &Agent) -> String {
    let answer = http::ask_at(agent.address(), "/metrics", &[HOST]).expect("an answer");
    answer.text().to_owned()
}

fn path(name: &str, limit: &str) -> String {
    format!("[[path]]\nname = \"{name}\"\npeers = \"10.0.0.0/8\"\nidle_limit = \"{limit}\"\n")
}

#[test]
fn sighup_takes_limits_paths_and_labels_in_and_refuses_a_bad_config() {
    let folder = TemporaryFolder::new();
    let file = folder.file("config.toml");
    replace(&file, &path("db", "60s"));
    let shown = file.display().to_string();
    let agent = Agent::start(&["--interval", "1s", "--config", &shown]);
    let limit = |name: &str, seconds: &str| {
        let metrics = metrics(&agent);
        let is_it = |line: &str| {
            line.starts_with("keepwatch_path_idle_limit_seconds{")
                && line.contains(&format!("path=\"{name}\""))
                && line.ends_with(&format!(" {seconds}"))
        };
        metrics.lines().any(is_it).then_some(())
    };
    let reloaded = |value: &str| has(&metrics(&agent), GOOD, value).then_some(());
    until("the first limit holds", SOON, || limit("db", "60"));
    // A label without a value does not exist for Prometheus.
    let has_process =
        |metrics: &str| metrics.split("process=\"").skip(1).any(|value| !value.starts_with('"'));
    until("owners are named by processes", SOON, || has_process(&metrics(&agent)).then_some(()));

    let labels = "owner_labels = [\"namespace\", \"workload\"]\n";
    replace(
        &file,
        &format!("{labels}{}{}", path("db", "90s"), path("web", "20m").replace("10.0", "11.0")),
    );
    agent.reload();
    until("the new limit holds", SOON, || limit("db", "90"));
    until("the new path is there", SOON, || limit("web", "1200"));
    until("processes are named no more", SOON, || (!has_process(&metrics(&agent))).then_some(()));

    replace(&file, &path("db", "never"));
    agent.reload();
    until("the metric says that it was refused", SOON, || reloaded("0"));
    limit("db", "90").expect("the old one holds");
    let said = agent.said();
    for words in ["config.toml:4", "path.idle_limit", "never", "the old one holds"] {
        assert!(said.contains(words), "no {words} in {said}");
    }

    replace(&file, &format!("max_histories = 100\n{}", path("db", "120s")));
    agent.reload();
    until("the metric says that it is good", SOON, || reloaded("1"));
    until("it holds", SOON, || limit("db", "120"));
    let said = agent.said();
    let warned = said.lines().find(|line| line.contains("until a restart"));
    let warned = warned.expect("what cannot change is named");
    assert!(warned.contains("max_histories") && !warned.contains("idle_limit"), "{warned}");
}

#[test]
fn a_web_config_that_goes_bad_keeps_the_old_configuration_whole() {
    let folder = TemporaryFolder::new();
    let (file, web) = (folder.file("config.toml"), folder.file("web.yml"));
    let config =
        |limit: &str| format!("web_config_file = \"{}\"\n{}", web.display(), path("db", limit));
    replace(&file, &config("60s"));
    replace(&web, "http_server_config:\n  headers:\n    X-Frame-Options: deny\n");
    let shown = file.display().to_string();
    let agent = Agent::start(&["--interval", "1s", "--config", &shown]);
    let header = || {
        let answer = http::ask_at(agent.address(), "/", &[HOST]).expect("an answer");
        answer.header("x-frame-options").map(ToOwned::to_owned)
    };
    assert_eq!(header().as_deref(), Some("deny"));
    replace(&web, "http_server_config:\n  headers:\n    X-Frame-Options: never\n");
    replace(&file, &config("90s"));
    agent.reload();
    until("the metric says that it was refused", SOON, || {
        has(&metrics(&agent), GOOD, "0").then_some(())
    });
    assert_eq!(header().as_deref(), Some("deny"));
    assert!(
        !metrics(&agent).lines().any(|line| line.contains("path=\"db\"") && line.ends_with(" 90"))
    );
    assert!(agent.said().contains("web.yml:3"), "{}", agent.said());
}

fn check(words: &[&str], file: Option<&Path>) -> Output {
    let mut command = keepwatch(["config", "check"]);
    command.args(words).args(file);
    command.output().expect("start keepwatch")
}

#[test]
fn config_check_says_what_an_agent_would() {
    let folder = TemporaryFolder::new();
    let (file, web) = (folder.file("new.toml"), folder.file("web.yml"));
    let good = format!("web_config_file = \"{}\"\n{}", web.display(), path("db", "aws"));
    replace(&file, &good);
    replace(&web, &super::user("alice", "opensesame"));
    let output = check(&[], Some(&file));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(said.contains("new.toml is good") && said.contains("web.yml is good"), "{said}");
    let by_flag = check(&["--config", &file.display().to_string()], None);
    assert_eq!(by_flag.status.code(), Some(0), "{by_flag:?}");

    for (text, words) in [
        (
            "\nidle_limit = \"never\"\n".to_owned(),
            &["new.toml:2: `idle_limit` = \"never\"", "expected"][..],
        ),
        ("[[path]]\nname = \"a\"\n".to_owned(), &["new.toml:1: `path`", "peers"]),
        ("idle_limits = 1\n".to_owned(), &["new.toml:1", "did you mean `idle_limit`"]),
        (good.replace("web.yml", "no.yml"), &["no.yml", "--web-config-file"]),
    ] {
        replace(&file, &text);
        assert_refused(&check(&[], Some(&file)), 2, words);
    }
    replace(&file, &good);
    replace(&web, "basic_auth_users:\n  alice: opensesame\n");
    let output = check(&[], Some(&file));
    assert_refused(&output, 2, &["web.yml:2: `basic_auth_users.alice`: expected a bcrypt hash"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("opensesame"));
    assert_refused(&check(&[], Some(&folder.file("none.toml"))), 2, &["none.toml"]);
}
