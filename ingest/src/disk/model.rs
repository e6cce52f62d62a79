//! A disk in memory that forgets what was not synced.
//!
//! At a power failure each unsynced operation survives or not, each for itself: that is a superset of
//! what reordering by a real disk can leave behind. A write may also survive in part, by sectors.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;

use super::{Disk, DiskFile, Durability};

const SECTOR_BYTES: usize = 512;

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    files: Vec<Contents>,
    /// Changes and syncs so far.
    operations: u64,
    syncs: u64,
    faults: Faults,
}

/// What shall go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Power fails in this operation, counted from 0; everything after it fails too.
    pub power_loss_at: Option<u64>,
    /// The next sync of a file fails.
    pub fail_sync: bool,
    /// The next write to a file fails.
    pub fail_write: bool,
    /// Syncs do nothing and say that all is well.
    pub lying_syncs: bool,
    /// Creating a file beyond this sum of sizes fails for want of space.
    pub capacity_bytes: Option<u64>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
}

#[derive(Debug, Default)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

impl ModelDisk {
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    pub(crate) fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Changes the bytes of a file as a failing medium would.
    pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        let id = state.names[path];
        change(&mut state.files[id].now);
        state.files[id].durable = state.files[id].now.clone();
    }

    /// The power is off and on again.
    pub(crate) fn lose_power(&self, rng: &mut StdRng) {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.faults.power_loss_at = None;
        for change in std::mem::take(&mut state.unsynced_names) {
            if rng.random_bool(0.5) {
                change.apply(&mut state.durable_names);
            }
        }
        state.names = state.durable_names.clone();
        for file in &mut state.files {
            for change in std::mem::take(&mut file.unsynced) {
                change.survive(&mut file.durable, rng);
            }
            file.now = file.durable.clone();
        }
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            NameChange::Link(path, id) => names.insert(path, id),
            NameChange::Unlink(path) => names.remove(&path),
        };
    }

    fn folder(&self) -> Option<&Path> {
        match self {
            NameChange::Link(path, _) | NameChange::Unlink(path) => path.parent(),
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(offset, written) => {
                let end = offset + written.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset..end].copy_from_slice(written);
            }
            Change::Resize(size) => bytes.resize(*size, 0),
        }
    }

    fn survive(self, durable: &mut Vec<u8>, rng: &mut StdRng) {
        match (rng.random_range(0..3), self) {
            (0, _) => {}
            (1, Change::Write(offset, written)) => {
                for (index, sector) in written.chunks(SECTOR_BYTES).enumerate() {
                    if rng.random_bool(0.7) {
                        Change::Write(offset + index * SECTOR_BYTES, sector.to_vec()).apply(durable);
                    }
                }
            }
            (_, change) => change.apply(durable),
        }
    }
}

impl State {
    /// Counts an operation and says whether the power is still on.
    fn operate(&mut self) -> io::Result<()> {
        let operation = self.operations;
        self.operations += 1;
        match self.faults.power_loss_at {
            Some(at) if operation >= at => Err(io::Error::other("power is off")),
            _ => Ok(()),
        }
    }

    fn change_name(&mut self, change: NameChange) {
        change.clone().apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    fn change_file(&mut self, id: usize, change: Change) {
        change.apply(&mut self.files[id].now);
        self.files[id].unsynced.push(change);
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|id| self.files[*id].now.len() as u64).sum()
    }
}

impl Disk for ModelDisk {
    fn durability(&self) -> Durability {
        Durability::Fsync
    }

    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create(&self, path: &Path, allocate_bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        let powered = state.operate();
        if state.faults.capacity_bytes.is_some_and(|capacity| state.used_bytes() + allocate_bytes > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = state.files.len();
        state.files.push(Contents::default());
        state.change_name(NameChange::Link(path.to_owned(), id));
        state.change_file(id, Change::Resize(usize::try_from(allocate_bytes).expect("test files are small")));
        powered.map(|()| Box::new(ModelFile { disk: self.clone(), id }) as Box<dyn DiskFile>)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let id = *self.state.lock().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(ModelFile { disk: self.clone(), id }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let powered = state.operate();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Unlink(path.to_owned()));
        powered
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate()?;
        if state.faults.lying_syncs {
            return Ok(());
        }
        let changes = std::mem::take(&mut state.unsynced_names);
        let (inside, outside) = changes.into_iter().partition(|change| change.folder() == Some(folder));
        state.unsynced_names = outside;
        let inside: Vec<NameChange> = inside;
        inside.into_iter().for_each(|change| change.apply(&mut state.durable_names));
        Ok(())
    }
}

#[derive(Debug)]
struct ModelFile {
    disk: ModelDisk,
    id: usize,
}

impl DiskFile for ModelFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().files[self.id].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state.lock();
        let from = usize::try_from(offset).expect("test files are small");
        let bytes = state.files[self.id].now.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let powered = state.operate();
        if std::mem::take(&mut state.faults.fail_write) {
            return Err(io::Error::other("write failed"));
        }
        // The write during which the power fails may still reach the disk.
        state.change_file(
            self.id,
            Change::Write(usize::try_from(offset).expect("test files are small"), bytes.to_vec()),
        );
        powered
    }

    fn truncate(&mut self, size_bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let powered = state.operate();
        state.change_file(self.id, Change::Resize(usize::try_from(size_bytes).expect("test files are small")));
        powered
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.operate()?;
        if std::mem::take(&mut state.faults.fail_sync) {
            return Err(io::Error::other("sync failed"));
        }
        if !state.faults.lying_syncs {
            state.syncs += 1;
            let file = &mut state.files[self.id];
            file.durable.clone_from(&file.now);
            file.unsynced.clear();
        }
        Ok(())
    }
}
