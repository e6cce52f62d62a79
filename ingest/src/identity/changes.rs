//! What one event changes. Nothing is known to anyone until the writer keeps it.

use std::sync::Arc;

use hogflare_catalog::Slot;
use hogflare_catalog::tables::{DeadLetterRow, GroupBuilder, GroupRow, LISTED_IDS_MAX, PersonOverrideRow, PersonRow};
use uuid::Uuid;

use super::event::{IdentityEvent, Operation};
use super::groups::GroupTypes;
use super::person::{Group, Person};
use super::rules::Stamp;
use crate::event::{PersonMode, UuidText};
use crate::ids::IdSource;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) persons: Vec<PersonChange>,
    pub(crate) links: Vec<Link>,
    pub(crate) groups: Vec<(Uuid, Arc<Group>)>,
    pub(crate) types: Vec<TypeChange>,
    pub(crate) warnings: Vec<Warning>,
}

/// A person's next version.
#[derive(Clone, Debug)]
pub(crate) struct PersonChange {
    pub(crate) operation: Operation,
    pub(crate) person: Arc<Person>,
    /// The person that it ends in.
    pub(crate) merged_into: Option<Uuid>,
}

/// A distinct id's person from now on.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) key: Uuid,
    pub(crate) distinct_id: Box<str>,
    pub(crate) number: i64,
    pub(crate) person_id: Uuid,
    /// Whom earlier events may be stamped with; none for the id that the person began with.
    pub(crate) moved_from: Option<Uuid>,
    pub(crate) version: i64,
}

/// A group type that got its slot.
#[derive(Clone, Debug)]
pub(crate) struct TypeChange {
    pub(crate) slot: usize,
    pub(crate) name: Box<str>,
    /// All types of the project.
    pub(crate) after: Arc<GroupTypes>,
}

/// Something that an event asked for and did not get, although it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) reason: WarningReason,
    pub(crate) detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WarningReason {
    IllegalId,
    AlreadyIdentified,
    TooManyIds,
    InvalidOperation,
    PersonTooLarge,
    GroupTooLarge,
}

impl WarningReason {
    /// The `reason` of its row among the dead letters.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            WarningReason::IllegalId => "merge_refused_illegal_id",
            WarningReason::AlreadyIdentified => "merge_refused_already_identified",
            WarningReason::TooManyIds => "merge_refused_too_many_ids",
            WarningReason::InvalidOperation => "invalid_person_operation",
            WarningReason::PersonTooLarge => "person_too_large",
            WarningReason::GroupTooLarge => "group_too_large",
        }
    }
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.persons.is_empty() && self.links.is_empty() && self.groups.is_empty() && self.types.is_empty()
    }

    pub(super) fn person(&mut self, operation: Operation, person: Person) -> Stamp {
        let person = Arc::new(person);
        self.persons.push(PersonChange { operation, person: Arc::clone(&person), merged_into: None });
        Stamp { person_id: person.id, person: Some(person), mode: PersonMode::Full }
    }

    pub(super) fn number_of(&self, stamp: &Stamp) -> i64 {
        stamp.person.as_ref().map_or(0, |person| person.number)
    }

    /// `moved_from` is the person that the id's earlier events may be stamped with.
    pub(super) fn link(&mut self, distinct_id: &str, key: Uuid, to: &Stamp, moved_from: Uuid) {
        let Some(person) = &to.person else { return };
        self.links.push(Link {
            key,
            distinct_id: Box::from(distinct_id),
            number: person.number,
            person_id: person.id,
            moved_from: Some(moved_from),
            version: person.version,
        });
    }

    pub(super) fn warn(&mut self, reason: WarningReason, detail: String) {
        self.warnings.push(Warning { reason, detail });
    }

    /// Memory until the state has applied it, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let persons: usize = self.persons.iter().map(|change| change.person.bytes()).sum();
        let links: usize = self.links.iter().map(|link| size_of::<Link>() + link.distinct_id.len()).sum();
        let groups: usize = self.groups.iter().map(|(_, group)| group.bytes()).sum();
        persons + links + groups + self.types.len() * size_of::<GroupTypes>()
    }
}

/// The rows of an event's changes, with their texts.
#[derive(Debug)]
pub(crate) struct ChangeRows<'a> {
    event: &'a IdentityEvent<'a>,
    changes: &'a Changes,
    persons: Vec<PersonTexts>,
    ids: Vec<UuidText>,
}

#[derive(Debug)]
struct PersonTexts {
    row: UuidText,
    person_id: UuidText,
    merged_into: Option<UuidText>,
    distinct_ids: String,
    set: String,
    set_once: String,
}

/// What a row takes beside its texts, at most.
const ROW_BYTES: usize = 400;

