//! What the proposed settings would have made of the deaths of a case, in words.

use crate::{
    command::why::answer::Judged,
    model::text::{
        count::counted,
        duration::{duration, tenths},
    },
};

impl Judged {
    /// None where nothing follows for keepalive.
    pub(super) fn what_if_in_words(&self) -> Option<String> {
        let what_if = &self.what_if;
        let is_moot = what_if.unchanged == what_if.deaths && self.did_its_work();
        if what_if.deaths == 0
            || self.is_ended_by_habit()
            || !self.finding.is_of_silence()
            || is_moot
        {
            return None;
        }
        let proposal = self.proposal;
        let timeout_ms = self.case.key.own.user_timeout_ms;
        let noticed_after = duration(proposal.noticed_after_seconds(timeout_ms));
        let mut words = Vec::new();
        let of = what_if.deaths;
        if what_if.prevented > 0 {
            let survived = self.learned_limit.as_ref().and_then(|it| it.longest_survived_seconds);
            let unless = if survived.is_some_and(|survived| survived >= f64::from(proposal.idle)) {
                String::new()
            } else {
                let them = if what_if.prevented == 1 { "it" } else { "them" };
                format!(", if the path keeps {them} for {} s", proposal.idle)
            };
            let deaths = counted(of, "death");
            let closed = if self.ended_by_timer.is_some() {
                ", unless the peer had closed by itself"
            } else {
                ""
            };
            words.push(format!("{} of {deaths} prevented{unless}{closed}", what_if.prevented));
        }
        if what_if.kept_or_noticed > 0 {
            let n = what_if.kept_or_noticed;
            let them = if n == 1 { "it" } else { "them" };
            words.push(format!(
                "{n} of {of} kept until this host closed {them}, if the path had forgotten {them} (and keeps {them} for {} s); \
                 noticed after {noticed_after}, if the peer was gone",
                proposal.idle,
            ));
        }
        if what_if.noticed_sooner > 0 {
            words.push(format!("{} of {of} noticed after {noticed_after}", what_if.noticed_sooner));
        }
        if what_if.needs_user_timeout > 0 {
            words.push(format!(
                "{} of {of} not prevented, because data was in flight: TCP_USER_TIMEOUT would help",
                what_if.needs_user_timeout
            ));
        }
        if what_if.unchanged > 0 {
            words.push(format!("{} of {of} would have died the same way", what_if.unchanged));
        }
        if what_if.unknown > 0 {
            words.push(format!("{} of {of} not known", what_if.unknown));
        }
        if proposal.is_cut_short_by(timeout_ms) {
            words.push(format!(
                "but with the user timeout of {} a single lost probe would end a healthy one",
                tenths(timeout_ms)
            ));
        }
        Some(format!(
            "idle {} s, interval {} s, {}: {}",
            proposal.idle,
            proposal.interval,
            counted(proposal.count, "probe"),
            words.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        command::why::{answer::judge, in_window::AskedWhen},
        model::observed::socket::{Direction, Socket, State},
        view::life::{
            Life,
            tests_support::{CLOSED_UNANSWERED, app, died_from},
        },
    };

    #[test]
    fn what_a_killed_server_left_is_not_said_to_die_the_same_way_with_keepalive() {
        // Quiet for 70 s when its program was killed; the path may have forgotten it by then.
        let closed = |id, quiet_ms: u32| {
            let quiet = app(id, None, quiet_ms + 100_000);
            let socket = Socket { direction: Direction::Inbound, ..quiet };
            Life::dead(died_from(&socket, State::FinWait1, CLOSED_UNANSWERED)).unwrap()
        };
        let said = |quiet_ms| {
            let lives = (1..=9).map(|id| closed(id, quiet_ms)).collect();
            let case = judge(lives, &[], &[], Some(15), AskedWhen::default()).remove(0);
            case.what_if_in_words().unwrap_or_default()
        };
        let idle = said(70_000);
        let expected = "9 of 9 kept until this host closed them, if the path had forgotten them (and keeps them for 15 s); \
                        noticed after ";
        assert!(idle.contains(expected) && idle.contains("if the peer was gone"), "{idle}");
        assert!(!idle.contains("same way"), "{idle}");
        let busy = said(2_000);
        assert!(busy.contains("9 of 9 would have died the same way"), "{busy}");
    }
}
