//! What consecutive looks at one connection show of the time between them.
//!
//! Stamps of a socket do not know every packet: a probe of the peer that carries a byte (as Windows sends it) leaves none.
//! `segs_in` counts each. So if segments came and no stamp moved, the connection was not quiet; and its quiet time never
//! grows faster than time.

use super::{
    setting::NetnsSettings,
    socket::{Socket, State},
};

/// Stamps are in ticks of up to 10 ms: what happened in the tick of a look may look older than it.
const TICK_MS: u32 = 10;

impl Socket {
    /// Joins this look with the one before: corrects its quiet and silent time, and goes on with what was watched. Whether
    /// anything came from the peer meanwhile.
    pub fn follow(&mut self, before: &Self) -> bool {
        let passed_ms = u32::try_from(self.at.ms_since(before.at)).unwrap_or(u32::MAX);
        let n_in = self.segs_in.wrapping_sub(before.segs_in);
        let n_out = self.segs_out.wrapping_sub(before.segs_out);
        // What ends it is mostly a reset, which leaves no stamp.
        let n_unstamped = u32::from(self.state == State::Close);
        let is_stamped = self.silent_ms <= passed_ms.saturating_add(TICK_MS);
        let mut is_probed = false;
        if n_in > n_unstamped && !is_stamped {
            is_probed = true;
            (self.silent_ms, self.quiet_ms) = (0, 0);
            self.quiet_at_most = false;
        } else if n_in == 0 {
            self.quiet_at_most &= before.quiet_at_most;
            self.silent_ms = self.silent_ms.min(before.silent_ms.saturating_add(passed_ms));
            self.quiet_ms = self.quiet_ms.min(before.quiet_ms.saturating_add(passed_ms));
        } else {
            is_probed = n_in > 0 && self.silent_ms.saturating_add(TICK_MS) < self.received_ms;
        }
        self.keep_peer_closed(before, passed_ms);
        self.keep_times_of_the_open(before);
        self.watched = before.watched;
        if self.is_probed_later_than(before) {
            // What its own probes kept so far says nothing of the time to come: what keeps it from now on is watched anew.
            self.watched.ms = 0;
        }
        self.watched.ms = self.watched.ms.saturating_add(passed_ms);
        if is_probed {
            self.watched.count_peer_probe();
        }
        // Looks may be closer to each other than ticks are.
        let is_counted = n_in > n_unstamped && is_stamped;
        let has_received = self.silent_ms < passed_ms || is_counted;
        if has_received {
            let stretch = before.silent_ms.saturating_add(passed_ms.saturating_sub(self.silent_ms));
            let silence = before.silent_ms.max(stretch / n_in.max(1));
            self.watched.longest_silence_ms = self.watched.longest_silence_ms.max(silence);
        }
        // What this end sends by itself says nothing: it goes on only if the peer answers.
        if has_received && (self.quiet_ms < passed_ms || is_counted) {
            // The time between the last packet before that look and the last one before this, by the number of packets in
            // between: if they came regularly, none of these times was longer.
            let stretch = before.quiet_ms.saturating_add(passed_ms.saturating_sub(self.quiet_ms));
            let mean = stretch / n_in.max(n_out).max(1);
            // Repetitions went over the path: only what was quiet before the first of them counts.
            let quiet = match before.repeating_ms() {
                Some(ms) => before.silent_ms.saturating_sub(ms),
                None => before.quiet_to_survive_ms().max(mean),
            };
            self.watched.longest_quiet_ms = self.watched.longest_quiet_ms.max(quiet);
        }
        has_received
    }

    /// A sysctl that changes after the program has closed a connection, while the kernel still repeats its FIN, says nothing of it: no
    /// probe is sent any more. What it had while it was open is what it died with.
    const fn keep_times_of_the_open(&mut self, before: &Self) {
        let is_closed = before.state.is_closing() && (self.is_orphan || before.is_orphan);
        if is_closed && before.ambient.is_known {
            let NetnsSettings { idle_seconds, interval_seconds, count, .. } = before.ambient;
            self.ambient = NetnsSettings { idle_seconds, interval_seconds, count, ..self.ambient };
        }
    }

    /// Whether its own probes come later than an earlier look said, or no more: a sysctl was raised, or keepalive turned off.
    fn is_probed_later_than(&self, before: &Self) -> bool {
        let times = |of: &Self| (of.idle().value, of.interval().value);
        let ((idle, interval), (idle_before, interval_before)) = (times(self), times(before));
        before.keepalive && (!self.keepalive || idle > idle_before || interval > interval_before)
    }

    /// The quiet time that the next packet of the peer ends: also where data was sent after it, and the acknowledgement is still on
    /// its way.
    pub fn quiet_to_survive_ms(&self) -> u32 {
        let before_data = self.silent_ms.saturating_sub(self.quiet_ms);
        if self.in_flight && !self.window_closed {
            self.quiet_ms.max(before_data)
        } else {
            self.quiet_ms
        }
    }

