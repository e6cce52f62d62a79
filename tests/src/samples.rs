//! Recorded SDK requests, replayed: each is accepted and becomes the rows that a person wrote down for it.
//!
//! `tests/fixtures/README.md` says how the files are to be read.

use std::collections::BTreeMap;
use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::harness::http::Answer;
use crate::harness::values::{micros, parsed};
use crate::harness::{Options, Server, workspace};

/// The client of all recordings, as a trusted proxy would report it.
const CLIENT_IP: &str = "203.0.113.7";

/// Fewer files mean that the fixtures are not found, not that less is to be shown.
const CAPTURE_REQUESTS_MIN: usize = 41;

#[test]
fn every_recorded_request_becomes_the_rows_written_down_for_it() {
    let names = names();
    assert!(names.len() >= CAPTURE_REQUESTS_MIN, "only {} recorded requests", names.len());
    let mut failures = Vec::new();
    for name in &names {
        let outcome = std::panic::catch_unwind(|| check(name));
        if outcome.is_err() {
            failures.push(name);
        }
    }
    assert!(failures.is_empty(), "{} of {} requests failed: {failures:?}", failures.len(), names.len());
}

fn names() -> Vec<String> {
    let folder = workspace().join("tests/fixtures/requests");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn check(name: &str) {
    // A server of its own: the same event stands in several recordings, and a repeat is stored once.
    let server = Options::new()
        .set("POSTHOG_TEAM_ID", "1")
        .set("POSTHOG_GROUP_TYPE_0", "company")
        .set("HOGFLARE_TRUSTED_PROXIES", "127.0.0.1")
        .start();
    let request = fixture("requests", name);
    let expected = fixture("expected", name);
    replay(&server, &request).assert_sdk_ok();
    let sent = SentEvents::of(&request);
    let rows = server.sql("select * from hogflare_events order by _writer, _position").objects();
    let mut wanted: Vec<Map<String, Value>> = rows_of(&expected, "rows");
    assert_eq!(rows.len(), wanted.len(), "{name}: rows");
    for row in &rows {
        let index = wanted.iter().position(|wanted| wanted["uuid"] == row["uuid"]);
        let wanted = wanted.remove(index.unwrap_or_else(|| panic!("{name}: unexpected uuid {}", row["uuid"])));
        assert_event(name, &wanted, row, &sent);
    }
    assert_rejected(name, &server, &expected);
}

pub(crate) fn fixture(folder: &str, name: &str) -> Value {
    let path = workspace().join("tests/fixtures").join(folder).join(format!("{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn body_of(request: &Value) -> Vec<u8> {
    STANDARD.decode(request["raw_base64"].as_str().unwrap()).unwrap()
}

/// Sends a recorded request as it was.
pub(crate) fn replay(server: &Server, request: &Value) -> Answer {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let query: Vec<String> = request["query"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", percent_encoded(&text(value))))
        .collect();
    let mut path = request["path"].as_str().unwrap().to_owned();
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let headers: Vec<(String, String)> = request["headers"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| !["host", "content-length", "connection", "accept-encoding"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), text(value)))
        .chain([("x-forwarded-for".to_owned(), CLIENT_IP.to_owned())])
        .collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(request["method"], "POST");
    server.post(&path, &headers, &body_of(request))
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Rows of the file with the columns that they share.
fn rows_of(expected: &Value, key: &str) -> Vec<Map<String, Value>> {
    let shared = expected["all_rows"].as_object().cloned().unwrap_or_default();
    let rows = expected[key].as_array().cloned().unwrap_or_default();
    rows.iter()
        .map(|row| {
            let mut all = shared.clone();
            all.extend(row.as_object().unwrap().clone());
            all
        })
        .collect()
}

/// Properties as the SDK sent them, by the event's uuid where it has one.
#[derive(Debug)]
struct SentEvents(BTreeMap<String, Map<String, Value>>);

impl SentEvents {
    fn of(request: &Value) -> Self {
        let body = decode(&body_of(request));
        let events = match &body {
            Value::Array(events) => events.clone(),
            Value::Object(envelope) => match envelope.get("batch") {
                Some(Value::Array(events)) => events.clone(),
                _ => vec![body.clone()],
            },
            other => panic!("not a capture body: {other}"),
        };
        let pairs = events.iter().filter_map(|event| {
            let uuid = event["uuid"].as_str()?.to_lowercase();
            Some((uuid, event["properties"].as_object().cloned().unwrap_or_default()))
        });
        SentEvents(pairs.collect())
    }
}

/// The encodings that occur in the recordings, undone apart from the server's code.
fn decode(bytes: &[u8]) -> Value {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut text).unwrap();
        return serde_json::from_slice(&text).unwrap();
    }
    if let Some(form) = bytes.strip_prefix(b"data=") {
        let data = form.split(|byte| *byte == b'&').next().unwrap();
        let data = String::from_utf8(data.to_vec()).unwrap();
        let data = data.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
        return serde_json::from_slice(&STANDARD.decode(data).unwrap()).unwrap();
    }
    serde_json::from_slice(bytes).unwrap()
}

fn assert_event(name: &str, wanted: &Map<String, Value>, row: &Map<String, Value>, sent: &SentEvents) {
    let uuid = row["uuid"].as_str().unwrap();
    for (column, value) in row {
        let place = format!("{name}: {column} of {uuid}");
        let wanted_value = wanted.get(column).unwrap_or(&Value::Null);
        match column.as_str() {
            "created_at" => assert!(micros(value) > 0, "{place}"),
            "source" => assert_eq!(value, "posthog", "{place}"),
            "timestamp" => assert_time(&place, wanted_value.as_str().unwrap(), value, &row["created_at"]),
            "properties" => assert_properties(&place, wanted, &parsed(value), sent.0.get(uuid)),
            // What persons are is the matter of `identity`; here it is compared where the file states it.
            "person_created_at" | "person_properties" if !wanted.contains_key(column) => {}
            "extra" | "context" | "group_properties" | "person_properties" => {
                assert_eq!(&parsed(value), wanted_value, "{place}");
            }
            "_writer" => {
                let late = value.as_str().unwrap().ends_with("-late");
                assert_eq!(late, wanted.get("slot") == Some(&json!("late")), "{place}");
            }
            "_position" => assert!(value.as_u64() > Some(0), "{place}"),
            _ => assert_eq!(value, wanted_value, "{place}"),
        }
    }
    let known = |key: &&String| row.contains_key(*key) || ["slot", "adds"].contains(&key.as_str());
    let unknown: Vec<&String> = wanted.keys().filter(|key| !known(key)).collect();
    assert!(unknown.is_empty(), "{name}: no columns {unknown:?}");
}

/// Absolute, or `created_at - <n> ms`.
pub(crate) fn assert_time(place: &str, wanted: &str, value: &Value, created_at: &Value) {
    let wanted = match wanted.strip_prefix("created_at - ").and_then(|rest| rest.strip_suffix(" ms")) {
        Some(before) => {
            let before_us = (before.parse::<f64>().unwrap() * 1_000.0).round() as i64;
            let difference_us = micros(created_at) - micros(value);
            // Clients with nanoseconds may be cut or rounded.
            assert!((difference_us - before_us).abs() <= 1, "{place}: {value}, received {created_at}");
            return;
        }
        None if wanted == "created_at" => created_at.clone(),
        None => json!(wanted),
    };
    assert_eq!(micros(value), micros(&wanted), "{place}");
}

fn assert_properties(place: &str, wanted: &Map<String, Value>, found: &Value, sent: Option<&Map<String, Value>>) {
    let found = found.as_object().unwrap();
    if let Some(whole) = wanted.get("properties") {
        assert_eq!(found, whole.as_object().unwrap(), "{place}");
        return;
    }
    let sent = sent.unwrap_or_else(|| panic!("{place}: the event sent no uuid, so the file must name its properties"));
    let adds: Vec<&str> =
        wanted.get("adds").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, value) in sent.iter().filter(|(key, _)| !adds.contains(&key.as_str())) {
        assert_eq!(found.get(key), Some(value), "{place}: {key}");
    }
    let mut added: Vec<&str> = found.keys().map(String::as_str).filter(|key| !sent.contains_key(*key)).collect();
    let mut wanted_added: Vec<&str> = adds.iter().copied().filter(|key| !sent.contains_key(*key)).collect();
    added.sort_unstable();
    wanted_added.sort_unstable();
    assert_eq!(added, wanted_added, "{place}: keys beyond those sent");
    if wanted_added.contains(&"$ip") {
        assert_eq!(found["$ip"], CLIENT_IP, "{place}");
    }
}

fn assert_rejected(name: &str, server: &Server, expected: &Value) {
    let rows = server.sql("select * from hogflare_dead_letter order by item, _position").objects();
    let wanted = expected["rejected"].as_array().cloned().unwrap_or_default();
    assert_eq!(rows.len(), wanted.len(), "{name}: dead letters {rows:?}");
    for (row, wanted) in rows.iter().zip(&wanted) {
        for (column, value) in wanted.as_object().unwrap() {
            assert_eq!(row.get(column), Some(value), "{name}: {column} of a dead letter");
        }
    }
}
