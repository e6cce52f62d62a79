//! What a client asks, in plain types: the server reads it from HTTP.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{ErrorCode, Result, SqlError};
use crate::params::Params;
use crate::travel::TimeTravel;

/// Longest SQL text that is looked at.
pub const SQL_BYTES_MAX: usize = 1 << 20;
/// Longest id that a client may give its query.
const QUERY_ID_BYTES_MAX: usize = 128;

/// One statement and how its answer shall look.
#[derive(Clone, Debug, Default)]
pub struct SqlRequest {
    pub sql: String,
    pub params: Params,
    pub format: Format,
    /// Rows of the answer; JSON answers have a default and a maximum, the other formats none.
    pub row_limit: Option<usize>,
    pub timeout: Option<Duration>,
    /// The client's own id for the query, for cancelling it.
    pub query_id: Option<String>,
    /// When the tables are read; none for now, with the rows that are not in them yet.
    pub past: Option<TimeTravel>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// One document with columns, rows and statistics.
    #[default]
    Json,
    /// One object a line.
    Ndjson,
    /// RFC 4180 with a header.
    Csv,
    /// Arrow IPC stream.
    Arrow,
    Parquet,
}

impl Format {
    pub const ALL: [Format; 5] = [Format::Json, Format::Ndjson, Format::Csv, Format::Arrow, Format::Parquet];

    pub fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Csv => "csv",
            Format::Arrow => "arrow",
            Format::Parquet => "parquet",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::Arrow => "application/vnd.apache.arrow.stream",
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }

    pub fn of_name(name: &str) -> Result<Format> {
        let known = Format::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name));
        known.ok_or_else(|| invalid(format!("unknown format {name}: use json, ndjson, csv, arrow or parquet")))
    }

    /// The first format that an `Accept` header names, if any.
    pub fn of_accept(accept: &str) -> Option<Format> {
        accept.split(',').find_map(|part| {
            let media_type = part.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            match media_type.as_str() {
                "application/json" => Some(Format::Json),
                "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Format::Ndjson),
                "text/csv" => Some(Format::Csv),
                "application/vnd.apache.arrow.stream" => Some(Format::Arrow),
                "application/vnd.apache.parquet" => Some(Format::Parquet),
                _ => None,
            }
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(alias = "query")]
    sql: String,
    #[serde(default)]
    params: Value,
    format: Option<String>,
    row_limit: Option<u64>,
    timeout_ms: Option<u64>,
    query_id: Option<String>,
    as_of: Option<String>,
    snapshots: Option<Map<String, Value>>,
}

impl SqlRequest {
    pub fn of_sql(sql: impl Into<String>) -> SqlRequest {
        SqlRequest { sql: sql.into(), ..SqlRequest::default() }
    }

    /// From a JSON body: `sql`, `params`, `format`, `row_limit`, `timeout_ms`, `query_id`, `as_of`, `snapshots`.
    pub fn from_json(body: &[u8]) -> Result<SqlRequest> {
        let body: Body = serde_json::from_slice(body).map_err(|error| {
            let position = (error.line() as u64, error.column() as u64);
            SqlError::new(ErrorCode::InvalidParameter, format!("the body is no query: {error}"))
                .at(position.0, position.1)
        })?;
        let mut request = SqlRequest::of_sql(body.sql);
        request.params = Params::from_json(body.params)?;
        request.row_limit = body.row_limit.map(limit);
        request.timeout = body.timeout_ms.map(Duration::from_millis);
        if let Some(name) = body.format {
            request.format = Format::of_name(&name)?;
        }
        if let Some(time) = body.as_of {
            request.past_mut().set_as_of(&time)?;
        }
        // Without a name they still ask for the past: each table at its current snapshot.
        if body.snapshots.is_some() {
            request.past_mut();
        }
        for (table, snapshot) in body.snapshots.unwrap_or_default() {
            let name = match &snapshot {
                Value::String(name) => name.clone(),
                Value::Number(id) => id.to_string(),
                other => return Err(invalid(format!("snapshots: {table} has an id, a tag or a branch, not {other}"))),
            };
            request.past_mut().set_snapshot(&table, &name)?;
        }
        request.with_query_id(body.query_id)
    }

    /// From a body of SQL (or none), and the decoded pairs of the query string: `sql`, `params` (JSON),
    /// `format`, `row_limit`, `timeout_ms`, `query_id`, `as_of`, `snapshot` (`<table>:<snapshot>`, may be
    /// repeated). Other pairs are refused, a token among them.
    pub fn from_text<'a>(body: &[u8], pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<SqlRequest> {
        let text = std::str::from_utf8(body).map_err(|_| invalid("the SQL is not UTF-8".to_owned()))?;
        let mut request = SqlRequest::of_sql(text);
        let mut query_id = None;
        for (name, value) in pairs {
            match name {
                "sql" | "query" if request.sql.is_empty() => request.sql = value.to_owned(),
                "sql" | "query" => return Err(invalid("the SQL is given twice".to_owned())),
                "params" => {
                    let params = serde_json::from_str(value).map_err(|error| invalid(format!("params: {error}")))?;
                    request.params = Params::from_json(params)?;
                }
                "format" => request.format = Format::of_name(value)?,
                "row_limit" => request.row_limit = Some(limit(number(name, value)?)),
                "timeout_ms" => request.timeout = Some(Duration::from_millis(number(name, value)?)),
                "query_id" => query_id = Some(value.to_owned()),
                "as_of" => request.past_mut().set_as_of(value)?,
                "snapshot" => {
                    let named = value.split_once(':');
                    let (table, name) = named.ok_or_else(|| {
                        invalid(format!("snapshot is <table>:<snapshot id, tag or branch>, not {value}"))
                    })?;
                    request.past_mut().set_snapshot(table, name)?;
                }
                name => return Err(invalid(format!("unknown parameter {name} in the URL"))),
            }
        }
        request.with_query_id(query_id)
    }

    fn past_mut(&mut self) -> &mut TimeTravel {
        self.past.get_or_insert_default()
    }

    fn with_query_id(mut self, query_id: Option<String>) -> Result<SqlRequest> {
        if let Some(id) = &query_id
            && (id.is_empty() || id.len() > QUERY_ID_BYTES_MAX || !id.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(invalid(format!("query_id has 1 to {QUERY_ID_BYTES_MAX} visible ASCII characters")));
        }
        self.query_id = query_id;
        Ok(self)
    }
}

