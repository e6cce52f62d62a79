//! Persons and groups as large as they may become, and one step further.

use std::time::Instant;

use serde_json::{Value, json};

use super::{event, objects, send, table};
use crate::harness::{Options, PROJECT, Server, wait_for};

/// Aliases of one person.
const ALIASES: usize = 1_000_000;
const BATCH: usize = 1_000;
/// Of the server while they come: most of it are rows that are not sealed.
const RESIDENT_MIB_MAX: u64 = 768;
/// Ids that a row of a person lists.
const LISTED_MAX: usize = 1_000;
/// Two of them are more than a person or a group holds.
fn large(byte: char) -> String {
    byte.to_string().repeat(300 << 10)
}

#[test]
fn what_would_be_too_large_is_left_out_and_told() {
    let server = Options::new().start();
    let set = |id: &str, key: &str| event("e", id, json!({"$set": {key: large('x')}}));
    let events = [
        set("ada", "first"),
        set("ada", "second"),
        event("e", "ada", json!({"$set": {"small": 1}})),
        // The merged person's property is left out, its id is not.
        set("anon", "third"),
        event("$identify", "ada", json!({"$anon_distinct_id": "anon", "$set": {"last": 1}})),
    ];
    for event in &events {
        send(&server, std::slice::from_ref(event));
    }
    let person = &objects(&server, "select * from person_profiles", &["distinct_ids", "properties"])[0];
    assert_eq!(person["distinct_ids"], json!(["ada", "anon"]));
    assert_eq!(person["properties"], json!({"first": large('x'), "small": 1, "last": 1}));
    let letters = "select reason, event_uuid from dead_letter order by _position";
    let expected = json!([["person_too_large", events[1]["uuid"]], ["person_too_large", events[4]["uuid"]]]);
    assert_eq!(table(&server, letters), expected);
    // Every event is there, with a copy of its person that is cut.
    let copies = "select count(*), max(length(person_properties)), max(length(properties)) from events";
    let copies = &server.sql(copies).rows[0];
    assert_eq!(copies[0], 5);
    assert!(copies[1].as_u64().unwrap() <= 32 << 10 && copies[2].as_u64().unwrap() > 300 << 10, "{copies:?}");

    let describe = |key: &str| {
        event(
            "$groupidentify",
            "$company_acme",
            json!({"$group_type": "company", "$group_key": "acme", "$group_set": {key: large('y')}}),
        )
    };
    let events = [describe("first"), describe("second")];
    send(&server, &events);
    let letters = "select event_uuid from dead_letter where reason = 'group_too_large'";
    assert_eq!(table(&server, letters), json!([[events[1]["uuid"]]]));
    let group = &objects(&server, "select version, properties from groups", &["properties"])[0];
    assert_eq!(json!(group), json!({"version": 1, "properties": {"first": large('y')}}));
    assert_alive(&server);
}

#[test]
fn a_person_with_very_many_ids_stays_one_person() {
    let server = Options::new().start();
    let started = Instant::now();
    let mut resident_mib = 0;
    for from in (0..ALIASES).step_by(BATCH) {
        let batch: Vec<Value> = (from..from + BATCH)
            .map(|n| event("$create_alias", "hub", json!({"alias": format!("alias-{n}")})))
            .collect();
        send_patiently(&server, &batch);
        resident_mib = resident_mib.max(resident_kib(&server) >> 10);
    }
    println!("{ALIASES} aliases in {:?}, at most {resident_mib} MiB resident", started.elapsed());
    assert!(resident_mib < RESIDENT_MIB_MAX, "{resident_mib} MiB resident");
    // All of its versions together are more than a query may hold.
    let person = &objects(&server, "select * from person_profiles", &["distinct_ids"])[0];
    // The first alias begins the person.
    assert_eq!((&person["version"], &person["distinct_id_count"]), (&json!(ALIASES), &json!(ALIASES + 1)));
    let listed = person["distinct_ids"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[0], &listed[999]), (LISTED_MAX, &json!("hub"), &json!("alias-998")));
    assert_eq!(server.count("identity_links"), ALIASES as u64 + 1);

    // An event of the last of them is with the person; so many ids cannot go into another.
    let last = format!("alias-{}", ALIASES - 1);
    let merge = event("$merge_dangerously", "other", json!({"alias": last}));
    send_patiently(&server, &[event("e", "other", json!({})), event("e", &last, json!({})), merge.clone()]);
    let of_hub = "select count(*), count(distinct distinct_id) from events where identity_id = \
        (select person_id from person_profiles where canonical_distinct_id = 'hub')";
    assert_eq!(table(&server, of_hub), json!([[ALIASES + 1, 2]]));
    let letters = table(&server, "select reason, event_uuid from dead_letter");
    assert_eq!(letters, json!([["merge_refused_too_many_ids", merge["uuid"]]]));
    // The other direction moves one id only.
    send_patiently(&server, &[event("$merge_dangerously", "hub", json!({"alias": "other"}))]);
    let profiles = "select distinct_id_count, version from person_profiles where canonical_distinct_id = 'hub'";
    assert_eq!(table(&server, profiles), json!([[ALIASES + 2, ALIASES + 1]]));
    assert_alive(&server);
}

/// As an SDK does: what is refused because too much waits comes again.
fn send_patiently(server: &Server, events: &[Value]) {
    let body = json!({"api_key": PROJECT, "batch": events}).to_string();
    wait_for("room for the changes", || {
        let answer = server.post("/batch/", &[("content-type", "application/json")], body.as_bytes());
        if answer.status == 503 {
            assert!(answer.header("retry-after").is_some(), "503 without Retry-After");
            return None;
        }
        answer.assert_sdk_ok();
        Some(())
    });
}

fn assert_alive(server: &Server) {
    assert_eq!(server.get("/readyz", &[]).status, 200);
    let before = server.count("events");
    send_patiently(server, &[event("alive", "somebody", json!({}))]);
    assert_eq!(server.count("events"), before + 1);
}

fn resident_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
