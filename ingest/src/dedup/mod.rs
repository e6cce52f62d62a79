//! Which events were stored lately, so that a retry does not store them again.
//!
//! The key is a 64-bit keyed hash of (project, uuid, event, distinct id), kept whole: two different
//! events share one about once in 2 × 10¹² events at a full window. The window is a count of keys, in
//! generations; each (slot) has its own, a lookup asks both, an insertion goes to the row's.
//!
//! Keys are kept in files beside the log, in blocks that name the log offsets they cover. A segment
//! may go only when its keys are in such a block; after a restart the frames behind the last block are
//! read again.

mod file;
#[cfg(test)]
mod tests;
mod window;

use std::hash::Hasher;
use std::path::PathBuf;
use std::sync::Arc;

use hogflare_catalog::tables::{EventRow, SLOTS};
use hogflare_catalog::{Clock, Slot};
use siphasher::sip::SipHasher13;

use crate::disk::Disk;
use crate::wal::LogError;
use window::Window;

/// Keys of a generation, and generations of a window: 8 Mi keys for each slot.
pub(crate) const GENERATION_KEYS: usize = 1 << 20;
const GENERATIONS: usize = 8;

/// The key of an event; never 0.
pub(crate) type Key = u64;

/// Makes keys. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Hash {
    hasher: SipHasher13,
}

impl Hash {
    pub(crate) fn new(hash_key: &[u8; 16]) -> Hash {
        Hash { hasher: SipHasher13::new_with_key(hash_key) }
    }

    /// The key of a row; none if its uuid is nil.
    pub(crate) fn of_row(&self, row: &EventRow<'_>) -> Option<Key> {
        self.of(row.api_key, row.uuid, row.event, row.distinct_id)
    }

    pub(crate) fn of(&self, project: &str, uuid: &str, event: &str, distinct_id: &str) -> Option<Key> {
        if uuid.is_empty() || uuid.bytes().all(|byte| matches!(byte, b'0' | b'-')) {
            return None;
        }
        let mut hasher = self.hasher;
        for field in [project, uuid, event, distinct_id] {
            hasher.write(&(field.len() as u32).to_le_bytes());
            hasher.write(field.as_bytes());
        }
        Some(hasher.finish().max(1))
    }

    /// Tells files made under another hash key.
    fn check(&self) -> u64 {
        let mut hasher = self.hasher;
        hasher.write(b"hogflare dedup keys");
        hasher.finish()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct DedupSettings {
    pub(crate) folder: PathBuf,
    pub(crate) hash_key: [u8; 16],
    /// [`GENERATION_KEYS`], or less in tests.
    pub(crate) generation_keys: usize,
}

/// The windows of both slots. Not shared: the writer owns it.
#[derive(Debug)]
pub(crate) struct Dedup {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    settings: DedupSettings,
    check: u64,
    windows: [Window; SLOTS],
    synced_through: u64,
}

impl Dedup {
    /// Reads the windows from their files. `log_end` is where the log ends, if there is one: keys of
    /// frames behind it are forgotten, because those frames were lost.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        settings: DedupSettings,
        log_end: Option<u64>,
    ) -> Result<Dedup, LogError> {
        disk.create_folder(&settings.folder).map_err(LogError::io("create", &settings.folder))?;
        let check = Hash::new(&settings.hash_key).check();
        let limit = log_end.unwrap_or(u64::MAX);
        let load = |slot: Slot| window::load(disk.as_ref(), &settings.folder, slot, check, limit);
        let windows = [load(Slot::Main)?, load(Slot::Late)?];
        Ok(Dedup { disk, clock, settings, check, windows, synced_through: 0 })
    }

    /// Log offset up to which the files of a slot cover the log.
    pub(crate) fn written_through(&self, slot: Slot) -> u64 {
        self.windows[slot.index()].written_through()
    }

    /// Log offset up to which no frame is needed any more for its keys.
    pub(crate) fn synced_through(&self) -> u64 {
        self.synced_through
    }

    pub(crate) fn keys(&self) -> usize {
        self.windows.iter().map(Window::keys).sum()
    }

    pub(crate) fn contains(&self, key: Key) -> bool {
        self.windows.iter().any(|window| window.contains(key))
    }

    /// Adds a key that the window does not contain. The oldest generation goes when there are too many.
    pub(crate) fn insert(&mut self, slot: Slot, key: Key) {
        let now_ms = || u64::try_from(self.clock.now_ms()).unwrap_or(0);
        self.windows[slot.index()].insert(key, self.settings.generation_keys, now_ms);
    }

    /// Brings all keys so far into the files, durably. They must be those of the log up to an offset,
    /// which must be durable. On [`LogError::Full`] it may be tried again later.
    pub(crate) fn write_through(&mut self, log_offset: u64) -> Result<(), LogError> {
        let place = file::Place { disk: self.disk.as_ref(), folder: &self.settings.folder, check: self.check };
        for slot in Slot::ALL {
            self.windows[slot.index()].write_through(&place, slot, log_offset)?;
        }
        self.synced_through = log_offset;
        Ok(())
    }

    /// How far back the window reaches, if it is full, or else since when it is filled, in seconds.
    pub(crate) fn age_seconds(&self) -> f64 {
        let oldest_ms = self.windows[Slot::Main.index()].oldest_ms();
        let now_ms = u64::try_from(self.clock.now_ms()).unwrap_or(0);
        oldest_ms.map_or(0.0, |oldest| now_ms.saturating_sub(oldest) as f64 / 1_000.0)
    }
}
