//! What a query sees: tail, sealed files, data files, deletes, renames.

use hogflare_query::SqlRequest;

use crate::fixture::{DAY_US, Lake, document, event, rows};

#[tokio::test]
async fn rows_in_memory_are_seen_at_once() {
    let mut lake = Lake::new();
    let engine = lake.engine();
    assert_eq!(rows(&engine, "SELECT count(*) FROM events").await, "[[0]]");
    lake.tail(&[event("a", "x", DAY_US, r#"{"price":5}"#), event("b", "y", DAY_US + 1_500_000, "{}")]);
    assert_eq!(rows(&engine, "SELECT count(*) FROM events").await, "[[2]]");
    let request = SqlRequest::of_sql(
        r#"SELECT event, "timestamp", properties->'price' AS price, person_id FROM events ORDER BY event"#,
    );
    let document = document(&engine, request).await.unwrap();
    assert_eq!(
        document["columns"].to_string(),
        concat!(
            r#"[{"name":"event","type":"utf8","nullable":false},"#,
            r#"{"name":"timestamp","type":"timestamp(us, UTC)","nullable":false},"#,
            r#"{"name":"price","type":"json","nullable":true},"#,
            r#"{"name":"person_id","type":"utf8","nullable":true}]"#
        )
    );
    assert_eq!(
        document["rows"].to_string(),
        r#"[["a","2024-10-05T00:00:00Z",5,null],["b","2024-10-05T00:00:01.500Z",null,null]]"#
    );
    assert_eq!((document["row_count"].as_u64(), document["truncated"].as_bool()), (Some(2), Some(false)));
    assert_eq!(document["stats"]["snapshots"].to_string(), r#"{"events":null,"person_overrides":null}"#);
}

#[tokio::test]
async fn files_and_rows_in_memory_are_one_table() {
    let mut lake = Lake::new();
    let engine = lake.engine();
    lake.sealed(&[event("s1", "x", DAY_US + 10, "{}"), event("s2", "y", DAY_US + 11, "{}")]);
    lake.tail(&[event("t1", "x", DAY_US + 20, "{}")]);
    lake.commit(&[event("f1", "x", DAY_US, "{}"), event("f2", "z", DAY_US + 1, "{}")]).await;
    let all = r#"[["f1"],["f2"],["s1"],["s2"],["t1"]]"#;
    assert_eq!(rows(&engine, "SELECT event FROM events ORDER BY 1").await, all);
    assert_eq!(rows(&engine, "SELECT count(*) FROM events").await, "[[5]]");
    assert_eq!(rows(&engine, "SELECT count(*), count(person_id) FROM events WHERE distinct_id = 'x'").await, "[[3,0]]");
}

#[tokio::test]
async fn every_name_of_a_table_and_of_its_view_works() {
    let mut lake = Lake::new();
    lake.tail(&[event("a", "x", DAY_US, "{}")]);
    let engine = lake.engine();
    for name in [
        "events",
        "EVENTS",
        "hogflare.events",
        "hogflare.hogflare.events",
        "hogflare_events",
        "lake.hogflare_events",
        "\"default\".hogflare_events",
        "hogflare.lake.hogflare_events",
    ] {
        assert_eq!(rows(&engine, &format!("SELECT event FROM {name}")).await, r#"[["a"]]"#, "{name}");
    }
    let engine = lake.engine_with(|settings| {
        settings.namespace = "prod".into();
        settings.table_prefix = "acme_".into();
    });
    for name in ["events", "prod.acme_events", "lake.acme_events", "acme_events"] {
        assert_eq!(rows(&engine, &format!("SELECT event FROM {name}")).await, r#"[["a"]]"#, "{name}");
    }
    assert!(rows(&engine, "SELECT event FROM hogflare_events").await.starts_with("unknown_table"));
    assert_eq!(
        rows(&engine, "SELECT table_schema, table_name FROM information_schema.tables WHERE table_name LIKE '%events'")
            .await,
        r#"[["hogflare","events"],["prod","acme_events"],["lake","acme_events"]]"#
    );
}

#[tokio::test]
async fn views_of_rows_begin_with_exactly_our_columns() {
    use hogflare_catalog::{Table, tables::arrow_schema};
    let lake = Lake::new();
    let engine = lake.engine();
    for (table, derived) in [(Table::Events, "project"), (Table::DeadLetter, "")] {
        let name = table.short_name();
        let request = SqlRequest::of_sql(format!("SELECT * FROM {name}"));
        let document = document(&engine, request).await.unwrap();
        let columns: Vec<&str> =
            document["columns"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
        let columns: Vec<&str> = columns.into_iter().take_while(|column| *column != derived).collect();
        let schema = arrow_schema(table);
        let ours: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(columns, ours, "{name}");
    }
}

#[tokio::test]
async fn tables_without_files_survive_every_operator() {
    let lake = Lake::new();
    let engine = lake.engine();
    for (sql, expected) in [
        ("SELECT event FROM events ORDER BY event LIMIT 3", "[]"),
        ("SELECT event, count(*) FROM events GROUP BY 1 ORDER BY 2", "[]"),
        ("SELECT max(\"timestamp\") FROM events", "[[null]]"),
        ("SELECT a.event FROM events a JOIN events b ON a.uuid = b.uuid", "[]"),
        ("SELECT row_number() OVER (ORDER BY uuid) FROM events", "[]"),
    ] {
        assert_eq!(rows(&engine, sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn files_that_cannot_match_are_not_read_and_no_row_is_lost() {
    let mut lake = Lake::new();
    for hour in 0..6 {
        let at = DAY_US + hour * 3_600_000_000;
        let name = ["alpha", "alphabet", "beta", "be", "gamma", "z"][hour as usize];
        let person = (hour % 2 == 0).then_some("p");
        let second =
            hogflare_catalog::tables::EventRow { person_id: person, ..event(name, "y", at + 60_000_000, "{}") };
        lake.commit(&[event(name, "x", at, "{}"), second]).await;
    }
    let engine = lake.engine();
    let hidden = lake.engine();
    for filter in [
        "\"timestamp\" >= '2024-10-05T03:00:00Z'",
        "\"timestamp\" < '2024-10-05T01:00:30Z'",
        "\"timestamp\" = '2024-10-05T02:01:00Z'",
        "event = 'beta'",
        "event = 'alphabet'",
        "event > 'alph'",
        "event < 'be'",
        "event LIKE 'al%'",
        "event NOT LIKE 'al%'",
        "event IN ('z', 'be')",
        "event <> 'z'",
        "person_id = 'p'",
        "person_id IS NULL",
        "person_id IS NOT NULL",
        "properties IS NOT NULL",
        "cf_asn IS NULL",
        "cf_asn > 0",
        "distinct_id = 'x' AND _position > 6",
        "NOT (event = 'z' OR \"timestamp\" < '2024-10-05T03:00:00Z')",
    ] {
        // The same rows, asked so that no bound can help.
        let pruned = rows(&engine, &format!("SELECT _position FROM events WHERE {filter} ORDER BY 1")).await;
        let unpruned = format!(
            "SELECT p FROM (SELECT _position p, ({filter}) AND random() >= 0 AS f FROM events) WHERE f ORDER BY 1"
        );
        assert_eq!(pruned, rows(&hidden, &unpruned).await, "{filter}");
    }
    let stats = async |filter: &str| {
        let request = SqlRequest::of_sql(format!("SELECT event FROM events WHERE {filter}"));
        let document = document(&engine, request).await.unwrap();
        (document["stats"]["files_scanned"].as_u64().unwrap(), document["stats"]["files_pruned"].as_u64().unwrap())
    };
    assert_eq!(stats("\"timestamp\" >= '2024-10-05T03:00:00Z'").await, (3, 3));
    assert_eq!(stats("event = 'gamma'").await, (1, 5));
    assert_eq!(stats("cf_asn = 5").await, (0, 6));
    assert_eq!(stats("true").await, (6, 0));
}

#[tokio::test]
async fn extremes_are_values_that_exist() {
    let mut lake = Lake::new();
    lake.sealed(&[event("sealed-event", "x", DAY_US + 3_600_000_000, "{}")]);
    lake.commit(&[event("committed-event", "x", DAY_US + 7_200_000_000, "{}")]).await;
    let engine = lake.engine();
    assert_eq!(
        rows(&engine, "SELECT min(event), max(event), min(\"timestamp\"), max(\"timestamp\"), count(*) FROM events")
            .await,
        r#"[["committed-event","sealed-event","2024-10-05T01:00:00Z","2024-10-05T02:00:00Z",2]]"#
    );
    assert_eq!(
        rows(&engine, "SELECT DISTINCT \"timestamp\" FROM events ORDER BY 1").await,
        r#"[["2024-10-05T01:00:00Z"],["2024-10-05T02:00:00Z"]]"#
    );
}
