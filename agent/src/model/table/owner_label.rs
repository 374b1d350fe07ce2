//! Owners as metrics name them: which labels are on, what stands in them, and which owners have rows
//! of their own while the budget lasts.

use crate::model::{
    observed::{owner_identity::NamedOwner, socket::Comm},
    text::{
        closed_set::closed_set,
        sanitize::{OTHER, UNKNOWN},
    },
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

closed_set! {
    /// A label that names the owner.
    pub enum OwnerLabel {
        /// Kubernetes namespace
        Namespace = "namespace",
        /// Kubernetes workload, the service of Compose, Swarm, ECS or Nomad, else the systemd unit
        Workload = "workload",
        /// Container
        Container = "container",
        /// The process's name
        Process = "process",
    }
}

/// Values of the owner labels, in the order of [`OwnerLabel::ALL`]; empty where there is nothing to
/// say, or the label is off: Prometheus holds that to be no label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerName(Arc<[Box<str>; 4]>);

/// Longer values are cut: Kubernetes allows 63 bytes for most names.
const MAX_VALUE_LEN: usize = 63;

impl OwnerName {
    /// Bytes of a row with it, about.
    pub fn row_bytes(&self) -> usize {
        /// Of all that is not its values: the names of family and labels, other values, the number.
        const FRAME: usize = 130;
        // In the exposition a `\` is two.
        let len = |value: &str| value.len() + value.matches('\\').count();
        self.values().into_iter().map(len).sum::<usize>() + FRAME
    }

    /// The values, as they are exported.
    pub fn values(&self) -> [&str; 4] {
        self.0.each_ref().map(|value| &**value)
    }
}

/// Which owner labels are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerLabels([bool; 4]);

impl OwnerLabels {
    /// Turns on these labels and no others.
    pub fn new(on: &[OwnerLabel]) -> Self {
        Self(OwnerLabel::ALL.map(|label| on.contains(&label)))
    }

    /// What metrics say of an owner.
    pub fn of(self, NamedOwner { process, identity }: &NamedOwner) -> OwnerName {
        if *process == Comm::default() && identity.is_none() {
            return self.all(UNKNOWN);
        }
        let identity = identity.as_deref();
        let part = |label: OwnerLabel| match label {
            OwnerLabel::Namespace => identity?.namespace.as_deref(),
            OwnerLabel::Workload => identity?.workload.as_deref().or(identity?.unit.as_deref()),
            OwnerLabel::Container => identity?.container.as_deref(),
            OwnerLabel::Process => None,
        };
        self.values(|label| match label {
            // A name of 15 bytes is escaped whole: cut, two might become one.
            OwnerLabel::Process => process.escaped().into(),
            label => {
                let value = part(label).unwrap_or_default();
                value.get(..value.floor_char_boundary(MAX_VALUE_LEN)).unwrap_or_default().into()
            }
        })
    }

    /// What metrics say of an owner who was named by other labels: what these leave out goes, what those left out is
    /// not known any more.
    pub(super) fn reduced(self, name: &OwnerName) -> OwnerName {
        let [namespace, workload, container, process] = name.values();
        self.values(|label| {
            match label {
                OwnerLabel::Namespace => namespace,
                OwnerLabel::Workload => workload,
                OwnerLabel::Container => container,
                OwnerLabel::Process => process,
            }
            .into()
        })
    }

    /// Everything past the budget.
    pub fn other(self) -> OwnerName {
        self.all(OTHER)
    }

    fn all(self, value: &str) -> OwnerName {
        self.values(|_| value.into())
    }

    fn values(self, value: impl Fn(OwnerLabel) -> Box<str>) -> OwnerName {
        let mut values = OwnerLabel::ALL.map(|_| Box::default());
        for ((place, label), on) in values.iter_mut().zip(OwnerLabel::ALL).zip(self.0) {
            if on {
                *place = value(label);
            }
        }
        OwnerName(Arc::new(values))
    }
}

impl Default for OwnerLabels {
    fn default() -> Self {
        Self::new(&OwnerLabel::ALL)
    }
}

/// How much of metrics owners may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerBudget {
    /// Owners with rows of their own.
    pub n_owners: usize,
    /// Bytes of their rows, about: where names are long, fewer owners have their own.
    pub n_bytes: usize,
}

