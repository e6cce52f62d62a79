//! The keys of an event as its sender wrote them, and what the routes with a meaning make of them.

mod v1;

use std::borrow::Cow;

use super::{Fault, fault};
use crate::properties::{Object, merge_names, merge_objects};
use crate::protocol::Reason;
use crate::protocol::json::{self, Json, Member, Span};
use crate::protocol::shape::Item;
use crate::text::splice;

/// Keys that go into properties which do not have them, and their values as JSON.
pub(super) type Additions<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// Keys as they stand in the event; the last of a repeated one.
#[derive(Debug, Default)]
pub(super) struct Sent<'a> {
    pub(super) event: Option<Json<'a>>,
    properties: Option<Json<'a>>,
    properties_span: Span,
    pub(super) distinct_id: Option<Json<'a>>,
    pub(super) uuid: Option<Json<'a>>,
    pub(super) timestamp: Option<Json<'a>>,
    pub(super) offset: Option<Json<'a>>,
    pub(super) sent_at: Option<Json<'a>>,
    pub(super) context: Option<Json<'a>>,
    pub(super) ip: Option<Json<'a>>,
    set: Option<Json<'a>>,
    set_once: Option<Json<'a>>,
    unset: Option<Json<'a>>,
    /// Keys of the properties that win over those sent there.
    overrides: Additions<'a>,
    pub(super) others: Vec<(&'a str, Json<'a>)>,
}

