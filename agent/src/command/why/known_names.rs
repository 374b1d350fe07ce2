//! The names that owners of connections have here, to answer a name that nobody has: names that look like it, and what
//! it is in another field.

use crate::view::connection::PartOf;
use std::{cmp::Reverse, collections::BTreeSet, fmt};

/// What a name can be the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NameField {
    Process,
    Unit,
    Container,
    /// Of Kubernetes.
    Namespace,
    Workload,
    Pod,
    /// Of the configuration.
    Path,
}

impl NameField {
    /// The word in texts.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::Namespace => "namespace",
            Self::Workload => "workload",
            Self::Pod => "pod",
            Self::Path => "path",
        }
    }
}

/// A name, and what it is the name of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KnownName {
    pub(super) name: String,
    pub(super) field: NameField,
}

impl fmt::Display for KnownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field.as_str(), self.name)
    }
}

/// Names that are remembered at most: a host has fewer.
const MAX_NAMES: usize = 50_000;
/// Names that are proposed at most.
const MAX_NEAR: usize = 5;
/// A beginning of a name that is shorter says little.
const MIN_PREFIX: usize = 3;

/// Every name that was met.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownNames {
    names: BTreeSet<KnownName>,
}

impl KnownNames {
    /// Takes the names of one connection.
    pub(super) fn meet<'a>(
        &mut self,
        processes: impl IntoIterator<Item = &'a str>,
        part_of: &PartOf,
    ) {
        let PartOf { unit, container, namespace, workload, pod, container_id: _ } = part_of;
        let parts = [
            (NameField::Unit, unit),
            (NameField::Container, container),
            (NameField::Namespace, namespace),
            (NameField::Workload, workload),
            (NameField::Pod, pod),
        ];
        for name in processes {
            self.add(NameField::Process, name);
        }
        for (field, name) in parts {
            if let Some(name) = name {
                self.add(field, name);
            }
        }
    }

    /// Takes one name.
    pub(super) fn add(&mut self, field: NameField, name: &str) {
        let known = KnownName { name: name.to_owned(), field };
        if self.names.len() < MAX_NAMES {
            self.names.insert(known);
        }
    }

    /// Whether something is called so.
    pub(super) fn has(&self, word: &str) -> bool {
        let unit = format!("{word}.service");
        self.names.iter().any(|known| known.name == word || known.name == unit)
    }

    /// What is called like `word`, the likeliest first.
    pub(super) fn near(&self, word: &str) -> Vec<KnownName> {
        let names = self.names.iter();
        let near: BTreeSet<(Reverse<u8>, &KnownName)> = names
            .filter_map(|known| Some((Reverse(likeness(word, &known.name)?), known)))
            .collect();
        near.into_iter().map(|(_, known)| known.clone()).take(MAX_NEAR).collect()
    }
}

/// How alike two names are, if they are; more is more.
fn likeness(word: &str, name: &str) -> Option<u8> {
    let (word, name) = (word.to_lowercase(), name.to_lowercase());
    // `checkout.service` is as good as `checkout`.
    let stem = |of: &str| {
        let unit = of.strip_suffix(".service").or_else(|| of.strip_suffix(".scope"));
        unit.unwrap_or(of).to_owned()
    };
    let (word, name) = (stem(&word), stem(&name));
    if word == name {
        return Some(100);
    }
    let (short, long) = if word.len() < name.len() { (&word, &name) } else { (&name, &word) };
    if short.chars().count() >= MIN_PREFIX
        && (long.starts_with(short) || long.contains(&format!("-{short}")))
    {
        return Some(90);
    }
    let most = (word.chars().count() / 3).min(3);
    let distance = strsim::damerau_levenshtein(&word, &name);
    (distance <= most).then(|| 80_u8.saturating_sub(u8::try_from(distance).unwrap_or(80)))
}

/// Names in one sentence: `process checkou, unit checkout.service`.
pub(super) fn in_words(names: &[KnownName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> KnownNames {
        let mut names = KnownNames::default();
        let part_of = PartOf {
            unit: Some("checkout.service".to_owned()),
            pod: Some("web-checkout-0".to_owned()),
            ..PartOf::default()
        };
        names.meet(["python3"], &part_of);
        names.meet(["postgres", "redis"], &PartOf::default());
        names.meet(["postgres"], &PartOf::default());
        names.add(NameField::Path, "database");
        names
    }

    fn near(word: &str) -> String {
        in_words(&names().near(word))
    }

    #[test]
    fn what_a_name_is_elsewhere_comes_first_then_what_looks_like_it() {
        assert_eq!(near("checkout"), "unit checkout.service, pod web-checkout-0");
        assert_eq!(near("Checkout.Service"), "unit checkout.service, pod web-checkout-0");
        assert!(names().has("checkout") && names().has("postgres") && !names().has("postgers"));
        assert_eq!(near("postgers"), "process postgres", "two letters changed places");
        assert_eq!(near("post"), "process postgres");
        assert_eq!(near("postgresql"), "process postgres");
        assert_eq!(near("databse"), "path database");
    }

    #[test]
    fn what_looks_like_nothing_has_no_near_name() {
        for word in ["nosuch", "re", "x", "", "python2000server"] {
            assert_eq!(near(word), "", "{word}");
        }
    }

    #[test]
    fn names_are_bounded() {
        let mut names = KnownNames::default();
        for n in 0..MAX_NAMES + 10 {
            names.add(NameField::Process, &n.to_string());
        }
        assert_eq!(names.names.len(), MAX_NAMES);
        assert_eq!(names.near("4242").len(), MAX_NEAR);
    }
}
