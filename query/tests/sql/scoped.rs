//! Readers of single projects: no form of SQL shows them a row of another, nor counts it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use futures::TryStreamExt;
use hogflare_catalog::Table;
use hogflare_catalog::tables::{DeadLetterRow, EventRow, Promoted};
use hogflare_query::{Engine, ErrorCode, Reader, Scope, SqlRequest};
use iceberg::spec::PrimitiveType;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde_json::{Value, json};

use crate::fixture::{DAY_US, Lake, event, optional, reader};

pub(crate) fn only(projects: &[&str]) -> Reader {
    let projects = projects.iter().map(|project| (*project).to_owned()).collect();
    Reader { name: "one".to_owned(), scope: Scope::Only(projects) }
}

/// Both projects have the same distinct ids and sessions. `n` is a number in the rows of `a` alone, and
/// `cf_asn` is zero in those of `b` alone.
fn row<'a>(project: &'a str, name: &'a str) -> EventRow<'a> {
    let (properties, asn) = match project {
        "phc_a" => (r#"{"n":"1"}"#, 1),
        _ => (r#"{"n":"a secret of b"}"#, 0),
    };
    let promoted = Promoted { session_id: Some("s"), cf_asn: Some(asn), ..Promoted::default() };
    EventRow { api_key: project, promoted, ..event(name, "same", DAY_US, properties) }
}

async fn answer(engine: &Engine, reader: &Reader, sql: &str, mut fields: Value) -> Result<Value, String> {
    fields["sql"] = json!(sql);
    let request = SqlRequest::from_json(fields.to_string().as_bytes()).unwrap();
    let answer = engine.run(request, reader.clone()).await.map_err(|error| error.to_string())?;
    let pieces: Result<Vec<bytes::Bytes>, _> = answer.body.try_collect().await;
    Ok(serde_json::from_slice(&pieces.map_err(|error| error.to_string())?.concat()).unwrap())
}

/// The rows as text, or the error.
pub(crate) async fn ask(engine: &Engine, reader: &Reader, sql: &str, fields: Value) -> String {
    let answer = answer(engine, reader, sql, fields).await;
    answer.map_or_else(|error| error, |answer| answer["rows"].to_string())
}

/// Rows in a file of one project, in one of both, in one with deletes, sealed and in memory: four of each
/// project are left, the events `<project>1` to `<project>4`.
async fn two_projects() -> Lake {
    let mut lake = Lake::new();
    let both = [row("phc_b", "b1"), row("phc_a", "a1"), row("phc_b", "b0"), row("phc_a", "a0")];
    let file = lake.commit(&both).await;
    lake.commit(&[row("phc_b", "b2")]).await;
    lake.commit(&[row("phc_a", "a2")]).await;
    lake.delete(&file, &[2, 3]).await;
    lake.sealed(&[row("phc_b", "b3"), row("phc_a", "a3")]);
    lake.tail(&[row("phc_a", "a4"), row("phc_b", "b4")]);
    lake
}

const ALL: &str = r#"[["?1"],["?2"],["?3"],["?4"]]"#;

/// `?` stands for the reader's own project, `!` for the other.
const FORMS: &[(&str, &str)] = &[
    ("SELECT event FROM events ORDER BY 1", ALL),
    ("SELECT event FROM hogflare_events ORDER BY 1", ALL),
    ("SELECT event FROM lake.hogflare_events ORDER BY 1", ALL),
    ("SELECT event FROM \"default\".hogflare_events ORDER BY 1", ALL),
    ("SELECT event FROM hogflare.hogflare.events ORDER BY 1", ALL),
    ("WITH x AS (SELECT * FROM events) SELECT event FROM x ORDER BY 1", ALL),
    ("SELECT event FROM (SELECT * FROM lake.hogflare_events) ORDER BY 1", ALL),
    ("SELECT event FROM events UNION SELECT event FROM lake.hogflare_events ORDER BY 1", ALL),
    ("SELECT event FROM events INTERSECT SELECT event FROM lake.hogflare_events ORDER BY 1", ALL),
    ("SELECT event FROM events EXCEPT SELECT event FROM lake.hogflare_events", "[]"),
    ("SELECT event FROM events WHERE EXISTS (SELECT 1 FROM events) ORDER BY 1", ALL),
    ("SELECT event FROM events WHERE event IN (SELECT event FROM lake.hogflare_events) ORDER BY 1", ALL),
    ("SELECT event FROM events e WHERE EXISTS (SELECT 1 FROM events o WHERE o.event = e.event) ORDER BY 1", ALL),
    ("SELECT 1 WHERE EXISTS (SELECT 1 FROM events WHERE api_key = 'phc_!')", "[]"),
    ("SELECT 1 WHERE EXISTS (SELECT 1 FROM events WHERE event = '!1')", "[]"),
    ("SELECT event FROM events WHERE api_key = 'phc_!'", "[]"),
    ("SELECT event FROM events WHERE api_key <> 'phc_?'", "[]"),
    ("SELECT event FROM events WHERE api_key = 'phc_!' OR TRUE ORDER BY 1", ALL),
    ("SELECT event FROM events WHERE api_key IN ('phc_?', 'phc_!') ORDER BY 1", ALL),
    ("SELECT event FROM events WHERE NOT api_key = 'phc_!' ORDER BY 1", ALL),
    ("SELECT event FROM events WHERE session_id = 's' AND distinct_id = 'same' ORDER BY 1", ALL),
    ("SELECT event FROM events ORDER BY event DESC LIMIT 1", r#"[["?4"]]"#),
    ("SELECT event FROM events ORDER BY event OFFSET 3", r#"[["?4"]]"#),
    ("SELECT count(*) FROM (SELECT 1 FROM events LIMIT 3)", "[[3]]"),
    ("SELECT count(*) FROM (SELECT event FROM lake.hogflare_events LIMIT 4)", "[[4]]"),
    (
        "SELECT count(*), min(api_key), max(api_key) FROM (SELECT api_key FROM events LIMIT 100)",
        r#"[[4,"phc_?","phc_?"]]"#,
    ),
    ("SELECT count(*) FROM events", "[[4]]"),
    ("SELECT count(*) FROM lake.hogflare_events", "[[4]]"),
    ("SELECT count(1), count(event), count(DISTINCT event) FROM hogflare_events", "[[4,4,4]]"),
    (
        "SELECT min(event), max(event), min(api_key), max(api_key) FROM hogflare_events",
        r#"[["?1","?4","phc_?","phc_?"]]"#,
    ),
    ("SELECT DISTINCT api_key FROM events", r#"[["phc_?"]]"#),
    ("SELECT api_key, count(*) FROM events GROUP BY 1", r#"[["phc_?",4]]"#),
    ("SELECT session_id, count(*) FROM events GROUP BY 1 HAVING count(*) > 4", "[]"),
    ("SELECT count(*) FROM events a JOIN events b ON a.session_id = b.session_id", "[[16]]"),
    ("SELECT count(*) FROM events a LEFT JOIN lake.hogflare_events b USING (distinct_id)", "[[16]]"),
    ("SELECT count(*) FROM events a CROSS JOIN lake.hogflare_events b", "[[16]]"),
    ("SELECT e.event FROM (VALUES ('phc_!')) v(k) JOIN events e ON e.api_key = v.k", "[]"),
    ("SELECT e.event FROM (VALUES ('phc_!')) v(k) RIGHT JOIN events e ON e.api_key = v.k ORDER BY 1", ALL),
    ("SELECT event, count(*) OVER () FROM events ORDER BY 1 LIMIT 1", r#"[["?1",4]]"#),
    (
        "SELECT event, row_number() OVER (PARTITION BY session_id ORDER BY event) FROM events ORDER BY 2 DESC LIMIT 1",
        r#"[["?4",4]]"#,
    ),
    (
        "SELECT (SELECT count(*) FROM events), (SELECT string_agg(event, ',' ORDER BY event) FROM lake.hogflare_events)",
        r#"[[4,"?1,?2,?3,?4"]]"#,
    ),
    (
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < (SELECT count(*) FROM events)) SELECT max(n) FROM r",
        "[[4]]",
    ),
    ("SELECT count(*) FROM events WHERE event IS NOT NULL AND \"timestamp\" >= '2024-10-05'", "[[4]]"),
    ("SELECT count(*) FROM generate_series(1, 2) CROSS JOIN events", "[[8]]"),
    // Numbers that count the rows of all projects.
    ("SELECT count(*), count(_position), max(_position) FROM events", "[[4,0,null]]"),
    ("SELECT event FROM lake.hogflare_events WHERE _position > 0", "[]"),
    ("SELECT count(*) FROM lake.hogflare_events WHERE _position IS NULL", "[[4]]"),
    ("SELECT _position, event FROM lake.hogflare_events ORDER BY event LIMIT 1", r#"[[null,"?1"]]"#),
    // What lists tables lists no rows.
    ("SELECT count(*) FROM information_schema.tables WHERE table_name = 'snapshots'", "[[0]]"),
    (
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'events' AND column_name = 'api_key'",
        "[[1]]",
    ),
];

#[tokio::test]
async fn no_form_of_sql_shows_a_row_of_another_project() {
    let lake = two_projects().await;
    let engine = lake.engine();
    for (own, other) in [("a", "b"), ("b", "a")] {
        let reader = only(&[&format!("phc_{own}")]);
        for (sql, expected) in FORMS {
            let filled = |text: &str| text.replace('?', own).replace('!', other);
            assert_eq!(ask(&engine, &reader, &filled(sql), json!({})).await, filled(expected), "{own}: {sql}");
        }
    }
    let count = "SELECT count(*), count(_position) FROM events";
    for (reader, expected) in [
        (reader(), "[[8,8]]"),
        (only(&["phc_a", "phc_b"]), "[[8,0]]"),
        (only(&["phc_a", "phc_c"]), "[[4,0]]"),
        (only(&["phc_c"]), "[[0,0]]"),
        (only(&["phc_"]), "[[0,0]]"),
        (only(&[]), "[[0,0]]"),
    ] {
        assert_eq!(ask(&engine, &reader, count, json!({})).await, expected, "{reader:?}");
    }
}

/// Expressions that fail on rows of `b` tell of them, if they see them.
#[tokio::test]
async fn expressions_meet_no_row_of_another_project() {
    let lake = two_projects().await;
    let engine = lake.engine();
    let number = "CAST(json_as_text(properties, 'n') AS INT)";
    for sql in [
        format!("SELECT count(*) FROM events WHERE {number} = 1"),
        format!("SELECT count(*) FROM lake.hogflare_events WHERE {number} = 1"),
        format!("SELECT sum({number}) FROM lake.hogflare_events"),
        "SELECT count(*) FROM lake.hogflare_events WHERE 1 / cf_asn = 1".to_owned(),
        "SELECT count(*) FROM lake.hogflare_events WHERE 1 / cf_asn = 1 AND event > 'a'".to_owned(),
        format!(
            "SELECT count(*) FROM events a JOIN events b ON a.event = b.event AND {} = 1",
            number.replace("prop", "b.prop")
        ),
    ] {
        assert_eq!(ask(&engine, &only(&["phc_a"]), &sql, json!({})).await, "[[4]]", "{sql}");
        let whole = answer(&engine, &reader(), &sql, json!({})).await;
        assert!(whole.is_err(), "{sql} does not fail on rows of b: it proves nothing");
    }
}

#[tokio::test]
async fn plans_and_statistics_tell_nothing_of_the_table() {
    let lake = two_projects().await;
    let engine = lake.engine();
    let one = only(&["phc_a"]);
    for explain in
        ["EXPLAIN", "EXPLAIN VERBOSE", "EXPLAIN FORMAT INDENT", "EXPLAIN FORMAT TREE", "EXPLAIN FORMAT PGJSON"]
    {
        for sql in
            ["SELECT count(*) FROM events", "SELECT event FROM lake.hogflare_events WHERE session_id = 's' LIMIT 2"]
        {
            let text = ask(&engine, &one, &format!("{explain} {sql}"), json!({})).await;
            assert!(text.starts_with("[["), "{explain} {sql}: {text}");
            for hidden in ["parquet", "file_groups", "file://", "phc_", "DataSource"] {
                assert!(!text.contains(hidden), "{explain} {sql} shows {hidden}: {text}");
            }
        }
    }
    let verbose = ask(&engine, &one, "EXPLAIN VERBOSE SELECT event FROM events", json!({})).await;
    let stated: Vec<&str> =
        verbose.split("\\n").filter(|line| line.contains("ScopedExec") && line.contains("Rows=")).collect();
    assert!(!stated.is_empty() && stated.iter().all(|line| line.contains("Rows=Absent")), "{verbose}");
    let explained = ask(&engine, &reader(), "EXPLAIN SELECT count(event) FROM events", json!({})).await;
    assert!(explained.contains("DataSource") && explained.contains("file_groups"), "{explained}");

    let stats = |reader| {
        let engine = &engine;
        async move {
            let answer = answer(engine, reader, "SELECT count(event) FROM events", json!({})).await.unwrap();
            answer["stats"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        }
    };
    assert_eq!(stats(&one).await, ["elapsed_ms", "planning_ms", "queue_ms"]);
    assert!(stats(&reader()).await.contains(&"files_scanned".to_owned()));
    for sql in [
        "EXPLAIN ANALYZE SELECT count(*) FROM events",
        "EXPLAIN ANALYZE VERBOSE SELECT 1",
        "SELECT * FROM lake.snapshots",
        "SELECT count(*) FROM \"default\".snapshots",
        "WITH x AS (SELECT rows FROM lake.snapshots) SELECT 1 FROM x",
        "EXPLAIN SELECT * FROM lake.snapshots",
    ] {
        let refused = ask(&engine, &one, sql, json!({})).await;
        assert!(refused.starts_with("forbidden: ") && refused.contains("single projects"), "{sql}: {refused}");
        assert!(ask(&engine, &reader(), sql, json!({})).await.starts_with('['), "{sql}");
    }
    let settings = ask(&engine, &one, "SELECT * FROM information_schema.df_settings", json!({})).await;
    assert!(settings.starts_with("unknown_table"), "{settings}");
    let audit = engine.audit(|_, _| 0, one).await.unwrap_err();
    assert_eq!((audit.code, audit.code.status()), (ErrorCode::Forbidden, 403));
}

#[tokio::test]
async fn the_past_is_confined_as_well() {
    let mut lake = Lake::new();
    let engine = lake.engine();
    let mut times = Vec::new();
    for (a, b) in [("a1", "b1"), ("a2", "b2")] {
        lake.commit(&[row("phc_a", a), row("phc_b", b)]).await;
        let view = lake.views.current();
        let snapshot = view.head(Table::Events).unwrap().snapshot().unwrap();
        let time = chrono::DateTime::from_timestamp_millis(snapshot.timestamp_ms()).unwrap().to_rfc3339();
        times.push((snapshot.snapshot_id().to_string(), time));
    }
    lake.tail(&[row("phc_a", "a3"), row("phc_b", "b3")]);
    let names = "SELECT string_agg(event, ',' ORDER BY event), count(*) FROM";
    for (fields, expected) in [
        (json!({"snapshots": {"events": times[0].0}}), r#"[["a1",1]]"#),
        (json!({"as_of": times[0].1}), r#"[["a1",1]]"#),
        (json!({"snapshots": {"events": "main"}}), r#"[["a1,a2",2]]"#),
        (json!({"as_of": times[1].1}), r#"[["a1,a2",2]]"#),
        (json!({"snapshots": {}}), r#"[["a1,a2",2]]"#),
        (json!({}), r#"[["a1,a2,a3",3]]"#),
    ] {
        for table in ["events", "lake.hogflare_events"] {
            let sql = format!("{names} {table}");
            assert_eq!(ask(&engine, &only(&["phc_a"]), &sql, fields.clone()).await, expected, "{sql} {fields}");
        }
    }
}

#[tokio::test]
async fn dead_letters_without_a_project_are_nobodys() {
    let mut lake = Lake::new();
    let letter = |api_key, reason| DeadLetterRow { uuid: "u", api_key, path: "/e", reason, ..DeadLetterRow::default() };
    lake.dead_letters(&[letter(Some("phc_a"), "a"), letter(None, "none"), letter(Some("phc_b"), "b")]);
    let engine = lake.engine();
    for sql in ["SELECT reason FROM dead_letter ORDER BY 1", "SELECT reason FROM lake.hogflare_dead_letter ORDER BY 1"]
    {
        assert_eq!(ask(&engine, &only(&["phc_a"]), sql, json!({})).await, r#"[["a"]]"#, "{sql}");
        assert_eq!(ask(&engine, &only(&[""]), sql, json!({})).await, "[]", "{sql}");
        assert_eq!(ask(&engine, &reader(), sql, json!({})).await, r#"[["a"],["b"],["none"]]"#, "{sql}");
    }
}

/// A guest renames the column and puts another in its place, in which all rows are of `a`.
#[tokio::test]
async fn the_project_is_found_by_field_id() {
    let mut lake = two_projects().await;
    lake.alter(|fields| {
        fields.iter_mut().find(|field| field.name == "api_key").unwrap().name = "tenant".into();
        fields.push(optional(900, "api_key", PrimitiveType::String));
    });
    let head = Arc::clone(lake.views.current().head(Table::Events).unwrap());
    let id = |name: &str| head.metadata.current_schema().field_id_by_name(name).unwrap();
    let column = |name: &str, kind: DataType, values: ArrayRef| {
        let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id(name).to_string())]);
        (Arc::new(Field::new(name, kind, true).with_metadata(metadata)), values)
    };
    let text =
        |name: &str, values: [&str; 2]| column(name, DataType::Utf8, Arc::new(StringArray::from(values.to_vec())));
    let time = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("+00:00".into()));
    let (fields, columns): (Vec<_>, Vec<_>) = [
        text("event", ["a5", "b5"]),
        text("tenant", ["phc_a", "phc_b"]),
        text("api_key", ["phc_a", "phc_a"]),
        column("timestamp", time, Arc::new(TimestampMicrosecondArray::from(vec![DAY_US; 2]).with_timezone("+00:00"))),
        column("_position", DataType::Int64, Arc::new(Int64Array::from(vec![Some(70), Some(71)]))),
    ]
    .into_iter()
    .unzip();
    lake.commit_batch(&RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap(), false).await;
    let engine = lake.engine();
    for (sql, expected) in [
        ("SELECT event FROM events ORDER BY 1", r#"[["a1"],["a2"],["a3"],["a4"],["a5"]]"#),
        ("SELECT event FROM lake.hogflare_events ORDER BY 1", r#"[["a1"],["a2"],["a3"],["a4"],["a5"]]"#),
        ("SELECT event, tenant FROM lake.hogflare_events WHERE api_key = 'phc_a'", r#"[["a5","phc_a"]]"#),
        ("SELECT count(*) FROM events WHERE api_key = 'phc_b'", "[[0]]"),
    ] {
        assert_eq!(ask(&engine, &only(&["phc_a"]), sql, json!({})).await, expected, "{sql}");
    }

    lake.alter(|fields| fields.retain(|field| field.name != "tenant"));
    let one = only(&["phc_a"]);
    for sql in
        ["SELECT count(*) FROM events", "SELECT count(*) FROM lake.hogflare_events", "EXPLAIN SELECT 1 FROM events"]
    {
        let refused = ask(&engine, &one, sql, json!({})).await;
        assert!(refused.starts_with("forbidden: events, which has no column"), "{sql}: {refused}");
    }
    assert_eq!(ask(&engine, &reader(), "SELECT count(*) FROM events", json!({})).await, "[[10]]");
    // The other tables stay readable, and listings do not fail.
    let listed =
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'lake' AND table_name LIKE '%event%'";
    assert_eq!(ask(&engine, &one, listed, json!({})).await, "[]");
    assert_eq!(ask(&engine, &one, "SELECT count(*) FROM dead_letter", json!({})).await, "[[0]]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_of_another_reader_cannot_be_cancelled() {
    let lake = Lake::new();
    let engine = Arc::new(lake.engine());
    let endless = "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    let (a, b) = (only(&["phc_a"]), only(&["phc_b"]));
    let running = tokio::task::JoinSet::from_iter([{
        let (engine, a) = (Arc::clone(&engine), a.clone());
        async move { ask(&engine, &a, endless, json!({"query_id": "mine"})).await }
    }]);
    while !{
        assert!(!engine.cancel("mine", &b));
        engine.cancel("mine", &a)
    } {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(running.join_all().await[0].starts_with("cancelled"));
}
