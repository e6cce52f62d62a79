//! Values bound to `$1` and `$name`. They reach the plan as typed literals, never as text.

use std::collections::HashMap;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{ParamValues, ScalarValue};
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

    pub(crate) fn into_values(self) -> Option<ParamValues> {
        match self {
            Params::None => None,
            Params::Positional(values) => Some(ParamValues::from(values)),
            Params::Named(values) => Some(ParamValues::from(values)),
        }
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
