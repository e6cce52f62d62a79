//! Tables as they were, through HTTP and the command line.

use serde_json::{Value, json};

use crate::harness::{Options, PROJECT, Server};

fn send(server: &Server, names: &[&str]) {
    let batch: Vec<Value> = names.iter().map(|name| json!({"event": name, "distinct_id": "d"})).collect();
    server.capture("/batch/", &json!({"api_key": PROJECT, "batch": batch}));
}

const NAMES: &str = "select string_agg(event, ' ' order by event) as names from events";

#[test]
fn the_past_can_be_asked_for() {
    let mut server = Options::new().start();
    send(&server, &["a", "b"]);
    server.stop();
    server.restart();
    send(&server, &["c"]);
    server.stop();
    server.restart();
    send(&server, &["d"]);
    assert_eq!(*server.sql(NAMES).one(), json!("a b c d"));

    let listed = server
        .sql("select snapshot_id, committed_at from lake.snapshots where table_name = 'events' order by committed_at")
        .rows;
    let [first, second] = listed.as_slice() else { panic!("not two snapshots: {listed:?}") };
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (first, first_at, second) = (text(&first[0]), text(&first[1]), text(&second[0]));
    let (at_first, at_second) = (format!("events:{first}"), format!("events:{second}"));
    for (arguments, expected) in [
        (vec!["--snapshot", &at_first], "a b"),
        (vec!["--snapshot", &at_second], "a b c"),
        (vec!["--as-of", &first_at], "a b"),
        (vec!["--as-of", "2999-01-01"], "a b c"),
        (vec!["--as-of", &first_at, "--snapshot", &at_second], "a b c"),
    ] {
        let output = server.run(&[&["sql", "--format", "csv", NAMES], arguments.as_slice()].concat());
        let answer = String::from_utf8_lossy(&output.stdout);
        assert_eq!(answer.lines().collect::<Vec<_>>(), ["names", expected], "{arguments:?}: {output:?}");
    }
    for arguments in [["--as-of", "2000-01-01"], ["--snapshot", "events:1"], ["--snapshot", "events"]] {
        let output = server.run(&[&["sql", NAMES], arguments.as_slice()].concat());
        assert!(!output.status.success() && !output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
    let authorization = format!("Bearer {}", server.read_token());
    let headers = [("authorization", authorization.as_str()), ("accept", "text/csv")];
    let answer = server.post(&format!("/api/sql?snapshot={at_first}"), &headers, NAMES.as_bytes());
    assert_eq!(answer.text().lines().last(), Some("a b"), "{}", answer.text());
}
