//! The files that a process has loaded, where /proc refuses them to a process without capabilities. The programs are loaded
//! while this process may do that; binding them to a process and reading takes no capability.

use super::{
    Signal, SignalStatus,
    error::{Error, failed},
    program,
};
use crate::kernel::{
    decode::{self, FILE_LEN, ProcessFile},
    map_iterator, snapshot,
};
use aya::{Ebpf, programs::Iter};
use keepwatch_ebpf::{layout::Layout, name};
use rustix::fd::{AsFd as _, OwnedFd};
use std::{fs::File, io};

/// Records of one process that are read, of whatever kind; a hostile one may map as many files as the kernel allows
/// (vm.max_map_count).
const MAX_RECORDS: usize = 4096;
/// The kernel hands out at most 8 pages a read (`bpf_seq_read` in kernel/bpf/bpf_iter.c).
const READ_BYTES: usize = 32 << 10;

/// What reads the files of processes.
#[derive(Debug)]
pub struct ProcessFiles {
    mapped: OwnedFd,
    jars: OwnedFd,
}

/// What a process has loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesOfProcess {
    /// The path of its executable.
    pub executable: Option<Vec<u8>>,
    /// Paths of the files that it has mapped to execute, and of the jars that it has open: those that were asked for.
    pub loaded: Vec<Vec<u8>>,
    /// Memory of Go's runtime is in it.
    pub has_go: bool,
    /// Nothing is left out: not for its number, nor for the length of a path.
    pub is_complete: bool,
}

const ATTEMPT: &str = "read the files that processes have loaded";

/// Takes the programs out. Where that is not possible, or not safe, it is said of their signal.
pub(super) fn begin(
    ebpf: &mut Ebpf,
    layout: &Layout,
    status: &mut [SignalStatus],
) -> Option<ProcessFiles> {
    let status = status.iter_mut().find(|status| status.signal == Signal::ProcessFiles)?;
    if let Some(lack) = lack(layout) {
        status.failure = Some(failed(ATTEMPT, lack));
    }
    if status.failure.is_some() {
        return None;
    }
    match ProcessFiles::new(ebpf) {
        Ok(files) => Some(files),
        Err(error) => {
            status.failure = Some(error);
            None
        }
    }
}

/// Why this kernel's iterators must not be used, or cannot.
fn lack(layout: &Layout) -> Option<&'static str> {
    if layout.has_task_iterators == 0 {
        return Some("this kernel cannot bind an iterator to one process: Linux can since 6.1");
    }
    // Nor is it tried: with such a kernel a process that ends while it is looked at can end the kernel, too.
    (layout.vma_walk_is_safe == 0).then_some(
        "in this kernel the iterator iter/task_vma can crash the host when a process ends: fixed in 6.2 and 6.1.8",
    )
}

impl ProcessFiles {
    fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let mut take = |name| {
            let iter: &mut Iter = program(ebpf, name)?;
            let fd = iter.fd().map_err(|error| failed(ATTEMPT, error))?;
            fd.as_fd().try_clone_to_owned().map_err(|error| failed(ATTEMPT, error))
        };
        Ok(Self { mapped: take(name::MAPPED_FILES)?, jars: take(name::OPEN_JARS)? })
    }

    /// What a process has loaded now, of that the files that are wanted. Of one that is gone, and of the kernel's own
    /// threads, no executable is found.
    pub fn of(&self, pid: u32, is_wanted: impl Fn(&[u8]) -> bool) -> io::Result<FilesOfProcess> {
        let mut files = FilesOfProcess { is_complete: true, ..FilesOfProcess::default() };
        for program in [&self.mapped, &self.jars] {
            let link = map_iterator::attach_to_process(program, pid)?;
            files.take(File::from(map_iterator::begin(&link)?), &is_wanted)?;
        }
        Ok(files)
    }
}

