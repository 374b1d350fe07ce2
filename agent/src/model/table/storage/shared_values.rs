//! Values that many slots share, each kept once, by number, for as long as one of them has it.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::{BuildHasher as _, Hash};

/// Values in use by number. The holder of a number gives it back.
#[derive(Debug)]
pub(super) struct Stock<T> {
    /// Each with the number of its holders.
    values: Vec<(T, u32)>,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    free: Vec<u32>,
}

impl<T> Default for Stock<T> {
    fn default() -> Self {
        let (values, free) = (Vec::new(), Vec::new());
        Self { values, numbers: HashTable::new(), hasher: DefaultHashBuilder::default(), free }
    }
}

impl<T: Copy + Default + Eq + Hash> Stock<T> {
    /// The number of a value, to be given back.
    pub(super) fn take(&mut self, value: T) -> u32 {
        let Self { values, numbers, hasher, free } = self;
        let hash = hasher.hash_one(value);
        let is_it = |&number: &u32| values.get(index(number)).is_some_and(|it| it.0 == value);
        if let Some(&number) = numbers.find(hash, is_it) {
            if let Some((_, n_uses)) = values.get_mut(index(number)) {
                *n_uses += 1;
            }
            return number;
        }
        let number = free.pop().unwrap_or_else(|| {
            values.push((value, 0));
            // There are no more values than slots, whose numbers are u32 too.
            u32::try_from(values.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = values.get_mut(index(number)) {
            *place = (value, 1);
        }
        let hash_of =
            |&number: &u32| hasher.hash_one(values.get(index(number)).map_or(value, |it| it.0));
        numbers.insert_unique(hash, number, hash_of);
        number
    }

    /// The number of `value` instead of `number`: mostly it is the same.
    pub(super) fn exchange(&mut self, number: u32, value: T) -> u32 {
        if self.values.get(index(number)).is_some_and(|(held, _)| *held == value) {
            return number;
        }
        self.give_back(number);
        self.take(value)
    }

    /// Gives a number back.
    pub(super) fn give_back(&mut self, number: u32) {
        let Some((value, n_uses)) = self.values.get_mut(index(number)) else {
            return;
        };
        *n_uses = n_uses.saturating_sub(1);
        if *n_uses == 0 {
            let hash = self.hasher.hash_one(*value);
            if let Ok(entry) = self.numbers.find_entry(hash, |&found| found == number) {
                entry.remove();
                self.free.push(number);
            }
        }
    }

    /// The value of a number.
    pub(super) fn get(&self, number: u32) -> T {
        self.values.get(index(number)).map(|(value, _)| *value).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.numbers.len(), self.values.len())
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::Stock;

    #[test]
    fn a_value_has_one_number_for_as_long_as_it_is_used() {
        let mut stock = Stock::default();
        let (first, again) = (stock.take("psql"), stock.take("psql"));
        assert_eq!(first, again);
        assert_ne!(stock.take("redis"), first);
        assert_eq!(stock.exchange(first, "psql"), first);
        stock.give_back(first);
        assert_eq!(stock.get(first), "psql");
        let renamed = stock.exchange(again, "mysql");
        assert_eq!((stock.get(renamed), stock.len()), ("mysql", (2, 2)));
    }

    #[test]
    fn memory_follows_what_is_in_use_not_what_has_been() {
        let mut stock = Stock::default();
        for value in 0..100_000 {
            let number = stock.take(value);
            stock.give_back(number);
        }
        assert_eq!(stock.len(), (0, 1));
    }
}
