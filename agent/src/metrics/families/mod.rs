//! Every family of metrics, a file a group: definition, help, question, labels, and the function that fills it.

mod deaths;
mod events;
mod history;
mod hooks;
mod paths;
mod probes;
mod process;
mod reloads;
mod setsockopt;
mod settings;
mod sight;
mod snapshots;
mod sockets;
mod table;

use super::family::MetricFamily;

/// All groups, in the order of export and documentation.
static FAMILIES: [&[MetricFamily]; 14] = [
    sockets::FAMILIES,
    settings::FAMILIES,
    paths::FAMILIES,
    probes::FAMILIES,
    deaths::FAMILIES,
    setsockopt::FAMILIES,
    table::FAMILIES,
    hooks::FAMILIES,
    sight::FAMILIES,
    events::FAMILIES,
    history::FAMILIES,
    snapshots::FAMILIES,
    reloads::FAMILIES,
    process::FAMILIES,
];

/// Every family, in the order of export and documentation.
pub fn families() -> impl Iterator<Item = &'static MetricFamily> {
    FAMILIES.into_iter().flatten()
}

/// Families that nothing but hooks can fill. Without eBPF they are absent: 0 would look like health.
pub(super) const BY_HOOKS: [&str; 10] = [
    "keepwatch_probes_sent",
    "keepwatch_probes_answered",
    "keepwatch_timer_fires",
    "keepwatch_quiet_before_death_seconds",
    "keepwatch_connections_ended",
    "keepwatch_setsockopt",
    "keepwatch_settings_changed_unseen",
    "keepwatch_hook_attached",
    "keepwatch_events",
    "keepwatch_events_lost",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{MAX_SERIES, MetricKind};
    use std::collections::BTreeSet;

    #[test]
    fn what_needs_hooks_is_a_family() {
        let is_there = |name| families().any(|family| family.name == name);
        assert!(BY_HOOKS.into_iter().all(is_there), "{BY_HOOKS:?}");
    }

    #[test]
    fn no_two_families_share_a_name() {
        let names: BTreeSet<_> = families().map(|family| family.name).collect();
        assert_eq!(names.len(), families().count());
    }

    #[test]
    fn suffixes_belong_to_kinds_and_are_added_on_export() {
        for family in families() {
            for suffix in ["_total", "_info", "_count", "_sum", "_bucket", "_created"] {
                assert!(!family.name.ends_with(suffix), "{}", family.name);
            }
            let total = family.exported_name().ends_with("_total");
            assert_eq!(total, family.kind == MetricKind::Counter, "{}", family.name);
        }
    }

    #[test]
    fn units_are_seconds_and_bytes_and_stand_in_the_name() {
        for family in families() {
            let suffix = family.name.rsplit('_').next().unwrap();
            let is_unit = ["seconds", "bytes"].contains(&suffix);
            assert_eq!(family.unit(), is_unit.then_some(suffix), "{}", family.name);
            for other in
                ["ms", "milliseconds", "microseconds", "ns", "minutes", "hours", "kib", "mib"]
            {
                assert_ne!(suffix, other, "{}", family.name);
            }
        }
    }

    #[test]
    fn names_are_words_of_this_project_or_the_conventional_ones_of_a_process() {
        for MetricFamily { name, .. } in families() {
            assert!(name.starts_with("keepwatch_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        }
    }

    #[test]
    fn help_is_a_plain_sentence_that_says_when_and_a_question_is_asked() {
        for MetricFamily { name, help, question, .. } in families() {
            assert!(help.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
            assert!(help.ends_with('.') && !help.contains("  "), "{name}");
            assert!(!help.contains(['\\', '"', '\n']), "{name}");
            let when = ["now", "since", "the last snapshot", "the agent's start"];
            assert!(when.iter().any(|when| help.contains(when)), "{name}");
            assert!(question.contains('?'), "{name}");
        }
    }

    #[test]
    fn no_family_can_exceed_the_series_budget() {
        for family in families() {
            let n_series = family.max_series();
            assert!((1..=MAX_SERIES).contains(&n_series), "{}: {n_series}", family.name);
        }
    }

    #[test]
    fn no_label_tells_one_connection_from_another() {
        for label in families().flat_map(|family| family.labels) {
            for poison in ["pid", "fd", "port", "cookie", "id", "addr", "address", "peer", "le"] {
                assert!(label.name.split('_').all(|part| part != poison), "{}", label.name);
            }
            assert!(label.values.bound() > 0 && !label.meaning.is_empty(), "{}", label.name);
        }
    }

    #[test]
    fn no_family_has_a_label_twice() {
        for family in families() {
            let names: BTreeSet<_> = family.labels.iter().map(|label| label.name).collect();
            assert_eq!(names.len(), family.labels.len(), "{}", family.name);
        }
    }
}
