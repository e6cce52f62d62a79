//! The file of flags: what is refused, what a change does, which project has which flags, and who may fetch them.

use serde_json::{Value, json};

use super::{KEY, flag, options, values};
use crate::harness::http::Answer;
use crate::harness::setting::Setting;
use crate::harness::{Options, PROJECT, Server, wait_for};

fn everybody() -> Value {
    json!([{"properties": [], "rollout_percentage": 100}])
}

fn with_property(property: Value) -> String {
    json!([flag("beta", json!([{"properties": [property], "rollout_percentage": 100}]))]).to_string()
}

/// Files that cannot be used, and the words that say why.
fn bad_files() -> Vec<(String, Vec<&'static str>)> {
    let variants = json!([{"key": "a", "rollout_percentage": 70}, {"key": "b", "rollout_percentage": 60}]);
    let mut too_many = flag("beta", everybody());
    too_many["filters"]["multivariate"] = json!({"variants": variants});
    vec![
        ("[\n{\"key\": }]".to_owned(), vec!["line 2 column 9"]),
        ("{\"flags\": 5}".to_owned(), vec!["flags", "must be a list, not a number"]),
        (
            with_property(json!({"key": "p", "value": 1, "operator": "resembles"})),
            vec!["flag \"beta\"", "groups[0].properties[0].operator", "unknown operator \"resembles\"", "icontains"],
        ),
        (
            with_property(json!({"key": "p", "value": "a(b", "operator": "regex"})),
            vec!["flag \"beta\"", "groups[0].properties[0].value", "does not compile", "unclosed group"],
        ),
        (json!([too_many]).to_string(), vec!["flag \"beta\"", "the variants sum to 130 percent, more than 100"]),
        (
            json!([flag("beta", json!([{"rollout_percentage": 101}]))]).to_string(),
            vec!["flag \"beta\"", "rollout_percentage", "101 is not a percentage"],
        ),
        (json!([flag("beta", json!([])), flag("beta", json!([]))]).to_string(), vec!["flags[1].key", "\"beta\""]),
        (
            with_property(json!({"key": "id", "value": 4, "type": "cohort", "operator": "in"})),
            vec!["flag \"beta\"", "cohort"],
        ),
        (
            json!({"projects": {"phc_a": [flag("", json!([]))]}}).to_string(),
            vec!["project \"phc_a\"", "a flag needs a key"],
        ),
    ]
}

