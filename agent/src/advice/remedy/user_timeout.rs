//! The time that data may be unanswered: what bounds it for a client that was recognised, and for any other.

use super::{Advice, Holds, Need, Situation, named};
use crate::{
    advice::{Proposal, recognise::Recognised},
    model::{
        observed::{probe_timing::repeating_ms, setting::TCP_RTO_MAX_MS},
        text::duration::duration,
    },
};

const CALL: &str = "setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, {timeout_ms})  /* ms */";
/// What tcp_retries2 is where nobody has set it.
const USUAL_RETRIES: u8 = 15;

impl Situation<'_> {
    /// What is set already, or the kernel by itself, notices as soon as what would be advised.
    pub(super) fn notices_already(&self) -> Option<Advice> {
        if self.need != Need::UserTimeout {
            return None;
        }
        let wanted = self.proposal.detection_seconds();
        let set = self.own.user_timeout_ms.div_ceil(1000);
        let because = if set > 0 && set <= wanted {
            format!(
                "a user timeout of {} is set already: it notices data that nobody answers",
                duration(set)
            )
        } else if self.kernel_gives_up.is_some_and(|after| after <= wanted.into()) {
            format!(
                "nothing to set: {} gives up sooner than a user timeout of {} would",
                self.kernels(),
                duration(wanted)
            )
        } else {
            return None;
        };
        Some(self.plain(Holds::Surely, "code", because, ""))
    }

    /// Data in flight must be given up sooner.
    pub(super) fn user_timeout(&self, of: Option<&Recognised>, holds: Holds) -> Advice {
        let because =
            format!("with data in flight only this notices sooner than {}", self.kernels());
        match of.map(|it| (it, it.client.user_timeout)) {
            Some((it, Some(line))) => self.of(it, holds, "runtime", &format!("; {because}"), line),
            Some((it, None)) => {
                let Some(retries) = self.retries() else {
                    let note = format!(
                        "; {because}; no option of it for a user timeout is known, and no value of tcp_retries2 can be proposed: \
                         the time between two retransmissions has another bound than usual here (tcp_rto_max_ms)"
                    );
                    return self.of(it, holds, "sysctl", &note, "");
                };
                let note = format!(
                    "; no option of it for a user timeout is known. {retries} retransmissions take about {}, for all \
                     connections of its network namespace, those that live, too",
                    duration(repeating_ms(retries, TCP_RTO_MAX_MS).div_ceil(1000))
                );
                let line = self.around.sysctl("net.ipv4.tcp_retries2", &retries.to_string());
                self.of(it, holds, "sysctl", &note, &line)
            }
            None => self.plain(holds, "code", because, CALL),
        }
    }

    /// Two probes must be able to get lost.
    pub(super) fn longer_user_timeout(&self, of: Option<&Recognised>, holds: Holds) -> Advice {
        self.longer_than(self.now, of, holds)
    }

    /// What has to be raised together with keepalive, because with `times` one lost probe would end the connection.
    pub(super) fn user_timeout_beside(
        &self,
        times: Proposal,
        of: Option<&Recognised>,
        holds: Holds,
    ) -> Option<Advice> {
        let is_cut_short = times.is_cut_short_by(self.own.user_timeout_ms);
        is_cut_short.then(|| Advice { needs_previous: true, ..self.longer_than(times, of, holds) })
    }

    fn longer_than(&self, times: Proposal, of: Option<&Recognised>, holds: Holds) -> Advice {
        let least = times.idle.saturating_add(times.interval.saturating_mul(2));
        let because = format!(
            "the user timeout of {} is not longer than idle + interval ({}): one lost probe ends a healthy connection. \
             Set a longer one, or shorter times between probes",
            duration(self.own.user_timeout_ms.div_ceil(1000)),
            duration(times.idle.saturating_add(times.interval)),
        );
        let longer =
            |line: &str| line.replace("{timeout_ms}", &format!("{}000", least.saturating_add(1)));
        match of.map(|it| (it, it.client.user_timeout)) {
            Some((it, Some(line))) => {
                let because = format!("{because}; {}", named(it, holds));
                Advice { because, ..self.of(it, holds, "runtime", "", &longer(line)) }
            }
            // It has set one: where, nobody knows.
            Some((it, None)) => {
                Advice { client: Some(it.into()), ..self.plain(holds, "code", because, "") }
            }
            None => self.plain(holds, "code", because, &longer(CALL)),
        }
    }

    /// The kernel's own patience, in words.
    fn kernels(&self) -> String {
        match self.kernel_gives_up {
            Some(after) => format!("tcp_retries2 (here: about {})", duration(after)),
            None => "tcp_retries2 (15 by default: about 15 min)".to_owned(),
        }
    }

    /// The fewest repetitions that take at least as long as a user timeout would. None where the time between two has
    /// another bound than usual (`tcp_rto_max_ms`, since 6.15): then no number of them takes as long as the kernel does.
    fn retries(&self) -> Option<u8> {
        let seconds = |retries| repeating_ms(retries, TCP_RTO_MAX_MS).div_ceil(1000);
        let is_usual = |after| (0..=u8::MAX).any(|retries| seconds(retries) == after);
        if !self.kernel_gives_up.is_none_or(is_usual) {
            return None;
        }
        let wanted = u64::from(self.proposal.detection_seconds());
        let enough = (1..USUAL_RETRIES).find(|retries| seconds(*retries) >= wanted);
        Some(enough.unwrap_or(USUAL_RETRIES))
    }
}
