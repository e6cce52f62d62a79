//! Every recorded capture request becomes exactly the rows that were written for it by hand
//! (`tests/fixtures/README.md`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use hogflare_catalog::tables::{DeadLetterRow, EventRow};
use hogflare_ingest::protocol::{DecodeLimits, Endpoint, HeaderFacts, Method, decode};
use hogflare_ingest::{IdSource, Known, NormalizeSettings, Normalized, Outcome, RequestFacts, enrich, normalize};
use serde_json::{Map, Value, json};

/// 2026-11-20T05:30:00Z, within three days of every recording.
const RECEIVED_AT_US: i64 = 1_795_152_600_000_000;
const CLIENT_IP: &str = "203.0.113.7";

struct ZeroIds;

impl IdSource for ZeroIds {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

struct Sample {
    name: String,
    facts: RequestFacts,
    body: Bytes,
    expected: Value,
}

#[test]
fn capture_requests_become_the_rows_written_for_them() {
    let samples = samples();
    let (recordings, captures): (Vec<_>, Vec<_>) =
        samples.iter().partition(|sample| sample.facts.endpoint == Endpoint::Recording);
    assert_eq!((captures.len(), recordings.len()), (41, 6), "no fixture may get lost");
    for sample in captures {
        let normalized = receive(sample);
        assert!(normalized.rejected.is_empty(), "{}: {:?}", sample.name, normalized.rejected);
        assert_eq!(normalized.outcome(), Outcome::Stored { rejected_header: None }, "{}", sample.name);
        let expected = sample.expected["rows"].as_array().expect("rows");
        let sent = sent_events(sample);
        assert_eq!(normalized.events.len(), expected.len(), "{}", sample.name);
        assert_eq!(normalized.events.len(), sent.len(), "{}", sample.name);
        for (index, event) in normalized.events.iter().enumerate() {
            let mut row = columns(&event.as_row());
            row.insert("slot".to_owned(), json!(event.slot.name()));
            let expected = expected_row(&sample.expected["all_rows"], &expected[index]);
            check_row(&format!("{} event {index}", sample.name), row, expected, event.properties(), &sent[index]);
        }
    }
}

#[test]
fn recordings_become_dead_letters() {
    for sample in samples().iter().filter(|sample| sample.facts.endpoint == Endpoint::Recording) {
        let normalized = receive(sample);
        assert!(normalized.events.is_empty(), "{}", sample.name);
        let expected = sample.expected["rejected"].as_array().expect("rejected");
        let header = format!("{}; reason=recording_off", expected.len());
        assert_eq!(normalized.outcome(), Outcome::Stored { rejected_header: Some(header) }, "{}", sample.name);
        assert_eq!(normalized.rejected.len(), expected.len(), "{}", sample.name);
        for (rejected, expected) in normalized.rejected.iter().zip(expected) {
            let row = rejected.as_row();
            assert_eq!(&dead_letter_columns(&row), expected, "{}", sample.name);
            check_raw(&row, &sent_events(sample)[rejected.item]);
        }
    }
}

fn receive(sample: &Sample) -> Normalized {
    let settings = NormalizeSettings {
        team_id: Some(1),
        group_types: std::sync::Arc::new([Some("company".to_owned()), None, None, None, None]),
        ..NormalizeSettings::default()
    };
    let request = decode(&sample.facts, sample.body.clone(), &DecodeLimits::default()).expect("a valid request");
    let mut normalized = normalize(request, &sample.facts, &settings, &mut ZeroIds).expect("a valid token");
    enrich(&mut normalized.events, &Known::of_client(sample.facts.peer_ip));
    normalized
}

fn check_row(what: &str, row: Map<String, Value>, mut expected: Map<String, Value>, properties: &str, sent: &Value) {
    let adds = expected.remove("adds").expect("adds");
    expected.retain(|column, _| !is_of_identity(column));
    for (column, value) in &row {
        assert_eq!(value, expected.get(column).unwrap_or(&Value::Null), "{what}, column {column}");
    }
    for column in expected.keys() {
        assert!(row.contains_key(column), "{what}: {column} is no column");
    }
    let mut expected = sent["properties"].as_object().expect("properties").clone();
    for key in adds.as_array().expect("adds").iter().map(|key| key.as_str().expect("a key")) {
        let value = if key == "$ip" { json!(CLIENT_IP) } else { sent[key].clone() };
        assert!(expected.insert(key.to_owned(), value).is_none(), "{what}: {key} was sent already");
    }
    let stored: Value = serde_json::from_str(properties).expect("properties are JSON");
    assert_eq!(stored, Value::Object(expected), "{what}, properties");
}

/// Whether the writer fills the column in, who knows persons and groups: not before it is known whose event it is.
fn is_of_identity(column: &str) -> bool {
    column.starts_with("person_") || column.starts_with("group")
}

/// Columns in the notation of the expected files, without `properties`, `source`
/// and those of persons and groups.
fn columns(row: &EventRow<'_>) -> Map<String, Value> {
    assert_eq!(row.created_at_us, RECEIVED_AT_US);
    let promoted = &row.promoted;
    let columns = BTreeMap::from([
        ("uuid", json!(row.uuid)),
        ("team_id", json!(row.team_id)),
        ("event", json!(row.event)),
        ("distinct_id", json!(row.distinct_id)),
        ("timestamp", json!(time(row.timestamp_us))),
        ("context", json!(row.context)),
        ("api_key", json!(row.api_key)),
        ("extra", row.extra.map_or(Value::Null, |extra| serde_json::from_str(extra).expect("extra is JSON"))),
        ("session_id", json!(promoted.session_id)),
        ("window_id", json!(promoted.window_id)),
        ("current_url", json!(promoted.current_url)),
        ("pathname", json!(promoted.pathname)),
        ("host", json!(promoted.host)),
        ("page_title", json!(promoted.page_title)),
        ("referrer", json!(promoted.referrer)),
        ("referring_domain", json!(promoted.referring_domain)),
        ("utm_source", json!(promoted.utm_source)),
        ("utm_medium", json!(promoted.utm_medium)),
        ("utm_campaign", json!(promoted.utm_campaign)),
        ("utm_content", json!(promoted.utm_content)),
        ("utm_term", json!(promoted.utm_term)),
        ("browser", json!(promoted.browser)),
        ("browser_version", json!(promoted.browser_version)),
        ("os", json!(promoted.os)),
        ("os_version", json!(promoted.os_version)),
        ("device_type", json!(promoted.device_type)),
        ("lib", json!(promoted.lib)),
        ("lib_version", json!(promoted.lib_version)),
        ("country", json!(promoted.country)),
        ("region", json!(promoted.region)),
        ("city", json!(promoted.city)),
        ("timezone", json!(promoted.timezone)),
        ("cf_colo", json!(promoted.cf_colo)),
        ("cf_asn", json!(promoted.cf_asn)),
    ]);
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn dead_letter_columns(row: &DeadLetterRow<'_>) -> Value {
    assert_eq!(row.received_at_us, RECEIVED_AT_US);
    json!({
        "api_key": row.api_key, "path": row.path, "reason": row.reason, "event": row.event,
        "distinct_id": row.distinct_id, "event_uuid": row.event_uuid, "item": row.item, "lib": row.lib,
    })
}

fn check_raw(row: &DeadLetterRow<'_>, sent: &Value) {
    let raw = row.raw.expect("raw");
    let length = usize::try_from(row.raw_length_bytes).expect("a length");
    assert_eq!(raw.len(), length.min(16 << 10));
    if raw.len() == length {
        assert_eq!(&serde_json::from_slice::<Value>(raw).expect("raw is the event"), sent);
    }
}

/// The row's own columns over those of all rows; `created_at - <n> ms` resolved.
fn expected_row(all: &Value, own: &Value) -> Map<String, Value> {
    let mut row = all.as_object().expect("all_rows").clone();
    row.extend(own.as_object().expect("a row").clone());
    let timestamp = row["timestamp"].as_str().expect("timestamp").to_owned();
    if let Some(before) = timestamp.strip_prefix("created_at - ") {
        let milliseconds: f64 = before.strip_suffix(" ms").expect("a distance in ms").parse().expect("a number");
        row["timestamp"] = json!(time(RECEIVED_AT_US - (milliseconds * 1e3).round() as i64));
    } else {
        let absolute = DateTime::parse_from_rfc3339(&timestamp).expect("a time");
        row["timestamp"] = json!(time(absolute.timestamp_micros()));
    }
    row
}

fn time(timestamp_us: i64) -> String {
    DateTime::from_timestamp_micros(timestamp_us).expect("a time").to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn samples() -> Vec<Sample> {
    let fixtures = fixtures();
    let mut paths: Vec<PathBuf> =
        fs::read_dir(fixtures.join("requests")).expect("fixtures").map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths.iter().map(|path| sample(path, &fixtures)).collect()
}

fn sample(path: &Path, fixtures: &Path) -> Sample {
    let read = |path: &Path| -> Value {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let request = read(path);
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let expected = read(&fixtures.join("expected").join(format!("{name}.json")));
    let body = STANDARD.decode(request["raw_base64"].as_str().expect("a body")).expect("base64");
    Sample { name, facts: facts(&request), body: Bytes::from(body), expected }
}

fn facts(request: &Value) -> RequestFacts {
    let path = request["path"].as_str().expect("a path").to_owned();
    let header = |name: &str| request["headers"][name].as_str().map(str::to_owned);
    let query = request["query"].as_object().expect("a query").iter();
    assert_eq!(request["method"], "POST");
    RequestFacts {
        endpoint: match path.as_str() {
            "/e/" => Endpoint::E,
            "/i/v0/e/" => Endpoint::I,
            "/batch/" => Endpoint::Batch,
            "/s/" => Endpoint::Recording,
            other => panic!("no capture route: {other}"),
        },
        path: Cow::Owned(path),
        method: Method::Post,
        query: query.map(|(key, value)| (key.clone(), value.as_str().expect("a text").to_owned())).collect(),
        headers: HeaderFacts {
            content_type: header("content-type"),
            content_encoding: header("content-encoding"),
            user_agent: header("user-agent"),
            ..HeaderFacts::default()
        },
        peer_ip: Some(CLIENT_IP.parse().expect("an address")),
        received_at_us: RECEIVED_AT_US,
    }
}

/// The events of a request, decoded without the code under test.
fn sent_events(sample: &Sample) -> Vec<Value> {
    let body = &sample.body;
    let mut text = Vec::new();
    if body.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut text).expect("gzip");
    } else if let Some(data) = body.strip_prefix(b"data=") {
        let data: Vec<u8> = percent_encoding::percent_decode(data).collect();
        text = STANDARD.decode(data).expect("base64");
    } else {
        text = body.to_vec();
    }
    match serde_json::from_slice(&text).expect("JSON") {
        Value::Array(events) => events,
        Value::Object(mut envelope) => match envelope.remove("batch") {
            Some(Value::Array(events)) => events,
            _ => vec![Value::Object(envelope)],
        },
        other => panic!("no events: {other}"),
    }
}

fn fixtures() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).join("../tests/fixtures")
}
