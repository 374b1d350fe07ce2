//! Happenings: one thing at a time that happens to a connection. What `trace` shows, histories keep and counters
//! count. The table makes happenings of events.

use super::Table;
use crate::model::{
    judgement::{
        death::{Cause, Death},
        verdict::{Surroundings, Verdict},
    },
    observed::{
        event::Fire,
        owner_identity::Identity,
        setsockopt::{Call, SockOpt},
        socket::{Owner, Socket, Time},
    },
    text::closed_set::closed_set,
};
use std::sync::Arc;

impl Table {
    /// The number of happenings that [`Self::take_happenings`] would return.
    pub const fn n_happenings(&self) -> usize {
        self.happenings.len()
    }

    /// The happenings since this was asked last.
    pub fn take_happenings(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happenings)
    }
}

/// One thing that happened to one socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// The time of the event, by the clock of the kernel.
    pub at: Time,
    /// The socket at that moment, with the owner if one is known.
    pub socket: Socket,
    /// The kind of event and its details.
    pub what: Happened,
    /// The identity of the owner, as far as it is known.
    pub identity: Option<Arc<Identity>>,
    /// Of a call by another process: whose connection that was made on.
    pub holder: Option<ConnectionHolder>,
    /// Of a death: the setsockopt calls of its life, oldest first.
    pub calls: Vec<(Time, Call)>,
}

/// The process that has a connection open on which another one called setsockopt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionHolder {
    /// The process for which the connection is counted.
    pub owner: Owner,
    /// What it is part of, as far as it is known.
    pub identity: Option<Arc<Identity>>,
    /// The caller has another name: it is no child that the connection was passed on to. A stranger has it open, too, for as
    /// long as it sets something.
    pub is_foreign: bool,
}

/// The kind of event, with what belongs to it. A death takes more room than all else: where many are kept, it is a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened<D = Death> {
    /// A connection is established.
    Opened,
    /// A program called setsockopt.
    Setting(Call),
    /// A setting is not what it was, and nobody called setsockopt.
    Changed {
        /// The option whose value changed.
        option: SockOpt,
        /// The own value before; 0 was unset.
        from: u32,
        /// The own value now.
        to: u32,
    },
    /// A probe went out.
    ProbeSent,
    /// Probes were answered.
    ProbeAnswered {
        /// Probes that had gone unanswered before.
        unanswered: u8,
    },
    /// The keepalive timer ran, and no probe went out.
    TimerFired(Fire),
    /// The connection went on after it had been quiet.
    QuietSurvived {
        /// A quiet time that it survived: the real one may be a little longer.
        quiet_ms: u32,
    },
    /// Data that had gone unanswered for some time was answered.
    DataAnswered {
        /// For how long it had gone unanswered, at most: an answer is seen at the next look.
        unanswered_ms: u32,
    },
    /// A setting changed, and with it the verdict.
    VerdictChanged {
        /// The verdict before.
        from: Verdict,
        /// The verdict now.
        to: Verdict,
    },
    /// This host closed it while its last data, or probes, were unanswered.
    GivenUp,
    /// The connection ended.
    Died(D),
}

closed_set! {
    /// The names of what can happen.
    pub enum EventName {
        /// A connection is established
        Opened = "opened",
        /// A setsockopt call of an option that decides about keepalive
        Setting = "setting",
        /// A setting that changed without a setsockopt call
        Changed = "changed",
        /// A keepalive probe went out
        ProbeSent = "probe_sent",
        /// Probes were answered
        ProbeAnswered = "probe_answered",
        /// The keepalive timer ran and no probe went out
        TimerFired = "timer_fired",
        /// A connection went on after a long quiet time
        QuietSurvived = "quiet_survived",
        /// Data that had gone unanswered for some time was answered
        DataAnswered = "data_answered",
        /// A setting changed, and with it the verdict
        VerdictChanged = "verdict_changed",
        /// This host closed a connection while its last data, or probes, were unanswered
        GivenUp = "given_up",
        /// A connection was lost
        Died = "died",
        /// A connection ended, and nothing was lost by it
        Ended = "ended",
        /// Events were lost
        Lost = "lost",
        /// After a loss everything was read anew
        Resynchronised = "resynchronised",
    }
}

/// Quiet for less than this is no pause that a device, or a pool's clean-up, ends a connection for.
const QUIET_TO_NOTICE_MS: u64 = 20_000;
/// A connection of this age is one that its program meant to keep.
const AGE_TO_NOTICE_MS: u64 = 60_000;

