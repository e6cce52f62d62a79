//! The same rows and values through every door, against rows that a person wrote down.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::harness::clients::{duckdb, pyiceberg, pyiceberg_rows};
use crate::harness::sql::Rows;
use crate::harness::values::{micros, parsed};
use crate::harness::{Options, Server, read_text, skipped, wait_for};

/// Columns whose text is JSON: what they mean is compared.
const JSON_COLUMNS: [&str; 5] = ["properties", "context", "extra", "person_properties", "group_properties"];

/// Columns filled from properties.
const PROMOTED: [&str; 26] = [
    "session_id",
    "window_id",
    "current_url",
    "pathname",
    "host",
    "page_title",
    "referrer",
    "referring_domain",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_content",
    "utm_term",
    "browser",
    "browser_version",
    "os",
    "os_version",
    "device_type",
    "lib",
    "lib_version",
    "country",
    "region",
    "city",
    "timezone",
    "cf_colo",
    "cf_asn",
];

/// Other columns that people filter by; they need no null in the fixture.
const ALSO_FILTERED: [&str; 8] =
    ["uuid", "event", "distinct_id", "timestamp", "person_id", "person_mode", "group0", "team_id"];

#[test]
fn the_fixture_has_two_values_and_a_null_for_each_promoted_column() {
    let expected = Expected::read();
    for column in PROMOTED {
        let values = expected.values(column);
        assert!(values.len() >= 2, "{column} has only the values {values:?}");
        assert!(!expected.uuids_where(column, &Value::Null).is_empty(), "{column} is never null");
    }
}

#[test]
fn uncommitted_rows_have_the_expected_values() {
    let server = started("1h");
    assert_eq!(server.snapshot_id("hogflare_events"), None, "the interval is an hour");
    check_sql(&server, &Expected::read());
}

#[test]
fn committed_rows_have_the_expected_values_in_every_engine() {
    if skipped("clients") {
        return;
    }
    let expected = Expected::read();
    let server = started("1s");
    let rows = expected.rows.len() as u64;
    wait_for("the commit", || (server.committed_rows("hogflare_events") == rows).then_some(()));
    check_sql(&server, &expected);
    check_pyiceberg(&server, &expected);
    check_duckdb(&server, &expected);
}

fn started(interval: &str) -> Server {
    let server =
        Options::new().interval(interval).set("POSTHOG_TEAM_ID", "7").set("POSTHOG_GROUP_TYPE_0", "company").start();
    let request = read_text("tests/fixtures/values/request.json");
    server.post("/batch/", &[("content-type", "application/json")], request.as_bytes()).assert_sdk_ok();
    server
}

fn check_sql(server: &Server, expected: &Expected) {
    expected.assert_rows("SQL", &server.sql("select * from hogflare_events order by uuid"));
    for filter in expected.filters() {
        let (condition, params) = match &filter.value {
            Value::Null => (format!("{} is null", filter.column), vec![]),
            value if filter.column == "timestamp" => {
                ("timestamp = $1".to_owned(), vec![json!({"type": "timestamp", "value": value})])
            }
            value => (format!("{} = $1", filter.column), vec![value.clone()]),
        };
        let found =
            server.sql_with(&format!("select uuid from hogflare_events where {condition} order by uuid"), &params);
        filter.assert_found("SQL", &found.column("uuid"));
    }
    let [from, to] = RANGE;
    let sql = format!(
        "select uuid from hogflare_events \
         where timestamp >= timestamptz '{from}' and timestamp < timestamptz '{to}' order by uuid"
    );
    assert_eq!(json!(server.sql(&sql).column("uuid")), json!(expected.uuids_in_range()), "SQL range");
}

fn check_pyiceberg(server: &Server, expected: &Expected) {
    expected.assert_rows("PyIceberg", &pyiceberg_rows(server, "hogflare_events", &[], Value::Null));
    let filters = expected.filters();
    let wanted: Vec<Value> = filters
        .iter()
        .map(|filter| match &filter.value {
            Value::Null => json!({"null": filter.column}),
            value => json!({"eq": [filter.column, value]}),
        })
        .chain([json!({"range": ["timestamp", RANGE[0], RANGE[1]]})])
        .collect();
    let request = json!({"op": "each", "table": "hogflare_events", "filters": wanted});
    let mut found = pyiceberg(server, request).as_array().expect("a list").clone();
    assert_eq!(found.pop(), Some(json!(expected.uuids_in_range())), "PyIceberg range");
    assert_eq!(found.len(), filters.len());
    for (filter, found) in filters.iter().zip(&found) {
        filter.assert_found("PyIceberg", &found.as_array().expect("uuids").iter().collect::<Vec<_>>());
    }
}

