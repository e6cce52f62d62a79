use chrono::DateTime;
use serde_json::{Value, json};

use super::{Dialect, Matcher, Undecided};

fn now_us() -> i64 {
    DateTime::parse_from_rfc3339("2026-11-20T12:00:00Z").unwrap().timestamp_micros()
}

/// `expected`: `+` passes, `-` fails, `?` cannot be decided; a letter for each value, the first for a
/// missing one.
fn check(dialect: Dialect, operator: &str, filter: Value, values: &[Value], expected: &str) {
    let matcher = Matcher::new(dialect.operator(operator).unwrap(), &filter, 1).unwrap();
    let letter = |found| match found {
        Ok(true) => '+',
        Ok(false) => '-',
        Err(Undecided) => '?',
    };
    let mut found = String::from(letter(matcher.matches(None, now_us())));
    found.extend(values.iter().map(|value| letter(matcher.matches(Some(value), now_us()))));
    assert_eq!(found, expected, "{operator} {filter} of (missing) {}", json!(values));
}

fn posthog(operator: &str, filter: Value, values: &[Value], expected: &str) {
    check(Dialect::PostHog, operator, filter, values, expected);
}

fn seed(operator: &str, filter: Value, values: &[Value], expected: &str) {
    check(Dialect::Seed, operator, filter, values, expected);
}

#[test]
fn presence() {
    let values = [json!("x"), json!(""), json!(null), json!(false), json!([])];
    posthog("is_set", json!("is_set"), &values, "-+++++");
    posthog("is_not_set", json!("is_not_set"), &values, "+-----");
}

#[test]
fn equality() {
    let values =
        [json!("pro"), json!("PRO"), json!("free"), json!(5), json!("5"), json!(5.0), json!(null), json!(["pro"])];
    posthog("exact", json!("Pro"), &values, "-++------");
    posthog("is_not", json!("Pro"), &values, "+--++++++");
    posthog("exact", json!(["pro", 5]), &values, "-++-++---");
    posthog("exact", json!("5"), &values, "----++---");
    posthog("exact", json!(5.0), &values, "------+--");
    posthog("exact", json!(null), &values, "-------+-");
    posthog("exact", json!("[\"pro\"]"), &values, "--------+");
    posthog("is", json!("Pro"), &values, "-++------");
    posthog("exact", json!("ÄRGER"), &[json!("ärger")], "-+");
    let truths = [json!(true), json!("True"), json!("FALSE"), json!(false), json!("x"), json!(1), json!(null)];
    posthog("exact", json!("true"), &truths, "-++-----");
    posthog("exact", json!(true), &truths, "-++-----");
    // Everything but true is false.
    posthog("exact", json!("false"), &truths, "---+++++");
    posthog("is_not", json!(["false"]), &truths, "+++-----");
    posthog("exact", json!([]), &truths, "-++-----");
}

#[test]
fn equality_of_the_second_version_is_of_text_alone() {
    let matcher = |filter: Value| Matcher::new(Dialect::PostHog.operator("exact").unwrap(), &filter, 2).unwrap();
    let passes = |filter: Value, value: Value| matcher(filter).matches(Some(&value), 0).unwrap();
    assert!(passes(json!("false"), json!(false)));
    assert!(!passes(json!("false"), json!("banana")));
    assert!(passes(json!([]), json!(true)));
}

#[test]
fn text() {
    let values = [json!("A PRO plan"), json!("proton"), json!("nipro"), json!(323), json!(null), json!(["pro"])];
    posthog("icontains", json!("Pro"), &values, "-+++--+");
    posthog("not_icontains", json!("Pro"), &values, "+---++-");
    posthog("icontains_multi", json!(["X", "TON"]), &values, "--+----");
    posthog("not_icontains_multi", json!(["X", "TON"]), &values, "++-++-+");
    posthog("icontains_multi", json!("ton"), &values, "--+----");
    posthog("starts_with", json!("PRO"), &values, "--+----");
    posthog("not_starts_with", json!("PRO"), &values, "++-++++");
    posthog("ends_with", json!("pro"), &values, "---+---");
    posthog("not_ends_with", json!("pro"), &values, "+++-+++");
    posthog("icontains", json!(3), &values, "----+--");
    posthog("icontains", json!("ul"), &values, "-----+-");
    posthog("icontains", json!(""), &values, "-++++++");
    // Only ASCII loses its case.
    posthog("icontains", json!("ÄR"), &[json!("Ärger"), json!("ärger")], "-+-");
}

#[test]
fn regular_expressions() {
    let values = [json!("a1"), json!("b"), json!(12), json!(true), json!(null), json!("")];
    posthog("regex", json!("[0-9]"), &values, "-+-+---");
    posthog("not_regex", json!("[0-9]"), &values, "+-+-+++");
    posthog("regex", json!("^(b|null|true)$"), &values, "--+-++-");
    posthog("regex", json!(""), &values, "-++++++");
}

