//! One event as its sender wrote it, with the meaning that its route gives it.

use std::borrow::Cow;

use uuid::Uuid;

use super::{Fault, fault};
use crate::event::DistinctId;
use crate::properties::{Object, merge_names, merge_objects};
use crate::protocol::json::{self, Json, Member, Span};
use crate::protocol::shape::Item;
use crate::protocol::{Endpoint, Reason};
use crate::text::splice;

/// The keys of an event, its properties already without what could be read in two ways.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    name: Cow<'a, str>,
    distinct_id: Option<Json<'a>>,
    uuid: Option<Json<'a>>,
    pub(super) timestamp: Option<Json<'a>>,
    pub(super) offset: Option<Json<'a>>,
    pub(super) sent_at: Option<Json<'a>>,
    pub(super) context: Option<Json<'a>>,
    ip: Option<Json<'a>>,
    pub(super) properties: Object<'a>,
    /// Keys that go into the properties, which do not have them; values are JSON.
    additions: Vec<(&'static str, Cow<'a, str>)>,
    /// Top-level keys without a place of their own, as they stand between the quotes.
    others: Vec<(&'a str, Json<'a>)>,
}

impl<'a> Draft<'a> {
    pub(super) fn read(item: Item<'a>, fields: &'a [Member], endpoint: Endpoint) -> Result<Draft<'a>, Fault> {
        let mut sent = Sent::read(item, fields);
        let properties = sent.properties(item)?;
        let mut additions = Vec::new();
        let default_name = match endpoint {
            Endpoint::Identify => {
                sent.identify(&properties, &mut additions);
                Some("$identify")
            }
            Endpoint::Alias => {
                sent.alias(&properties, &mut additions)?;
                Some("$create_alias")
            }
            Endpoint::Groups => {
                sent.group(&properties, &mut additions)?;
                Some("$groupidentify")
            }
            Endpoint::Engage => Some("$engage"),
            _ => None,
        };
        let name = match (sent.event.filter(|event| !event.is_null()), default_name) {
            (Some(event), _) => {
                event.as_text().ok_or_else(|| fault(Reason::MissingEvent, "the event's name is not a string"))?
            }
            (None, Some(name)) => Cow::Borrowed(name),
            (None, None) => return Err(fault(Reason::MissingEvent, "event submitted without a name (key \"event\")")),
        };
        if name.is_empty() {
            return Err(fault(Reason::EmptyEvent, "event submitted with an empty event name"));
        }
        let properties = sent.settle(properties, &mut additions);
        Ok(Draft {
            name,
            distinct_id: sent.distinct_id,
            uuid: sent.uuid.filter(|uuid| !uuid.is_null()),
            timestamp: sent.timestamp,
            offset: sent.offset,
            sent_at: sent.sent_at,
            context: sent.context.filter(|context| !context.is_null()),
            ip: sent.ip.filter(|ip| ip.as_text().is_some_and(|ip| !ip.is_empty())),
            properties,
            additions,
            others: sent.others,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Of the event, else of its properties.
    pub(super) fn distinct_id(&self, property: Option<Json<'_>>) -> Result<DistinctId, Fault> {
        let sent = [self.distinct_id, property, self.added("distinct_id")].into_iter().flatten();
        sent.filter_map(Json::stringified)
            .find_map(|id| DistinctId::parse(&id))
            .ok_or_else(|| fault(Reason::MissingDistinctId, "event submitted without a distinct_id"))
    }

    /// Nothing when the client sent none or an empty one.
    pub(super) fn uuid(&self) -> Result<Option<Uuid>, Fault> {
        let Some(sent) = self.uuid else { return Ok(None) };
        match sent.as_text() {
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => {
                Uuid::try_parse(&text).map(Some).map_err(|_| fault(Reason::InvalidUuid, "the uuid is not a UUID"))
            }
            None => Err(fault(Reason::InvalidUuid, "the uuid is not a string")),
        }
    }

    /// Whether the event names an address beside its properties.
    pub(super) fn has_ip(&self) -> bool {
        self.ip.is_some()
    }

    /// The text to store, with room for what enrichment adds.
    pub(super) fn properties_text(&self, has_ip: bool) -> String {
        const ROOM_BYTES: usize = 64;
        let raw = self.properties.raw();
        let added: usize = self.additions.iter().map(|(key, value)| key.len() + value.len() + 4).sum();
        let mut text = String::with_capacity(raw.len() + added + ROOM_BYTES);
        text.push_str(raw);
        for (key, value) in &self.additions {
            splice(&mut text, key, value);
        }
        if let (Some(ip), false) = (self.ip, has_ip) {
            splice(&mut text, "$ip", ip.raw());
        }
        text
    }

    /// A key that goes into the properties.
    pub(super) fn added(&self, name: &str) -> Option<Json<'_>> {
        let (_, value) = self.additions.iter().find(|(key, _)| *key == name)?;
        Some(Json::scanned(value))
    }

    pub(super) fn other(&self, name: &str) -> Option<Json<'a>> {
        self.others.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// Keys for `extra`, raw. An address that lost against the properties' is kept there.
    pub(super) fn others(&self, has_ip: bool) -> impl Iterator<Item = (&'a str, Json<'a>)> + '_ {
        let ip = self.ip.filter(|_| has_ip).map(|ip| ("ip", ip));
        self.others.iter().copied().chain(ip)
    }

