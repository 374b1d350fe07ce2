//! What to try next: growing quiet times until one kills, then times between the longest that was survived and the
//! shortest that killed.

use std::time::Duration;

/// Each quiet time is this much longer than the one before, in tenths.
const GROWTH_TENTHS: u32 = 15;
/// The first one.
const FIRST: Duration = Duration::from_secs(5);
/// Closer than this the two bounds are no further apart than the seconds of a trial.
const NEAR: Duration = Duration::from_secs(2);

/// How a quiet connection ended, or that it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The probe was answered.
    Survived,
    /// The probe was answered by a reset: the path, or what is left of it, does not know the connection.
    Reset,
    /// No probe was answered, while a new connection to the same peer works.
    Silence,
    /// The peer closed it, or reset it, before it was probed.
    ClosedByPeer,
}

/// What is known so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bracket {
    /// The longest quiet time that was survived.
    pub(crate) survived: Duration,
    /// The shortest that killed, and how.
    pub(crate) killed: Option<(Duration, Found)>,
    /// After this quiet time the peer closed it by itself, twice.
    pub(crate) closed: Option<Duration>,
    closed_once: Option<Duration>,
    /// How often that quiet time killed: an outage, or a restart of the peer, looks the same once.
    n_kills: u32,
}

/// The search for one path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    most: Duration,
    percent: u32,
    known: Bracket,
}

impl Search {
    /// A search up to a quiet time, until the bounds are within that part of each other.
    pub(crate) fn new(most: Duration, percent: u32) -> Self {
        Self { most, percent, known: Bracket::default() }
    }

    /// What is known.
    pub(crate) const fn known(&self) -> &Bracket {
        &self.known
    }

    /// The quiet time to try next; none if there is nothing more to learn.
    pub(crate) fn next(&self) -> Option<Duration> {
        let Bracket { survived, killed, closed, .. } = self.known;
        if closed.is_some() {
            return None;
        }
        let Some((killed, _)) = killed else {
            let grown = survived * GROWTH_TENTHS / 10;
            return (survived < self.most).then(|| grown.clamp(FIRST.min(self.most), self.most));
        };
        let apart = killed.saturating_sub(survived);
        let is_near = apart <= survived * self.percent / 100 || apart <= NEAR;
        match self.known.n_kills {
            _ if !is_near => Some(survived + apart / 2),
            0 | 1 => Some(killed),
            _ => None,
        }
    }

    /// Takes in what a quiet time did.
    pub(crate) fn learn(&mut self, quiet: Duration, found: Found) {
        let known = &mut self.known;
        match found {
            Found::Survived => {
                known.survived = known.survived.max(quiet);
                // Both cannot be: something else killed it then.
                known.killed = known.killed.filter(|(killed, _)| *killed > quiet);
                if known.killed.is_none() {
                    known.n_kills = 0;
                }
                known.closed_once = known.closed_once.filter(|closed| *closed > quiet);
            }
            Found::Reset | Found::Silence => match known.killed {
                Some((killed, _)) if quiet >= killed => known.n_kills += 1,
                _ => (known.killed, known.n_kills) = (Some((quiet, found)), 1),
            },
            Found::ClosedByPeer if known.closed_once.is_some() => known.closed = Some(quiet),
            Found::ClosedByPeer => known.closed_once = Some(quiet),
        }
    }

    /// About how long it may take from here, if nothing kills: the times that grow; else those between.
    pub(crate) fn at_most_left(&self) -> Duration {
        let mut search = *self;
        let mut left = Duration::ZERO;
        while let Some(quiet) = search.next() {
            left += quiet;
            search.learn(quiet, Found::Survived);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    /// What a path with a limit and a peer with a timer of its own do.
    fn found(quiet: Duration, limit: Duration, own: Option<Duration>) -> (Duration, Found) {
        match own {
            Some(own) if own <= quiet && own < limit => (own, Found::ClosedByPeer),
            _ if quiet > limit => (quiet, Found::Silence),
            _ => (quiet, Found::Survived),
        }
    }

    fn searched(limit: Duration, own: Option<Duration>) -> (Bracket, Duration) {
        let mut search = Search::new(HOUR, 10);
        let mut took = Duration::ZERO;
        while let Some(quiet) = search.next() {
            let (quiet, found) = found(quiet, limit, own);
            took += quiet;
            search.learn(quiet, found);
        }
        (*search.known(), took)
    }

    #[test]
    fn every_limit_is_found_within_a_tenth_and_within_ten_times_its_length() {
        for limit in (6..3600).step_by(7).map(Duration::from_secs) {
            let (known, took) = searched(limit, None);
            let (killed, _) = known.killed.unwrap();
            assert!(known.survived <= limit && limit < killed, "{limit:?}: {known:?}");
            let apart = killed.saturating_sub(known.survived);
            assert!(apart <= NEAR || apart <= known.survived / 10, "{limit:?}: {known:?}");
            assert!(took <= limit * 10 + Duration::from_mins(1), "{limit:?} took {took:?}");
        }
    }

    #[test]
    fn a_path_without_a_limit_is_tried_up_to_the_end_and_no_further() {
        let (known, took) = searched(HOUR * 2, None);
        assert_eq!((known.survived, known.killed), (HOUR, None));
        assert!(took < HOUR * 4, "{took:?}");
        assert!(Search::new(HOUR, 10).at_most_left() >= took);
    }

    #[test]
    fn a_peer_that_closes_by_itself_is_no_limit_and_is_believed_the_second_time() {
        let own = Duration::from_secs(75);
        let (known, _) = searched(Duration::from_secs(350), Some(own));
        assert_eq!((known.closed, known.killed), (Some(own), None));
        assert!(known.survived < own);
        let mut search = Search::new(HOUR, 10);
        search.learn(own, Found::ClosedByPeer);
        assert!(search.next().is_some(), "it may have been restarted");
    }

    #[test]
    fn what_killed_once_is_tried_again() {
        let mut search = Search::new(HOUR, 10);
        // The peer was restarted in the middle of this one.
        search.learn(Duration::from_mins(5), Found::Reset);
        while let Some(quiet) = search.next() {
            search.learn(quiet, Found::Survived);
        }
        assert_eq!((search.known().survived, search.known().killed), (HOUR, None));
    }

    #[test]
    fn what_an_outage_killed_does_not_confirm_another_time() {
        let mut search = Search::new(HOUR, 10);
        let limit = Duration::from_secs(100);
        // The path was gone at two of its times, and back before anybody asked.
        let mut outages = vec![Duration::from_secs(50), Duration::from_secs(30)];
        while let Some(quiet) = search.next() {
            let is_out = outages.last().is_some_and(|least| quiet >= *least);
            if is_out {
                outages.pop();
                search.learn(quiet, Found::Silence);
            } else {
                let (quiet, found) = found(quiet, limit, None);
                search.learn(quiet, found);
            }
        }
        let known = search.known();
        let killed = known.killed.map(|(killed, _)| killed);
        assert!(known.survived <= limit && killed > Some(limit), "{known:?}");
    }

    #[test]
    fn what_is_survived_later_counts_more_than_what_killed_before() {
        let mut search = Search::new(HOUR, 10);
        search.learn(Duration::from_secs(10), Found::Silence);
        search.learn(Duration::from_secs(20), Found::Survived);
        assert_eq!(search.known().killed, None);
    }
}
