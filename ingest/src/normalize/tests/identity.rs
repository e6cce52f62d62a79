//! Tokens, distinct ids, uuids, persons, groups, and the routes that name an identity event.

use super::*;
use crate::identity::{Act, key};
use crate::protocol::HeaderFacts;

#[test]
fn tokens_are_found_and_checked() {
    let event = r#""event":"e","distinct_id":"u""#;
    let long = "x".repeat(65);
    for (what, header, query, body, expected) in [
        ("envelope", None, None, format!(r#"{{"api_key":"t","batch":[{{{event}}}]}}"#), Ok("t")),
        ("envelope's other name", None, None, format!(r#"{{"token":"t","batch":[{{{event}}}]}}"#), Ok("t")),
        ("the envelope wins", None, None, format!(r#"{{"api_key":"t","batch":[{{{event},"token":"o"}}]}}"#), Ok("t")),
        ("event token", None, None, format!(r#"[{{{event},"token":"t"}}]"#), Ok("t")),
        ("event $token", None, None, format!(r#"{{{event},"$token":"t"}}"#), Ok("t")),
        ("event api_key", None, None, format!(r#"{{{event},"api_key":"t"}}"#), Ok("t")),
        ("properties", None, None, format!(r#"[{{{event},"properties":{{"token":"t"}}}},{{{event}}}]"#), Ok("t")),
        (
            "empty is none",
            None,
            None,
            format!(r#"{{"api_key":"","batch":[{{{event},"properties":{{"token":"t"}}}}]}}"#),
            Ok("t"),
        ),
        ("trimmed", None, None, format!(r#"{{{event},"api_key":" t "}}"#), Ok("t")),
        ("header", Some("t"), None, format!("{{{event}}}"), Ok("t")),
        ("same header", Some("t"), None, format!(r#"{{{event},"api_key":"t"}}"#), Ok("t")),
        ("query", None, Some(("token", "t")), format!("{{{event}}}"), Ok("t")),
        ("query's other name", None, Some(("api_key", "t")), format!("{{{event}}}"), Ok("t")),
        ("other header", Some("o"), None, format!(r#"{{{event},"api_key":"t"}}"#), Err(Code::InconsistentTokens)),
        (
            "two tokens",
            None,
            None,
            format!(r#"[{{{event},"token":"t"}},{{{event},"token":"o"}}]"#),
            Err(Code::InconsistentTokens),
        ),
        ("none", None, None, format!("{{{event}}}"), Err(Code::MissingToken)),
        ("null", None, None, format!(r#"{{{event},"api_key":null}}"#), Err(Code::MissingToken)),
        ("number", None, None, format!(r#"{{{event},"api_key":5}}"#), Err(Code::MissingToken)),
        ("personal key", None, None, format!(r#"{{{event},"api_key":"phx_1"}}"#), Err(Code::InvalidToken)),
        ("not ASCII", None, None, format!(r#"{{{event},"api_key":"é"}}"#), Err(Code::InvalidToken)),
        ("NUL", None, None, format!(r#"{{{event},"api_key":"a\u0000"}}"#), Err(Code::InvalidToken)),
        ("65 characters", None, None, format!(r#"{{{event},"api_key":"{long}"}}"#), Err(Code::InvalidToken)),
        ("64 characters", None, None, format!(r#"{{{event},"api_key":"{}"}}"#, &long[1..]), Ok(&long[1..])),
    ] {
        let mut facts = facts();
        facts.headers = HeaderFacts { api_key: header.map(str::to_owned), ..HeaderFacts::default() };
        facts.query.extend(query.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let found =
            run(&facts, &body).map(|normalized| normalized.events[0].token.clone()).map_err(|refusal| refusal.code);
        assert_eq!(found.as_ref().map(ProjectToken::as_str).map_err(|code| *code), expected, "{what}");
    }
}

#[test]
fn unknown_tokens_are_refused_when_the_known_ones_are_listed() {
    let settings = NormalizeSettings { projects: projects(r#"[{"token":"t"}]"#), ..settings() };
    for (token, expected) in [("t", None), ("o", Some(Code::UnknownToken))] {
        let body = event_with("").replace(r#""t""#, &format!("\"{token}\""));
        let request = crate::protocol::decode(&facts(), body.into(), &Default::default()).unwrap();
        let refused = normalize(request, &facts(), &settings, &mut CountingIds::default()).err();
        assert_eq!(refused.map(|refusal| refusal.code), expected, "{token}");
    }
}

#[test]
fn distinct_ids_are_texts_of_at_most_200_characters() {
    let long = "é".repeat(201);
    for (keys, expected) in [
        (r#""distinct_id":"u""#.to_owned(), Some("u")),
        (r#""$distinct_id":"u""#.to_owned(), Some("u")),
        (r#""properties":{"distinct_id":"p"},"distinct_id":"u""#.to_owned(), Some("u")),
        (r#""properties":{"distinct_id":"p"}"#.to_owned(), Some("p")),
        (r#""properties":{"distinct_id":"p"},"distinct_id":null"#.to_owned(), Some("p")),
        (r#""distinct_id":42"#.to_owned(), Some("42")),
        (r#""distinct_id":1.10"#.to_owned(), Some("1.10")),
        (r#""distinct_id":true"#.to_owned(), Some("true")),
        (r#""distinct_id":{"a": 1}"#.to_owned(), Some(r#"{"a": 1}"#)),
        (r#""distinct_id":["a"]"#.to_owned(), Some(r#"["a"]"#)),
        (r#""distinct_id":" u ""#.to_owned(), Some(" u ")),
        (r#""distinct_id":"a\u0000b""#.to_owned(), Some("a\u{fffd}b")),
        (format!(r#""distinct_id":"{long}""#), Some(&long[..400])),
        (r#""distinct_id":null"#.to_owned(), None),
        (r#""distinct_id":"""#.to_owned(), None),
        (r#""distinct_id":" \t\u00a0""#.to_owned(), None),
        (r#""a":1"#.to_owned(), None),
    ] {
        let result = run(&facts(), &format!(r#"{{"event":"e","api_key":"t",{keys}}}"#));
        match expected {
            Some(id) => assert_eq!(result.unwrap().events[0].distinct_id.as_str(), id, "{keys}"),
            None => assert_eq!(code(result), "missing_distinct_id", "{keys}"),
        }
    }
}

#[test]
fn uuids_are_the_client_s_or_made_of_the_time_of_receipt() {
    // 1795152600000 ms = 0x01a1f76edbc0; CountingIds fills with ones.
    let made = "01a1f76e-dbc0-7101-8101-010101010101";
    let own = "01a1f757-3482-7fcd-b12d-2b6d2dc8b4c9";
    for (uuid, expected, is_clients) in [
        (r#""01A1F757-3482-7FCD-B12D-2B6D2DC8B4C9""#, own, true),
        (r#""01a1f75734827fcdb12d2b6d2dc8b4c9""#, own, true),
        (r#""00000000-0000-0000-0000-000000000000""#, "00000000-0000-0000-0000-000000000000", false),
        (r#""""#, made, false),
        ("null", made, false),
    ] {
        let event = one(&facts(), &event_with(&format!(r#""uuid":{uuid}"#)));
        assert_eq!(event.as_row().uuid, expected, "{uuid}");
        assert_eq!(event.uuid_is_clients, is_clients, "{uuid}");
    }
    for uuid in
        [r#""x""#, r#""01a1f757-3482-7fcd-b12d-2b6d2dc8b4c""#, "5", "{}", r#"" 01a1f757-3482-7fcd-b12d-2b6d2dc8b4c9""#]
    {
        assert_eq!(code(run(&facts(), &event_with(&format!(r#""uuid":{uuid}"#)))), "invalid_uuid", "{uuid}");
    }
}

#[test]
fn persons_follow_from_token_and_distinct_id() {
    // Python: uuid.uuid5(uuid.UUID('932979b4-65c3-4424-8467-0b66ec27bc22'), 't:u') and '1:user_1'.
    let event = one(&facts(), &event_with(""));
    assert_eq!(event.as_row().person_id, Some("478ac5c8-e4f4-551d-b234-4e83b5a82f0e"));
    assert_eq!(key("1", "user_1").to_string(), "131ecd7b-7aa1-5121-8fd3-5353d39dd23e");
    for (flag, wants_profile) in [("false", false), ("true", true), (r#""false""#, true), ("0", true), ("null", true)] {
        let event = one(&facts(), &event_with(&format!(r#""properties":{{"$process_person_profile":{flag}}}"#)));
        assert_eq!(event.identity().wants_profile, wants_profile, "{flag}");
    }
}

#[test]
fn persons_are_not_mixed_up_inside_a_batch() {
    let events = ["u", "u", "v", "u"].map(|id| format!(r#"{{"event":"e","distinct_id":"{id}"}}"#)).join(",");
    let batch = run(&facts(), &format!(r#"{{"api_key":"t","batch":[{events}]}}"#)).unwrap();
    for event in &batch.events {
        let expected = UuidText::from(key(event.token.as_str(), event.distinct_id.as_str()));
        assert_eq!(event.as_row().person_id, Some(expected.as_str()));
    }
}

#[test]
fn groups_are_pairs_of_type_and_key() {
    let long = "k".repeat(401);
    for (groups, expected) in [
        (r#"{"company":"c1"}"#.to_owned(), vec![("company", "c1")]),
        (r#"{"other":"o","company":7}"#.to_owned(), vec![("other", "o"), ("company", "7")]),
        (r#"{"company":"a\u00e9"}"#.to_owned(), vec![("company", "aé")]),
        (format!(r#"{{"company":"{long}"}}"#), vec![("company", &long[1..])]),
        (r#"{"company":null,"":"x","team":""}"#.to_owned(), vec![]),
        (r#"{"company":{}}"#.to_owned(), vec![]),
        (r#""company""#.to_owned(), vec![]),
        ("null".to_owned(), vec![]),
    ] {
        let event = one(&facts(), &event_with(&format!(r#""properties":{{"$groups":{groups}}}"#)));
        assert_eq!(event.identity().groups.iter().collect::<Vec<_>>(), expected, "{groups}");
    }
    let described = r#""properties":{"$group_type":"company","$group_key":5,"$group_set":{"seats":3}}"#;
    let event = one(&facts(), &event_with(described).replace(r#""e""#, r#""$groupidentify""#));
    let update = event.identity().group_update.expect("a group");
    assert_eq!((update.group_type, update.group_key, update.set), ("company", "5", Some(r#"{"seats":3}"#)));
}

#[test]
fn events_say_what_they_do_to_persons() {
    let of = |name: &str, keys: &str| {
        let event = one(&facts(), &event_with(keys).replace(r#""event":"e""#, &format!(r#""event":"{name}""#)));
        let said = event.identity();
        let act = match said.act {
            Act::Merge { other, other_key, operation } => {
                assert_eq!(other_key, key("t", other));
                format!("{} {other}", operation.as_str())
            }
            Act::Update(operation) => format!("{} nobody", operation.as_str()),
            Act::Capture => "capture".to_owned(),
            Act::Bystander => "bystander".to_owned(),
        };
        let texts = [said.set, said.set_once, said.unset].map(|text| text.unwrap_or("-").to_owned());
        (act, texts.join(" "), said.malformed)
    };
    let properties = |text: &str| format!(r#""properties":{text}"#);
    for (name, keys, act, texts, malformed) in [
        ("$identify", properties(r#"{"$anon_distinct_id":"a","$set":{"x":1}}"#), "identify a", r#"{"x":1} - -"#, None),
        ("$identify", properties("{}"), "identify nobody", "- - -", None),
        ("$create_alias", properties(r#"{"alias":42}"#), "alias 42", "- - -", None),
        ("$merge_dangerously", properties(r#"{"alias":"b"}"#), "merge b", "- - -", None),
        (
            "$set",
            properties(r#"{"$set":{"a":1},"$set_once":{"b":2},"$unset":["c"]}"#),
            "set nobody",
            r#"{"a":1} {"b":2} ["c"]"#,
            None,
        ),
        ("$set", r#""$set":{"a":1},"$unset":{"c":1}"#.to_owned(), "set nobody", r#"{"a":1} - {"c":1}"#, None),
        ("e", properties(r#"{"$set":[1]}"#), "capture", "- - -", Some("$set")),
        ("e", properties(r#"{"$set_once":"x","$unset":"x"}"#), "capture", "- - -", Some("$set_once")),
        ("e", r#""$set":[1],"$set_once":{"a":1}"#.to_owned(), "capture", r#"- {"a":1} -"#, Some("$set")),
        ("e", r#""$set":null,"$set_once":"x""#.to_owned(), "capture", "- - -", Some("$set_once")),
        ("$exception", properties(r#"{"$set":{"a":1}}"#), "capture", "- - -", None),
        ("$$heatmap", properties("{}"), "bystander", "- - -", None),
        ("e", properties(r#"{"$set":{"a":1},"$process_person_profile":false}"#), "capture", "- - -", None),
    ] {
        assert_eq!(of(name, &keys), (act.to_owned(), texts.to_owned(), malformed), "{name} {keys}");
    }
    for name in ["$identify", "$create_alias", "$merge_dangerously", "$groupidentify"] {
        let keys = properties(r#"{"$process_person_profile":false,"alias":"b"}"#);
        let body = event_with(&keys).replace(r#""event":"e""#, &format!(r#""event":"{name}""#));
        let normalized = run(&facts(), &body).unwrap();
        assert_eq!(normalized.rejected[0].reason.as_str(), "person_processing_off", "{name}");
        assert_eq!(code(run(&facts(), &body)), "stored", "{name}");
    }
}

#[test]
fn automatic_properties_are_found() {
    let keys = r#""properties":{"$browser":"Chrome","utm_source":"news","other":1,"$geoip_country_code":"DE"}"#;
    let event = one(&facts(), &event_with(keys));
    let found: Vec<(&str, &str)> =
        event.identity().automatic.collect().into_iter().map(|(name, value)| (name.name(), value)).collect();
    let expected = [("$browser", "\"Chrome\""), ("utm_source", "\"news\""), ("$geoip_country_code", "\"DE\"")];
    assert_eq!(found, expected);
}

/// Route, body, and the name, properties and `extra` that it must become.
#[test]
fn identity_routes_translate_their_bodies() {
    let identify = |properties: &str, expected: Value| {
        (
            Endpoint::Identify,
            format!(r#"{{"api_key":"t","distinct_id":"u",{properties}}}"#),
            "$identify",
            expected,
            Value::Null,
        )
    };
    for (endpoint, body, name, properties, extra) in [
        identify(r#""properties":{"email":"e","$os":"L","token":"t"}"#, json!({"email": "e", "$os": "L", "token": "t", "$set": {"email": "e"}})),
        identify(r#""$set":{"a":1},"properties":{"b":2}"#, json!({"b": 2, "$set": {"a": 1}})),
        identify(r#""properties":{"b":2,"$set":{"a":1}}"#, json!({"b": 2, "$set": {"a": 1}})),
        identify(r#""$anon_distinct_id":"anon""#, json!({"$anon_distinct_id": "anon"})),
        identify(r#""$set_once":{"a":1}"#, json!({"$set_once": {"a": 1}})),
        (
            Endpoint::Alias,
            r#"{"api_key":"t","distinct_id":"u","alias":"other"}"#.to_owned(),
            "$create_alias",
            json!({"alias": "other"}),
            json!({"alias": "other"}),
        ),
        (
            Endpoint::Alias,
            r#"[{"distinct_id":"u","properties":{"token":"t","alias":"other"}}]"#.to_owned(),
            "$create_alias",
            json!({"alias": "other", "token": "t"}),
            json!({"alias": "other"}),
        ),
        (
            Endpoint::Groups,
            r#"{"api_key":"t","distinct_id":"u","group_type":"company","group_key":"c\"1","properties":{"name":"Acme"}}"#.to_owned(),
            "$groupidentify",
            json!({"name": "Acme", "$group_type": "company", "$group_key": "c\"1", "$group_set": {"name": "Acme"}}),
            json!({"group_type": "company", "group_key": "c\"1"}),
        ),
        (
            Endpoint::Groups,
            r#"{"api_key":"t","group_type":"company","group_key":"c1","$group_set":{"name":"Acme"}}"#.to_owned(),
            "$groupidentify",
            json!({"distinct_id": "$company_c1", "$group_type": "company", "$group_key": "c1", "$group_set": {"name": "Acme"}}),
            json!({"group_type": "company", "group_key": "c1"}),
        ),
        (
            Endpoint::Engage,
            r#"{"$token":"t","$distinct_id":"u","$set":{"a":1},"$add":{"n":1}}"#.to_owned(),
            "$engage",
            json!({"$set": {"a": 1}}),
            json!({"$add": {"n": 1}}),
        ),
    ] {
        let event = one(&RequestFacts { endpoint, ..no_ip() }, &body);
        assert_eq!(event.name(), name, "{body}");
        assert_eq!(serde_json::from_str::<Value>(event.properties()).unwrap(), properties, "{body}");
        let stored = event.as_row().extra.map_or(Value::Null, |extra| serde_json::from_str(extra).unwrap());
        assert_eq!(stored, extra, "{body}");
    }
    for (endpoint, body) in [
        (Endpoint::Alias, r#"{"api_key":"t","distinct_id":"u"}"#),
        (Endpoint::Groups, r#"{"api_key":"t","distinct_id":"u","group_type":"company"}"#),
        (Endpoint::Groups, r#"{"api_key":"t","distinct_id":"u","group_key":"","group_type":"company"}"#),
    ] {
        assert_eq!(code(run(&RequestFacts { endpoint, ..facts() }, body)), "invalid_properties", "{body}");
    }
    assert_eq!(code(run(&facts(), r#"{"$token":"t","$distinct_id":"u","$set":{"a":1}}"#)), "missing_event");
}
