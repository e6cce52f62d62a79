//! What an event costs between the socket and the writer: decode, normalize, enrich, and the row.
//!
//! Prints microseconds of one thread per event for recorded requests, blown up to batches.

use std::borrow::Cow;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hogflare_ingest::protocol::{DecodeLimits, Endpoint, HeaderFacts, Method, decode};
use hogflare_ingest::{Known, NormalizeSettings, RandomIds, RequestFacts, enrich, normalize};

const BATCH_EVENTS: usize = 100;
const RUN_FOR: Duration = Duration::from_millis(500);

fn main() {
    println!("{:<28} {:>8} {:>12} {:>12} {:>10}", "body", "events", "bytes/event", "us/event", "MB/s");
    for (name, events) in [("posthog-js", browser_events()), ("posthog (Python)", server_events())] {
        let batch = envelope(&events, BATCH_EVENTS);
        report(&format!("{name}, batch"), BATCH_EVENTS, batch.as_bytes());
        report(&format!("{name}, batch, gzip"), BATCH_EVENTS, &gzip(batch.as_bytes()));
        report(&format!("{name}, single"), 1, envelope(&events, 1).as_bytes());
    }
}

fn report(name: &str, events: usize, body: &[u8]) {
    let (facts, limits, settings) = (facts(), DecodeLimits::default(), settings());
    let body = Bytes::copy_from_slice(body);
    let mut stored_bytes = 0;
    let mut requests = 0;
    let started = Instant::now();
    while started.elapsed() < RUN_FOR {
        let known = Known::of_client(facts.peer_ip);
        let request = decode(&facts, body.clone(), &limits).expect("a valid body");
        let mut normalized = normalize(request, &facts, &settings, &mut RandomIds).expect("a token");
        enrich(&mut normalized.events, &known);
        assert_eq!(normalized.events.len(), events);
        for event in &normalized.events {
            stored_bytes += black_box(event.as_row()).properties.len();
        }
        requests += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    let all = (requests * events) as f64;
    let (microseconds, rate) = (seconds * 1e6 / all, stored_bytes as f64 / seconds / 1e6);
    println!("{name:<28} {events:>8} {:>12} {microseconds:>12.2} {rate:>10.0}", stored_bytes / (requests * events));
}

fn facts() -> RequestFacts {
    RequestFacts {
        endpoint: Endpoint::Batch,
        path: Cow::Borrowed("/batch"),
        method: Method::Post,
        query: Vec::new(),
        headers: HeaderFacts::default(),
        peer_ip: Some("203.0.113.7".parse().expect("an address")),
        received_at_us: 1_795_152_600_000_000,
    }
}

fn settings() -> NormalizeSettings {
    let group_types = std::sync::Arc::new([Some("company".to_owned()), None, None, None, None]);
    NormalizeSettings { team_id: Some(1), group_types, ..NormalizeSettings::default() }
}

fn envelope(events: &[serde_json::Value], count: usize) -> String {
    let batch: Vec<_> = events.iter().cycle().take(count).collect();
    serde_json::json!({ "api_key": "phc_test", "batch": batch, "sent_at": "2026-11-20T05:04:31.986Z" }).to_string()
}

fn browser_events() -> Vec<serde_json::Value> {
    events("browser_batch_uncompressed.json")
}

/// The plain events of a server SDK: `python_batch_plain` without its exception.
fn server_events() -> Vec<serde_json::Value> {
    events("python_batch_plain.json").into_iter().filter(|event| event["event"] != "$exception").collect()
}

fn events(name: &str) -> Vec<serde_json::Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/requests").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let request: serde_json::Value = serde_json::from_str(&text).expect("a fixture");
    let body = STANDARD.decode(request["raw_base64"].as_str().expect("a body")).expect("base64");
    let body: serde_json::Value = serde_json::from_slice(&body).expect("an uncompressed body");
    body["batch"].as_array().expect("a batch").clone()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes every byte")
}
