//! The state's handle, its opening, and what the writer does with it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};

use hogflare_catalog::frame::Part;
use hogflare_catalog::tables::{EventRow, GROUP_SLOTS};
use hogflare_catalog::{Slot, Table};
use uuid::Uuid;

use super::applier::Progress;
use super::groups::{ConfiguredTypes, GroupStamp, GroupTypes, types_key};
use super::known::{Known, Loaded, Missing};
use super::person::{Group, Person};
use super::reader::Reader;
use super::rules::{Stamp, person};
use super::store::{STATE_TABLES, StatePositions, Store};
use super::{AppliedGroup, Changes, IdentityEvent, StateError, StateWriter, key, redo};
use crate::event::UuidText;
use crate::wal::{LogPositions, Positions};

/// Keys that are looked up at a time.
const PIECE_KEYS: usize = 64;
/// Reads that a request does itself while they are quick; more go to a thread that may wait.
const READS_IN_PLACE_MAX: usize = 4;
/// The share of the memory that pages of the file take.
const PAGES_SHARE: usize = 4;

#[derive(Clone, Debug)]
pub struct StateSettings {
    /// The state file.
    pub path: PathBuf,
    /// Memory for what was used lately, and for pages of the file.
    pub cache_bytes_max: usize,
    /// Memory for changes that are not in the file yet; above it events are refused with 503.
    pub waiting_bytes_max: usize,
    pub configured_types: ConfiguredTypes,
}

impl StateSettings {
    pub fn new(path: PathBuf) -> StateSettings {
        StateSettings {
            path,
            cache_bytes_max: 128 << 20,
            waiting_bytes_max: 64 << 20,
            configured_types: ConfiguredTypes::default(),
        }
    }
}

/// Persons and groups, for whoever reads them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    known: Arc<Known>,
    reader: Arc<Reader>,
    progress: Arc<Progress>,
    waiting_bytes_max: usize,
    began_empty: bool,
}

/// An opened state file, before it has what the log says.
#[derive(Debug)]
pub(crate) struct Opening {
    store: Store,
    settings: StateSettings,
    positions: StatePositions,
}

impl Opening {
    pub(crate) fn open(settings: StateSettings) -> Result<Opening, StateError> {
        let store = Store::open(&settings.path)?;
        let positions = store.positions()?;
        Ok(Opening { store, settings, positions })
    }

    /// Applies the rows of a group of the log that the file does not have, in one transaction.
    pub(crate) fn redo(&mut self, parts: &[Part]) -> Result<(), StateError> {
        let mut positions = self.positions;
        let writing = self.store.begin()?;
        // Moves come before persons: a person's list of ids is made from them.
        for table in [Table::PersonOverrides, Table::Persons, Table::Groups] {
            let have = &mut positions[index_of(table)];
            for part in parts.iter().filter(|part| part.table == table) {
                if part.last_position() <= *have {
                    continue;
                }
                if part.first_position > *have + 1 {
                    return Err(behind(&self.settings.path, table, part.first_position - 1, *have));
                }
                let skip = usize::try_from(*have + 1 - part.first_position).expect("fewer than the rows of a part");
                redo::put_rows(&writing, table, &part.batch.slice(skip, part.batch.num_rows() - skip))?;
                *have = part.last_position();
            }
        }
        if positions == self.positions {
            return Ok(());
        }
        writing.put_positions(&positions)?;
        writing.commit()?;
        self.positions = positions;
        Ok(())
    }

