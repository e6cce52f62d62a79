//! Tokens and keys: who gets which, and how long they are good.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{FakeLake, FakeSettings, Fault, ShiftedClock, Step};
use super::{NAMESPACES, Sender, TABLE, signature};

const TOKENS: &str = "/catalog/v1/oauth/tokens";
const LOGIN: &str = "grant_type=client_credentials&client_id=client&client_secret=client-secret";

#[tokio::test]
async fn a_wrong_token_is_refused_in_plain_text() {
    let fake = FakeLake::start(FakeSettings::default());
    for (authorization, heard) in
        [("Bearer catalog-token", "200"), ("Bearer other-token", "403 text"), ("Basic catalog-token", "401 text")]
    {
        let sender = Sender::new(&fake).authorized(authorization);
        assert_eq!(sender.hear("GET", NAMESPACES, "").await, heard, "{authorization}");
        let heard_of_config = sender.hear("GET", "/catalog/v1/config?warehouse=account_lake", "").await;
        assert_eq!(heard_of_config, heard, "{authorization}");
    }
}

#[tokio::test]
async fn tokens_are_lent_to_known_clients_and_end() {
    let clock = Arc::new(ShiftedClock::default());
    let settings =
        FakeSettings { token_ttl: Duration::from_secs(60), clock: Arc::clone(&clock) as _, ..Default::default() };
    let fake = FakeLake::start(settings);
    let sender = Sender::new(&fake);
    assert_eq!(sender.hear("POST", TOKENS, LOGIN.replace("client-secret", "other")).await, "401 text");
    assert_eq!(sender.hear("POST", TOKENS, LOGIN.replace("client_credentials", "password")).await, "400 text");

    let lent = sender.send("POST", TOKENS, LOGIN).await.unwrap().bytes().await.unwrap();
    let lent: Value = serde_json::from_slice(&lent).unwrap();
    assert_eq!(lent["expires_in"], 60);
    let lent = Sender::new(&fake).authorized(&format!("Bearer {}", lent["access_token"].as_str().unwrap()));
    assert_eq!(lent.hear("GET", NAMESPACES, "").await, "200");
    clock.advance(Duration::from_secs(61));
    assert_eq!(lent.hear("GET", NAMESPACES, "").await, "401 text");
}

#[tokio::test]
async fn keys_are_lent_to_those_who_ask_and_end() {
    let clock = Arc::new(ShiftedClock::default());
    let ttl = Some(Duration::from_secs(60));
    let settings = FakeSettings { credential_ttl: ttl, clock: Arc::clone(&clock) as _, ..Default::default() };
    let fake = FakeLake::start(settings);
    let plain = Sender::new(&fake);
    plain.create_events(&fake).await;
    let loaded = plain.json("GET", TABLE, &Value::Null).await;
    assert_eq!((&loaded["config"], &loaded["storage-credentials"]), (&Value::Null, &Value::Null));

    let asking = Sender::new(&fake).header("x-iceberg-access-delegation", "vended-credentials");
    let loaded = asking.json("GET", TABLE, &Value::Null).await;
    let config = &loaded["config"];
    let expected = json!([{"prefix": loaded["metadata"]["location"], "config": config}]);
    assert_eq!(loaded["storage-credentials"], expected);
    assert_eq!(config["s3.endpoint"], fake.endpoint());
    assert_eq!((&config["s3.region"], &config["s3.path-style-access"]), (&json!("auto"), &json!("true")));
    assert!(config["s3.session-token-expires-at-ms"].as_str().unwrap().parse::<i64>().is_ok());

    let lent = |config: &Value| {
        let text = |name: &str| config[name].as_str().unwrap().to_owned();
        Sender::new(&fake)
            .authorized(&signature(&text("s3.access-key-id")))
            .header("x-amz-security-token", &text("s3.session-token"))
    };
    let old = lent(config);
    assert_eq!(old.hear("PUT", "/lake/a", "1").await, "200");
    let again = asking.json("GET", &format!("{TABLE}/credentials"), &Value::Null).await;
    let config = &again["storage-credentials"][0]["config"];
    assert_ne!(config["s3.session-token"], loaded["config"]["s3.session-token"]);
    clock.advance(Duration::from_secs(61));
    assert_eq!(old.hear("PUT", "/lake/a", "2").await, "403 ExpiredToken");

    // A fault ends the time of lent keys for good.
    let again = asking.json("GET", &format!("{TABLE}/credentials"), &Value::Null).await;
    let new = lent(&again["storage-credentials"][0]["config"]);
    assert_eq!(new.hear("GET", "/lake/a", "").await, "200");
    fake.script(Step::Get, Fault::ExpiredCredentials);
    assert_eq!(new.hear("GET", "/lake/a", "").await, "403 ExpiredToken");
    assert_eq!(new.hear("GET", "/lake/a", "").await, "403 ExpiredToken");
}

#[tokio::test]
async fn the_storage_knows_its_keys() {
    let fake = FakeLake::start(FakeSettings::default());
    let stranger = Sender::new(&fake).authorized(&signature("other-key"));
    assert_eq!(stranger.hear("PUT", "/lake/a", "1").await, "403 InvalidAccessKeyId");
    let unsigned = Sender::new(&fake).authorized("Bearer catalog-token");
    assert_eq!(unsigned.hear("PUT", "/lake/a", "1").await, "403 AccessDenied");
    let mixed = Sender::new(&fake).header("x-amz-security-token", "other");
    assert_eq!(mixed.hear("PUT", "/lake/a", "1").await, "403 InvalidAccessKeyId");
    assert!(fake.objects().is_empty());
}
