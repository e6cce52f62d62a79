//! No read without a token, at any address.

use serde_json::json;

use crate::harness::{ADMIN, Options, PROJECT, Server, http, skipped};

use super::front::{Front, KINDS};

/// Every way to read or change data; pages that are not there yet may be 404, but never answer.
pub(super) const READ_ROUTES: [(&str, &str); 15] = [
    ("GET", "/api/audit"),
    ("GET", "/api/sql?sql=select%201"),
    ("POST", "/api/sql"),
    ("GET", "/api/metrics"),
    ("GET", "/metrics"),
    ("GET", "/replay"),
    ("GET", "/replay/api/sessions"),
    ("GET", "/analytics"),
    ("GET", "/analytics/api/models"),
    ("GET", "/iceberg/v1/config"),
    ("GET", "/iceberg/v1/namespaces"),
    ("GET", "/iceberg/v1/namespaces/default/tables/hogflare_events"),
    ("POST", "/iceberg/v1/namespaces/default/tables/hogflare_events"),
    ("POST", "/api/maintain/pause"),
    ("POST", "/api/maintain/resume"),
];

#[test]
fn no_read_route_answers_without_a_token() {
    let server = Options::new().admin().start();
    check(server.url(), &server);
    assert_eq!(server.get_with_token("/iceberg/v1/config").status, 200, "the token itself works");
}

#[test]
fn no_read_route_answers_without_a_token_behind_a_proxy() {
    if skipped("clients") {
        return;
    }
    // --open-reads answers loopback callers without a token, but not what a proxy on this machine passes on.
    for open_reads in [false, true] {
        let options = match open_reads {
            true => Options::new().argument("--open-reads"),
            false => Options::new().set("HOGFLARE_TRUSTED_PROXIES", "127.0.0.1"),
        };
        let server = options.start();
        for kind in KINDS {
            let front = Front::before(kind, &server);
            check(front.url(), &server);
            let authorization = format!("Bearer {}", server.read_token());
            let config = format!("{}/iceberg/v1/config", front.url());
            let answer = http::send("GET", &config, &[("authorization", &authorization)], None).unwrap();
            assert_eq!(answer.status, 200, "the token works through {kind:?}: {}", answer.text());
        }
    }
}

fn check(url: &str, server: &Server) {
    let wrong = format!("Bearer {}x", server.read_token());
    let public = format!("Bearer {PROJECT}");
    for (method, path) in READ_ROUTES {
        for authorization in [None, Some("Bearer None"), Some(wrong.as_str()), Some(public.as_str())] {
            let mut headers = vec![("content-type", "application/json")];
            headers.extend(authorization.map(|value| ("authorization", value)));
            let body = (method == "POST").then_some(br#"{"sql":"select 1"}"#.as_slice());
            let answer = http::send(method, &format!("{url}{path}"), &headers, body).unwrap();
            let page_asks_for_login = answer.status == 303 && answer.header("location") == Some("/login");
            let not_there_yet = answer.status == 404
                && ["/replay", "/analytics", "/api/metrics"].iter().any(|route| path.starts_with(route));
            assert!(
                [401, 403].contains(&answer.status) || page_asks_for_login || not_there_yet,
                "{method} {path} with {authorization:?} answered {}: {}",
                answer.status,
                answer.text()
            );
            assert!(answer.header("access-control-allow-origin").is_none(), "{method} {path} is readable by any page");
        }
    }
}

#[test]
fn neither_log_nor_metrics_nor_settings_show_secrets_or_payloads() {
    let signing = "signing-secret-of-the-tests";
    let server = Options::new().admin().set("RUST_LOG", "info").start();
    let marked = "a-value-that-only-the-event-has";
    let event =
        json!({"api_key": "phc_only_here", "event": marked, "distinct_id": marked, "properties": {"a": marked}});
    server.capture("/e/", &event);
    server.post("/e/", &[("content-type", "application/json")], marked.as_bytes()).assert_sdk_error(400);
    let answer = server.sql_answer(&format!("select '{marked}' from no_such_table"), &[]);
    assert_eq!(answer.status, 400, "{}", answer.text());
    for (place, text) in [("log", server.log()), ("metrics", server.metrics()), ("config", server.config())] {
        for secret in [marked, "phc_only_here", ADMIN] {
            assert!(!text.contains(secret), "the {place} shows {secret}:\n{text}");
        }
    }
    let signed = Options::new().set("POSTHOG_SIGNING_SECRET", signing).start();
    assert!(!signed.config().contains(signing), "{}", signed.config());
    assert!(!signed.log().contains(signing), "{}", signed.log());
}
