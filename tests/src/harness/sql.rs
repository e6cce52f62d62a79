//! `/api/sql`, and the head of a table as `/iceberg` gives it.

use serde_json::{Value, json};

use super::http::Answer;
use super::server::Server;
use super::values::normal;

/// Rows of a JSON answer, values as in [`super::values`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Rows {
    /// The only value of the only row.
    pub(crate) fn one(&self) -> &Value {
        assert!(self.rows.len() == 1 && self.rows[0].len() == 1, "not one value: {self:?}");
        &self.rows[0][0]
    }

    pub(crate) fn column(&self, name: &str) -> Vec<&Value> {
        let index = self.columns.iter().position(|column| column == name).expect("column");
        self.rows.iter().map(|row| &row[index]).collect()
    }

    /// Each row as an object.
    pub(crate) fn objects(&self) -> Vec<serde_json::Map<String, Value>> {
        self.rows.iter().map(|row| self.columns.iter().cloned().zip(row.iter().cloned()).collect()).collect()
    }

    /// From `{"columns": [names or {"name": …}], "rows": [[…]]}`.
    pub(crate) fn from_json(answer: &Value) -> Self {
        let columns = answer["columns"].as_array().expect("columns");
        let name = |column: &Value| column.as_str().or(column["name"].as_str()).expect("name").to_owned();
        let rows = answer["rows"].as_array().expect("rows");
        Rows {
            columns: columns.iter().map(name).collect(),
            rows: rows.iter().map(|row| row.as_array().expect("row").iter().map(normal).collect()).collect(),
        }
    }
}

/// Rows asked for at most; a test that needs more counts in SQL.
const ROW_LIMIT: u64 = 100_000;

impl Server {
    pub(crate) fn sql_answer(&self, sql: &str, params: &[Value]) -> Answer {
        let body =
            json!({"sql": sql, "params": params, "format": "json", "row_limit": ROW_LIMIT, "timeout_ms": 60_000});
        let authorization = format!("Bearer {}", self.read_token());
        self.post(
            "/api/sql",
            &[("authorization", &authorization), ("content-type", "application/json")],
            body.to_string().as_bytes(),
        )
    }

    /// Asks once.
    ///
    /// # Panics
    /// On any other status than 200, and if rows are left out.
    pub(crate) fn sql_with(&self, sql: &str, params: &[Value]) -> Rows {
        let answer = self.sql_answer(sql, params);
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
        let answer = answer.json();
        assert_eq!(answer["truncated"], false, "{sql}");
        let rows = Rows::from_json(&answer);
        assert_eq!(answer["row_count"], rows.rows.len(), "{sql}");
        rows
    }

    pub(crate) fn sql(&self, sql: &str) -> Rows {
        self.sql_with(sql, &[])
    }

    pub(crate) fn count(&self, from_where: &str) -> u64 {
        self.sql(&format!("select count(*) from {from_where}")).one().as_u64().expect("count")
    }

    /// The first column of any number of rows, as text (CSV streams without a row limit).
    pub(crate) fn sql_column(&self, sql: &str) -> Vec<String> {
        let body = json!({"sql": sql, "format": "csv", "timeout_ms": 60_000}).to_string();
        let authorization = format!("Bearer {}", self.read_token());
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let answer = self.post("/api/sql", &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
        answer.text().lines().skip(1).map(str::to_owned).collect()
    }

    /// The answer of the catalog for a table of ours.
    pub(crate) fn load_table(&self, table: &str) -> Value {
        let answer = self.get_with_token(&format!("/iceberg/v1/namespaces/default/tables/{table}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// None before the first commit.
    pub(crate) fn snapshot_id(&self, table: &str) -> Option<i64> {
        let metadata = &self.load_table(table)["metadata"];
        metadata["current-snapshot-id"].as_i64().filter(|id| *id != -1)
    }

    /// `total-records` of the current snapshot, 0 before the first.
    pub(crate) fn committed_rows(&self, table: &str) -> u64 {
        if self.remote().is_some() {
            return self.committed_rows_in_sql(table);
        }
        let metadata = &self.load_table(table)["metadata"];
        let Some(current) = metadata["current-snapshot-id"].as_i64().filter(|id| *id != -1) else { return 0 };
        let snapshots = metadata["snapshots"].as_array().expect("snapshots");
        let snapshot = snapshots.iter().find(|snapshot| snapshot["snapshot-id"] == current).expect("snapshot");
        let total = snapshot["summary"]["total-records"].as_str().expect("every summary carries its totals");
        total.parse().expect("number")
    }

    /// A query at snapshots shows no row that waits for its commit.
    fn committed_rows_in_sql(&self, table: &str) -> u64 {
        let request = json!({"sql": format!("select count(*) from {table}"), "snapshots": {}});
        let token = format!("Bearer {}", self.read_token());
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        let answer = self.post("/api/sql", &headers, request.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer: Value = serde_json::from_str(&answer.text()).expect("JSON");
        answer["rows"][0][0].as_u64().expect("a number")
    }
}
