//! Projects: who may send, what is stored for each, and tokens that read single ones.

use serde_json::{Value, json};

use crate::harness::http::{self, Answer};
use crate::harness::setting::Setting;
use crate::harness::{ADMIN, Options, Server, wait_for};

use super::tokens::READ_ROUTES;

const JSON: (&str, &str) = ("content-type", "application/json");

/// Every route of the SDKs that names a project in its body.
const SDK_ROUTES: [&str; 12] = [
    "/capture",
    "/track",
    "/engage",
    "/e",
    "/i/v0/e",
    "/batch",
    "/identify",
    "/alias",
    "/groups",
    "/s",
    "/flags",
    "/decide",
];

fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    server.post(path, &[&[JSON], headers].concat(), body.to_string().as_bytes())
}

/// A body that each of [`SDK_ROUTES`] takes.
fn any_body(token: &str) -> Value {
    json!({
        "api_key": token, "event": "e", "distinct_id": "d", "alias": "a", "group_type": "company", "group_key": "k",
        "properties": {"a": 1},
    })
}

fn event(token: &str, name: &str, properties: Value) -> Value {
    json!({"api_key": token, "event": name, "distinct_id": "same", "properties": properties})
}

#[test]
fn unknown_tokens_are_refused_on_every_sdk_route() {
    let server = Options::new().set("HOGFLARE_PROJECTS", r#"[{"token":"phc_a"},{"token":"phc_b"}]"#).start();
    assert!(server.log().contains("events of 2 projects are taken"), "{}", server.log());
    for route in SDK_ROUTES {
        for path in [route.to_owned(), format!("{route}/")] {
            for token in ["phc_other", "PHC_A", "phc_a_"] {
                let answer = post(&server, &path, &[], &any_body(token));
                answer.assert_sdk_error(401);
                assert_eq!(answer.json()["code"], "unknown_token", "{path} {token}");
                assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
            }
            for token in ["phc_a", " phc_b "] {
                let answer = post(&server, &path, &[], &any_body(token));
                assert_eq!(answer.status, 200, "{path} {token}: {}", answer.text());
            }
        }
    }
    for path in ["/flags?v=2&token=phc_other", "/decide?token=phc_other", "/flags", "/decide"] {
        server.get(path, &[]).assert_sdk_error(401);
    }
    for file in ["config", "config.js"] {
        assert_eq!(server.get(&format!("/array/phc_a/{file}"), &[]).status, 200, "{file}");
        let missing = server.get(&format!("/array/phc_other/{file}"), &[]);
        assert_eq!((missing.status, missing.header("access-control-allow-origin")), (404, Some("*")), "{file}");
    }
    for table in ["events", "dead_letter"] {
        let others = format!("{table} where api_key is null or api_key not in ('phc_a', 'phc_b')");
        assert_eq!(server.count(&others), 0, "{table}");
    }
    assert_eq!(server.count("events where api_key = 'phc_b'"), 18);
}

#[test]
fn without_a_list_every_token_is_a_project() {
    let server = Options::new().start();
    assert!(server.log().contains("any well-formed project token is accepted"), "{}", server.log());
    assert!(server.config().contains("every well-formed token"), "{}", server.config());
    server.capture("/e/", &event("phc_other", "e", json!({})));
    assert_eq!(server.get("/array/phc_other/config", &[]).status, 200);
    assert_eq!(post(&server, "/flags?v=2", &[], &any_body("phc_other")).status, 200);
}

#[test]
fn a_project_has_its_own_settings() {
    let list = json!([
        {"token": "phc_a", "team_id": 7, "group_types": [null, "company"], "store_ip": false},
        {"token": "phc_b"},
    ]);
    let server = Options::new()
        .set("HOGFLARE_PROJECTS", &list.to_string())
        .set("POSTHOG_TEAM_ID", "1")
        .set("POSTHOG_GROUP_TYPE_0", "company")
        .start();
    let sent = json!({"$ip": "192.0.2.77", "$groups": {"company": "acme"}, "a": 1});
    for token in ["phc_a", "phc_b"] {
        server.capture("/e/", &event(token, "sent", sent.clone()));
        server.capture("/e/", &event(token, "added", json!({"a": 1})));
        let batch = json!([{"event": "top", "distinct_id": "d", "ip": "192.0.2.77"}, {"ip": "192.0.2.77", "$ip": "192.0.2.77"}]);
        server.capture("/batch/", &json!({"api_key": token, "batch": batch}));
    }
    let rows = server.sql(
        "select api_key, event, json_get_str(properties, '$ip') as ip, team_id, group0, group1 from events order by 1, 2",
    );
    assert_eq!(
        json!(rows.rows),
        json!([
            ["phc_a", "added", null, 7, null, null],
            ["phc_a", "sent", null, 7, null, "acme"],
            ["phc_a", "top", null, 7, null, null],
            ["phc_b", "added", "127.0.0.1", 1, null, null],
            ["phc_b", "sent", "192.0.2.77", 1, "acme", null],
            ["phc_b", "top", "192.0.2.77", 1, null, null],
        ])
    );
    let kept = "from dead_letter where encode(raw, 'hex') like '%3139322e302e322e3737%'";
    let kept = server.sql(&format!("select api_key {kept} union all select api_key from events where concat(properties, extra) like '%192.0.2.77%' and api_key = 'phc_a'"));
    assert_eq!(
        json!(kept.rows),
        json!([["phc_b"]]),
        "addresses in dead letters, and in what a project without them holds"
    );
}

#[test]
fn pages_of_other_sites_are_refused() {
    let list =
        r#"[{"token":"phc_a","allowed_origins":["https://shop.example","https://*.shop.example"]},{"token":"phc_b"}]"#;
    let server = Options::new().set("HOGFLARE_PROJECTS", list).start();
    let config = |token: &str, file: &str| format!("/array/{token}/{file}");
    for (token, origin, allowed) in [
        ("phc_a", None, true),
        ("phc_a", Some("https://shop.example"), true),
        ("phc_a", Some("https://www.shop.example"), true),
        ("phc_a", Some("https://evil.example"), false),
        ("phc_a", Some("http://shop.example"), false),
        ("phc_a", Some("https://shop.example.evil.example"), false),
        ("phc_a", Some("null"), false),
        ("phc_b", Some("https://evil.example"), true),
    ] {
        let headers: Vec<(&str, &str)> = origin.map(|origin| ("origin", origin)).into_iter().collect();
        let posted = SDK_ROUTES.map(|path| (path.to_owned(), post(&server, path, &headers, &any_body(token))));
        let read =
            ["config", "config.js"].map(|file| (config(token, file), server.get(&config(token, file), &headers)));
        for (path, answer) in posted.into_iter().chain(read) {
            assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{path} {origin:?}: {}", answer.text());
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin.unwrap_or("*")), "{path} {origin:?}");
            if !allowed {
                answer.assert_sdk_error(403);
                assert_eq!(answer.json()["code"], "origin_not_allowed", "{path}");
            }
        }
    }
    let preflight = http::send("OPTIONS", &format!("{}/e/", server.url()), &[("origin", "https://evil.example")], None);
    assert_eq!(preflight.unwrap().status, 200, "which project is asked for is not known yet");
}

