//! The state as far as it is in memory: what is changed and not yet in the state file, and what was used
//! lately.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::cache::{Layer, Weight};
use super::groups::{GroupTypes, types_key};
use super::person::{Group, Person};
use super::reader::{FoundPerson, Reader, SoughtPerson};
use super::rules::Lookup;
use super::{Changes, StateError};

/// Shared by the writer, which alone changes it, and by all who read.
#[derive(Debug)]
pub(crate) struct Known {
    memory: Mutex<Memory>,
}

#[derive(Debug)]
struct Memory {
    numbers: Layer<Uuid, Who>,
    persons: Layer<i64, Arc<Person>>,
    groups: Layer<Uuid, Option<Arc<Group>>>,
    types: Layer<Uuid, Arc<GroupTypes>>,
    next_number: i64,
}

/// For what is read under the lock: nothing newer can have come and gone meanwhile.
const CURRENT: u64 = u64::MAX;

/// Something read from the state file.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The last group that was in the file before it was read.
    pub(crate) settled: u64,
    pub(crate) persons: Vec<FoundPerson>,
    pub(crate) groups: Vec<(Uuid, Option<Arc<Group>>)>,
    pub(crate) types: Vec<(Uuid, Arc<GroupTypes>)>,
}

/// What to read from the state file.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    pub(crate) persons: Vec<SoughtPerson>,
    pub(crate) groups: Vec<Uuid>,
    pub(crate) types: Vec<Uuid>,
}

impl Missing {
    pub(crate) fn len(&self) -> usize {
        self.persons.len() + self.groups.len() + self.types.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.persons.is_empty() && self.groups.is_empty() && self.types.is_empty()
    }
}

impl Known {
    pub(crate) fn new(bytes_max: usize, next_number: i64) -> Known {
        // A number is small, and spares a read beside that of its person.
        let share = |of_32: usize| bytes_max / 32 * of_32;
        let memory = Memory {
            numbers: Layer::new(share(16)),
            persons: Layer::new(share(12)),
            groups: Layer::new(share(3)),
            types: Layer::new(share(1)),
            next_number,
        };
        Known { memory: Mutex::new(memory) }
    }

    /// Leaves of the wanted what is not in memory.
    pub(crate) fn missing(&self, mut wanted: Missing) -> Missing {
        let memory = self.memory.lock();
        wanted.persons.retain_mut(|person| {
            let Some(who) = memory.numbers.peek(&person.key) else { return true };
            person.number = who.number();
            person.number.is_some_and(|number| !memory.persons.has(&number))
        });
        wanted.groups.retain(|key| !memory.groups.has(key));
        wanted.types.retain(|key| !memory.types.has(key));
        wanted
    }

    /// Keeps what was read, unless it may be outdated.
    pub(crate) fn add(&self, loaded: Loaded) {
        let mut memory = self.memory.lock();
        for (key, person) in loaded.persons {
            memory.add_person(key, person, loaded.settled);
        }
        for (key, group) in loaded.groups {
            memory.groups.insert(key, group, loaded.settled);
        }
        for (key, types) in loaded.types {
            memory.types.insert(key, types, loaded.settled);
        }
    }

    /// For the writer: looks things up, in the state file if they are not here.
    pub(crate) fn session<'a>(&'a self, reader: &'a Reader) -> Session<'a> {
        Session { memory: self.memory.lock(), reader }
    }

    /// Whether and as whom a key is known, if that is in memory.
    pub(crate) fn person(&self, key: Uuid) -> Option<Option<Arc<Person>>> {
        self.memory.lock().person(key)
    }

    pub(crate) fn group(&self, key: Uuid) -> Option<Option<Arc<Group>>> {
        self.memory.lock().groups.get(key)
    }

    pub(crate) fn types(&self, key: Uuid) -> Option<Arc<GroupTypes>> {
        self.memory.lock().types.get(key)
    }

    /// From now on everyone sees what the event changed.
    pub(crate) fn keep(&self, changes: &Changes, project: &str, group: u64) {
        let mut memory = self.memory.lock();
        for change in &changes.persons {
            let number = change.person.number;
            memory.next_number = memory.next_number.max(number + 1);
            memory.persons.change(number, Arc::clone(&change.person), group);
        }
        for link in &changes.links {
            memory.numbers.change(link.key, Who(link.number), group);
        }
        for (key, of_group) in &changes.groups {
            memory.groups.change(*key, Some(Arc::clone(of_group)), group);
        }
        for change in &changes.types {
            memory.types.change(types_key(project), Arc::clone(&change.after), group);
        }
    }

    /// The changes of groups up to this one are in the state file.
    pub(crate) fn settle(&self, changes: &Changes, project: &str, through: u64) {
        let mut memory = self.memory.lock();
        for change in &changes.persons {
            memory.persons.settle(change.person.number, through);
            if change.merged_into.is_some() {
                memory.persons.forget(&change.person.number);
            }
        }
        for link in &changes.links {
            memory.numbers.settle(link.key, through);
        }
        for (key, _) in &changes.groups {
            memory.groups.settle(*key, through);
        }
        if !changes.types.is_empty() {
            memory.types.settle(types_key(project), through);
        }
    }
}

