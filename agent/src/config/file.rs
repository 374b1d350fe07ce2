//! The config file: its keys are the options of the command line, checked by the same definitions.

use super::{
    DEFAULT_FILE,
    error::Error,
    idle_limit::{contradiction, idle_limit, network_path, path_name},
    toml_error::TomlFile,
};
use crate::{files, model::judgement::idle_limit::ConfiguredPath, view::peer_pattern::network};
use clap::{Arg, ArgAction, Command, error::ErrorKind};
use std::{ffi::OsString, path::Path};
use toml_edit::{ArrayOfTables, Item, Table};

/// A config or a policy has some kilobytes.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// One key of a file: option id and its values.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    id: String,
    values: Vec<String>,
}

/// The command with the values of the config file as its defaults, and the keys that the file has.
/// `file`: as the user gave it; the default file need not exist.
pub(crate) fn configured(
    command: Command,
    file: Option<&Path>,
) -> Result<(Command, Vec<String>), Error> {
    let path = file.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    let text = match files::text(path, MAX_BYTES) {
        Ok(text) => text,
        Err(error) if file.is_none() && error.is_not_found() => {
            return Ok((command, Vec::new()));
        }
        Err(cause) => {
            return Err(Error::Read { file: path.to_owned(), cause });
        }
    };
    with_defaults(command, path, &text)
}

pub(crate) fn with_defaults(
    command: Command,
    file: &Path,
    text: &str,
) -> Result<(Command, Vec<String>), Error> {
    let file = TomlFile { path: file, text };
    let (document, known) = (file.document()?, keys(&command));
    let mut entries: Vec<Entry> = Vec::new();
    for (key, item) in document.as_table() {
        if !known.iter().any(|one| one == key) {
            return Err(file.unknown(key, item, &known));
        }
        let wrong = |expected| file.wrong(key, item, expected);
        let values = match item {
            Item::ArrayOfTables(tables) if key == "path" => paths_of(file, tables)?,
            _ => values(item).map_err(wrong)?,
        };
        check(&command, key, &values).map_err(|expected| {
            let list = item.as_array().into_iter().flat_map(toml_edit::Array::iter);
            let mut alone = list.zip(&values);
            let is_wrong =
                |word: &String| check(&command, key, std::slice::from_ref(word)).is_err();
            match alone.find(|(_, word)| is_wrong(word)) {
                Some((value, _)) => file.wrong_value(key, value, expected),
                None => wrong(expected),
            }
        })?;
        entries.push(Entry { id: key.to_owned(), values });
    }
    let keys = entries.iter().map(|entry| entry.id.clone()).collect();
    Ok((set_defaults(command, &entries), keys))
}

/// The keys that a config file may have: the options that have a variable, but that of the file.
pub(crate) fn keys(command: &Command) -> Vec<String> {
    let mut keys: Vec<String> = command
        .get_subcommands()
        .chain([command])
        .flat_map(Command::get_arguments)
        .filter(|arg| is_key(arg))
        .map(|arg| arg.get_id().to_string())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Whether an option may stand in a config file.
pub(crate) fn is_key(arg: &Arg) -> bool {
    arg.get_env().is_some() && arg.get_id() != "config" && arg.get_action().takes_values()
}

/// Parses the values as the option would, alone.
fn check(command: &Command, id: &str, values: &[String]) -> Result<(), String> {
    let found = command.get_subcommands().chain([command]).find_map(|command| {
        command.get_arguments().find(|arg| arg.get_id() == id && is_key(arg)).cloned()
    });
    let Some(arg) = found else {
        return Ok(());
    };
    let flag = arg.get_long().unwrap_or_default().to_owned();
    let words = values.iter().map(|value| format!("--{flag}={value}"));
    if values.len() > 1 && !matches!(arg.get_action(), ArgAction::Append) {
        return Err("expected one value, not a list".to_owned());
    }
    let alone = Command::new("config").no_binary_name(true).arg(arg.env(None::<&str>));
    alone.try_get_matches_from(words).map(drop).map_err(|error| match error.kind() {
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let reason = first.rsplit_once("': ").map_or(first, |(_, reason)| reason);
            reason.trim_start_matches("error: ").to_owned()
        }
        _ => error.to_string(),
    })
}

