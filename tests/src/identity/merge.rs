//! Two persons with many events become one: at once for SQL, and for anyone who joins the overrides.

use serde_json::{Value, json};

use super::{commit, event, send, table};
use crate::harness::clients::{duckdb, pyiceberg};
use crate::harness::{Options, PROJECT, Server, skipped};

const EVENTS_EACH: usize = 10_000;
const BATCH: usize = 1_000;

/// Python's `uuid.uuid5` of PostHog's namespace and `phc_test:left`, `phc_test:right`.
const LEFT: &str = "d6662fdd-8edb-50b7-8710-2c8ccb5098e7";
const RIGHT: &str = "5d5015f6-3acd-5a95-b0a3-41b87cfa3249";

#[test]
fn a_merge_moves_all_events_at_once() {
    let mut server = Options::new().interval("1h").start();
    for id in ["left", "right"] {
        for _ in 0..EVENTS_EACH / BATCH {
            let batch: Vec<Value> = (0..BATCH).map(|n| event("e", id, json!({"n": n}))).collect();
            send(&server, &batch);
        }
    }
    let by_identity = "select identity_id, count(*), count(distinct distinct_id) from events group by 1 order by 1";
    let before = json!([[RIGHT, EVENTS_EACH, 1], [LEFT, EVENTS_EACH, 1]]);
    assert_eq!(table(&server, by_identity), before);
    send(&server, &[event("$identify", "left", json!({"$anon_distinct_id": "right"}))]);
    let all = 2 * EVENTS_EACH + 1;
    assert_eq!(table(&server, by_identity), json!([[LEFT, all, 2]]), "the next query sees the merge");
    assert_eq!(server.snapshot_id("hogflare_events"), None, "nothing was committed");
    send(&server, &[event("e", "right", json!({}))]);
    assert_eq!(table(&server, by_identity), json!([[LEFT, all + 1, 2]]));

    // The merge is in the tables, its events partly behind it.
    commit(&mut server);
    send(&server, &[event("e", "right", json!({}))]);
    assert_eq!(table(&server, by_identity), json!([[LEFT, all + 2, 2]]));
    assert_eq!(server.committed_rows("hogflare_events"), all as u64 + 1);
    if !skipped("clients") {
        check_others(&server, all as u64 + 1);
    }
}

/// Rows keep the person that they were stamped with; the join gives them to the person of now.
fn check_others(server: &Server, committed: u64) {
    let resolved = json!([[PROJECT, LEFT, committed]]);
    let stamped = json!([[PROJECT, RIGHT, EVENTS_EACH], [PROJECT, LEFT, committed - EVENTS_EACH as u64]]);
    let found = pyiceberg(server, json!({"op": "identities", "table": "hogflare_events"}));
    assert_eq!(found, json!({"stamped": stamped, "resolved": resolved}), "PyIceberg");
    let statement = "select e.api_key, coalesce(o.person_id, e.person_id) as identity, count(*) \
        from lake.\"default\".hogflare_events e left join ( \
            select api_key, distinct_id, arg_max(person_id, version) as person_id \
            from lake.\"default\".hogflare_person_overrides group by all \
        ) o on o.api_key = e.api_key and o.distinct_id = e.distinct_id group by all";
    let found = duckdb(server, server.read_token(), &[statement.to_owned()]).expect("DuckDB");
    assert_eq!(json!(found[0].rows), resolved, "DuckDB");
}
