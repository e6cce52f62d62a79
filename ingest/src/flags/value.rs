//! Property values as PostHog compares them: as text, as numbers, as something like a boolean.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

/// Strings as they are, everything else as compact JSON with sorted keys.
pub(super) fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => {
            let mut out = String::new();
            write_json(other, &mut out);
            Cow::Owned(out)
        }
    }
}

fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write_json(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, member)) in members.into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write!(out, "{}:", Value::String(key.clone())).expect("a string takes all that is written to it");
                write_json(member, out);
            }
            out.push('}');
        }
        scalar => write!(out, "{scalar}").expect("a string takes all that is written to it"),
    }
}

/// JSON numbers and strings that are decimal numbers; never booleans, infinities, or padded text.
pub(super) fn number_of(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) if is_decimal(text) => text.parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// `[+-]digits[.digits][e[+-]digits]`, with digits on one side of the point at least.
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_is_integer = exponent.is_none_or(|exponent| {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !unsigned.is_empty() && digits(unsigned)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_is_integer
}

/// Whether PostHog compares this filter value by truth: booleans, their names, and lists of only those.
pub(super) fn is_truth_value(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::String(text) => matches!(text.to_lowercase().as_str(), "true" | "false"),
        Value::Array(items) => items.iter().all(is_truth_value),
        _ => false,
    }
}

/// An empty list counts as true, as in PostHog.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::String(text) => text.to_lowercase() == "true",
        Value::Array(items) => items.iter().all(is_true),
        _ => false,
    }
}

/// Equality of the seed's form: text without case, then numbers, then booleans, across types.
pub(super) fn seed_equal(actual: &Value, expected: &Value) -> bool {
    if let (Some(actual), Some(expected)) = (actual.as_str(), expected.as_str()) {
        return actual.to_lowercase() == expected.to_lowercase();
    }
    if actual == expected {
        return true;
    }
    if let (Some(actual), Some(expected)) = (seed_number(actual), seed_number(expected)) {
        return (actual - expected).abs() < f64::EPSILON;
    }
    matches!((seed_boolean(actual), seed_boolean(expected)), (Some(actual), Some(expected)) if actual == expected)
}

/// A number of the seed's form: booleans are 1 and 0, text may be padded.
pub(super) fn seed_number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::String(text) => number_of(&Value::from(text.trim())),
        other => number_of(other),
    }
}

fn seed_boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::Number(number) => number.as_i64().map(|number| number != 0),
        Value::String(text) => match text.trim().to_lowercase().as_str() {
            "true" | "1" | "yes" => Some(true),
            "false" | "0" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As PostHog's server and its Python SDK write them.
    #[test]
    fn values_have_one_text() {
        for (value, expected) in [
            ("\"a b\"", "a b"),
            ("null", "null"),
            ("true", "true"),
            ("5", "5"),
            ("1.0", "1.0"),
            ("-0.0", "-0.0"),
            ("1e16", "1e+16"),
            ("1e20", "1e+20"),
            ("0.00001", "0.00001"),
            ("0.0000001", "1e-7"),
            ("123456789012345680.0", "1.2345678901234568e+17"),
            ("1234567.0", "1234567.0"),
            ("[1,\"a\",null]", "[1,\"a\",null]"),
            ("{\"b\":1,\"a\":{\"d\":2,\"c\":\"\\\"\"}}", "{\"a\":{\"c\":\"\\\"\",\"d\":2},\"b\":1}"),
        ] {
            let parsed: Value = serde_json::from_str(value).unwrap();
            assert_eq!(text_of(&parsed), expected, "{value}");
        }
    }

    #[test]
    fn numbers_are_decimal_and_finite() {
        for text in ["0", "-1", "+1.5", ".5", "5.", "1e3", "1E-3", "007"] {
            assert_eq!(number_of(&json!(text)), text.parse().ok(), "{text}");
        }
        for text in ["", "-", ".", "1e", "1e+", " 1", "1 ", "inf", "nan", "0x1", "1e999", "1_0", "٣", "--1", "1.2.3"] {
            assert_eq!(number_of(&json!(text)), None, "{text}");
        }
        assert_eq!(number_of(&json!(2)), Some(2.0));
        for value in [json!(true), json!(null), json!([1]), json!({})] {
            assert_eq!(number_of(&value), None, "{value}");
        }
    }

    #[test]
    fn the_seed_compares_across_types() {
        for (actual, expected, equal) in [
            (json!("Pro"), json!("pro"), true),
            (json!("21"), json!(21), true),
            (json!(21.0), json!("21"), true),
            (json!(" 21 "), json!(21), true),
            (json!("21"), json!("21.0"), false),
            (json!(true), json!("true"), true),
            (json!("yes"), json!(true), true),
            (json!(0), json!(false), true),
            (json!("no"), json!(true), false),
            (json!(null), json!(null), true),
            (json!(null), json!("null"), false),
            (json!("x"), json!(1), false),
        ] {
            assert_eq!(seed_equal(&actual, &expected), equal, "{actual} {expected}");
        }
    }
}