impl FilesOfProcess {
    /// Takes the records of one walk, up to the bound.
    fn take(
        &mut self,
        mut walk: impl io::Read,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        let mut rest = 0;
        let mut n_records = 0;
        loop {
            let n_read = match walk.read(buffer.get_mut(rest..).unwrap_or_default()) {
                Ok(0) => return Ok(()),
                Ok(n_read) => n_read,
                Err(error) if snapshot::is_again(&error) => continue,
                Err(error) => return Err(error),
            };
            let filled = rest + n_read;
            let records = buffer.get(..filled).unwrap_or_default().chunks_exact(FILE_LEN);
            rest = records.remainder().len();
            for record in records {
                if n_records >= MAX_RECORDS {
                    self.is_complete = false;
                    return Ok(());
                }
                n_records += 1;
                self.add(decode::process_file(record).map_err(io::Error::other)?, &is_wanted);
            }
            buffer.copy_within(filled - rest..filled, 0);
        }
    }

    fn add(&mut self, file: ProcessFile, is_wanted: impl Fn(&[u8]) -> bool) {
        match file {
            ProcessFile::Executable(path) => self.executable = Some(path),
            ProcessFile::Loaded(path) if is_wanted(&path) => self.loaded.push(path),
            ProcessFile::Loaded(_) => {}
            ProcessFile::Unnamed => self.is_complete = false,
            ProcessFile::GoMemory => self.has_go = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepwatch_ebpf::record::{ProcessFileRecord, Tag, usage};
    use zerocopy::{FromZeros as _, IntoBytes as _};

    #[test]
    fn a_kernel_that_a_dying_process_would_take_along_is_not_asked() {
        let layout = |has, is_safe| {
            let mut layout = Layout::new_zeroed();
            (layout.has_task_iterators, layout.vma_walk_is_safe) = (has, is_safe);
            layout
        };
        assert!(lack(&layout(0, 0)).is_some_and(|why| why.contains("since 6.1")));
        assert!(lack(&layout(1, 0)).is_some_and(|why| why.contains("crash")));
        assert_eq!(lack(&layout(1, 1)), None);
    }

    const fn all() -> FilesOfProcess {
        FilesOfProcess { executable: None, loaded: Vec::new(), has_go: false, is_complete: true }
    }

    #[test]
    fn what_is_left_out_is_said() {
        let mut files = all();
        files.add(ProcessFile::Executable(b"/bin/x".to_vec()), |_| true);
        files.add(ProcessFile::Loaded(b"/lib/y".to_vec()), |_| true);
        files.add(ProcessFile::Loaded(b"/lib/z".to_vec()), |_| false);
        assert!(files.is_complete && files.loaded == [b"/lib/y"] && !files.has_go);
        files.add(ProcessFile::Unnamed, |_| true);
        assert!(!files.is_complete);
    }

    #[test]
    fn reading_stops_at_the_bound_whatever_the_records_are() {
        for (usage, path_len) in [(usage::GO_MEMORY, 0), (usage::MAPPED, -36), (usage::MAPPED, 2)] {
            let mut record = ProcessFileRecord::new_zeroed();
            record.tag = Tag::ProcessFile.wire();
            (record.usage, record.path_len) = (usage, path_len);
            let of = |n_records: usize| {
                let (mut files, bytes) = (all(), record.as_bytes().repeat(n_records));
                let mut walk = &bytes[..];
                files.take(&mut walk, |_| true).unwrap();
                (files, walk.len())
            };
            let (few, rest) = of(MAX_RECORDS);
            assert_eq!((few.is_complete, rest), (path_len >= 0, 0));
            let (many, rest) = of(2 * MAX_RECORDS);
            assert!(!many.is_complete && many.loaded.len() <= MAX_RECORDS, "{usage}");
            assert!(rest >= (MAX_RECORDS - READ_BYTES / FILE_LEN) * FILE_LEN, "it goes on reading");
        }
    }
}
