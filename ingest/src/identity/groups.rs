//! Slots of group types, and what an event says of groups.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hogflare_catalog::tables::GROUP_SLOTS;
use uuid::Uuid;

use super::event::{GroupUpdate, IdentityEvent};
use super::person::Group;
use super::properties::{Properties, Wanted};
use super::rules::{Lookup, PROPERTIES_BYTES_MAX};
use super::{COPIED_BYTES_MAX, Changes, StateError, TypeChange, WarningReason};
use crate::protocol::json;

const GROUP_NAMESPACE: Uuid = Uuid::from_u128(0x5fb1_8e0c_51b3_4e0e_a0c5_3f1f_29c6_7d10);

/// Stands for a group wherever one is looked up.
pub(crate) fn group_key(project: &str, group_type: &str, group_key: &str) -> Uuid {
    let name = [project, "\0", group_type, "\0", group_key].concat();
    Uuid::new_v5(&GROUP_NAMESPACE, name.as_bytes())
}

/// Stands for the group types of a project wherever they are looked up.
pub(crate) fn types_key(project: &str) -> Uuid {
    Uuid::new_v5(&GROUP_NAMESPACE, project.as_bytes())
}

/// Which type has which slot in a project. A type keeps its slot for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupTypes {
    pub(crate) names: [Option<Box<str>>; GROUP_SLOTS],
}

/// Slots that settings fix: for single projects, else for all others.
#[derive(Clone, Debug, Default)]
pub struct ConfiguredTypes {
    pub default: [Option<String>; GROUP_SLOTS],
    pub projects: HashMap<String, [Option<String>; GROUP_SLOTS]>,
    /// The projects whose events are taken, if not all: what others stored contradicts nothing.
    pub only: Option<HashSet<String>>,
}

impl ConfiguredTypes {
    /// Rows are stored under the known slots already: a setting that names others would give a column two
    /// meanings.
    pub(super) fn check(&self, known: &[(String, usize, String)]) -> Result<(), StateError> {
        let counts = |project: &String| self.only.as_ref().is_none_or(|only| only.contains(project));
        for (project, slot, name) in known.iter().filter(|(project, _, _)| counts(project)) {
            let configured = self.projects.get(project).unwrap_or(&self.default);
            let elsewhere = configured.iter().position(|other| other.as_deref() == Some(name));
            let taken = configured.get(*slot).and_then(Option::as_deref).filter(|other| other != name);
            let contradiction = match (elsewhere.filter(|other| other != slot), taken) {
                (Some(other), _) => format!("the settings give {name:?} the column group{other}"),
                (None, Some(other)) => format!("the settings give that column to {other:?}"),
                (None, None) => continue,
            };
            return Err(StateError::Refused(format!(
                "the groups of type {name:?} of project {project} are stored in the column group{slot}, but \
                 {contradiction}; change POSTHOG_GROUP_TYPE_{slot} or the project's group_types to say {name:?}"
            )));
        }
        Ok(())
    }
}

impl GroupTypes {
    /// By slot.
    pub fn names(&self) -> impl Iterator<Item = Option<&str>> {
        self.names.iter().map(Option::as_deref)
    }

    pub(crate) fn slot(&self, group_type: &str) -> Option<usize> {
        self.names.iter().position(|name| name.as_deref() == Some(group_type))
    }

    /// A slot for a type that has none: the configured one, else the first that is free and not reserved
    /// for another.
    fn free_slot(&self, group_type: &str, configured: &[Option<String>; GROUP_SLOTS]) -> Option<usize> {
        if let Some(slot) = configured.iter().position(|name| name.as_deref() == Some(group_type)) {
            return self.names[slot].is_none().then_some(slot);
        }
        (0..GROUP_SLOTS).find(|slot| self.names[*slot].is_none() && configured[*slot].is_none())
    }
}

/// The columns of an event's groups.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupStamp<'a> {
    pub(crate) keys: [Option<&'a str>; GROUP_SLOTS],
    /// A JSON object by group type.
    pub(crate) properties: Option<String>,
}

