//! The last keys of one slot, in generations.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;

use hogflare_catalog::Slot;

use super::file::{Block, Header, KeyFile, Place, name, parse_name};
use super::{GENERATIONS, Key};
use crate::disk::Disk;
use crate::wal::LogError;

/// Keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only keys are hashed");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

type Keys = HashSet<Key, BuildHasherDefault<AsIs>>;

#[derive(Debug, Default)]
pub(super) struct Window {
    /// Oldest first; keys are added to the last.
    generations: VecDeque<Generation>,
    /// Files of generations that are not in the window any more.
    outdated: Vec<u64>,
    written_through: u64,
}

#[derive(Debug)]
struct Generation {
    number: u64,
    created_ms: u64,
    keys: Keys,
    /// Those of the keys that are not in the file yet, in order.
    unwritten: Vec<Key>,
    file: Option<KeyFile>,
}

impl Window {
    pub(super) fn written_through(&self) -> u64 {
        self.written_through
    }

    pub(super) fn keys(&self) -> usize {
        self.generations.iter().map(|generation| generation.keys.len()).sum()
    }

    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.generations.front().map(|generation| generation.created_ms)
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.generations.iter().any(|generation| generation.keys.contains(&key))
    }

    pub(super) fn insert(&mut self, key: Key, generation_keys: usize, now_ms: impl FnOnce() -> u64) {
        if self.generations.back().is_none_or(|generation| generation.keys.len() >= generation_keys) {
            self.begin_generation(now_ms());
        }
        let generation = self.generations.back_mut().expect("one has just begun");
        let is_new = generation.keys.insert(key);
        debug_assert!(is_new, "keys are looked up before they are added");
        generation.unwritten.push(key);
    }

    fn begin_generation(&mut self, created_ms: u64) {
        let number = self.generations.back().map_or(1, |newest| newest.number + 1);
        let generation = Generation { number, created_ms, keys: Keys::default(), unwritten: Vec::new(), file: None };
        self.generations.push_back(generation);
        while self.generations.len() > GENERATIONS {
            let oldest = self.generations.pop_front().expect("there are several");
            self.outdated.extend(oldest.file.map(|_| oldest.number));
        }
    }

    /// See [`super::Dedup::write_through`]. Only the last block says that it covers the log up to the
    /// offset, and the ones before it are synced first.
    pub(super) fn write_through(&mut self, place: &Place<'_>, slot: Slot, log_offset: u64) -> Result<(), LogError> {
        for number in std::mem::take(&mut self.outdated) {
            let path = place.folder.join(name(slot, number));
            // If it comes back after a power failure, it is too old at the next start.
            place.disk.remove(&path).map_err(LogError::io("remove", &path))?;
        }
        let first = self.written_through;
        let last = self.generations.iter().rposition(|generation| !generation.unwritten.is_empty());
        for (index, generation) in self.generations.iter_mut().enumerate() {
            if generation.unwritten.is_empty() {
                continue;
            }
            if generation.file.is_none() {
                let Generation { number: generation_number, created_ms, .. } = *generation;
                let header = Header { slot, generation: generation_number, check: place.check, created_ms };
                generation.file = Some(KeyFile::create(place, &header)?);
            }
            let through = if Some(index) == last { log_offset } else { first };
            let block = Block { first, through, keys: std::mem::take(&mut generation.unwritten) };
            let file = generation.file.as_mut().expect("it was opened above");
            if let Err(error) = file.append(&block) {
                generation.unwritten = block.keys;
                return Err(error);
            }
        }
        self.written_through = log_offset;
        Ok(())
    }
}

/// Reads the newest generations of a slot and removes files that are of no use.
pub(super) fn load(disk: &dyn Disk, folder: &Path, slot: Slot, check: u64, limit: u64) -> Result<Window, LogError> {
    let place = Place { disk, folder, check };
    let names = disk.list(folder).map_err(LogError::io("list", folder))?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| parse_name(name))
        .filter(|(of, _)| *of == slot)
        .map(|(_, number)| number)
        .collect();
    numbers.sort_unstable();
    let outdated = numbers.len().saturating_sub(GENERATIONS);
    let mut window = Window { outdated: numbers.drain(..outdated).collect(), ..Window::default() };
    for number in numbers {
        let name = name(slot, number);
        let Some((file, header, blocks)) = KeyFile::open(&place, &name, limit)? else {
            tracing::warn!(file = name, "ignoring dedup keys of another folder or of an unfinished file");
            window.outdated.push(number);
            continue;
        };
        let through = blocks.iter().map(|block| block.through).max();
        window.written_through = window.written_through.max(through.unwrap_or(0));
        let keys: Keys = blocks.iter().flat_map(|block| block.keys.iter().copied()).collect();
        let created_ms = header.created_ms;
        window.generations.push_back(Generation { number, created_ms, keys, unwritten: Vec::new(), file: Some(file) });
    }
    Ok(window)
}