#[test]
fn a_file_that_cannot_be_used_is_refused_at_the_start() {
    let server = Options::new().start();
    let folder = server.data_dir().display().to_string();
    for (text, words) in bad_files() {
        let setting = Setting::new("flags.json", &text);
        for (value, place) in [(setting.path(), setting.path()), (text.as_str(), "--feature-flags")] {
            let output = server.hogflare_with(&options(value), &["config", "--data-dir", &folder]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{text}: {said}");
            for word in words.iter().chain(&["--feature-flags", place]) {
                assert!(said.contains(word), "{text}: no {word:?} in {said}");
            }
        }
    }
    let missing = server.hogflare_with(&options("/nowhere/flags.json"), &["config", "--data-dir", &folder]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains("cannot read the feature flags in /nowhere/flags.json"), "{said}");
}

#[test]
fn a_changed_file_holds_without_a_restart_and_a_bad_one_does_not() {
    let setting = Setting::new("flags.json", "[]");
    let server = options(setting.path()).start();
    let beta = || values(&server, json!({"distinct_id": "d"}))["beta"].clone();
    let has_flags = || server.get(&format!("/array/{PROJECT}/config"), &[]).json()["hasFeatureFlags"].clone();
    let definitions = || definitions(&server, KEY, Some(PROJECT));
    assert_eq!((beta(), has_flags()), (Value::Null, json!(false)));
    assert_eq!(definitions().json()["flags"], json!([]));

    setting.write(&json!([flag("beta", everybody())]).to_string());
    wait_for("the flag", || (beta() == true).then_some(()));
    assert_eq!(has_flags(), true);
    let told = definitions();
    assert_eq!(told.json()["flags"][0]["key"], "beta");

    let complaints = || server.log().matches("the new version of the feature flags cannot be used").count();
    for (count, (text, words)) in bad_files().into_iter().enumerate() {
        setting.write(&text);
        wait_for("the complaint", || (complaints() == count + 1).then_some(()));
        let log = server.log();
        let complaint = log.lines().rfind(|line| line.contains("cannot be used")).unwrap();
        for word in words {
            // The log may write quotes inside of text with a backslash.
            assert!(complaint.replace('\\', "").contains(word), "no {word:?} in {complaint}");
        }
        assert_eq!(beta(), true, "{text}");
        assert_eq!(definitions().header("etag"), told.header("etag"), "{text}");
    }
    setting.remove();
    let count = bad_files().len() + 1;
    wait_for("the complaint", || (complaints() == count).then_some(()));
    assert_eq!(beta(), true);

    setting.write(&json!([flag("beta", json!([{"rollout_percentage": 0}]))]).to_string());
    wait_for("the last file", || (beta() == false).then_some(()));
    assert_ne!(definitions().header("etag"), told.header("etag"));
    assert_eq!(complaints(), count, "a change is told once: {}", server.log());
}

#[test]
fn what_looks_like_a_mistake_is_said() {
    let mut odd = flag("beta", json!([{"rollout_percentage": 50, "variant": "nope"}]));
    odd["colour"] = json!("red");
    let setting = Setting::new("flags.json", &json!([odd]).to_string());
    let server = options(setting.path()).start();
    let config = server.hogflare_with(&options(setting.path()), &["config", "--data-dir", "elsewhere"]);
    let times = |words: &str| server.log().replace('\\', "").matches(words).count();
    for words in ["flag \"beta\": unknown field \"colour\"", "there is no variant \"nope\""] {
        assert_eq!(times(words), 1, "{words}: {}", server.log());
        let said = String::from_utf8_lossy(&config.stderr).into_owned();
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    odd["color"] = json!("red");
    setting.write(&json!([odd]).to_string());
    wait_for("the other mistake", || (times("unknown field \"color\"") == 1).then_some(()));
}

fn definitions(server: &Server, key: &str, token: Option<&str>) -> Answer {
    let query = token.map(|token| format!("?token={token}&send_cohorts")).unwrap_or_default();
    server.get(&format!("/flags/definitions{query}"), &[("authorization", &format!("Bearer {key}"))])
}

fn keys(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    body["flags"].as_array().unwrap().iter().map(|flag| flag["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn projects_have_their_own_flags_and_keys() {
    let mut own = flag("own", everybody());
    own["filters"]["payloads"] = json!({"true": "\"of a\""});
    let file = json!({"projects": {"phc_a": [own]}, "flags": [flag("common", everybody())]});
    let list = json!([{"token": "phc_a"}, {"token": "phc_b"}, {"token": "phc_c"}]);
    let of_keys = "all:phs_all_projects; a:phs_of_a_alone:phc_a; ab:phs_of_a_and_b:phc_a,phc_b";
    let server = Options::new()
        .set("HOGFLARE_FEATURE_FLAGS", &file.to_string())
        .set("HOGFLARE_PROJECTS", &list.to_string())
        .set("HOGFLARE_FLAG_KEYS", of_keys)
        .start();
    for (token, expected) in [("phc_a", "own"), ("phc_b", "common"), ("phc_c", "common")] {
        let question = json!({"token": token, "distinct_id": "d"});
        let answer = super::post(&server, "/flags?v=2", &question).json();
        assert_eq!(answer["featureFlags"], json!({expected: true}), "{token}");
    }
    let path = |token: Option<&str>| {
        let query = token.map(|token| format!("?token={token}")).unwrap_or_default();
        format!("/api/projects/@current/feature_flags/own/remote_config{query}")
    };
    for (key, token, expected) in [
        ("phs_all_projects", Some("phc_a"), Ok("own")),
        ("phs_all_projects", Some("phc_c"), Ok("common")),
        ("phs_all_projects", Some("phc_other"), Err("unknown_token")),
        ("phs_all_projects", None, Err("missing_token")),
        ("phs_of_a_alone", Some("phc_a"), Ok("own")),
        ("phs_of_a_alone", None, Ok("own")),
        ("phs_of_a_alone", Some("phc_b"), Err("invalid_token")),
        ("phs_of_a_and_b", Some("phc_b"), Ok("common")),
        ("phs_of_a_and_b", Some("phc_c"), Err("invalid_token")),
        ("phs_of_a_and_b", None, Err("missing_token")),
        ("phs_nobody_has", Some("phc_a"), Err("invalid_token")),
        ("phc_a", Some("phc_a"), Err("invalid_token")),
        ("", Some("phc_a"), Err("invalid_token")),
    ] {
        let place = format!("{key} {token:?}");
        let told = definitions(&server, key, token);
        let payload = server.get(&path(token), &[("authorization", &format!("Bearer {key}"))]);
        match expected {
            Ok(flag) => {
                assert_eq!(keys(&told), [flag], "{place}");
                let expected = if flag == "own" { r#""\"of a\"""# } else { "" };
                assert_eq!((payload.status, payload.text().as_str()), (200, expected), "{place}");
            }
            Err(code) => {
                for answer in [told, payload] {
                    answer.assert_sdk_error(401);
                    assert_eq!(answer.json()["code"], code, "{place}");
                }
            }
        }
    }
    for path in ["/flags/definitions?token=phc_a", "/api/feature_flag/local_evaluation/?token=phc_a"] {
        server.get(path, &[]).assert_sdk_error(401);
        let read_token = server.get(path, &[("authorization", &format!("Bearer {}", server.read_token()))]);
        read_token.assert_sdk_error(401);
        assert!(read_token.text().contains("a key of HOGFLARE_FLAG_KEYS is needed"), "{}", read_token.text());
        let right = server.get(path, &[("authorization", "bearer phs_all_projects")]);
        assert_eq!(keys(&right), ["own"], "{path}");
    }
    for secret in of_keys.split(':').filter(|part| part.starts_with("phs_")) {
        let secret = secret.split(';').next().unwrap();
        assert!(!server.log().contains(secret) && !server.config().contains(secret), "{secret}");
    }
}

#[test]
fn without_keys_nobody_fetches_definitions() {
    let server = Options::new().set("HOGFLARE_FEATURE_FLAGS", &json!([flag("beta", everybody())]).to_string()).start();
    for key in ["", KEY, server.read_token()] {
        let answer = definitions(&server, key, Some(PROJECT));
        answer.assert_sdk_error(401);
        assert!(answer.text().contains("set HOGFLARE_FLAG_KEYS to name:secret"), "{}", answer.text());
    }
}
