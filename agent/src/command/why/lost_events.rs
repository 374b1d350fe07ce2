//! Connections of whose calls one may be missing, for events were lost while they lived: of them nobody says that nobody
//! called.

use crate::{command::timestamp::unix_seconds, view::life::Life};

/// Unix time from which on these connections were watched: the first of their openings, of those that live and whose
/// opening was not seen the start of the agent.
pub(super) fn watched_since(lives: &[Life], agent_started: Option<f64>) -> Option<f64> {
    lives.iter().filter_map(|life| began(life, agent_started)).reduce(f64::min)
}

/// Marks those that lived between these Unix times.
pub(super) fn mark(lives: &mut [Life], lost: (f64, f64), agent_started: Option<f64>) {
    let (first, last) = lost;
    for life in lives {
        let began = began(life, agent_started);
        let ended = life.end.as_ref().and_then(|end| unix_seconds(&end.at));
        life.events_lost =
            began.is_some_and(|began| began <= last) && ended.is_none_or(|ended| ended >= first);
        life.is_whole &= !life.events_lost;
    }
}

fn began(life: &Life, agent_started: Option<f64>) -> Option<f64> {
    let opened = life.opened_at.as_deref().and_then(unix_seconds);
    opened.or(agent_started.filter(|_| life.end.is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::life::tests_support::{app, live};

    #[test]
    fn who_lived_while_events_were_lost_was_not_seen_whole() {
        let lived = |opened: Option<&str>| {
            let mut life = live(&app(1, None, 0));
            life.is_whole = opened.is_some();
            life.opened_at = opened.map(|time| format!("2001-09-09T{time}.000000Z"));
            let mut lives = [life];
            mark(&mut lives, (1e9, 1e9 + 60.0), Some(1e9 - 100.0));
            let [life] = lives;
            (life.events_lost, life.is_whole)
        };
        // 1e9 s is 01:46:40.
        assert_eq!(lived(Some("01:46:35")), (true, false));
        assert_eq!(lived(Some("01:47:39")), (true, false));
        assert_eq!(lived(Some("01:47:41")), (false, true), "opened after it");
        assert_eq!(lived(None), (true, false), "the agent is older than the loss");
    }
}