#[test]
fn numbers() {
    let values = [json!(5), json!("5"), json!("5.5"), json!("1e1"), json!("x"), json!(""), json!(true), json!(null)];
    posthog("gt", json!(5), &values, "---++----");
    posthog("gte", json!("5"), &values, "-++++----");
    posthog("lt", json!(5.5), &values, "-++------");
    posthog("lte", json!("5.5"), &values, "-+++-----");
    posthog("min", json!(5.5), &values, "---++----");
    posthog("max", json!(5), &values, "-++------");
    posthog("gt", json!("x"), &values, "-????????");
    posthog("between", json!([5, "5.5"]), &values, "-+++-----");
    posthog("not_between", json!([5, 5.5]), &values, "+---+----");
    for unusable in [json!([2, 1]), json!([1]), json!(5), json!(["a", "b"]), json!(null)] {
        posthog("between", unusable.clone(), &[json!(1)], "-?");
        posthog("not_between", unusable, &[json!(1)], "+?");
    }
}

#[test]
fn dates() {
    let values = [
        json!("2026-11-18"),
        json!("2026-11-19T12:00:00Z"),
        json!("2026-11-19T14:00:00+01:00"),
        json!(1_795_132_800_000_i64),
        json!("soon"),
        json!(true),
        json!(null),
    ];
    posthog("is_date_before", json!("2026-11-19T12:00:00"), &values, "-+------");
    posthog("is_date_after", json!("2026-11-19"), &values, "--+++---");
    posthog("is_date_after", json!("-1d"), &values, "---++---");
    posthog("is_date_before", json!("-1d"), &values, "-+------");
    posthog("is_date_exact", json!("-1d"), &values, "--+-----");
    posthog("is_date_exact", json!("2026-11-19 12:00"), &values, "--+-----");
    posthog("is_date_after", json!("soon"), &values, "-???????");
}

#[test]
fn versions() {
    let values = [
        json!("1.2.3"),
        json!("v1.2.10"),
        json!("1.3.0-rc.1"),
        json!("2"),
        json!(1.2),
        json!("x"),
        json!(true),
        json!(null),
    ];
    posthog("semver_eq", json!("1.2.3+build"), &values, "-+-------");
    posthog("semver_neq", json!("1.2.3"), &values, "--++++---");
    posthog("semver_gt", json!("1.2.3"), &values, "--+++----");
    posthog("semver_gte", json!("v1.2.3"), &values, "-++++----");
    posthog("semver_lt", json!("1.3"), &values, "-++--+---");
    posthog("semver_lte", json!("1.3"), &values, "-+++-+---");
    posthog("semver_tilde", json!("1.2.3"), &values, "-++------");
    posthog("semver_caret", json!("1.2.3"), &values, "-+++-----");
    posthog("semver_wildcard", json!("1.2.*"), &values, "-++--+---");
    posthog("semver_wildcard", json!("*"), &values, "-+++++---");
    posthog("semver_gt", json!("x"), &values, "-????????");
    posthog("semver_tilde", json!(null), &values, "-????????");
}

#[test]
fn the_seed_compares_across_types() {
    let values = [json!("21"), json!(21), json!(17), json!(true), json!("x"), json!(null), json!(["21"])];
    seed("eq", json!(21), &values, "-++-----");
    seed("exact", json!("21"), &values, "-++-----");
    seed("eq", json!(["x", 17]), &values, "---+-+--");
    seed("is_not", json!("21"), &values, "+--+++++");
    seed("in", json!([21, true]), &values, "-++-+---");
    seed("not_in", json!([21, true]), &values, "+--+-+++");
    seed("gte", json!(18), &values, "-++-----");
    seed("lt", json!("18"), &values, "---++---");
    seed("gt", json!("x"), &values, "-???????");
    let texts = [json!("Example.com"), json!("example.com"), json!(["example"]), json!(12345), json!(null)];
    seed("contains", json!("example"), &texts, "--++--");
    seed("not_contains", json!("example"), &texts, "++--+-");
    seed("contains", json!(234), &texts, "----+-");
    seed("icontains", json!("EXAMPLE"), &texts, "-+++--");
    seed("is_not_set", json!(null), &texts, "+-----");
    check(Dialect::SeedAsPostHog, "in", json!(["pro", "5"]), &[json!("PRO"), json!(5), json!(6)], "-++-");
    check(Dialect::SeedAsPostHog, "not_in", json!(["pro"]), &[json!("PRO"), json!("x")], "+-+");
}

#[test]
fn wrong_names_and_patterns_are_refused() {
    let unknown = Dialect::PostHog.operator("contains").unwrap_err();
    assert!(
        unknown.starts_with("unknown operator \"contains\"; there are between, ends_with, eq, exact, gt"),
        "{unknown}"
    );
    assert!(Dialect::Seed.operator("like").unwrap_err().contains("not_in, "));
    let compile =
        |pattern: &str| Matcher::new(Dialect::PostHog.operator("regex").unwrap(), &json!(pattern), 1).unwrap_err();
    assert!(compile("(").starts_with("the regular expression does not compile: "));
    assert!(compile("a(?=b)").starts_with("the regular expression does not compile: "));
    assert_eq!(
        compile("(a{500}){500}"),
        "the regular expression needs more than 1048576 bytes when compiled; make it smaller"
    );
}
