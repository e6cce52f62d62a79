use super::*;

#[test]
fn members_keep_their_spans() {
    let text = r#" { "a" : 1 , "b\u0062":{"x":[1]}, "":"" } "#;
    let found: Vec<_> =
        members(text).iter().map(|member| (member.key.of(text), member.key_escaped, member.value.of(text))).collect();
    assert_eq!(found, [("a", false, "1"), (r"b\u0062", true, r#"{"x":[1]}"#), ("", false, r#""""#)]);
}

#[test]
fn values_as_text() {
    for (raw, scalar, stringified) in [
        (r#""a""#, Some("a"), Some("a")),
        (r#""\u00e9\ud83d\ude00\n\"\/""#, Some("é😀\n\"/"), Some("é😀\n\"/")),
        (r#""a\u0000b""#, Some("a\u{fffd}b"), Some("a\u{fffd}b")),
        ("18446744073709551616", Some("18446744073709551616"), Some("18446744073709551616")),
        ("1.10", Some("1.10"), Some("1.10")),
        ("true", Some("true"), Some("true")),
        ("null", None, None),
        (r#"{"a":1}"#, None, Some(r#"{"a":1}"#)),
        ("[1]", None, Some("[1]")),
    ] {
        let json = Json::scanned(raw);
        assert_eq!(json.scalar().as_deref(), scalar, "{raw}");
        assert_eq!(json.stringified().as_deref(), stringified, "{raw}");
    }
}

#[test]
fn strings_are_escaped_as_serde_json_does() {
    for text in ["", "plain", "\"\\\n\r\t\u{1}é😀/"] {
        let mut out = String::new();
        push_string(&mut out, text);
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
    }
}
