//! What is too large, too much or oddly framed, and what browsers are told.

use std::net::TcpStream;

use serde_json::json;

use crate::harness::{Options, PROJECT, Server, http, wait_for};

const ORIGIN: &str = "https://shop.example";

fn assert_readable_across_origins(answer: &http::Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN), "{:?}", answer.headers);
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{:?}", answer.headers);
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default().to_lowercase();
    assert!(exposed.contains("retry-after"), "{:?}", answer.headers);
}

#[test]
fn a_preflight_is_answered_for_every_sdk_route() {
    let server = Options::new().start();
    let asked = "content-type,content-encoding,x-posthog-distinct-id";
    let v0 = ["/e/", "/i/v0/e/", "/batch/", "/capture", "/track", "/engage", "/identify", "/alias", "/groups", "/s/"];
    let v1 =
        ["/i/v1/analytics/events", "/i/v1/ai/events/", "/i/v0/ai", "/i/v0/ai/batch/", "/i/v0/ai/otel", "/i/v1/logs"];
    for path in v0.into_iter().chain(v1) {
        let headers =
            [("origin", ORIGIN), ("access-control-request-method", "POST"), ("access-control-request-headers", asked)];
        let answer = http::send("OPTIONS", &format!("{}{path}", server.url()), &headers, None).unwrap();
        assert!([200, 204].contains(&answer.status), "{path}: {}", answer.status);
        assert_readable_across_origins(&answer);
        let methods = answer.header("access-control-allow-methods").unwrap_or_default();
        assert!(methods.contains("POST") && methods.contains("GET"), "{path}: {methods}");
        let allowed = answer.header("access-control-allow-headers").unwrap_or_default().to_lowercase();
        assert!(asked.split(',').all(|header| allowed.contains(header)), "{path}: {allowed}");
    }
}

/// 20 MiB of body, 32 MiB once decoded: both are refused, without taking the memory first.
#[test]
fn bombs_are_refused_with_413() {
    let server = Options::new().start();
    let zeros = http::gzip(&vec![b' '; 200 << 20]);
    let mut inside = json!({"api_key": PROJECT, "event": "bomb", "distinct_id": "d"}).to_string().into_bytes();
    inside.resize(64 << 20, b' ');
    let json_with_spaces = http::gzip(&inside);
    let plain = vec![b' '; 21 << 20];
    for (name, body) in [("zeros", &zeros), ("spaces behind an event", &json_with_spaces), ("plain", &plain)] {
        let answer = server.post("/batch/", &[("content-type", "application/json"), ("origin", ORIGIN)], body);
        assert_eq!(answer.status, 413, "{name}: {}", answer.text());
        answer.assert_sdk_error(413);
        assert_readable_across_origins(&answer);
    }
    let too_deep = format!(
        r#"{{"api_key":"{PROJECT}","event":"a","distinct_id":"b","properties":{{"a":{}}}}}"#,
        "[".repeat(1 << 20)
    );
    let answer = server.post("/e/", &[("content-type", "application/json")], too_deep.as_bytes());
    assert!([400, 413].contains(&answer.status), "{}", answer.status);
    assert_eq!(server.count("hogflare_events"), 0);
    assert_eq!(server.get("/healthz", &[]).status, 200, "the server lives");
}

#[test]
fn a_chunked_gzip_body_is_taken() {
    let server = Options::new().start();
    let event =
        json!({"api_key": PROJECT, "event": "chunked", "distinct_id": "d", "properties": {"text": "x".repeat(5_000)}});
    let body = http::gzip(event.to_string().as_bytes());
    let mut request = b"POST /e/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
        Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        .to_vec();
    for chunk in body.chunks(7) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let answer = http::send_raw(TcpStream::connect(server.address()).unwrap(), &request).unwrap();
    answer.assert_sdk_ok();
    assert_eq!(server.count("hogflare_events where event = 'chunked'"), 1);
}

/// Requests of 30 MiB once decoded wait for a slow disk until the 128 MiB of all requests are taken.
const LARGE_REQUESTS: usize = 8;

#[test]
fn a_full_queue_answers_503_and_the_retry_is_stored_once() {
    let server = Options::new().stall("frame:3000").start();
    let bodies: Vec<Vec<u8>> = (0..LARGE_REQUESTS).map(large_body).collect();
    let answers: Vec<http::Answer> = std::thread::scope(|scope| {
        let senders: Vec<_> = bodies.iter().map(|body| scope.spawn(|| post_from_a_page(&server, body))).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    let refused: Vec<&http::Answer> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(!refused.is_empty(), "{LARGE_REQUESTS} requests of 30 MiB fit into 128 MiB");
    assert!(refused.len() < LARGE_REQUESTS, "nothing was taken");
    for answer in refused {
        answer.assert_sdk_error(503);
        let seconds = answer.header("retry-after").expect("Retry-After").parse::<u32>().expect("seconds");
        assert!((1..=60).contains(&seconds), "{seconds}");
        assert_readable_across_origins(answer);
    }
    for body in &bodies {
        wait_for("room", || (post_from_a_page(&server, body).status == 200).then_some(()));
    }
    let counted = server.sql("select count(*), count(distinct uuid) from hogflare_events");
    assert_eq!(counted.rows, [[json!(LARGE_REQUESTS), json!(LARGE_REQUESTS)]]);
}

fn large_body(number: usize) -> Vec<u8> {
    let uuid = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number as u128);
    let event = json!({"event": "large", "distinct_id": "d", "uuid": uuid, "properties": {"number": number}});
    let mut body = json!({"api_key": PROJECT, "batch": [event]}).to_string().into_bytes();
    body.resize(30 << 20, b' ');
    http::gzip(&body)
}

fn post_from_a_page(server: &Server, body: &[u8]) -> http::Answer {
    server.post("/batch/", &[("content-type", "application/json"), ("origin", ORIGIN)], body)
}

/// Rows cannot be sealed (the step is held for an hour), so memory fills up with them: events get 503, and
/// readiness says why.
#[test]
fn memory_full_of_rows_shows_in_readiness() {
    let options = Options::new().interval("50ms").set("HOGFLARE_TAIL_BYTES_MAX", "8MiB").stall("seal:3600000");
    let server = options.start();
    let event = |number: usize| {
        let properties = json!({"pad": "x".repeat(512 << 10)});
        json!({"api_key": PROJECT, "event": "e", "distinct_id": format!("d{number}"), "properties": properties})
    };
    let refused = (0..100).find_map(|number| {
        let headers = [("content-type", "application/json")];
        let answer = server.post("/i/v0/e/", &headers, event(number).to_string().as_bytes());
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.expect("memory is full").status, 503);
    let ready = server.get("/readyz", &[]);
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("wait in memory"), "{}", ready.text());
}