fn status(server: &Server, token: &str) -> u16 {
    post(server, "/e/", &[], &any_body(token)).status
}

#[test]
fn a_changed_list_holds_without_a_restart_and_a_bad_one_does_not() {
    let list = Setting::new("projects.json", r#"[{"token":"phc_a"}]"#);
    let server = Options::new().set("HOGFLARE_PROJECTS", list.path()).start();
    let statuses = || ["phc_a", "phc_b"].map(|token| status(&server, token));
    let times = |words: &str| server.log().matches(words).count();
    assert_eq!(statuses(), [200, 401]);

    list.write(r#"[{"token":"phc_b","team_id":9}]"#);
    wait_for("the new list", || (statuses() == [401, 200]).then_some(()));
    assert_eq!(*server.sql("select max(team_id) from events").one(), json!(9));

    let of_company = event("phc_b", "e", json!({"$groups": {"company": "acme"}}));
    assert_eq!(post(&server, "/e/", &[], &of_company).status, 200);
    let other_group = r#"[{"token":"phc_b","group_types":["team"]}]"#;
    for (count, bad) in [(1, r#"[{"token":"phc_a","colour":1}]"#), (2, "[{"), (3, other_group)] {
        list.write(bad);
        wait_for("the complaint", || (times("cannot be used") == count).then_some(()));
        assert_eq!(statuses(), [401, 200], "the list before holds");
    }
    for why in ["unknown field `colour`", "are stored in the column group0"] {
        assert!(server.log().contains(why), "{}", server.log());
    }
    list.remove();
    wait_for("the complaint", || (times("cannot be used") == 4).then_some(()));
    assert_eq!(statuses(), [401, 200]);

    list.write(r#"[{"token":"phc_a"},{"token":"phc_b"}]"#);
    wait_for("the last list", || (statuses() == [200, 200]).then_some(()));
    assert_eq!(times("cannot be used"), 4, "a change is told once: {}", server.log());
}

#[test]
fn settings_that_are_wrong_are_refused_in_words() {
    let list = Setting::new("projects.json", "[{\"token\":\"phc_a\",\n\"time_zone\":\"Mars\"}]");
    let server = Options::new().start();
    let folder = server.data_dir();
    let config = |variable: &str, value: &str| {
        let options = Options::new().set(variable, value);
        hogflare(&server, options, &["config", "--data-dir", folder.to_str().unwrap()])
    };
    for (variable, value, words) in [
        (
            "HOGFLARE_PROJECTS",
            list.path(),
            vec!["--projects", "projects.json", "project 1 (phc_a)", "time_zone", "Mars"],
        ),
        ("HOGFLARE_PROJECTS", "[]", vec!["--projects", "1 to 10000"]),
        (
            "HOGFLARE_PROJECTS",
            "/nowhere/projects.json",
            vec!["cannot read the list of projects", "/nowhere/projects.json"],
        ),
        ("HOGFLARE_READ_TOKENS", "bi:12345678:", vec!["HOGFLARE_READ_TOKENS", "bi"]),
        ("HOGFLARE_READ_TOKENS", "a:12345678:phc_a;b:12345678", vec!["one secret"]),
        ("HOGFLARE_ADMIN_TOKENS", "ops:12345678:phc_a", vec!["HOGFLARE_ADMIN_TOKENS", "for all projects"]),
    ] {
        let (succeeded, text) = config(variable, value);
        assert!(!succeeded && words.iter().all(|word| text.contains(word)), "{variable}={value}: {text}");
    }
    list.write(r#"[{"token":"phc_a","name":"Shop","retention_days":{"events":90},"recording":true}]"#);
    let (succeeded, text) = config("HOGFLARE_PROJECTS", list.path());
    for words in [list.path(), "phc_a", "Shop", "events 90 days", "recording on", "UTC"] {
        assert!(succeeded && text.contains(words), "{words}: {text}");
    }
    let (_, text) = config("HOGFLARE_READ_TOKENS", "bi:a-secret-of-bi:phc_a,phc_b");
    assert!(text.contains("bi (only phc_a, phc_b)") && !text.contains("a-secret-of-bi"), "{text}");
}

/// Whether the binary succeeded in an environment, and what it said.
fn hogflare(server: &Server, options: Options, arguments: &[&str]) -> (bool, String) {
    let output = server.hogflare_with(&options, arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

const A: &str = "secret-of-reader-a";
const B: &str = "secret-of-reader-b";
const BOTH: &str = "secret-of-both";
const ALL: &str = "secret-of-all-projects";

/// Both projects have the same distinct ids, sessions and names of events: some rows in the table, others
/// in memory.
fn two_projects() -> Server {
    let tokens = format!("a:{A}:phc_a; b:{B}:phc_b; both:{BOTH}:phc_a,phc_b; all:{ALL}");
    let mut server = Options::new().admin().set("HOGFLARE_READ_TOKENS", &tokens).start();
    for part in ["committed", "tail"] {
        for (token, count) in [("phc_a", 2), ("phc_b", 3)] {
            for index in 0..count {
                let properties = json!({"$session_id": "session", "secret": format!("of {token}"), "n": index});
                server.capture("/e/", &event(token, part, properties));
            }
            let bad = json!([{"event": "good", "distinct_id": "same", "properties": {"$session_id": "session"}}, {"event": ""}]);
            server.capture("/batch/", &json!({"api_key": token, "batch": bad}));
        }
        if part == "committed" {
            server.stop();
            server.restart();
        }
    }
    server
}

fn ask(server: &Server, secret: &str, mut request: Value) -> Answer {
    request["row_limit"] = json!(1_000);
    let authorization = format!("Bearer {secret}");
    post(server, "/api/sql", &[("authorization", &authorization)], &request)
}

#[test]
fn tokens_of_single_projects_read_these_alone() {
    let server = two_projects();
    let as_of = server.sql("select max(committed_at) from lake.snapshots").one().as_str().unwrap().to_owned();
    for table in [
        "events",
        "lake.hogflare_events",
        "\"default\".hogflare_events",
        "(with x as (select * from events) select * from x)",
    ] {
        for (secret, a, b) in [(A, 6, 0), (B, 0, 8), (BOTH, 6, 8), (ALL, 6, 8)] {
            let sql = format!(
                "select count(*), count(*) filter (where api_key = 'phc_a'), count(*) filter (where api_key = 'phc_b'), \
                 count(distinct api_key) from {table} t"
            );
            let projects = u8::from(a > 0) + u8::from(b > 0);
            let answer = ask(&server, secret, json!({"sql": sql}));
            assert_eq!(answer.json()["rows"], json!([[a + b, a, b, projects]]), "{secret} {sql}: {}", answer.text());
            let (a, b) = (a / 2, b / 2);
            for past in [json!({"as_of": as_of}), json!({"snapshots": {}}), json!({"snapshots": {"events": "main"}})] {
                let mut request = past.clone();
                request["sql"] = json!(sql);
                let rows = &ask(&server, secret, request).json()["rows"];
                assert_eq!(*rows, json!([[a + b, a, b, projects]]), "{secret} {sql} {past}");
            }
        }
    }
    for (sql, a, b) in [
        ("select count(*) from events x join events y using (session_id)", 36, 64),
        ("select count(*) from (select 1 from events limit 7)", 6, 7),
        ("select count(*) from (select 1 from events union all select 1 from lake.hogflare_events)", 12, 16),
        ("select count(*) from events where exists (select 1 from events where properties like '%of phc_b%')", 0, 8),
        ("select count(*) from dead_letter", 2, 2),
        ("select count(*) from lake.hogflare_dead_letter where api_key = 'phc_b'", 0, 2),
        ("select count(_position) from events", 0, 0),
    ] {
        for (secret, expected) in [(A, a), (B, b)] {
            let answer = ask(&server, secret, json!({"sql": sql}));
            assert_eq!(answer.json()["rows"], json!([[expected]]), "{secret} {sql}: {}", answer.text());
        }
    }
    let sql = "select event, properties, api_key from events order by 1, 2";
    for format in ["json", "ndjson", "csv", "arrow", "parquet"] {
        let answer = ask(&server, A, json!({"sql": sql, "format": format}));
        assert_eq!(answer.status, 200, "{format}: {}", answer.text());
        assert!(answer.text().contains("phc_a") && !answer.text().contains("phc_b"), "{format}: {}", answer.text());
    }
    for sql in ["explain analyze select count(*) from events", "select count(*) from lake.snapshots"] {
        let refused = ask(&server, A, json!({"sql": sql}));
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (403, &json!("forbidden")), "{sql}");
        assert_eq!(ask(&server, ALL, json!({"sql": sql})).status, 200, "{sql}");
    }
    let explained = ask(&server, A, json!({"sql": "explain select count(event) from events"})).text();
    assert!(explained.contains("ScopedExec") && !explained.contains("parquet"), "{explained}");
    let stats = |secret| ask(&server, secret, json!({"sql": "select event from events"})).json()["stats"].clone();
    assert!(stats(A).get("rows_scanned").is_none() && stats(A).get("files_scanned").is_none(), "{}", stats(A));
    assert!(stats(ALL)["rows_scanned"].as_u64().is_some_and(|rows| rows > 0), "{}", stats(ALL));
}

#[test]
fn tokens_of_single_projects_open_sql_alone() {
    let server = two_projects();
    for (method, path) in READ_ROUTES {
        for secret in [A, BOTH] {
            let authorization = format!("Bearer {secret}");
            let headers = [JSON, ("authorization", authorization.as_str())];
            let body = (method == "POST").then_some(br#"{"sql":"select 1"}"#.as_slice());
            let answer = http::send(method, &format!("{}{path}", server.url()), &headers, body).unwrap();
            let not_there_yet = answer.status == 404
                && ["/replay", "/analytics", "/api/metrics"].iter().any(|route| path.starts_with(route));
            let expected = if path.starts_with("/api/sql") { 200 } else { 403 };
            assert!(answer.status == expected || not_there_yet, "{method} {path}: {} {}", answer.status, answer.text());
            assert!(!answer.text().contains("phc_b"), "{method} {path}: {}", answer.text());
            if answer.status == 403 {
                assert!(
                    answer.text().contains("this token reads single projects"),
                    "{method} {path}: {}",
                    answer.text()
                );
            }
        }
    }
    for path in
        ["/api/audit", "/metrics", "/iceberg/v1/config", "/iceberg/v1/namespaces/default/tables/hogflare_events"]
    {
        for (secret, expected) in [(ALL, 200), (ADMIN, 200), (B, 403)] {
            let answer = server.get(path, &[("authorization", &format!("Bearer {secret}"))]);
            assert_eq!(answer.status, expected, "{path}: {}", answer.text());
        }
    }
    let login = |secret: &str| {
        let body = format!("grant_type=client_credentials&client_id=x&client_secret={secret}");
        let form = ("content-type", "application/x-www-form-urlencoded");
        server.post("/iceberg/v1/oauth/tokens", &[form], body.as_bytes()).status
    };
    assert_eq!((login(A), login(ALL), login("nobody's")), (403, 200, 401));

    let counted = server.run(&["sql", "select count(*) as n from events", "--format", "csv", "--token", A]);
    assert_eq!(String::from_utf8_lossy(&counted.stdout), "n\r\n6\r\n", "{counted:?}");
    let audit = server.run(&["audit", "--token", A]);
    assert_eq!(audit.status.code(), Some(2), "{audit:?}");
    assert!(String::from_utf8_lossy(&audit.stderr).contains("single projects"), "{audit:?}");
}
