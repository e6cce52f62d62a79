use std::collections::HashMap;

use super::*;
use crate::identity::event::{AutomaticValues, GroupKeys};
use crate::identity::groups::{GroupTypes, groups as resolve_groups};
use crate::text::Texts;

mod graphs;
mod table;

/// What would be in the state.
#[derive(Default)]
pub(super) struct World {
    numbers: HashMap<Uuid, i64>,
    persons: HashMap<i64, Arc<Person>>,
    groups: HashMap<Uuid, Arc<Group>>,
    types: Arc<GroupTypes>,
    next: i64,
}

impl Lookup for World {
    fn person(&mut self, key: Uuid) -> Result<Option<Arc<Person>>, StateError> {
        Ok(self.numbers.get(&key).map(|number| Arc::clone(&self.persons[number])))
    }

    fn next_number(&self) -> i64 {
        self.next
    }

    fn group(&mut self, key: Uuid) -> Result<Option<Arc<Group>>, StateError> {
        Ok(self.groups.get(&key).cloned())
    }

    fn group_types(&mut self, _: &str) -> Result<Arc<GroupTypes>, StateError> {
        Ok(Arc::clone(&self.types))
    }
}

/// What happened to an event.
pub(super) struct Outcome {
    pub(super) stamp: Stamp,
    pub(super) changes: Changes,
}

impl World {
    pub(super) fn apply(&mut self, event: &IdentityEvent<'_>) -> Outcome {
        let mut changes = Changes::default();
        let stamp = person(event, self, &mut changes).unwrap();
        resolve_groups(event, self, &mut changes).unwrap();
        for change in &changes.persons {
            let number = change.person.number;
            let before = self.persons.insert(number, Arc::clone(&change.person));
            assert!(before.is_none_or(|before| before.version < change.person.version), "versions grow");
            self.next = self.next.max(number + 1);
        }
        for link in &changes.links {
            self.numbers.insert(link.key, link.number);
            let is_begin = link.moved_from.is_none();
            assert_eq!(is_begin, link.person_id == link.key, "a moved id is not the one that the person began with");
        }
        for change in changes.persons.iter().filter(|change| change.merged_into.is_some()) {
            self.persons.remove(&change.person.number);
        }
        for (key, group) in &changes.groups {
            self.groups.insert(*key, Arc::clone(group));
        }
        for change in &changes.types {
            self.types = Arc::clone(&change.after);
        }
        Outcome { stamp, changes }
    }

    pub(super) fn person_of(&self, id: &str) -> Option<&Person> {
        let number = self.numbers.get(&key(PROJECT, id))?;
        self.persons.get(number).map(|person| &**person)
    }
}

pub(super) const PROJECT: &str = "phc_test";

thread_local! {
    static NO_TEXTS: &'static Texts = Box::leak(Box::new(Texts::new("{}".to_owned())));
}
static NO_TYPES: [Option<String>; 5] = [const { None }; 5];

pub(super) fn event<'a>(distinct_id: &'a str, act: Act<'a>) -> IdentityEvent<'a> {
    let texts = NO_TEXTS.with(|texts| *texts);
    IdentityEvent {
        project: PROJECT,
        team_id: None,
        uuid: "0190a0c0-7b5e-7cc3-9d3c-3a1c5a9e4f10",
        distinct_id,
        key: key(PROJECT, distinct_id),
        act,
        wants_profile: true,
        set: None,
        set_once: None,
        unset: None,
        malformed: None,
        automatic: AutomaticValues { texts, found: &[] },
        groups: GroupKeys { texts, found: &[] },
        group_update: None,
        configured_types: &NO_TYPES,
        timestamp_us: 1_000_000_000,
        received_at_us: 1_000_000_000,
    }
}

pub(super) fn merge_of(other: &str, operation: Operation) -> Act<'_> {
    Act::Merge { other, other_key: key(PROJECT, other), operation }
}
