//! What browsers load and ask at the start, as they see it from another origin.

use serde_json::{Value, json};

use crate::harness::http::{self, Answer};
use crate::harness::{Options, PROJECT, Server, skipped};

const ORIGIN: (&str, &str) = ("origin", "https://shop.example");
const SCRIPT: Option<&str> = Some("application/javascript; charset=utf-8");
/// The release in `web/package-lock.json`.
const RELEASE: &str = "1.449.2";

fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[ORIGIN], headers].concat();
    http::send(method, &format!("{}{path}", server.url()), &headers, None).unwrap()
}

fn assert_readable_across_origins(answer: &Answer, at: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN.1), "{at}");
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{at}");
    assert!(answer.headers.get_all("vary").iter().any(|value| value == "Origin"), "{at}");
}

/// A caller that has the answer gets none.
fn assert_conditional(server: &Server, path: &str) {
    let answer = ask(server, "GET", path, &[]);
    let tag = answer.header("etag").unwrap_or_else(|| panic!("{path} has no ETag")).to_owned();
    let again = ask(server, "GET", path, &[("if-none-match", &tag)]);
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag.as_str())), "{path}");
    assert_readable_across_origins(&again, path);
    assert_eq!(ask(server, "GET", path, &[("if-none-match", "\"other\"")]).status, 200, "{path}");
}

#[test]
fn scripts_are_served_under_both_addresses() {
    if skipped("web") {
        return;
    }
    let server = Options::new().start();
    const FOR_EVER: &str = "public, max-age=31536000, immutable";
    const A_DAY: &str = "public, max-age=86400";
    const FIVE_MINUTES: &str = "public, max-age=300";
    for (path, cache_control, part) in [
        ("/static/array.js".to_owned(), FIVE_MINUTES, "posthog"),
        ("/static/array.full.js".to_owned(), FIVE_MINUTES, "posthog"),
        (format!("/static/{RELEASE}/posthog-recorder.js"), FOR_EVER, "rrweb"),
        (format!("/static/surveys.js?v={RELEASE}"), FOR_EVER, "survey"),
        ("/static/1.434.18/lazy-recorder.js".to_owned(), A_DAY, "rrweb"),
        ("/static/recorder.js?v=1.236.0".to_owned(), A_DAY, "rrweb"),
        (format!("/array/{PROJECT}/array.js"), FIVE_MINUTES, "_POSTHOG_REMOTE_CONFIG['phc_test']={config:"),
    ] {
        let plain = ask(&server, "GET", &path, &[("accept-encoding", "identity")]);
        assert_eq!((plain.status, plain.header("content-type")), (200, SCRIPT), "{path}");
        assert_eq!(plain.header("cache-control"), Some(cache_control), "{path}");
        assert!(plain.header("content-encoding").is_none(), "{path}");
        assert!(plain.text().contains(part) && !plain.text().contains("sourceMappingURL"), "{path}");
        assert_readable_across_origins(&plain, &path);
        assert_conditional(&server, &path);

        let zipped = ask(&server, "GET", &path, &[("accept-encoding", "br, gzip")]);
        assert_eq!(zipped.header("content-encoding"), Some("gzip"), "{path}");
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&zipped.body[..]), &mut text).unwrap();
        assert!(text == plain.body, "{path} differs when it is compressed");

        let head = ask(&server, "HEAD", &path, &[("accept-encoding", "identity")]);
        let length = plain.body.len().to_string();
        assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some(length.as_str())));
        assert_preflight(&server, &path, "GET");
    }
}

fn assert_preflight(server: &Server, path: &str, method: &str) {
    let headers = [("access-control-request-method", method), ("access-control-request-headers", "content-type,x-own")];
    let answer = ask(server, "OPTIONS", path, &headers);
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
    assert_readable_across_origins(&answer, path);
    assert!(answer.header("access-control-allow-methods").is_some_and(|methods| methods.contains(method)), "{path}");
    assert_eq!(answer.header("access-control-allow-headers"), Some("content-type,x-own"), "{path}");
}

