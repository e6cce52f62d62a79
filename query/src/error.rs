//! What a client is told when its SQL cannot be answered.

use std::borrow::Cow;
use std::fmt;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use hogflare_catalog::NotReady;
use serde_json::{Map, Value, json};

pub type Result<T, E = SqlError> = std::result::Result<T, E>;

/// The closed set of codes. Each stands for an HTTP status and an SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    SyntaxError,
    UnknownTable,
    UnknownColumn,
    UnknownFunction,
    TypeMismatch,
    InvalidParameter,
    DivisionByZero,
    ReadOnly,
    Unauthorized,
    /// Not with this token: it reads single projects.
    Forbidden,
    Timeout,
    Cancelled,
    /// Also SQL that is too deep or has too many operators.
    SqlTooLong,
    ResultTooLarge,
    QueueFull,
    OutOfMemory,
    NotReady,
    Internal,
}

impl ErrorCode {
    /// Name, HTTP status, SQLSTATE.
    fn facts(self) -> (&'static str, u16, &'static str) {
        match self {
            ErrorCode::SyntaxError => ("syntax_error", 400, "42601"),
            ErrorCode::UnknownTable => ("unknown_table", 400, "42P01"),
            ErrorCode::UnknownColumn => ("unknown_column", 400, "42703"),
            ErrorCode::UnknownFunction => ("unknown_function", 400, "42883"),
            ErrorCode::TypeMismatch => ("type_mismatch", 400, "42804"),
            ErrorCode::InvalidParameter => ("invalid_parameter", 400, "22023"),
            ErrorCode::DivisionByZero => ("division_by_zero", 400, "22012"),
            ErrorCode::ReadOnly => ("read_only", 403, "42501"),
            ErrorCode::Unauthorized => ("unauthorized", 401, "28000"),
            ErrorCode::Forbidden => ("forbidden", 403, "42501"),
            ErrorCode::Timeout => ("timeout", 408, "57014"),
            ErrorCode::Cancelled => ("cancelled", 409, "57014"),
            ErrorCode::SqlTooLong => ("sql_too_long", 413, "54000"),
            ErrorCode::ResultTooLarge => ("result_too_large", 422, "54000"),
            ErrorCode::QueueFull => ("queue_full", 429, "53300"),
            ErrorCode::OutOfMemory => ("out_of_memory", 503, "53200"),
            ErrorCode::NotReady => ("not_ready", 503, "57P03"),
            ErrorCode::Internal => ("internal", 500, "XX000"),
        }
    }

    pub fn as_str(self) -> &'static str {
        self.facts().0
    }

    /// HTTP status.
    pub fn status(self) -> u16 {
        self.facts().1
    }

    pub fn sqlstate(self) -> &'static str {
        self.facts().2
    }

    /// Whether the same request may succeed later.
    pub fn retryable(self) -> bool {
        matches!(self, ErrorCode::QueueFull | ErrorCode::OutOfMemory | ErrorCode::NotReady | ErrorCode::Timeout)
    }
}

/// Where in the SQL, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

/// An error as the client sees it: no paths, no object names.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlError {
    pub code: ErrorCode,
    pub message: String,
    pub position: Option<Position>,
    pub query_id: Option<String>,
    /// Seconds after which to try again, for the `Retry-After` header.
    pub retry_after_s: Option<u64>,
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for SqlError {}

impl SqlError {
    pub fn new(code: ErrorCode, message: impl AsRef<str>) -> SqlError {
        let message = scrub(message.as_ref()).into_owned();
        SqlError { code, message, position: None, query_id: None, retry_after_s: None }
    }

    pub(crate) fn at(mut self, line: u64, column: u64) -> SqlError {
        self.position = (line > 0).then_some(Position { line, column });
        self
    }

    pub(crate) fn of_query(mut self, query_id: &str) -> SqlError {
        self.query_id.get_or_insert_with(|| query_id.to_owned());
        self
    }

    /// The body of the answer, `{"error":{"code","message","sqlstate","position","query_id","retryable"}}`.
    pub fn to_json(&self) -> String {
        let mut error = Map::new();
        error.insert("code".into(), self.code.as_str().into());
        error.insert("message".into(), self.message.as_str().into());
        error.insert("sqlstate".into(), self.code.sqlstate().into());
        if let Some(Position { line, column }) = self.position {
            error.insert("position".into(), json!({ "line": line, "column": column }));
        }
        if let Some(query_id) = &self.query_id {
            error.insert("query_id".into(), query_id.as_str().into());
        }
        error.insert("retryable".into(), self.code.retryable().into());
        Value::Object(Map::from_iter([("error".to_owned(), Value::Object(error))])).to_string()
    }
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> SqlError {
        of_datafusion(&error)
    }
}

