//! The text of the properties, promoted columns, `$ip`, `context` and `extra`.

use super::*;

/// Stored properties of an event sent with these keys, without `$ip`.
fn stored(keys: &str) -> String {
    one(&no_ip(), &event_with(keys)).properties().to_owned()
}

#[test]
fn properties_are_stored_as_sent() {
    for (sent, expected) in [
        // Bytes stay: white space, number spelling, escapes, order, token and distinct_id.
        (r#"{ "b" : 1.10 , "a":"\u00e9\/","token":"t","distinct_id":"u", "n":18446744073709551616 }"#, None),
        ("{}", None),
        (r#"{"a":{"x":1,"x":2}}"#, None),
        (r#"{"a":"\ud83d\ude00"}"#, None),
        // Keys at the top that two readers would read in two ways.
        (r#"{"a":1,"b":2,"a":[3]}"#, Some(r#"{"a":[3],"b":2}"#)),
        (r#"{"a":"\ud83d","b":NaN,"c":-Infinity,"d":"NaN"}"#, Some(r#"{"a":"\ufffd","b":null,"c":null,"d":"NaN"}"#)),
    ] {
        assert_eq!(stored(&format!(r#""properties":{sent}"#)), expected.unwrap_or(sent));
    }
    assert_eq!(stored(r#""properties":null"#), "{}");
    assert_eq!(stored(""), "{}");
    for not_object in ["[]", r#""x""#, "5"] {
        assert_eq!(code(run(&facts(), &event_with(&format!(r#""properties":{not_object}"#)))), "invalid_properties");
    }
}

#[test]
fn top_level_person_operations_are_folded_in() {
    for (keys, expected) in [
        (r#""properties":{"a":1},"$set":{"x": 1}"#, r#"{"a":1,"$set":{"x": 1}}"#),
        (
            r#""$set":{"x":1},"$set_once":{"y":2},"$unset":["z"]"#,
            r#"{"$set":{"x":1},"$set_once":{"y":2},"$unset":["z"]}"#,
        ),
        (r#""properties":{"$set":{"x":1,"y":1},"a":1},"$set":{"y":2,"z":2}"#, r#"{"$set":{"x":1,"y":2,"z":2},"a":1}"#),
        (r#""properties":{"$set":null},"$set":{"y":2}"#, r#"{"$set":{"y":2}}"#),
        (r#""properties":{"$unset":["a"]},"$unset":{"b":1}"#, r#"{"$unset":["a","b"]}"#),
        (r#""properties":{"$set":{"x":1}},"$set":null"#, r#"{"$set":{"x":1}}"#),
    ] {
        assert_eq!(stored(keys), expected, "{keys}");
    }
}

#[test]
fn promoted_columns_survive_every_change_of_the_text() {
    let expected = |event: &CapturedEvent| {
        let row = event.as_row();
        let promoted = row.promoted;
        assert_eq!(
            (promoted.os, promoted.browser, promoted.browser_version),
            (Some("Linux"), Some("Ché\n"), Some("156"))
        );
    };
    let inner = r#""$os":"Linux","$browser":"Ch\u00e9\n","$browser_version":156"#;
    for keys in [
        format!(r#""properties":{{{inner}}}"#),
        format!(r#""properties": {{ {inner} }} "#),
        format!(r#""properties":{{"$os":"x","$browser_version":1,{inner}}}"#),
        format!(r#""properties":{{"$set":{{"a":1}},{inner}}},"$set":{{"b":1}}"#),
        format!(r#""properties":{{"x":"\ud83d","y":NaN,{inner}}},"$set":{{"b":1}}"#),
        format!(r#""properties":{{{inner}}},"properties":{{"z":1,{inner}}}"#),
    ] {
        expected(&one(&facts(), &event_with(&keys)));
    }
}

#[test]
fn columns_with_rules_of_their_own() {
    let ios = "01A1F757-348F-789A-911F-60B4784B23E4";
    let lower = ios.to_ascii_lowercase();
    let row = |keys: &str, check: &dyn Fn(EventRow<'_>)| check(one(&facts(), &event_with(keys)).as_row());
    for (keys, expected) in [
        (format!(r#""properties":{{"$session_id":"{ios}"}}"#), Some(lower.as_str())),
        (r#""properties":{"$session_id":"Not-A-UUID"}"#.to_owned(), Some("Not-A-UUID")),
        (format!(r#""context":{{"$session_id":"{ios}"}}"#), Some(lower.as_str())),
        (r#""context":{"session_id":"c"},"properties":{"session_id":"p"}"#.to_owned(), Some("p")),
        (r#""context":{"session_id":null}"#.to_owned(), None),
        (r#""context":"x""#.to_owned(), None),
    ] {
        row(&keys, &|row| assert_eq!(row.promoted.session_id, expected, "{keys}"));
    }
    for (asn, expected) in
        [("13335", Some(13335)), (r#""13335""#, Some(13335)), ("1.5", None), (r#""AS1""#, None), ("null", None)]
    {
        row(&format!(r#""properties":{{"cf_asn":{asn}}}"#), &|row| assert_eq!(row.promoted.cf_asn, expected, "{asn}"));
    }
    row(r#""library":"ruby","library_version":"1.2""#, &|row| {
        assert_eq!((row.promoted.lib, row.promoted.lib_version), (Some("ruby"), Some("1.2")));
        assert_eq!(row.extra, Some(r#"{"library":"ruby","library_version":"1.2"}"#));
    });
    row(r#""library":"ruby","properties":{"$lib":"web"}"#, &|row| assert_eq!(row.promoted.lib, Some("web")));
    row(r#""properties":{"$referrer":"https://news.example/x","$host":"shop.example"}"#, &|row| {
        assert_eq!(row.promoted.referring_domain, Some("news.example"));
    });
    row(r#""properties":{"$referrer":"$direct","$referring_domain":"$direct"}"#, &|row| {
        assert_eq!((row.promoted.referrer, row.promoted.referring_domain), (Some("$direct"), None));
    });
    row("", &|row| assert_eq!((row.team_id, row.context, row.extra), (Some(1), None, None)));
}

#[test]
fn other_top_level_keys_go_to_extra() {
    for (keys, expected) in [
        (
            r#""type":"capture","messageId":"m","send_feature_flags":false"#,
            Some(r#"{"type":"capture","messageId":"m","send_feature_flags":false}"#),
        ),
        (r#""x":1,"x":[ 2 ]"#, Some(r#"{"x":[ 2 ]}"#)),
        (r#""\u0061b":1"#, Some(r#"{"\u0061b":1}"#)),
        (r#""context":{"a": 1}"#, None),
        (r#""$set":"text","$unset":5"#, Some(r#"{"$set":"text","$unset":5}"#)),
        (r#""ip":"198.51.100.1","properties":{"$ip":"192.0.2.1"}"#, Some(r#"{"ip":"198.51.100.1"}"#)),
    ] {
        let event = one(&facts(), &event_with(keys));
        assert_eq!(event.as_row().extra, expected, "{keys}");
    }
    let context = one(&facts(), &event_with(r#""context":{"a": 1}"#));
    assert_eq!(context.as_row().context, Some(r#"{"a": 1}"#));
}

#[test]
fn the_client_s_address_is_added_once() {
    let mapped = "::ffff:203.0.113.9";
    for (query, peer, keys, expected) in [
        (None, Some("203.0.113.7"), "", Some("203.0.113.7")),
        (Some("1"), Some("203.0.113.7"), "", Some("203.0.113.7")),
        (None, Some(mapped), "", Some("203.0.113.9")),
        (None, Some("2001:DB8::1"), "", Some("2001:db8::1")),
        (Some("0"), Some("203.0.113.7"), "", None),
        (None, None, "", None),
        (None, Some("203.0.113.7"), r#""properties":{"$ip":"192.0.2.1"}"#, Some("192.0.2.1")),
        (None, Some("203.0.113.7"), r#""ip":"198.51.100.1""#, Some("198.51.100.1")),
        (Some("0"), Some("203.0.113.7"), r#""ip":"198.51.100.1""#, Some("198.51.100.1")),
        (None, Some("203.0.113.7"), r#""properties":{"$ip":null}"#, None),
        (None, Some("203.0.113.7"), r#""properties":{"$geoip_disable":true}"#, Some("203.0.113.7")),
    ] {
        let mut facts = RequestFacts { peer_ip: peer.map(|peer| peer.parse().unwrap()), ..facts() };
        facts.query.extend(query.map(|ip| ("ip".to_owned(), ip.to_owned())));
        let event = one(&facts, &event_with(keys));
        let properties: Value = serde_json::from_str(event.properties()).unwrap();
        assert_eq!(properties.get("$ip").and_then(Value::as_str), expected, "{query:?} {peer:?} {keys}");
    }
}
