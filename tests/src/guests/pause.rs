//! Commits stand still for guests: by hand, over the command line and its route.

use serde_json::json;

use crate::harness::{ADMIN, Options, PROJECT, Server, wait_for};

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

#[test]
fn no_commit_is_made_while_paused() {
    let server = Options::new().interval("200ms").admin().start();
    let send = || server.capture("/i/v0/e/", &json!({"api_key": PROJECT, "event": "e", "distinct_id": "d"}));
    let sealed = || {
        let metrics = server.metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix("hogflare_sealed_rows_total{table=\"events\"} "));
        value.map_or(0, |value| value.trim().parse().expect("a number"))
    };
    send();
    wait_for("the first commit", || (server.committed_rows("hogflare_events") == 1).then_some(()));
    maintain(&server, &["pause", "events", "--for", "10m"]).unwrap();
    let before: u64 = sealed();
    // Sealed twice means that a commit was due at least once.
    for rows in 1..=2 {
        send();
        wait_for("the seal", || (sealed() == before + rows).then_some(()));
    }
    assert_eq!(server.committed_rows("hogflare_events"), 1);
    assert_eq!(server.count("hogflare_events"), 3, "our own queries wait for nothing");
    maintain(&server, &["resume", "events"]).unwrap();
    wait_for("the commit", || (server.committed_rows("hogflare_events") == 3).then_some(()));
}
