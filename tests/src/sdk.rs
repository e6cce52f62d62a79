//! Unmodified SDKs: what they sent is in the answer of the first query after their last answer.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::clients::Client;
use crate::harness::{Options, Server, skipped};

const EVENTS: u64 = 10_000;

#[test]
fn posthog_python_events_are_visible_before_any_commit() {
    if skipped("clients") {
        return;
    }
    check(&mut Client::python("posthog_python.py"), "posthog-python");
}

#[test]
fn posthog_node_events_are_visible_before_any_commit() {
    if skipped("clients") {
        return;
    }
    check(&mut Client::node("posthog_node.mjs"), "posthog-node");
}

fn check(client: &mut Client, lib: &str) {
    let server = Options::new().interval("1h").start();
    let before = server.snapshot_id("hogflare_events");
    for gzip in [true, false] {
        let token = format!("phc_gzip_{gzip}");
        let sent = client.ask(&json!({
            "host": server.url(), "token": token, "events": EVENTS, "gzip": gzip, "prefix": "visitor",
        }));
        // Asked once: no waiting, no second try.
        let counted = server
            .sql_with("select count(*), count(distinct uuid) from hogflare_events where api_key = $1", &[json!(token)]);
        assert_eq!(counted.rows, [[json!(EVENTS), json!(EVENTS)]], "{lib}, gzip {gzip}");
        assert_eq!(sent["errors"], json!([]), "{lib}, gzip {gzip}");
        assert_same_uuids(&server, &token, &sent["uuids"]);
        assert_values(&server, &token, lib);
    }
    assert_eq!(server.snapshot_id("hogflare_events"), before, "a commit happened within the hour");
}

fn assert_same_uuids(server: &Server, token: &str, sent: &Value) {
    let mut sent: Vec<Uuid> = serde_json::from_value(sent.clone()).expect("uuids");
    let found = server.sql_with("select uuid from hogflare_events where api_key = $1", &[json!(token)]);
    let parse = |value: &Value| Uuid::parse_str(value.as_str().expect("text")).expect("uuid");
    let mut found: Vec<Uuid> = found.rows.iter().map(|row| parse(&row[0])).collect();
    sent.sort_unstable();
    found.sort_unstable();
    assert!(sent == found, "the stored uuids are not the sent ones");
}

/// The sums that follow from the scripts: event `n` has amount `n / 8`, session `n / 20`, visitor `n % 250`.
fn assert_values(server: &Server, token: &str, lib: &str) {
    let found = server.sql_with(
        "select count(distinct distinct_id), count(distinct session_id), count(distinct current_url), \
            sum(case when event = 'order placed' then 1 else 0 end), \
            sum(cast(properties->>'amount' as double)), \
            count(distinct properties->>'note'), min(properties->>'note'), min(lib), max(lib) \
         from hogflare_events where api_key = $1",
        &[json!(token)],
    );
    let sum_of_amounts = (0..EVENTS).map(|n| n as f64 / 8.0).sum::<f64>();
    let expected = json!([250, EVENTS / 20, 40, EVENTS / 10, sum_of_amounts, 1, "größer als 5 € 🛒", lib, lib]);
    assert_eq!(json!(found.rows[0]), expected);
}