fn set_defaults(command: Command, entries: &[Entry]) -> Command {
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let mut command = set_own_defaults(command, entries);
    for name in names {
        command = command.mut_subcommand(name, |sub| set_own_defaults(sub, entries));
    }
    command
}

fn set_own_defaults(mut command: Command, entries: &[Entry]) -> Command {
    for Entry { id, values, .. } in entries {
        // Another command may have an option of that name which is no key.
        if command.get_arguments().any(|arg| arg.get_id() == id && is_key(arg)) {
            let values: Vec<OsString> = values.iter().map(OsString::from).collect();
            // clap keeps defaults for as long as the command: give them up to it.
            command = command.mut_arg(id, |arg| {
                arg.default_values(values.into_iter().map(clap::builder::OsStr::from))
            });
        }
    }
    command
}

/// The values of a key, as its flag would write them.
fn values(item: &Item) -> Result<Vec<String>, String> {
    match item {
        Item::Value(toml_edit::Value::Array(array)) => array
            .iter()
            .map(scalar)
            .collect::<Option<_>>()
            .ok_or_else(|| "expected a list of texts or numbers".to_owned()),
        Item::Value(value) => scalar(value)
            .map(|value| vec![value])
            .ok_or_else(|| "expected a text, a number or a list".to_owned()),
        _ => Ok(vec![String::new()]),
    }
}

/// A text, a number or a truth as the flag writes it.
pub(crate) fn scalar(value: &toml_edit::Value) -> Option<String> {
    match value {
        toml_edit::Value::String(text) => Some(text.value().clone()),
        toml_edit::Value::Integer(number) => Some(number.value().to_string()),
        toml_edit::Value::Boolean(truth) => Some(truth.value().to_string()),
        _ => None,
    }
}

/// The keys of a `[[path]]` table.
const PATH_KEYS: [&str; 4] = ["name", "peers", "port", "idle_limit"];

/// A `[[path]]` table. An error names the line of that table, or of the key in it.
fn path_of(file: TomlFile<'_>, table: &Table) -> Result<ConfiguredPath, Error> {
    for (key, item) in table {
        if !PATH_KEYS.contains(&key) {
            return Err(file.unknown(&format!("path.{key}"), item, &PATH_KEYS));
        }
    }
    let wrong = |key: &str, expected: String| match table.get(key) {
        Some(item) => file.wrong(&format!("path.{key}"), item, expected),
        None => file.wrong_table("path", table, expected),
    };
    let field = |key: &str| match table.get(key).map(|item| item.as_value().and_then(scalar)) {
        None => Ok(None),
        Some(Some(word)) => Ok(Some(word)),
        Some(None) => Err(wrong(key, "expected a text or a number".to_owned())),
    };
    let (Some(name), Some(peers), Some(limit)) =
        (field("name")?, field("peers")?, field("idle_limit")?)
    else {
        let missing: Vec<String> = PATH_KEYS
            .iter()
            .filter(|key| **key != "port" && !table.contains_key(key))
            .map(|key| format!("`{key}`"))
            .collect();
        let needs = format!(
            "a [[path]] needs `name`, `peers` (a CIDR) and `idle_limit`, and may have `port`: this one lacks {}",
            missing.join(" and ")
        );
        return Err(file.wrong_table("path", table, needs));
    };
    idle_limit(&limit).map_err(|expected| wrong("idle_limit", expected))?;
    network(&peers).map_err(|expected| wrong("peers", expected))?;
    let path = match field("port")? {
        Some(port) if port.parse::<u16>().is_err() => {
            return Err(wrong("port", "expected a port: 1 to 65535".to_owned()));
        }
        Some(port) if peers.contains(':') => format!("{name}=[{peers}]:{port}={limit}"),
        Some(port) => format!("{name}={peers}:{port}={limit}"),
        None => format!("{name}={peers}={limit}"),
    };
    path_name(&name).map_err(|expected| wrong("name", expected))?;
    network_path(&path).map_err(|expected| file.wrong_table("path", table, expected))
}

