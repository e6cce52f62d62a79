//! The posthog-rs package as an application uses it: every kind of call, then a flush.
//!
//! A request is `{"host", "token", "compression": null|"gzip"|…, "events": n}`. The answer says what the
//! package was told, `{"uuids": […], "not_persisted": n, "results": […], "errors": […]}`, after the last
//! answer of the server. `results` are those of the immediate calls, and empty without `capture-v1`.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::{Arc, Mutex};

use posthog_rs::{CaptureCompression, Client, ClientOptionsBuilder, Event, FlagValue};
use serde_json::{Value, json};
use uuid::Uuid;

/// Uuid of the first event; the others follow it.
const FIRST_UUID: u128 = 0x01a1f757_3482_7fcd_b12d_000000000000;

fn main() {
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.expect("standard input")).expect("a JSON line");
        let answer = match run(&request) {
            Ok(answer) => json!({ "ok": answer }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        println!("{answer}");
    }
}

fn run(request: &Value) -> Result<Value, Box<dyn std::error::Error>> {
    let errors = Arc::new(Mutex::new(Vec::new()));
    let client = client(request, &errors)?;
    if let Some(question) = request.get("question") {
        return flags(&client, question);
    }
    let mut uuids = Vec::new();
    for number in 0..request["events"].as_u64().ok_or("events")? {
        let event = order(number)?;
        uuids.push(event.1.to_string());
        client.capture(event.0);
    }
    let mut identify = Event::new("$identify", "ada");
    identify.insert_prop("$set", json!({"email": "ada@example.com"}))?;
    identify.insert_prop("$set_once", json!({"plan": "free"}))?;
    client.capture(identify);
    client.alias("ada", "ada-before");
    client.group_identify("company", "acme", json!({"name": "Acme"}))?;
    client.capture(Event::new_anon("anonymous visit"));
    client.flush();

    let mut immediate = Event::new("paid", "ada");
    immediate.insert_prop("amount", 12.5)?;
    let paid = client.capture_immediate(immediate)?;
    let imported = client.capture_batch_immediate(vec![Event::new("imported", "ada")], true)?;
    let nobody = client.capture_immediate(Event::new("from nobody", "null"))?;
    client.shutdown();
    let not_persisted: Vec<usize> = [&paid, &imported, &nobody].map(|summary| summary.not_persisted()).to_vec();
    let errors = errors.lock().map_err(|_| "a panic in the error hook")?.clone();
    Ok(json!({
        "uuids": uuids, "not_persisted": not_persisted, "results": results(&[&paid, &imported, &nobody]), "errors": errors,
    }))
}

fn flags(client: &Client, question: &Value) -> Result<Value, Box<dyn std::error::Error>> {
    let distinct_id = question["distinct_id"].as_str().ok_or("distinct_id")?;
    let properties = question["properties"].as_str().map(serde_json::from_str::<HashMap<String, Value>>).transpose()?;
    let groups = question["groups"].as_object().map(|groups| {
        let key = |key: &Value| key.as_str().unwrap_or_default().to_owned();
        groups.iter().map(|(name, value)| (name.clone(), key(value))).collect::<HashMap<String, String>>()
    });
    let (values, payloads) = client.get_feature_flags(distinct_id, groups, properties, None)?;
    let value = |value: &FlagValue| match value {
        FlagValue::Boolean(on) => json!(on),
        FlagValue::String(variant) => json!(variant),
    };
    let values: Value = values.iter().map(|(key, found)| (key.clone(), value(found))).collect();
    Ok(json!({ "values": values, "payloads": payloads }))
}

fn client(request: &Value, errors: &Arc<Mutex<Vec<String>>>) -> Result<Client, Box<dyn std::error::Error>> {
    let mut options = ClientOptionsBuilder::default();
    options.host(request["host"].as_str().ok_or("host")?);
    options.api_key(request["token"].as_str().ok_or("token")?.to_owned());
    let compression = match request["compression"].as_str() {
        None => None,
        Some("gzip") => Some(CaptureCompression::Gzip),
        Some("deflate") => Some(CaptureCompression::Deflate),
        Some("br") => Some(CaptureCompression::Br),
        Some("zstd") => Some(CaptureCompression::Zstd),
        Some(other) => return Err(format!("no compression {other}").into()),
    };
    if let Some(compression) = compression {
        options.capture_compression(compression);
    }
    let errors = Arc::clone(errors);
    options.on_error(move |error| errors.lock().expect("no panic while it is held").push(format!("{error:?}")));
    Ok(posthog_rs::client(options.build()?))
}

/// An event and its uuid.
fn order(number: u64) -> Result<(Event, Uuid), Box<dyn std::error::Error>> {
    let mut event = Event::new("order placed".to_owned(), format!("visitor-{}", number % 10));
    let uuid = Uuid::from_u128(FIRST_UUID + u128::from(number));
    event.set_uuid(uuid);
    event.add_group("company", "acme");
    event.insert_prop("$session_id", format!("session-{}", number / 20))?;
    event.insert_prop("$window_id", "window")?;
    event.insert_prop("amount", number as f64 / 8.0)?;
    event.insert_prop("note", "größer als 5 € 🛒")?;
    Ok((event, uuid))
}

#[cfg(feature = "capture-v1")]
fn results(summaries: &[&posthog_rs::CaptureSummary]) -> Value {
    let verdicts = summaries.iter().flat_map(|summary| summary.event_results().values());
    verdicts.map(|verdict| json!({"result": format!("{:?}", verdict.result), "details": verdict.details})).collect()
}

#[cfg(not(feature = "capture-v1"))]
fn results(_: &[&posthog_rs::CaptureSummary]) -> Value {
    json!([])
}
