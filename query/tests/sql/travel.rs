//! Reads of the past: by time, by snapshot, by tag; and the list of snapshots.

use hogflare_catalog::Table;
use hogflare_catalog::tables::{EventRow, Promoted};
use hogflare_query::{Engine, SqlRequest};
use iceberg::spec::PrimitiveType;
use serde_json::json;

use crate::fixture::{DAY_US, Lake, document, event, optional};

fn row(name: &str) -> EventRow<'_> {
    EventRow { promoted: Promoted { browser: Some("Lynx"), ..Promoted::default() }, ..event(name, "x", DAY_US, "{}") }
}

/// Id and time of the current snapshot.
fn current(lake: &Lake) -> (i64, i64) {
    let view = lake.views.current();
    let snapshot = view.head(Table::Events).unwrap().snapshot().unwrap();
    (snapshot.snapshot_id(), snapshot.timestamp_ms())
}

fn rfc3339(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms).unwrap().to_rfc3339()
}

/// The rows of an answer as text, or the error.
async fn ask(engine: &Engine, sql: &str, mut fields: serde_json::Value) -> String {
    fields["sql"] = json!(sql);
    let answer = match SqlRequest::from_json(fields.to_string().as_bytes()) {
        Ok(request) => document(engine, request).await,
        Err(error) => Err(error),
    };
    answer.map_or_else(|error| error.to_string(), |answer| answer["rows"].to_string())
}

const NAMES: &str = "SELECT string_agg(event, ',' ORDER BY event) FROM events";

#[tokio::test]
async fn every_snapshot_and_every_time_has_its_own_rows() {
    let mut lake = Lake::new();
    let engine = lake.engine();
    let first_file = lake.commit(&[row("a"), row("b")]).await;
    let first = current(&lake);
    lake.commit(&[row("c")]).await;
    let second = current(&lake);
    lake.delete(&first_file, &[0]).await;
    let deleted = current(&lake);
    lake.sealed(&[row("sealed")]);
    lake.tail(&[row("tail")]);
    lake.commit(&[row("d")]).await;
    let last = current(&lake);
    // Commits of the fixture are a millisecond apart or more; one that is just before the next is enough.
    for (fields, expected) in [
        (json!({}), "b,c,d,sealed,tail"),
        (json!({"snapshots": {"events": first.0}}), "a,b"),
        (json!({"snapshots": {"events": first.0.to_string()}}), "a,b"),
        (json!({"snapshots": {"hogflare_events": second.0.to_string()}}), "a,b,c"),
        (json!({"snapshots": {"events": deleted.0.to_string()}}), "b,c"),
        (json!({"snapshots": {"events": last.0.to_string()}}), "b,c,d"),
        (json!({"snapshots": {"events": "main"}}), "b,c,d"),
        (json!({"snapshots": {}}), "b,c,d"),
        (json!({"snapshots": {"dead_letter": "1"}}), "b,c,d"),
        (json!({"as_of": rfc3339(first.1)}), "a,b"),
        (json!({"as_of": rfc3339(second.1 - 1)}), "a,b"),
        (json!({"as_of": rfc3339(second.1)}), "a,b,c"),
        (json!({"as_of": rfc3339(deleted.1)}), "b,c"),
        (json!({"as_of": rfc3339(last.1)}), "b,c,d"),
        (json!({"as_of": "2999-01-01"}), "b,c,d"),
        (json!({"as_of": rfc3339(first.1), "snapshots": {"events": second.0.to_string()}}), "a,b,c"),
    ] {
        assert_eq!(ask(&engine, NAMES, fields.clone()).await, format!("[[\"{expected}\"]]"), "{fields}");
        let table = NAMES.replace("events", "lake.hogflare_events");
        assert_eq!(ask(&engine, &table, fields.clone()).await, format!("[[\"{expected}\"]]"), "{fields} of the table");
        let rows = expected.split(',').count();
        let count = ask(&engine, "SELECT count(*) FROM events", fields.clone()).await;
        assert_eq!(count, format!("[[{rows}]]"), "{fields}, perhaps from statistics");
    }
    // Both tables of a join are of the past; one that never had a snapshot is empty.
    let sql = "SELECT (SELECT count(*) FROM events) AS e, (SELECT count(*) FROM dead_letter) AS d";
    assert_eq!(ask(&engine, sql, json!({"as_of": rfc3339(second.1)})).await, "[[3,0]]");
    let fields = json!({"sql": "SELECT 1 FROM events", "as_of": rfc3339(second.1)}).to_string();
    let answer = document(&engine, SqlRequest::from_json(fields.as_bytes()).unwrap()).await.unwrap();
    assert_eq!(answer["stats"]["snapshots"], json!({"events": second.0.to_string(), "person_overrides": null}));
}

