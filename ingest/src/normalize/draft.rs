//! One event as its sender wrote it, with the meaning that its route gives it.

use std::borrow::Cow;

use uuid::Uuid;

use super::sent::{Additions, Sent};
use super::{Fault, address, fault};
use crate::enrich::Whose;
use crate::event::DistinctId;
use crate::properties::Object;
use crate::protocol::json::{Json, Member};
use crate::protocol::shape::Item;
use crate::protocol::{Endpoint, Reason, RequestFacts};
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
    context: Option<Cow<'a, str>>,
    ip: Option<Json<'a>>,
    pub(super) properties: Object<'a>,
    /// Keys that go into the properties, which do not have them; values are JSON.
    additions: Additions<'a>,
    /// Top-level keys without a place of their own, as they stand between the quotes.
    others: Vec<(&'a str, Json<'a>)>,
    /// Whose address was taken out of it, if that was done.
    forgotten: Option<Whose>,
}

impl<'a> Draft<'a> {
    pub(super) fn read(item: Item<'a>, fields: &'a [Member], facts: &RequestFacts) -> Result<Draft<'a>, Fault> {
        let mut sent = Sent::read(item, fields);
        if let Some(v1) = &facts.headers.v1 {
            sent.read_v1(v1)?;
        }
        let properties = sent.properties(item)?;
        let mut additions = Additions::new();
        let default_name = match facts.endpoint {
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
            context: sent.context.filter(|context| !context.is_null()).map(|context| Cow::Borrowed(context.raw())),
            ip: sent.ip.filter(|ip| ip.as_text().is_some_and(|ip| !ip.is_empty())),
            properties,
            additions,
            others: sent.others,
            forgotten: None,
        })
    }

    /// The event with these properties changed (values are JSON) and others removed, without addresses.
    pub(super) fn rewritten(self, changes: &[(&str, Cow<'_, str>)], removed: &[&str], of: Whose) -> Draft<'a> {
        let is_added = |key: &str| self.additions.iter().any(|(added, _)| *added == key);
        let of_properties: Vec<_> = changes.iter().filter(|(key, _)| !is_added(key)).cloned().collect();
        let kept = self.additions.iter().filter(|(key, _)| !removed.contains(key));
        let additions = kept.map(|(key, value)| {
            let changed = changes.iter().find(|(other, _)| other == key);
            (*key, changed.map_or_else(|| value.clone(), |(_, value)| Cow::Owned(value.clone().into_owned())))
        });
        Draft {
            additions: additions.collect(),
            properties: self.properties.rewritten(&of_properties, removed),
            ip: None,
            others: self.others.into_iter().filter(|(key, _)| *key != "ip" && !removed.contains(key)).collect(),
            forgotten: Some(of),
            ..self
        }
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

    /// The address that the event names beside its properties.
    pub(super) fn ip(&self) -> Option<Json<'a>> {
        self.ip
    }

    pub(super) fn forgotten(&self) -> Option<Whose> {
        self.forgotten
    }

    /// A key of the properties as they will be stored.
    pub(super) fn property(&self, name: &str) -> Option<Json<'_>> {
        self.properties.get(name).or_else(|| self.added(name))
    }

    /// Drops the address that the client sent, wherever it names one. It is remembered for what it tells.
    pub(super) fn forget_ip(&mut self) {
        let named = self.property(address::PROPERTY).or(self.ip).map(Json::as_text);
        self.forgotten = Some(Whose::of_event(named.as_ref().map(Option::as_deref)));
        self.ip = None;
        self.others.retain(|(key, value)| !address::is_property(key) && !names_address(key, value.raw()));
        self.additions.retain(|(key, _)| !address::is_property(key));
        for (_, value) in self.additions.iter_mut().filter(|(key, _)| address::OBJECTS.contains(key)) {
            take_address_out(value);
        }
        if let Some(context) = &mut self.context {
            take_address_out(context);
        }
        let names: Vec<Cow<'_, str>> = self.properties.entries().map(|(key, _)| key).collect();
        let removed: Vec<&str> = names.iter().map(|key| &**key).filter(|key| address::is_property(key)).collect();
        let changes: Vec<(&str, Cow<'_, str>)> = address::OBJECTS
            .into_iter()
            .filter_map(|key| {
                let object = self.properties.get(key).filter(|value| value.is_object())?;
                Some((key, Cow::Owned(address::object_without(object.raw())?)))
            })
            .collect();
        if !removed.is_empty() || !changes.is_empty() {
            self.properties = self.properties.rewritten(&changes, &removed);
        }
    }

    /// A JSON value.
    pub(super) fn context(&self) -> Option<&str> {
        self.context.as_deref()
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
        let context = Object::parse(self.context().filter(|context| context.starts_with('{'))?);
        let session_id = context.get("$session_id").or_else(|| context.get("session_id"))?;
        session_id.scalar().map(|id| Cow::Owned(id.into_owned()))
    }
}

fn names_address(key: &str, value: &str) -> bool {
    address::OBJECTS.contains(&key) && value.starts_with('{') && address::object_without(value).is_some()
}

fn take_address_out(value: &mut Cow<'_, str>) {
    let without = value.starts_with('{').then(|| address::object_without(value)).flatten();
    if let Some(without) = without {
        *value = Cow::Owned(without);
    }
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