fn limit(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

fn number(name: &str, value: &str) -> Result<u64> {
    value.parse().map_err(|_| invalid(format!("{name} is a whole number, not {value}")))
}

fn invalid(message: String) -> SqlError {
    SqlError::new(ErrorCode::InvalidParameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_body_states_everything() {
        let body = br#"{"sql":"SELECT 1","params":[1],"format":"csv","row_limit":5,"timeout_ms":100,"query_id":"a"}"#;
        let request = SqlRequest::from_json(body).unwrap();
        assert_eq!(request.sql, "SELECT 1");
        assert_eq!(request.format, Format::Csv);
        assert_eq!(request.row_limit, Some(5));
        assert_eq!(request.timeout, Some(Duration::from_millis(100)));
        assert_eq!(request.query_id.as_deref(), Some("a"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let code = |request: Result<SqlRequest>| request.unwrap_err().code;
        assert_eq!(code(SqlRequest::from_json(b"{")), ErrorCode::InvalidParameter);
        assert_eq!(code(SqlRequest::from_json(br#"{"sql":"SELECT 1","limit":5}"#)), ErrorCode::InvalidParameter);
        assert_eq!(code(SqlRequest::from_json(br#"{"sql":"x","format":"xml"}"#)), ErrorCode::InvalidParameter);
        assert_eq!(code(SqlRequest::from_text(b"", [("token", "x")])), ErrorCode::InvalidParameter);
        assert_eq!(code(SqlRequest::from_text(b"SELECT 1", [("sql", "SELECT 2")])), ErrorCode::InvalidParameter);
        assert_eq!(code(SqlRequest::from_text(b"\xff", [])), ErrorCode::InvalidParameter);
        assert_eq!(code(SqlRequest::from_text(b"x", [("query_id", "a b")])), ErrorCode::InvalidParameter);
    }

    #[test]
    fn the_accept_header_chooses_a_format() {
        assert_eq!(Format::of_accept("text/html, text/csv;q=0.9"), Some(Format::Csv));
        assert_eq!(Format::of_accept("*/*"), None);
    }
}