    /// Everything of the log was seen: the file must have all rows before the next ones.
    pub(crate) fn check(&self, next: &Positions) -> Result<(), StateError> {
        for (table, have) in STATE_TABLES.into_iter().zip(self.positions) {
            let last = next[Slot::Main.index()][table.index()] - 1;
            if last > have {
                return Err(behind(&self.settings.path, table, last, have));
            }
            if have > last {
                return Err(StateError::Refused(format!(
                    "{} holds the rows of {} through {have}, but the log and the tables end at {last}: the log was \
                     lost or restored from a backup. Make the state anew from the tables: hogflare state rebuild",
                    self.settings.path.display(),
                    table.short_name()
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn finish(mut self, log: &LogPositions) -> Result<(State, Identity, StateWriter), StateError> {
        self.store.list_all_ids()?;
        self.settings.configured_types.check(&self.store.all_types()?)?;
        let next_number = self.store.next_number()?;
        let began_empty = next_number == 1 && self.positions == StatePositions::default();
        let memory = self.settings.cache_bytes_max;
        let known = Arc::new(Known::new(memory - memory / PAGES_SHARE, next_number));
        let reader = Arc::new(self.store.reader(memory / PAGES_SHARE)?);
        let progress = Arc::<Progress>::default();
        for (table, through) in STATE_TABLES.into_iter().zip(self.positions) {
            log.apply_through(Slot::Main, table, through);
        }
        let (sender, groups) = channel();
        let state = State {
            known: Arc::clone(&known),
            reader,
            progress: Arc::clone(&progress),
            waiting_bytes_max: self.settings.waiting_bytes_max,
            began_empty,
        };
        let identity =
            Identity { state: state.clone(), sender, group: 1, changes: Vec::new(), newest: HashMap::new(), bytes: 0 };
        let writer = StateWriter { store: self.store, known, progress, groups, positions: log.clone() };
        Ok((state, identity, writer))
    }
}

fn index_of(table: Table) -> usize {
    STATE_TABLES.iter().position(|other| *other == table).expect("it is a table of the state")
}

fn behind(path: &Path, table: Table, through: u64, have: u64) -> StateError {
    StateError::Refused(format!(
        "{} holds the rows of {} through {have}, but those through {through} are gone from the log: the file was \
         lost or restored from a backup. Make it anew from the tables: hogflare state rebuild",
        path.display(),
        table.short_name()
    ))
}

impl State {
    /// The person of a distinct id, if there is one. Reads the disk at times: not for threads that must
    /// not wait.
    pub fn person(&self, project: &str, distinct_id: &str) -> Result<Option<Arc<Person>>, StateError> {
        let key = key(project, distinct_id);
        if let Some(known) = self.known.person(key) {
            return Ok(known);
        }
        let loaded = self.load(Missing { persons: vec![key.into()], ..Missing::default() })?;
        let person = loaded.persons.first().and_then(|(_, person)| person.clone());
        self.known.add(loaded);
        // What came meanwhile is newer.
        Ok(self.known.person(key).unwrap_or(person))
    }

    pub fn group(&self, project: &str, group_type: &str, group_key: &str) -> Result<Option<Arc<Group>>, StateError> {
        let key = super::groups::group_key(project, group_type, group_key);
        if let Some(known) = self.known.group(key) {
            return Ok(known);
        }
        let loaded = self.load(Missing { groups: vec![key], ..Missing::default() })?;
        let group = loaded.groups.first().and_then(|(_, group)| group.clone());
        self.known.add(loaded);
        Ok(self.known.group(key).unwrap_or(group))
    }

    pub fn group_types(&self, project: &str) -> Result<Arc<GroupTypes>, StateError> {
        let key = types_key(project);
        if let Some(known) = self.known.types(key) {
            return Ok(known);
        }
        let loaded = self.load(Missing { types: vec![key], ..Missing::default() })?;
        let types = loaded.types.first().map(|(_, types)| Arc::clone(types)).unwrap_or_default();
        self.known.add(loaded);
        Ok(self.known.types(key).unwrap_or(types))
    }

    /// Whether the projects that settings name have their group types where the settings put them. Reads the
    /// disk.
    pub fn check_types(&self, configured: &ConfiguredTypes) -> Result<(), StateError> {
        let mut known = Vec::new();
        for project in configured.only.iter().flatten() {
            let types = self.group_types(project)?;
            let slots = types.names().enumerate();
            known.extend(slots.filter_map(|(slot, name)| Some((project.clone(), slot, name?.to_owned()))));
        }
        configured.check(&known)
    }

    /// The same for threads that must not wait: what is not in memory is read on another, unless that is quick.
    pub async fn person_or_read(&self, project: &str, distinct_id: &str) -> Result<Option<Arc<Person>>, StateError> {
        match self.known.person(key(project, distinct_id)) {
            Some(known) => Ok(known),
            None => {
                let (project, distinct_id) = (project.to_owned(), distinct_id.to_owned());
                self.aside(move |state| state.person(&project, &distinct_id)).await
            }
        }
    }

    pub async fn group_or_read(
        &self,
        project: &str,
        group_type: &str,
        group_key: &str,
    ) -> Result<Option<Arc<Group>>, StateError> {
        match self.known.group(super::groups::group_key(project, group_type, group_key)) {
            Some(known) => Ok(known),
            None => {
                let names = [project, group_type, group_key].map(str::to_owned);
                self.aside(move |state| state.group(&names[0], &names[1], &names[2])).await
            }
        }
    }

    pub async fn group_types_or_read(&self, project: &str) -> Result<Arc<GroupTypes>, StateError> {
        match self.known.types(types_key(project)) {
            Some(known) => Ok(known),
            None => {
                let project = project.to_owned();
                self.aside(move |state| state.group_types(&project)).await
            }
        }
    }

    /// For few reads: waking another thread costs more than they do if the pages are in memory.
    async fn aside<T: Send + 'static>(
        &self,
        read: impl FnOnce(&State) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        if self.reader.is_quick() {
            return read(self);
        }
        self.on_another_thread(read).await
    }

    async fn on_another_thread<T: Send + 'static>(
        &self,
        read: impl FnOnce(&State) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let state = self.clone();
        let done = tokio::task::spawn_blocking(move || read(&state)).await;
        done.unwrap_or_else(|_| Err(StateError::Refused("reading the state was broken off".to_owned())))
    }

    /// Whether changes wait for the state file beyond the limit.
    pub(crate) fn is_full(&self) -> bool {
        self.progress.waiting_bytes.load(Ordering::Relaxed) > self.waiting_bytes_max
    }

    /// Whether nobody was known when the process began.
    pub fn began_empty(&self) -> bool {
        self.began_empty
    }

    /// Whether the state file takes no changes at the moment.
    pub fn is_failing(&self) -> bool {
        self.progress.is_failing.load(Ordering::Relaxed)
    }

    /// Memory of changes that are not in the state file yet.
    pub fn waiting_bytes(&self) -> usize {
        self.progress.waiting_bytes.load(Ordering::Relaxed)
    }

    /// What the writer will ask for and memory does not have.
    pub(crate) fn missing<'a>(&self, events: impl Iterator<Item = IdentityEvent<'a>>) -> Missing {
        let mut wanted = Missing::default();
        let mut last = Uuid::nil();
        for event in events {
            // Batches mostly repeat one distinct id.
            if event.key != last {
                last = event.key;
                wanted.persons.push(event.key.into());
            }
            if let super::Act::Merge { other_key, .. } = event.act {
                wanted.persons.push(other_key.into());
            }
            let updated = event.group_update.map(|update| (update.group_type, update.group_key));
            for (name, group_key) in event.groups.iter().chain(updated) {
                wanted.groups.push(super::groups::group_key(event.project, name, group_key));
                wanted.types.push(types_key(event.project));
            }
        }
        wanted.persons.sort_unstable();
        wanted.persons.dedup();
        for keys in [&mut wanted.groups, &mut wanted.types] {
            keys.sort_unstable();
            keys.dedup();
        }
        self.known.missing(wanted)
    }

    /// Reads what is missing, so that the writer need not.
    pub(crate) async fn prefetch(&self, missing: Missing) -> Result<(), StateError> {
        let reads = missing.len();
        let read = move |state: &State| state.read_in_pieces(missing);
        if reads <= READS_IN_PLACE_MAX { self.aside(read).await } else { self.on_another_thread(read).await }
    }

    /// So that a request of large persons does not hold them all beside the cache.
    fn read_in_pieces(&self, missing: Missing) -> Result<(), StateError> {
        for piece in missing.persons.chunks(PIECE_KEYS) {
            let loaded = self.load(Missing { persons: piece.to_vec(), ..Missing::default() })?;
            self.known.add(loaded);
        }
        for piece in missing.groups.chunks(PIECE_KEYS) {
            let loaded = self.load(Missing { groups: piece.to_vec(), ..Missing::default() })?;
            self.known.add(loaded);
        }
        let loaded = self.load(Missing { types: missing.types, ..Missing::default() })?;
        self.known.add(loaded);
        Ok(())
    }

    fn load(&self, missing: Missing) -> Result<Loaded, StateError> {
        let settled = self.progress.settled.load(Ordering::Acquire);
        let reader = &self.reader;
        let groups = missing.groups.into_iter().map(|key| Ok((key, reader.group(key)?)));
        let types = missing.types.into_iter().map(|key| Ok((key, Arc::new(reader.types(key)?))));
        Ok(Loaded {
            settled,
            persons: reader.persons(&missing.persons)?,
            groups: groups.collect::<Result<_, StateError>>()?,
            types: types.collect::<Result<_, StateError>>()?,
        })
    }
}

/// What the writer owns: it alone changes the state.
#[derive(Debug)]
pub(crate) struct Identity {
    state: State,
    sender: Sender<AppliedGroup>,
    /// Number of the group under way.
    group: u64,
    changes: Vec<(Arc<str>, Changes)>,
    /// Where in `changes` the newest version of a person is, by its number.
    newest: HashMap<i64, usize>,
    bytes: usize,
}

/// Who an event belongs to, and what it changes.
#[derive(Debug)]
pub(crate) struct Resolved<'a> {
    stamp: Stamp,
    person_id: UuidText,
    /// Whether the event has a copy of the person's properties.
    has_copy: bool,
    /// The copy, if it is not the whole of them.
    shortened: Option<String>,
    groups: GroupStamp<'a>,
    pub(crate) changes: Changes,
}

impl Identity {
    pub(crate) fn resolve<'a>(&self, event: &IdentityEvent<'a>) -> Result<Resolved<'a>, StateError> {
        let mut changes = Changes::default();
        let mut session = self.state.known.session(&self.state.reader);
        let stamp = person(event, &mut session, &mut changes)?;
        let groups = super::groups::groups(event, &mut session, &mut changes)?;
        drop(session);
        let copied = stamp.person.as_ref().filter(|_| event.wants_profile);
        let shortened = match copied.map(|person| person.properties.copy_within(super::COPIED_BYTES_MAX)) {
            Some(Cow::Owned(shortened)) => Some(shortened),
            _ => None,
        };
        let has_copy = copied.is_some();
        Ok(Resolved { person_id: UuidText::from(stamp.person_id), stamp, has_copy, shortened, groups, changes })
    }

