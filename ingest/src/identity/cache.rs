//! What was looked up or changed lately, in two generations: what is used moves to the young one, and when
//! that is half of the budget, the old one goes.

use std::collections::HashMap;
use std::hash::Hash;

/// Memory of an entry beside its value: key, hash table, bookkeeping.
pub(super) const ENTRY_BYTES: usize = 64;

/// One kind of entries. Values that are changed and not yet in the state file are pending: they stay.
#[derive(Debug)]
pub(super) struct Layer<K, V> {
    pending: HashMap<K, Pending<V>>,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

#[derive(Debug)]
struct Pending<V> {
    value: V,
    /// Group that changed it last.
    group: u64,
}

impl<K, V> Default for Layer<K, V> {
    fn default() -> Layer<K, V> {
        Layer { pending: HashMap::new(), young: HashMap::new(), old: HashMap::new() }
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
        let grown = ENTRY_BYTES + bytes(&value);
        self.young.insert(key, value.clone());
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
        let grown = ENTRY_BYTES + bytes(&pending.value);
        self.young.insert(key, pending.value);
        grown
    }

    /// A value that was read. One that is known is newer.
    pub(super) fn insert(&mut self, key: K, value: V, bytes: impl Fn(&V) -> usize) -> usize {
        if self.has(&key) {
            return 0;
        }
        let grown = ENTRY_BYTES + bytes(&value);
        self.young.insert(key, value);
        grown
    }

    pub(super) fn forget(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(super) fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }
}
