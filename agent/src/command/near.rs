//! What to say when a filter finds nothing: what there is without it, and what has a name like the one typed.

use crate::view::{filter::Filter, row::Row};
use std::collections::BTreeSet;

/// Above this a name is taken for another one mistyped.
const ALIKE: f64 = 0.85;
/// Names that are proposed.
const N_PROPOSED: usize = 3;

/// Collects names like those that a filter has, from rows that it does not admit.
#[derive(Debug)]
pub(super) struct NearNames {
    /// With the option that it was typed for.
    typed: Vec<(&'static str, String)>,
    n_rows: u64,
    found: BTreeSet<NearName>,
}

/// A name that is there, and how to ask for it. First what was typed for another option than it is of.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NearName {
    is_inexact: bool,
    kind: &'static str,
    option: &'static str,
    name: String,
}

impl NearNames {
    /// For a filter that found nothing; none if it has no condition.
    pub(super) fn of(filter: &Filter) -> Option<Self> {
        if (Filter { measured_by: None, ..filter.clone() }) == Filter::default() {
            return None;
        }
        let Filter { process, unit, container, namespace, workload, pod, .. } = filter;
        let typed = [
            ("process", process),
            ("unit", unit),
            ("container", container),
            ("namespace", namespace),
            ("workload", workload),
            ("pod", pod),
        ];
        let typed = typed.into_iter().flat_map(|(option, names)| {
            names.iter().map(move |name| (option, name.to_lowercase()))
        });
        Some(Self { typed: typed.collect(), n_rows: 0, found: BTreeSet::new() })
    }

    /// Looks at one connection.
    pub(super) fn look(&mut self, row: &Row) {
        self.n_rows += 1;
        if self.typed.is_empty() {
            return;
        }
        let part_of = &row.connection.part_of;
        let named = [
            ("a unit", "unit", &part_of.unit),
            ("a container", "container", &part_of.container),
            ("a namespace", "namespace", &part_of.namespace),
            ("a workload", "workload", &part_of.workload),
            ("a pod", "pod", &part_of.pod),
        ];
        let processes =
            row.owners.iter().map(|owner| ("a process", "process", owner.process.as_str()));
        let parts = named
            .into_iter()
            .filter_map(|(kind, option, name)| Some((kind, option, name.as_deref()?)));
        for (kind, option, name) in processes.chain(parts) {
            let lower = name.to_lowercase();
            let is_near = |(of, typed): &(&'static str, String)| {
                (*of != option && lower == *typed)
                    || lower.contains(typed.as_str())
                    || strsim::jaro_winkler(&lower, typed) > ALIKE
            };
            if self.typed.iter().any(is_near) {
                let is_inexact = !self.typed.iter().any(|(_, typed)| lower == *typed);
                let name = name.to_owned();
                self.found.insert(NearName { is_inexact, kind, option, name });
            }
        }
    }

    /// What is there instead, in words.
    pub(super) fn words(&self) -> String {
        let n = self.n_rows;
        let mut words = match n {
            0 => "there are none without the filters, either".to_owned(),
            1 => "there is 1 without the filters".to_owned(),
            _ => format!("there are {n} without the filters"),
        };
        for NearName { kind, option, name, .. } in self.found.iter().take(N_PROPOSED) {
            let quoted =
                if name.contains(|c: char| !c.is_ascii_graphic() || "\\'\"$*&;|<>".contains(c)) {
                    format!("'{name}'")
                } else {
                    name.clone()
                };
            words.push_str(&format!("; there is {kind} {name}: --{option} {quoted}"));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::{
            idle_limit::{IdleLimit, Limits},
            verdict::Surroundings,
        },
        observed::{
            owner_identity::Identity,
            socket::{Comm, Owner, tests_support::socket},
        },
    };

    fn words(filter: serde_json::Value) -> Option<String> {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings { limits, host: BTreeSet::new(), hz: 250 };
        let mut near = NearNames::of(&serde_json::from_value(filter).unwrap())?;
        let unit = Identity { unit: Some("checkout.service".into()), ..Identity::default() };
        let mut comm = [0; 16];
        comm[..7].copy_from_slice(b"python3");
        let owner = Owner { pid: 7, fd: None, comm: Comm::new(comm) };
        for _ in 0..3 {
            near.look(&Row::new(&socket(), [&owner], Some(&unit), &around, socket().at));
        }
        Some(near.words())
    }

    #[test]
    fn a_unit_that_was_typed_as_a_process_is_proposed() {
        let said = words(serde_json::json!({ "process": ["checkout"] })).unwrap();
        assert_eq!(
            said,
            "there are 3 without the filters; there is a unit checkout.service: --unit checkout.service"
        );
    }

    #[test]
    fn a_mistyped_name_is_proposed_and_another_name_is_not() {
        let said = words(serde_json::json!({ "process": ["pyhton3"] })).unwrap();
        assert!(said.ends_with("--process python3"), "{said}");
        let said = words(serde_json::json!({ "process": ["nginx"] })).unwrap();
        assert_eq!(said, "there are 3 without the filters");
        let said = words(serde_json::json!({ "port": [1] })).unwrap();
        assert_eq!(said, "there are 3 without the filters");
        assert_eq!(words(serde_json::json!({})), None);
    }
}
