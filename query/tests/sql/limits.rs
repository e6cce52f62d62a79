//! Time, memory, turns, cancelling, and tables that are not there yet.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hogflare_catalog::{Table, Views, WriterId};
use hogflare_query::{Engine, ErrorCode, Format, QuerySettings, SqlRequest};

use crate::fixture::{Lake, bytes, document, reader, rows};

const ENDLESS: &str = "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
const ENDLESS_ROWS: &str = "SELECT value FROM generate_series(1, 100000000000)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_ends_at_its_time_limit() {
    let lake = Lake::new();
    let engine = lake.engine();
    let request = SqlRequest { timeout: Some(Duration::from_millis(200)), ..SqlRequest::of_sql(ENDLESS) };
    let error = bytes(&engine, request).await.unwrap_err();
    assert_eq!((error.code, error.code.status()), (ErrorCode::Timeout, 408), "{error}");
    assert_eq!(rows(&engine, "SELECT 1").await, "[[1]]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_fails_late_ends_in_an_error() {
    let lake = Lake::new();
    let engine = lake.engine();
    for format in [Format::Ndjson, Format::Csv, Format::Arrow, Format::Parquet] {
        let sql = "SELECT value, 1 / (900000 - value) AS x FROM generate_series(1, 1000000)";
        let answer = engine.run(SqlRequest { format, ..SqlRequest::of_sql(sql) }, reader()).await;
        let error = match answer {
            Ok(answer) => {
                let pieces: Vec<_> = answer.body.collect().await;
                assert!(pieces.len() > 1, "{format:?}");
                assert!(pieces.iter().rev().skip(1).all(Result::is_ok), "{format:?}");
                pieces.into_iter().last().unwrap().unwrap_err()
            }
            Err(error) => error,
        };
        assert_eq!(error.code, ErrorCode::DivisionByZero, "{format:?}");
    }
    let request = SqlRequest {
        timeout: Some(Duration::from_millis(300)),
        format: Format::Csv,
        ..SqlRequest::of_sql(ENDLESS_ROWS)
    };
    assert_eq!(bytes(&engine, request).await.unwrap_err().code, ErrorCode::Timeout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_can_be_cancelled_by_its_id() {
    let lake = Lake::new();
    let engine = Arc::new(lake.engine());
    assert!(!engine.cancel("mine", &reader()));
    let request = || SqlRequest { query_id: Some("mine".into()), ..SqlRequest::of_sql(ENDLESS) };
    let running = tokio::task::JoinSet::from_iter([{
        let (engine, request) = (Arc::clone(&engine), request());
        async move { bytes(&engine, request).await }
    }]);
    while !engine.cancel("mine", &reader()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = running.join_all().await.remove(0).unwrap_err();
    assert_eq!((error.code, error.query_id.as_deref()), (ErrorCode::Cancelled, Some("mine")));
    assert!(!engine.cancel("mine", &reader()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_queries_have_two_ids_and_a_dropped_answer_makes_room() {
    let lake = Lake::new();
    let engine = lake.engine_with(|settings| {
        settings.running_max = 1;
        settings.waiting_max = 0;
    });
    let request =
        |id: &str| SqlRequest { format: Format::Csv, query_id: Some(id.into()), ..SqlRequest::of_sql(ENDLESS_ROWS) };
    let answer = engine.run(request("a"), reader()).await.unwrap();
    assert_eq!(engine.run(request("a"), reader()).await.unwrap_err().code, ErrorCode::InvalidParameter);
    let full = engine.run(request("b"), reader()).await.unwrap_err();
    assert_eq!((full.code, full.code.status(), full.retry_after_s.is_some()), (ErrorCode::QueueFull, 429, true));
    drop(answer);
    // The task gives its turn back when it next comes up for air.
    while let Err(error) = document(&engine, SqlRequest::of_sql("SELECT 1")).await {
        assert_eq!(error.code, ErrorCode::QueueFull);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!engine.cancel("a", &reader()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_waits_for_its_turn_for_a_while() {
    let lake = Lake::new();
    let engine = lake.engine_with(|settings| {
        settings.running_max = 1;
        settings.wait_max = Duration::from_millis(50);
    });
    let first =
        engine.run(SqlRequest { format: Format::Csv, ..SqlRequest::of_sql(ENDLESS_ROWS) }, reader()).await.unwrap();
    let error = document(&engine, SqlRequest::of_sql("SELECT 1")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::QueueFull);
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_needs_too_much_memory_is_told_so() {
    let lake = Lake::new();
    let engine = lake.engine_with(|settings| settings.memory_bytes_max = 4 << 20);
    let error = bytes(&engine, SqlRequest::of_sql("SELECT array_agg(value) FROM generate_series(1, 5000000)"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.code.status(), error.code.sqlstate()),
        (ErrorCode::OutOfMemory, 503, "53200"),
        "{error}"
    );
    assert_eq!(rows(&engine, "SELECT count(*) FROM generate_series(1, 1000)").await, "[[1000]]");
    // What can spill does.
    let spilled = "SELECT count(*) FROM (SELECT DISTINCT value FROM generate_series(1, 300000))";
    let engine = lake.engine_with(|settings| settings.memory_bytes_max = 8 << 20);
    assert_eq!(rows(&engine, spilled).await, "[[300000]]");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused() {
    let lake = Lake::new();
    let engine = lake.engine_with(|settings| {
        settings.json_bytes_max = 10_000;
        settings.stream_bytes_max = 2_000_000;
    });
    let error = bytes(&engine, SqlRequest::of_sql("SELECT value FROM generate_series(1, 5000)")).await.unwrap_err();
    assert_eq!((error.code, error.code.status()), (ErrorCode::ResultTooLarge, 422));
    let request =
        SqlRequest { format: Format::Csv, ..SqlRequest::of_sql("SELECT value FROM generate_series(1, 1000000)") };
    assert_eq!(bytes(&engine, request).await.unwrap_err().code, ErrorCode::ResultTooLarge);
}

#[tokio::test]
async fn a_table_that_is_not_loaded_is_said_to_be() {
    let lake = Lake::new();
    let views = Arc::new(Views::new(WriterId::new("11111111-2222-3333-4444-555555555555".parse().unwrap())));
    views.publish_not_ready(Table::Events, "the catalog does not answer");
    let settings = QuerySettings::new(tokio::runtime::Handle::current(), lake.folder.path().join("spill"), 1);
    let engine = Engine::new(settings, views, Arc::clone(&lake.cache)).unwrap();
    for sql in ["SELECT * FROM events", "SELECT * FROM hogflare_events", "SELECT 1 WHERE EXISTS (SELECT 1 FROM events)"]
    {
        let error = document(&engine, SqlRequest::of_sql(sql)).await.unwrap_err();
        assert_eq!((error.code, error.code.status()), (ErrorCode::NotReady, 503), "{sql}");
        assert!(error.message.contains("the catalog does not answer"), "{error}");
    }
    assert_eq!(rows(&engine, "SELECT 1").await, "[[1]]");
    let of_tables = "SELECT count(*) FROM information_schema.columns WHERE table_name <> 'snapshots'";
    assert_eq!(rows(&engine, of_tables).await, "[[0]]");
    assert_eq!(rows(&engine, "SELECT count(*) FROM lake.snapshots").await, "[[0]]");
}

#[tokio::test]
async fn hostile_sql_does_not_end_the_process() {
    let lake = Lake::new();
    let engine = lake.engine();
    let many = |text: &str, count: usize| text.repeat(count);
    for sql in [
        format!("SELECT {}1{}", many("(", 60), many(")", 60)),
        format!("SELECT 1{}", many(" + 1", 1_000)),
        format!("SELECT TRUE{}", many(" AND TRUE", 1_000)),
        format!("SELECT value{} FROM generate_series(1,1)", many(" + value", 1_000)),
        format!("SELECT 1{}", many(" UNION ALL SELECT 1", 1_000)),
        format!("SELECT 1{}", many("::int", 1_000)),
        format!("SELECT {}1{}", many("abs(", 14), many(")", 14)),
        format!("SELECT 1 IN (1{})", many(",2", 20_000)),
        format!("SELECT * FROM events WHERE event = ''{}", many(" OR event = 'x'", 499)),
        format!("SELECT * FROM events WHERE event = ''{}", many(" OR event LIKE 'x' || distinct_id", 333)),
        format!(
            "SELECT 1 FROM (SELECT 1) a0 {}",
            (1..60).map(|n| format!("CROSS JOIN (SELECT 1) a{n} ")).collect::<String>()
        ),
        format!("SELECT {}1{}", many("(SELECT ", 8), many(")", 8)),
        format!(
            "SELECT * FROM {}events{}",
            many("(SELECT * FROM ", 40),
            (0..40).map(|n| format!(") a{n}")).collect::<String>()
        ),
        format!("SELECT {}1", many("- ", 300)),
        format!("SELECT {} TRUE", many("NOT ", 300)),
        format!("SELECT {}1{}", many("CASE WHEN TRUE THEN ", 100), many(" END", 100)),
    ] {
        // An answer or a refusal; both are fine, a crash is not.
        let request = SqlRequest { timeout: Some(Duration::from_secs(20)), ..SqlRequest::of_sql(sql.clone()) };
        if let Err(error) = document(&engine, request).await {
            let code = error.code;
            assert_ne!(code, ErrorCode::Internal, "{}…: {error}", &sql[..40]);
        }
    }
    assert_eq!(rows(&engine, "SELECT 1").await, "[[1]]");
}