    /// Milliseconds since the first of what is repeated: data or probes.
    fn repeating_ms(&self) -> Option<u32> {
        let is_probing = self.keepalive && !self.in_flight;
        let probing_ms = || u32::try_from(self.probing_ms()?).ok();
        self.retransmitting_ms.or_else(|| probing_ms().filter(|_| is_probing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::{
        setting::OwnSettings,
        socket::{Time, tests_support::socket},
    };

    /// The socket after this number of seconds, with stamps of this age and this number of segments received.
    fn look(seconds: u64, silent_ms: u32, segs_in: u32) -> Socket {
        let at = Time(1_000_000_000_000 + seconds * 1_000_000_000);
        let (received_ms, quiet_ms) = (silent_ms, silent_ms);
        Socket { at, quiet_ms, silent_ms, received_ms, segs_in, ..socket() }
    }

    fn follow(looks: &[Socket]) -> Socket {
        let mut last = looks[0];
        for next in &looks[1..] {
            let mut next = *next;
            next.follow(&last);
            last = next;
        }
        last
    }

    #[test]
    fn a_sysctl_that_changes_once_the_program_has_closed_is_not_told_of_what_it_closed() {
        let lowered = |state, is_orphan| {
            let first = Socket { keepalive: true, state, is_orphan, ..look(0, 1_000, 5) };
            let mut next = Socket { at: Time(first.at.0 + 5_000_000_000), ..first };
            next.ambient.idle_seconds = 22;
            next.ambient.retries2 = 5;
            next.follow(&first);
            (next.ambient.idle_seconds, next.ambient.retries2)
        };
        assert_eq!(lowered(State::LastAck, true), (7200, 5), "the kernel counts by what is now");
        assert_eq!(lowered(State::FinWait1, true), (7200, 5));
        // The look-alikes: what is open follows it, also if the program has closed its half, or the peer has.
        for state in [State::Established, State::FinWait2, State::CloseWait] {
            assert_eq!(lowered(state, false), (22, 5), "{state:?}");
        }
    }

    #[test]
    fn a_peer_whose_probes_leave_no_stamp_keeps_the_connection_from_being_quiet() {
        let last = follow(&[look(0, 1_000, 5), look(5, 6_000, 6), look(10, 11_000, 7)]);
        assert_eq!((last.quiet_ms, last.silent_ms, last.watched.peer_probes), (0, 0, 2));
        assert!(last.watched.longest_quiet_ms <= 6_000, "{}", last.watched.longest_quiet_ms);
    }

    #[test]
    fn what_came_between_two_looks_within_a_tick_ends_a_silence_and_what_came_before_the_first_does_not()
     {
        let quiet = look(0, 7_900, 10);
        let at = Time(quiet.at.0 + 3_000_000);
        // The stamp is of the tick, which began before the first look.
        let answered = Socket { at, ..look(0, 4, 11) };
        let watched = follow(&[quiet, answered]).watched;
        assert_eq!((watched.longest_silence_ms, watched.longest_quiet_ms), (7_900, 7_900));
        let nothing = Socket { at, ..look(0, 7_903, 10) };
        let watched = follow(&[quiet, nothing]).watched;
        assert_eq!((watched.longest_silence_ms, watched.longest_quiet_ms), (0, 0));
    }

    #[test]
    fn what_its_own_probes_kept_is_no_rhythm_once_they_come_later() {
        let probed = |seconds, segs_in, idle_seconds| {
            let own = OwnSettings { idle_seconds, interval_seconds: 10, ..OwnSettings::default() };
            Socket { keepalive: true, own, ..look(seconds, 500, segs_in) }
        };
        let watched = |last| follow(&[probed(0, 5, 30), probed(31, 6, 30), last]).watched;
        let same = watched(probed(62, 7, 30));
        assert_eq!((same.ms, same.longest_quiet_ms), (62_000, 31_000));
        let later = watched(probed(62, 7, 7200));
        assert_eq!((later.ms, later.longest_quiet_ms), (31_000, 31_000), "from then on");
        let sooner = watched(probed(62, 7, 20));
        assert_eq!(sooner.ms, 62_000);
        let off = Socket { keepalive: false, ..probed(62, 7, 30) };
        assert_eq!(watched(off).ms, 31_000);
    }

    #[test]
    fn without_segments_the_quiet_time_is_that_of_the_stamps() {
        let last = follow(&[look(0, 1_000, 5), look(5, 6_000, 5), look(10, 11_000, 5)]);
        assert_eq!((last.quiet_ms, last.watched.peer_probes), (11_000, 0));
        assert_eq!((last.watched.ms, last.watched.longest_quiet_ms), (10_000, 0));
    }

    #[test]
    fn after_an_unstamped_packet_the_quiet_time_grows_from_there() {
        let last = follow(&[look(0, 1_000, 5), look(5, 6_000, 6), look(30, 31_000, 6)]);
        assert_eq!(last.quiet_ms, 25_000);
    }

    #[test]
    fn from_look_to_look_the_count_of_segments_shows_whether_it_was_quiet() {
        let unclear = |look: Socket| Socket { quiet_at_most: true, ..look };
        let is_unclear = |looks: &[Socket]| follow(looks).quiet_at_most;
        assert!(is_unclear(&[unclear(look(0, 1_000, 5)), unclear(look(5, 6_000, 5))]));
        assert!(!is_unclear(&[look(0, 1_000, 5), unclear(look(5, 6_000, 5))]), "nothing came");
        assert!(!is_unclear(&[unclear(look(0, 1_000, 5)), unclear(look(5, 6_000, 6))]), "a probe");
    }

    #[test]
    fn the_reset_that_ends_it_is_no_probe() {
        let end = Socket { state: State::Close, ..look(40, 40_000, 6) };
        assert_eq!(follow(&[look(0, 0, 5), end]).quiet_ms, 40_000);
    }

    #[test]
    fn data_of_ours_that_nobody_answers_does_not_make_the_quiet_time_before_it_a_survived_one() {
        let quiet = look(0, 350_000, 5);
        let sent = Socket { quiet_ms: 100, in_flight: true, ..look(1, 351_000, 5) };
        let reset = Socket { state: State::Close, ..look(2, 352_000, 6) };
        for end in [sent, Socket { quiet_ms: 100, ..reset }] {
            assert_eq!(follow(&[quiet, end]).watched.longest_quiet_ms, 0);
        }
        assert_eq!(follow(&[quiet, sent, reset]).watched.longest_quiet_ms, 0);
        let answered = Socket { quiet_ms: 100, ..look(2, 50, 6) };
        let found = follow(&[quiet, sent, answered]).watched.longest_quiet_ms;
        assert_eq!(found, 350_900, "a look came while the acknowledgement was on its way");
        let answered = Socket { quiet_ms: 100, ..look(1, 50, 6) };
        // Up to the time at which it went on.
        assert_eq!(follow(&[quiet, answered]).watched.longest_quiet_ms, 350_900);
    }

    #[test]
    fn an_outage_that_repetitions_survived_is_no_quiet_time() {
        let repeats = |seconds: u64, silent_ms: u32| Socket {
            in_flight: true,
            retransmits: 5,
            retransmitting_ms: Some(silent_ms - 1_200),
            ..look(seconds, silent_ms, 5)
        };
        let goes_on = look(30, 200, 20);
        let last = follow(&[look(0, 500, 5), repeats(15, 14_000), repeats(29, 28_000), goes_on]);
        assert_eq!(last.watched.longest_quiet_ms, 1_500);
    }

    #[test]
    fn an_outage_that_probes_survived_is_no_quiet_time() {
        let own =
            OwnSettings { idle_seconds: 10, interval_seconds: 5, count: 9, user_timeout_ms: 0 };
        let probing = |seconds: u64, silent_ms: u32, probes_unanswered: u8| Socket {
            keepalive: true,
            own,
            probes_unanswered,
            timer_ms: Some(3_000),
            quiet_ms: silent_ms - 10_000,
            ..look(seconds, silent_ms, 5)
        };
        let goes_on = look(63, 200, 6);
        let last =
            follow(&[look(0, 0, 5), probing(32, 32_000, 5), probing(62, 62_000, 11), goes_on]);
        assert_eq!(last.watched.longest_quiet_ms, 10_000);
    }

    #[test]
    fn a_stamped_probe_of_the_peer_is_known_by_what_it_does_not_stamp() {
        let probed = |seconds, segs_in| Socket {
            received_ms: u32::try_from(seconds).unwrap() * 1000,
            ..look(seconds, 500, segs_in)
        };
        let last = follow(&[look(0, 0, 5), probed(5, 6), probed(10, 8)]);
        assert_eq!((last.watched.peer_probes, last.silent_ms), (2, 500));
        // Data that was answered meanwhile stamps both.
        let busy = follow(&[look(0, 0, 5), look(5, 500, 6), look(10, 500, 8)]);
        assert_eq!(busy.watched.peer_probes, 0);
    }

    #[test]
    fn the_longest_quiet_time_is_what_was_seen_or_what_the_number_of_packets_shows() {
        // A ping each 3 s, a look each 5 s.
        let pinged = follow(&[look(0, 0, 0), look(5, 2_000, 1), look(10, 1_000, 3)]);
        assert_eq!(pinged.watched.longest_quiet_ms, 3_000);
        // One packet after 60 s.
        let quiet = follow(&[look(0, 0, 0), look(55, 55_000, 0), look(65, 5_000, 1)]);
        assert_eq!(quiet.watched.longest_quiet_ms, 60_000);
    }
}