#[tokio::test]
async fn the_fields_stand_in_the_url_too() {
    let mut lake = Lake::new();
    let engine = lake.engine();
    lake.commit(&[row("a")]).await;
    let (id, at) = current(&lake);
    lake.commit(&[row("b")]).await;
    let at = rfc3339(at).replace("+00:00", "Z");
    for pair in [("as_of", at), ("snapshot", format!("events:{id}"))] {
        let request = SqlRequest::from_text(NAMES.as_bytes(), [(pair.0, pair.1.as_str())]).unwrap();
        assert_eq!(document(&engine, request).await.unwrap()["rows"].to_string(), r#"[["a"]]"#, "{pair:?}");
    }
}

#[tokio::test]
async fn a_snapshot_is_read_under_its_own_schema() {
    let mut lake = Lake::new();
    let engine = lake.engine();
    lake.commit(&[row("a")]).await;
    let before = json!({"snapshots": {"events": current(&lake).0.to_string()}});
    lake.alter(|fields| {
        fields.iter_mut().find(|field| field.name == "browser").unwrap().name = "navigator".into();
        fields.push(optional(900, "score", PrimitiveType::Int));
        fields.retain(|field| field.name != "cf_asn");
    });
    lake.commit(&[row("b")]).await;
    let after = json!({"snapshots": {"events": current(&lake).0.to_string()}});
    lake.tail(&[row("tail")]);
    for (sql, fields, expected) in [
        ("SELECT event, browser FROM hogflare_events ORDER BY 1", &before, r#"[["a","Lynx"]]"#),
        ("SELECT event, navigator FROM hogflare_events ORDER BY 1", &after, r#"[["a","Lynx"],["b","Lynx"]]"#),
        ("SELECT count(*) FROM hogflare_events WHERE cf_asn IS NULL", &before, "[[1]]"),
        ("SELECT count(*) FROM hogflare_events WHERE score IS NULL", &after, "[[2]]"),
        // The views have our columns at all times.
        ("SELECT event, browser, cf_asn FROM events ORDER BY 1", &before, r#"[["a","Lynx",null]]"#),
        ("SELECT event, browser, cf_asn FROM events ORDER BY 1", &after, r#"[["a","Lynx",null],["b","Lynx",null]]"#),
    ] {
        assert_eq!(ask(&engine, sql, fields.clone()).await, expected, "{sql} {fields}");
    }
    for (sql, fields) in [
        ("SELECT navigator FROM hogflare_events", &before),
        ("SELECT score FROM hogflare_events", &before),
        ("SELECT browser FROM hogflare_events", &after),
        ("SELECT cf_asn FROM hogflare_events", &after),
    ] {
        let answer = ask(&engine, sql, fields.clone()).await;
        assert!(answer.starts_with("unknown_column"), "{sql} {fields}: {answer}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_said_in_words() {
    let mut lake = Lake::new();
    let engine = lake.engine();
    lake.commit(&[row("a")]).await;
    let first = current(&lake);
    lake.commit(&[row("b")]).await;
    let (early, earliest) = (rfc3339(first.1 - 1), rfc3339(first.1).replace("+00:00", "Z"));
    let both = json!({"snapshots": {"events": first.0, "hogflare_events": first.0}});
    for (fields, code, words) in [
        (json!({"as_of": early}), "invalid_parameter", vec!["no snapshot as of", &earliest, "lake.snapshots"]),
        (json!({"as_of": "yesterday"}), "invalid_parameter", vec!["2026-11-20T10:00:00Z", "yesterday"]),
        (json!({"as_of": 5}), "invalid_parameter", vec!["no query", "expected a string"]),
        (json!({"as_of": ""}), "invalid_parameter", vec!["as_of"]),
        (
            json!({"snapshots": {"events": 77}}),
            "invalid_parameter",
            vec!["events has no snapshot 77", "lake.snapshots"],
        ),
        (json!({"snapshots": {"events": "gold"}}), "invalid_parameter", vec!["no tag or branch gold"]),
        (json!({"snapshots": {"events": ""}}), "invalid_parameter", vec!["events has no snapshot"]),
        (json!({"snapshots": {"events": null}}), "invalid_parameter", vec!["snapshots"]),
        (json!({"snapshots": {"events": 1.5}}), "invalid_parameter", vec!["1.5"]),
        (json!({"snapshots": {"nothing": 1}}), "unknown_table", vec!["nothing", "dead_letter"]),
        (both, "invalid_parameter", vec!["twice"]),
    ] {
        let answer = ask(&engine, NAMES, fields.clone()).await;
        assert!(answer.starts_with(code) && words.iter().all(|word| answer.contains(word)), "{fields}: {answer}");
    }
    // A table that cannot be read at that time does not hide the others, nor the listings.
    let listed = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'dead_letter'";
    assert_ne!(ask(&engine, listed, json!({"as_of": early})).await, "[[0]]");
    for pairs in [vec![("snapshot", "events")], vec![("as_of", "x")], vec![("as_of", "2026-01-01"); 2]] {
        assert!(SqlRequest::from_text(NAMES.as_bytes(), pairs.clone()).is_err(), "{pairs:?}");
    }
}

#[tokio::test]
async fn files_that_are_gone_are_an_error_in_words() {
    for removed in ["list", "data"] {
        let mut lake = Lake::new();
        let data = lake.commit(&[row("a")]).await;
        let first = current(&lake);
        lake.commit(&[row("b")]).await;
        let view = lake.views.current();
        let metadata = &view.head(Table::Events).unwrap().metadata;
        let list = metadata.snapshot_by_id(first.0).unwrap().manifest_list().to_owned();
        let location = if removed == "list" { list } else { data };
        std::fs::remove_file(location.strip_prefix("file://").unwrap()).unwrap();
        let file = location.rsplit('/').next().unwrap();
        let answer = ask(&lake.engine(), NAMES, json!({"snapshots": {"events": first.0}})).await;
        assert!(answer.starts_with("internal") && answer.contains(file) && answer.contains("gone"), "{answer}");
    }
}

#[tokio::test]
async fn the_snapshots_are_a_table() {
    let mut lake = Lake::new();
    let engine = lake.engine();
    let all = "SELECT table_name, is_current, refs, operation, parent_id FROM lake.snapshots ORDER BY committed_at";
    assert_eq!(ask(&engine, all, json!({})).await, "[]");
    lake.commit(&[row("a")]).await;
    let first = current(&lake);
    lake.commit(&[row("b")]).await;
    let expected = format!(r#"[["events",false,null,"append",null],["events",true,"main","append","{}"]]"#, first.0);
    assert_eq!(ask(&engine, all, json!({})).await, expected);
    let past = json!({"snapshots": {"events": first.0}});
    assert_eq!(ask(&engine, all, past).await, expected, "the list is of now, whatever the query reads");
    let ids = "SELECT snapshot_id, committed_at FROM \"default\".snapshots WHERE NOT is_current";
    let at = rfc3339(first.1).replace("+00:00", "Z");
    assert_eq!(ask(&engine, ids, json!({})).await, format!(r#"[["{}","{at}"]]"#, first.0));
    for refused in ["DELETE FROM lake.snapshots", "INSERT INTO lake.snapshots VALUES (1)", "DROP TABLE lake.snapshots"]
    {
        assert!(ask(&engine, refused, json!({})).await.starts_with("read_only"), "{refused}");
    }
}
