//! Labels: what each says, and which values it can have. Those that several families share are defined here.

use crate::model::{
    judgement::{death::Cause, idle_limit::MAX_PATHS, verdict::Verdict},
    observed::{setsockopt::SockOpt, socket::Direction},
    table::owner_label::{MAX_OWNERS, OwnerLabel},
};

/// A label of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricLabel {
    /// The name in the exposition format.
    pub name: &'static str,
    /// What its values say.
    pub meaning: &'static str,
    /// The values, or how many there can be.
    pub values: LabelValues,
}

/// Which values a label can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelValues {
    /// Exactly these values.
    Closed(&'static [&'static str]),
    /// Not known before, but never more at a time than this.
    AtMost {
        /// The bound, without the rest.
        n: usize,
        /// What becomes of the rest.
        rest: &'static str,
    },
}

impl LabelValues {
    /// How many there can be.
    pub const fn bound(self) -> usize {
        match self {
            Self::Closed(values) => values.len(),
            Self::AtMost { n, .. } => n,
        }
    }
}

/// The closed set of values that a constant array gives, such as all of an enum:
/// `closed!(Verdict::ALL, it => it.as_str())`. So no value is typed twice.
macro_rules! closed {
    ($all:expr, $one:ident => $value:expr) => {{
        const VALUES: [&str; $all.len()] = {
            let all = $all;
            let mut values = [""; $all.len()];
            let (mut left, mut empty) = (all.as_slice(), values.as_mut_slice());
            while let ([$one, more @ ..], [value, others @ ..]) = (left, empty) {
                *value = $value;
                (left, empty) = (more, others);
            }
            values
        };
        $crate::metrics::label::LabelValues::Closed(&VALUES)
    }};
}
pub(super) use closed;

pub(super) const DIRECTION: MetricLabel = MetricLabel {
    name: "direction",
    meaning: "who sent the SYN: this host (`outbound`) or the peer (`inbound`)",
    values: closed!(Direction::ALL, it => it.as_str()),
};

pub(super) const VERDICT: MetricLabel = MetricLabel {
    name: "verdict",
    meaning: "`protected`: its probes always come before the path's idle limit; `kept`: they do not, but the peer's \
              probes or traffic kept it so far; `late`: keepalive is on, but a probe may come after the limit; `off`: no \
              probe ever goes out; `local`: the peer is on this host",
    values: closed!(Verdict::ALL, it => it.as_str()),
};

pub(super) const CAUSE: MetricLabel = MetricLabel {
    name: "cause",
    meaning: "what the connection died of: `keepalive_timeout` probes went unanswered; \
              `keepalive_reset` a probe was answered by a reset; `idle_drop` the first data after a \
              quiet time met silence or a reset, a middlebox's signature; `user_timeout`; \
              `retransmit_timeout`; `abandoned` this host closed it after waiting, and was never answered; `peer_reset`; `unreachable`; `connect_failed`; `peer_closed` and \
              `local_closed` in order; `local_reset`; `unknown` the kernel did not \
              report its end, or not its reason",
    values: closed!(Cause::ALL, it => it.as_str()),
};

pub(super) const PATH: MetricLabel = MetricLabel {
    name: "path",
    meaning: "the name of the configured path to the peer; empty where there is none, and for peers on \
              this host",
    values: LabelValues::AtMost {
        n: MAX_PATHS + 2,
        rest: "names past the first 13 are summed up in `~other`, so that every sum stays exact",
    },
};

pub(super) const OPTION: MetricLabel = MetricLabel {
    name: "option",
    meaning: "the socket option",
    values: closed!(SockOpt::ALL, it => it.as_str()),
};

const ANY_OWNER: LabelValues = LabelValues::AtMost {
    n: MAX_OWNERS + 1,
    rest: "owners with fewer connections are summed up in one row with `~other` in each of these labels, so \
           that every sum stays exact; `--max-owners` changes the bound",
};

pub(super) const NAMESPACE: MetricLabel = MetricLabel {
    name: OwnerLabel::Namespace.as_str(),
    meaning: "the owner's Kubernetes namespace; empty where there is none, or with the label off by \
              `--owner-labels`",
    values: ANY_OWNER,
};

pub(super) const WORKLOAD: MetricLabel = MetricLabel {
    name: OwnerLabel::Workload.as_str(),
    meaning: "the owner's Kubernetes workload (Deployment, StatefulSet, DaemonSet, Job, CronJob) or \
              service (Compose, Swarm, ECS, Nomad), else its systemd unit",
    values: ANY_OWNER,
};

pub(super) const CONTAINER: MetricLabel = MetricLabel {
    name: OwnerLabel::Container.as_str(),
    meaning: "the owner's container: its name, else the first digits of its id",
    values: ANY_OWNER,
};

pub(super) const PROCESS: MetricLabel = MetricLabel {
    name: OwnerLabel::Process.as_str(),
    meaning: "the name of the process that has the connection open, as the kernel keeps it (15 \
              bytes), escaped; of several owners the foremost (docs/ARCHITECTURE.md); `~unknown` \
              while no owner is known",
    values: ANY_OWNER,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::text::sanitize::OTHER;

    #[test]
    fn a_closed_set_has_the_values_of_its_enum_in_their_order() {
        let LabelValues::Closed(verdicts) = VERDICT.values else { panic!("verdicts are closed") };
        assert_eq!(verdicts, Verdict::ALL.map(Verdict::as_str));
        let reversed = closed!([Direction::Inbound, Direction::Outbound], it => it.as_str());
        assert_eq!(reversed, LabelValues::Closed(&["inbound", "outbound"]));
        assert_ne!(reversed, DIRECTION.values);
    }

    #[test]
    fn what_is_summed_up_says_where() {
        let LabelValues::AtMost { rest, .. } = ANY_OWNER else { panic!("owners are not closed") };
        assert!(rest.contains(OTHER));
    }
}