fn of_datafusion(error: &DataFusionError) -> SqlError {
    match error.find_root() {
        DataFusionError::SQL(error, _) => of_parser(error),
        DataFusionError::SchemaError(error, _) => of_schema(error),
        DataFusionError::ResourcesExhausted(message) => {
            let message = format!("the query needs more memory than is left: {}", first_line(message));
            SqlError { retry_after_s: Some(5), ..SqlError::new(ErrorCode::OutOfMemory, message) }
        }
        DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) => of_plan(message),
        DataFusionError::Configuration(message) => SqlError::new(ErrorCode::SyntaxError, message),
        DataFusionError::Execution(message) => of_execution(message),
        DataFusionError::ArrowError(error, _) => of_arrow(error),
        DataFusionError::External(error) => of_external(error.as_ref()),
        error => missing_file(error).unwrap_or_else(|| internal(error)),
    }
}

/// Of a file that the table's metadata names and that is not there any more.
fn missing_file(error: &(dyn std::error::Error + 'static)) -> Option<SqlError> {
    let path = missing_path(error)?;
    tracing::error!(path, "a file of a table is gone");
    let file = path.rsplit('/').next().unwrap_or_default();
    let message = format!(
        "the table names the file {file}, which is gone: someone deleted it; a query of another snapshot may do \
         without it (lake.snapshots lists them)"
    );
    Some(SqlError::new(ErrorCode::Internal, message))
}

fn missing_path(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(object_store::Error::NotFound { path, .. }) = error.downcast_ref() {
            return Some(path.clone());
        }
        cause = error.source();
    }
    // DataFusion keeps only the text where it fetches a footer.
    let text = error.to_string();
    let (path, _) = text.split_once("Object at location ")?.1.split_once(" not found")?;
    Some(path.to_owned())
}

/// A fault of ours: the log gets the whole text, the client the kind.
pub(crate) fn internal(error: &dyn fmt::Display) -> SqlError {
    tracing::error!(%error, "query failed");
    SqlError::new(ErrorCode::Internal, format!("the query failed: {}", first_line(&error.to_string())))
}

fn of_parser(error: &ParserError) -> SqlError {
    match error {
        ParserError::RecursionLimitExceeded => SqlError::new(ErrorCode::SqlTooLong, "the SQL is nested too deeply"),
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => at_position(message),
    }
}

/// The parser ends its messages with ` at Line: 1, Column: 8`.
fn at_position(message: &str) -> SqlError {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let parsed = message.rsplit_once(" at Line: ").and_then(|(before, position)| {
        let (line, column) = position.split_once(", Column: ")?;
        Some((before, number(line)?, number(column)?))
    });
    match parsed {
        Some((message, line, column)) => SqlError::new(ErrorCode::SyntaxError, message).at(line, column),
        None => SqlError::new(ErrorCode::SyntaxError, message),
    }
}

fn of_schema(error: &SchemaError) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let name = field.name();
            let like = valid_fields.iter().map(|valid| valid.name()).filter(|valid| is_like(valid, name));
            let mut like: Vec<&str> = like.take(3).collect();
            like.dedup();
            let hint = if like.is_empty() { String::new() } else { format!(", did you mean {}?", like.join(", ")) };
            SqlError::new(ErrorCode::UnknownColumn, format!("there is no column {}{hint}", field.quoted_flat_name()))
        }
        error => SqlError::new(ErrorCode::UnknownColumn, error.to_string()),
    }
}

fn is_like(valid: &str, name: &str) -> bool {
    let (valid, name) = (valid.to_lowercase(), name.to_lowercase());
    let bare = |text: &str| text.replace(['_', '$'], "");
    bare(&valid) == bare(&name) || (name.len() > 3 && (valid.contains(&name) || name.contains(&valid)))
}

