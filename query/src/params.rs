//! Values bound to `$1` and `$name`. They reach the plan as typed literals, never as text.

use std::collections::HashMap;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    DataType as SqlType, ExactNumberInfo, Expr, Ident, Statement as SqlStatement, TimezoneInfo, Value as SqlValue,
    ValueWithSpan, visit_expressions_mut,
};
use serde_json::{Map, Value};

use crate::error::{ErrorCode, Result, SqlError};

const PARAMS_MAX: usize = 1_000;

#[derive(Clone, Debug, Default)]
pub enum Params {
    #[default]
    None,
    /// `$1`, `$2` …
    Positional(Vec<ScalarValue>),
    /// `$name`.
    Named(HashMap<String, ScalarValue>),
}

impl Params {
    /// From a JSON array or object. A value's type is that of its JSON; `{"type": …, "value": …}`
    /// forces one of `text`, `int64`, `float64`, `boolean`, `date`, `timestamp`.
    pub fn from_json(params: Value) -> Result<Params> {
        let count = params.as_array().map(Vec::len).or(params.as_object().map(Map::len)).unwrap_or_default();
        if count > PARAMS_MAX {
            return Err(invalid(format!("at most {PARAMS_MAX} parameters, not {count}")));
        }
        match params {
            Value::Null => Ok(Params::None),
            Value::Array(values) => {
                let values = values.iter().zip(1..).map(|(value, number)| scalar(&number.to_string(), value));
                Ok(Params::Positional(values.collect::<Result<_>>()?))
            }
            Value::Object(values) => {
                let values = values.iter().map(|(name, value)| {
                    let name = name.strip_prefix('$').unwrap_or(name);
                    Ok((name.to_owned(), scalar(name, value)?))
                });
                Ok(Params::Named(values.collect::<Result<_>>()?))
            }
            other => Err(invalid(format!("params is a JSON array or object, not {other}"))),
        }
    }

    /// The statement with the types of its parameters declared, as PREPARE does, and the values by
    /// position. Functions choose their signatures by these types.
    pub(crate) fn declare_in(self, statement: Statement) -> Result<(Statement, Option<ParamValues>)> {
        let (statement, values) = match self {
            Params::None => return Ok((statement, None)),
            Params::Positional(values) => (statement, values),
            Params::Named(values) => {
                let (names, values): (Vec<String>, Vec<ScalarValue>) = values.into_iter().unzip();
                (number_names(statement, &names)?, values)
            }
        };
        let statement = match statement {
            Statement::Statement(query) => Statement::Statement(Box::new(SqlStatement::Prepare {
                name: Ident::new("query"),
                data_types: values.iter().map(declared_type).collect(),
                statement: query,
            })),
            other => other,
        };
        Ok((statement, Some(ParamValues::from(values))))
    }
}

/// `$name` → `$1`, by the place of the name.
fn number_names(mut statement: Statement, names: &[String]) -> Result<Statement> {
    let query = match &mut statement {
        Statement::Statement(query) => query,
        Statement::Explain(explain) => match explain.statement.as_mut() {
            Statement::Statement(query) => query,
            _ => return Ok(statement),
        },
        _ => return Ok(statement),
    };
    let renamed = visit_expressions_mut(query.as_mut(), |expr| {
        if let Expr::Value(ValueWithSpan { value: SqlValue::Placeholder(placeholder), span }) = expr {
            let place = names.iter().position(|name| placeholder.strip_prefix('$') == Some(name));
            let Some(place) = place else {
                let error = invalid(format!("there is no parameter {placeholder}"));
                return ControlFlow::Break(error.at(span.start.line, span.start.column));
            };
            *placeholder = format!("${}", place + 1);
        }
        ControlFlow::Continue(())
    });
    match renamed {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(statement),
    }
}

fn declared_type(value: &ScalarValue) -> SqlType {
    match value {
        ScalarValue::Boolean(_) => SqlType::Boolean,
        ScalarValue::Int64(_) => SqlType::BigInt(None),
        ScalarValue::UInt64(_) => SqlType::BigIntUnsigned(None),
        ScalarValue::Float64(_) => SqlType::Double(ExactNumberInfo::None),
        ScalarValue::Date32(_) => SqlType::Date,
        ScalarValue::TimestampMicrosecond(..) => SqlType::Timestamp(Some(6), TimezoneInfo::None),
        _ => SqlType::Text,
    }
}

