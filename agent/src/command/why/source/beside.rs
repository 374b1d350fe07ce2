//! Connections that nobody asked for, and that show something of those that are asked for: others to the same hosts, and those of a
//! program of this host that they lead to.

use super::{
    super::{target::Selection, then},
    Sources,
};
use crate::{
    command::Failure,
    config::owner_word,
    model::{judgement::verdict::Verdict, observed::socket::Direction},
    view::life::{Finding, Life, lives as lives_of},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// A program of this host that connections lead to, a proxy perhaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::command::why) struct LocalProgram {
    pub(in crate::command::why) name: String,
    /// What says more of it, to type.
    pub(in crate::command::why) command: String,
    /// How many of its own connections get no answer now.
    pub(in crate::command::why) n_hanging: usize,
}

impl Sources<'_> {
    /// Other connections to the hosts that some of these live with, or were in trouble with: those that live, and those that
    /// the agent remembers.
    pub(super) fn neighbours(&mut self, lives: &[Life]) -> Result<Vec<Life>, Failure> {
        const MOST_HOSTS: usize = 32;
        let outbound =
            || lives.iter().filter(|life| life.connection.direction() == Direction::Outbound);
        let troubled = outbound().filter(|life| life.finding().is_of_silence());
        let well = outbound()
            .filter(|life| life.end.is_none() && life.connection.verdict != Some(Verdict::Local));
        let mut hosts: BTreeSet<IpAddr> = BTreeSet::new();
        for life in troubled.chain(well) {
            if hosts.len() < MOST_HOSTS {
                hosts.insert(life.connection.remote.ip());
            }
        }
        if hosts.is_empty() {
            return Ok(Vec::new());
        }
        let known: BTreeSet<&str> =
            lives.iter().filter_map(|life| life.connection.id.as_deref()).collect();
        let n_left_out = self.n_left_out;
        let selections = [Selection::servers_at(hosts.into_iter())];
        let rows = self.living(&selections)?;
        self.n_left_out = n_left_out;
        let past = self.remembered(&selections)?;
        let is_other =
            |life: &Life| !known.contains(life.connection.id.as_deref().unwrap_or_default());
        let others = self.dated(lives_of(rows, past));
        let mut others: Vec<Life> = others.into_iter().filter(is_other).collect();
        if let Some(until) = self.window.until_seconds() {
            others.retain(|life| then::may_show_then(life, until, self.now));
        }
        Ok(others)
    }

    /// The program that all of these lead to that live and that this host opened, if it is of this host, and another one: what they
    /// wait for may be behind it.
    pub(super) fn behind(&mut self, lives: &[Life]) -> Result<Option<LocalProgram>, Failure> {
        let is_outbound =
            |life: &&Life| life.connection.direction() == Direction::Outbound && life.end.is_none();
        let live = || lives.iter().filter(is_outbound);
        let is_local = |life: &Life| life.connection.verdict == Some(Verdict::Local);
        if self.window.is_past() || live().next().is_none() || !live().all(is_local) {
            return Ok(None);
        }
        let n_left_out = self.n_left_out;
        let ports = live().map(|life| life.connection.remote.port()).collect();
        let far_ends = self.living(&[Selection::at_local_ports(ports)])?;
        let asked: BTreeSet<u32> =
            lives.iter().flat_map(|life| &life.owners).map(|it| it.pid).collect();
        let ends: BTreeSet<_> =
            live().map(|life| (life.connection.remote, life.connection.local)).collect();
        let owners = far_ends
            .iter()
            .filter(|row| ends.contains(&(row.connection.local, row.connection.remote)))
            .flat_map(|row| &row.owners);
        let programs: BTreeMap<u32, &str> = owners
            .filter(|owner| !asked.contains(&owner.pid))
            .map(|owner| (owner.pid, owner.process.as_str()))
            .collect();
        let names: BTreeSet<&str> = programs.values().copied().collect();
        let (Some(name), 1) = (names.first().map(|name| (*name).to_owned()), names.len()) else {
            return Ok(None);
        };
        let pid = programs.keys().next().copied().unwrap_or_default();
        let command = self.carried.after(&format!("why {}", owner_word(&name, pid)));
        let theirs = self.living(&[Selection::outbound_of(programs.into_keys().collect())])?;
        self.n_left_out = n_left_out;
        let hangs = |life: &Life| {
            matches!(life.finding(), Finding::Stuck | Finding::PeerSilent | Finding::Overdue)
        };
        let n_hanging = theirs.into_iter().map(Life::live).filter(hangs).count();
        Ok(Some(LocalProgram { name, command, n_hanging }))
    }
}
