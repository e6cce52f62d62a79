//! Unmodified SDKs: what they sent is in the answer of the first query after their last answer.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::clients::{Client, installed};
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
    for (gzip, mode) in [(true, "v0"), (false, "v0"), (true, "v1")] {
        let token = format!("phc_{mode}_gzip_{gzip}");
        let sent = client.ask(&json!({
            "host": server.url(), "token": token, "events": EVENTS, "gzip": gzip, "mode": mode, "prefix": "visitor",
        }));
        // Asked once: no waiting, no second try.
        let counted = server
            .sql_with("select count(*), count(distinct uuid) from hogflare_events where api_key = $1", &[json!(token)]);
        assert_eq!(sent["errors"], json!([]), "{lib}, {mode}, gzip {gzip}");
        assert_eq!(counted.rows, [[json!(EVENTS), json!(EVENTS)]], "{lib}, {mode}, gzip {gzip}");
        assert_same_uuids(&server, &token, &sent["uuids"]);
        assert_values(&server, &token, lib);
        let answered = server.metrics().contains(r#"{route="/i/v1/analytics/events",status="2xx"}"#);
        assert_eq!(answered, mode == "v1", "{lib}, {mode}");
    }
    assert_eq!(server.snapshot_id("hogflare_events"), before, "a commit happened within the hour");
}

#[test]
fn ai_events_of_python_and_node_are_events() {
    if skipped("clients") {
        return;
    }
    for (mut client, lib) in
        [(Client::python("posthog_python.py"), "posthog-python"), (Client::node("posthog_node.mjs"), "posthog-node")]
    {
        let server = Options::new().start();
        let sent = client.ask(&json!({
            "host": server.url(), "token": "phc_ai", "events": 1, "gzip": true, "mode": "v0", "prefix": "x", "ai": true,
        }));
        assert_eq!(sent["errors"], json!([]), "{lib}");
        let found = server.sql(
            "select distinct_id, lib, properties->>'$ai_model' from hogflare_events where event = '$ai_generation'",
        );
        assert_eq!(found.rows, [["model-user", lib, "m-1"]], "{lib}");
        let routes = server.metrics();
        assert!(routes.contains(r#"hogflare_http_requests_total{route="/i/v0/ai/batch",status="2xx"} 1"#), "{routes}");
    }
}

#[test]
fn posthog_rs_events_are_visible_before_any_commit() {
    if skipped("clients") {
        return;
    }
    for compression in [json!(null), json!("gzip")] {
        check_rs("v0", &compression);
    }
}

#[test]
fn posthog_rs_gets_an_answer_for_each_event_of_capture_v1() {
    if skipped("clients") {
        return;
    }
    for compression in [json!(null), json!("gzip"), json!("deflate"), json!("br"), json!("zstd")] {
        check_rs("v1", &compression);
    }
}

const RS_EVENTS: u64 = 250;

/// What `tests/clients/posthog_rs` does, as rows and as what the package was told.
fn check_rs(mode: &str, compression: &Value) {
    let place = format!("posthog-rs {mode}, {compression}");
    let mut client = Client::program(&installed("HOGFLARE_TEST_POSTHOG_RS").join(mode));
    let server = Options::new().interval("1h").set("POSTHOG_GROUP_TYPE_0", "company").start();
    let request = json!({"host": server.url(), "token": "phc_rs", "compression": compression, "events": RS_EVENTS});
    let told = client.ask(&request);
    assert_eq!(told["errors"], json!([]), "{place}");
    assert_same_uuids_of(&server, "event = 'order placed' and api_key = 'phc_rs'", &told["uuids"]);
    let orders = server.sql(
        "select count(distinct distinct_id), count(distinct session_id), min(window_id), min(group0), \
            sum(cast(properties->>'amount' as double)), min(properties->>'note'), min(lib), min(lib_version) \
         from hogflare_events where event = 'order placed'",
    );
    let amounts = (0..RS_EVENTS).map(|n| n as f64 / 8.0).sum::<f64>();
    let sessions = RS_EVENTS.div_ceil(20);
    let expected = json!([10, sessions, "window", "acme", amounts, "größer als 5 € 🛒", "posthog-rs", "0.30.0"]);
    assert_eq!(json!(orders.rows[0]), expected, "{place}");

    let others = server.sql(
        "select event, distinct_id, person_mode, right(_writer, 5) = '-late', \
            coalesce(properties->>'alias', properties->>'$group_key', properties->'$set'->>'email', properties->>'amount') \
         from hogflare_events where event <> 'order placed' and event <> 'anonymous visit' order by event",
    );
    let mut expected = vec![
        json!(["$create_alias", "ada", "full", false, "ada-before"]),
        json!(["$groupidentify", "$company_acme", "propertyless", false, "acme"]),
        json!(["$identify", "ada", "full", false, "ada@example.com"]),
        json!(["imported", "ada", "full", true, null]),
        json!(["paid", "ada", "full", false, "12.5"]),
    ];
    if mode == "v0" {
        expected.insert(3, json!(["from nobody", "null", "full", false, null]));
    }
    assert_eq!(json!(others.rows), json!(expected), "{place}");
    let anonymous =
        server.sql("select count(*), min(person_mode) from hogflare_events where event = 'anonymous visit'");
    assert_eq!(json!(anonymous.rows), json!([[1, "propertyless"]]), "{place}");

    let letters = server.sql("select reason, distinct_id from hogflare_dead_letter");
    let (not_persisted, results, rejected) = match mode {
        "v0" => (json!([0, 0, 0]), json!([]), json!([])),
        _ => {
            let dropped = json!({"result": "Drop", "details": "invalid_distinct_id"});
            let ok = json!({"result": "Ok", "details": null});
            (json!([0, 0, 1]), json!([ok, ok, dropped]), json!([["invalid_distinct_id", "null"]]))
        }
    };
    assert_eq!((&told["not_persisted"], &told["results"]), (&not_persisted, &results), "{place}");
    assert_eq!(json!(letters.rows), rejected, "{place}");
    let route = if mode == "v0" { "/batch" } else { "/i/v1/analytics/events" };
    assert!(server.metrics().contains(&format!(r#"route="{route}",status="2xx"}}"#)), "{place}");
}

fn assert_same_uuids(server: &Server, token: &str, sent: &Value) {
    assert_same_uuids_of(server, &format!("api_key = '{token}'"), sent);
}

fn assert_same_uuids_of(server: &Server, filter: &str, sent: &Value) {
    let mut sent: Vec<Uuid> = serde_json::from_value(sent.clone()).expect("uuids");
    let found = server.sql(&format!("select uuid from hogflare_events where {filter}"));
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
