//! Every owner in use, once, by number. So a socket holds two bytes of its owner's names,
//! and two sockets of one owner are counted together without comparing names.

use super::owner_label::{OwnerLabels, OwnerName};
use crate::model::observed::owner_identity::NamedOwner;
use std::collections::HashMap;

/// The number of an owner in a [`OwnerNumbers`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerNumber(u16);

impl OwnerNumber {
    /// The number of a socket without an owner.
    pub const NOBODY: Self = Self(0);
}

/// Owners that came when every number was taken: metrics call them `~other`.
const CROWD: OwnerNumber = OwnerNumber(1);

#[derive(Debug)]
struct NumberedOwner {
    whose: NamedOwner,
    /// As metrics name it.
    name: OwnerName,
    n_uses: u32,
}

/// Owners in use by number. The holder of a number gives it back.
#[derive(Debug)]
pub(super) struct OwnerNumbers {
    labels: OwnerLabels,
    entries: Vec<Option<NumberedOwner>>,
    numbers: HashMap<NamedOwner, OwnerNumber>,
    free: Vec<OwnerNumber>,
}

impl OwnerNumbers {
    pub(super) fn new(labels: OwnerLabels) -> Self {
        let mut roll =
            Self { labels, entries: Vec::new(), numbers: HashMap::new(), free: Vec::new() };
        // These two stay: 0 is nobody, then the crowd.
        roll.enter(NamedOwner::default(), labels.of(&NamedOwner::default()));
        roll.entries.push(Some(NumberedOwner {
            whose: NamedOwner::default(),
            name: labels.other(),
            n_uses: 1,
        }));
        roll
    }

    /// The owner's number, to be given back.
    pub(super) fn take(&mut self, whose: NamedOwner) -> OwnerNumber {
        if let Some(&number) = self.numbers.get(&whose) {
            return self.take_again(number);
        }
        let name = self.labels.of(&whose);
        self.enter(whose, name)
    }

    fn enter(&mut self, whose: NamedOwner, name: OwnerName) -> OwnerNumber {
        let new = || u16::try_from(self.entries.len()).ok().map(OwnerNumber);
        let Some(number) = self.free.pop().or_else(new) else {
            return self.take_again(CROWD);
        };
        if index(number) == self.entries.len() {
            self.entries.push(None);
        }
        self.numbers.insert(whose.clone(), number);
        if let Some(entry) = self.entry_mut(number) {
            *entry = Some(NumberedOwner { whose, name, n_uses: 1 });
        }
        number
    }

    /// The same number once more.
    pub(super) fn take_again(&mut self, number: OwnerNumber) -> OwnerNumber {
        if let Some(Some(entry)) = self.entry_mut(number) {
            entry.n_uses += 1;
        }
        number
    }

    /// Gives a number back.
    pub(super) fn give_back(&mut self, number: OwnerNumber) {
        let Some(place) = self.entry_mut(number) else {
            return;
        };
        let is_last = place.as_mut().is_some_and(|entry| {
            entry.n_uses -= 1;
            entry.n_uses == 0
        });
        if is_last && let Some(NumberedOwner { whose, .. }) = place.take() {
            self.numbers.remove(&whose);
            self.free.push(number);
        }
    }

    /// The owner with this number.
    pub(super) fn get(&self, number: OwnerNumber) -> Option<&NamedOwner> {
        self.entries.get(index(number))?.as_ref().map(|entry| &entry.whose)
    }

    /// How metrics name it.
    pub(super) fn name(&self, number: OwnerNumber) -> Option<&OwnerName> {
        self.entries.get(index(number))?.as_ref().map(|entry| &entry.name)
    }

    /// Names every owner by these labels from now on.
    pub(super) fn relabel(&mut self, labels: OwnerLabels) {
        self.labels = labels;
        for (place, entry) in self.entries.iter_mut().enumerate() {
            if let Some(entry) = entry {
                let is_crowd = place == index(CROWD);
                entry.name = if is_crowd { labels.other() } else { labels.of(&entry.whose) };
            }
        }
    }

    /// How metrics name any owner.
    pub(super) const fn labels(&self) -> OwnerLabels {
        self.labels
    }

    fn entry_mut(&mut self, number: OwnerNumber) -> Option<&mut Option<NumberedOwner>> {
        self.entries.get_mut(index(number))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}

fn index(OwnerNumber(number): OwnerNumber) -> usize {
    usize::from(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::{owner_identity::Identity, socket::Comm};
    use std::sync::Arc;

    fn named(name: &[u8]) -> NamedOwner {
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name);
        NamedOwner { process: Comm::new(bytes), identity: None }
    }

    #[test]
    fn one_owner_has_one_number_for_as_long_as_it_is_used() {
        let mut roll = OwnerNumbers::new(OwnerLabels::default());
        let unit = Arc::new(Identity { unit: Some("db.service".into()), ..Identity::default() });
        let in_unit = NamedOwner { identity: Some(unit), ..named(b"db") };
        let (first, again) = (roll.take(in_unit.clone()), roll.take(in_unit.clone()));
        assert_eq!(first, again);
        assert_ne!(roll.take(named(b"db")), first, "of another unit, or of none");
        assert_eq!(roll.get(first), Some(&in_unit));
        roll.give_back(first);
        assert_eq!(roll.get(first), Some(&in_unit), "the other use is left");
        roll.give_back(first);
        assert_eq!(roll.get(first), None);
        assert_eq!(roll.take(named(b"web")), first, "numbers are used again");
    }

    #[test]
    fn nobody_has_a_number_that_is_never_given_away() {
        let mut roll = OwnerNumbers::new(OwnerLabels::default());
        let nobody = roll.take(NamedOwner::default());
        assert_eq!(nobody, OwnerNumber::default());
        roll.give_back(nobody);
        assert_eq!(roll.get(nobody), Some(&NamedOwner::default()));
        assert_ne!(roll.take(named(b"web")), nobody);
    }

    #[test]
    fn memory_follows_what_is_in_use_not_what_has_been() {
        let mut roll = OwnerNumbers::new(OwnerLabels::default());
        for n in 0..100_000_u32 {
            let number = roll.take(named(&n.to_ne_bytes()));
            roll.give_back(number);
        }
        assert_eq!((roll.len(), roll.entries.len()), (1, 3));
    }

    #[test]
    fn an_owner_without_a_free_number_is_one_of_the_others_until_some_are_free() {
        let mut roll = OwnerNumbers::new(OwnerLabels::default());
        let numbers: Vec<OwnerNumber> =
            (0..70_000).map(|n| roll.take(named(n.to_string().as_bytes()))).collect();
        assert_eq!(numbers.iter().filter(|&&number| number == CROWD).count(), 70_000 - 65_534);
        assert_eq!(roll.name(CROWD), Some(&OwnerLabels::default().other()));
        for number in numbers {
            roll.give_back(number);
        }
        assert_eq!(roll.len(), 1);
        assert_ne!(roll.take(named(b"web")), CROWD);
    }
}