/// What an end is called: `died` if the program lost something by it, else `ended`. A close is orderly, and a program
/// that resets its own connection wants that. Resets by the peer are everyday life of short, busy connections (health
/// checks, proxies, SO_LINGER 0). They are a loss if data was in flight, if the connection had been quiet, or if it
/// was old, or older than the agent.
pub const fn of_end(
    cause: Cause,
    in_flight: bool,
    quiet_ms: u64,
    age_ms: Option<u64>,
) -> EventName {
    let is_loss = match cause {
        Cause::PeerClosed | Cause::LocalClosed | Cause::LocalReset => false,
        Cause::PeerReset => {
            let is_old = match age_ms {
                Some(age_ms) => age_ms >= AGE_TO_NOTICE_MS,
                None => true,
            };
            in_flight || quiet_ms >= QUIET_TO_NOTICE_MS || is_old
        }
        _ => true,
    };
    if is_loss { EventName::Died } else { EventName::Ended }
}

impl Happened {
    /// The name in JSON, filters and help.
    pub const fn name(&self) -> EventName {
        match self {
            Self::Opened => EventName::Opened,
            Self::Setting(_) => EventName::Setting,
            Self::Changed { .. } => EventName::Changed,
            Self::ProbeSent => EventName::ProbeSent,
            Self::ProbeAnswered { .. } => EventName::ProbeAnswered,
            Self::TimerFired(_) => EventName::TimerFired,
            Self::QuietSurvived { .. } => EventName::QuietSurvived,
            Self::DataAnswered { .. } => EventName::DataAnswered,
            Self::VerdictChanged { .. } => EventName::VerdictChanged,
            Self::GivenUp => EventName::GivenUp,
            Self::Died(death) => of_end(
                death.cause,
                death.ending.has_unacked_data() || death.ending.has_unsent(),
                death.quiet_ms as u64,
                death.age_ms,
            ),
        }
    }

    /// Whether it is shown without `--event` naming it: a timer that found nothing to do is not.
    pub const fn is_news(&self) -> bool {
        !matches!(self, Self::TimerFired(Fire::NotIdle | Fire::NotOurs | Fire::Sent | Fire::Death))
    }
}

impl<D> Happened<D> {
    /// The same, with the death in another form.
    pub(super) fn with_death<E>(&self, form: impl FnOnce(&D) -> E) -> Happened<E> {
        match self {
            Self::Opened => Happened::Opened,
            Self::Setting(call) => Happened::Setting(*call),
            Self::Changed { option, from, to } => {
                Happened::Changed { option: *option, from: *from, to: *to }
            }
            Self::ProbeSent => Happened::ProbeSent,
            Self::ProbeAnswered { unanswered } => {
                Happened::ProbeAnswered { unanswered: *unanswered }
            }
            Self::TimerFired(fire) => Happened::TimerFired(*fire),
            Self::QuietSurvived { quiet_ms } => Happened::QuietSurvived { quiet_ms: *quiet_ms },
            Self::DataAnswered { unanswered_ms } => {
                Happened::DataAnswered { unanswered_ms: *unanswered_ms }
            }
            Self::VerdictChanged { from, to } => Happened::VerdictChanged { from: *from, to: *to },
            Self::GivenUp => Happened::GivenUp,
            Self::Died(death) => Happened::Died(form(death)),
        }
    }
}

impl Happening {
    /// Whether a process set, or tried to set, an option of a connection that is not its own.
    pub fn is_by_stranger(&self) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.is_foreign)
    }

    /// The same: of a call by another process than this one, with whose connection it is.
    #[must_use]
    pub(super) fn held_by(self, owner: Option<Owner>, identity: Option<&Arc<Identity>>) -> Self {
        let holder = match (&self.what, self.socket.owner, owner) {
            (Happened::Setting(_), Some(by), Some(owner)) if owner.pid != by.pid => {
                let is_foreign = owner.comm != by.comm;
                Some(ConnectionHolder { owner, identity: identity.cloned(), is_foreign })
            }
            _ => self.holder,
        };
        Self { holder, ..self }
    }

    /// A happening of a socket whose owner nobody has looked up.
    pub const fn new(at: Time, socket: Socket, what: Happened) -> Self {
        Self { at, socket, what, identity: None, holder: None, calls: Vec::new() }
    }
}

/// A message about the stream itself, not one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Events were lost.
    Lost {
        /// Events that were there, and found no room or could not be decoded.
        events: u64,
        /// Runs of hooks that the kernel skipped, of the whole host: each may have been an event.
        skipped: u64,
    },
    /// After a loss all sockets were read anew.
    Resynchronised {
        /// Sockets that the walk found.
        sockets: u64,
        /// Sockets gone without a reported end.
        pruned: u64,
    },
}

