//! Tests of the seed's form, which compare across types: `"21" >= 18`.

use serde_json::Value;

use super::super::value::{seed_equal, seed_number, text_of};
use super::Order;

#[derive(Clone, Debug)]
pub(in super::super) enum SeedMatcher {
    /// Equal to one of these.
    Equal(Vec<Value>),
    /// The text contains this, case included; a list contains this value.
    Contains(Value),
    Number(Order, f64),
}

impl SeedMatcher {
    /// Nothing if the value is of a type that cannot be asked this, which fails even if negated.
    pub(super) fn holds(&self, value: &Value) -> Option<bool> {
        match (self, value) {
            (SeedMatcher::Equal(expected), _) => Some(expected.iter().any(|expected| seed_equal(value, expected))),
            (SeedMatcher::Contains(needle), Value::Array(items)) => {
                Some(items.iter().any(|item| seed_equal(item, needle)))
            }
            (SeedMatcher::Contains(_), Value::Null | Value::Object(_)) => None,
            (SeedMatcher::Contains(needle), scalar) => Some(text_of(scalar).contains(text_of(needle).as_ref())),
            (SeedMatcher::Number(order, bound), _) => seed_number(value).map(|number| order.holds(number, *bound)),
        }
    }
}
