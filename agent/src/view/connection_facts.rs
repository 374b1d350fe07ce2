//! A row's connection as conclusions look at it: nothing is turned back into a socket to be judged.

use super::connection::{Connection, KeepaliveSettings, Seconds, ms};
use crate::model::{
    judgement::{
        condition::{Condition, Diagnosis},
        facts::ConnectionFacts,
        gap::Gap,
    },
    observed::{
        probe_timing::detection::EndRules,
        setting::Effective,
        socket::{Direction, Endpoint, State},
        watched::Watched,
    },
};

impl ConnectionFacts for Connection {
    fn local(&self) -> Endpoint {
        self.local.into()
    }

    fn remote(&self) -> Endpoint {
        self.remote.into()
    }

    fn direction(&self) -> Direction {
        self.direction()
    }

    fn netns(&self) -> u32 {
        self.netns
    }

    fn state(&self) -> State {
        self.state
    }

    fn is_orphan(&self) -> bool {
        self.orphan
    }

    fn idle(&self) -> Effective {
        let Seconds { seconds: value, from } = self.settings.idle;
        Effective { value, from }
    }

    fn interval(&self) -> Effective {
        let Seconds { seconds: value, from } = self.settings.interval;
        Effective { value, from }
    }

    fn gap(&self, _: u32) -> Option<Gap> {
        Some(Gap { ms: ms(self.gap_seconds?), from: self.gap_from? })
    }

    fn next_probe_ms(&self) -> Option<u64> {
        self.next_probe_seconds.map(ms)
    }

    fn quiet_ms(&self) -> u64 {
        ms(self.quiet_seconds)
    }

    fn watched(&self) -> Watched {
        let short = |seconds| u32::try_from(ms(seconds)).unwrap_or(u32::MAX);
        Watched {
            ms: short(self.watched_seconds),
            age_ms: short(self.looked_at_seconds_ago),
            longest_quiet_ms: short(self.longest_quiet_seconds),
            longest_silence_ms: short(self.longest_silence_seconds),
            peer_probes: if self.peer_probes { u8::MAX } else { 0 },
        }
    }

    fn diagnosis(&self) -> Option<Diagnosis> {
        // These two depend on the path.
        let of_itself =
            self.condition.filter(|it| !matches!(it, Condition::Fine | Condition::Overdue));
        of_itself.map(|condition| Diagnosis {
            condition,
            since_ms: self.condition_seconds.map(ms).unwrap_or_default(),
            is_least: self.condition_at_least,
            gives_up_ms: self.gives_up_seconds.map(ms),
        })
    }

    fn detected_after_seconds(&self) -> Option<u64> {
        let KeepaliveSettings { idle, interval, count, user_timeout_ms, .. } = &self.settings;
        let rules = EndRules::new(idle.seconds, interval.seconds, count.probes, *user_timeout_ms);
        self.settings.detection_seconds.map(|seconds| rules.at_most_seconds(seconds))
    }
}
