//! Processes that are stopped now: their kernel acknowledges what comes, and they neither read nor answer it.

use crate::files;
use std::path::Path;

/// It has two short lines.
const EVENTS_BYTES: usize = 4096;

/// Whether a process is stopped by a signal or a debugger, or frozen with its cgroup, as a paused container is.
pub(super) fn is_stopped(pid: u32) -> bool {
    let proc = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    has_stopped_state(&proc("stat")) || is_frozen(&proc("cgroup"), Path::new("/sys/fs/cgroup"))
}

/// The third field of `/proc/PID/stat` (proc_pid_stat(5)). The second is a name in parentheses and may hold any byte.
fn has_stopped_state(stat: &[u8]) -> bool {
    let end_of_name = stat.iter().rposition(|&byte| byte == b')');
    let state = end_of_name.and_then(|end| stat.get(end + 2));
    matches!(state, Some(b'T' | b't'))
}

/// Whether the cgroup of the unified hierarchy in this `/proc/PID/cgroup` is frozen.
fn is_frozen(cgroup: &[u8], mounted: &Path) -> bool {
    let text = String::from_utf8_lossy(cgroup);
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return false;
    };
    // What is outside of our own cgroup namespace is not below the mount.
    if path.split('/').any(|part| part == "..") {
        return false;
    }
    let events = files::text(&mounted.join(path).join("cgroup.events"), EVENTS_BYTES);
    events.is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_process_is_told_from_one_that_sleeps_whatever_its_name() {
        for name in ["sh", ") T 1", "a b"] {
            assert!(has_stopped_state(format!("7 ({name}) T 1 2").as_bytes()), "{name}");
            assert!(has_stopped_state(format!("7 ({name}) t 1 2").as_bytes()), "{name}");
            for state in ["S", "R", "D", "Z"] {
                assert!(!has_stopped_state(format!("7 ({name}) {state} 1").as_bytes()), "{name}");
            }
        }
        assert!(!has_stopped_state(b""));
        assert!(!is_stopped(std::process::id()));
    }

    #[test]
    fn a_paused_container_is_frozen_and_its_neighbour_is_not() {
        let mounted =
            std::env::temp_dir().join(format!("keepwatch-cgroups-{}", std::process::id()));
        for (name, frozen) in [("paused", 1), ("runs", 0)] {
            std::fs::create_dir_all(mounted.join(name)).unwrap();
            let events = format!("populated 1\nfrozen {frozen}\n");
            std::fs::write(mounted.join(name).join("cgroup.events"), events).unwrap();
        }
        let said = ["0::/paused\n", "0::/runs\n", "1:cpu:/paused\n", "0::/../paused\n", ""]
            .map(|cgroup| is_frozen(cgroup.as_bytes(), &mounted));
        std::fs::remove_dir_all(&mounted).unwrap();
        assert_eq!(said, [true, false, false, false, false]);
    }
}
