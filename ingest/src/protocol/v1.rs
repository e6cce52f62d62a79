//! Capture V1: the project token and the time of sending stand in headers, the envelope is strict, and
//! the answer says of each uuid what became of its event.
//!
//! What V1 asks of a single event is checked in [`crate::normalize()`], with everything else about events.

use bytes::Bytes;
use chrono::DateTime;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::json::Json;
use super::{Code, DecodeLimits, Reason, Refusal, Request, RequestFacts};
use crate::event::{ProjectToken, Rejected};

const REQUIRED_HEADERS: [&str; 6] = [
    "posthog-sdk-info",
    "posthog-attempt",
    "posthog-request-id",
    "posthog-request-timestamp",
    "content-type",
    "user-agent",
];
const ENCODINGS: [&str; 5] = ["gzip", "deflate", "br", "zstd", "identity"];
/// It is copied into every event of the request.
const SDK_INFO_BYTES_MAX: usize = 200;
const ERROR_URI: &str = "https://posthog.com/docs/api";

/// What the headers of a V1 request say, checked.
#[derive(Clone, Debug)]
pub struct V1Facts {
    pub token: ProjectToken,
    /// When the client sent it, by its own clock: microseconds since 1970, UTC.
    pub sent_at_us: i64,
    /// Name and version of the library, if the header says them.
    pub sdk: Option<(String, String)>,
}

impl V1Facts {
    /// `header` finds the value of a header by its lower-case name.
    ///
    /// # Errors
    /// 401 without a usable token, 415 for a body that is no JSON or strangely packed, 400 for the rest.
    pub fn read<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<V1Facts, Refusal> {
        let Some(authorization) = header("authorization") else {
            return Err(Refusal::new(Code::MissingToken, "the header Authorization is missing"));
        };
        let missing: Vec<&str> = REQUIRED_HEADERS.into_iter().filter(|name| header(name).is_none()).collect();
        if !missing.is_empty() {
            return Err(Refusal::new(Code::MissingHeaders, format!("missing headers: {}", missing.join(", "))));
        }
        let value = |name| header(name).unwrap_or_default().trim();
        let token = bearer(authorization)?;
        let media_type = value("content-type").split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::new(Code::UnsupportedMediaType, "the content type must be application/json"));
        }
        let encoding = header("content-encoding").unwrap_or("identity").trim();
        if !ENCODINGS.iter().any(|known| encoding.eq_ignore_ascii_case(known)) {
            return Err(Refusal::new(Code::UnsupportedEncoding, "the body must be gzip, deflate, br, zstd or plain"));
        }
        if Uuid::try_parse(value("posthog-request-id")).is_err() {
            return Err(invalid("PostHog-Request-Id is not a UUID"));
        }
        if !value("posthog-attempt").parse::<u32>().is_ok_and(|attempt| attempt >= 1) {
            return Err(invalid("PostHog-Attempt is not a number from 1"));
        }
        let sent_at_us = rfc_3339_us(value("posthog-request-timestamp"))
            .ok_or_else(|| invalid("PostHog-Request-Timestamp is not a time of RFC 3339"))?;
        Ok(V1Facts { token, sent_at_us, sdk: sdk(value("posthog-sdk-info")) })
    }
}

fn invalid(detail: &'static str) -> Refusal {
    Refusal::new(Code::InvalidHeader, detail)
}

/// The scheme's name has no case (RFC 9110, section 11.1).
fn bearer(authorization: &str) -> Result<ProjectToken, Refusal> {
    let token = match authorization.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token,
        _ => return Err(invalid("the header Authorization must be: Bearer <project token>")),
    };
    ProjectToken::parse(token)
        .map_err(|reason| Refusal::new(Code::InvalidToken, format!("the API token is not valid: {reason}")))
}

/// `<library>/<version>`; the library may hold slashes itself.
fn sdk(info: &str) -> Option<(String, String)> {
    let (library, version) = info.rsplit_once('/')?;
    let (library, version) = (library.trim(), version.trim());
    let is_usable = !library.is_empty() && !version.is_empty() && info.len() <= SDK_INFO_BYTES_MAX;
    is_usable.then(|| (library.to_owned(), version.to_owned()))
}

/// Strictly with a zone, unlike the times of older requests.
pub(crate) fn rfc_3339_us(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros())
}

/// Unpacks a V1 body, reads the JSON and finds the events in it.
///
/// # Errors
/// 400 for what cannot be decoded, is no V1 envelope or holds no event, 413 above the limits.
pub fn decode(facts: &RequestFacts, body: Bytes, limits: &DecodeLimits) -> Result<Request, Refusal> {
    let request = super::decode(facts, body, limits)?;
    let created_at = request.envelope("created_at").and_then(Json::as_text);
    let is_time = created_at.is_some_and(|time| rfc_3339_us(&time).is_some());
    let invalid = |detail| Err(Refusal::new(Code::InvalidBatch, detail));
    match () {
        () if !request.is_envelope() => {
            Err(Refusal::new(Code::InvalidJson, "failed to parse request: the body needs an array batch"))
        }
        () if !is_time => invalid("created_at is missing or not a time of RFC 3339"),
        () if !is_flag(&request, "historical_migration") => invalid("historical_migration is not a boolean"),
        () if !is_flag(&request, "capture_internal") => invalid("capture_internal is not a boolean"),
        () => Ok(request),
    }
}

