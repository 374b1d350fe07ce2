//! Values that options take: the names of the model's closed sets, each with its line of help.

use crate::model::{
    judgement::verdict::Verdict,
    observed::socket::{Direction, State},
    table::{happening::EventName, owner_label::OwnerLabel},
};
use clap::{ValueEnum, builder::PossibleValue};

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

choices!(State, |_| None);

choices!(EventName, |name| Some(match name {
    EventName::Opened => "A connection is established",
    EventName::Setting => "A setsockopt call of an option that decides about keepalive",
    EventName::Changed => "A setting that changed without a setsockopt call",
    EventName::ProbeSent => "A keepalive probe went out",
    EventName::ProbeAnswered => "Probes were answered",
    EventName::TimerFired => "The keepalive timer ran and no probe went out",
    EventName::QuietSurvived => "A connection went on after a long quiet time",
    EventName::VerdictChanged => "A setting changed, and with it the verdict",
    EventName::Died => "A connection ended",
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
