//! Values that an undo had to write, as nothing unsets an option: to a later `fix`, and to `why`, they are not the program's.

use super::{
    apply::place,
    journal::{Change, JournalLine, MOST_READ, NAME, SocketPlace},
};
use crate::{
    files,
    kernel::{borrowed_socket::hooks_know_cookies, host},
    model::observed::{setting::SettingOrigin, socket::SocketKind},
    view::{
        connection::{Connection, KeepaliveSettings},
        life::Life,
        row::Row,
    },
};
use std::{collections::HashMap, path::Path};

/// What was taken back since this boot, by the place of its socket: of each the last change.
#[derive(Debug, Default)]
pub(crate) struct TakenBack(HashMap<SocketPlace, Change>);

impl TakenBack {
    /// What the journal in a state folder says. A plan needs no lock.
    pub(crate) fn read(folder: &Path) -> Result<Self, files::Error> {
        match files::text(&folder.join(NAME), MOST_READ) {
            Ok(text) => Ok(Self::of(files::json_lines(text.as_bytes()), &host::boot_id())),
            Err(error) if error.is_not_found() => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn of(lines: Vec<JournalLine>, boot_id: &str) -> Self {
        let mut is_of_boot = HashMap::new();
        let mut set: HashMap<(u32, String), Change> = HashMap::new();
        let mut taken_back = HashMap::new();
        for line in lines {
            match line {
                JournalLine::Run { run, boot, .. } => {
                    is_of_boot.insert(run, boot == boot_id);
                }
                JournalLine::Sets { run, change } if is_of_boot.get(&run) == Some(&true) => {
                    set.insert((run, change.id.clone()), change);
                }
                JournalLine::Settled { run, id, is_as_before: true } => {
                    if let Some(change) = set.remove(&(run, id)) {
                        taken_back.insert(change.place(), change);
                    }
                }
                JournalLine::Sets { .. } | JournalLine::Settled { .. } => {}
            }
        }
        Self(taken_back)
    }

    /// A row as if nobody had written what an undo has written: these values still follow the namespace, as far as its program is
    /// concerned. What it has set since to something else is its own.
    pub(crate) fn of_its_program(&self, mut row: Row) -> Row {
        if let Some(settings) = self.settings_of_program(&row.connection) {
            row.connection.settings = settings;
        }
        row
    }

    /// Says of connections which values their programs have set, where an undo has written others. What is shown of them stays:
    /// these values follow no namespace any more.
    pub(crate) fn mark(&self, lives: &mut [Life]) {
        for life in lives.iter_mut().filter(|_| !self.0.is_empty()) {
            let settings = self.settings_of_program(&life.connection);
            life.own_of_program = settings.map(|settings| settings.own());
        }
    }

    /// The settings of a connection on which an undo has written.
    fn settings_of_program(&self, connection: &Connection) -> Option<KeepaliveSettings> {
        let change = self.0.get(&place(connection)).filter(|it| is_it(connection, it))?;
        let Change { before, unset, .. } = change;
        let mut settings = connection.settings;
        let is_not_its_own = |was_unset: bool, now: u32, before: u32| was_unset && now == before;
        if is_not_its_own(unset.idle, settings.idle.seconds, before.idle_seconds) {
            settings.idle.from = SettingOrigin::Netns;
        }
        if is_not_its_own(unset.interval, settings.interval.seconds, before.interval_seconds) {
            settings.interval.from = SettingOrigin::Netns;
        }
        if is_not_its_own(unset.count, settings.count.probes, before.count) {
            settings.count.from = SettingOrigin::Netns;
        }
        Some(settings)
    }
}

/// Whether a change is of the socket of a connection, which is at its place: another connection may have the same ends later.
/// Where ids say nothing (see [`hooks_know_cookies`]) the place has to do.
fn is_it(connection: &Connection, change: &Change) -> bool {
    connection.id.as_ref() == Some(&change.id)
        || connection.made_by == SocketKind::Mptcp && change.is_mptcp
        || !hooks_know_cookies()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fix::{
            apply::Candidate,
            known::KnownPaths,
            plan::{MostValues, PlannedOptions, plan},
        },
        model::{
            judgement::{
                idle_limit::{IdleLimit, Limits},
                verdict::Surroundings,
            },
            observed::{
                setting::{OwnSettings, OwnValues},
                socket::{Socket, SocketId, tests_support::socket},
            },
        },
    };

    const BOOT: &str = "this";

    fn row(socket: &Socket) -> Row {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings::new(limits, 250);
        Row::new(socket, [], None, &around, socket.at)
    }

    fn planned(row: &Row) -> PlannedOptions {
        plan(row, &KnownPaths::default(), MostValues::default(), 250).unwrap()
    }

    /// What a run set on a socket and an undo has taken back.
    fn undone(of: &Socket, boot: &str) -> TakenBack {
        let row = row(of);
        let change = Candidate::new(&row, planned(&row)).change;
        let id = change.id.clone();
        let lines = vec![
            JournalLine::Run { run: 1, at: String::new(), boot: boot.to_owned() },
            JournalLine::Sets { run: 1, change },
            JournalLine::Settled { run: 1, id, is_as_before: true },
        ];
        TakenBack::of(lines, BOOT)
    }

    fn unset() -> Socket {
        Socket { own: OwnSettings::default(), keepalive: false, ..socket() }
    }

    /// The same socket after an undo: what was not its own is.
    fn written(of: &Socket) -> Socket {
        let now = row(of).connection.settings;
        let own = OwnSettings {
            idle_seconds: now.idle.seconds,
            interval_seconds: now.interval.seconds,
            count: u8::try_from(now.count.probes).unwrap(),
            ..of.own
        };
        Socket { own, ..*of }
    }

    fn count(taken_back: &TakenBack, of: &Socket) -> u32 {
        planned(&taken_back.of_its_program(row(of))).options.count
    }

    #[test]
    fn what_an_undo_wrote_is_not_taken_for_the_programs_own() {
        let (before, after) = (unset(), written(&unset()));
        assert_eq!(count(&TakenBack::default(), &after), 9, "nothing tells it from the program's");
        assert_eq!(count(&undone(&before, BOOT), &after), 3);
        // A second time, too: what is unset counts as unset again.
        let again = undone(&before, BOOT).of_its_program(row(&after));
        let change = Candidate::new(&again, planned(&again)).change;
        assert!(change.unset.count && change.unset.idle && change.unset.interval, "{change:?}");
        assert_eq!(change.before.count, 9);
    }

    #[test]
    fn a_life_has_its_programs_own_values_and_shows_those_of_the_socket() {
        let own = |taken_back: &TakenBack, of: &Socket| {
            let mut lives = [Life::live(row(of))];
            taken_back.mark(&mut lives);
            let [life] = lives;
            assert_eq!(life.connection, row(of).connection, "what is shown");
            life.own()
        };
        let after = written(&unset());
        assert_eq!(own(&undone(&unset(), BOOT), &after), OwnValues::default());
        let shown = own(&TakenBack::default(), &after);
        assert_eq!((shown.idle, shown.interval, shown.count), (7200, 75, 9));
        assert_eq!(own(&undone(&unset(), "earlier"), &after), shown);
        let since = Socket { own: OwnSettings { count: 7, ..after.own }, ..after };
        let of_program = OwnValues { count: 7, ..OwnValues::default() };
        assert_eq!(own(&undone(&unset(), BOOT), &since), of_program);
    }

    #[test]
    fn what_the_program_set_before_or_since_stays_its_own() {
        let own = OwnSettings { count: 5, ..OwnSettings::default() };
        let before = Socket { own, ..unset() };
        assert_eq!(count(&undone(&before, BOOT), &written(&before)), 5);
        let after = written(&unset());
        let since = Socket { own: OwnSettings { count: 7, ..after.own }, ..after };
        assert_eq!(count(&undone(&unset(), BOOT), &since), 7);
    }

    #[test]
    fn another_connection_and_another_boot_are_something_else() {
        let after = written(&unset());
        assert_eq!(count(&undone(&unset(), "earlier"), &after), 9);
        let other = Socket { id: SocketId(after.id.0 + 1), ..after };
        assert_eq!(count(&undone(&unset(), BOOT), &other), 9, "the same ends");
    }
}
