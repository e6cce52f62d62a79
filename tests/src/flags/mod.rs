//! Flags, from outside: what SDKs decide themselves, what they are told, and the file.

mod continuity;
mod differences;
mod file;
mod local;
mod operators;
mod remote;
mod versions;

use serde_json::{Value, json};

use crate::harness::http::Answer;
use crate::harness::{Options, PROJECT, Server};

/// Opens the definitions of every project.
const KEY: &str = "phs_of_the_tests";

const JSON: (&str, &str) = ("content-type", "application/json");

/// `flags` is a file or JSON text.
fn options(flags: &str) -> Options {
    Options::new().set("HOGFLARE_FEATURE_FLAGS", flags).set("HOGFLARE_FLAG_KEYS", &format!("tests:{KEY}"))
}

/// Of a project without groups, for everybody.
fn flag(key: &str, groups: Value) -> Value {
    json!({"key": key, "active": true, "filters": {"groups": groups}})
}

fn post(server: &Server, path: &str, body: &Value) -> Answer {
    server.post(path, &[JSON], body.to_string().as_bytes())
}

/// The value of each flag for a question, which needs no token.
fn values(server: &Server, mut question: Value) -> Value {
    question["token"] = json!(PROJECT);
    let answer = post(server, "/flags/?v=2", &question);
    assert_eq!(answer.status, 200, "{question}: {}", answer.text());
    answer.json()["featureFlags"].clone()
}

/// Payloads are JSON text, which some SDKs read for the application.
fn read_payload(payload: &Value) -> Value {
    payload.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| payload.clone())
}
