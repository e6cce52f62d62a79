use serde_json::{Map, Value, json};

use super::super::{Answers, FlagFile, FlagsShape, Question, body};

fn answers() -> Answers {
    let unusable = json!({ "key": "age", "value": "x", "operator": "gt" });
    let flags = json!([
        { "key": "on", "id": 7, "version": 3, "description": "who sees it", "payload": { "b": 1, "a": [2] } },
        { "key": "split", "variants": [{ "key": "v", "rollout_percentage": 100, "payload": "\"text\"" }] },
        { "key": "off", "rollout_percentage": 0, "payload": 1 },
        { "key": "broken", "filters": { "groups": [{ "properties": [unusable] }] } },
    ]);
    let person = json!({ "age": 1 }).as_object().cloned().unwrap();
    let question = Question { person_properties: &person, ..Question::new("user_1", 0) };
    FlagFile::parse(&flags.to_string()).unwrap().project("phc_test").evaluate(&question)
}

#[test]
fn answers_have_the_shape_of_their_version() {
    let values = r#""featureFlags":{"on":true,"split":"v","off":false,"broken":false},"featureFlagPayloads":{"on":"{\"b\":1,\"a\":[2]}","split":"\"text\""}"#;
    let details = concat!(
        r#""flags":{"#,
        r#""on":{"key":"on","enabled":true,"variant":null,"reason":{"code":"condition_match","condition_index":0,"description":"Matched condition set 1"},"metadata":{"id":7,"version":3,"description":"who sees it","payload":"{\"b\":1,\"a\":[2]}"}},"#,
        r#""split":{"key":"split","enabled":true,"variant":"v","reason":{"code":"condition_match","condition_index":0,"description":"Matched condition set 1"},"metadata":{"id":1,"version":1,"description":null,"payload":"\"text\""}},"#,
        r#""off":{"key":"off","enabled":false,"variant":null,"reason":{"code":"out_of_rollout_bound","condition_index":0,"description":"Out of rollout bound"},"metadata":{"id":2,"version":1,"description":null,"payload":null}},"#,
        r#""broken":{"key":"broken","enabled":false,"variant":null,"reason":{"code":"evaluation_error","condition_index":null,"description":"A condition of the flag cannot be evaluated"},"metadata":{"id":3,"version":1,"description":null,"payload":null},"failed":true}}"#,
    );
    let tail = r#""errorsWhileComputingFlags":true,"requestId":"r""#;
    let flags = format!(r#"{{{details},{values},{tail},"evaluatedAt":17}}"#);
    for (shape, expected) in [
        (FlagsShape::of_flags(None), flags.clone()),
        (FlagsShape::of_flags(Some("2")), flags.clone()),
        (FlagsShape::of_flags(Some("4")), flags.clone()),
        (FlagsShape::of_flags(Some("1")), format!("{{{values},{tail}}}")),
        (FlagsShape::of_decide(None), format!(r#"{{"featureFlags":["on","split"],{tail}}}"#)),
        (FlagsShape::of_decide(Some("")), format!(r#"{{"featureFlags":["on","split"],{tail}}}"#)),
        (FlagsShape::of_decide(Some("1")), format!(r#"{{"featureFlags":["on","split"],{tail}}}"#)),
        (FlagsShape::of_decide(Some("2")), format!(r#"{{"featureFlags":{{"on":true,"split":"v"}},{tail}}}"#)),
        (FlagsShape::of_decide(Some("3")), format!("{{{values},{tail}}}")),
        (FlagsShape::of_decide(Some("4")), flags),
    ] {
        assert_eq!(body(shape, &answers(), "r", 17, None), expected, "{shape:?}");
    }
}

#[test]
fn the_configuration_goes_first_and_no_flags_are_an_answer_too() {
    let config: Map<String, Value> = json!({ "supportedCompression": ["gzip"] }).as_object().cloned().unwrap();
    let found = body(FlagsShape::Flags, &Answers::none(), "r", 0, Some(config));
    let expected = concat!(
        r#"{"supportedCompression":["gzip"],"flags":{},"featureFlags":{},"featureFlagPayloads":{},"#,
        r#""errorsWhileComputingFlags":false,"requestId":"r","evaluatedAt":0}"#
    );
    assert_eq!(found, expected);
    assert!(!found.contains("quotaLimited"));
}
