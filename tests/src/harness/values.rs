//! One form for the values that different clients return, so that they can be compared.
//!
//! Instants are texts in UTC with six digits, `2026-01-02T03:04:05.000000Z`; everything else is JSON as it is.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

/// Brings a value to the common form; only texts that are whole RFC 3339 instants change.
pub(crate) fn normal(value: &Value) -> Value {
    match value {
        Value::String(text) => instant(text).map_or_else(|| value.clone(), |instant| Value::String(written(instant))),
        _ => value.clone(),
    }
}

pub(crate) fn instant(text: &str) -> Option<DateTime<Utc>> {
    let looks_like_one = text.len() >= 20 && text.as_bytes()[4] == b'-' && matches!(text.as_bytes()[10], b'T' | b' ');
    if !looks_like_one {
        return None;
    }
    DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.with_timezone(&Utc))
}

pub(crate) fn written(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Microseconds since 1970 of a value in the common form.
pub(crate) fn micros(value: &Value) -> i64 {
    let text = value.as_str().unwrap_or_else(|| panic!("not an instant: {value}"));
    instant(text).unwrap_or_else(|| panic!("not an instant: {text}")).timestamp_micros()
}

/// A column that holds JSON as text, parsed; two texts that mean the same are the same then.
pub(crate) fn parsed(value: &Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}")),
        other => other.clone(),
    }
}
