//! Reading the state file, beside the connection that writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{CachedStatement, Connection, OptionalExtension};
use uuid::Uuid;

use super::StateError;
use super::groups::GroupTypes;
use super::ids::DistinctIds;
use super::person::{Group, Person};
use super::properties::Properties;

/// A thread that serves many requests may be held up so long.
const QUICK_NS: u64 = 100_000;
/// One read that waited long for the disk or for a core does not count for more.
const NOTED_NS_MAX: u64 = 10_000_000;

/// A key, and who it stands for.
pub(crate) type FoundPerson = (Uuid, Option<Arc<Person>>);

/// Connections for reading, used in turn.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(super) connections: Vec<Mutex<Connection>>,
    pub(super) next: AtomicUsize,
    pub(super) pace: Pace,
}

/// How long reading something takes at the moment.
#[derive(Debug)]
pub(super) struct Pace {
    /// Smoothed over about eight reads.
    ns: AtomicU64,
}

impl Default for Pace {
    fn default() -> Pace {
        // Slow until the contrary is seen.
        Pace { ns: AtomicU64::new(8 * QUICK_NS) }
    }
}

impl Pace {
    fn is_quick(&self) -> bool {
        self.ns.load(Ordering::Relaxed) < QUICK_NS
    }

    /// A lost update between threads does no harm.
    fn note(&self, elapsed: Duration) {
        let before = self.ns.load(Ordering::Relaxed);
        let ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX).min(NOTED_NS_MAX);
        self.ns.store(before - before / 8 + ns / 8, Ordering::Relaxed);
    }
}

/// A person that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SoughtPerson {
    pub(crate) key: Uuid,
    /// The person's number, if it is known: that spares a step.
    pub(crate) number: Option<i64>,
}

impl From<Uuid> for SoughtPerson {
    fn from(key: Uuid) -> SoughtPerson {
        SoughtPerson { key, number: None }
    }
}

const BY_KEY: &str = "
    SELECT number, person_id, canonical, persons.ids, ids_listed, ids_total, created_at_us, persons.version,
        is_identified, properties, set_keys, initial
    FROM ids JOIN persons ON persons.number = ids.person WHERE ids.key = ?";
const BY_NUMBER: &str = "
    SELECT number, person_id, canonical, ids, ids_listed, ids_total, created_at_us, version,
        is_identified, properties, set_keys, initial
    FROM persons WHERE number = ?";

impl Reader {
    /// Whether a read is so short at the moment that a thread which must not wait may do one: a connection is
    /// free, the pages are in memory.
    pub(crate) fn is_quick(&self) -> bool {
        let is_free = |connection: &Mutex<Connection>| !connection.is_locked();
        self.pace.is_quick() && self.connections.iter().any(is_free)
    }

    pub(crate) fn person(&self, sought: SoughtPerson) -> Result<Option<Arc<Person>>, StateError> {
        self.with(|connection| {
            let started = Instant::now();
            let person = Finding::new(connection)?.person(sought);
            self.pace.note(started.elapsed());
            person
        })
    }

    /// All of one instant: one transaction costs less than many.
    pub(crate) fn persons(&self, sought: &[SoughtPerson]) -> Result<Vec<FoundPerson>, StateError> {
        match sought {
            [] => return Ok(Vec::new()),
            [person] => return Ok(vec![(person.key, self.person(*person)?)]),
            _ => {}
        }
        self.with(|connection| {
            let transaction = connection.unchecked_transaction()?;
            let mut finding = Finding::new(&transaction)?;
            sought.iter().map(|person| Ok((person.key, finding.person(*person)?))).collect()
        })
    }

    pub(crate) fn group(&self, key: Uuid) -> Result<Option<Arc<Group>>, StateError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT slot, type, group_key, created_at_us, version, properties FROM groups WHERE key = ?",
            )?;
            let group = statement.query_row([key.as_bytes()], |row| {
                Ok(Arc::new(Group {
                    slot: row.get(0)?,
                    group_type: row.get::<_, String>(1)?.into(),
                    key: row.get::<_, String>(2)?.into(),
                    created_at_us: row.get(3)?,
                    version: row.get(4)?,
                    properties: Properties::of(row.get_ref(5)?.as_str()?, "{}"),
                }))
            });
            group.optional()
        })
    }

    /// `key` is [`super::groups::types_key`].
    pub(crate) fn types(&self, key: Uuid) -> Result<GroupTypes, StateError> {
        self.with(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT slot, name FROM group_types WHERE project_key = ?")?;
            let mut rows = statement.query([key.as_bytes()])?;
            let mut types = GroupTypes::default();
            while let Some(row) = rows.next()? {
                let slot: usize = row.get(0)?;
                if let Some(name) = types.names.get_mut(slot) {
                    *name = Some(row.get::<_, String>(1)?.into());
                }
            }
            Ok(types)
        })
    }

    fn with<T>(&self, read: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, StateError> {
        let failed = StateError::sqlite("read the state");
        if let Some(connection) = self.connections.iter().find_map(Mutex::try_lock) {
            return read(&connection).map_err(failed);
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        read(&self.connections[turn].lock()).map_err(failed)
    }
}

struct Finding<'a> {
    by_key: CachedStatement<'a>,
    by_number: CachedStatement<'a>,
}

impl<'a> Finding<'a> {
    fn new(connection: &'a Connection) -> rusqlite::Result<Finding<'a>> {
        let (by_key, by_number) = (connection.prepare_cached(BY_KEY)?, connection.prepare_cached(BY_NUMBER)?);
        Ok(Finding { by_key, by_number })
    }

    fn person(&mut self, sought: SoughtPerson) -> rusqlite::Result<Option<Arc<Person>>> {
        if let Some(number) = sought.number {
            let found = self.by_number.query_row([number], read_person).optional()?;
            // One that is gone has left its ids to another.
            if found.is_some() {
                return Ok(found);
            }
        }
        self.by_key.query_row([sought.key.as_bytes()], read_person).optional()
    }
}

fn read_person(row: &rusqlite::Row<'_>) -> rusqlite::Result<Arc<Person>> {
    let ids = DistinctIds::of_stored(row.get_ref(3)?.as_str()?, row.get(4)?, row.get::<_, i64>(5)?.unsigned_abs());
    let person_id: [u8; 16] = row.get(1)?;
    Ok(Arc::new(Person {
        number: row.get(0)?,
        id: Uuid::from_bytes(person_id),
        canonical: row.get_ref(2)?.as_str()?.into(),
        ids: ids.unwrap_or_default(),
        created_at_us: row.get(6)?,
        version: row.get(7)?,
        is_identified: row.get(8)?,
        properties: Properties::of_stored(
            row.get_ref(9)?.as_str()?,
            (row.get(10)?, row.get::<_, i64>(11)?.cast_unsigned()),
        ),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_quick_when_the_last_ones_were() {
        let pace = Pace::default();
        let is_quick = |reads: usize, elapsed_us: u64| {
            (0..reads).for_each(|_| pace.note(Duration::from_micros(elapsed_us)));
            pace.is_quick()
        };
        for (reads, elapsed_us, expected) in [
            (0, 0, false),
            (40, 10, true),
            // A single one that waited for the disk makes a pause.
            (1, 5_000, false),
            (30, 10, true),
            (40, 90, true),
            (40, 110, false),
            (1, 3_600_000_000, false),
            (40, 10, true),
        ] {
            assert_eq!(is_quick(reads, elapsed_us), expected, "{reads} reads of {elapsed_us} µs");
        }
    }
}
