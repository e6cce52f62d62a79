//! From the events of a request to rows: tokens, ids, times, properties and limits.
//!
//! A bad event does not reject its neighbours; only a request without a usable token is refused as a
//! whole.

mod address;
mod columns;
mod cookieless;
mod draft;
mod persons;
mod request;
mod sent;
mod wants;

use std::borrow::Cow;
use std::sync::Arc;

use hogflare_catalog::tables::{GROUP_SLOTS, Slot};

use uuid::Uuid;

use crate::cookieless::Salts;
use crate::event::{CapturedEvent, DistinctId, Rejected, UuidText, cut};
use crate::identity;
use crate::ids::IdSource;
use crate::projects::SharedProjects;
use crate::promote::{Column, Promotion, Special, promote};
use crate::protocol::json::Json;
use crate::protocol::shape::Item;
use crate::protocol::{Code, Endpoint, Reason, Refusal, Request, RequestFacts};
use crate::text::{TextRef, Texts};
use crate::timestamp::{self, ClientTime, EventTime};
use draft::Draft;
use request::RequestContext;

const EVENT_NAME_CHARACTERS_MAX: usize = 200;
const EVENT_UUID_CHARACTERS_MAX: usize = 64;
/// Days between the event and its receipt, above which it goes to the late slot.
const NEAR_DAYS_MAX: i64 = 3;

/// Settings of all projects; what a project has of its own wins.
#[derive(Clone, Debug)]
pub struct NormalizeSettings {
    pub team_id: Option<i64>,
    /// Names of the group types whose slots are fixed, where the project settles none.
    pub group_types: Arc<[Option<String>; GROUP_SLOTS]>,
    /// Whose events are taken, and what is settled for each.
    pub projects: SharedProjects,
    /// Of an event's stored text, enrichment included.
    pub event_bytes_max: usize,
    /// Levels of objects and arrays in an event, its own included.
    pub event_depth_max: usize,
    /// How much of an event a dead letter keeps.
    pub dead_letter_raw_bytes_max: usize,
    /// For visitors whose browser keeps no id.
    pub cookieless_salts: Arc<Salts>,
}

impl Default for NormalizeSettings {
    fn default() -> Self {
        NormalizeSettings {
            team_id: None,
            group_types: Default::default(),
            projects: SharedProjects::default(),
            event_bytes_max: 1 << 20,
            event_depth_max: 128,
            dead_letter_raw_bytes_max: 16 << 10,
            cookieless_salts: Arc::default(),
        }
    }
}

/// The events of a request in its order, and why others were not stored as events.
#[derive(Clone, Debug, Default)]
pub struct Normalized {
    pub events: Vec<CapturedEvent>,
    pub rejected: Vec<Rejected>,
    /// `$performance_event`s, which nothing stores any more.
    pub dropped_performance_events: usize,
}

/// How to answer when all rows of [`Normalized`] are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 200, with this value of the header `X-Hogflare-Rejected`.
    Stored { rejected_header: Option<String> },
    /// No event could be stored; the dead letters are stored nevertheless.
    Refused(Refusal),
}

impl Normalized {
    /// One stored event makes it a 200: an SDK that gets a 4xx drops the whole request. What is kept
    /// aside by its own wish is no fault of the request.
    pub fn outcome(&self) -> Outcome {
        let Some(first) = self.rejected.first() else { return Outcome::Stored { rejected_header: None } };
        let kept_aside = self
            .rejected
            .iter()
            .any(|rejected| matches!(rejected.reason, Reason::RecordingOff | Reason::PersonProcessingOff));
        if self.events.is_empty() && self.dropped_performance_events == 0 && !kept_aside {
            return Outcome::Refused(Refusal::new(Code::Rejected(first.reason), first.detail.clone()));
        }
        let header = format!("{}; reason={}", self.rejected.len(), first.reason.as_str());
        Outcome::Stored { rejected_header: Some(header) }
    }
}

/// Makes events of a request, and dead letters of those that cannot be events.
///
/// # Errors
/// 401 when the request has no token, a malformed or unknown one, or several; 403 when it comes from a page
/// of a site that the project does not list.
pub fn normalize(
    request: Request,
    facts: &RequestFacts,
    settings: &NormalizeSettings,
    ids: &mut dyn IdSource,
) -> Result<Normalized, Refusal> {
    let context = RequestContext::read(&request, facts, settings)?;
    let mut normalizer =
        Normalizer { facts, settings, context, ids, last_person: None, last_sent_at: None, scratch: String::new() };
    let mut normalized = Normalized { events: Vec::with_capacity(request.items().len()), ..Normalized::default() };
    for (index, item) in request.items().enumerate() {
        match normalizer.item(item) {
            Ok(Some(event)) => normalized.events.push(event),
            Ok(None) => normalized.dropped_performance_events += 1,
            Err(fault) => normalized.rejected.push(normalizer.rejected(index, item, fault)),
        }
    }
    Ok(normalized)
}

