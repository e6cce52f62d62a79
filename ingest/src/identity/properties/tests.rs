use serde_json::json;

use super::*;

fn after(before: &str, wanted: &Wanted<'_>) -> Option<String> {
    Properties::of(before, "{}").changed(wanted).map(|properties| properties.as_json().to_owned())
}

#[test]
fn operations_come_in_their_order() {
    for (before, set, set_once, unset, expected) in [
        ("{}", Some(r#"{"a":1}"#), None, None, Some(r#"{"a":1}"#)),
        (r#"{"a":1}"#, Some(r#"{"a":1}"#), None, None, None),
        (r#"{"a":1}"#, Some(r#"{"a":1.0}"#), None, None, Some(r#"{"a":1.0}"#)),
        (r#"{"a":1}"#, None, Some(r#"{"a":2,"b":3}"#), None, Some(r#"{"a":1,"b":3}"#)),
        (r#"{"a":null}"#, None, Some(r#"{"a":2}"#), None, None),
        (r#"{"a":1,"b":2}"#, None, None, Some(r#"["a","x"]"#), Some(r#"{"b":2}"#)),
        (r#"{"a":1}"#, None, None, Some(r#"["x"]"#), None),
        (r#"{"a":1,"b":2}"#, None, None, Some(r#"{"b":true}"#), Some(r#"{"a":1}"#)),
        ("{}", Some(r#"{"a":1}"#), Some(r#"{"a":2}"#), Some(r#"["a"]"#), Some("{}")),
        ("{}", Some(r#"{"a\"b":"\u00e9"}"#), None, None, Some(r#"{"a\"b":"\u00e9"}"#)),
        (
            r#"{"a":12345678901234567890123}"#,
            Some(r#"{"b":1e400}"#),
            None,
            None,
            Some(r#"{"a":12345678901234567890123,"b":1e400}"#),
        ),
    ] {
        let wanted = Wanted { set, set_once, unset, ..Wanted::default() };
        assert_eq!(after(before, &wanted).as_deref(), expected, "{before} {wanted:?}");
    }
}

#[test]
fn parts_make_the_whole_again() {
    for (set, set_once) in [
        ("{}", "{}"),
        (r#"{"a":1}"#, "{}"),
        ("{}", r#"{"$initial_browser":"Firefox"}"#),
        (r#"{"a\"b":[1,{"c":2}],"é":"\u00e9","$initial_utm_source":1}"#, r#"{"d":null,"$initial_os":"Linux","":0}"#),
    ] {
        let whole = Properties::of(set, set_once);
        let (set, set_once) = whole.parts();
        assert_eq!(Properties::of(&set, &set_once), whole, "{set} {set_once}");
        assert_eq!(Properties::of_stored(whole.as_json(), whole.marks()), whole, "{set} {set_once}");
    }
}

#[test]
fn volatile_properties_alone_write_nobody() {
    let known = r#"{"$browser":"Firefox","$initial_browser":"Firefox"}"#;
    let browser = Automatic::of("$browser").expect("it is automatic");
    let chrome: &[(Automatic, &str)] = &[(browser, "\"Chrome\"")];
    let both = r#"{"$browser":"Chrome","$initial_browser":"Firefox"}"#;
    for (before, automatic, set, always, expected) in [
        ("{}", chrome, None, false, Some(r#"{"$browser":"Chrome","$initial_browser":"Chrome"}"#)),
        (known, chrome, None, false, None),
        (known, chrome, None, true, Some(both)),
        (known, &[][..], Some(r#"{"$browser":"Chrome"}"#), false, None),
        (
            known,
            chrome,
            Some(r#"{"plan":"pro"}"#),
            false,
            Some(r#"{"$browser":"Chrome","$initial_browser":"Firefox","plan":"pro"}"#),
        ),
        (
            known,
            chrome,
            Some(r#"{"$browser":"Safari"}"#),
            true,
            Some(r#"{"$browser":"Safari","$initial_browser":"Firefox"}"#),
        ),
    ] {
        let wanted = Wanted { automatic, set, always, ..Wanted::default() };
        assert_eq!(after(before, &wanted).as_deref(), expected, "{before} {wanted:?}");
    }
    let utm = Automatic::of("utm_source").expect("it is automatic");
    let wanted = Wanted { automatic: &[(utm, "\"news\"")], ..Wanted::default() };
    assert_eq!(after("{}", &wanted).as_deref(), Some(r#"{"utm_source":"news","$initial_utm_source":"news"}"#));
    assert_eq!(Automatic::of_initial("$initial_utm_source"), Some(utm));
    assert_eq!(Automatic::of_initial("$initial_browser"), Some(browser));
}

#[test]
fn what_set_and_set_once_gave_is_told_apart() {
    let first = Properties::of("{}", r#"{"a":1,"b":2}"#);
    let set = Wanted { set: Some(r#"{"b":3,"c":4}"#), ..Wanted::default() };
    let second = first.changed(&set).expect("a change");
    assert_eq!(second.as_json(), r#"{"b":3,"c":4,"a":1}"#);
    assert_eq!(second.parts(), (r#"{"b":3,"c":4}"#.to_owned(), r#"{"a":1}"#.to_owned()));
    let (set, once) = second.parts();
    assert_eq!(Properties::of(&set, &once), second);
}

#[test]
fn one_odd_value_hides_no_other() {
    let text = r#"{"huge":1e400,"list":[1e400],"float":0.11817899358401263,"one":1.0,"plan":"pro","n":7,"é":null}"#;
    let values = Properties::of(text, "{}").values();
    let expected = [
        ("huge", json!("1e400")),
        ("list", json!("[1e400]")),
        ("one", json!(1.0)),
        ("plan", json!("pro")),
        ("n", json!(7)),
        ("é", json!(null)),
    ];
    for (key, value) in expected {
        assert_eq!(values.get(key), Some(&value), "{key}");
    }
    assert_eq!(values["float"].to_string(), "0.11817899358401263");
}

#[test]
fn the_winner_keeps_its_values() {
    let winner = Properties::of(r#"{"a":1}"#, r#"{"b":1}"#);
    let other = Properties::of(r#"{"a":2,"b":2,"c":2}"#, r#"{"d":2}"#);
    let merged = winner.over(&other);
    assert_eq!(merged.parts(), (r#"{"a":1,"c":2}"#.to_owned(), r#"{"b":1,"d":2}"#.to_owned()));
}

#[test]
fn a_copy_that_is_too_long_keeps_what_people_ask_for() {
    let long = "x".repeat(40_000);
    let properties = Properties::of(&format!(r#"{{"blob":"{long}","email":"a@b.c","plan":"pro"}}"#), "{}");
    let copy = properties.copy_within(32 << 10);
    assert_eq!(copy, r#"{"email":"a@b.c","plan":"pro","$person_properties_truncated":true}"#);
    assert_eq!(properties.copy_within(64 << 10), properties.as_json());
}