/// A person's number, or nobody: half the size of an option.
#[derive(Clone, Copy, Debug)]
struct Who(i64);

impl Who {
    const NOBODY: Who = Who(0);

    fn number(self) -> Option<i64> {
        (self.0 > 0).then_some(self.0)
    }
}

/// A key, a value and their place in a hash table that is two thirds full.
const ENTRY_BYTES: usize = 40;

impl Weight for Who {
    fn bytes(&self) -> usize {
        ENTRY_BYTES
    }
}

impl Weight for Arc<Person> {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + Person::bytes(self)
    }
}

impl Weight for Option<Arc<Group>> {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.as_ref().map_or(0, |group| Group::bytes(group))
    }
}

impl Weight for Arc<GroupTypes> {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + size_of::<GroupTypes>() + self.names().flatten().map(str::len).sum::<usize>()
    }
}

impl Memory {
    /// None if it is not in memory.
    fn person(&mut self, key: Uuid) -> Option<Option<Arc<Person>>> {
        match self.numbers.get(key)?.number() {
            Some(number) => self.persons.get(number).map(Some),
            None => Some(None),
        }
    }

    fn add_person(&mut self, key: Uuid, person: Option<Arc<Person>>, settled: u64) {
        let who = person.as_ref().map_or(Who::NOBODY, |person| Who(person.number));
        self.numbers.insert(key, who, settled);
        if let Some(person) = person {
            self.persons.insert(person.number, person, settled);
        }
    }
}

/// The known things under one lock.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    memory: MutexGuard<'a, Memory>,
    reader: &'a Reader,
}

impl Lookup for Session<'_> {
    fn person(&mut self, key: Uuid) -> Result<Option<Arc<Person>>, StateError> {
        if let Some(known) = self.memory.person(key) {
            return Ok(known);
        }
        // What is missing here is not pending, so the file has the newest number of the id. Its person may
        // be pending all the same, and is then newer than in the file.
        let number = self.memory.numbers.get(key).and_then(Who::number);
        let person = self.reader.person(SoughtPerson { key, number })?;
        self.memory.add_person(key, person.clone(), CURRENT);
        Ok(self.memory.person(key).unwrap_or(person))
    }

    fn next_number(&self) -> i64 {
        self.memory.next_number
    }

    fn group(&mut self, key: Uuid) -> Result<Option<Arc<Group>>, StateError> {
        if let Some(known) = self.memory.groups.get(key) {
            return Ok(known);
        }
        let group = self.reader.group(key)?;
        self.memory.groups.insert(key, group.clone(), CURRENT);
        Ok(group)
    }

    fn group_types(&mut self, project: &str) -> Result<Arc<GroupTypes>, StateError> {
        let key = types_key(project);
        if let Some(known) = self.memory.types.get(key) {
            return Ok(known);
        }
        let types = Arc::new(self.reader.types(key)?);
        self.memory.types.insert(key, Arc::clone(&types), CURRENT);
        Ok(types)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ids::DistinctIds;
    use crate::identity::properties::Properties;
    use crate::identity::{Link, Operation, PersonChange, key};

    fn person(number: i64, version: i64, bytes: usize) -> Arc<Person> {
        let blob = format!(r#"{{"blob":"{}"}}"#, "x".repeat(bytes));
        Arc::new(Person {
            number,
            id: key("t", &number.to_string()),
            canonical: number.to_string().into(),
            ids: DistinctIds::default(),
            created_at_us: 0,
            version,
            is_identified: false,
            properties: Properties::of(&blob, "{}"),
        })
    }

    /// What was read before a change must not come back when the change is forgotten, not even within one
    /// load.
    #[test]
    fn nothing_outdated_is_added() {
        let known = Known::new(10_000, 1);
        let changed = key("t", "1");
        let change = PersonChange { operation: Operation::Set, person: person(1, 2, 10), merged_into: None };
        let link =
            Link { key: changed, distinct_id: "1".into(), number: 1, person_id: changed, moved_from: None, version: 1 };
        let changes = Changes { persons: vec![change], links: vec![link], ..Changes::default() };
        known.keep(&changes, "t", 7);
        known.settle(&changes, "t", 7);
        // Each of the others fills half of the memory.
        let others = (2..6).map(|number| (key("t", &number.to_string()), Some(person(number, 1, 6_000))));
        let persons = others.chain([(changed, Some(person(1, 1, 10)))]).collect();
        known.add(Loaded { settled: 6, persons, groups: Vec::new(), types: Vec::new() });
        let found = known.person(changed).flatten().map(|person| person.version);
        assert_ne!(found, Some(1), "version 2 is in the file");
    }
}