/// Why an item is no event.
#[derive(Debug)]
struct Fault {
    reason: Reason,
    detail: Cow<'static, str>,
}

fn fault(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Fault {
    Fault { reason, detail: detail.into() }
}

struct Normalizer<'a> {
    facts: &'a RequestFacts,
    settings: &'a NormalizeSettings,
    context: RequestContext,
    ids: &'a mut dyn IdSource,
    /// Batches mostly repeat one distinct id; its person id is a SHA-1.
    last_person: Option<(DistinctId, Uuid, UuidText)>,
    /// A batch has one time of sending.
    last_sent_at: Option<(i64, String)>,
    /// Memory of the `extra` under construction.
    scratch: String,
}

impl Normalizer<'_> {
    /// Nothing for an event that is dropped.
    fn item(&mut self, item: Item<'_>) -> Result<Option<CapturedEvent>, Fault> {
        if self.facts.endpoint == Endpoint::Recording {
            return Err(fault(Reason::RecordingOff, "session recording is off"));
        }
        if item.depth > self.settings.event_depth_max {
            return Err(fault(
                Reason::TooDeep,
                format!("the event nests deeper than {} levels", self.settings.event_depth_max),
            ));
        }
        let Some(fields) = item.fields else {
            return Err(fault(Reason::NotAnObject, "an event must be a JSON object"));
        };
        let mut draft = Draft::read(item, fields, self.facts)?;
        if !self.context.stores_ip {
            draft.forget_ip();
        }
        match draft.name() {
            "$snapshot" => Err(fault(Reason::RecordingOff, "session recording is off")),
            "$performance_event" => Ok(None),
            _ => self.event(draft).map(Some),
        }
    }

    fn event(&mut self, draft: Draft<'_>) -> Result<CapturedEvent, Fault> {
        let promotion = promote(&draft.properties);
        let distinct_id = draft.distinct_id(promotion.special(Special::DistinctId))?;
        if !cookieless::concerns(&draft, &promotion, &distinct_id) {
            return self.captured(&draft, &promotion, distinct_id);
        }
        let (time, _) = self.time(&draft, &promotion);
        let (token, salts) = (&self.context.token, &*self.settings.cookieless_salts);
        let (draft, distinct_id) =
            cookieless::without_traces(draft, distinct_id, time.timestamp_us, token, self.facts, salts);
        self.captured(&draft, &promote(&draft.properties), distinct_id)
    }

    fn captured(
        &mut self,
        draft: &Draft<'_>,
        promotion: &Promotion<'_>,
        distinct_id: DistinctId,
    ) -> Result<CapturedEvent, Fault> {
        let (uuid, uuid_is_clients) = match draft.uuid()? {
            Some(uuid) => (uuid, !uuid.is_nil()),
            None => (self.ids.uuid_v7(self.facts.received_at_us), false),
        };
        let (time, sent_at_us) = self.time(draft, promotion);
        let has_ip = promotion.special(Special::Ip).is_some();
        let mut texts = Texts::new(draft.properties_text(has_ip));
        let columns = columns::promoted(draft, promotion, &mut texts);
        let context = draft.context().map_or(TextRef::NONE, |context| texts.push(context));
        let sent_at_us = sent_at_us.filter(|_| time.used_sent_at);
        let extra = self.extra(draft, promotion, has_ip, sent_at_us, &mut texts);
        if texts.bytes() + crate::enrich::ADDED_BYTES_MAX > self.settings.event_bytes_max {
            let detail = format!("the event is larger than {} bytes", self.settings.event_bytes_max);
            return Err(fault(Reason::EventTooLarge, detail));
        }
        let cf_asn = promotion.column(Column::CfAsn).and_then(|asn| asn.scalar()?.parse().ok());
        let (key, person_id) = self.person(&distinct_id);
        let whose = (&self.context.token, key);
        let identity = persons::identity(draft, promotion, whose, self.context.group_types(self.settings), &mut texts)?;
        Ok(CapturedEvent {
            uuid,
            uuid_text: UuidText::from(uuid),
            uuid_is_clients,
            token: self.context.token.clone(),
            team_id: self.context.team_id,
            name: Box::from(cut(draft.name(), EVENT_NAME_CHARACTERS_MAX)),
            person_id,
            identity,
            distinct_id,
            timestamp_us: time.timestamp_us,
            created_at_us: self.facts.received_at_us,
            slot: self.slot(time.timestamp_us),
            columns,
            context,
            extra,
            cf_asn,
            wants: wants::wants(draft, promotion, self.context.refuses_ip),
            texts,
        })
    }

    fn time(&self, draft: &Draft<'_>, promotion: &Promotion<'_>) -> (EventTime, Option<i64>) {
        let sent_at_us = self.context.sent_at_us.or_else(|| draft.sent_at.and_then(timestamp::parse));
        let sent_at_us = sent_at_us.or(self.context.outer_sent_at_us);
        let ignored = promotion.special(Special::IgnoreSentAt).and_then(Json::as_bool) == Some(true);
        let usable = !ignored && !self.context.historical_migration;
        let client = ClientTime {
            timestamp_us: draft.timestamp.and_then(timestamp::parse),
            offset_us: draft.offset.and_then(timestamp::parse_milliseconds),
            sent_at_us: sent_at_us.filter(|_| usable),
        };
        (timestamp::event_time(client, self.facts.received_at_us), sent_at_us)
    }

    fn slot(&self, timestamp_us: i64) -> Slot {
        let days = timestamp::day(timestamp_us).abs_diff(timestamp::day(self.facts.received_at_us));
        if self.context.historical_migration || days > NEAR_DAYS_MAX.unsigned_abs() { Slot::Late } else { Slot::Main }
    }

    fn person(&mut self, distinct_id: &DistinctId) -> (Uuid, UuidText) {
        match &self.last_person {
            Some((last, key, person)) if last == distinct_id => (*key, *person),
            _ => {
                let key = identity::key(self.context.token.as_str(), distinct_id.as_str());
                let person = UuidText::from(key);
                self.last_person = Some((distinct_id.clone(), key, person));
                (key, person)
            }
        }
    }

    /// The top-level keys that have no place elsewhere, and what our tables keep beside them.
    fn extra(
        &mut self,
        draft: &Draft<'_>,
        promotion: &Promotion<'_>,
        has_ip: bool,
        sent_at_us: Option<i64>,
        texts: &mut Texts,
    ) -> TextRef {
        let extra = &mut self.scratch;
        extra.clear();
        let mut put = |key: &str, value: &str| {
            extra.push_str(if extra.is_empty() { "{\"" } else { ",\"" });
            extra.push_str(key);
            extra.push_str("\":");
            extra.push_str(value);
        };
        if let Some(sent_at_us) = sent_at_us {
            if self.last_sent_at.as_ref().is_none_or(|(last, _)| *last != sent_at_us) {
                self.last_sent_at = Some((sent_at_us, format!("\"{}\"", timestamp::format(sent_at_us))));
            }
            let text = self.last_sent_at.as_ref().map_or("null", |(_, text)| text);
            put("$sent_at", text);
        }
        let special =
            |special, key| promotion.special(special).or_else(|| draft.added(key)).filter(|value| !value.is_null());
        let own = match draft.name() {
            "$create_alias" => [("alias", special(Special::Alias, "alias")), ("", None)],
            "$groupidentify" => [
                ("group_type", special(Special::GroupType, "$group_type")),
                ("group_key", special(Special::GroupKey, "$group_key")),
            ],
            _ => [("", None), ("", None)],
        };
        for (key, value) in own {
            if let Some(value) = value {
                put(key, value.raw());
            }
        }
        let taken = |key: &str| own.iter().any(|(own, value)| *own == key && value.is_some());
        for (key, value) in draft.others(has_ip) {
            let is_ours = taken(key) || (key == "$sent_at" && sent_at_us.is_some());
            if !is_ours {
                put(key, value.raw());
            }
        }
        if extra.is_empty() {
            return TextRef::NONE;
        }
        extra.push('}');
        texts.push(extra)
    }

    fn rejected(&mut self, item: usize, of: Item<'_>, fault: Fault) -> Rejected {
        let raw = if self.context.stores_ip { Cow::Borrowed(of.json.raw()) } else { address::without(of) };
        let raw = raw.as_bytes();
        let readable = draft::Readable::read(of);
        let user_agent = || self.facts.headers.user_agent.as_deref()?.split_whitespace().next().map(str::to_owned);
        Rejected {
            uuid: UuidText::from(self.ids.uuid_v7(self.facts.received_at_us)),
            received_at_us: self.facts.received_at_us,
            token: self.context.token.clone(),
            path: self.facts.path.clone(),
            reason: fault.reason,
            detail: fault.detail.into_owned(),
            event: readable.event.map(|name| cut(&name, EVENT_NAME_CHARACTERS_MAX).to_owned()),
            distinct_id: readable.distinct_id.map(|id| cut(&id, DistinctId::CHARACTERS_MAX).to_owned()),
            event_uuid: readable.uuid.map(|uuid| cut(&uuid, EVENT_UUID_CHARACTERS_MAX).to_owned()),
            item,
            lib: readable.lib.map(|lib| cut(&lib, EVENT_NAME_CHARACTERS_MAX).to_owned()).or_else(user_agent),
            raw: raw[..raw.len().min(self.settings.dead_letter_raw_bytes_max)].to_vec(),
            raw_length_bytes: of.json.raw().len(),
        }
    }
}

#[cfg(test)]
mod tests;
