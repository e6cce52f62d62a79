//! What a condition asks of one property, prepared when the file is read.

mod operator;
mod seed;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use regex::Regex;
use serde_json::Value;

use super::date::{self, When};
use super::semver::{self, Range, Version};
use super::value::{is_true, number_of, text_of};

pub(super) use operator::{Dialect, Operator};
pub(super) use seed::SeedMatcher;

/// A regular expression may take this much memory when compiled.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A condition cannot be decided, because its own value is of no use to its operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecided;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

impl Order {
    fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Order::Less => left < right,
            Order::LessOrEqual => left <= right,
            Order::Equal => left == right,
            Order::NotEqual => left != right,
            Order::GreaterOrEqual => left >= right,
            Order::Greater => left > right,
        }
    }
}

/// Where a text must stand in another, both in ASCII lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Anywhere,
    Start,
    End,
}

#[derive(Clone, Debug)]
pub(super) enum Test {
    Set,
    /// Lower-case texts, one of which must be the value's.
    OneOf(HashSet<String>),
    /// The value's truth must be this.
    Truth(bool),
    Text(Part, Vec<String>),
    Regex(Regex),
    Number(Order, f64),
    Between(f64, f64),
    Date(Order, When),
    Version(Order, Version),
    VersionRange(Range),
    Seed(SeedMatcher),
    /// The condition's value is of no use.
    Unusable,
}

/// A test of one property. A negated one also holds for whoever lacks the property.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    test: Test,
    negated: bool,
    /// A null fails, even if negated: posthog-node says so of operators that it does not know.
    refuses_null: bool,
}

impl Matcher {
    /// An error is why the file is refused. A value that is of no use to its operator is none: the
    /// matcher then [is unusable](Self::is_unusable).
    pub(super) fn new(operator: Operator, value: &Value, matching_version: i64) -> Result<Matcher, String> {
        let test = match operator {
            Operator::IsSet | Operator::IsNotSet => Test::Set,
            Operator::Exact | Operator::IsNot => exact(value, matching_version),
            Operator::Text(part, _) => Test::Text(part, vec![lower_ascii(value)]),
            Operator::AnyText(_) => Test::Text(Part::Anywhere, each(value).iter().map(lower_ascii).collect()),
            Operator::Regex | Operator::NotRegex => Test::Regex(regex(&text_of(value))?),
            Operator::Number(order) => number_of(value).map_or(Test::Unusable, |bound| Test::Number(order, bound)),
            Operator::Between | Operator::NotBetween => between(value),
            Operator::Date(order) => When::parse(value).map_or(Test::Unusable, |when| Test::Date(order, when)),
            Operator::Version(order) => {
                semver::parse(&text_of(value)).map_or(Test::Unusable, |bound| Test::Version(order, bound))
            }
            Operator::Tilde => version_range(semver::tilde, value),
            Operator::Caret => version_range(semver::caret, value),
            Operator::Wildcard => version_range(semver::wildcard, value),
            Operator::SeedEqual | Operator::SeedIn | Operator::SeedNotIn | Operator::SeedIsNot => {
                Test::Seed(SeedMatcher::Equal(each(value).to_vec()))
            }
            Operator::SeedContains | Operator::SeedNotContains => Test::Seed(SeedMatcher::Contains(value.clone())),
            Operator::SeedNumber(order) => {
                super::value::seed_number(value).map_or(Test::Unusable, |n| Test::Seed(SeedMatcher::Number(order, n)))
            }
        };
        Ok(Matcher { test, negated: operator.is_negated(), refuses_null: matches!(operator, Operator::AnyText(_)) })
    }

    pub(super) fn unusable() -> Matcher {
        Matcher { test: Test::Unusable, negated: false, refuses_null: false }
    }

    pub(super) fn is_unusable(&self) -> bool {
        matches!(self.test, Test::Unusable)
    }

    /// Whether the property passes; `value` is missing if there is no such property. Values of a type
    /// that the operator does not know fail.
    pub(super) fn matches(&self, value: Option<&Value>, now_us: i64) -> Result<bool, Undecided> {
        let Some(value) = value else { return Ok(self.negated) };
        if self.refuses_null && value.is_null() {
            return Ok(false);
        }
        let holds = match &self.test {
            Test::Set => true,
            Test::OneOf(texts) => texts.contains(&text_of(value).to_lowercase()),
            Test::Truth(truth) => is_true(value) == *truth,
            Test::Text(part, needles) => {
                let text = text_of(value).to_ascii_lowercase();
                needles.iter().any(|needle| match part {
                    Part::Anywhere => text.contains(needle.as_str()),
                    Part::Start => text.starts_with(needle.as_str()),
                    Part::End => text.ends_with(needle.as_str()),
                })
            }
            Test::Regex(regex) => regex.is_match(&text_of(value)),
            Test::Seed(seed) => match seed.holds(value) {
                Some(holds) => holds,
                None => return Ok(false),
            },
            Test::Unusable => return Err(Undecided),
            ordered => match ordered.compare(value, now_us)? {
                Some(holds) => holds,
                None => return Ok(false),
            },
        };
        Ok(holds != self.negated)
    }
}

impl Test {
    /// Nothing if the value is no number, date or version.
    fn compare(&self, value: &Value, now_us: i64) -> Result<Option<bool>, Undecided> {
        Ok(match self {
            Test::Number(order, bound) => number_of(value).map(|number| order.holds(number, *bound)),
            Test::Between(low, high) => number_of(value).map(|number| (*low..=*high).contains(&number)),
            Test::Date(order, when) => {
                let bound = when.resolve(now_us).ok_or(Undecided)?;
                date::instant(value).map(|instant| order.holds(instant, bound))
            }
            Test::Version(order, bound) => semver::parse(&text_of(value)).map(|version| order.holds(version, *bound)),
            Test::VersionRange([lower, upper]) => {
                semver::parse(&text_of(value)).map(|version| (*lower..*upper).contains(&version))
            }
            _ => None,
        })
    }
}

/// PostHog compares with `true` and `false` by truth, so that every text but "true" equals "false";
/// from matching version 2 on it does so only for an empty list.
fn exact(value: &Value, matching_version: i64) -> Test {
    let is_empty_list = value.as_array().is_some_and(Vec::is_empty);
    if is_empty_list || (matching_version != 2 && super::value::is_truth_value(value)) {
        return Test::Truth(is_true(value));
    }
    Test::OneOf(each(value).iter().map(|value| text_of(value).to_lowercase()).collect())
}

fn each(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        scalar => std::slice::from_ref(scalar),
    }
}

fn lower_ascii(value: &Value) -> String {
    text_of(value).to_ascii_lowercase()
}

fn regex(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build().map_err(|e| match e {
        regex::Error::CompiledTooBig(limit) => {
            format!("the regular expression needs more than {limit} bytes when compiled; make it smaller")
        }
        other => format!("the regular expression does not compile: {other}"),
    })
}

fn between(value: &Value) -> Test {
    let bounds = match value.as_array().map(Vec::as_slice) {
        Some([low, high]) => number_of(low).zip(number_of(high)),
        _ => None,
    };
    match bounds {
        Some((low, high)) if low <= high => Test::Between(low, high),
        _ => Test::Unusable,
    }
}

fn version_range(read: fn(&str) -> Option<Range>, value: &Value) -> Test {
    read(&text_of(value)).map_or(Test::Unusable, Test::VersionRange)
}
