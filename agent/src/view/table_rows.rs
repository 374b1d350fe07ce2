//! Rows of the table, part by part, so that no reader holds it for long.

use super::filter::Filter;
use crate::model::{
    judgement::verdict::Surroundings,
    observed::{
        owner_identity::Identity,
        socket::{Owner, Socket, Time},
    },
    table::Table,
};

/// Passes on what the filter admits of a part of the table: of the slots from `from` on, until `n_slots` were looked
/// at. Returns where to go on; none at the end.
pub(crate) fn scan(
    table: &Table,
    filter: &Filter,
    around: &Surroundings,
    from: u32,
    n_slots: u32,
    now: Time,
    mut each: impl FnMut(&Socket, &[Owner], Option<&Identity>),
) -> Option<u32> {
    let is_wanted = |socket: &Socket| filter.admits(socket, around, socket.quiet_at_ms(now));
    table.scan(from, n_slots, is_wanted, |socket, owners, identity| {
        if filter.admits_owner(owners) && filter.admits_identity(identity) {
            each(socket, owners, identity);
        }
    })
}