fn check_duckdb(server: &Server, expected: &Expected) {
    const FROM: &str = "from lake.\"default\".hogflare_events";
    let filters = expected.filters();
    let mut statements = vec![format!("select * {FROM} order by uuid")];
    statements.extend(filters.iter().map(|filter| {
        let column = filter.column;
        match &filter.value {
            Value::Null => format!("select uuid {FROM} where {column} is null order by uuid"),
            Value::String(text) => {
                format!("select uuid {FROM} where {column} = '{}' order by uuid", text.replace('\'', "''"))
            }
            value => format!("select uuid {FROM} where {column} = {value} order by uuid"),
        }
    }));
    statements.push(format!(
        "select uuid {FROM} where timestamp >= timestamptz '{}' and timestamp < timestamptz '{}' order by uuid",
        RANGE[0], RANGE[1]
    ));
    let mut found = duckdb(server, server.read_token(), &statements).expect("DuckDB");
    expected.assert_rows("DuckDB", &found.remove(0));
    let range = found.pop().expect("range");
    assert_eq!(json!(range.column("uuid")), json!(expected.uuids_in_range()), "DuckDB range");
    for (filter, found) in filters.iter().zip(&found) {
        filter.assert_found("DuckDB", &found.column("uuid"));
    }
}

/// Half-open; ends on values of the fixture, so that both ends are tested.
const RANGE: [&str; 2] = ["2024-02-29T23:59:59.999999+00:00", "2024-03-04T05:06:07.500000+00:00"];

/// The rows of `expected.json` by uuid, each with all columns that are not null.
#[derive(Debug)]
struct Expected {
    rows: BTreeMap<String, Map<String, Value>>,
}

#[derive(Debug)]
struct Filter {
    column: &'static str,
    value: Value,
    uuids: Vec<String>,
}

impl Filter {
    fn assert_found(&self, engine: &str, uuids: &[&Value]) {
        assert_eq!(json!(uuids), json!(self.uuids), "{engine}: {} = {}", self.column, self.value);
    }
}

impl Expected {
    fn read() -> Self {
        let file: Value = serde_json::from_str(&read_text("tests/fixtures/values/expected.json")).unwrap();
        let shared = file["all_rows"].as_object().unwrap();
        let rows = file["rows"].as_array().unwrap().iter().map(|row| {
            let mut all = shared.clone();
            all.extend(row.as_object().unwrap().clone());
            (row["uuid"].as_str().unwrap().to_owned(), all)
        });
        Expected { rows: rows.collect() }
    }

    /// Distinct values of a column, nulls left out; a time that is only known on receipt too.
    fn values(&self, column: &str) -> Vec<&Value> {
        let mut values: Vec<&Value> = Vec::new();
        for row in self.rows.values() {
            let Some(value) = row.get(column) else { continue };
            if value != "= created_at" && !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    fn uuids_where(&self, column: &str, value: &Value) -> Vec<String> {
        let matches = |row: &Map<String, Value>| row.get(column).unwrap_or(&Value::Null) == value;
        self.rows.iter().filter(|(_, row)| matches(row)).map(|(uuid, _)| uuid.clone()).collect()
    }

    fn filters(&self) -> Vec<Filter> {
        let columns = PROMOTED.iter().chain(&ALSO_FILTERED);
        let filter = |column: &'static str, value: &Value| Filter {
            column,
            value: value.clone(),
            uuids: self.uuids_where(column, value),
        };
        columns
            .flat_map(|column| self.values(column).into_iter().chain([&Value::Null]).map(move |value| (*column, value)))
            .map(|(column, value)| filter(column, value))
            .collect()
    }

    fn uuids_in_range(&self) -> Vec<&String> {
        let [from, to] = RANGE.map(|end| micros(&json!(end)));
        let within = |row: &Map<String, Value>| {
            row["timestamp"] != "= created_at" && (from..to).contains(&micros(&row["timestamp"]))
        };
        self.rows.iter().filter(|(_, row)| within(row)).map(|(uuid, _)| uuid).collect()
    }

    fn assert_rows(&self, engine: &str, found: &Rows) {
        assert_eq!(found.rows.len(), self.rows.len(), "{engine}");
        for row in found.objects() {
            let uuid = row["uuid"].as_str().expect("uuid");
            let expected = self.rows.get(uuid).unwrap_or_else(|| panic!("{engine}: unexpected row {uuid}"));
            assert_row(engine, expected, &row);
        }
    }
}

fn assert_row(engine: &str, expected: &Map<String, Value>, found: &Map<String, Value>) {
    let uuid = &found["uuid"];
    for column in expected.keys() {
        assert!(found.contains_key(column), "{engine}: no column {column}");
    }
    for (column, value) in found {
        let wanted = expected.get(column).unwrap_or(&Value::Null);
        let place = format!("{engine}: {column} of {uuid}");
        match column.as_str() {
            "created_at" => assert!(micros(value) > 0, "{place}"),
            "_writer" => assert!(value.is_string(), "{place}"),
            "_position" => assert!(value.as_u64() > Some(0), "{place}"),
            "timestamp" if wanted == "= created_at" => assert_eq!(value, &found["created_at"], "{place}"),
            json if JSON_COLUMNS.contains(&json) => assert_eq!(&parsed(value), wanted, "{place}"),
            _ => assert_eq!(value, wanted, "{place}"),
        }
    }
}
