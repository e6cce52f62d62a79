//! Capture V1 at the edge: what it promises holds after a kill, and pressure is said in its own words.

use std::net::TcpStream;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Options, PROJECT, Server, http};

const PATH: &str = "/i/v1/analytics/events";
const EVENTS: u64 = 20;

/// A request that is ready to be sent, with headers of its own beside those of V1.
fn post(server: &Server, more: &[(&str, &str)], body: &Value) -> http::Answer {
    let authorization = format!("Bearer {PROJECT}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
        ("user-agent", "posthog-node/5.70.0"),
        ("posthog-sdk-info", "posthog-node/5.70.0"),
        ("posthog-attempt", "1"),
        ("posthog-request-id", "01a1f765-63bc-757b-802a-8569b5f98464"),
        ("posthog-request-timestamp", "2026-11-20T05:19:40Z"),
    ];
    server.post(PATH, &[&headers, more].concat(), body.to_string().as_bytes())
}

fn uuid(number: u64) -> String {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_2000 + u128::from(number)).to_string()
}

fn batch(numbers: std::ops::Range<u64>, pad_bytes: usize) -> Value {
    let events: Vec<Value> = numbers
        .map(|number| {
            // Years ago or now: both slots.
            let timestamp = if number % 2 == 0 { "2022-02-02T02:02:02Z" } else { "2026-11-20T05:19:39Z" };
            json!({
                "event": "v1", "uuid": uuid(number), "distinct_id": "d", "timestamp": timestamp,
                "options": {}, "properties": {"number": number, "pad": "x".repeat(pad_bytes)},
            })
        })
        .collect();
    json!({"created_at": "2026-11-20T05:19:39Z", "batch": events})
}

#[test]
fn results_of_capture_v1_are_durable_and_a_retry_is_ok() {
    let mut server = Options::new().interval("1h").start();
    let ok: Value = (0..EVENTS).map(|number| (uuid(number), json!({"result": "ok"}))).collect();
    for attempt in ["1", "2", "3"] {
        let answer = post(&server, &[], &batch(0..EVENTS, 0));
        assert_eq!((answer.status, answer.json()), (200, json!({ "results": ok })), "attempt {attempt}");
        server.kill();
        server.restart();
        let counted = server.sql("select count(*), count(distinct uuid) from hogflare_events where event = 'v1'");
        assert_eq!(counted.rows, [[json!(EVENTS), json!(EVENTS)]], "attempt {attempt}");
    }
}

/// Rows cannot be sealed (the step is held for an hour), so memory fills up with them.
#[test]
fn pressure_on_capture_v1_is_503_with_a_time_to_wait() {
    let options = Options::new().interval("50ms").set("HOGFLARE_TAIL_BYTES_MAX", "8MiB").stall("seal:3600000");
    let server = options.start();
    let origin = [("origin", "https://shop.example")];
    let refused = (0..100).find_map(|number| {
        let answer = post(&server, &origin, &batch(number..number + 1, 512 << 10));
        (answer.status != 200).then_some(answer)
    });
    let refused = refused.expect("memory is full");
    assert_eq!((refused.status, &refused.json()["error"]), (503, &json!("service_unavailable")));
    assert!(
        refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()),
        "{:?}",
        refused.headers
    );
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://shop.example"));
}

#[test]
fn capture_v1_is_held_to_signatures_and_methods() {
    let server = Options::new().set("POSTHOG_SIGNING_SECRET", "secret").start();
    let answer = post(&server, &[], &batch(0..1, 0));
    assert_eq!((answer.status, &answer.json()["error"]), (401, &json!("signature_required")));
    let answer = server.get(PATH, &[]);
    assert_eq!((answer.status, &answer.json()["error"]), (405, &json!("method_not_allowed")));
    assert_eq!(server.count("hogflare_events"), 0);
}

/// SDKs repeat a 408, and drop what gets a 400.
#[test]
fn a_body_that_stops_coming_is_a_timeout() {
    let server = Options::new().start();
    let stopped = format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {PROJECT}\r\n\
         Content-Type: application/json\r\nUser-Agent: a\r\nPostHog-Sdk-Info: a/1\r\nPostHog-Attempt: 1\r\n\
         PostHog-Request-Id: {}\r\nPostHog-Request-Timestamp: 2026-11-20T05:19:40Z\r\nContent-Length: 100\r\n\r\n{{",
        uuid(0)
    );
    let answer = http::send_raw(TcpStream::connect(server.address()).unwrap(), stopped.as_bytes()).unwrap();
    assert_eq!((answer.status, &answer.json()["error"]), (408, &json!("request_timeout")));
}
