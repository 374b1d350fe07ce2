//! The policy: flags, and a file whose keys are the flags' names.

use super::user::User;
use crate::{
    config::{self, Error, TomlFile},
    files,
    model::{
        judgement::check_policy::{Allowed, Policy, PolicyScope, Rule},
        observed::{owner_identity::IdentityPart, socket::Direction},
        text::sanitize::escaped,
    },
    view::{filter::Filter, peer_pattern::network},
};
use clap::{Args, ValueEnum as _};
use std::path::{Path, PathBuf};
use toml_edit::{Item, TableLike, Value};

/// What is demanded.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Policy")]
pub(super) struct PolicyArgs {
    /// Read the policy from this TOML file; a flag wins over its key
    #[arg(long, env = "KEEPWATCH_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Whether the first probe must go out before the path's idle limit [default: true]
    #[arg(long, value_name = "BOOL")]
    protected: Option<bool>,
    /// Demand that the kernel notices a dead peer within this time, even if the program sends nothing
    #[arg(long, value_name = "TIME", value_parser = config::whole_seconds)]
    detect_within: Option<u32>,
    /// Demand that the kernel notices a dead peer within this time while data is in flight: TCP_USER_TIMEOUT
    #[arg(long, value_name = "TIME", value_parser = config::whole_seconds)]
    detect_in_flight_within: Option<u32>,
    /// Demand that no single lost probe ends a connection: two or more probes before the kernel gives up
    #[arg(long)]
    survive_lost_probe: bool,
    /// Demand that a connection does not probe more often than this
    #[arg(long, value_name = "TIME", value_parser = config::whole_seconds)]
    least_interval: Option<u32>,
    /// Demand that the kernel refused no setting of a connection
    #[arg(long)]
    no_failed_calls: bool,
    /// Also judge connections to this host, as if the peer were on another host
    #[arg(long)]
    include_local: bool,
    /// Exempt these connections, like process=apt or peer=10.0.0.0/8,port=53; may be repeated
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = allowed)]
    allow: Vec<Allowed>,
}

impl PolicyArgs {
    /// All that is demanded.
    pub(super) fn policy(&self, filter: &Filter) -> Result<Policy, Error> {
        let mut policy = match &self.policy {
            Some(file) => {
                let text = read(file)?;
                File(TomlFile { path: file, text: &text }).policy()?
            }
            None => Policy::default(),
        };
        let general = &mut policy.general;
        // A filter on inbound connections asks to judge them.
        general.scope.direction = filter.direction.or(general.scope.direction);
        if let Some(protected) = self.protected {
            general.protected = protected;
        }
        if let Some(seconds) = self.detect_within {
            general.detection_seconds = Some(seconds.into());
        }
        if let Some(seconds) = self.detect_in_flight_within {
            general.in_flight_seconds = Some(seconds.into());
        }
        general.survive_lost_probe |= self.survive_lost_probe;
        general.least_interval_seconds = self.least_interval.or(general.least_interval_seconds);
        general.no_failed_calls |= self.no_failed_calls;
        policy.include_local |= self.include_local;
        policy.allowed.extend(self.allow.iter().cloned());
        Ok(policy)
    }
}

/// The text of a policy, read with the rights of the user who typed sudo: an error quotes the text.
fn read(file: &Path) -> Result<String, Error> {
    let read = || files::text(file, config::MAX_BYTES);
    let asker = User::of_sudo();
    let text = asker.as_ref().map_or_else(read, |asker| asker.act(read));
    let user = asker.as_ref().map(ToString::to_string);
    text.map_err(|cause| Error::Policy { file: file.to_owned(), user, cause })
}

/// What a policy says.
#[cfg(any(fuzzing, test))]
pub(in crate::command) fn parsed(text: &str) {
    drop(File(TomlFile { path: Path::new("policy.toml"), text }).policy());
}