impl OwnerBudget {
    /// For this many owners; more of them may take more bytes.
    pub fn of(n_owners: usize) -> Self {
        const DEFAULT: OwnerBudget = OwnerBudget { n_owners: MAX_OWNERS, n_bytes: 90_000 };
        let n_bytes = DEFAULT.n_bytes.max(n_owners.saturating_mul(DEFAULT.n_bytes / MAX_OWNERS));
        Self { n_owners, n_bytes }
    }
}

/// The default bound of owners that have rows of their own.
pub const MAX_OWNERS: usize = 60;

impl Default for OwnerBudget {
    /// With the families of counters a scrape stays under 200 KB, whatever the names.
    fn default() -> Self {
        Self::of(MAX_OWNERS)
    }
}

/// What an owner would take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claim {
    /// Established connections that it has now.
    pub n_sockets: u64,
    /// Series that it would take.
    pub n_rows: usize,
}

impl OwnerBudget {
    /// Which owners have rows of their own: those with most connections.
    pub fn shown(self, claims: BTreeMap<OwnerName, Claim>) -> BTreeSet<OwnerName> {
        let mut ranked: Vec<(OwnerName, Claim)> = claims.into_iter().collect();
        // The rest is in the order of names, for what is shown should not change for no reason.
        ranked.sort_by_key(|(_, claim)| Reverse(claim.n_sockets));
        let mut rest = self.n_bytes;
        let fits = |(owner, claim): (OwnerName, Claim)| {
            rest = rest.checked_sub(owner.row_bytes().saturating_mul(claim.n_rows))?;
            Some(owner)
        };
        ranked.into_iter().take(self.n_owners).map_while(fits).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::owner_identity::Identity;

    fn whose(name: &[u8], identity: Option<Identity>) -> NamedOwner {
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name);
        NamedOwner { process: Comm::new(bytes), identity: identity.map(Arc::new) }
    }

    fn pod() -> Identity {
        Identity {
            unit: Some("kubelet.service".into()),
            container: Some("server".into()),
            namespace: Some("shop".into()),
            workload: Some("web".into()),
            ..Identity::default()
        }
    }

    #[test]
    fn each_label_says_its_part_and_one_that_is_off_says_nothing() {
        let all = OwnerLabels::new(&OwnerLabel::ALL);
        let nginx = whose(b"nginx", Some(pod()));
        assert_eq!(all.of(&nginx).values(), ["shop", "web", "server", "nginx"]);
        let some = OwnerLabels::new(&[OwnerLabel::Workload, OwnerLabel::Namespace]);
        assert_eq!(some.of(&nginx).values(), ["shop", "web", "", ""]);
        let unit = Identity { unit: Some("db.service".into()), ..Identity::default() };
        assert_eq!(all.of(&whose(b"db", Some(unit))).values(), ["", "db.service", "", "db"]);
        assert_eq!(all.of(&whose(b"db", None)).values(), ["", "", "", "db"]);
        assert_eq!(all.of(&NamedOwner::default()).values(), [UNKNOWN; 4]);
        assert_eq!(some.other().values(), [OTHER, OTHER, "", ""]);
    }

    #[test]
    fn a_long_name_is_cut_where_a_character_ends() {
        let workload = Some("é".repeat(120).into());
        let long = whose(b"x", Some(Identity { workload, ..Identity::default() }));
        let owner = OwnerLabels::new(&OwnerLabel::ALL).of(&long);
        assert_eq!(owner.values()[1], "é".repeat(31));
    }

    #[test]
    fn those_with_most_connections_are_shown_while_number_and_bytes_last() {
        let labels = OwnerLabels::new(&OwnerLabel::ALL);
        let owner = |n: u8| labels.of(&whose(&[b'a' + n], None));
        let claims: BTreeMap<OwnerName, Claim> = (0..26)
            .map(|n| (owner(n), Claim { n_sockets: u64::from(n % 13), n_rows: 2 }))
            .collect();
        let shown = OwnerBudget { n_owners: 3, n_bytes: 1_000_000 }.shown(claims.clone());
        assert_eq!(shown, [owner(12), owner(25), owner(11)].into());
        let shown = OwnerBudget { n_owners: 26, n_bytes: 600 }.shown(claims);
        assert_eq!(shown, [owner(12), owner(25)].into(), "two rows of 131 bytes each");
    }
}
