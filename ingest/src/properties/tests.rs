use super::*;

#[test]
fn repeated_keys_are_found() {
    let many: Vec<String> = (0..500).map(|n| format!("\"key{n}\":{n}")).collect();
    let many = many.join(",");
    for (object, expected) in [
        ("{}".to_owned(), false),
        (r#"{"a":1,"b":1}"#.to_owned(), false),
        (r#"{"a":1,"b":1,"a":1}"#.to_owned(), true),
        (r#"{"a":1,"\u0061":1}"#.to_owned(), true),
        (r#"{"":1,"":1}"#.to_owned(), true),
        (r#"{"a":{"a":1,"a":2}}"#.to_owned(), false),
        (r#"{"long_name_a_in_the_middle_x":1,"long_name_b_in_the_middle_x":1}"#.to_owned(), false),
        (format!("{{{many}}}"), false),
        (format!("{{{many},\"key250\":0}}"), true),
    ] {
        assert_eq!(Object::parse(object.as_str()).repeats_keys(), expected, "{object}");
    }
}

#[test]
fn a_rewritten_object_has_each_key_once() {
    for (object, changes, expected) in [
        (r#"{ "a" : 1 , "b" : {"x": 1} , "a" : 1.50 }"#, vec![], r#"{"a":1.50,"b":{"x": 1}}"#),
        (r#"{"a":1,"\u0061":"\u00e9"}"#, vec![], r#"{"a":"\u00e9"}"#),
        (r#"{"$set":{"a":1},"b":2}"#, vec![("$set", "{}")], r#"{"$set":{},"b":2}"#),
        ("{}", vec![("c", "3")], r#"{"c":3}"#),
    ] {
        let changes: Vec<_> = changes.into_iter().map(|(key, value)| (key, Cow::Borrowed(value))).collect();
        let rewritten = Object::parse(object).rewritten(&changes, &[]);
        assert_eq!(rewritten.raw(), expected, "{object}");
        let keys: Vec<_> = rewritten.entries().map(|(key, _)| key.into_owned()).collect();
        assert_eq!(keys.len(), json::members(expected).len());
    }
}

#[test]
fn person_operations_are_merged_key_by_key() {
    let (inner, top) = (Json::scanned(r#"{"a":1,"b":2}"#), Json::scanned(r#"{"b":null,"c":[3]}"#));
    assert_eq!(merge_objects(inner, top), r#"{"a":1,"b":null,"c":[3]}"#);
    assert_eq!(merge_objects(Json::scanned("5"), top), top.raw());
    let names = merge_names(Json::scanned(r#"["a","b",1]"#), Json::scanned(r#"{"b":1,"c\u00e9":1}"#));
    assert_eq!(names, r#"["a","b","cé"]"#);
}

#[test]
fn offsets_count_from_the_opening_brace() {
    let text = r#"[ {"a": "bc"}]"#;
    let members = json::members(&text[2..13]);
    let shifted: Vec<Member> = members
        .iter()
        .map(|member| {
            let shift = |span: Span| Span { start: span.start + 2, end: span.end + 2 };
            Member { key: shift(member.key), value: shift(member.value), ..*member }
        })
        .collect();
    let object = Object::within(text, Span { start: 2, end: 13 }, &shifted);
    let value = object.get("a").unwrap();
    assert_eq!((object.raw(), value.raw(), object.offset_of(value)), (r#"{"a": "bc"}"#, r#""bc""#, 6));
}