fn of_plan(message: &str) -> SqlError {
    let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    let code = if says(&["table '", "Table not found", "failed to resolve schema", "failed to resolve catalog"])
        && says(&["not found", "failed to resolve"])
    {
        ErrorCode::UnknownTable
    } else if says(&["Invalid function", "table function '", "There is no UDF", "There is no UDAF"]) {
        ErrorCode::UnknownFunction
    } else if says(&["laceholder", "No value found"]) {
        ErrorCode::InvalidParameter
    } else if says(&[
        "coerc",
        "No function matches",
        "Cannot infer common",
        "Cannot cast",
        "data type",
        "type mismatch",
    ]) {
        ErrorCode::TypeMismatch
    } else {
        ErrorCode::SyntaxError
    };
    let message = message.strip_prefix("Error during planning: ").unwrap_or(message);
    SqlError::new(code, plain_table_names(message))
}

/// `table 'hogflare.hogflare.x' not found` → `table 'x' not found`: the first two are our defaults.
fn plain_table_names(message: &str) -> String {
    message.replace("'hogflare.hogflare.", "'").replace("'hogflare.", "'")
}

fn of_execution(message: &str) -> SqlError {
    match message {
        message if message.contains("Placeholder") => SqlError::new(ErrorCode::InvalidParameter, message),
        message if message.contains("ivide by zero") => SqlError::new(ErrorCode::DivisionByZero, "division by zero"),
        message => SqlError::new(ErrorCode::InvalidParameter, message),
    }
}

fn of_arrow(error: &arrow::error::ArrowError) -> SqlError {
    use arrow::error::ArrowError;
    match error {
        ArrowError::DivideByZero => SqlError::new(ErrorCode::DivisionByZero, "division by zero"),
        ArrowError::CastError(message) | ArrowError::ParseError(message) => {
            SqlError::new(ErrorCode::TypeMismatch, message)
        }
        ArrowError::ArithmeticOverflow(message) | ArrowError::ComputeError(message) => {
            SqlError::new(ErrorCode::InvalidParameter, message)
        }
        ArrowError::InvalidArgumentError(message) => SqlError::new(ErrorCode::InvalidParameter, message),
        ArrowError::ExternalError(error) => of_external(error.as_ref()),
        error => internal(error),
    }
}

fn of_external(error: &(dyn std::error::Error + Send + Sync + 'static)) -> SqlError {
    if let Some(error) = error.downcast_ref::<SqlError>() {
        return error.clone();
    }
    if let Some(error) = error.downcast_ref::<NotReady>() {
        return SqlError { retry_after_s: Some(5), ..SqlError::new(ErrorCode::NotReady, error.to_string()) };
    }
    if let Some(error) = error.downcast_ref::<DataFusionError>() {
        return of_datafusion(error);
    }
    if let Some(hogflare_catalog::Error::Refused(message)) = error.downcast_ref() {
        return SqlError::new(ErrorCode::Internal, message);
    }
    missing_file(error).unwrap_or_else(|| internal(&error))
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

/// Reduces locations and absolute paths to their last part: where objects lie is no client's business.
fn scrub(message: &str) -> Cow<'_, str> {
    let is_location = |word: &str| word.contains("://") || word.trim_start_matches(OPENING).starts_with('/');
    if !message.split(char::is_whitespace).any(is_location) {
        return Cow::Borrowed(message);
    }
    let words = message.split_inclusive(char::is_whitespace).map(|word| match word.rfind('/') {
        Some(last) if is_location(word) && word.len() > 2 => {
            let opening: String = word.chars().take_while(|c| OPENING.contains(c)).collect();
            Cow::Owned(format!("{opening}{}", &word[last + 1..]))
        }
        _ => Cow::Borrowed(word),
    });
    Cow::Owned(words.collect())
}

const OPENING: &[char] = &['(', '[', '{', '"', '\'', '`', '<', '='];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lose_their_paths() {
        let check = |message: &str, expected: &str| assert_eq!(scrub(message), expected);
        check("no such file: file:///srv/data/x/a.parquet, sorry", "no such file: a.parquet, sorry");
        check("read 's3://bucket/key/b.parquet' failed", "read 'b.parquet' failed");
        check("Object at location /var/lib/hogflare/c.avro not found", "Object at location c.avro not found");
        check("10 / 0 is no number", "10 / 0 is no number");
        check("a/b stays", "a/b stays");
    }

    #[test]
    fn the_body_states_code_state_and_position() {
        let error = SqlError::new(ErrorCode::SyntaxError, "Expected: x").at(2, 5).of_query("q1");
        assert_eq!(
            error.to_json(),
            r#"{"error":{"code":"syntax_error","message":"Expected: x","sqlstate":"42601","position":{"line":2,"column":5},"query_id":"q1","retryable":false}}"#
        );
    }
}
