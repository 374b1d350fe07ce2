//! What happened to the packages of a system between two lists of them.

use std::collections::BTreeMap;

/// The difference of two lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) added: Vec<String>,
    pub(crate) changed: Vec<String>,
    pub(crate) lost: Vec<String>,
}

/// Compares lists of dpkg's, each line a name and, after a space, version and state.
pub(crate) fn compare(before: &str, after: &str) -> Changes {
    let (before, after) = (read(before), read(after));
    let mut changes = Changes::default();
    for (name, old) in &before {
        match after.get(name) {
            None => changes.lost.push((*name).into()),
            Some(new) if new != old => changes.changed.push(format!("{name} from {old} to {new}")),
            Some(_) => {}
        }
    }
    let new = after.keys().filter(|name| !before.contains_key(*name));
    changes.added = new.map(|name| (*name).into()).collect();
    changes
}

fn read(list: &str) -> BTreeMap<&str, &str> {
    list.lines().filter_map(|line| line.split_once(' ')).collect()
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn what_is_gone_or_of_another_version_or_state_is_seen() {
        let before = "gcc:amd64 12 ii\nqemu-utils:all 1:99 hi\nlibz:amd64 1 ii\nxz:amd64 5 ii\n";
        let after = "gcc:amd64 12 ii\nqemu-utils:all 1:7 hi\nxz:amd64 5 rc\nnew:all 1 ii\n";
        let changes = compare(before, after);
        assert_eq!(changes.lost, ["libz:amd64"]);
        assert_eq!(
            changes.changed,
            ["qemu-utils:all from 1:99 hi to 1:7 hi", "xz:amd64 from 5 ii to 5 rc"]
        );
        assert_eq!(changes.added, ["new:all"]);
    }

    #[test]
    fn the_same_list_is_no_change() {
        assert_eq!(compare("gcc:amd64 12 ii\n", "gcc:amd64 12 ii\n"), super::Changes::default());
    }
}
