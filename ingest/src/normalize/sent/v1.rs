//! Events of Capture V1: stricter than older ones, and with keys of their own for what those have among
//! the properties.

use std::borrow::Cow;

use super::Sent;
use crate::event::DistinctId;
use crate::normalize::{EVENT_NAME_CHARACTERS_MAX, Fault, fault};
use crate::properties::Object;
use crate::protocol::Reason;
use crate::protocol::json::{self, Json};
use crate::protocol::v1::{V1Facts, rfc_3339_us};

/// Distinct ids that stand for nobody, in lower case: V1 drops their events (protocol note, 2.6).
const NOBODY: [&str; 20] = [
    "0",
    "00000000-0000-0000-0000-000000000000",
    "[object object]",
    "anonymous",
    "anonymous-user",
    "backend",
    "distinct_id",
    "distinctid",
    "email",
    "false",
    "guest",
    "id",
    "nan",
    "none",
    "not_authenticated",
    "null",
    "system",
    "true",
    "undefined",
    "user",
];

impl<'a> Sent<'a> {
    /// Checks what only V1 asks for, and takes its keys into the properties, where they win.
    pub(in crate::normalize) fn read_v1(&mut self, v1: &V1Facts) -> Result<(), Fault> {
        self.check_name_v1()?;
        self.check_distinct_id_v1()?;
        if self.uuid.is_none_or(|uuid| uuid.is_null() || uuid.raw() == "\"\"") {
            return Err(fault(Reason::MissingUuid, "event submitted without a uuid"));
        }
        if self.timestamp.and_then(Json::as_text).and_then(|time| rfc_3339_us(&time)).is_none() {
            return Err(fault(Reason::InvalidTimestamp, "the timestamp is missing or not a time of RFC 3339"));
        }
        // The request says when it was sent.
        self.offset = None;
        self.sent_at = None;
        for (key, property) in [("session_id", "$session_id"), ("window_id", "$window_id")] {
            if let Some(value) = self.take_other(key) {
                if value.as_text().is_none() {
                    return Err(fault(Reason::InvalidOptions, format!("{key} is not a string")));
                }
                self.overrides.push((property, Cow::Borrowed(value.raw())));
            }
        }
        if let Some(options) = self.take_other("options") {
            self.read_options(options)?;
        }
        if let Some((library, version)) = &v1.sdk {
            self.overrides.push(("$lib", Cow::Owned(quoted(library))));
            self.overrides.push(("$lib_version", Cow::Owned(quoted(version))));
        }
        Ok(())
    }

    fn check_name_v1(&self) -> Result<(), Fault> {
        let name = self.event.and_then(Json::as_text).unwrap_or_default();
        if name.chars().count() > EVENT_NAME_CHARACTERS_MAX {
            let detail = format!("the event's name is longer than {EVENT_NAME_CHARACTERS_MAX} characters");
            return Err(fault(Reason::EventNameTooLong, detail));
        }
        Ok(())
    }

    fn check_distinct_id_v1(&self) -> Result<(), Fault> {
        let Some(sent) = self.distinct_id else {
            return Err(fault(Reason::MissingDistinctId, "event submitted without a distinct_id"));
        };
        let Some(id) = sent.as_text() else {
            return Err(fault(Reason::InvalidDistinctId, "the distinct_id is not a string"));
        };
        let trimmed = id.trim();
        match () {
            () if trimmed.is_empty() => {
                Err(fault(Reason::MissingDistinctId, "event submitted with an empty distinct_id"))
            }
            () if id.chars().count() > DistinctId::CHARACTERS_MAX => {
                let detail = format!("the distinct_id is longer than {} characters", DistinctId::CHARACTERS_MAX);
                Err(fault(Reason::DistinctIdTooLong, detail))
            }
            () if is_nobody(trimmed) => Err(fault(Reason::InvalidDistinctId, "the distinct_id stands for nobody")),
            () => Ok(()),
        }
    }

    fn read_options(&mut self, options: Json<'a>) -> Result<(), Fault> {
        if !options.is_object() {
            return Err(fault(Reason::InvalidOptions, "options is not an object"));
        }
        let options = Object::parse(options.raw());
        for (key, property) in [
            ("cookieless_mode", "$cookieless_mode"),
            ("disable_skew_correction", "$ignore_sent_at"),
            ("process_person_profile", "$process_person_profile"),
        ] {
            if let Some(value) = options.get(key).filter(|value| !value.is_null()) {
                let flag = flag(value)
                    .ok_or_else(|| fault(Reason::InvalidOptions, format!("the option {key} is not a boolean")))?;
                self.overrides.push((property, Cow::Borrowed(if flag { "true" } else { "false" })));
            }
        }
        if let Some(tour) = options.get("product_tour_id").filter(|value| !value.is_null()) {
            let is_id = tour.as_text().is_some() || tour.raw().parse::<i64>().is_ok();
            let tour = tour.scalar().filter(|_| is_id);
            let tour =
                tour.ok_or_else(|| fault(Reason::InvalidOptions, "the option product_tour_id is not a string"))?;
            self.overrides.push(("$product_tour_id", Cow::Owned(quoted(&tour))));
        }
        Ok(())
    }

    /// A key without a place of its own; null is none.
    fn take_other(&mut self, key: &str) -> Option<Json<'a>> {
        let at = self.others.iter().position(|(other, _)| *other == key)?;
        Some(self.others.remove(at).1).filter(|value| !value.is_null())
    }
}

/// A boolean, or what PostHog takes for one: 0, other numbers, and their names as text.
fn flag(value: Json<'_>) -> Option<bool> {
    if let Some(number) = value.as_number() {
        return Some(number != 0.0);
    }
    match value.scalar()?.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Also in quotes of one kind.
fn is_nobody(id: &str) -> bool {
    let inner = |quote: char| id.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let id = inner('"').or_else(|| inner('\'')).unwrap_or(id).trim();
    id.is_empty() || NOBODY.iter().any(|nobody| id.eq_ignore_ascii_case(nobody))
}

fn quoted(text: &str) -> String {
    let mut json = String::new();
    json::push_string(&mut json, text);
    json
}
