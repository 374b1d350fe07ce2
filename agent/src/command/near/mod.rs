//! What to say when a filter finds nothing: which of its conditions leaves out what has all the others, what there is
//! without it, and what has a name like the one typed.

mod names;
mod parts;

pub(super) use parts::{FilterPart, parts};

use self::names::NearNames;
use super::Failure;
use crate::{
    model::{judgement::facts::ConnectionFacts as _, observed::socket::Direction},
    view::{filter::Filter, row::Row},
};
use std::collections::BTreeSet;

/// Conditions that are named.
const N_NAMED: usize = 3;

/// What a command looks at, besides what its filter says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LooksAt {
    /// Connections of this direction, unless another was asked for.
    pub(super) direction: Option<Direction>,
    /// Connections that are open, and covered by a rule.
    pub(super) only_open: bool,
}

impl LooksAt {
    /// `open outbound connection`.
    fn what(self, filter: &Filter) -> String {
        let open = self.only_open.then_some("open");
        let direction = filter.direction.or(self.direction).map(Direction::as_str);
        let any_state = filter.all || !filter.state.is_empty();
        let what = if any_state { "socket" } else { "connection" };
        open.into_iter().chain(direction).chain([what]).collect::<Vec<_>>().join(" ")
    }
}

/// Rows that were found, as far as words need them.
#[derive(Debug, Default)]
struct FoundRows {
    n: u64,
    n_open: u64,
    states: BTreeSet<&'static str>,
}

impl FoundRows {
    fn look(&mut self, row: &Row) {
        self.n += 1;
        self.n_open += u64::from(row.connection.is_open());
        self.states.insert(row.connection.state.as_str());
    }

    /// `listen or close`.
    fn states(&self) -> String {
        let states: Vec<&str> = self.states.iter().copied().collect();
        states.join(" or ")
    }
}

/// That nothing has what a filter asks for, and what there is in its place. None if nothing is asked for. `rows` passes on
/// what a filter admits.
pub(super) fn instead(
    filter: &Filter,
    looks_at: LooksAt,
    mut rows: impl FnMut(&Filter, &mut dyn FnMut(&Row)) -> Result<(), Failure>,
) -> Result<Option<String>, Failure> {
    let parts = parts(filter);
    if parts.is_empty() {
        return Ok(None);
    }
    let nothing = |words: &str| {
        let what = looks_at.what(filter);
        Ok(Some(format!("no {what} has what the filters ask for, and {words}")))
    };
    let mut find = |filter: &Filter| {
        let mut found = FoundRows::default();
        rows(filter, &mut |row| found.look(row)).map(|()| found)
    };
    let implied = looks_at.direction.filter(|_| filter.direction.is_none());
    let looked_at =
        |filter: &Filter| Filter { direction: filter.direction.or(implied), ..filter.clone() };
    if looks_at.only_open {
        let found = find(&looked_at(filter))?;
        if found.n_open > 0 {
            return Ok(Some(covered_by_no_rule(found.n_open)));
        }
        if found.n > 0 {
            return nothing(&not_open(&found));
        }
    }
    if let Some(direction) = implied {
        let found = find(filter)?;
        if found.n > 0 {
            return nothing(&other_direction(found.n, direction));
        }
    }
    if !filter.all && filter.state.is_empty() {
        let found = find(&Filter { all: true, ..filter.clone() })?;
        if found.n > 0 {
            return nothing(&no_connection(&found));
        }
    }
    let mut conditions = Conditions::default();
    for part in parts.iter().filter(|_| parts.len() > 1) {
        match find(&looked_at(&part.without))?.n {
            0 if find(&part.alone)?.n == 0 => conditions.of_nothing.push(&part.typed),
            0 => {}
            n => conditions.left_out.push((&part.typed, n)),
        }
    }
    let mut near = NearNames::of(filter);
    let all = Filter { measured_by: filter.measured_by.clone(), ..Filter::default() };
    rows(&all, &mut |row| near.look(row))?;
    let there = conditions.words().unwrap_or_else(|| near.n_without_filters());
    nothing(&format!("{there}{}", near.proposals()))
}

fn covered_by_no_rule(n: u64) -> String {
    let those = match n {
        1 => "1 connection that has".to_owned(),
        n => format!("{n} connections that have"),
    };
    format!("no rule of the policy covers the {those} what the filters ask for")
}

fn not_open(found: &FoundRows) -> String {
    let states = found.states();
    match found.n {
        1 => format!("1 that does is not open ({states})"),
        n => format!("{n} that do are not open ({states})"),
    }
}

fn other_direction(n: u64, looked_at: Direction) -> String {
    let other = match looked_at {
        Direction::Outbound => Direction::Inbound,
        Direction::Inbound => Direction::Outbound,
    };
    let other = other.as_str();
    match n {
        1 => format!("1 {other} one does: --direction {other}"),
        n => format!("{n} {other} ones do: --direction {other}"),
    }
}

fn no_connection(found: &FoundRows) -> String {
    let states = found.states();
    match found.n {
        1 => format!(
            "1 socket that does is no connection ({states}): `keepwatch sockets --all` shows it"
        ),
        n => format!(
            "{n} sockets that do are no connections ({states}): `keepwatch sockets --all` shows them"
        ),
    }
}

/// What each condition of several does.
#[derive(Debug, Default)]
struct Conditions<'a> {
    /// What has all the others lacks it: how many that are.
    left_out: Vec<(&'a str, u64)>,
    /// Nothing has it at all.
    of_nothing: Vec<&'a str>,
}

impl Conditions<'_> {
    fn words(&self) -> Option<String> {
        let without = self.left_out.iter().take(N_NAMED).enumerate().map(|(number, (typed, n))| {
            let there = match (number, n) {
                (0, 1) => "there is ",
                (0, _) => "there are ",
                _ => "",
            };
            format!("without {typed} {there}{n}")
        });
        let nothing = self.of_nothing.iter().take(N_NAMED);
        let nothing = nothing.map(|typed| format!("nothing has {typed}"));
        let words = without.chain(nothing).collect::<Vec<_>>().join(", ");
        (!words.is_empty()).then_some(words)
    }
}

#[cfg(test)]
mod tests;
