//! Values that options take: the names of the model's closed sets, each with its line of help.

use crate::model::{
    judgement::{condition::Condition, death::Cause, verdict::Verdict},
    observed::socket::{Direction, State},
    table::{happening::EventName, owner_label::OwnerLabel},
};
use clap::{ValueEnum, builder::PossibleValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Makes the names of a closed set the values of an option. `help` says what each means; nothing where the name does.
macro_rules! choices {
    ($set:ident, $help:expr) => {
        impl ValueEnum for $set {
            fn value_variants<'a>() -> &'a [Self] {
                &Self::ALL
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                let help: Option<&'static str> = $help(*self);
                let value = PossibleValue::new(self.as_str());
                Some(match help {
                    Some(help) => value.help(help),
                    None => value,
                })
            }
        }
    };
}

choices!(Direction, |direction| Some(match direction {
    Direction::Outbound => "This host sent the SYN",
    Direction::Inbound => "The peer sent the SYN",
}));

choices!(Verdict, |verdict| Some(match verdict {
    Verdict::Off => "Keepalive is off",
    Verdict::Late => "Keepalive is on, but its probes may come after the idle limit",
    Verdict::Kept => "Not protected by its own probes; the peer's probes or traffic kept it so far",
    Verdict::Protected => "Its probes always come before the idle limit",
    Verdict::Local => "The peer is on this host",
}));

choices!(Condition, |condition| Some(match condition {
    Condition::Stuck => "Data or the FIN of this host is repeated, and nothing answers",
    Condition::PeerSilent => "Two or more probes in a row went unanswered",
    Condition::Overdue => "Unprotected, and quiet for longer than its path keeps it",
    Condition::Blocked => "The peer's program does not read enough, and what was written waits",
    Condition::Unaccepted => "The program has not accepted it yet",
    Condition::PeerClosed => "The peer has closed it, and the program has not",
    Condition::Fine => "None of the others",
}));

choices!(State, |_| None);

choices!(EventName, |name| Some(match name {
    EventName::Opened => "A connection is established",
    EventName::Setting => "A setsockopt call of an option that decides about keepalive",
    EventName::Changed => "A setting that changed without a setsockopt call",
    EventName::ProbeSent => "A keepalive probe went out",
    EventName::ProbeAnswered => "Probes were answered",
    EventName::TimerFired => "The keepalive timer ran and no probe went out",
    EventName::QuietSurvived => "A connection went on after a long quiet time",
    EventName::DataAnswered => "Data that had gone unanswered for 5 s or more was answered",
    EventName::VerdictChanged => "A setting changed, and with it the verdict",
    EventName::GivenUp =>
        "This host closed a connection while its last data, or probes, were unanswered",
    EventName::Died =>
        "A connection was lost: dropped, timed out, refused, or reset while it mattered",
    EventName::Ended => "A connection ended in order, or was reset when nothing was lost by it",
    EventName::Lost => "Events were lost",
    EventName::Resynchronised => "After a loss everything was read anew",
}));

choices!(OwnerLabel, |label| Some(match label {
    OwnerLabel::Namespace => "Kubernetes namespace",
    OwnerLabel::Workload => {
        "Kubernetes workload, the service of Compose, Swarm, ECS or Nomad, else the systemd unit"
    }
    OwnerLabel::Container => "Container",
    OwnerLabel::Process => "The process's name",
}));

choices!(Cause, |cause| Some(match cause {
    Cause::KeepaliveTimeout => "Probes went unanswered",
    Cause::KeepaliveReset => "A probe was answered by a reset",
    Cause::IdleDrop => "The first data after a quiet time met silence or a reset",
    Cause::UserTimeout => "TCP_USER_TIMEOUT ran out",
    Cause::RetransmitTimeout => "Data was repeated until the kernel gave up",
    Cause::Abandoned => "This host gave it up, and its FIN or last data was never answered",
    Cause::PeerReset => "The peer reset it",
    Cause::Unreachable => "The network reported that the peer cannot be reached",
    Cause::ConnectFailed => "It was never established",
    Cause::PeerClosed => "The peer closed it first",
    Cause::LocalClosed => "This host closed it first",
    Cause::LocalReset =>
        "This host closed it without a FIN: by a reset, or a program moved it away",
    Cause::Unknown => "The kernel did not report its end, or not the reason",
}));

/// Makes the values of an option of the names of a closed set and one word more, which stands for several of them.
/// Serde writes and reads the same words.
macro_rules! choices_and_word {
    ($(#[$of_enum:meta])* $choice:ident: $set:ident or $word:ident = $name:literal, $help:literal) => {
        $(#[$of_enum])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $choice {
            /// One of the set.
            One($set),
            #[doc = $help]
            $word,
        }

        impl $choice {
            const ALL: &'static [Self] = &{
                let mut all = [Self::$word; $set::ALL.len() + 1];
                let mut at = 0;
                while at < $set::ALL.len() {
                    #[expect(clippy::indexing_slicing, reason = "below the length, while compiling")]
                    (all[at] = Self::One($set::ALL[at]));
                    at += 1;
                }
                all
            };

            /// The word on the command line and in JSON.
            const fn as_str(self) -> &'static str {
                match self {
                    Self::One(one) => one.as_str(),
                    Self::$word => $name,
                }
            }
        }

        impl ValueEnum for $choice {
            fn value_variants<'a>() -> &'a [Self] {
                Self::ALL
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                match self {
                    Self::One(one) => one.to_possible_value(),
                    Self::$word => Some(PossibleValue::new($name).help($help)),
                }
            }
        }

        impl Serialize for $choice {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $choice {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(|| {
                    let known: Vec<&str> = Self::ALL.iter().map(|one| one.as_str()).collect();
                    D::Error::custom(format!("expected one of: {}, got {text:?}", known.join(", ")))
                })
            }
        }
    };
}