/// The happenings since the last time, in order.
#[derive(Debug)]
pub struct News {
    /// How many happenings there were before these.
    pub n_before: u64,
    /// Events of connections.
    pub happenings: Vec<Happening>,
    /// To the stream itself.
    pub notices: Vec<Notice>,
    /// The surroundings of verdicts then.
    pub around: Arc<Surroundings>,
}

impl News {
    /// The same in parts of at most this number of happenings each, of which a queue can hold a fixed number.
    pub fn parts(self, most: usize) -> impl Iterator<Item = Self> {
        let Self { mut n_before, happenings, notices, around } = self;
        let mut happenings = happenings.into_iter();
        let mut notices = Some(notices);
        std::iter::from_fn(move || {
            let happenings: Vec<_> = happenings.by_ref().take(most).collect();
            if happenings.is_empty() && notices.is_none() {
                return None;
            }
            let part = Self {
                n_before,
                notices: notices.take().unwrap_or_default(),
                around: Arc::clone(&around),
                happenings,
            };
            n_before += u64::try_from(part.happenings.len()).unwrap_or(0);
            Some(part)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::{
            death::{Certainty, Others},
            idle_limit::{IdleLimit, Limits},
        },
        observed::{
            ending::{Ending, Unacked, Unsent},
            socket::{State, tests_support::socket},
        },
    };

    fn death(cause: Cause) -> Death {
        Death {
            cause,
            certainty: Certainty::Exact,
            old: State::Established,
            ending: Ending::default(),
            quiet_ms: 0,
            silent_ms: 0,
            age_ms: Some(100),
            given_up: None,
            probes_sent: 0,
            probes_unanswered: 0,
            survived_ms: 0,
            could_be_forgotten: false,
            others: Others::Unknown,
            other_reason: None,
        }
    }

    #[test]
    fn parts_of_news_have_all_happenings_once_in_order_and_their_numbers() {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Arc::new(Surroundings::new(limits, 250));
        let opened = |n| Happening::new(Time(n), socket(), Happened::Opened);
        let news = |n| News {
            n_before: 7,
            happenings: (0..n).map(opened).collect(),
            notices: vec![Notice::Lost { events: 3, skipped: 0 }],
            around: Arc::clone(&around),
        };
        let parts: Vec<_> = news(300).parts(128).collect();
        let n_before: Vec<_> = parts.iter().map(|part| part.n_before).collect();
        assert_eq!(n_before, [7, 135, 263]);
        let times = parts.iter().flat_map(|part| part.happenings.iter().map(|it| it.at.0));
        assert!(times.eq(0..300));
        let notices: Vec<_> = parts.iter().map(|part| part.notices.len()).collect();
        assert_eq!(notices, [1, 0, 0]);
        // A notice comes even if nothing happened.
        assert_eq!(news(0).parts(128).count(), 1);
        assert!(size_of::<Happening>() * 128 * 256 < 24 << 20, "{}", size_of::<Happening>());
    }

    #[test]
    fn a_loss_has_died_and_an_orderly_end_has_ended() {
        let name = |death: Death| Happened::Died(death).name();
        for cause in Cause::ALL {
            let is_orderly = matches!(
                cause,
                Cause::PeerClosed | Cause::LocalClosed | Cause::LocalReset | Cause::PeerReset
            );
            let expected = if is_orderly { EventName::Ended } else { EventName::Died };
            assert_eq!(name(death(cause)), expected, "{cause:?}");
        }
    }

    #[test]
    fn a_reset_by_the_peer_is_a_loss_if_it_mattered_and_not_after_a_short_busy_life() {
        let reset = death(Cause::PeerReset);
        let is_loss = |death| Happened::Died(death).name() == EventName::Died;
        assert!(!is_loss(reset));
        let unacked = Ending { unacked: Unacked::Data, ..Ending::default() };
        for lost in [
            Death { ending: unacked, ..reset },
            Death { ending: Ending { unsent: Unsent::Waits, ..Ending::default() }, ..reset },
            Death { quiet_ms: 20_000, ..reset },
            Death { age_ms: Some(AGE_TO_NOTICE_MS), ..reset },
            Death { age_ms: None, ..reset },
        ] {
            assert!(is_loss(lost), "{lost:?}");
        }
        // The same is no loss where the program itself wanted the end.
        assert!(!is_loss(Death { ending: unacked, ..death(Cause::LocalReset) }));
    }
}
