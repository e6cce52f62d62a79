//! What a project settles for its events.

use super::*;

fn normalized(list: &str, facts: &RequestFacts, body: &str) -> Result<Normalized, Refusal> {
    let settings = NormalizeSettings { projects: projects(list), ..settings() };
    let request = crate::protocol::decode(facts, body.to_owned().into(), &Default::default())?;
    let mut normalized = normalize(request, facts, &settings, &mut CountingIds::default())?;
    enrich::enrich(&mut normalized.events, &Known::of_client(facts.peer_ip));
    Ok(normalized)
}

#[test]
fn a_project_has_its_own_number_and_group_types() {
    let company = Some("company");
    for (list, team_id, type0, type1) in [
        (r#"[{"token":"t"}]"#, Some(1), company, None),
        (r#"[{"token":"t","team_id":7}]"#, Some(7), company, None),
        (r#"[{"token":"t","group_types":["team","company"]}]"#, Some(1), Some("team"), company),
        (r#"[{"token":"t","group_types":[null,"team"]}]"#, Some(1), None, Some("team")),
        (r#"[{"token":"t","group_types":[]}]"#, Some(1), None, None),
        (r#"[{"token":"o","team_id":7,"group_types":["team"]},{"token":"t"}]"#, Some(1), company, None),
    ] {
        let body = event_with(r#""properties":{"$groups":{"company":"c","team":"x"}}"#);
        let normalized = normalized(list, &facts(), &body).unwrap();
        let event = &normalized.events[0];
        let types = event.identity().configured_types;
        let found = (event.as_row().team_id, types[0].as_deref(), types[1].as_deref());
        assert_eq!(found, (team_id, type0, type1), "{list}");
    }
}

#[test]
fn pages_of_other_sites_are_refused() {
    let list = r#"[{"token":"t","allowed_origins":["https://shop.example"]}]"#;
    for (origin, expected) in [
        (None, None),
        (Some("https://shop.example"), None),
        (Some("https://evil.example"), Some(Code::OriginNotAllowed)),
    ] {
        let mut facts = facts();
        facts.headers.origin = origin.map(str::to_owned);
        let refused = normalized(list, &facts, &event_with("")).err();
        assert_eq!(refused.map(|refusal| refusal.code), expected, "{origin:?}");
    }
}

/// An address that the client sends, in all places; what must be left of the event's keys.
#[test]
fn addresses_are_not_kept_for_a_project_that_stores_none() {
    let (stores, stores_none) = (r#"[{"token":"t"}]"#, r#"[{"token":"t","store_ip":false}]"#);
    for (keys, properties, extra) in [
        ("", json!({}), Value::Null),
        (r#""properties":{"$ip":"192.0.2.1","a":1}"#, json!({"a": 1}), Value::Null),
        (
            r#""properties":{"a":1,"$ip":"192.0.2.1","$os":"L","$ip":"192.0.2.1"}"#,
            json!({"a": 1, "$os": "L"}),
            Value::Null,
        ),
        (r#""properties":{"\u0024ip":"192.0.2.1"}"#, json!({}), Value::Null),
        (r#""properties":{"$ip":null,"a":{"$ip":1}}"#, json!({"a": {"$ip": 1}}), Value::Null),
        (r#""ip":"192.0.2.1","x":1"#, json!({}), json!({"x": 1})),
        (r#""ip":3221225985,"$ip":"192.0.2.1","x":1"#, json!({}), json!({"x": 1})),
        (r#""ip":"192.0.2.1","properties":{"$ip":"192.0.2.2","$browser":"F"}"#, json!({"$browser": "F"}), Value::Null),
        (
            r#""properties":{"ip":"8.8.8.8","$set":{"$ip":"5.5.5.5","a":1},"$set_once":{"$initial_ip":"6.6.6.6"},"ips":2}"#,
            json!({"$set": {"a": 1}, "$set_once": {}, "ips": 2}),
            Value::Null,
        ),
        (
            r#""$set":{"$ip":"5.5.5.5","a":1},"context":{"ip":"3.3.3.3","x":1},"properties":{"$ip":"1.1.1.1"}"#,
            json!({"$set": {"a": 1}}),
            Value::Null,
        ),
    ] {
        let event = normalized(stores_none, &facts(), &event_with(keys)).unwrap().events.remove(0);
        assert_eq!(serde_json::from_str::<Value>(event.properties()).unwrap(), properties, "{keys}");
        let row = event.as_row();
        assert!(!row.context.is_some_and(|context| context.contains("3.3.3.3")), "{keys}");
        let stored = row.extra.map_or(Value::Null, |extra| serde_json::from_str(extra).unwrap());
        assert_eq!(stored, extra, "{keys}");
        assert_eq!(row.promoted.os, properties["$os"].as_str(), "{keys}");
        assert_eq!(row.promoted.browser, properties["$browser"].as_str(), "{keys}");
        let kept = normalized(stores, &facts(), &event_with(keys)).unwrap().events.remove(0);
        assert!(kept.properties().contains("ip\""), "{keys}: {}", kept.properties());
    }
}

#[test]
fn dead_letters_of_such_a_project_hold_no_address() {
    let list = r#"[{"token":"t","store_ip":false}]"#;
    for (bad, expected) in [
        (r#"{"distinct_id":"u"}"#, r#"{"distinct_id":"u"}"#),
        (r#"{"ip":"192.0.2.1","distinct_id":"é"}"#, r#"{"ip":null,"distinct_id":"é"}"#),
        (
            r#"{"properties":{"a":1,"\u0024ip": "192.0.2.1" ,"ip":5},"$ip":["192.0.2.1"]}"#,
            r#"{"properties":{"a":1,"\u0024ip": null ,"ip":null},"$ip":null}"#,
        ),
        (
            r#"{"properties":{"$set":{"$ip":"5.5.5.5","a":{"ip":1}}},"context":{"ip":"3.3.3.3"}}"#,
            r#"{"properties":{"$set":{"$ip":null,"a":{"ip":1}}},"context":{"ip":null}}"#,
        ),
        ("[\"192.0.2.1\"]", "[\"192.0.2.1\"]"),
    ] {
        let body = format!(r#"{{"api_key":"t","batch":[{{"event":"e","distinct_id":"u"}},{bad}]}}"#);
        let rejected = normalized(list, &facts(), &body).unwrap().rejected.remove(0);
        assert_eq!(String::from_utf8_lossy(rejected.as_row().raw.unwrap()), expected);
        assert_eq!(rejected.as_row().raw_length_bytes, bad.len() as i64);
    }
}
