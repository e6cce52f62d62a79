//! What was looked up or changed lately, in two generations: what is used moves to the young one, and when
//! that is half of the budget, the old one goes. It goes piece by piece, faster than the young one grows: all
//! at once would hold up everyone for many milliseconds.

use std::collections::HashMap;
use std::collections::hash_map;
use std::hash::Hash;

use ahash::RandomState;

/// Entries of the generation that goes, for each that comes.
const GOING_STEP: usize = 2;

/// Memory of an entry, in bytes: key, value, their share of the hash table, and what the value points to.
pub(super) trait Weight {
    fn bytes(&self) -> usize;
}

/// One kind of entries. Values that are changed and not yet in the state file are pending: they stay, beyond
/// the budget.
#[derive(Debug)]
pub(super) struct Layer<K, V> {
    pending: HashMap<K, Pending<V>, RandomState>,
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    going: hash_map::IntoIter<K, V>,
    young_bytes_max: usize,
    young_bytes: usize,
    /// The last group whose changes may be in the young, and in the old generation.
    changed: [u64; 2],
    /// Values read from the state file before this group was in it may be outdated: a newer one was here
    /// and is not any more.
    forgotten_through: u64,
}

#[derive(Debug)]
struct Pending<V> {
    value: V,
    /// Group that changed it last.
    group: u64,
}

impl<K: Hash + Eq + Copy, V: Clone + Weight> Layer<K, V> {
    pub(super) fn new(bytes_max: usize) -> Layer<K, V> {
        Layer {
            pending: HashMap::default(),
            young: HashMap::default(),
            old: HashMap::default(),
            going: HashMap::new().into_iter(),
            young_bytes_max: bytes_max / 2,
            young_bytes: 0,
            changed: [0; 2],
            forgotten_through: 0,
        }
    }

    pub(super) fn get(&mut self, key: K) -> Option<V> {
        let here = self.pending.get(&key).map(|pending| &pending.value).or_else(|| self.young.get(&key));
        if let Some(value) = here {
            return Some(value.clone());
        }
        let value = self.old.remove(&key)?;
        self.grow(key, value.clone());
        Some(value)
    }

    pub(super) fn has(&self, key: &K) -> bool {
        self.peek(key).is_some()
    }

    pub(super) fn peek(&self, key: &K) -> Option<&V> {
        let pending = self.pending.get(key).map(|pending| &pending.value);
        pending.or_else(|| self.young.get(key)).or_else(|| self.old.get(key))
    }

    /// A value that was changed by a group: it stays until that is settled.
    pub(super) fn change(&mut self, key: K, value: V, group: u64) {
        self.young.remove(&key);
        self.old.remove(&key);
        self.pending.insert(key, Pending { value, group });
    }

    /// The groups up to this one are in the state file.
    pub(super) fn settle(&mut self, key: K, through: u64) {
        if self.pending.get(&key).is_none_or(|pending| pending.group > through) {
            return;
        }
        let Some(pending) = self.pending.remove(&key) else { return };
        self.changed[0] = self.changed[0].max(through);
        self.grow(key, pending.value);
    }

    /// A value that was read when the groups up to `settled` were in the state file. One that is known is newer.
    pub(super) fn insert(&mut self, key: K, value: V, settled: u64) {
        if settled >= self.forgotten_through && !self.has(&key) {
            self.grow(key, value);
        }
    }

    pub(super) fn forget(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    fn grow(&mut self, key: K, value: V) {
        self.going.by_ref().take(GOING_STEP).for_each(drop);
        self.young_bytes += value.bytes();
        self.young.insert(key, value);
        if self.young_bytes > self.young_bytes_max {
            self.age();
        }
    }

    fn age(&mut self) {
        let room = HashMap::with_capacity_and_hasher(self.young.len(), RandomState::default());
        let young = std::mem::replace(&mut self.young, room);
        self.going = std::mem::replace(&mut self.old, young).into_iter();
        self.young_bytes = 0;
        self.forgotten_through = self.forgotten_through.max(self.changed[1]);
        self.changed = [0, self.changed[0].max(self.changed[1])];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY_BYTES: usize = 40;

    impl Weight for u32 {
        fn bytes(&self) -> usize {
            ENTRY_BYTES
        }
    }

    fn of_generations(entries: usize) -> Layer<u32, u32> {
        Layer::new(2 * (entries * ENTRY_BYTES - 1))
    }

    #[test]
    fn a_generation_goes_faster_than_the_next_one_comes() {
        let mut layer = of_generations(100);
        let held = |layer: &Layer<u32, u32>| layer.young.len() + layer.old.len() + layer.going.len();
        for number in 0..400 {
            layer.insert(number, 0, 0);
            assert!(held(&layer) <= 200, "{} entries after {number}", held(&layer));
        }
        assert_eq!((layer.get(350), layer.get(250)), (Some(0), None));
    }

    /// What was read before a change must not come back when the change is forgotten.
    #[test]
    fn nothing_outdated_is_added() {
        let mut layer = of_generations(10);
        layer.change(1, 12, 7);
        layer.settle(1, 6);
        layer.settle(1, 7);
        for number in 2..40 {
            layer.insert(1, 11, 6);
            assert_ne!(layer.peek(&1), Some(&11), "after {number}: 12 is in the file since group 7");
            layer.insert(number, 0, 6);
        }
        layer.insert(1, 12, 7);
        assert_eq!(layer.get(1), Some(12));
    }
}
