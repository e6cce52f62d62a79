//! The state file, made anew from the tables.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use hogflare_catalog::{Slot, Table};

use super::store::{STATE_TABLES, Store};
use super::{StateError, redo};
use crate::wal::Positions;

/// A state file that is made anew from the rows of the tables, in any order.
#[derive(Debug)]
pub struct Rebuild {
    store: Store,
    path: PathBuf,
    temporary: PathBuf,
}

impl Rebuild {
    /// Leaves an existing file alone until it is finished.
    pub fn begin(path: &Path) -> Result<Rebuild, StateError> {
        let temporary = path.with_extension("sqlite.new");
        remove(&temporary)?;
        Ok(Rebuild { store: Store::open(&temporary)?, path: path.to_owned(), temporary })
    }

    /// Puts rows of a table, with its columns under our names.
    pub fn put(&mut self, table: Table, batch: &RecordBatch) -> Result<(), StateError> {
        let writing = self.store.begin()?.with_own_numbers()?;
        redo::put_rows(&writing, table, batch)?;
        writing.keep()
    }

    /// Takes the place of the state file. `positions` are the last rows of this folder's writer that were
    /// put. Returns the number of persons.
    pub fn finish(mut self, positions: &Positions) -> Result<u64, StateError> {
        let writing = self.store.begin()?;
        writing.drop_own_numbers()?;
        writing.settle_all()?;
        let through = STATE_TABLES.map(|table| positions[Slot::Main.index()][table.index()]);
        writing.put_positions(&through)?;
        writing.commit()?;
        let persons = self.store.persons()?;
        self.store.close()?;
        for suffix in ["-wal", "-shm"] {
            let mut beside = self.path.clone().into_os_string();
            beside.push(suffix);
            remove(Path::new(&beside))?;
        }
        let failed = |error: std::io::Error| {
            StateError::Refused(format!("cannot put the new state file at {}: {error}", self.path.display()))
        };
        std::fs::rename(&self.temporary, &self.path).map_err(failed)?;
        if let Some(folder) = self.path.parent() {
            std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(persons)
    }
}

fn remove(path: &Path) -> Result<(), StateError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StateError::Refused(format!("cannot remove {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}