/// `process=apt,port=443`: all of these conditions.
fn allowed(text: &str) -> Result<Allowed, String> {
    let mut scope = PolicyScope::default();
    for part in text.split(',') {
        let expected =
            || format!("expected KEY=VALUE with one of these keys: {}", SCOPE_KEYS.join(", "));
        let (key, value) = part.split_once('=').ok_or_else(expected)?;
        if !SCOPE_KEYS.contains(&key) {
            return Err(expected());
        }
        add(&mut scope, key, value)?;
    }
    Ok(Allowed { scope, reason: None })
}

/// Which connections: the keys of every table.
const SCOPE_KEYS: [&str; 9] =
    ["direction", "peer", "port", "process", "unit", "container", "namespace", "workload", "pod"];
/// What is demanded of them: the keys of rules.
const RULE_KEYS: [&str; 6] = [
    "protected",
    "detect_within",
    "detect_in_flight_within",
    "survive_lost_probe",
    "least_interval",
    "no_failed_calls",
];
const TOP_KEYS: [&str; 3] = ["include_local", "rule", "allow"];

/// One more value of a condition.
fn add(scope: &mut PolicyScope, key: &str, value: &str) -> Result<(), String> {
    if value.is_empty() || value.chars().any(char::is_control) {
        return Err("expected a text without control characters".to_owned());
    }
    let PolicyScope { direction, peers, ports, processes, owner } = scope;
    let part = match key {
        "direction" => {
            let expected = |_| "expected outbound or inbound".to_owned();
            *direction = Some(Direction::from_str(value, false).map_err(expected)?);
            return Ok(());
        }
        "peer" => {
            peers.push(network(value)?);
            return Ok(());
        }
        "port" => {
            ports.push(value.parse().map_err(|_| "expected a port: 1 to 65535".to_owned())?);
            return Ok(());
        }
        "process" => {
            processes.push(value.to_owned());
            return Ok(());
        }
        "unit" => IdentityPart::Unit,
        "container" => IdentityPart::Container,
        "namespace" => IdentityPart::Namespace,
        "workload" => IdentityPart::Workload,
        _ => IdentityPart::Pod,
    };
    if owner.iter().any(|(other, _)| *other == part) {
        return Err("expected one name, not a list".to_owned());
    }
    owner.push((part, value.to_owned()));
    Ok(())
}

/// A policy file.
struct File<'a>(TomlFile<'a>);

