//! Who an event belongs to, and what it changes: decisions only, over what is [known](Lookup).

use std::sync::Arc;

use uuid::Uuid;

use super::event::{Act, IdentityEvent, Operation};
use super::ids::{DistinctIds, KEPT_IDS_MAX};
use super::illegal::is_illegal;
use super::person::{Group, Person};
use super::properties::{Properties, Wanted};
use super::{Changes, Link, PersonChange, StateError, WarningReason, groups, key};
use crate::event::PersonMode;

/// Properties of a person or group that are kept; what would make them larger is refused.
pub(crate) const PROPERTIES_BYTES_MAX: usize = 512 << 10;
/// Distinct ids that one merge moves, and the bytes of the rows that say so.
pub(crate) const MOVED_IDS_MAX: u64 = KEPT_IDS_MAX as u64;
pub(crate) const MOVED_BYTES_MAX: usize = 8 << 20;
/// What a row of a moved id takes beside its text.
pub(crate) const MOVED_ROW_BYTES: usize = 320;
/// A person that is older than this counts for events that want no profile.
const UPGRADE_AFTER_US: i64 = 60_000_000;

/// What the rules look up. A key is [`key`] of a project token and a distinct id.
pub(crate) trait Lookup {
    fn person(&mut self, key: Uuid) -> Result<Option<Arc<Person>>, StateError>;

    /// The number for a person that begins now.
    fn next_number(&self) -> i64;

    /// `key` is [`groups::group_key`].
    fn group(&mut self, key: Uuid) -> Result<Option<Arc<Group>>, StateError>;

    fn group_types(&mut self, project: &str) -> Result<Arc<groups::GroupTypes>, StateError>;
}

/// The person that an event is stamped with.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    pub(crate) person_id: Uuid,
    /// The profile behind it, if there is one.
    pub(crate) person: Option<Arc<Person>>,
    pub(crate) mode: PersonMode,
}

impl Stamp {
    fn of(person: &Arc<Person>) -> Stamp {
        Stamp { person_id: person.id, person: Some(Arc::clone(person)), mode: PersonMode::Full }
    }

    /// Nobody is known by that id. Should somebody be later, it is under this person id.
    fn nobody(key: Uuid) -> Stamp {
        Stamp { person_id: key, person: None, mode: PersonMode::Propertyless }
    }
}

/// Adds what the event changes to `changes`.
pub(crate) fn person(
    event: &IdentityEvent<'_>,
    known: &mut dyn Lookup,
    changes: &mut Changes,
) -> Result<Stamp, StateError> {
    if !event.wants_profile {
        return without_profile(event, known);
    }
    if let Some(name) = event.malformed {
        changes.warn(WarningReason::InvalidOperation, format!("{name} must be a JSON object; it changed nothing"));
    }
    match event.act {
        Act::Bystander => Ok(known.person(event.key)?.map_or(Stamp::nobody(event.key), |person| Stamp::of(&person))),
        Act::Capture => update(event, Operation::Capture, known, changes),
        Act::Update(operation) => update(event, operation, known, changes),
        Act::Merge { other, other_key, operation } => {
            merge(event, &Other { id: other, key: other_key }, operation, known, changes)
        }
    }
}

fn without_profile(event: &IdentityEvent<'_>, known: &mut dyn Lookup) -> Result<Stamp, StateError> {
    let Some(person) = known.person(event.key)? else { return Ok(Stamp::nobody(event.key)) };
    // Around its first seconds a person may just be about to be identified.
    let is_settled = event.timestamp_us > person.created_at_us.saturating_add(UPGRADE_AFTER_US);
    let mode = if is_settled { PersonMode::ForceUpgrade } else { PersonMode::Propertyless };
    Ok(Stamp { mode, ..Stamp::of(&person) })
}

fn update(
    event: &IdentityEvent<'_>,
    operation: Operation,
    known: &mut dyn Lookup,
    changes: &mut Changes,
) -> Result<Stamp, StateError> {
    let Some(person) = known.person(event.key)? else {
        let ids = DistinctIds::of([event.distinct_id]);
        return Ok(begin(event, operation, ids, false, known, changes));
    };
    let Some(properties) = changed(event, operation, &person.properties, changes) else {
        return Ok(Stamp::of(&person));
    };
    let next = Person { version: person.version + 1, properties, ..Person::clone(&person) };
    Ok(changes.person(operation, next))
}

/// The other id of a merge.
struct Other<'a> {
    id: &'a str,
    key: Uuid,
}