fn scalar(name: &str, value: &Value) -> Result<ScalarValue> {
    match value {
        Value::Null => Ok(ScalarValue::Null),
        Value::Bool(value) => Ok(ScalarValue::Boolean(Some(*value))),
        Value::Number(number) => {
            let int = number.as_i64().map(|value| ScalarValue::Int64(Some(value)));
            let unsigned = || number.as_u64().map(|value| ScalarValue::UInt64(Some(value)));
            let float = || number.as_f64().map(|value| ScalarValue::Float64(Some(value)));
            int.or_else(unsigned).or_else(float).ok_or_else(|| invalid(format!("parameter {name} is no 64-bit number")))
        }
        Value::String(text) => Ok(ScalarValue::Utf8(Some(text.clone()))),
        Value::Array(_) => Err(invalid(format!("parameter {name} is a list; give each element its own parameter"))),
        Value::Object(object) => typed(name, object),
    }
}

fn typed(name: &str, object: &Map<String, Value>) -> Result<ScalarValue> {
    let (Some(Value::String(kind)), Some(value), 2) = (object.get("type"), object.get("value"), object.len()) else {
        return Err(invalid(format!(r#"parameter {name} is an object; it needs exactly "type" and "value""#)));
    };
    let wanted = type_of(name, kind)?;
    let plain = scalar(name, value)?;
    // A number that stands for a time counts microseconds since 1970.
    let cast = match (&plain, &wanted) {
        (ScalarValue::Boolean(_), DataType::Timestamp(..) | DataType::Date32) => None,
        _ => plain.cast_to(&wanted).ok(),
    };
    cast.filter(|cast| cast.is_null() == plain.is_null())
        .ok_or_else(|| invalid(format!("parameter {name} cannot be read as {kind}: {value}")))
}

fn type_of(name: &str, kind: &str) -> Result<DataType> {
    match kind.to_ascii_lowercase().as_str() {
        "text" | "utf8" | "string" | "varchar" => Ok(DataType::Utf8),
        "int64" | "bigint" | "integer" | "int" => Ok(DataType::Int64),
        "float64" | "double" | "float" => Ok(DataType::Float64),
        "boolean" | "bool" => Ok(DataType::Boolean),
        "date" => Ok(DataType::Date32),
        "timestamp" | "timestamptz" => Ok(DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))),
        _ => {
            let known = "text, int64, float64, boolean, date or timestamp";
            Err(invalid(format!("parameter {name} has the unknown type {kind}: use {known}")))
        }
    }
}

fn invalid(message: String) -> SqlError {
    SqlError::new(ErrorCode::InvalidParameter, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_types_become_sql_types() {
        let Params::Positional(values) = Params::from_json(json!([
            1, 1.5, "a'b", true, null, 18_446_744_073_709_551_615_u64,
            {"type": "timestamp", "value": "2024-10-05T00:00:00+02:00"},
            {"type": "timestamp", "value": "2024-10-05"},
            {"type": "date", "value": "2024-10-05"},
            {"type": "int64", "value": "7"},
            {"type": "text", "value": null},
        ]))
        .unwrap() else {
            panic!("a list is positional")
        };
        let zone = Some("+00:00".into());
        let expected = [
            ScalarValue::Int64(Some(1)),
            ScalarValue::Float64(Some(1.5)),
            ScalarValue::Utf8(Some("a'b".into())),
            ScalarValue::Boolean(Some(true)),
            ScalarValue::Null,
            ScalarValue::UInt64(Some(u64::MAX)),
            ScalarValue::TimestampMicrosecond(Some(1_728_079_200_000_000), zone.clone()),
            ScalarValue::TimestampMicrosecond(Some(1_728_086_400_000_000), zone),
            ScalarValue::Date32(Some(20_001)),
            ScalarValue::Int64(Some(7)),
            ScalarValue::Utf8(None),
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn what_has_no_type_is_refused() {
        for params in [
            json!("x"),
            json!([[1]]),
            json!([{"value": 1}]),
            json!([{"type": "money", "value": 1}]),
            json!([{"type": "timestamp", "value": "soon"}]),
            json!([{"type": "timestamp", "value": true}]),
            json!([{"type": "int64", "value": "1.5x"}]),
            json!({"a": {"type": "date", "value": {}}}),
        ] {
            let error = Params::from_json(params.clone()).map(|_| ()).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidParameter, "{params}");
        }
    }
}
