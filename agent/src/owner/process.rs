//! What /proc says of one process.

use super::cgroup;
use crate::files::Root;
use std::path::Path;

/// A path of a cgroup has up to 4096 bytes (PATH_MAX), and v1 a line for each of 13 controllers.
const CGROUP_BYTES: usize = 64 << 10;
const STAT_BYTES: usize = 4096;

/// Processes, as this process sees them.
#[derive(Debug)]
pub(super) struct Processes {
    proc: Root,
}

/// One process at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProcessSample {
    /// When it started, in ticks since boot: with its id what is not reused.
    pub(super) started: u64,
    /// The path of its cgroup.
    pub(super) cgroup: Box<[u8]>,
    /// Its effective user id; none if it has ended.
    pub(super) uid: Option<u32>,
}

impl Processes {
    pub(super) fn open(proc: &Path) -> rustix::io::Result<Self> {
        Root::open(proc).map(|proc| Self { proc })
    }

    /// None if there is no such process, or it is not shown to us.
    pub(super) fn read(&self, pid: u32) -> Option<ProcessSample> {
        let cgroup = self.proc.read(&format!("{pid}/cgroup"), CGROUP_BYTES)?;
        let stat = self.proc.read(&format!("{pid}/stat"), STAT_BYTES)?;
        // Empty where no hierarchy of cgroups is mounted: the process is part of nothing, and is one all the same.
        let cgroup = cgroup::path_of(&cgroup).unwrap_or_default().into();
        // Of the folder, and of nothing else in it, this is right of any process (`task_dump_owner` in fs/proc/base.c).
        let uid = self.proc.user(&pid.to_string());
        Some(ProcessSample { started: started(&stat)?, cgroup, uid })
    }
}

/// The 22nd field of `/proc/PID/stat` (proc_pid_stat(5)). The second is a name in parentheses and
/// may hold any byte.
fn started(stat: &[u8]) -> Option<u64> {
    let end_of_name = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_process_name_hides_when_it_started() {
        let fields = "S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 100";
        for name in ["sh", ") R 1 1", "a b\n) S 9", "\u{202e}"] {
            assert_eq!(started(format!("17 ({name}) {fields}\n").as_bytes()), Some(4242), "{name}");
        }
        let mut any_bytes = b"17 (\xff\xfe)) ".to_vec();
        any_bytes.extend(fields.as_bytes());
        assert_eq!(started(&any_bytes), Some(4242));
        assert_eq!(started(b""), None);
        assert_eq!(started(b"17 (sh) S 1"), None);
    }

    #[test]
    fn a_process_is_known_where_cgroups_are_not_mounted() {
        let proc = std::env::temp_dir().join(format!("keepwatch-proc-{}", std::process::id()));
        std::fs::create_dir_all(proc.join("7")).unwrap();
        std::fs::write(proc.join("7/cgroup"), "").unwrap();
        std::fs::write(proc.join("7/stat"), "7 (sh) S 1 2 3 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 42 9")
            .unwrap();
        let found = Processes::open(&proc).unwrap().read(7);
        std::fs::remove_dir_all(&proc).unwrap();
        let uid = Some(rustix::process::geteuid().as_raw());
        assert_eq!(found, Some(ProcessSample { started: 42, cgroup: [].into(), uid }));
    }

    #[test]
    fn this_process_is_found_and_an_unused_id_is_not() {
        let processes = Processes::open(Path::new("/proc")).unwrap();
        let here = processes.read(std::process::id()).unwrap();
        assert!(here.cgroup.starts_with(b"/"));
        assert!(here.started > 0);
        assert_eq!(here.uid, Some(rustix::process::geteuid().as_raw()));
        assert_eq!(processes.read(u32::MAX), None);
    }
}