fn is_flag(request: &Request, key: &str) -> bool {
    request.envelope(key).is_none_or(|value| value.is_null() || value.as_bool().is_some())
}

/// The events of a request as their sender can ask for them: what the answer needs besides their fate.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// In the order sent. None for an event without a uuid.
    events: Vec<Option<SubmittedEvent>>,
}

#[derive(Clone, Debug)]
struct SubmittedEvent {
    /// As sent: clients look for what they wrote.
    uuid: String,
    is_performance: bool,
}

impl Submitted {
    pub fn of(request: &Request) -> Submitted {
        let events = request.items().map(|item| {
            let find = |key: &str| {
                let member = item.fields?.iter().rev().find(|member| member.key.of(item.text) == key)?;
                Json::at(item.text, member.value).as_text()
            };
            let uuid = find("uuid").filter(|uuid| Uuid::try_parse(uuid).is_ok())?.into_owned();
            Some(SubmittedEvent { uuid, is_performance: find("event").as_deref() == Some("$performance_event") })
        });
        Submitted { events: events.collect() }
    }

    /// The body of the 200, to be sent when all rows are stored. An event that was refused is `drop`, all
    /// others are `ok`, repeats too.
    ///
    /// # Errors
    /// 400 when no event has a uuid: then nothing can be said in the answer.
    pub fn answer(&self, rejected: &[Rejected]) -> Result<String, Refusal> {
        let mut reasons: Vec<Option<Reason>> = vec![None; self.events.len()];
        for rejected in rejected {
            reasons[rejected.item] = Some(rejected.reason);
        }
        let mut results = Map::new();
        for (event, reason) in self.events.iter().zip(reasons) {
            let Some(event) = event else { continue };
            let dropped = match reason {
                Some(reason) => Some(detail(reason)),
                None if event.is_performance => Some("dropped_performance_event"),
                None => None,
            };
            // Two events may share a uuid; the one that was refused is the news.
            match dropped {
                Some(detail) => {
                    results.insert(event.uuid.clone(), json!({"result": "drop", "details": detail}));
                }
                None => {
                    results.entry(event.uuid.clone()).or_insert_with(|| json!({"result": "ok"}));
                }
            }
        }
        match rejected.first() {
            Some(first) if results.is_empty() => Err(Refusal::new(Code::Rejected(first.reason), first.detail.clone())),
            _ => Ok(json!({ "results": Value::Object(results) }).to_string()),
        }
    }
}

impl Refusal {
    /// The answer to a V1 request: JSON like OAuth's errors.
    pub fn v1_body(&self) -> String {
        let error = match self.code {
            Code::EmptyBody => "empty_body",
            Code::InvalidEncoding => "request_decoding_error",
            Code::InvalidJson => "request_parsing_error",
            Code::NoEvents => "empty_batch",
            Code::MissingHeaders => "missing_required_headers",
            Code::InvalidHeader => "invalid_header_value",
            Code::UnsupportedMediaType => "unsupported_content_type",
            Code::MissingToken | Code::InvalidToken | Code::UnknownToken => "invalid_api_token",
            Code::BodyTooLarge => "payload_too_large",
            Code::Overloaded | Code::LogFull | Code::ShuttingDown => "service_unavailable",
            Code::Rejected(reason) => detail(reason),
            other => other.as_str(),
        };
        json!({"error": error, "error_description": self.detail, "error_uri": ERROR_URI}).to_string()
    }
}

/// PostHog's names for what is wrong with an event.
fn detail(reason: Reason) -> &'static str {
    match reason {
        Reason::MissingEvent | Reason::EmptyEvent => "missing_event_name",
        Reason::EventNameTooLong => "event_name_too_long",
        Reason::MissingDistinctId => "missing_distinct_id",
        Reason::DistinctIdTooLong => "distinct_id_too_large",
        Reason::InvalidDistinctId => "invalid_distinct_id",
        Reason::MissingUuid => "missing_event_uuid",
        Reason::InvalidUuid => "invalid_event_uuid",
        Reason::InvalidTimestamp => "invalid_event_timestamp",
        Reason::InvalidOptions => "invalid_options",
        Reason::InvalidProperties | Reason::NotAnObject | Reason::TooDeep => "malformed_event_properties",
        Reason::EventTooLarge => "event_too_big",
        Reason::RecordingOff => "recording_off",
        Reason::PersonProcessingOff => "person_processing_disabled",
    }
}

#[cfg(test)]
mod tests;
