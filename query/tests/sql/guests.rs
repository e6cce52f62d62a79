//! What others do to the tables: deletes by position, renames, drops, new and wider columns.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use hogflare_catalog::tables::{EventRow, Promoted};
use iceberg::spec::PrimitiveType;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::fixture::{DAY_US, Lake, event, optional, rows};

fn ten() -> Vec<EventRow<'static>> {
    const NAMES: [&str; 10] = ["e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8", "e9"];
    NAMES.into_iter().zip(0..).map(|(name, row)| event(name, "x", DAY_US + row, "{}")).collect()
}

#[tokio::test]
async fn deleted_rows_are_gone_from_every_answer() {
    let mut lake = Lake::new();
    let file = lake.commit(&ten()).await;
    lake.commit(&[event("other", "x", DAY_US, "{}")]).await;
    let engine = lake.engine();
    assert_eq!(rows(&engine, "SELECT count(*) FROM events").await, "[[11]]");
    // A whole row group of four, the first and the last row.
    lake.delete(&file, &[0, 4, 5, 6, 7]).await;
    lake.delete(&file, &[9, 9, 0]).await;
    lake.tail(&[event("tail", "x", DAY_US, "{}")]);
    let left = r#"[["e1"],["e2"],["e3"],["e8"],["other"],["tail"]]"#;
    for (sql, expected) in [
        ("SELECT count(*) FROM events", "[[6]]"),
        ("SELECT count(*) FROM events WHERE distinct_id = 'x'", "[[6]]"),
        ("SELECT count(event) FROM events", "[[6]]"),
        ("SELECT event FROM events ORDER BY 1", left),
        ("SELECT event FROM events WHERE \"timestamp\" >= '2024-10-05' ORDER BY 1", left),
        ("SELECT event FROM events WHERE event = 'e0'", "[]"),
        ("SELECT event FROM events WHERE event = 'e5'", "[]"),
        ("SELECT min(event) FROM events", r#"[["e1"]]"#),
        ("SELECT max(\"timestamp\") FROM events", r#"[["2024-10-05T00:00:00.000008Z"]]"#),
        // Statistics show that whole row groups match: a limit must not bring deleted rows back.
        (
            "SELECT event FROM hogflare_events WHERE \"timestamp\" > '2024-10-05' AND event < 'e9' LIMIT 1",
            r#"[["e1"]]"#,
        ),
        ("SELECT count(*) FROM (SELECT event FROM events WHERE distinct_id = 'x' LIMIT 100)", "[[6]]"),
        ("SELECT count(*) FROM (SELECT event FROM events WHERE event LIKE 'e%' LIMIT 2)", "[[2]]"),
    ] {
        assert_eq!(rows(&engine, sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn limits_with_deletes_give_rows_that_are_left() {
    let mut lake = Lake::new();
    let file = lake.commit(&ten()).await;
    lake.delete(&file, &[0, 1, 2, 4]).await;
    let engine = lake.engine();
    for limit in 1..=6 {
        let sql = format!(
            "SELECT count(*), min(event) >= 'e3', max(event) <> 'e4' FROM \
             (SELECT event FROM events WHERE \"timestamp\" >= '2024-10-05' LIMIT {limit})"
        );
        assert_eq!(rows(&engine, &sql).await, format!("[[{limit},true,true]]"), "{sql}");
    }
}

#[tokio::test]
async fn a_renamed_column_keeps_its_values_and_our_name_in_the_view() {
    let mut lake = Lake::new();
    lake.commit(&[promoted("old", Promoted { browser: Some("Firefox"), ..Promoted::default() })]).await;
    lake.alter(|fields| field(fields, "browser").name = "navigator".into());
    lake.commit(&[promoted("new", Promoted { browser: Some("Chrome"), ..Promoted::default() })]).await;
    lake.sealed(&[promoted("sealed", Promoted { browser: Some("Safari"), ..Promoted::default() })]);
    lake.tail(&[promoted("tail", Promoted { browser: Some("Edge"), ..Promoted::default() })]);
    let engine = lake.engine();
    let all = r#"[["new","Chrome"],["old","Firefox"],["sealed","Safari"],["tail","Edge"]]"#;
    assert_eq!(rows(&engine, "SELECT event, browser FROM events ORDER BY 1").await, all);
    assert_eq!(rows(&engine, "SELECT event, navigator FROM hogflare_events ORDER BY 1").await, all);
    assert!(rows(&engine, "SELECT browser FROM hogflare_events").await.starts_with("unknown_column"));
    for (browser, name) in [("Firefox", "old"), ("Chrome", "new"), ("Safari", "sealed"), ("Edge", "tail")] {
        let sql = format!("SELECT event FROM events WHERE browser = '{browser}'");
        assert_eq!(rows(&engine, &sql).await, format!(r#"[["{name}"]]"#), "{sql}");
    }
}

#[tokio::test]
async fn a_name_used_again_does_not_show_old_values() {
    let mut lake = Lake::new();
    lake.commit(&[promoted("old", Promoted { os: Some("Linux"), os_version: Some("6"), ..Promoted::default() })]).await;
    // os becomes os_version and os_version becomes os: each file's own names are now wrong.
    lake.alter(|fields| {
        field(fields, "os").name = "swap".into();
        field(fields, "os_version").name = "os".into();
        field(fields, "swap").name = "os_version".into();
    });
    lake.commit(&[promoted("same", Promoted { os: Some("Mac"), os_version: Some("14"), ..Promoted::default() })]).await;
    lake.sealed(&[promoted("sealed", Promoted { os: Some("BSD"), os_version: Some("7"), ..Promoted::default() })]);
    lake.tail(&[promoted("tail", Promoted { os: Some("Win"), os_version: Some("11"), ..Promoted::default() })]);
    let engine = lake.engine();
    assert_eq!(
        rows(&engine, "SELECT event, os, os_version FROM events ORDER BY 1").await,
        r#"[["old","Linux","6"],["same","Mac","14"],["sealed","BSD","7"],["tail","Win","11"]]"#
    );
    assert_eq!(
        rows(&engine, "SELECT event, os, os_version FROM hogflare_events WHERE os_version <> 'Mac' ORDER BY 1").await,
        r#"[["old","6","Linux"],["sealed","7","BSD"],["tail","11","Win"]]"#
    );
    // Dropped, and a new column under its name: old values stay hidden.
    lake.alter(|fields| {
        fields.retain(|field| field.name != "city");
        fields.push(optional(900, "city", PrimitiveType::String));
    });
    lake.commit(&[promoted("city", Promoted { city: Some("Bonn"), ..Promoted::default() })]).await;
    assert_eq!(rows(&engine, "SELECT count(*), count(city) FROM hogflare_events").await, "[[5,0]]");
    assert_eq!(rows(&engine, "SELECT count(*), count(city) FROM events").await, "[[5,0]]");
    assert_eq!(rows(&engine, "SELECT event FROM hogflare_events WHERE city = 'Bonn'").await, "[]");
    assert_eq!(rows(&engine, "SELECT count(*) FROM hogflare_events WHERE city IS NULL").await, "[[5]]");
}

#[tokio::test]
async fn columns_of_guests_are_there_and_null_in_our_rows() {
    let mut lake = Lake::new();
    lake.commit(&[event("ours", "x", DAY_US, "{}")]).await;
    lake.alter(|fields| {
        fields.push(optional(900, "score", PrimitiveType::Int));
        fields.retain(|field| field.name != "cf_asn");
    });
    lake.commit_batch(&guest_rows(Arc::new(Int32Array::from(vec![Some(7), None]))), false).await;
    // int → long: old files keep their narrow values.
    lake.alter(|fields| *field(fields, "score") = optional(900, "score", PrimitiveType::Long));
    lake.commit_batch(&guest_rows(Arc::new(Int64Array::from(vec![5_000_000_000, 8]))), false).await;
    lake.tail(&[event("tail", "x", DAY_US, "{}")]);
    let engine = lake.engine();
    assert_eq!(
        rows(&engine, "SELECT event, score FROM hogflare_events ORDER BY 1, 2").await,
        r#"[["g",7],["g",8],["g",5000000000],["g",null],["ours",null],["tail",null]]"#
    );
    assert_eq!(rows(&engine, "SELECT sum(score), count(*) FROM hogflare_events WHERE score < 100").await, "[[15,2]]");
    assert_eq!(rows(&engine, "SELECT count(*) FROM hogflare_events WHERE score IS NULL").await, "[[3]]");
    assert_eq!(rows(&engine, "SELECT count(*), count(cf_asn) FROM events").await, "[[6,0]]");
    assert!(rows(&engine, "SELECT score FROM events").await.starts_with("unknown_column"));
}

/// Two rows with the required columns and one more, as a guest might write them: no bounds, no counts.
fn guest_rows(score: ArrayRef) -> RecordBatch {
    let names = ["uuid", "source", "event", "distinct_id", "timestamp", "created_at", "properties", "api_key"];
    let ids = [1, 3, 4, 5, 6, 7, 8, 18];
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (name, id) in names.into_iter().zip(ids) {
        let column: ArrayRef = match name {
            "timestamp" | "created_at" => {
                Arc::new(TimestampMicrosecondArray::from(vec![DAY_US; 2]).with_timezone("UTC"))
            }
            _ => Arc::new(StringArray::from(vec!["g"; 2])),
        };
        fields.push(with_id(name, column.data_type(), id));
        columns.push(column);
    }
    fields.push(with_id("score", score.data_type(), 900));
    columns.push(score);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn with_id(name: &str, data_type: &DataType, id: i32) -> Field {
    let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
    Field::new(name, data_type.clone(), true).with_metadata(id)
}

fn promoted<'a>(name: &'a str, promoted: Promoted<'a>) -> EventRow<'a> {
    EventRow { promoted, ..event(name, "x", DAY_US, "{}") }
}

fn field<'a>(fields: &'a mut [iceberg::spec::NestedField], name: &str) -> &'a mut iceberg::spec::NestedField {
    fields.iter_mut().find(|field| field.name == name).unwrap()
}