/// posthog-js tries its other address after an error only, and a page with status 200 would be none.
#[test]
fn what_is_no_script_is_not_found() {
    let server = Options::new().start();
    for path in [
        "/static/toolbar.js",
        "/static/1.449.2/toolbar.js",
        "/static/nothing.js",
        "/static/array",
        "/static/array.js.gz",
        "/static/version",
        "/static/..%2f..%2fread-token.js",
        "/static/%2e%2e/array.txt",
        "/array/a'b/array.js",
        "/array/a'b/config.js",
        "/array/%3Cscript%3E/config",
    ] {
        let answer = ask(&server, "GET", path, &[]);
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(!answer.text().is_empty() && !answer.text().contains('<'), "{path}: {}", answer.text());
        assert_readable_across_origins(&answer, path);
    }
    let answer = ask(&server, "DELETE", "/static/array.js", &[]);
    answer.assert_sdk_error(405);
    assert_readable_across_origins(&answer, "DELETE");
}

#[test]
fn the_remote_configuration_follows_the_settings() {
    let default = Options::new().start();
    assert_switches(&default, json!([false, false, false, false, false]));
    let on = ["HEATMAPS", "DEAD_CLICKS", "WEB_VITALS", "EXCEPTIONS"];
    let changed = on.into_iter().fold(Options::new(), |options, name| options.set(&format!("HOGFLARE_{name}"), "on"));
    let changed = changed.argument("--autocapture").argument("off").start();
    assert_switches(&changed, json!([true, true, true, true, true]));
    let tags = [&default, &changed].map(|server| {
        let answer = ask(server, "GET", &format!("/array/{PROJECT}/config"), &[]);
        answer.header("etag").expect("an ETag").to_owned()
    });
    assert_ne!(tags[0], tags[1]);
}

fn assert_switches(server: &Server, expected: Value) {
    for path in [format!("/array/{PROJECT}/config"), format!("/array/{PROJECT}/config.js")] {
        let answer = ask(server, "GET", &path, &[]);
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("public, max-age=300")), "{path}");
        assert_readable_across_origins(&answer, &path);
        assert_conditional(server, &path);
        assert_preflight(server, &path, "GET");
        let text = answer.text();
        let config: Value = match text.split_once("={config:") {
            Some((_, rest)) => {
                assert_eq!(answer.header("content-type"), SCRIPT, "{path}");
                serde_json::from_str(rest.strip_suffix(",siteApps:[]}})();").unwrap_or(rest)).unwrap_or_default()
            }
            None => answer.json(),
        };
        assert_eq!(config["token"], PROJECT, "{text}");
        let switches = json!([
            config["autocapture_opt_out"],
            config["heatmaps"],
            config["captureDeadClicks"],
            config["capturePerformance"]["web_vitals"],
            config["errorTracking"]["autocaptureExceptions"],
        ]);
        assert_eq!(switches, expected, "{text}");
    }
    // Old SDKs get the same with their flags.
    let body = json!({"token": PROJECT, "distinct_id": "d"}).to_string();
    let decide = server.post("/decide/?v=3", &[("content-type", "application/json")], body.as_bytes()).json();
    assert_eq!(decide["autocapture_opt_out"], expected[0], "{decide}");
}

#[test]
fn what_hogflare_does_not_have_is_answered_with_nothing() {
    let server = Options::new().start();
    for (method, path, expected) in [
        ("GET", "/api/surveys", json!({"surveys": []})),
        ("GET", "/api/web_experiments", json!({"experiments": []})),
        ("GET", "/api/early_access_features", json!({"earlyAccessFeatures": []})),
        ("GET", "/api/product_tours", json!({"product_tours": []})),
        ("POST", "/api/push_subscriptions", json!({})),
        ("DELETE", "/api/push_subscriptions", json!({})),
    ] {
        for path in [path.to_owned(), format!("{path}/?token={PROJECT}")] {
            let answer = ask(&server, method, &path, &[]);
            assert_eq!((answer.status, answer.json()), (200, expected.clone()), "{method} {path}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
            assert_readable_across_origins(&answer, &path);
            assert_preflight(&server, &path, method);
            ask(&server, "PUT", &path, &[]).assert_sdk_error(405);
        }
    }
}
