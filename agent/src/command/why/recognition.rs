//! What the processes of an answer are: each is looked at once, and recognised once, in however many cases it appears.

use super::stopped::is_stopped;
use crate::{
    advice::{
        place::RunsIn,
        process_clues::Traces,
        recognise::{Look, Recognised, recognise},
    },
    model::text::sanitize,
    view::connection_group::ConnectionGroup,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
};

/// Of a case, those that are looked at.
const MOST_PROCESSES: usize = 64;

/// The name of a program, and the service, pod or container that it runs in.
type Deployment = (Option<String>, Option<String>);

/// The processes that were looked at so far.
#[derive(Debug, Default)]
pub(super) struct SeenProcesses {
    /// What those show that live.
    traces: HashMap<u32, Traces>,
    /// Their names now; none of those that are gone.
    names: HashMap<u32, Option<String>>,
    /// Of each program in a service, pod or container a process that lives.
    siblings: BTreeMap<Deployment, u32>,
    stopped: HashMap<u32, bool>,
    recognised: HashMap<Look, Vec<Recognised>>,
}

impl SeenProcesses {
    /// Those of all cases of an answer.
    pub(super) fn of(cases: &[ConnectionGroup]) -> Self {
        let mut all = Self::default();
        for case in cases {
            if let Some(deployment) = deployed(case)
                && !all.siblings.contains_key(&deployment)
                && let Some(pid) = all.living(case)
            {
                all.siblings.insert(deployment, pid);
            }
        }
        all
    }

    /// What a process of the case shows, and its id if it lives, or the next one of the same service does.
    pub(super) fn of_case(&mut self, case: &ConnectionGroup) -> (Traces, Option<u32>) {
        let own = self.living(case);
        let pid = own.or_else(|| self.siblings.get(&deployed(case)?).copied());
        let kept = kept(case);
        let traces = match (pid, &case.key.process) {
            (Some(pid), _) => {
                let now = self.traces.entry(pid).or_insert_with(|| Traces::of_process(pid)).clone();
                // The agent may see what /proc does not show to this user.
                kept.filter(|it| it.are_files_read && !now.are_files_read).unwrap_or(now)
            }
            // It is gone: what it showed while it lived.
            (None, Some(process)) => kept.unwrap_or_else(|| Traces::of_name(process)),
            (None, None) => Traces::default(),
        };
        (traces, pid)
    }

    /// The clients that it may be.
    pub(super) fn recognise(&mut self, look: Look) -> &[Recognised] {
        self.recognised.entry(look).or_insert_with_key(recognise)
    }

    /// The processes that have connections of a case open, and are stopped now.
    pub(super) fn stopped(&mut self, case: &ConnectionGroup) -> Vec<u32> {
        let owners = case.live().filter_map(|life| Some(life.owner()?.pid));
        let all: BTreeSet<u32> = owners.collect();
        let is_it = |&pid: &u32| {
            self.is_called(pid, case.key.process.as_deref())
                && *self.stopped.entry(pid).or_insert_with(|| is_stopped(pid))
        };
        all.into_iter().take(MOST_PROCESSES).filter(is_it).collect()
    }

    /// A process of the case that lives and still has this name.
    fn living(&mut self, case: &ConnectionGroup) -> Option<u32> {
        pids(case).find(|&pid| self.is_called(pid, case.key.process.as_deref()))
    }

    /// Whether the process lives and still has this name.
    fn is_called(&mut self, pid: u32, name: Option<&str>) -> bool {
        let now = self.names.entry(pid).or_insert_with(|| name_now(pid));
        now.is_some() && now.as_deref() == name
    }
}

/// What a process of the case showed to the agent: of one whose files could be read, if there is one.
fn kept(case: &ConnectionGroup) -> Option<Traces> {
    let all = case.lives.iter().filter_map(|life| life.clues.as_ref());
    all.min_by_key(|clues| !clues.are_files_read).cloned()
}

/// The processes of a case, those of connections that live first.
fn pids(case: &ConnectionGroup) -> impl Iterator<Item = u32> {
    let first_the_living = case.live().chain(case.dead());
    first_the_living.filter_map(|life| Some(life.owner()?.pid)).take(MOST_PROCESSES)
}

fn name_now(pid: u32) -> Option<String> {
    let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(sanitize::distinct(comm.trim_ascii_end()))
}

/// A service, pod or container runs one program under one name: what its next process shows was true of the last.
/// Elsewhere another process of the same name is another program.
fn deployed(case: &ConnectionGroup) -> Option<Deployment> {
    let around = runs_in(case);
    let is_deployed = around.unit.is_some() || around.pod.is_some() || around.container.is_some();
    is_deployed.then(|| (case.key.process.clone(), case.key.part_of.clone()))
}

/// What the processes of a case run in, but for network namespaces.
pub(super) fn runs_in(case: &ConnectionGroup) -> RunsIn {
    let Some(life) = case.example() else {
        return RunsIn::default();
    };
    let part_of = &life.connection.part_of;
    let is_service = |unit: &String| unit.ends_with(".service") && !unit.starts_with("user@");
    RunsIn {
        unit: part_of.unit.clone().filter(is_service),
        pod: part_of.pod.clone(),
        container: part_of.container.clone(),
        foreign_netns: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observed::{setting::OwnValues, socket::Direction},
        view::{
            connection_group::cases,
            life::tests_support::{RESET, app, dead},
        },
    };
    use std::process;

    /// Dead connections of this process under the name that it has, or under another.
    fn of_this_process(name: Option<&str>) -> ConnectionGroup {
        let mut life = dead(&app(1, None, 400_000), RESET);
        let own = name_now(process::id()).unwrap();
        life.owners[0].pid = process::id();
        life.owners[0].process = name.map_or(own, str::to_owned);
        cases(vec![life]).remove(0)
    }

    #[test]
    fn a_process_is_looked_at_while_it_has_the_name_that_its_connections_had() {
        let mut processes = SeenProcesses::default();
        let (traces, pid) = processes.of_case(&of_this_process(None));
        assert_eq!(pid, Some(process::id()));
        assert!(traces.executable.is_some());
        let (traces, pid) = processes.of_case(&of_this_process(Some("another")));
        assert_eq!(pid, None, "its id was used again");
        assert_eq!(traces, Traces::of_name("another"));
    }

    #[test]
    fn what_is_alike_is_recognised_once_and_what_differs_is_another() {
        let mut processes = SeenProcesses::default();
        let look = |name: &str, port| Look {
            traces: Traces::of_name(name),
            port,
            direction: Direction::Outbound,
            own: OwnValues { keepalive: false, idle: 0, interval: 0, count: 0, user_timeout_ms: 0 },
            refused: Vec::new(),
        };
        let names =
            |found: &[Recognised]| -> Vec<_> { found.iter().map(|it| it.client.name).collect() };
        let ssh = names(processes.recognise(look("ssh", 22)));
        assert_eq!(ssh, names(&recognise(&look("ssh", 22))));
        assert_eq!(ssh, names(processes.recognise(look("ssh", 22))));
        assert_eq!(processes.recognised.len(), 1);
        let java = names(processes.recognise(look("java", 5432)));
        assert_ne!(java, ssh);
        assert_eq!(processes.recognised.len(), 2);
    }
}
