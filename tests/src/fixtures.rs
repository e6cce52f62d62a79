//! Requests as other SDKs write them, byte by byte over a socket: each is answered as its SDK expects and
//! becomes the rows that a person wrote down for it.
//!
//! `tests/fixtures/README.md` says how the files are to be read.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::harness::http::{self, Answer};
use crate::harness::values::parsed;
use crate::harness::{Options, Server, workspace};
use crate::samples::assert_time;

/// Fewer files mean that the fixtures are not found.
const REQUESTS_MIN: usize = 37;
/// Odd, so that chunks end inside of everything.
const CHUNK_BYTES: usize = 37;

#[test]
fn every_sdk_s_request_is_understood_and_answered() {
    let folder = workspace().join("tests/fixtures/sdk");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= REQUESTS_MIN, "only {} requests", paths.len());
    let mut failures = Vec::new();
    for path in &paths {
        let fixture: Value = serde_json::from_str(&fs::read_to_string(path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_stem().unwrap().to_str().unwrap();
        if std::panic::catch_unwind(|| check(name, &fixture)).is_err() {
            failures.push(name);
        }
    }
    assert!(failures.is_empty(), "{} of {} requests failed: {failures:?}", failures.len(), paths.len());
}

fn check(name: &str, fixture: &Value) {
    println!("{name}");
    // A server of its own: a repeat of another request's event would not be stored.
    let server = Options::new().set("POSTHOG_GROUP_TYPE_0", "company").start();
    let stream = TcpStream::connect(server.address()).unwrap();
    let answer = http::send_raw(stream, &request(fixture, server.address())).unwrap();
    assert_answer(name, &answer, &fixture["answer"]);
    assert_rows(name, &server, fixture);
    assert_rejected(name, &server, fixture);
}

/// The request as it goes over the wire.
fn request(fixture: &Value, host: &str) -> Vec<u8> {
    let text = |key: &str| fixture[key].as_str().unwrap_or_else(|| panic!("no {key}"));
    let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", text("method"), text("path"));
    for (name, value) in fixture["headers"].as_object().unwrap() {
        write!(head, "{name}: {}\r\n", value.as_str().unwrap()).unwrap();
    }
    let Some(body) = body(fixture) else { return format!("{head}\r\n").into_bytes() };
    let mut bytes = head.into_bytes();
    if fixture["chunked"] == true {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(CHUNK_BYTES) {
            write!(bytes, "{:x}\r\n", chunk.len()).unwrap();
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    } else {
        write!(bytes, "Content-Length: {}\r\n\r\n", body.len()).unwrap();
        bytes.extend_from_slice(&body);
    }
    bytes
}

fn body(fixture: &Value) -> Option<Vec<u8>> {
    let mut bytes = match (&fixture["base64"], &fixture["body"]) {
        (Value::String(base64), _) => STANDARD.decode(base64).unwrap(),
        (_, Value::Null) => return None,
        (_, Value::String(text)) => text.as_bytes().to_vec(),
        (_, json) => json.to_string().into_bytes(),
    };
    for step in fixture["wrap"].as_array().into_iter().flatten() {
        bytes = match step.as_str().unwrap() {
            "gzip" => http::gzip(&bytes),
            "zstd" => zstd::encode_all(&*bytes, 3).unwrap(),
            "base64" => STANDARD.encode(&bytes).into_bytes(),
            "form" => {
                let escaped = String::from_utf8(bytes).unwrap();
                format!("data={}", escaped.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")).into_bytes()
            }
            "form_unescaped" => [b"data=", &*bytes].concat(),
            other => panic!("no wrapping {other}"),
        };
    }
    Some(bytes)
}

/// The status, and the body as the SDK's own code looks at it.
fn assert_answer(name: &str, answer: &Answer, wanted: &Value) {
    let place = format!("{name}: {} {}", answer.status, answer.text());
    assert_eq!(wanted["status"], answer.status, "{place}");
    match wanted["reader"].as_str().unwrap() {
        // iOS, Android, node, Java, Elixir: nothing but the status.
        "any_2xx" => assert!((200..300).contains(&answer.status), "{place}"),
        "go" => assert!(answer.status < 300, "{place}"),
        // Python, PHP and posthog-js repeat everything else.
        "exactly_200" => answer.assert_sdk_ok(),
        // An object, of which it shows the key `error`.
        "ruby" => {
            assert!(answer.status < 400 && answer.json().is_object() && answer.json()["error"].is_null(), "{place}")
        }
        // `status` is a number or a string there.
        "dotnet" => assert!(matches!(&answer.json()["status"], Value::String(_) | Value::Number(_)), "{place}"),
        "flags" => {
            let body = answer.json();
            assert!(body["flags"].is_object() && body.get("quotaLimited").is_none(), "{place}");
        }
        "decide_3" => {
            let body = answer.json();
            let payloads = body["featureFlagPayloads"].as_object().unwrap();
            assert!(body["featureFlags"].is_object() && payloads.values().all(Value::is_string), "{place}");
        }
        "v1" => assert_eq!(answer.json(), json!({"results": wanted["results"]}), "{place}"),
        "v1_error" => {
            let body = answer.json();
            assert_eq!(body["error"], wanted["error"], "{place}");
            assert!(body["error_description"].is_string(), "{place}");
        }
        "sdk_error" => answer.assert_sdk_error(answer.status),
        "otlp_json" => assert!(answer.json()["partialSuccess"]["errorMessage"].is_string(), "{place}"),
        "otlp_protobuf" => {
            assert_eq!(answer.header("content-type"), Some("application/x-protobuf"), "{place}");
            let [10, outer, 18, inner, message @ ..] = &*answer.body else { panic!("{place}") };
            assert_eq!((usize::from(*outer), usize::from(*inner)), (message.len() + 2, message.len()), "{place}");
        }
        "anything" => {}
        other => panic!("{name}: no reader {other}"),
    }
}

fn assert_rows(name: &str, server: &Server, fixture: &Value) {
    let rows = server.sql("select * from hogflare_events order by _position").objects();
    let mut left = objects(fixture, "rows");
    assert_eq!(rows.len(), left.len(), "{name}: rows {rows:?}");
    for row in &rows {
        // Without a uuid of their own, events come in the order of the request.
        let is_its = |wanted: &Map<String, Value>| wanted.get("uuid").is_none_or(|uuid| *uuid == row["uuid"]);
        let at = left.iter().position(is_its).unwrap_or_else(|| panic!("{name}: unexpected {}", row["uuid"]));
        assert_row(name, &left.remove(at), row);
    }
}

/// Every column that the file names.
fn assert_row(name: &str, wanted: &Map<String, Value>, row: &Map<String, Value>) {
    let api_key = wanted.get("api_key").unwrap_or(&json!("phc_test")).clone();
    assert_eq!(row["api_key"], api_key, "{name}: api_key");
    let uuid = Uuid::parse_str(row["uuid"].as_str().unwrap()).unwrap();
    assert!(wanted.contains_key("uuid") || uuid.get_version_num() == 7, "{name}: {uuid} was not made here");
    for (column, value) in wanted {
        let place = format!("{name}: {column} of {}", row["uuid"]);
        match column.as_str() {
            "timestamp" => assert_time(&place, value.as_str().unwrap(), &row["timestamp"], &row["created_at"]),
            "slot" => {
                let is_late = row["_writer"].as_str().unwrap().ends_with("-late");
                assert_eq!(is_late, value == "late", "{place}");
            }
            "properties" => {
                let found = parsed(&row["properties"]);
                for (key, value) in value.as_object().unwrap() {
                    assert_eq!(found.get(key), Some(value), "{place}: {key}");
                }
            }
            _ => assert_eq!(row.get(column), Some(value), "{place}"),
        }
    }
}

fn assert_rejected(name: &str, server: &Server, fixture: &Value) {
    let rows = server.sql("select * from hogflare_dead_letter order by item").objects();
    let wanted = objects(fixture, "rejected");
    assert_eq!(rows.len(), wanted.len(), "{name}: dead letters {rows:?}");
    for (row, wanted) in rows.iter().zip(&wanted) {
        for (column, value) in wanted {
            assert_eq!(row.get(column), Some(value), "{name}: {column} of a dead letter");
        }
    }
}

fn objects(fixture: &Value, key: &str) -> Vec<Map<String, Value>> {
    let list = fixture[key].as_array().into_iter().flatten();
    list.map(|object| object.as_object().unwrap().clone()).collect()
}
