//! What was looked up or changed lately, in two generations: what is used moves to the young one, and when
//! that is half of the budget, the old one goes. It goes piece by piece, faster than the young one grows: all
//! at once would hold up everyone for many milliseconds.

use std::collections::HashMap;
use std::collections::hash_map;
use std::hash::Hash;

/// Memory of an entry beside its value: key, hash table, bookkeeping.
pub(super) const ENTRY_BYTES: usize = 64;
/// Entries of the generation that goes, for each that comes.
const GOING_STEP: usize = 2;

/// One kind of entries. Values that are changed and not yet in the state file are pending: they stay.
#[derive(Debug)]
pub(super) struct Layer<K, V> {
    pending: HashMap<K, Pending<V>>,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    going: hash_map::IntoIter<K, V>,
}

#[derive(Debug)]
struct Pending<V> {
    value: V,
    /// Group that changed it last.
    group: u64,
}

impl<K, V> Default for Layer<K, V> {
    fn default() -> Layer<K, V> {
        Layer { pending: HashMap::new(), young: HashMap::new(), old: HashMap::new(), going: HashMap::new().into_iter() }
    }
}

impl<K: Hash + Eq + Copy, V: Clone> Layer<K, V> {
    /// The value, and the bytes by which the young generation grew.
    pub(super) fn get(&mut self, key: K, bytes: impl Fn(&V) -> usize) -> Option<(V, usize)> {
        if let Some(pending) = self.pending.get(&key) {
            return Some((pending.value.clone(), 0));
        }
        if let Some(value) = self.young.get(&key) {
            return Some((value.clone(), 0));
        }
        let value = self.old.remove(&key)?;
        let grown = self.grow(key, value.clone(), bytes);
        Some((value, grown))
    }

    pub(super) fn has(&self, key: &K) -> bool {
        self.pending.contains_key(key) || self.young.contains_key(key) || self.old.contains_key(key)
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

    /// The groups up to this one are in the state file. Returns the bytes by which the young generation
    /// grew.
    pub(super) fn settle(&mut self, key: K, through: u64, bytes: impl Fn(&V) -> usize) -> usize {
        if self.pending.get(&key).is_none_or(|pending| pending.group > through) {
            return 0;
        }
        let Some(pending) = self.pending.remove(&key) else { return 0 };
        self.grow(key, pending.value, bytes)
    }

    /// A value that was read. One that is known is newer.
    pub(super) fn insert(&mut self, key: K, value: V, bytes: impl Fn(&V) -> usize) -> usize {
        if self.has(&key) {
            return 0;
        }
        self.grow(key, value, bytes)
    }

    fn grow(&mut self, key: K, value: V, bytes: impl Fn(&V) -> usize) -> usize {
        self.going.by_ref().take(GOING_STEP).for_each(drop);
        let grown = ENTRY_BYTES + bytes(&value);
        self.young.insert(key, value);
        grown
    }

    pub(super) fn forget(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(super) fn age(&mut self) {
        let room = HashMap::with_capacity(self.young.len());
        let young = std::mem::replace(&mut self.young, room);
        self.going = std::mem::replace(&mut self.old, young).into_iter();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_goes_faster_than_the_next_one_comes() {
        let mut layer = Layer::<u32, u32>::default();
        let held = |layer: &Layer<u32, u32>| layer.young.len() + layer.old.len() + layer.going.len();
        for generation in 0..4 {
            for number in 0..100 {
                layer.insert(generation * 100 + number, 0, |_| 0);
                assert!(held(&layer) <= 200, "{} entries in generation {generation}", held(&layer));
            }
            layer.age();
        }
        let (kept, gone) = (layer.get(350, |_| 0), layer.get(250, |_| 0));
        assert_eq!((kept, gone), (Some((0, ENTRY_BYTES)), None));
    }
}
