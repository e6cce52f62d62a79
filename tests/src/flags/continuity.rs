//! Who keeps a variant: people over a login, devices over all who use them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{options, values};
use crate::harness::{PROJECT, Server};

const VISITORS: usize = 20;

/// Ten variants: two ids seldom have the same by chance.
fn file() -> Value {
    let variants: Vec<Value> =
        (0..10).map(|number| json!({"key": format!("v{number}"), "rollout_percentage": 10})).collect();
    let filters = json!({
        "groups": [{"properties": [], "rollout_percentage": 100}], "multivariate": {"variants": variants},
    });
    json!([
        {"key": "kept", "ensure_experience_continuity": true, "filters": filters},
        {"key": "plain", "filters": filters},
        {"key": "device", "bucketing_identifier": "device_id", "filters": filters},
    ])
}

fn identify(server: &Server, user: &str, anonymous: &str) {
    server.capture(
        "/e/",
        &json!({
            "api_key": PROJECT, "event": "$identify", "distinct_id": user,
            "properties": {"$anon_distinct_id": anonymous, "$set": {"plan": "pro"}},
        }),
    );
}

#[test]
fn a_variant_stays_over_a_login() {
    let mut server = options(&file().to_string()).start();
    let ask = |server: &Server, id: &str, anonymous: Option<&str>| {
        values(server, json!({"distinct_id": id, "$anon_distinct_id": anonymous}))
    };
    let mut changes = 0;
    for number in 0..VISITORS {
        let (anonymous, user) = (format!("anonymous-{number}"), format!("user-{number}"));
        if number % 2 == 0 {
            // Somebody who had a profile before the login, and others who are nobody yet.
            server.capture(
                "/e/",
                &json!({"api_key": PROJECT, "event": "e", "distinct_id": anonymous, "properties": {"$set": {"a": 1}}}),
            );
        }
        let first = ask(&server, &anonymous, None);
        let unseen = ask(&server, &user, None);
        changes += usize::from(first["plain"] != unseen["plain"]);
        let before = ask(&server, &user, Some(&anonymous));
        assert_eq!(before["kept"], first["kept"], "{user} before the event");
        assert_eq!(before["plain"], unseen["plain"], "{user} before the event");
        identify(&server, &user, &anonymous);
        for (place, asked) in [
            ("with the anonymous id", ask(&server, &user, Some(&anonymous))),
            ("without it", ask(&server, &user, None)),
            ("on another device", ask(&server, &user, Some(&format!("other-{number}")))),
            ("as the anonymous one", ask(&server, &anonymous, None)),
        ] {
            assert_eq!(asked["kept"], first["kept"], "{user} {place}");
        }
    }
    assert!(changes > VISITORS / 2, "only {changes} logins change a plain flag");
    let kept = |server: &Server| -> Vec<Value> {
        (0..VISITORS).map(|number| ask(server, &format!("user-{number}"), None)["kept"].clone()).collect()
    };
    let before = kept(&server);
    server.kill();
    server.restart();
    assert_eq!(kept(&server), before, "after a restart");
}

#[test]
fn a_variant_belongs_to_a_device() {
    let server = options(&file().to_string()).start();
    let ask = |question: Value| values(&server, question)["device"].clone();
    let mut variants = BTreeSet::new();
    for number in 0..VISITORS {
        let device = format!("device-{number}");
        let first = ask(json!({"distinct_id": "a", "$device_id": device}));
        for other in [
            json!({"distinct_id": "b", "$device_id": device}),
            json!({"distinct_id": "b", "device_id": device}),
            json!({"distinct_id": "b", "person_properties": {"$device_id": device}}),
        ] {
            assert_eq!(ask(other.clone()), first, "{other}");
        }
        variants.insert(first.as_str().unwrap().to_owned());
    }
    assert!(variants.len() > 5, "{variants:?}");
    for none in [json!({"distinct_id": "a"}), json!({"distinct_id": "a", "$device_id": null})] {
        assert_eq!(ask(none.clone()), false, "{none}");
    }
}
