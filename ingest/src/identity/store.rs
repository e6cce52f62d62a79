//! The state file: SQLite. One connection writes, some read.
//!
//! It is a copy: every row of it follows from rows of the tables of persons, overrides and groups. The
//! positions say through which of those rows; they move in the same transaction as what they cover.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;

use hogflare_catalog::Table;
use hogflare_catalog::tables::LISTED_IDS_MAX;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::ids::KEPT_IDS_MAX;
use super::person::{Group, Person};
use super::reader::{Pace, Reader};
use super::{Changes, StateError};

/// 2: the properties of a person as one text.
const FORMAT: i64 = 2;
/// Persons of several writers that have one number get others from here on.
const OTHERS_FROM: i64 = 1 << 40;
/// Connections that read.
const READERS: usize = 4;
/// Memory for pages of the connection that writes; the system's page cache does the rest.
const WRITER_PAGES_BYTES: usize = 4 << 20;
/// A connection that reads has at least this for pages.
const READER_PAGES_BYTES_MIN: usize = 256 << 10;

/// The tables whose rows the state follows, in the order of their positions.
pub(crate) const STATE_TABLES: [Table; 3] = [Table::Persons, Table::PersonOverrides, Table::Groups];

/// Position of the last row of each of [`STATE_TABLES`] that the file has.
pub type StatePositions = [u64; STATE_TABLES.len()];

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS meta (format INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS last_number (number INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS positions (state_table INTEGER PRIMARY KEY, position INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS ids (
        key BLOB PRIMARY KEY, id TEXT NOT NULL, person INTEGER NOT NULL, version INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS ids_by_person ON ids (person);
    CREATE TABLE IF NOT EXISTS persons (
        number INTEGER PRIMARY KEY, project TEXT NOT NULL, person_id BLOB NOT NULL, canonical TEXT NOT NULL,
        ids TEXT NOT NULL, ids_listed INTEGER NOT NULL, ids_total INTEGER NOT NULL, created_at_us INTEGER NOT NULL,
        version INTEGER NOT NULL, is_identified INTEGER NOT NULL, is_gone INTEGER NOT NULL,
        set_keys INTEGER NOT NULL, initial INTEGER NOT NULL, properties TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS unlisted (number INTEGER PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS groups (
        key BLOB PRIMARY KEY, slot INTEGER NOT NULL, type TEXT NOT NULL, group_key TEXT NOT NULL,
        created_at_us INTEGER NOT NULL, version INTEGER NOT NULL, properties TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS group_types (
        project_key BLOB NOT NULL, slot INTEGER NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL,
        PRIMARY KEY (project_key, slot)
    ) WITHOUT ROWID;";

/// The connection that writes.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    connection: Connection,
}

impl Store {
    /// Creates an empty file if there is none.
    pub(crate) fn open(path: &Path) -> Result<Store, StateError> {
        let failed = StateError::sqlite("open the state file");
        let mut connection = connect(path, WRITER_PAGES_BYTES)?;
        // All of it or nothing: a file without its number would count persons from 1 again.
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        begun.execute_batch(SCHEMA).map_err(&failed)?;
        let format: Option<i64> =
            begun.query_row("SELECT format FROM meta", [], |row| row.get(0)).optional().map_err(&failed)?;
        match format {
            None => {
                begun.execute("INSERT INTO meta (format) VALUES (?)", [FORMAT]).map_err(&failed)?;
                begun.execute("INSERT INTO last_number VALUES (0)", []).map_err(&failed)?;
            }
            Some(found) if found > FORMAT => {
                return Err(StateError::Refused(format!(
                    "{} has format {found}, written by a later release; this one reads format {FORMAT}",
                    path.display()
                )));
            }
            Some(found) if found < FORMAT => {
                return Err(StateError::Refused(format!(
                    "{} has format {found}, written by an earlier release; this one reads format {FORMAT}. Make it \
                     anew from the tables: hogflare state rebuild",
                    path.display()
                )));
            }
            Some(_) => {}
        }
        begun.commit().map_err(&failed)?;
        Ok(Store { path: path.to_owned(), connection })
    }

    pub(crate) fn positions(&self) -> Result<StatePositions, StateError> {
        let failed = StateError::sqlite("read the positions of the state");
        let mut positions = StatePositions::default();
        for (index, position) in positions.iter_mut().enumerate() {
            let found: Option<i64> = self
                .connection
                .query_row("SELECT position FROM positions WHERE state_table = ?", [index], |row| row.get(0))
                .optional()
                .map_err(&failed)?;
            *position = found.map_or(0, i64::unsigned_abs);
        }
        Ok(positions)
    }

    /// Number for the next person. Those of persons that are gone are not given again.
    pub(crate) fn next_number(&self) -> Result<i64, StateError> {
        let last: i64 = self
            .connection
            .query_row("SELECT number FROM last_number", [], |row| row.get(0))
            .map_err(StateError::sqlite("read the last person's number"))?;
        Ok(last + 1)
    }

    pub(crate) fn persons(&self) -> Result<u64, StateError> {
        let persons: i64 = self
            .connection
            .query_row("SELECT count(*) FROM persons WHERE is_gone = 0", [], |row| row.get(0))
            .map_err(StateError::sqlite("count the persons"))?;
        Ok(persons.unsigned_abs())
    }

    /// The group types that have slots, by project.
    pub(crate) fn all_types(&self) -> Result<Vec<(String, usize, String)>, StateError> {
        let failed = StateError::sqlite("read the group types");
        let mut statement =
            self.connection.prepare("SELECT project, slot, name FROM group_types ORDER BY 1, 2").map_err(&failed)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    /// One transaction, durable when it is committed.
    pub(crate) fn begin(&mut self) -> Result<Writing<'_>, StateError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = transaction.map_err(StateError::sqlite("begin a change of the state"))?;
        Ok(Writing { transaction, touched: RefCell::default(), has_own_numbers: false })
    }

    /// No more rows will come that were not in the file.
    pub(crate) fn list_all_ids(&mut self) -> Result<(), StateError> {
        let writing = self.begin()?;
        if writing.list_all_ids()? {
            writing.commit()?;
        }
        Ok(())
    }

    /// `pages_bytes` is the memory for pages, of all its connections.
    pub(crate) fn reader(&self, pages_bytes: usize) -> Result<Reader, StateError> {
        let pages_bytes = (pages_bytes / READERS).max(READER_PAGES_BYTES_MIN);
        let connections = (0..READERS).map(|_| {
            let connection = connect(&self.path, pages_bytes)?;
            connection.execute_batch("PRAGMA query_only = 1").map_err(StateError::sqlite("open the state file"))?;
            Ok(Mutex::new(connection))
        });
        let connections = connections.collect::<Result<_, StateError>>()?;
        Ok(Reader { connections, next: AtomicUsize::new(0), pace: Pace::default() })
    }

    /// Everything is in the file itself, and nothing beside it.
    pub(crate) fn close(self) -> Result<(), StateError> {
        let failed = StateError::sqlite("close the state file");
        self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").map_err(&failed)?;
        self.connection.close().map_err(|(_, error)| failed(error))
    }
}

fn connect(path: &Path, pages_bytes: usize) -> Result<Connection, StateError> {
    let failed = StateError::sqlite("open the state file");
    let connection = Connection::open(path).map_err(&failed)?;
    let settings = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -{}; PRAGMA busy_timeout = 10000;",
        pages_bytes >> 10
    );
    connection.execute_batch(&settings).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// A transaction on the state file.
#[derive(Debug)]
pub(crate) struct Writing<'a> {
    transaction: Transaction<'a>,
    touched: RefCell<Touched>,
    /// Rows may be of several writers, each of which counts persons from 1.
    has_own_numbers: bool,
}

/// Numbers of persons that need another look before the transaction ends.
#[derive(Debug, Default)]
struct Touched {
    last: i64,
    gone: Vec<i64>,
    /// Their rows could not list all ids.
    unlisted: Vec<i64>,
}

impl Writing<'_> {
    pub(crate) fn apply(&self, changes: &Changes, project: &str) -> Result<(), StateError> {
        for change in &changes.persons {
            self.put_person(project, &change.person, change.merged_into.is_some())?;
        }
        for link in &changes.links {
            self.put_id(link.key, &link.distinct_id, link.number, link.version)?;
        }
        for (key, group) in &changes.groups {
            self.put_group(*key, group)?;
        }
        for change in &changes.types {
            self.put_type(project, change.slot, &change.name)?;
        }
        Ok(())
    }

    /// From now on rows of other writers may come, too: a person keeps the number of its row only if nobody
    /// else has it.
    pub(crate) fn with_own_numbers(self) -> Result<Self, StateError> {
        let sql = "CREATE TABLE IF NOT EXISTS own_numbers (
                       person_id BLOB PRIMARY KEY, number INTEGER NOT NULL UNIQUE) WITHOUT ROWID";
        self.execute(sql, [])?;
        Ok(Writing { has_own_numbers: true, ..self })
    }

    pub(crate) fn drop_own_numbers(&self) -> Result<(), StateError> {
        self.execute("DROP TABLE IF EXISTS own_numbers", [])
    }

    /// The number that a person of a row has here.
    pub(crate) fn number_of(&self, person_id: Uuid, in_row: i64) -> Result<i64, StateError> {
        if !self.has_own_numbers {
            return Ok(in_row);
        }
        let failed = StateError::sqlite("number a person");
        let known = || {
            let mut statement =
                self.transaction.prepare_cached("SELECT number FROM own_numbers WHERE person_id = ?")?;
            statement.query_row([person_id.as_bytes()], |row| row.get(0)).optional()
        };
        if let Some(number) = known().map_err(failed)? {
            return Ok(number);
        }
        self.execute(
            "INSERT INTO own_numbers VALUES (?1, CASE
                 WHEN EXISTS (SELECT 1 FROM own_numbers WHERE number = ?2)
                 THEN (SELECT max(max(number), ?3) + 1 FROM own_numbers) ELSE ?2 END)",
            params![person_id.as_bytes(), in_row, OTHERS_FROM],
        )?;
        known().map_err(failed).map(|number| number.unwrap_or(in_row))
    }

    /// An older version than the known one changes nothing, so rows may come in any order.
    pub(crate) fn put_person(&self, project: &str, person: &Person, is_gone: bool) -> Result<(), StateError> {
        let (ids, ids_total) = (&person.ids, person.ids.total());
        let (set_keys, initial) = person.properties.marks();
        let mut touched = self.touched.borrow_mut();
        touched.last = touched.last.max(person.number);
        if is_gone {
            touched.gone.push(person.number);
        } else if !ids.are_all_listed() && ids_total <= KEPT_IDS_MAX as u64 {
            touched.unlisted.push(person.number);
        }
        self.execute(
            "INSERT INTO persons VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (number) DO UPDATE SET
                 ids = excluded.ids, ids_listed = excluded.ids_listed, ids_total = excluded.ids_total,
                 created_at_us = excluded.created_at_us, version = excluded.version,
                 is_identified = excluded.is_identified, is_gone = excluded.is_gone, set_keys = excluded.set_keys,
                 initial = excluded.initial, properties = excluded.properties
             WHERE excluded.version > persons.version",
            params![
                person.number,
                project,
                person.id.as_bytes(),
                &*person.canonical,
                ids.to_json(KEPT_IDS_MAX),
                ids.listed(),
                i64::try_from(ids_total).unwrap_or(i64::MAX),
                person.created_at_us,
                person.version,
                person.is_identified,
                is_gone,
                set_keys,
                initial.cast_signed(),
                person.properties.as_json(),
            ],
        )
    }

    pub(crate) fn put_id(&self, key: Uuid, id: &str, number: i64, version: i64) -> Result<(), StateError> {
        self.execute(
            "INSERT INTO ids (key, id, person, version) VALUES (?, ?, ?, ?)
             ON CONFLICT (key) DO UPDATE SET person = excluded.person, version = excluded.version
             WHERE excluded.version > ids.version",
            params![key.as_bytes(), id, number, version],
        )
    }

    pub(crate) fn put_group(&self, key: Uuid, group: &Group) -> Result<(), StateError> {
        self.execute(
            "INSERT INTO groups VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (key) DO UPDATE SET version = excluded.version, properties = excluded.properties
             WHERE excluded.version > groups.version",
            params![
                key.as_bytes(),
                group.slot,
                &*group.group_type,
                &*group.key,
                group.created_at_us,
                group.version,
                group.properties(),
            ],
        )
    }

    pub(crate) fn put_type(&self, project: &str, slot: usize, name: &str) -> Result<(), StateError> {
        self.execute(
            "INSERT INTO group_types VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            params![super::groups::types_key(project).as_bytes(), slot, project, name],
        )
    }

    pub(crate) fn put_positions(&self, positions: &StatePositions) -> Result<(), StateError> {
        for (index, position) in positions.iter().enumerate() {
            self.execute(
                "INSERT INTO positions VALUES (?, ?) ON CONFLICT (state_table) DO UPDATE SET
                 position = max(position, excluded.position)",
                params![index, i64::try_from(*position).unwrap_or(i64::MAX)],
            )?;
        }
        Ok(())
    }

    /// Ends the transaction, with persons that are gone left as marks: their earlier rows may come yet.
    pub(crate) fn keep(self) -> Result<(), StateError> {
        let last = self.touched.take().last;
        self.execute("UPDATE last_number SET number = max(number, ?)", [last])?;
        self.transaction.commit().map_err(StateError::sqlite("commit a change of the state"))
    }

    /// All rows were put, in whatever order.
    pub(crate) fn settle_all(&self) -> Result<(), StateError> {
        let failed = StateError::sqlite("settle the persons");
        self.execute("DELETE FROM persons WHERE is_gone", [])?;
        let mut statement = self
            .transaction
            .prepare("SELECT number FROM persons WHERE ids_total > ? AND ids_total <= ?")
            .map_err(&failed)?;
        let numbers = statement.query_map([LISTED_IDS_MAX, KEPT_IDS_MAX], |row| row.get(0)).map_err(&failed)?;
        let numbers: Vec<i64> = numbers.collect::<Result<_, _>>().map_err(failed)?;
        numbers.into_iter().try_for_each(|number| self.list_ids(number))
    }

    /// Lists the ids of all persons whose rows could not, now that no more rows will come: whether there were
    /// any. Doing so row by row would take the square of the rows.
    fn list_all_ids(&self) -> Result<bool, StateError> {
        let failed = StateError::sqlite("look for long lists of ids");
        let mut statement = self.transaction.prepare("SELECT number FROM unlisted").map_err(failed)?;
        let numbers = statement.query_map([], |row| row.get(0)).map_err(failed)?;
        let numbers: Vec<i64> = numbers.collect::<Result<_, _>>().map_err(failed)?;
        numbers.iter().try_for_each(|number| self.list_ids(*number))?;
        self.execute("DELETE FROM unlisted", [])?;
        Ok(!numbers.is_empty())
    }

    /// Durable when this returns.
    pub(crate) fn commit(self) -> Result<(), StateError> {
        let touched = self.touched.take();
        self.execute("UPDATE last_number SET number = max(number, ?)", [touched.last])?;
        for number in touched.unlisted {
            self.execute("INSERT OR IGNORE INTO unlisted VALUES (?)", [number])?;
        }
        for number in touched.gone {
            self.execute("DELETE FROM persons WHERE number = ?", [number])?;
        }
        self.transaction.commit().map_err(StateError::sqlite("commit a change of the state"))
    }

    /// Lists the ids of a person whose row lists its oldest ones only.
    fn list_ids(&self, number: i64) -> Result<(), StateError> {
        self.execute(
            "WITH listed AS MATERIALIZED (
                 SELECT value, key FROM json_each((SELECT ids FROM persons WHERE number = ?1)))
             UPDATE persons SET ids_listed = (SELECT count(*) FROM ids WHERE person = ?1), ids = (
                 SELECT json_group_array(id) FROM (
                     SELECT ids.id FROM ids LEFT JOIN listed ON listed.value = ids.id
                     WHERE ids.person = ?1 ORDER BY listed.key IS NULL, listed.key, ids.version, ids.id))
             WHERE number = ?1",
            [number],
        )
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<(), StateError> {
        let failed = StateError::sqlite("change the state");
        let mut statement = self.transaction.prepare_cached(sql).map_err(&failed)?;
        statement.execute(values).map(drop).map_err(failed)
    }
}
