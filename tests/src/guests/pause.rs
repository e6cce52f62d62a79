//! Commits stand still for guests: by hand, over the command line and its route.

use serde_json::json;

use crate::harness::{ADMIN, Options, Server, wait_for};

fn maintain(server: &Server, arguments: &[&str]) -> Result<String, String> {
    let arguments = [&["maintain"], arguments, &["--url", server.url()]].concat();
    let output = server.hogflare(&arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn is_paused(server: &Server) -> bool {
    let metrics = server.metrics();
    match metrics.lines().find_map(|line| line.strip_prefix("hogflare_commit_paused{table=\"events\"} ")) {
        Some(value) => value.trim() == "1",
        None => false,
    }
}

#[test]
fn a_person_pauses_and_resumes_commits() {
    let server = Options::new().admin().start();
    // The server's own environment names the token.
    let said = maintain(&server, &["pause", "events", "--for", "10m"]).unwrap();
    assert!(said.contains("stand still until"), "{said}");
    wait_for("the metric", || is_paused(&server).then_some(()));
    let said = maintain(&server, &["resume", "hogflare_events"]).unwrap();
    assert!(said.contains("go on"), "{said}");
    wait_for("the metric", || (!is_paused(&server)).then_some(()));

    for (arguments, reason) in [
        (vec!["pause", "event"], "there are events, dead_letter"),
        (vec!["pause", "events", "--for", "2h"], "from 1 to 3600"),
        (vec!["pause", "events", "--for", "10"], "has no unit"),
        (vec!["resume", "event"], "there are events, dead_letter"),
        (vec!["resume", "events", "--token", "no-token"], "token"),
        (vec!["resume", "events", "--token", server.read_token()], "may read only"),
    ] {
        let error = maintain(&server, &arguments).unwrap_err();
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
}

#[test]
fn the_route_says_until_when() {
    let server = Options::new().admin().start();
    let post = |what: &str, body: &str| {
        let authorization = format!("Bearer {ADMIN}");
        let answer =
            server.post(&format!("/api/maintain/{what}"), &[("authorization", &authorization)], body.as_bytes());
        (answer.status, answer.json())
    };
    let (status, answer) = post("pause", r#"{"table":"events","for_seconds":600}"#);
    assert_eq!((status, &answer["table"]), (200, &json!("events")));
    assert!(answer["paused_until"].as_str().unwrap().ends_with('Z'), "{answer}");
    let (status, answer) = post("resume", r#"{"table":"events"}"#);
    assert_eq!((status, answer), (200, json!({"table": "events", "paused_until": null})));
    for body in ["", "[]", r#"{"table":"events"}"#, r#"{"table":"events","for_seconds":0}"#, r#"{"for_seconds":5}"#] {
        let (status, answer) = post("pause", body);
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_request")), "{body}");
    }
}
