//! An answer that never arrives: the client sends again, the event is stored once.

use serde_json::json;

use crate::harness::proxy::Proxy;
use crate::harness::{Options, PROJECT, Server, http, wait_for};

const EVENTS: u64 = 20;

fn body() -> String {
    let batch: Vec<_> = (0..EVENTS)
        .map(|number| {
            // Years ago or now: both slots.
            let timestamp = if number % 2 == 0 { json!("2022-02-02T02:02:02Z") } else { json!(null) };
            let uuid = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_1000 + u128::from(number));
            json!({"event": "cut", "distinct_id": "d", "uuid": uuid, "timestamp": timestamp, "properties": {"number": number}})
        })
        .collect();
    json!({"api_key": PROJECT, "batch": batch}).to_string()
}

fn post(url: &str, body: &str) -> anyhow::Result<http::Answer> {
    // An agent of its own, so that no kept connection hides the cut.
    http::send_by(
        &http::agent(),
        "POST",
        &format!("{url}/batch/"),
        &[("content-type", "application/json")],
        Some(body.as_bytes()),
    )
}

fn assert_stored_once(server: &Server) {
    let counted = server.sql("select count(*), count(distinct uuid) from hogflare_events where event = 'cut'");
    assert_eq!(counted.rows, [[json!(EVENTS), json!(EVENTS)]]);
}

#[test]
fn a_retry_after_a_lost_answer_is_not_a_second_event() {
    let mut server = Options::new().interval("1h").start();
    let proxy = Proxy::start(server.address());
    let body = body();
    for (cuts, bytes) in [0, 1, 20].into_iter().enumerate() {
        proxy.cut_after(bytes);
        let answer = post(&proxy.url(), &body);
        assert!(answer.is_err(), "the answer was cut after {bytes} bytes: {answer:?}");
        assert_eq!(proxy.cuts(), cuts + 1, "the server had answered");
        assert_stored_once(&server);
    }
    proxy.pass();
    post(&proxy.url(), &body).unwrap().assert_sdk_ok();
    assert_stored_once(&server);
    assert_eq!(events_total(&server, "accepted"), EVENTS);
    assert_eq!(events_total(&server, "repeat"), 3 * EVENTS);

    // Also after kill -9, from the log; and after an orderly stop, when the rows are in the table.
    server.kill();
    server.restart();
    post(server.url(), &body).unwrap().assert_sdk_ok();
    assert_stored_once(&server);
    server.stop();
    server.restart();
    assert_eq!(server.committed_rows("hogflare_events"), EVENTS);
    post(server.url(), &body).unwrap().assert_sdk_ok();
    assert_stored_once(&server);
}

/// The client gives up while the event is not yet durable; whatever the server does with it, once is the most.
#[test]
fn a_retry_while_the_first_copy_is_being_written_is_not_a_second_event() {
    let server = Options::new().stall("frame:1500").start();
    let proxy = Proxy::start(server.address());
    let body = body();
    std::thread::scope(|scope| {
        scope.spawn(|| post(&proxy.url(), &body).unwrap().assert_sdk_ok());
        wait_for("the frame", || server.is_open("frame").then_some(()));
        for _ in 0..3 {
            scope.spawn(|| post(server.url(), &body).unwrap().assert_sdk_ok());
        }
    });
    assert_stored_once(&server);
}

/// The counter of events with this outcome.
fn events_total(server: &Server, outcome: &str) -> u64 {
    let metrics = server.metrics();
    let series = format!("hogflare_ingest_events_total{{outcome=\"{outcome}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
    line.unwrap_or_else(|| panic!("no {series} in\n{metrics}")).trim().parse().expect("a number")
}