impl File<'_> {
    fn policy(&self) -> Result<Policy, Error> {
        let document = self.0.document()?;
        let top = document.as_table();
        let mut policy = Policy { general: self.rule(top, "", &TOP_KEYS)?, ..Policy::default() };
        for (key, item) in top {
            match key {
                "include_local" => policy.include_local = self.truth(key, item)?,
                "rule" => {
                    for table in self.tables(key, item)? {
                        let mut rule = self.rule(table, "rule.", &["name"])?;
                        if let Some(name) = table.get("name") {
                            rule.name = Some(self.words("rule.name", name)?);
                        }
                        policy.rules.push(rule);
                    }
                }
                "allow" => {
                    for table in self.tables(key, item)? {
                        policy.allowed.push(self.allowed(table)?);
                    }
                }
                _ => {}
            }
        }
        Ok(policy)
    }

    fn allowed(&self, table: &dyn TableLike) -> Result<Allowed, Error> {
        let mut allowed = Allowed::default();
        for (key, item) in table.iter() {
            let name = format!("allow.{key}");
            match key {
                "reason" => allowed.reason = Some(self.words(&name, item)?),
                _ if SCOPE_KEYS.contains(&key) => {
                    self.condition(&mut allowed.scope, key, &name, item)?;
                }
                _ => {
                    return Err(self.0.unknown(
                        &name,
                        item,
                        &[&SCOPE_KEYS[..], &["reason"]].concat(),
                    ));
                }
            }
        }
        Ok(allowed)
    }

    /// The keys of a rule; `others` are somebody else's.
    fn rule(&self, table: &dyn TableLike, prefix: &str, others: &[&str]) -> Result<Rule, Error> {
        let mut rule = Rule::default();
        for (key, item) in table.iter() {
            let name = format!("{prefix}{key}");
            match key {
                "protected" => rule.protected = self.truth(&name, item)?,
                "no_failed_calls" => rule.no_failed_calls = self.truth(&name, item)?,
                "detect_within" => rule.detection_seconds = Some(self.seconds(&name, item)?.into()),
                "detect_in_flight_within" => {
                    rule.in_flight_seconds = Some(self.seconds(&name, item)?.into());
                }
                "survive_lost_probe" => rule.survive_lost_probe = self.truth(&name, item)?,
                "least_interval" => rule.least_interval_seconds = Some(self.seconds(&name, item)?),
                _ if SCOPE_KEYS.contains(&key) => {
                    self.condition(&mut rule.scope, key, &name, item)?;
                }
                _ if others.contains(&key) => {}
                _ => {
                    let known = [&RULE_KEYS[..], &SCOPE_KEYS[..], others].concat();
                    return Err(self.0.unknown(&name, item, &known));
                }
            }
        }
        Ok(rule)
    }

    fn condition(
        &self,
        scope: &mut PolicyScope,
        key: &str,
        name: &str,
        item: &Item,
    ) -> Result<(), Error> {
        let values: Vec<&Value> = match item.as_value() {
            Some(Value::Array(array)) => array.iter().collect(),
            one => one.into_iter().collect(),
        };
        if values.is_empty() || values.iter().any(|value| config::scalar(value).is_none()) {
            let expected = "expected a text or a number, or a list of them".to_owned();
            return Err(self.0.wrong(name, item, expected));
        }
        for value in values {
            let word = config::scalar(value).unwrap_or_default();
            add(scope, key, &word).map_err(|expected| {
                // What is fine alone is wrong in a list.
                match add(&mut PolicyScope::default(), key, &word) {
                    Ok(()) => self.0.wrong(name, item, expected),
                    Err(_) => self.0.wrong_value(name, value, expected),
                }
            })?;
        }
        Ok(())
    }

    fn seconds(&self, key: &str, item: &Item) -> Result<u32, Error> {
        let text = item.as_value().and_then(config::scalar).unwrap_or_default();
        config::whole_seconds(&text).map_err(|expected| self.0.wrong(key, item, expected))
    }

    fn truth(&self, key: &str, item: &Item) -> Result<bool, Error> {
        item.as_bool().ok_or_else(|| self.0.wrong(key, item, "expected true or false".to_owned()))
    }

    fn words(&self, key: &str, item: &Item) -> Result<String, Error> {
        let text = item.as_str().map(|text| escaped(text.as_bytes()));
        let text = text.filter(|text| !text.is_empty());
        text.ok_or_else(|| self.0.wrong(key, item, "expected a text".to_owned()))
    }

    fn tables<'i>(&self, key: &str, item: &'i Item) -> Result<Vec<&'i dyn TableLike>, Error> {
        let tables = item.as_array_of_tables();
        let tables = tables.map(|tables| tables.iter().map(|table| table as _).collect());
        tables.ok_or_else(|| self.0.wrong(key, item, format!("expected tables: [[{key}]]")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Result<Policy, String> {
        File(TomlFile { path: Path::new("p.toml"), text })
            .policy()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_policy_demands_that_every_connection_is_protected() {
        assert_eq!(policy(""), Ok(Policy::default()));
        assert!(Policy::default().general.protected);
    }

    #[test]
    fn every_key_means_what_its_flag_means() {
        let file = policy(
            "protected = false\ndetect_within = \"90s\"\ndetect_in_flight_within = \"30s\"\n\
             survive_lost_probe = true\nleast_interval = 5\nno_failed_calls = true\ninclude_local = true\n\
             [[allow]]\nprocess = \"apt\"\nport = 443\n",
        );
        let flags = PolicyArgs {
            protected: Some(false),
            detect_within: Some(90),
            detect_in_flight_within: Some(30),
            survive_lost_probe: true,
            least_interval: Some(5),
            no_failed_calls: true,
            include_local: true,
            allow: vec![allowed("process=apt,port=443").unwrap()],
            ..PolicyArgs::default()
        };
        assert_eq!(file.unwrap(), flags.policy(&Filter::default()).unwrap());
    }

    #[test]
    fn rules_are_tables_in_order() {
        let policy = policy(
            "[[rule]]\nname = \"db\"\npeer = \"10.1.0.0/16\"\nport = [5432, 6432]\ndetect_within = \"30s\"\n\
             [[rule]]\nworkload = \"shop\"\nprotected = false\n\
             [[allow]]\npeer = \"2001:db8::/32\"\nreason = \"a test\"\n",
        );
        let Policy { rules, allowed, general, .. } = policy.unwrap();
        assert_eq!(general, Rule::default());
        assert_eq!(rules[0].name.as_deref(), Some("db"));
        assert_eq!(rules[0].scope.ports, [5432, 6432]);
        assert_eq!((rules[0].protected, rules[0].detection_seconds), (true, Some(30)));
        assert_eq!(rules[1].scope.owner, [(IdentityPart::Workload, "shop".to_owned())]);
        assert!(!rules[1].protected);
        assert_eq!(allowed[0].reason.as_deref(), Some("a test"));
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_key_and_what_was_expected() {
        for (text, words) in [
            (
                "\ndetect_withn = 1",
                &["p.toml:2", "unknown key `detect_withn`", "detect_within"][..],
            ),
            (
                "detect_within = \"soon\"",
                &["p.toml:1: `detect_within` = \"soon\": expected a time in whole seconds"],
            ),
            ("detect_within = [1]", &["`detect_within`: expected a time in whole seconds"]),
            ("protected = 1", &["p.toml:1: `protected` = 1: expected true or false"]),
            (
                "direction = \"in\"",
                &["p.toml:1: `direction` = \"in\": expected outbound or inbound"],
            ),
            (
                "least_interval = \"1ms\"",
                &["`least_interval` = \"1ms\": expected a time in whole seconds"],
            ),
            (
                "peer = \"10.0.0.0/33\"",
                &["`peer` = \"10.0.0.0/33\": expected an address or a network"],
            ),
            ("peer = []", &["`peer`: expected"]),
            (
                "peer = [\"10.0.0.0/8\",\n\"db\"]",
                &["p.toml:2: `peer` = \"db\": expected an address or a network"],
            ),
            ("port = 65536", &["`port` = 65536: expected a port"]),
            ("rule = 1", &["p.toml:1: `rule` = 1: expected tables: [[rule]]"]),
            (
                "[[rule]]\n\npeers = \"::/0\"",
                &["p.toml:3: unknown key `rule.peers`; did you mean `peer`?", "peer, port"],
            ),
            ("[[rule]]\nname = 1", &["p.toml:2: `rule.name` = 1: expected a text"]),
            ("[[rule]]\nprocess = {}", &["p.toml:2: `rule.process`: expected a text or a number"]),
            ("[[allow]]\nunit = [\"a\", \"b\"]", &["`allow.unit`: expected one name, not a list"]),
            ("[[allow]]\nprotected = true", &["unknown key `allow.protected`", "reason"]),
            ("protected = ", &["p.toml:1: not TOML"]),
        ] {
            let error = policy(text).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{text:?}: {error}");
            }
        }
    }

    #[test]
    fn what_a_flag_allows_is_keys_and_values() {
        for wrong in ["", "apt", "process=", "process=apt,", "ports=1", "port=x", "peer=x"] {
            assert!(allowed(wrong).unwrap_err().contains("expected"), "{wrong}");
        }
        assert_eq!(allowed("port=1,port=2").unwrap().scope.ports, [1, 2]);
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_with_a_way_out() {
        let missing = PolicyArgs { policy: Some("/no/such".into()), ..PolicyArgs::default() };
        let error = missing.policy(&Filter::default()).unwrap_err().to_string();
        assert!(error.contains("/no/such") && error.contains("--policy"), "{error}");
    }
}