/// The `[[path]]` tables as the flag writes them.
fn paths_of(file: TomlFile<'_>, tables: &ArrayOfTables) -> Result<Vec<String>, Error> {
    let paths: Vec<_> =
        tables.iter().map(|table| path_of(file, table)).collect::<Result<_, _>>()?;
    if let Some((before, n, reason)) = contradiction(&paths) {
        let line = |n| tables.get(n).map_or(0, |table| file.line_of_table(table));
        return Err(file.wrong_at("path", line(n), format!("{reason} (line {})", line(before))));
    }
    Ok(paths.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::{super::LimitArgs, *};
    use clap::FromArgMatches as _;

    #[derive(clap::Parser)]
    struct Example {
        #[command(flatten)]
        limits: LimitArgs,
        #[arg(long)]
        not_a_key: Option<String>,
    }

    fn parse(file: &str, flags: &[&str]) -> Result<Example, Error> {
        let command = <Example as clap::CommandFactory>::command();
        let (command, keys) = with_defaults(command, Path::new("c.toml"), file)?;
        let matches = command.get_matches_from(["keepwatch"].iter().chain(flags));
        let mut example = Example::from_arg_matches(&matches).unwrap();
        example.limits.learn_sources(&matches, &keys);
        Ok(example)
    }

    fn error(file: &str) -> String {
        parse(file, &[]).err().unwrap().to_string()
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        assert_eq!(parse("", &[]).unwrap().limits.idle_limit.seconds, 350);
        let file = "idle_limit = \"azure\"";
        assert_eq!(parse(file, &[]).unwrap().limits.idle_limit.seconds, 240);
        assert_eq!(parse(file, &["--idle-limit", "1h"]).unwrap().limits.idle_limit.seconds, 3600);
    }

    #[test]
    fn a_limit_says_by_what_it_was_given_even_if_it_is_the_defaults() {
        let said = |file: &str, flags: &[&str], peer: &str| {
            let policy = parse(file, flags).unwrap().limits.surroundings();
            let peer: std::net::SocketAddr = peer.parse().unwrap();
            policy.limits.configured(peer.into()).from.to_string()
        };
        let elsewhere = "8.8.8.8:53";
        assert_eq!(said("", &[], elsewhere), "default");
        assert_eq!(said("", &["--idle-limit", "350s"], elsewhere), "configured by flag");
        let file = "idle_limit = \"350s\"\n[[path]]\nname = \"db\"\npeers = \"10.0.0.0/8\"\n\
                    idle_limit = \"aws\"";
        assert_eq!(said(file, &[], elsewhere), "configured by config file");
        assert_eq!(said(file, &["--idle-limit=azure"], elsewhere), "preset azure by flag");
        assert_eq!(said(file, &[], "10.1.1.1:5432"), "preset aws by config file");
    }

    #[test]
    fn paths_are_tables() {
        let file = "[[path]]\nname = \"db\"\npeers = \"10.0.0.0/8\"\nport = 5432\nidle_limit = \"aws\"\n\
                    [[path]]\nname = \"six\"\npeers = \"2001:db8::/32\"\nport = 443\nidle_limit = \"15m\"\n";
        let paths: Vec<_> =
            parse(file, &[]).unwrap().limits.path.iter().map(ToString::to_string).collect();
        assert_eq!(paths, ["db=10.0.0.0/8:5432=aws", "six=[2001:db8::/32]:443=900s"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_key_and_what_was_expected() {
        let unknown = error("# comment\nidle_limits = \"aws\"\n");
        assert!(unknown.contains("c.toml:2") && unknown.contains("`idle_limits`"), "{unknown}");
        assert!(unknown.contains("did you mean `idle_limit`? expected one of: "), "{unknown}");
        assert!(unknown.contains("idle_limit, path"), "{unknown}");
        let odd = error("colour = 1");
        assert!(odd.contains("unknown key `colour`; expected one of: idle_limit"), "{odd}");
        let value = error("\nidle_limit = \"never\"");
        assert!(
            value.contains("c.toml:2: `idle_limit` = \"never\": expected a time in whole seconds"),
            "{value}"
        );
        let of_list = error("path = [\"db=10.0.0.0/8=aws\",\n\"x=10.0.0.300/8=aws\"]");
        assert!(of_list.contains("c.toml:2: `path` = \"x=10.0.0.300/8=aws\": "), "{of_list}");
        assert!(error("idle_limit = [1, 2]").contains("not a list"));
        assert!(error("idle_limit = ").contains("c.toml:1: not TOML"));
        assert!(error("not_a_key = 1").contains("unknown key"));
        assert!(error("[[path]]\nname = \"x\"").contains("needs `name`"));
        let nom = error("[[path]]\nnom = \"x\"");
        assert!(nom.contains("c.toml:2: unknown key `path.nom`"), "{nom}");
        assert!(error("[path]\na = 1").contains("`path`"));
    }

    #[test]
    fn a_mistake_in_the_second_path_names_the_line_of_the_second_path() {
        let first =
            "[[path]]\nname = \"db\"\npeers = \"10.0.0.0/8\"\nidle_limit = \"aws\"\n\n[[path]]\n";
        for (second, expected) in [
            (
                "name = \"x\"\npeers = \"10.0.0.0/33\"\nidle_limit = \"aws\"",
                "c.toml:8: `path.peers` = \"10.0.0.0/33\": expected an address",
            ),
            (
                "name = \"x\"\npeers = \"::/0\"\nidle_limit = \"awz\"",
                "c.toml:9: `path.idle_limit` = \"awz\": expected a time",
            ),
            (
                "name = \"x y\"\npeers = \"::/0\"\nidle_limit = \"aws\"",
                "c.toml:7: `path.name` = \"x y\": expected a name",
            ),
            (
                "name = \"x\"\npeers = \"::/0\"\nport = \"db\"\nidle_limit = 9",
                "c.toml:9: `path.port` = \"db\": expected a port",
            ),
            (
                "name = \"x\"\npeers = \"::/0\"\nidle-limit = 9",
                "c.toml:9: unknown key `path.idle-limit`; did you mean `idle_limit`?",
            ),
            (
                "name = \"x\"\npeers = [\"10.0.0.0/8\"]\nidle_limit = \"aws\"",
                "c.toml:8: `path.peers`: expected a text",
            ),
            (
                "name = \"x,y\"\npeers = \"::/0\"\nidle_limit = \"aws\"",
                "c.toml:7: `path.name` = \"x,y\": expected a name without",
            ),
            (
                "name = \"x\"\npeers = \"10.0.0.0/8\"\nidle_limit = \"9s\"",
                "c.toml:6: `path`: another path has the same peers: db=10.0.0.0/8=aws (line 1)",
            ),
            (
                "name = \"db\"\npeers = \"11.0.0.0/8\"\nidle_limit = \"9s\"",
                "c.toml:6: `path`: a path of the name db has another limit",
            ),
            ("name = \"x\"\n", "c.toml:6: `path`: a [[path]] needs"),
            ("name = \"x\"\n", "this one lacks `peers` and `idle_limit`"),
        ] {
            let said = error(&format!("{first}{second}"));
            assert!(said.contains(expected), "{said}");
        }
    }
}
