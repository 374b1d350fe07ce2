//! A filter taken apart: each condition as it was typed, and the filter without it.

use crate::view::filter::Filter;
use serde_json::{Map, Value};

/// One condition of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::command) struct FilterPart {
    /// As it was typed, or could have been: `--port 5432`.
    pub(in crate::command) typed: String,
    /// The filter without it.
    pub(in crate::command) without: Filter,
    /// It alone, in any TCP state.
    pub(super) alone: Filter,
}

/// What asks for more, or changes what is measured: no condition.
const NO_CONDITION: [&str; 2] = ["all", "measured_by"];

/// The conditions of a filter.
pub(in crate::command) fn parts(filter: &Filter) -> Vec<FilterPart> {
    let none = fields(&Filter::default());
    let given = fields(filter);
    let is_given = |(key, value): &(&String, &Value)| {
        !NO_CONDITION.contains(&key.as_str()) && none.get(*key) != Some(value)
    };
    let part = |(key, value): (&String, &Value)| {
        let mut without = given.clone();
        without.remove(key);
        let only =
            |(name, _): &(&String, &Value)| *name == key || NO_CONDITION.contains(&name.as_str());
        let alone = given.iter().filter(only).map(|(key, value)| (key.clone(), value.clone()));
        let alone = of_fields(alone.collect())?;
        Some(FilterPart {
            typed: typed(key, value),
            without: of_fields(without)?,
            alone: Filter { all: true, ..alone },
        })
    };
    given.iter().filter(is_given).filter_map(part).collect()
}

fn fields(filter: &Filter) -> Map<String, Value> {
    match serde_json::to_value(filter) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn of_fields(fields: Map<String, Value>) -> Option<Filter> {
    serde_json::from_value(Value::Object(fields)).ok()
}

/// The option of a field with its value. A field is called as its option is, but for the unit of a time.
fn typed(key: &str, value: &Value) -> String {
    let (option, unit) = match key.strip_suffix("_seconds") {
        Some(option) => (option, "s"),
        None => (key, ""),
    };
    let word = |value: &Value| match value {
        Value::String(text) => quoted(text),
        // Without the point of whole seconds.
        value => value.as_f64().map_or_else(|| value.to_string(), |n| format!("{n}{unit}")),
    };
    let words = match value {
        Value::Array(values) => values.iter().map(word).collect::<Vec<_>>().join(","),
        value => word(value),
    };
    format!("--{} {words}", option.replace('_', "-"))
}

/// A name as a shell takes it for one word.
pub(super) fn quoted(name: &str) -> String {
    if name.contains(|c: char| !c.is_ascii_graphic() || "\\'\"$*&;|<>".contains(c)) {
        format!("'{name}'")
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_condition_is_taken_out_once_and_typed_as_on_the_command_line() {
        let filter: Filter = serde_json::from_value(serde_json::json!({
            "direction": "outbound", "process": ["a b", "c"], "port": [1, 2], "quiet_for_seconds": 90, "all": true,
        }))
        .unwrap();
        let found = parts(&filter);
        let typed: Vec<&str> = found.iter().map(|part| part.typed.as_str()).collect();
        for expected in
            ["--direction outbound", "--process 'a b',c", "--port 1,2", "--quiet-for 90s"]
        {
            assert!(typed.contains(&expected), "{typed:?}");
        }
        assert_eq!(typed.len(), 4, "what asks for more is no condition");
        for part in &found {
            assert_eq!(parts(&part.without).len(), 3, "{part:?}");
            assert_eq!(parts(&part.alone).len(), 1, "{part:?}");
            assert_eq!(parts(&part.alone)[0].typed, part.typed);
        }
        assert!(parts(&Filter::default()).is_empty());
    }

    #[test]
    fn each_option_that_is_named_is_one() {
        #[derive(clap::Parser)]
        struct TypedFilter {
            #[command(flatten)]
            filter: Filter,
        }
        let line = "x --direction outbound --verdict late --condition stuck --quiet-for 90s --state listen --id sk:1f \
                    --process a --pid 1 --uid 0 --peer 10.0.0.9:5432 --local 10.0.0.0/8 --port 1 --local-port 2 \
                    --remote-port 3 --netns 7 --unit u --container c --namespace n --workload w --pod p";
        let read = |words: &str| {
            <TypedFilter as clap::Parser>::try_parse_from(words.split_whitespace()).unwrap().filter
        };
        let filter = read(line);
        let found = parts(&filter);
        assert_eq!(found.len(), 20);
        let again: Vec<String> = found.into_iter().map(|part| part.typed).collect();
        assert_eq!(read(&format!("x {}", again.join(" "))), filter);
    }
}