impl<'a> Sent<'a> {
    pub(super) fn read(item: Item<'a>, fields: &'a [Member]) -> Sent<'a> {
        let mut sent = Sent::default();
        let mut dollar_distinct_id = None;
        for member in fields {
            let raw_key = member.key.of(item.text);
            let key = if member.key_escaped { json::unescape(raw_key) } else { Cow::Borrowed(raw_key) };
            let value = Json::at(item.text, member.value);
            if key == "properties" {
                sent.properties_span = member.value;
            }
            let place = match &*key {
                "event" => &mut sent.event,
                "properties" => &mut sent.properties,
                "distinct_id" => &mut sent.distinct_id,
                "$distinct_id" => &mut dollar_distinct_id,
                "uuid" => &mut sent.uuid,
                "timestamp" => &mut sent.timestamp,
                "offset" => &mut sent.offset,
                "sent_at" => &mut sent.sent_at,
                "context" => &mut sent.context,
                "ip" if value.as_text().is_some() => &mut sent.ip,
                "$set" if value.is_object() => &mut sent.set,
                "$set_once" if value.is_object() => &mut sent.set_once,
                "$unset" if value.is_object() || value.is_array() => &mut sent.unset,
                "token" | "$token" | "api_key" => continue,
                _ => {
                    sent.others.retain(|(other, _)| *other != raw_key);
                    sent.others.push((raw_key, value));
                    continue;
                }
            };
            *place = Some(value);
        }
        sent.distinct_id = sent.distinct_id.filter(|id| !id.is_null()).or(dollar_distinct_id);
        sent
    }

    /// Missing and null properties are empty ones.
    pub(super) fn properties(&self, item: Item<'a>) -> Result<Object<'a>, Fault> {
        match self.properties.filter(|properties| !properties.is_null()) {
            None => Ok(Object::parse("{}")),
            Some(properties) if properties.is_object() => {
                Ok(Object::within(item.text, self.properties_span, item.properties))
            }
            Some(_) => Err(fault(Reason::InvalidProperties, "properties must be a JSON object")),
        }
    }

    /// Folds `$set`, `$set_once`, `$unset` and what wins into the properties and makes every key unique there.
    pub(super) fn settle(&self, properties: Object<'a>, additions: &mut Additions<'a>) -> Object<'a> {
        type MergeText = fn(Json<'_>, Json<'_>) -> String;
        let operations: [(&'static str, Option<Json<'a>>, MergeText); 3] = [
            ("$set", self.set, merge_objects),
            ("$set_once", self.set_once, merge_objects),
            ("$unset", self.unset, merge_names),
        ];
        let mut changes: Vec<(&str, Cow<'_, str>)> = self.overrides.clone();
        for (key, top, merge) in operations {
            let Some(top) = top else { continue };
            match properties.get(key) {
                None => {
                    additions.retain(|(added, _)| *added != key);
                    additions.push((key, Cow::Borrowed(top.raw())));
                }
                Some(inner) => changes.push((key, Cow::Owned(merge(inner, top)))),
            }
        }
        if changes.is_empty() && !properties.repeats_keys() {
            return properties;
        }
        properties.rewritten(&changes, &[])
    }

    /// `/identify`: plain properties describe the person, unless the sender wrote `$set` itself.
    pub(super) fn identify(&mut self, properties: &Object<'_>, additions: &mut Additions<'a>) {
        if self.set.is_none() && properties.get("$set").is_none() {
            add_plain_properties("$set", properties, additions);
        }
        self.move_into(properties, &["$anon_distinct_id", "anon_distinct_id"], "$anon_distinct_id", additions);
    }

    /// `/alias`
    pub(super) fn alias(&mut self, properties: &Object<'_>, additions: &mut Additions<'a>) -> Result<(), Fault> {
        self.move_into(properties, &["alias", "$alias"], "alias", additions);
        require("alias", properties, additions)
    }

    /// `/groups`: like identify, for a group.
    pub(super) fn group(&mut self, properties: &Object<'_>, additions: &mut Additions<'a>) -> Result<(), Fault> {
        self.move_into(properties, &["$group_type", "group_type"], "$group_type", additions);
        self.move_into(properties, &["$group_key", "group_key"], "$group_key", additions);
        self.move_into(properties, &["$group_set", "group_set", "group_properties"], "$group_set", additions);
        if properties.get("$group_set").is_none() && additions.iter().all(|(key, _)| *key != "$group_set") {
            add_plain_properties("$group_set", properties, additions);
        }
        require("$group_type", properties, additions)?;
        require("$group_key", properties, additions)?;
        if self.distinct_id.is_none() && properties.get("distinct_id").is_none() {
            // As SDKs do when they are given none.
            let part = |key| found(key, properties, additions).unwrap_or_default();
            let mut id = String::new();
            json::push_string(&mut id, &format!("${}_{}", part("$group_type"), part("$group_key")));
            additions.push(("distinct_id", Cow::Owned(id)));
        }
        Ok(())
    }

    /// Takes the first top-level key of `names` into the properties, unless they have `key`.
    fn move_into(&mut self, properties: &Object<'_>, names: &[&str], key: &'static str, additions: &mut Additions<'a>) {
        let found = self.others.iter().position(|(other, value)| names.contains(other) && !value.is_null());
        if let (Some(at), None) = (found, properties.get(key)) {
            let (_, value) = self.others.remove(at);
            additions.push((key, Cow::Borrowed(value.raw())));
        }
    }
}

/// Adds a copy of the properties that are not the SDK's own.
fn add_plain_properties(key: &'static str, properties: &Object<'_>, additions: &mut Additions<'_>) {
    let mut plain = String::from("{}");
    for (name, value) in properties.entries() {
        let is_plain = !name.starts_with('$') && !matches!(&*name, "token" | "distinct_id");
        if is_plain {
            let mut quoted = String::new();
            json::push_string(&mut quoted, &name);
            splice(&mut plain, &quoted[1..quoted.len() - 1], value.raw());
        }
    }
    if plain != "{}" {
        additions.push((key, Cow::Owned(plain)));
    }
}

fn require(
    key: &'static str,
    properties: &Object<'_>,
    additions: &[(&'static str, Cow<'_, str>)],
) -> Result<(), Fault> {
    match found(key, properties, additions) {
        Some(_) => Ok(()),
        None => Err(fault(
            Reason::InvalidProperties,
            format!("the key {} is missing or not a text", key.trim_start_matches('$')),
        )),
    }
}

fn found(key: &str, properties: &Object<'_>, additions: &[(&'static str, Cow<'_, str>)]) -> Option<String> {
    let added = additions.iter().find(|(added, _)| *added == key).map(|(_, value)| Json::scanned(value));
    let value = properties.get(key).or(added)?.scalar()?;
    Some(value.into_owned()).filter(|value| !value.is_empty())
}