    pub(super) fn context_session_id(&self) -> Option<Cow<'a, str>> {
        let context = Object::parse(self.context.filter(|context| context.is_object())?.raw());
        let session_id = context.get("$session_id").or_else(|| context.get("session_id"))?;
        session_id.scalar().map(|id| Cow::Owned(id.into_owned()))
    }
}

/// Keys as they stand in the event; the last of a repeated one.
#[derive(Debug, Default)]
struct Sent<'a> {
    event: Option<Json<'a>>,
    properties: Option<Json<'a>>,
    properties_span: Span,
    distinct_id: Option<Json<'a>>,
    uuid: Option<Json<'a>>,
    timestamp: Option<Json<'a>>,
    offset: Option<Json<'a>>,
    sent_at: Option<Json<'a>>,
    context: Option<Json<'a>>,
    ip: Option<Json<'a>>,
    set: Option<Json<'a>>,
    set_once: Option<Json<'a>>,
    unset: Option<Json<'a>>,
    others: Vec<(&'a str, Json<'a>)>,
}

impl<'a> Sent<'a> {
    fn read(item: Item<'a>, fields: &'a [Member]) -> Sent<'a> {
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
    fn properties(&self, item: Item<'a>) -> Result<Object<'a>, Fault> {
        match self.properties.filter(|properties| !properties.is_null()) {
            None => Ok(Object::parse("{}")),
            Some(properties) if properties.is_object() => {
                Ok(Object::within(item.text, self.properties_span, item.properties))
            }
            Some(_) => Err(fault(Reason::InvalidProperties, "properties must be a JSON object")),
        }
    }

    /// Folds `$set`, `$set_once` and `$unset` into the properties and makes every key unique there.
    fn settle(&self, properties: Object<'a>, additions: &mut Vec<(&'static str, Cow<'a, str>)>) -> Object<'a> {
        type MergeText = fn(Json<'_>, Json<'_>) -> String;
        let operations: [(&'static str, Option<Json<'a>>, MergeText); 3] = [
            ("$set", self.set, merge_objects),
            ("$set_once", self.set_once, merge_objects),
            ("$unset", self.unset, merge_names),
        ];
        let mut changes: Vec<(&str, Cow<'_, str>)> = Vec::new();
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
        properties.rewritten(&changes)
    }

    /// `/identify`: plain properties describe the person, unless the sender wrote `$set` itself.
    fn identify(&mut self, properties: &Object<'_>, additions: &mut Vec<(&'static str, Cow<'a, str>)>) {
        if self.set.is_none() && properties.get("$set").is_none() {
            add_plain_properties("$set", properties, additions);
        }
        self.move_into(properties, &["$anon_distinct_id", "anon_distinct_id"], "$anon_distinct_id", additions);
    }

    /// `/alias`
    fn alias(
        &mut self,
        properties: &Object<'_>,
        additions: &mut Vec<(&'static str, Cow<'a, str>)>,
    ) -> Result<(), Fault> {
        self.move_into(properties, &["alias", "$alias"], "alias", additions);
        require("alias", properties, additions)
    }

    /// `/groups`: like identify, for a group.
    fn group(
        &mut self,
        properties: &Object<'_>,
        additions: &mut Vec<(&'static str, Cow<'a, str>)>,
    ) -> Result<(), Fault> {
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
    fn move_into(
        &mut self,
        properties: &Object<'_>,
        names: &[&str],
        key: &'static str,
        additions: &mut Vec<(&'static str, Cow<'a, str>)>,
    ) {
        let found = self.others.iter().position(|(other, value)| names.contains(other) && !value.is_null());
        if let (Some(at), None) = (found, properties.get(key)) {
            let (_, value) = self.others.remove(at);
            additions.push((key, Cow::Borrowed(value.raw())));
        }
    }
}

/// Adds a copy of the properties that are not the SDK's own.
fn add_plain_properties(key: &'static str, properties: &Object<'_>, additions: &mut Vec<(&'static str, Cow<'_, str>)>) {
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

/// What can be told of an event that is not one, for its dead letter.
#[derive(Debug, Default)]
pub(super) struct Readable<'a> {
    pub(super) event: Option<Cow<'a, str>>,
    pub(super) distinct_id: Option<Cow<'a, str>>,
    pub(super) uuid: Option<Cow<'a, str>>,
    pub(super) lib: Option<Cow<'a, str>>,
}

impl<'a> Readable<'a> {
    pub(super) fn read(item: Item<'a>) -> Readable<'a> {
        let Some(fields) = item.fields else { return Readable::default() };
        let find = |members: &'a [Member], name: &str| {
            let member = members.iter().rev().find(|member| member.key.of(item.text) == name)?;
            Json::at(item.text, member.value).scalar()
        };
        Readable {
            event: find(fields, "event"),
            distinct_id: find(fields, "distinct_id").or_else(|| find(item.properties, "distinct_id")),
            uuid: find(fields, "uuid"),
            lib: find(item.properties, "$lib"),
        }
    }
}
