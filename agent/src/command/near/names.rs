//! Names like one that was typed and that nothing has.

use super::parts::quoted;
use crate::{
    model::observed::owner_identity::IdentityPart,
    view::{filter::Filter, row::Row},
};
use std::collections::BTreeSet;

/// Above this a name is taken for another one mistyped.
const ALIKE: f64 = 0.85;
/// Names that are proposed.
const N_PROPOSED: usize = 3;

/// Collects names like those that a filter has, from rows that it does not admit.
#[derive(Debug)]
pub(super) struct NearNames<'a> {
    filter: &'a Filter,
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

/// The option for what a process is part of, and what that is.
const fn option_of(part: IdentityPart) -> (&'static str, &'static str) {
    match part {
        IdentityPart::Unit => ("unit", "a unit"),
        IdentityPart::Container => ("container", "a container"),
        IdentityPart::Namespace => ("namespace", "a namespace"),
        IdentityPart::Workload => ("workload", "a workload"),
        IdentityPart::Pod => ("pod", "a pod"),
    }
}

impl<'a> NearNames<'a> {
    pub(super) fn of(filter: &'a Filter) -> Self {
        let parts = named(filter).into_iter().map(|(part, names)| (option_of(part).0, names));
        let typed = [("process", &filter.process)].into_iter().chain(parts);
        let typed = typed.flat_map(|(option, names)| {
            names.iter().map(move |name| (option, name.to_lowercase()))
        });
        Self { filter, typed: typed.collect(), n_rows: 0, found: BTreeSet::new() }
    }

    /// Looks at one connection.
    pub(super) fn look(&mut self, row: &Row) {
        self.n_rows += 1;
        if self.typed.is_empty() {
            return;
        }
        let of = &row.connection.part_of;
        for owner in &row.owners {
            // What has the name is left out by another condition.
            if !self.filter.process.iter().any(|name| owner.is_named(name)) {
                self.compare("a process", "process", &owner.process);
            }
        }
        let shown = [&of.unit, &of.container, &of.namespace, &of.workload, &of.pod];
        for ((part, names), name) in named(self.filter).into_iter().zip(shown) {
            let (option, kind) = option_of(part);
            if let Some(name) = name
                && !names.iter().any(|name| of.is(part, name))
            {
                self.compare(kind, option, name);
            }
        }
    }

    fn compare(&mut self, kind: &'static str, option: &'static str, name: &str) {
        let lower = name.to_lowercase();
        let is_near = |(of, typed): &(&'static str, String)| {
            (*of != option && lower == *typed)
                || lower.contains(typed.as_str())
                || strsim::jaro_winkler(&lower, typed) > ALIKE
        };
        if self.typed.iter().any(is_near) {
            let is_inexact = !self.typed.iter().any(|(_, typed)| lower == *typed);
            self.found.insert(NearName { is_inexact, kind, option, name: name.to_owned() });
        }
    }

    /// How many connections there are without the filters, in words.
    pub(super) fn n_without_filters(&self) -> String {
        match self.n_rows {
            0 => "there are none without the filters, either".to_owned(),
            1 => "there is 1 without the filters".to_owned(),
            n => format!("there are {n} without the filters"),
        }
    }

    /// The names that are alike, each with the option that asks for it.
    pub(super) fn proposals(&self) -> String {
        let found = self.found.iter().take(N_PROPOSED);
        let words = found.map(|NearName { kind, option, name, .. }| {
            format!("; there is {kind} {name}: --{option} {}", quoted(name))
        });
        words.collect()
    }
}

/// What is asked of the parts of an identity, in the order of `PartOf`.
const fn named(filter: &Filter) -> [(IdentityPart, &Vec<String>); 5] {
    [
        (IdentityPart::Unit, &filter.unit),
        (IdentityPart::Container, &filter.container),
        (IdentityPart::Namespace, &filter.namespace),
        (IdentityPart::Workload, &filter.workload),
        (IdentityPart::Pod, &filter.pod),
    ]
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

    fn words(filter: serde_json::Value) -> String {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings::new(limits, 250);
        let filter = serde_json::from_value(filter).unwrap();
        let mut near = NearNames::of(&filter);
        let unit = Identity { unit: Some("checkout.service".into()), ..Identity::default() };
        let mut comm = [0; 16];
        comm[..7].copy_from_slice(b"python3");
        let owner = Owner { pid: 7, fd: None, comm: Comm::new(comm) };
        for _ in 0..3 {
            near.look(&Row::new(&socket(), [&owner], Some(&unit), &around, socket().at));
        }
        format!("{}{}", near.n_without_filters(), near.proposals())
    }

    #[test]
    fn a_unit_that_was_typed_as_a_process_is_proposed() {
        let said = words(serde_json::json!({ "process": ["checkout"] }));
        assert_eq!(
            said,
            "there are 3 without the filters; there is a unit checkout.service: --unit checkout.service"
        );
    }

    #[test]
    fn a_mistyped_name_is_proposed_and_another_name_is_not() {
        let said = words(serde_json::json!({ "process": ["pyhton3"] }));
        assert!(said.ends_with("--process python3"), "{said}");
        let said = words(serde_json::json!({ "process": ["nginx"] }));
        assert_eq!(said, "there are 3 without the filters");
        let said = words(serde_json::json!({ "port": [1] }));
        assert_eq!(said, "there are 3 without the filters");
    }

    #[test]
    fn a_name_that_is_there_is_never_proposed_to_the_person_who_typed_it() {
        for typed in [("process", "python3"), ("unit", "checkout"), ("unit", "checkout.service")] {
            let said = words(serde_json::json!({ typed.0: [typed.1], "port": [1] }));
            assert_eq!(said, "there are 3 without the filters", "{typed:?}");
        }
        let said = words(serde_json::json!({ "process": ["Python3"] }));
        assert!(said.ends_with("--process python3"), "{said}");
    }
}
