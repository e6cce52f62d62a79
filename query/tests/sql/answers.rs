//! Parameters, limits of rows, formats and errors.

use std::io::Cursor;

use arrow::array::AsArray;
use arrow::ipc::reader::StreamReader;
use hogflare_query::{ErrorCode, Format, SqlRequest};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::fixture::{DAY_US, Lake, bytes, document, event, rows};

async fn lake() -> Lake {
    let mut lake = Lake::new();
    lake.tail(&[
        event("plain", "x", DAY_US, r#"{"a":{"b":[1,2]},"s":"ü","n":null,"f":1.5,"t":true}"#),
        event("qu\"ote,\r\nline", "名前 🐗", DAY_US + 1_000, "{}"),
    ]);
    lake
}

#[tokio::test]
async fn parameters_are_values_and_never_text() {
    let lake = lake().await;
    let engine = lake.engine();
    let check = async |sql: &str, params: &str, expected: &str| {
        let body = format!(r#"{{"sql":{},"params":{params}}}"#, serde_json::Value::from(sql));
        let answer = match SqlRequest::from_json(body.as_bytes()) {
            Ok(request) => document(&engine, request).await.map(|document| document["rows"].to_string()),
            Err(error) => Err(error),
        };
        let answer = answer.unwrap_or_else(|error| error.code.as_str().to_owned());
        assert_eq!(answer, expected, "{sql} {params}");
    };
    check("SELECT count(*) FROM events WHERE event = $1", r#"["plain"]"#, "[[1]]").await;
    check("SELECT count(*) FROM events WHERE event = $1", r#"["x' OR 'a' = 'a"]"#, "[[0]]").await;
    check(
        "SELECT count(*) FROM events WHERE event = $name AND distinct_id = $id",
        r#"{"name":"plain","id":"x"}"#,
        "[[1]]",
    )
    .await;
    check("SELECT count(*) FROM events WHERE event IN ($2, $1)", r#"["plain","none"]"#, "[[1]]").await;
    check(
        "SELECT count(*) FROM events WHERE \"timestamp\" > $1",
        r#"[{"type":"timestamp","value":"2024-10-05"}]"#,
        "[[1]]",
    )
    .await;
    check("SELECT count(*) FROM events WHERE \"timestamp\" > $1", r#"["2024-10-05"]"#, "[[1]]").await;
    check("SELECT $1 + 1, $2", r#"[41, "x"]"#, r#"[[42,"x"]]"#).await;
    check("SELECT upper($1)", r#"["x"]"#, r#"[["X"]]"#).await;
    check("SELECT date_trunc($1, \"timestamp\") FROM events LIMIT 1", r#"["day"]"#, r#"[["2024-10-05T00:00:00Z"]]"#)
        .await;
    check("SELECT event FROM events ORDER BY 1 LIMIT $1", "[1]", r#"[["plain"]]"#).await;
    check("SELECT json_get_str(properties, $1) FROM events WHERE event = 'plain'", r#"["s"]"#, r#"[["ü"]]"#).await;
    check("SELECT count(*) FROM events WHERE properties->>$1 = $2", r#"["s","ü"]"#, "[[1]]").await;
    check("EXPLAIN SELECT event FROM events WHERE event = $1", "[]", "invalid_parameter").await;
    check("SELECT $2", "[1]", "invalid_parameter").await;
    check("SELECT $1", "null", "invalid_parameter").await;
    check("SELECT $other", r#"{"name":1}"#, "invalid_parameter").await;
    check("SELECT * FROM $1", r#"["events"]"#, "syntax_error").await;
}

#[tokio::test]
async fn answers_say_whether_they_are_cut() {
    let lake = lake().await;
    let engine = lake.engine();
    let check = async |sql: &str, limit: usize, expected: (u64, bool)| {
        let request = SqlRequest { row_limit: Some(limit), ..SqlRequest::of_sql(sql) };
        let document = document(&engine, request).await.unwrap();
        let rows = document["rows"].as_array().unwrap().len() as u64;
        assert_eq!((rows, document["truncated"].as_bool().unwrap()), expected, "{sql} {limit}");
        assert_eq!(document["row_count"].as_u64(), Some(rows));
    };
    check("SELECT * FROM generate_series(1, 5)", 5, (5, false)).await;
    check("SELECT * FROM generate_series(1, 5)", 4, (4, true)).await;
    check("SELECT * FROM generate_series(1, 5)", 0, (0, true)).await;
    check("SELECT * FROM generate_series(1, 5) LIMIT 3", 4, (3, false)).await;
    check("SELECT * FROM generate_series(1, 200000)", 200_000, (100_000, true)).await;
    check("SELECT value FROM generate_series(1, 100000) ORDER BY value", 99_999, (99_999, true)).await;
    let default = document(&engine, SqlRequest::of_sql("SELECT * FROM generate_series(1, 10001)")).await.unwrap();
    assert_eq!((default["row_count"].as_u64(), default["truncated"].as_bool()), (Some(10_000), Some(true)));
    let request = SqlRequest { format: Format::Csv, ..SqlRequest::of_sql("SELECT * FROM generate_series(1, 200000)") };
    let csv = bytes(&engine, request).await.unwrap();
    assert_eq!(csv.iter().filter(|byte| **byte == b'\n').count(), 200_001);
}

const TYPES: &str = "SELECT 1 AS i, CAST(1.25 AS DECIMAL(10,3)) AS d, CAST('NaN' AS DOUBLE) AS nan, 0.1 AS f, \
    CAST(0.1 AS REAL) AS f4, TRUE AS t, NULL AS n, CAST('2024-10-05' AS DATE) AS day, \
    CAST('2024-10-05T01:02:03.5' AS TIMESTAMP) AS ts, [1, NULL, 3] AS list, named_struct('k', 'v', 'x', [1.5]) AS obj, \
    CAST('hi' AS BYTEA) AS bin, '' AS empty, CAST(9223372036854775807 AS BIGINT) AS big, \
    INTERVAL '1 day' AS step, arrow_cast('a', 'Dictionary(Int32, Utf8)') AS dict";

#[tokio::test]
async fn every_type_has_a_json_form() {
    let lake = lake().await;
    let engine = lake.engine();
    assert_eq!(
        rows(&engine, TYPES).await,
        concat!(
            r#"[[1,"1.250",null,0.1,0.1,true,null,"2024-10-05","2024-10-05T01:02:03.500",[1,null,3],"#,
            r#"{"k":"v","x":[1.5]},"aGk=","",9223372036854775807,"1 days","a"]]"#
        )
    );
    assert_eq!(
        rows(&engine, "SELECT \"timestamp\" AT TIME ZONE 'Europe/Berlin' FROM events LIMIT 1").await,
        r#"[["2024-10-05T02:00:00+02:00"]]"#
    );
    assert_eq!(
        rows(
            &engine,
            "SELECT properties->'a', properties->'s', properties->'n', properties->'f', properties->'t', \
            properties->'none', properties->'a'->'b' FROM events WHERE event = 'plain'"
        )
        .await,
        r#"[[{"b":[1,2]},"ü",null,1.5,true,null,[1,2]]]"#
    );
    assert_eq!(
        rows(&engine, "SELECT properties->>'s' = 'ü' AND properties ? 'a' FROM events WHERE event = 'plain'").await,
        "[[true]]"
    );
    assert_eq!(
        rows(&engine, "SELECT a.event, b.event FROM events a JOIN events b ON a.event = b.event AND a.event = 'plain'")
            .await,
        r#"[["plain","plain"]]"#
    );
}

#[tokio::test]
async fn text_formats_quote_what_needs_it() {
    let lake = lake().await;
    let engine = lake.engine();
    let get = async |format: Format, sql: &str| {
        let request = SqlRequest { format, ..SqlRequest::of_sql(sql) };
        bytes(&engine, request).await.map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let sql = "SELECT event, distinct_id AS \"who, me\", person_id, '' AS empty, properties->'a' AS a, _position FROM events ORDER BY _position";
    assert_eq!(
        get(Format::Csv, sql).await.unwrap(),
        concat!(
            "event,\"who, me\",person_id,empty,a,_position\r\n",
            "plain,x,,\"\",\"{\"\"b\"\":[1,2]}\",1\r\n",
            "\"qu\"\"ote,\r\nline\",名前 🐗,,\"\",,2\r\n"
        )
    );
    assert_eq!(
        get(Format::Ndjson, sql).await.unwrap(),
        concat!(
            r#"{"event":"plain","who, me":"x","person_id":null,"empty":"","a":{"b":[1,2]},"_position":1}"#,
            "\n",
            r#"{"event":"qu\"ote,\r\nline","who, me":"名前 🐗","person_id":null,"empty":"","a":null,"_position":2}"#,
            "\n"
        )
    );
    let join = "SELECT a.event, b.event FROM events a JOIN events b USING (_position)";
    assert_eq!(get(Format::Ndjson, join).await.unwrap_err().code, ErrorCode::InvalidParameter);
    assert_eq!(get(Format::Parquet, join).await.unwrap_err().code, ErrorCode::InvalidParameter);
    assert!(get(Format::Csv, join).await.unwrap().starts_with("event,event\r\n"));
    assert_eq!(get(Format::Csv, "SELECT 1 AS x WHERE FALSE").await.unwrap(), "x\r\n");
    assert_eq!(get(Format::Ndjson, "SELECT 1 AS x WHERE FALSE").await.unwrap(), "");
}

#[tokio::test]
async fn arrow_and_parquet_are_read_by_their_own_readers() {
    let lake = lake().await;
    let engine = lake.engine();
    let sql = "SELECT event, \"timestamp\", properties->'a' AS a, person_id FROM events ORDER BY _position";
    let request = |format| SqlRequest { format, ..SqlRequest::of_sql(sql) };
    let ipc = bytes(&engine, request(Format::Arrow)).await.unwrap();
    let file = bytes(&engine, request(Format::Parquet)).await.unwrap();
    let ipc = StreamReader::try_new(Cursor::new(ipc), None).unwrap().next().unwrap().unwrap();
    let file = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).unwrap();
    let file = file.build().unwrap().next().unwrap().unwrap();
    assert_eq!(ipc, file);
    assert_eq!(ipc.column(0).as_string::<i32>().value(0), "plain");
    assert_eq!(ipc.column(2).as_string::<i32>().value(0), r#"{"b":[1,2]}"#);
    assert!(ipc.schema().fields().iter().all(|field| field.metadata().is_empty()));
    let empty = SqlRequest { format: Format::Arrow, ..SqlRequest::of_sql("SELECT 1 AS x WHERE FALSE") };
    let empty = StreamReader::try_new(Cursor::new(bytes(&engine, empty).await.unwrap()), None).unwrap();
    assert_eq!((empty.schema().field(0).name().as_str(), empty.count()), ("x", 0));
    let types = SqlRequest { format: Format::Arrow, ..SqlRequest::of_sql(TYPES) };
    assert_eq!(StreamReader::try_new(Cursor::new(bytes(&engine, types).await.unwrap()), None).unwrap().count(), 1);
}

#[tokio::test]
async fn errors_have_the_code_that_says_what_to_do() {
    let lake = lake().await;
    let engine = lake.engine();
    for (sql, code) in [
        ("SELEC 1", "syntax_error"),
        ("SELECT 1 FROM x WHERE )", "syntax_error"),
        ("SELECT 1; SELECT 2", "syntax_error"),
        ("SELECT * FROM nothing", "unknown_table"),
        ("SELECT * FROM nowhere.events", "unknown_table"),
        ("SELECT * FROM no.nowhere.events", "unknown_table"),
        ("SELECT * FROM '/etc/passwd'", "unknown_table"),
        ("SELECT * FROM \"/etc/passwd\"", "unknown_table"),
        ("SELECT * FROM read_csv('/etc/passwd')", "unknown_function"),
        ("SELECT * FROM read_parquet('x')", "unknown_function"),
        ("SELECT pg_read_file('/etc/passwd')", "unknown_function"),
        ("SELECT * FROM information_schema.df_settings", "unknown_table"),
        ("SELECT * FROM (SELECT value FROM information_schema.df_settings)", "unknown_table"),
        ("SELECT 1 WHERE EXISTS (SELECT 1 FROM information_schema.df_settings)", "unknown_table"),
        ("SELECT nope FROM events", "unknown_column"),
        ("SELECT events.nope FROM events", "unknown_column"),
        ("SELECT nope(1)", "unknown_function"),
        ("SELECT 1 / 0", "division_by_zero"),
        ("SELECT 1 / (value - 1) FROM generate_series(1, 2)", "division_by_zero"),
        ("SELECT repeat('x', 3)", "unknown_function"),
        ("SELECT lpad('x', 3)", "unknown_function"),
        ("SELECT array_repeat(1, 3)", "unknown_function"),
        ("SELECT range(1, 3)", "unknown_function"),
        ("SELECT generate_series(1, 3)", "unknown_function"),
        ("SELECT CAST('x' AS INT)", "type_mismatch"),
        ("SELECT CAST(event AS INT) FROM events", "type_mismatch"),
        ("SELECT sum(event) FROM events", "type_mismatch"),
        ("SELECT event + 1 FROM events WHERE TRUE AND event", "type_mismatch"),
        ("SELECT event, count(*) FROM events", "syntax_error"),
        ("SELECT to_timestamp('never')", "type_mismatch"),
        ("INSERT INTO events VALUES (1)", "read_only"),
        ("SELECT 1 INTO newtable", "read_only"),
        ("SELECT * INTO newtable FROM events", "read_only"),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "read_only"),
        ("COPY (SELECT 1) TO '/tmp/x.csv'", "read_only"),
        ("SET datafusion.execution.batch_size = 1", "read_only"),
        ("EXPLAIN INSERT INTO events VALUES (1)", "read_only"),
        ("PREPARE p AS SELECT 1", "read_only"),
        ("SHOW ALL", "read_only"),
    ] {
        let error = document(&engine, SqlRequest::of_sql(sql)).await.expect_err(sql);
        assert_eq!(error.code.as_str(), code, "{sql}: {error}");
        assert!(error.query_id.is_some(), "{sql}");
        assert!(!error.message.contains("/etc") && !error.message.contains("/tmp"), "{sql}: {error}");
    }
    let error = document(&engine, SqlRequest::of_sql("SELECT a\nFROM x WHERE )")).await.unwrap_err();
    assert_eq!(error.position.map(|at| (at.line, at.column)), Some((2, 14)));
}

#[tokio::test]
async fn statements_that_describe_work() {
    let lake = lake().await;
    let engine = lake.engine();
    assert!(rows(&engine, "SHOW TABLES").await.contains(r#"["hogflare","hogflare","events","VIEW"]"#));
    assert!(rows(&engine, "SHOW COLUMNS FROM events").await.contains("distinct_id"));
    assert!(rows(&engine, "DESCRIBE events").await.contains("distinct_id"));
    assert!(rows(&engine, "EXPLAIN SELECT event FROM events WHERE event = 'x'").await.contains("physical_plan"));
    assert!(rows(&engine, "EXPLAIN ANALYZE SELECT event FROM events").await.contains("Plan with Metrics"));
    assert!(
        rows(&engine, "SELECT column_name FROM information_schema.columns WHERE table_name = 'events'")
            .await
            .contains("uuid")
    );
}
