//! A hundred flags as a grown project has them.

use serde_json::{Value, json};

pub(super) const FLAGS: usize = 100;

/// Of ten flags, three are rollouts, three ask for properties, one for a cohort, one for a group; two have
/// variants with payloads.
pub(super) fn flags() -> Value {
    let flags: Vec<Value> = (0..FLAGS).map(flag).collect();
    json!({"flags": flags, "cohorts": cohorts()})
}

fn flag(n: usize) -> Value {
    let filters = match n % 10 {
        0..3 => json!({"groups": [{"properties": [], "rollout_percentage": n}]}),
        3..6 => json!({"groups": [
            {"properties": [person(n), person(n + 1)], "rollout_percentage": 50},
            {"properties": [person(n + 2)], "rollout_percentage": 100},
        ]}),
        6 => json!({"groups": [
            {"properties": [{"key": "id", "type": "cohort", "value": 1 + n % 5}], "rollout_percentage": 100},
        ]}),
        7 => json!({
            "aggregation_group_type_index": 0,
            "groups": [{
                "properties": [
                    {"key": "seats", "type": "group", "group_type_index": 0, "operator": "gt", "value": n},
                ],
                "rollout_percentage": 80,
            }],
        }),
        _ => json!({
            "groups": [{"properties": [person(n)], "rollout_percentage": 100}, {"rollout_percentage": 60}],
            "multivariate": {"variants": [
                {"key": "control", "rollout_percentage": 34},
                {"key": "blue", "rollout_percentage": 33},
                {"key": "green", "rollout_percentage": 33},
            ]},
            "payloads": {
                "control": json!({"button": "grey", "n": n}).to_string(),
                "blue": json!({"button": "blue", "n": n}).to_string(),
                "green": json!({"button": "green", "n": n}).to_string(),
            },
        }),
    };
    json!({"id": n + 1, "key": format!("flag-{n:03}"), "name": format!("The flag {n}"), "filters": filters})
}

/// A filter on a property that persons have.
fn person(n: usize) -> Value {
    let (key, operator, value) = match n % 6 {
        0 => ("plan", "exact", json!(["pro", "enterprise"])),
        1 => ("email", "icontains", json!("7@shop")),
        2 => ("seats", "gt", json!(n % 50)),
        3 => ("country", "is_not", json!("FR")),
        4 => ("$initial_utm_source", "is_set", json!("is_set")),
        _ => ("name", "regex", json!("User .*[02468]$")),
    };
    json!({"key": key, "type": "person", "operator": operator, "value": value})
}

/// By id.
fn cohorts() -> Value {
    let cohort = |n: usize| {
        json!({"type": "OR", "values": [
            {"type": "AND", "values": [person(n), person(n + 1)]},
            {"type": "AND", "values": [person(n + 2), person(n + 3)]},
        ]})
    };
    (1..=5).map(|id| (id.to_string(), cohort(id))).collect::<serde_json::Map<String, Value>>().into()
}
