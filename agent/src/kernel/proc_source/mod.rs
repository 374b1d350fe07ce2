//! Every TCP socket that a process has open, without eBPF and BTF: by its descriptor in /proc, borrowed (`pidfd_getfd`, Linux
//! 5.6) and asked. For hosts where bpf(2) is refused: Fargate, Autopilot, lockdown.
//!
//! 1. [`descriptors`]: /proc/PID/fd gives the sockets of each process.
//! 2. [`namespaces`]: their network namespaces, with sysctls and the tables of [`connection_table`].
//! 3. [`asked_socket`] and [`sampled`]: what each socket answers becomes a record like those of the hooks.
//! 4. [`unmet`]: a connection that a walk does not meet any more is looked for in those tables, before it is told gone.
//!
//! What has no descriptor is counted, not shown: its settings cannot be asked.

mod asked_socket;
mod connection_table;
mod descriptors;
mod namespaces;
mod sampled;
mod unmet;
mod walk;

pub(crate) use unmet::{UnmetSocket, Whereabouts, as_listed};
pub(crate) use walk::ProcWalk;

use super::{clock, decode::Decoder, host};
use crate::model::{observed::event::Event, table::agent_health::NotSeen, text::count::counted};
use rustix::{
    fd::AsRawFd as _,
    io::Errno,
    process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open},
};
use std::{fs::File, io};

/// Why sockets cannot be read so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no /proc, or it is not readable.
    #[error("list the processes in /proc: {0}; mount it: mount -t proc proc /proc")]
    Processes(#[source] io::Error),
    /// The kernel has no `pidfd_getfd`.
    #[error("read sockets from /proc: this kernel has no pidfd_getfd (Linux 5.6)")]
    NotSupported,
    /// Not even a descriptor of this process is given.
    #[error(
        "read sockets from /proc: pidfd_getfd is refused even for this process ({0}): a seccomp profile forbids it; \
         give the container SYS_PTRACE (Docker and containerd allow it then), or another profile"
    )]
    Refused(#[source] Errno),
}

/// Reads sockets from /proc.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcSource {
    decoder: Decoder,
}

impl ProcSource {
    /// Tries whether descriptors can be borrowed at all.
    pub(crate) fn open() -> Result<Self, Error> {
        let file = File::open("/proc/self/stat").map_err(Error::Processes)?;
        let copied = pidfd_open(getpid(), PidfdFlags::empty())
            .and_then(|process| pidfd_getfd(process, file.as_raw_fd(), PidfdGetfdFlags::empty()));
        match copied {
            Ok(_) => Ok(Self { decoder: Decoder::new(clock::hz()) }),
            Err(Errno::NOSYS) => Err(Error::NotSupported),
            Err(errno) => Err(Error::Refused(errno)),
        }
    }

    /// Begins a walk over every socket that a process has open.
    pub(crate) fn begin(self) -> Result<ProcWalk, Error> {
        ProcWalk::begin(self.decoder)
    }

    /// Passes on every socket that a process has open, once for each descriptor.
    pub(crate) fn walk(self, mut each: impl FnMut(Event)) -> Result<NotSeen, Error> {
        let mut walk = self.begin()?;
        while walk.read(&mut each) {}
        Ok(walk.not_seen())
    }
}

/// What is not seen without eBPF, wherever it runs.
pub(crate) const NEVER_SEEN: &str = "events, deaths, who set what, and probes of the peer";

/// The same of an agent, which compares one look with the next.
pub(crate) const NEVER_SEEN_BY_AGENT: &str = "events, probes, who set what, causes of death but for what the last look before shows, and \
                                              connections that open and end between two looks";

impl NotSeen {
    /// What is not seen for want of rights, in words: then there may be more of everything.
    pub(crate) fn hidden(&self) -> Option<String> {
        let is_hidden = self.processes > 0 && !host::missing_for_descriptors().is_empty();
        self.words().into_iter().next().filter(|_| is_hidden)
    }

    /// What was not seen, each in words.
    pub(crate) fn words(&self) -> Vec<String> {
        let Self { processes, without_descriptor, subflows, of_unread_namespaces } = *self;
        let needs = match host::missing_for_descriptors().as_slice() {
            [] => String::new(),
            missing => format!(" (needs {})", missing.join(" and ")),
        };
        let of_processes = match processes {
            1 => "the sockets of 1 process".to_owned(),
            n => format!("the sockets of {n} processes"),
        };
        let open = counted(without_descriptor, "connection");
        let origins = counted(of_unread_namespaces, "socket");
        [
            (processes, format!("{of_processes}{needs}")),
            (
                without_descriptor,
                format!("{open} that no process has open (waiting to be accepted, or closing)"),
            ),
            (subflows, format!("{} of MPTCP", counted(subflows, "further subflow"))),
            (
                of_unread_namespaces,
                format!("where settings come from, of {origins} in other network namespaces (needs CAP_SYS_ADMIN)"),
            ),
        ]
        .into_iter()
        .filter_map(|(n, words)| (n > 0).then_some(words))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_seen_is_said_in_numbers_and_nothing_is_said_of_nothing() {
        assert_eq!(NotSeen::default().words(), [""; 0]);
        let unseen = NotSeen { without_descriptor: 2, subflows: 1, ..NotSeen::default() };
        let words = unseen.words();
        assert!(words[0].starts_with("2 connections that no process has open"), "{words:?}");
        assert_eq!(words[1], "1 further subflow of MPTCP");
    }
}