    /// Everyone sees the changes from now on; they go to the state file when the group is durable.
    pub(crate) fn keep(&mut self, project: &str, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        self.state.known.keep(&changes, project, self.group);
        self.bytes += changes.bytes();
        for change in &changes.persons {
            self.forget_older(change.person.number);
        }
        let project = match self.changes.last() {
            Some((last, _)) if **last == *project => Arc::clone(last),
            _ => Arc::from(project),
        };
        self.changes.push((project, changes));
    }

    /// Of a person that a group changes many times, only the newest version need get to the state file: one
    /// with very many ids would fill the memory with copies of them.
    fn forget_older(&mut self, number: i64) {
        let Some(before) = self.newest.insert(number, self.changes.len()) else { return };
        let persons = &mut self.changes[before].1.persons;
        let Some(at) = persons.iter().position(|change| change.person.number == number) else { return };
        self.bytes -= persons.swap_remove(at).person.bytes();
    }

    /// The group is durable, with these as the positions of the next rows.
    pub(crate) fn hand_over(&mut self, next: &Positions) -> Result<(), StateError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let through = STATE_TABLES.map(|table| next[Slot::Main.index()][table.index()] - 1);
        self.newest.clear();
        self.state.progress.waiting_bytes.fetch_add(self.bytes, Ordering::Relaxed);
        let group = AppliedGroup {
            number: self.group,
            changes: std::mem::take(&mut self.changes),
            bytes: std::mem::take(&mut self.bytes),
            through,
        };
        self.group += 1;
        self.sender.send(group).map_err(|_| {
            StateError::Refused(
                "the writer of the state has ended; the log has all changes, and a restart recovers".into(),
            )
        })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.state.is_full()
    }
}

impl Resolved<'_> {
    /// Fills the columns of persons and groups.
    pub(crate) fn stamp<'r>(&'r self, row: &mut EventRow<'r>) {
        row.person_id = Some(self.person_id.as_str());
        row.person_created_at_us = self.stamp.person.as_ref().map(|person| person.created_at_us);
        let person = self.stamp.person.as_deref().filter(|_| self.has_copy);
        row.person_properties = person.map(|person| self.shortened.as_deref().unwrap_or(person.properties()));
        row.person_mode = Some(self.stamp.mode.as_str());
        for slot in 0..GROUP_SLOTS {
            row.groups[slot] = self.groups.keys[slot];
        }
        row.group_properties = self.groups.properties.as_deref();
    }
}

#[cfg(test)]
mod tests;
