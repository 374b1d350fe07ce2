//! A name that found nothing: what there is in its place.

use super::{Error, Sources};
use crate::{
    command::{
        Failure,
        why::{
            known_names::{self, KnownNames, NameField},
            target::{Meaning, Target},
        },
    },
    model::{
        judgement::condition::Condition,
        text::{count::counted, sanitize},
    },
    store::DeathRow,
    view::{
        connection::{Connection, RowOwner},
        event_row::EventRow,
        row::Row,
    },
};
use std::io;

impl Sources<'_> {
    /// Says what there is in place of a name that found nothing. An unknown host is an error.
    pub(super) fn explain_name(
        &mut self,
        target: &Target,
        name: &str,
        cause: io::Error,
    ) -> Result<(), Failure> {
        let name = sanitize::escaped(name.as_bytes());
        if let Some(last) = self.last_end(target)? {
            self.notes.insert(
                0,
                format!(
                    "{name} had connections, but none of them ended or hung in that time: the last one that is known \
                     ended {}",
                    self.window.time(last)
                ),
            );
            return Ok(());
        }
        // It may be that nothing goes there.
        if self.paths.iter().any(|path| path.name == name) {
            return Ok(());
        }
        let (names, n_nameless) = self.names()?;
        let near = names.near(&name);
        let mut there_is = match near.as_slice() {
            [] => String::new(),
            near => format!("; there is {}", known_names::in_words(near)),
        };
        if n_nameless > 0 {
            let connections = counted(n_nameless, "connection");
            let were = if n_nameless == 1 { "its program" } else { "their programs" };
            there_is += &format!(
                "; {connections} to a peer that does not answer may be of {name}: {were} ended before anybody looked (process `?`)"
            );
        }
        if names.has(&name) {
            self.notes.insert(0, format!("{name} has connections, but none of that time"));
        } else if target.looks_like_a_host() {
            return Err(Error::Unresolved { name, cause, near: there_is }.into());
        } else {
            return Err(Error::Unknown { name, near: there_is }.into());
        }
        Ok(())
    }

    /// When the last connection ended that the word names, whatever the window: Unix time.
    fn last_end(&self, target: &Target) -> Result<Option<f64>, Failure> {
        let mut last: Option<f64> = None;
        for meaning in target.meanings(&self.paths) {
            for selection in &meaning.selections {
                let found = self.history.last_end(&selection.query)?;
                last = last.into_iter().chain(found).max_by(f64::total_cmp);
            }
        }
        Ok(last)
    }

    /// The names that owners of connections have, and had in the window; and how many hang that have no name.
    fn names(&mut self) -> Result<(KnownNames, usize), Failure> {
        let mut names = KnownNames::default();
        let mut n_nameless = 0;
        let mut meet = |owners: &[RowOwner], connection: &Connection| {
            names.meet(owners.iter().map(|owner| owner.process.as_str()), &connection.part_of);
        };
        for Meaning { selections, .. } in Target::Everything.meanings(&[]) {
            for Row { connection, owners, .. } in self.living(&selections)? {
                meet(&owners, &connection);
                let hangs = connection.condition() == Condition::Stuck;
                n_nameless += usize::from(owners.is_empty() && connection.orphan && hangs);
            }
            for EventRow { connection, owners, .. } in self.remembered(&selections)? {
                meet(&owners, &connection);
            }
            for selection in &selections {
                let met = |row: DeathRow| meet(&row.event.owners, &row.event.connection);
                self.history.dead(&selection.query, self.window, met)?;
            }
        }
        for path in &self.paths {
            names.add(NameField::Path, &path.name);
        }
        Ok((names, n_nameless))
    }
}