/// Adds what the event changes to `changes`. Types beyond the fifth have no column.
pub(crate) fn groups<'a>(
    event: &IdentityEvent<'a>,
    known: &mut dyn Lookup,
    changes: &mut Changes,
) -> Result<GroupStamp<'a>, StateError> {
    let mut stamp = GroupStamp::default();
    if event.groups.found.is_empty() && event.group_update.is_none() {
        return Ok(stamp);
    }
    let mut types = known.group_types(event.project)?;
    let updated = event.group_update.map(|update| (update.group_type, update.group_key));
    for (group_type, group_key) in event.groups.iter().chain(updated) {
        if let Some(slot) = slot(event, &mut types, group_type, changes) {
            stamp.keys[slot].get_or_insert(group_key);
        }
    }
    let mut changed = None;
    if let Some(of_event) = &event.group_update
        && let Some(slot) = types.slot(of_event.group_type)
    {
        changed = update(event, of_event, slot, known, changes)?;
    }
    stamp.properties = properties(event, &stamp, &types, changed.as_deref(), known)?;
    Ok(stamp)
}

fn slot(
    event: &IdentityEvent<'_>,
    types: &mut Arc<GroupTypes>,
    group_type: &str,
    changes: &mut Changes,
) -> Option<usize> {
    if let Some(slot) = types.slot(group_type) {
        return Some(slot);
    }
    let slot = types.free_slot(group_type, event.configured_types)?;
    let mut next = GroupTypes::clone(types);
    next.names[slot] = Some(Box::from(group_type));
    *types = Arc::new(next);
    changes.types.push(TypeChange { slot, name: Box::from(group_type), after: Arc::clone(types) });
    Some(slot)
}

fn update(
    event: &IdentityEvent<'_>,
    of_event: &GroupUpdate<'_>,
    slot: usize,
    known: &mut dyn Lookup,
    changes: &mut Changes,
) -> Result<Option<Arc<Group>>, StateError> {
    let key = group_key(event.project, of_event.group_type, of_event.group_key);
    let before = known.group(key)?;
    let nothing = Properties::default();
    let properties = before.as_ref().map_or(&nothing, |group| &group.properties);
    let wanted = Wanted { set: of_event.set, always: true, ..Wanted::default() };
    let after = match properties.changed(&wanted) {
        Some(after) if after.as_json().len() > PROPERTIES_BYTES_MAX => {
            let detail = format!(
                "the group would have more than {PROPERTIES_BYTES_MAX} bytes of properties; the change was left out"
            );
            changes.warn(WarningReason::GroupTooLarge, detail);
            return Ok(before);
        }
        Some(after) => after,
        None if before.is_some() => return Ok(before),
        None => nothing.clone(),
    };
    let group = Group {
        slot,
        group_type: Box::from(of_event.group_type),
        key: Box::from(of_event.group_key),
        created_at_us: before.as_ref().map_or(event.timestamp_us, |group| group.created_at_us),
        version: before.as_ref().map_or(1, |group| group.version + 1),
        properties: after,
    };
    let group = Arc::new(group);
    changes.groups.push((key, Arc::clone(&group)));
    Ok(Some(group))
}

/// The properties of the event's groups, as far as they are known and within the limit.
fn properties(
    event: &IdentityEvent<'_>,
    stamp: &GroupStamp<'_>,
    types: &GroupTypes,
    changed: Option<&Group>,
    known: &mut dyn Lookup,
) -> Result<Option<String>, StateError> {
    let mut all = String::from("{}");
    for (slot, group_key_text) in stamp.keys.iter().enumerate().filter_map(|(slot, key)| Some((slot, (*key)?))) {
        let Some(name) = types.names[slot].as_deref() else { continue };
        let stored;
        let group = match changed {
            Some(group) if group.slot == slot && &*group.key == group_key_text => group,
            _ => match known.group(group_key(event.project, name, group_key_text))? {
                Some(group) => {
                    stored = group;
                    &*stored
                }
                None => continue,
            },
        };
        let copy = group.properties.copy_within(COPIED_BYTES_MAX / GROUP_SLOTS);
        let mut quoted = String::new();
        json::push_string(&mut quoted, name);
        crate::text::splice(&mut all, &quoted[1..quoted.len() - 1], &copy);
    }
    Ok((all != "{}").then_some(all))
}