impl<'a> ChangeRows<'a> {
    pub(crate) fn new(event: &'a IdentityEvent<'a>, changes: &'a Changes, ids: &mut dyn IdSource) -> ChangeRows<'a> {
        let mut row_id = || UuidText::from(ids.uuid_v7(event.received_at_us));
        let persons = changes.persons.iter().map(|change| PersonTexts::new(change, row_id())).collect();
        let others = changes.groups.len() + changes.types.len() + changes.warnings.len();
        let ids = (0..others).map(|_| row_id()).collect();
        ChangeRows { event, changes, persons, ids }
    }

    /// At least the bytes that the rows take in a frame.
    pub(crate) fn bytes(&self) -> usize {
        let persons: usize = self.person_rows().map(|row| row.text_bytes() + ROW_BYTES).sum();
        let moves = self.changes.links.iter().filter(|link| link.moved_from.is_some());
        let context = self.event.project.len() + self.event.uuid.len() + 2 * 36;
        let moves: usize = moves.map(|link| link.distinct_id.len() + context + ROW_BYTES / 2).sum();
        let groups: usize = self.changes.groups.iter().map(|(_, group)| group.bytes() + context + ROW_BYTES).sum();
        let types: usize = self.changes.types.iter().map(|change| change.name.len() + context + ROW_BYTES).sum();
        let warnings = self.changes.warnings.iter();
        let warnings: usize =
            warnings.map(|warning| warning.detail.len() + self.event.distinct_id.len() + context + ROW_BYTES).sum();
        persons + moves + groups + types + warnings
    }

    pub(crate) fn push(&self, builder: &mut GroupBuilder) {
        self.person_rows().for_each(|row| builder.push_person(&row));
        for link in &self.changes.links {
            self.push_move(link, builder);
        }
        let mut ids = self.ids.iter();
        let mut next_id = || ids.next().expect("an id was drawn for each row").as_str();
        for change in &self.changes.types {
            let row = GroupRow {
                operation: "group_type",
                group_type: &change.name,
                group_type_index: index(change.slot),
                created_at_us: self.event.received_at_us,
                version: 1,
                properties: "{}",
                ..self.group_row(next_id())
            };
            builder.push_group(&row);
        }
        for (_, group) in &self.changes.groups {
            let row = GroupRow {
                operation: "groupidentify",
                group_type: &group.group_type,
                group_type_index: index(group.slot),
                group_key: Some(&group.key),
                created_at_us: group.created_at_us,
                version: group.version,
                properties: group.properties(),
                ..self.group_row(next_id())
            };
            builder.push_group(&row);
        }
        for warning in &self.changes.warnings {
            builder.push_dead_letter(Slot::Main, &self.warning_row(warning, next_id()));
        }
    }

    fn person_rows(&self) -> impl Iterator<Item = PersonRow<'_>> {
        self.changes.persons.iter().zip(&self.persons).map(|(change, texts)| PersonRow {
            uuid: texts.row.as_str(),
            team_id: self.event.team_id,
            operation: if change.merged_into.is_some() { "delete" } else { change.operation.as_str() },
            person_id: texts.person_id.as_str(),
            person_int_id: change.person.number,
            canonical_distinct_id: &change.person.canonical,
            distinct_ids: &texts.distinct_ids,
            distinct_id_count: i64::try_from(change.person.ids.total()).unwrap_or(i64::MAX),
            created_at_us: change.person.created_at_us,
            updated_at_us: self.event.received_at_us,
            version: change.person.version,
            is_identified: change.person.is_identified,
            is_deleted: change.merged_into.is_some(),
            merged_into: texts.merged_into.as_ref().map(UuidText::as_str),
            properties: &texts.set,
            properties_set_once: &texts.set_once,
            merged_properties: change.person.properties(),
            api_key: self.event.project,
            source_event_uuid: self.event.uuid,
        })
    }

    fn push_move(&self, link: &Link, builder: &mut GroupBuilder) {
        let Some(moved_from) = link.moved_from else { return };
        builder.push_person_override(&PersonOverrideRow {
            distinct_id: &link.distinct_id,
            person_id: UuidText::from(link.person_id).as_str(),
            person_int_id: link.number,
            old_person_id: UuidText::from(moved_from).as_str(),
            version: link.version,
            created_at_us: self.event.received_at_us,
            team_id: self.event.team_id,
            api_key: self.event.project,
            source_event_uuid: self.event.uuid,
        });
    }

    fn group_row<'r>(&'r self, uuid: &'r str) -> GroupRow<'r> {
        GroupRow {
            uuid,
            team_id: self.event.team_id,
            updated_at_us: self.event.received_at_us,
            api_key: self.event.project,
            source_event_uuid: self.event.uuid,
            ..GroupRow::default()
        }
    }

    fn warning_row<'r>(&'r self, warning: &'r Warning, uuid: &'r str) -> DeadLetterRow<'r> {
        DeadLetterRow {
            uuid,
            received_at_us: self.event.received_at_us,
            api_key: Some(self.event.project),
            path: "identity",
            reason: warning.reason.as_str(),
            detail: Some(&warning.detail),
            distinct_id: Some(self.event.distinct_id),
            event_uuid: Some(self.event.uuid),
            ..DeadLetterRow::default()
        }
    }
}

impl PersonTexts {
    fn new(change: &PersonChange, row: UuidText) -> PersonTexts {
        let person = &change.person;
        let (set, set_once) = person.properties.parts();
        PersonTexts {
            row,
            person_id: UuidText::from(person.id),
            merged_into: change.merged_into.map(UuidText::from),
            distinct_ids: person.ids.to_json(LISTED_IDS_MAX),
            set,
            set_once,
        }
    }
}

fn index(slot: usize) -> i64 {
    i64::try_from(slot).expect("there are five slots")
}