choices_and_word! {
    /// A verdict to look for.
    VerdictChoice: Verdict or Unprotected = "unprotected", "off or late: keepalive does not protect it"
}

choices_and_word! {
    /// A condition to look for.
    ConditionChoice: Condition or Urgent = "urgent", "stuck, peer_silent or overdue: an answer will probably not come"
}

choices_and_word! {
    /// A kind of event to look for.
    EventChoice: EventName or All = "all", "Every event; timer_fired only where it put a probe off"
}

impl VerdictChoice {
    /// Whether it means this verdict.
    pub(crate) const fn means(self, verdict: Verdict) -> bool {
        match self {
            Self::One(one) => one as u8 == verdict as u8,
            Self::Unprotected => verdict.is_unprotected(),
        }
    }
}

impl ConditionChoice {
    /// Whether it means this condition.
    pub(crate) const fn means(self, condition: Condition) -> bool {
        match self {
            Self::One(one) => one as u8 == condition as u8,
            Self::Urgent => condition.is_urgent(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_each_of_the_set_or_the_word_in_json_and_on_the_command_line() {
        assert_eq!(VerdictChoice::ALL.len(), Verdict::ALL.len() + 1);
        for choice in VerdictChoice::ALL {
            let json = serde_json::to_value(choice).unwrap();
            assert_eq!(serde_json::from_value::<VerdictChoice>(json).unwrap(), *choice);
            assert_eq!(VerdictChoice::from_str(choice.as_str(), false), Ok(*choice));
        }
        let error = serde_json::from_value::<EventChoice>("dead".into()).unwrap_err().to_string();
        assert!(error.contains("died, ended") && error.contains("\"dead\""), "{error}");
    }

    #[test]
    fn unprotected_means_off_and_late_and_nothing_else() {
        let meant: Vec<Verdict> = Verdict::ALL
            .into_iter()
            .filter(|&verdict| VerdictChoice::Unprotected.means(verdict))
            .collect();
        assert_eq!(meant, [Verdict::Off, Verdict::Late]);
        assert!(VerdictChoice::One(Verdict::Local).means(Verdict::Local));
        assert!(!VerdictChoice::One(Verdict::Local).means(Verdict::Off));
    }

    #[test]
    fn urgent_means_what_waits_for_an_answer_and_nothing_else() {
        let meant: Vec<Condition> = Condition::ALL
            .into_iter()
            .filter(|&condition| ConditionChoice::Urgent.means(condition))
            .collect();
        assert_eq!(meant, [Condition::Stuck, Condition::PeerSilent, Condition::Overdue]);
        assert!(ConditionChoice::One(Condition::PeerClosed).means(Condition::PeerClosed));
        assert!(!ConditionChoice::One(Condition::PeerClosed).means(Condition::Stuck));
    }
}
