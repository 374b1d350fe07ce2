//! Rows of the table, part by part, so that no reader holds it for long.

use super::{filter::Filter, row::Row};
use crate::model::{
    observed::{
        owner_identity::Identity,
        socket::{Owner, Socket, Time},
    },
    table::Table,
};

/// Rows of a part of the table: those from slot `from` on, until `n_slots` were looked at. Then where to go on; none
/// at the end.
pub fn rows(
    table: &Table,
    filter: &Filter,
    now: Time,
    from: u32,
    n_slots: u32,
) -> (Vec<Row>, Option<u32>) {
    let around = table.surroundings();
    let mut rows = Vec::new();
    let next = scan(table, filter, from, n_slots, |socket, owners, identity| {
        rows.push(Row::new(socket, owners, identity, &around, now));
    });
    (rows, next)
}

/// Passes on what the filter admits of a part of the table, as [`rows`] does.
pub fn scan(
    table: &Table,
    filter: &Filter,
    from: u32,
    n_slots: u32,
    mut each: impl FnMut(&Socket, &[Owner], Option<&Identity>),
) -> Option<u32> {
    let around = table.surroundings();
    let is_wanted = |socket: &Socket| filter.admits(socket, &around);
    table.scan(from, n_slots, is_wanted, |socket, owners, identity| {
        if filter.admits_owner(owners) && filter.admits_identity(identity) {
            each(socket, owners, identity);
        }
    })
}
