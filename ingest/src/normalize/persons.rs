//! What an event says about persons and groups, as places in its texts.

use std::sync::Arc;

use hogflare_catalog::tables::GROUP_SLOTS;
use uuid::Uuid;

use super::draft::Draft;
use super::{Fault, fault};
use crate::event::{DistinctId, GroupUpdateTexts, IdentityTexts, ProjectToken, cut};
use crate::identity::{self, ActKind, Operation};
use crate::promote::{Promotion, Special};
use crate::properties::Object;
use crate::protocol::Reason;
use crate::protocol::json::Json;
use crate::text::{TextRef, Texts};

const GROUP_KEY_CHARACTERS_MAX: usize = 400;
/// Groups of one event; those beyond have no column anyway.
const GROUPS_MAX: usize = 20;
/// Events that are about persons or groups, so that they make no sense without a profile.
const NEED_PROFILE: [&str; 4] = ["$identify", "$create_alias", "$merge_dangerously", "$groupidentify"];

/// `key` is that of the event's distinct id.
pub(super) fn identity(
    draft: &Draft<'_>,
    promotion: &Promotion<'_>,
    (token, key): (&ProjectToken, Uuid),
    types: &Arc<[Option<String>; GROUP_SLOTS]>,
    texts: &mut Texts,
) -> Result<IdentityTexts, Fault> {
    let reader = Reader { draft, promotion };
    let wants_profile = reader.value(Special::ProcessPersonProfile).and_then(Json::as_bool) != Some(false);
    if !wants_profile && NEED_PROFILE.contains(&draft.name()) {
        let detail = format!("{} with $process_person_profile: false has no meaning", draft.name());
        return Err(fault(Reason::PersonProcessingOff, detail));
    }
    let mut found = IdentityTexts { wants_profile, ..IdentityTexts::new(key) };
    found.groups = reader.groups(texts);
    found.group_update = reader.group_update(texts);
    if !found.groups.is_empty() || found.group_update.is_some() {
        found.configured_types = Some(Arc::clone(types));
    }
    if draft.name() == "$groupidentify" && reader.is_malformed(Special::GroupSet) {
        found.malformed = Some(Special::GroupSet.name());
    }
    found.act = act_of(draft.name());
    if !wants_profile || found.act == ActKind::Bystander || draft.name() == "$exception" {
        return Ok(found);
    }
    if let ActKind::Merge(operation) = found.act {
        match reader.other(operation) {
            Some(other) => {
                found.other_key = identity::key(token.as_str(), &other);
                found.other = texts.push(&other);
            }
            None => found.act = ActKind::Update(operation),
        }
    }
    found.set = reader.object(Special::Set, texts);
    found.set_once = reader.object(Special::SetOnce, texts);
    let unset = reader.value(Special::Unset).filter(|unset| unset.is_object() || unset.is_array());
    found.unset = unset.map_or(TextRef::NONE, |unset| reader.raw(unset, texts));
    found.malformed =
        [Special::Set, Special::SetOnce].into_iter().find(|special| reader.is_malformed(*special)).map(Special::name);
    found.takes_automatic = true;
    found.automatic =
        promotion.automatic().iter().map(|(automatic, value)| (*automatic, reader.raw(*value, texts))).collect();
    Ok(found)
}

fn act_of(name: &str) -> ActKind {
    match name {
        "$identify" => ActKind::Merge(Operation::Identify),
        "$create_alias" => ActKind::Merge(Operation::Alias),
        "$merge_dangerously" => ActKind::Merge(Operation::Merge),
        "$set" | "$unset" => ActKind::Update(Operation::Set),
        "$engage" => ActKind::Update(Operation::Engage),
        "$groupidentify" | "$$heatmap" | "$$client_ingestion_warning" => ActKind::Bystander,
        _ => ActKind::Capture,
    }
}

struct Reader<'r, 'a> {
    draft: &'r Draft<'a>,
    promotion: &'r Promotion<'a>,
}

impl<'r> Reader<'r, '_> {
    /// Of the properties, else of what is added to them.
    fn value(&self, special: Special) -> Option<Json<'r>> {
        let value = self.promotion.special(special).or_else(|| self.draft.added(special.name()));
        value.filter(|value| !value.is_null())
    }

    /// The other id of a merge; a blank one is empty, and names nobody.
    fn other(&self, operation: Operation) -> Option<String> {
        let special = if operation == Operation::Identify { Special::AnonDistinctId } else { Special::Alias };
        let other = DistinctId::parse(&self.value(special)?.stringified()?);
        Some(other.map_or(String::new(), |other| other.as_str().to_owned()))
    }

    /// Whether something else than an object stands where one must be. Beside the properties such a value
    /// is a key like any other.
    fn is_malformed(&self, special: Special) -> bool {
        let beside = self.draft.other(special.name()).filter(|value| !value.is_null());
        [self.value(special), beside].into_iter().flatten().any(|value| !value.is_object())
    }

    fn object(&self, special: Special, texts: &mut Texts) -> TextRef {
        let object = self.value(special).filter(|value| value.is_object());
        object.map_or(TextRef::NONE, |object| self.raw(object, texts))
    }

    /// Where a value stands as JSON.
    fn raw(&self, value: Json<'_>, texts: &mut Texts) -> TextRef {
        match self.draft.properties.place_of(value) {
            Some(offset) => TextRef::in_properties(offset, value.raw().len()),
            None => texts.push(value.raw()),
        }
    }

    fn groups(&self, texts: &mut Texts) -> Box<[(TextRef, TextRef)]> {
        let Some(groups) = self.value(Special::Groups).filter(|groups| groups.is_object()) else {
            return Box::default();
        };
        let groups = Object::parse(groups.raw());
        let pairs = groups.entries().filter_map(|(name, key)| Some((name, key.scalar()?)));
        let pairs = pairs.filter(|(name, key)| !name.is_empty() && !key.is_empty()).take(GROUPS_MAX);
        pairs.map(|(name, key)| (texts.push(limited(&name)), texts.push(limited(&key)))).collect()
    }

    fn group_update(&self, texts: &mut Texts) -> Option<GroupUpdateTexts> {
        if self.draft.name() != "$groupidentify" {
            return None;
        }
        let text = |special| self.value(special)?.scalar().filter(|text| !text.is_empty());
        let (group_type, group_key) = (text(Special::GroupType)?, text(Special::GroupKey)?);
        Some(GroupUpdateTexts {
            group_type: texts.push(limited(&group_type)),
            group_key: texts.push(limited(&group_key)),
            set: self.object(Special::GroupSet, texts),
        })
    }
}

fn limited(text: &str) -> &str {
    cut(text, GROUP_KEY_CHARACTERS_MAX)
}
