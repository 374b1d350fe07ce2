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
use std::{
    fs::File,
    io::{self, Read as _},
};

/// Files of one process that are read; a hostile one may map as many as the kernel allows (vm.max_map_count).
const MAX_FILES: usize = 4096;
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
    /// Paths of the files that it has mapped to execute, and of the jars that it has open.
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

    /// What a process has loaded now. Of one that is gone, and of the kernel's own threads, no executable is found.
    pub fn of(&self, pid: u32) -> io::Result<FilesOfProcess> {
        let mut files = FilesOfProcess { is_complete: true, ..FilesOfProcess::default() };
        for program in [&self.mapped, &self.jars] {
            let link = map_iterator::attach_to_process(program, pid)?;
            files.take(map_iterator::begin(&link)?.into())?;
        }
        Ok(files)
    }
}

impl FilesOfProcess {
    fn take(&mut self, mut walk: File) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        let mut rest = 0;
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
                self.add(decode::process_file(record).map_err(io::Error::other)?);
            }
            if self.loaded.len() >= MAX_FILES {
                self.is_complete = false;
                return Ok(());
            }
            buffer.copy_within(filled - rest..filled, 0);
        }
    }

    fn add(&mut self, file: ProcessFile) {
        match file {
            ProcessFile::Executable(path) => self.executable = Some(path),
            ProcessFile::Loaded(path) => self.loaded.push(path),
            ProcessFile::Unnamed => self.is_complete = false,
            ProcessFile::GoMemory => self.has_go = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros as _;

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

    #[test]
    fn what_is_left_out_is_said() {
        let all = || FilesOfProcess { is_complete: true, ..FilesOfProcess::default() };
        let mut files = all();
        files.add(ProcessFile::Executable(b"/bin/x".to_vec()));
        files.add(ProcessFile::Loaded(b"/lib/y".to_vec()));
        assert!(files.is_complete && files.loaded.len() == 1 && !files.has_go);
        files.add(ProcessFile::Unnamed);
        assert!(!files.is_complete);
    }
}
