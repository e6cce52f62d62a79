//! The file of flags: of one project, or of several by their tokens.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::FlagsError;
use super::cohort;
use super::definition;
use super::filter::Names;
use super::flag::Flag;
use super::place::{Notes, Object, Place};
use super::set::FlagSet;

const FILE_BYTES_MAX: usize = 64 << 20;
const FLAGS_MAX: usize = 10_000;
const COHORTS_MAX: usize = 10_000;

/// All flags of the installation, checked. Reading it again gives the same ids.
#[derive(Debug, Default)]
pub struct FlagFile {
    others: Arc<FlagSet>,
    projects: HashMap<String, Arc<FlagSet>>,
    warnings: Vec<String>,
}

impl FlagFile {
    /// Reads a list of flags, `{"flags": …, "cohorts": …, "group_type_mapping": …}`, or the same with
    /// `"projects": {"<token>": …}`, whose projects then have these flags only.
    ///
    /// # Errors
    /// What is wrong, and where. There are no half-read files.
    pub fn parse(text: &str) -> Result<FlagFile, FlagsError> {
        let notes = Notes::default();
        let root = Place::root(&notes);
        if text.len() > FILE_BYTES_MAX {
            return Err(root.refuse(format!("{} bytes, more than {FILE_BYTES_MAX}", text.len())));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let value: Value = serde_json::from_str(text).map_err(|e| FlagsError::syntax(&e))?;
        let mut projects = HashMap::new();
        if let Some(Value::Object(sets)) = value.get("projects") {
            for (token, value) in sets {
                projects.insert(token.clone(), Arc::new(flag_set(value, &root.project(token), false)?));
            }
        }
        let others = Arc::new(flag_set(&value, &root, true)?);
        let flags = others.len() + projects.values().map(|set| set.len()).sum::<usize>();
        if flags > FLAGS_MAX {
            return Err(root.refuse(format!("{flags} flags, more than {FLAGS_MAX}")));
        }
        Ok(FlagFile { others, projects, warnings: notes.into_warnings() })
    }

    /// The flags of a project: its own, or else those that hold for all others.
    pub fn project(&self, token: &str) -> &Arc<FlagSet> {
        self.projects.get(token).unwrap_or(&self.others)
    }

    /// What looks like a mistake and was not refused, for the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Reads the flags of one project, or of all that have no own.
fn flag_set(value: &Value, place: &Place<'_>, is_root: bool) -> Result<FlagSet, FlagsError> {
    let items = Map::new();
    let items = match value {
        Value::Array(_) => Object { map: &items, place },
        other => place.object(other)?,
    };
    let known = ["flags", "cohorts", "group_type_mapping", "property_matching_version", "projects"];
    items.warn_unknown(&known[..if is_root { 5 } else { 4 }]);
    items.entries("projects")?;
    let matching_version = items.integer("property_matching_version")?.unwrap_or(1);
    let cohorts = items.entries("cohorts")?.cloned().unwrap_or_default();
    if cohorts.len() > COHORTS_MAX {
        return Err(place.field("cohorts").refuse(format!("{} cohorts, more than {COHORTS_MAX}", cohorts.len())));
    }
    let cohort_ids = cohort::ids(&cohorts);
    let cohorts = cohort::read(&cohorts, place, matching_version)?;
    let flags_value = if value.is_array() { value } else { items.get("flags").unwrap_or(&Value::Null) };
    let list_place = place.field("flags");
    let flags = flags(list_place.list(flags_value)?, place, &cohort_ids, matching_version)?;
    FlagSet::new(flags, cohorts, group_types(&items)?, matching_version, place)
}

/// `{"0": "company"}`
fn group_types(object: &Object<'_, '_>) -> Result<[Option<String>; super::GROUP_TYPES_MAX], FlagsError> {
    let mut types = [const { None }; super::GROUP_TYPES_MAX];
    let place = object.place.field("group_type_mapping");
    for (index, name) in object.entries("group_type_mapping")?.into_iter().flatten() {
        let slot = index.parse::<usize>().ok().and_then(|index| types.get_mut(index));
        let slot = slot.ok_or_else(|| place.refuse(format!("{index:?} is no group type; they are \"0\" to \"4\"")))?;
        let name = name.as_str().ok_or_else(|| place.field(index).refuse("must be the name of a group type"))?;
        *slot = Some(name.to_owned());
    }
    Ok(types)
}

fn flags(
    items: &[Value],
    place: &Place<'_>,
    cohorts: &HashMap<String, usize>,
    matching_version: i64,
) -> Result<Vec<Flag>, FlagsError> {
    let list_place = place.field("flags");
    let mut heads = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = list_place.index(index);
        let head = definition::head(&place.object(item)?)?;
        if !head.deleted {
            heads.push((head, index));
        }
    }
    let ids = ids(&heads, &list_place)?;
    let names = flag_names(&heads, &ids, &list_place)?;
    let names = Names { flags: &names, cohorts, matching_version };
    let mut flags = Vec::with_capacity(heads.len());
    for ((head, index), id) in heads.iter().zip(ids) {
        flags.push(definition::read(&place.flag(head.key).object(&items[*index])?, id, names)?);
    }
    Ok(flags)
}

/// The given ids; flags without one get the smallest free ones, in their order.
fn ids(heads: &[(definition::Head<'_>, usize)], place: &Place<'_>) -> Result<Vec<i64>, FlagsError> {
    let mut given = HashSet::new();
    for (head, index) in heads {
        if let Some(id) = head.id
            && !given.insert(id)
        {
            return Err(place.index(*index).field("id").refuse(format!("another flag has the id {id}, too")));
        }
    }
    let mut free = (1..).filter(|id| !given.contains(id));
    let ids = heads.iter().map(|(head, _)| head.id.or_else(|| free.next()));
    Ok(ids.map(|id| id.expect("there are more integers than flags")).collect())
}

/// Positions of flags by key and, where no key is in the way, by id.
fn flag_names(
    heads: &[(definition::Head<'_>, usize)],
    ids: &[i64],
    place: &Place<'_>,
) -> Result<HashMap<String, usize>, FlagsError> {
    let mut names: HashMap<String, usize> = ids.iter().enumerate().map(|(index, id)| (id.to_string(), index)).collect();
    let mut keys: HashMap<&str, usize> = HashMap::new();
    for (position, (head, index)) in heads.iter().enumerate() {
        if let Some(first) = keys.insert(head.key, *index) {
            let problem = format!("the key {:?} is taken by flags[{first}]", head.key);
            return Err(place.index(*index).field("key").refuse(problem));
        }
        // PostHog names dependencies by id; a key of digits only must not hide one.
        names.entry(head.key.to_owned()).or_insert(position);
    }
    Ok(names)
}
