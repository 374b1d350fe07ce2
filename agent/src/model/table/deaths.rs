//! How a death is judged with all that the table knows: what else happened to the connection, how others to the same peer fared,
//! and what was learned of that peer.

use super::{
    Table,
    happening::{Happened, Happening},
};
use crate::model::{
    judgement::{
        death::{Death, OtherReason},
        limit_source::LimitSource,
    },
    observed::socket::{Socket, Time},
};

impl Table {
    pub(super) fn died(&mut self, at: Time, socket: Socket, mut death: Death) {
        let mut calls = Vec::new();
        if let Some(history) = self.histories.get(socket.id) {
            if history.was_found_gone() {
                return; // one dies once
            }
            death = history.completed(death, at);
            calls = history.calls().collect();
        }
        if death.asks_for_others() {
            death = death.beside(&socket, self.others(at, &socket, &death));
        } else {
            self.fell(at, &socket, &death);
        }
        if !self.around.is_local(&socket) {
            death = self.beside_lessons(at, &socket, death);
            // What keepwatch itself has cut says nothing of the path.
            if !self.drilled.iter().any(|it| it.is_of(&socket, at)) {
                let shortest_ms = self.around.limits.shortest_idle_drop_ms(&socket);
                self.learned.died(&socket, at, &death, shortest_ms);
            }
        }
        let died = Happened::Died(death.named());
        self.happened(Happening { calls, ..Happening::new(at, socket, died) });
    }

    /// The same, knowing what was learned of the peer.
    fn beside_lessons(&mut self, at: Time, socket: &Socket, death: Death) -> Death {
        if !death.is_forgotten(socket) {
            return death;
        }
        if death.is_never_taken(socket) {
            return death.explained_by(socket, OtherReason::NeverTaken);
        }
        let limit_ms = self.known_limit_ms(socket);
        let learned = std::mem::take(&mut self.learned);
        let heard = at.ms_before(death.silent_ms);
        let others_heard = |since| self.was_heard_since(at, socket, heard, since);
        let reason = learned.other_reason(socket, at, &death, limit_ms, others_heard);
        self.learned = learned;
        match reason {
            Some(reason) => death.explained_by(socket, reason),
            None => death,
        }
    }

    /// How long the path of a connection keeps it, if somebody configured that, or it was learned for sure.
    pub(super) fn known_limit_ms(&self, socket: &Socket) -> Option<u64> {
        let limit = self.around.limits.of(socket);
        (limit.from != LimitSource::Default && !self.around.is_local(socket)).then(|| limit.ms())
    }
}