/// The merge table of PostHog.
fn merge(
    event: &IdentityEvent<'_>,
    other: &Other<'_>,
    operation: Operation,
    known: &mut dyn Lookup,
    changes: &mut Changes,
) -> Result<Stamp, StateError> {
    if event.key == other.key {
        return update(event, operation, known, changes);
    }
    if let Some(illegal) = [event.distinct_id, other.id].into_iter().find(|id| is_illegal(id)) {
        changes.warn(WarningReason::IllegalId, format!("the distinct id {illegal:?} names nobody; nothing was merged"));
        return update(event, operation, known, changes);
    }
    match (known.person(event.key)?, known.person(other.key)?) {
        (None, None) => {
            // The anonymous id came first; flags that must not change by the login hang on it.
            let ids = match operation {
                Operation::Identify => [other.id, event.distinct_id],
                _ => [event.distinct_id, other.id],
            };
            let stamp = begin(event, operation, DistinctIds::of(ids), true, known, changes);
            changes.link(other.id, other.key, &stamp, other.key);
            Ok(stamp)
        }
        (Some(target), None) => Ok(attach(event, other, operation, &target, changes)),
        (None, Some(source)) => {
            let named = Other { id: event.distinct_id, key: event.key };
            Ok(attach(event, &named, operation, &source, changes))
        }
        (Some(target), Some(source)) if target.number == source.number => {
            let properties = changed(event, operation, &target.properties, changes);
            if properties.is_none() && target.is_identified {
                return Ok(Stamp::of(&target));
            }
            let properties = properties.unwrap_or_else(|| target.properties.clone());
            let next =
                Person { version: target.version + 1, is_identified: true, properties, ..Person::clone(&target) };
            Ok(changes.person(operation, next))
        }
        (Some(target), Some(source)) => match refusal(operation, &source) {
            Some((reason, why)) => {
                changes.warn(reason, format!("{:?} was not merged into {:?}: {why}", other.id, event.distinct_id));
                update(event, operation, known, changes)
            }
            None => Ok(fold(event, operation, &target, &source, changes)),
        },
    }
}

/// A new person under the id of the event's distinct id.
fn begin(
    event: &IdentityEvent<'_>,
    operation: Operation,
    ids: DistinctIds,
    is_identified: bool,
    known: &mut dyn Lookup,
    changes: &mut Changes,
) -> Stamp {
    let properties = changed(event, operation, &Properties::default(), changes).unwrap_or_default();
    let person = Person {
        number: known.next_number(),
        id: event.key,
        canonical: Box::from(event.distinct_id),
        ids,
        created_at_us: event.timestamp_us,
        version: 1,
        is_identified,
        properties,
    };
    let stamp = changes.person(operation, person);
    changes.links.push(Link {
        key: event.key,
        distinct_id: Box::from(event.distinct_id),
        number: changes.number_of(&stamp),
        person_id: event.key,
        moved_from: None,
        version: 1,
    });
    stamp
}

/// An id that nobody had becomes one more of the person's.
fn attach(
    event: &IdentityEvent<'_>,
    id: &Other<'_>,
    operation: Operation,
    person: &Person,
    changes: &mut Changes,
) -> Stamp {
    let mut next = Person { version: person.version + 1, is_identified: true, ..person.clone() };
    next.ids.push(id.id);
    if let Some(properties) = changed(event, operation, &person.properties, changes) {
        next.properties = properties;
    }
    let stamp = changes.person(operation, next);
    changes.link(id.id, id.key, &stamp, id.key);
    stamp
}

fn refusal(operation: Operation, source: &Person) -> Option<(WarningReason, String)> {
    if source.is_identified && operation != Operation::Merge {
        return Some((WarningReason::AlreadyIdentified, "it is identified already".to_owned()));
    }
    let (ids, total) = (&source.ids, source.ids.total());
    let moved_bytes = ids.text_bytes() + ids.listed() * MOVED_ROW_BYTES;
    if total > MOVED_IDS_MAX || !ids.are_all_listed() || moved_bytes > MOVED_BYTES_MAX {
        let why = format!("it has {total} distinct ids, more than one merge moves");
        return Some((WarningReason::TooManyIds, why));
    }
    None
}

/// The target survives with all that the source had.
fn fold(
    event: &IdentityEvent<'_>,
    operation: Operation,
    target: &Arc<Person>,
    source: &Arc<Person>,
    changes: &mut Changes,
) -> Stamp {
    let mut properties = target.properties.over(&source.properties);
    if properties.as_json().len() > PROPERTIES_BYTES_MAX {
        changes.warn(WarningReason::PersonTooLarge, too_large("what only the merged person had was left out"));
        properties = target.properties.clone();
    }
    if let Some(after) = changed(event, operation, &properties, changes) {
        properties = after;
    }
    let version = target.version.max(source.version) + 1;
    let mut next = Person {
        version,
        is_identified: true,
        created_at_us: target.created_at_us.min(source.created_at_us),
        properties,
        ..Person::clone(target)
    };
    source.ids.iter().for_each(|id| next.ids.push(&id));
    let stamp = changes.person(operation, next);
    for id in source.ids.iter() {
        changes.link(&id, key(event.project, &id), &stamp, source.id);
    }
    let gone = Person { version, ..Person::clone(source) };
    changes.persons.push(PersonChange { operation, person: Arc::new(gone), merged_into: Some(target.id) });
    stamp
}

/// The properties after the event, if it changes any and they are not too large.
fn changed(
    event: &IdentityEvent<'_>,
    operation: Operation,
    before: &Properties,
    changes: &mut Changes,
) -> Option<Properties> {
    let automatic = event.automatic.collect();
    let wanted = Wanted {
        set: event.set,
        set_once: event.set_once,
        unset: event.unset,
        automatic: &automatic,
        always: operation != Operation::Capture,
    };
    let after = before.changed(&wanted)?;
    if after.as_json().len() > PROPERTIES_BYTES_MAX {
        changes.warn(WarningReason::PersonTooLarge, too_large("the change of its properties was left out"));
        return None;
    }
    Some(after)
}

fn too_large(what: &str) -> String {
    format!("the person would have more than {PROPERTIES_BYTES_MAX} bytes of properties; {what}")
}

#[cfg(test)]
mod tests;
