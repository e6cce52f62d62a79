//! Where an SDK that decides a flag itself says otherwise than the server, and it cannot be helped: the server does as
//! PostHog's own, the flag would be of no use to the other SDK if it were left out, and a client that asks gets the
//! server's answer. All else is a failed test.

use std::collections::BTreeSet;

use chrono::{Datelike, NaiveDate};
use serde_json::Value;

use super::local::Case;

struct Difference {
    name: &'static str,
    sdk: &'static str,
    /// Whether it is the reason for what an operator, the condition's value and the property, both JSON, came to.
    explains: fn(&str, &str, &str) -> bool,
    /// An operator, a condition's value and a property that show it.
    shown_by: [&'static str; 3],
}

/// What an SDK and the server differed about: the name of the difference, operator, condition's value, property.
pub(super) type Met = BTreeSet<(&'static str, [String; 3])>;

const NUMBERS: [&str; 6] = ["gt", "gte", "lt", "lte", "max", "min"];
const DATES: [&str; 2] = ["is_date_after", "is_date_before"];

const DIFFERENCES: [Difference; 6] = [
    Difference {
        name: "node compares what is no number as text",
        sdk: "node",
        explains: |operator, _, value| NUMBERS.contains(&operator) && !is_number(value),
        shown_by: ["gt", "5", "\"abc\""],
    },
    Difference {
        name: "node writes lists and objects as JavaScript does",
        sdk: "node",
        explains: |operator, wanted, value| {
            is_written(operator) && (wanted.starts_with('[') || value.starts_with(['[', '{']))
        },
        shown_by: ["ends_with", "\"pro\"", "[\"pro\"]"],
    },
    Difference {
        name: "node writes whole numbers without a point",
        sdk: "node",
        explains: |operator, _, value| is_written(operator) && ["5.0", "1e20", "1e16"].contains(&value),
        shown_by: ["ends_with", "\"5\"", "5.0"],
    },
    Difference {
        name: "node reads short numbers and versions as dates",
        sdk: "node",
        explains: |operator, _, value| {
            let dates = ["42", "0.2.3", "0.2.9", "1.2.3", " 1.2.3 ", "1.2.4", "1.3.0", "3.8.0"];
            DATES.contains(&operator) && dates.iter().any(|date| format!("\"{date}\"") == value)
        },
        shown_by: ["is_date_after", "\"2024-01-02\"", "\"42\""],
    },
    Difference {
        name: "python takes today's month and day in a year that stands alone",
        sdk: "python",
        explains: |operator, wanted, value| DATES.contains(&operator) && [wanted, value].contains(&"\"2024\""),
        shown_by: ["is_date_after", "\"2024\"", "\"2024-01-02\""],
    },
    Difference {
        name: "python keeps all digits of an integer",
        sdk: "python",
        explains: |operator, _, value| is_written(operator) && value == "12345678901234567890123",
        shown_by: ["semver_gt", "\"1\"", "12345678901234567890123"],
    },
];

/// Whether the operator looks at the text of a value.
fn is_written(operator: &str) -> bool {
    ["icontains", "starts_with", "ends_with", "regex", "semver_"].iter().any(|part| operator.contains(part))
}

fn is_number(value: &str) -> bool {
    match serde_json::from_str(value).unwrap() {
        Value::Number(_) => true,
        Value::String(text) => text.parse().is_ok_and(f64::is_finite),
        _ => false,
    }
}

/// The difference that explains one, if any does.
pub(super) fn find(sdk: &str, case: &Case, value: &str) -> Option<(&'static str, [String; 3])> {
    let explains = |known: &&Difference| {
        known.sdk == sdk && !value.is_empty() && (known.explains)(&case.kind, &case.wanted, value)
    };
    let name = DIFFERENCES.iter().find(explains)?.name;
    Some((name, [case.kind.clone(), case.wanted.clone(), value.to_owned()]))
}

/// One that is not met any more is none.
pub(super) fn assert_shown(met: &Met, today: NaiveDate) {
    for known in &DIFFERENCES {
        // On the first day of a year the month and day that Python takes are the right ones.
        let cannot_show = known.sdk == "python" && known.shown_by[1] == "\"2024\"" && today.ordinal() == 1;
        let shown = (known.name, known.shown_by.map(str::to_owned));
        assert!(cannot_show || met.contains(&shown), "{shown:?} was not met");
    }
}
