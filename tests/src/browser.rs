//! posthog-js in Chromium, on a page of another origin than the server: html snippet, its own scripts and its remote
//! configuration from us, its events in the table as they happened.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::clients::{Client, installed};
use crate::harness::proxy::Proxy;
use crate::harness::{Options, PROJECT, Server, skipped, wait_for};

/// The release in `web/package-lock.json`.
const RELEASE: &str = "1.449.2";

fn cannot_run() -> bool {
    skipped("clients") || skipped("web")
}

/// A page that is open, and what it says of itself.
#[derive(Debug)]
struct Visit {
    client: Client,
    anonymous: Value,
    session: Value,
    page: String,
    site: String,
}

impl Visit {
    fn open(host: &str) -> Self {
        assert!(installed("HOGFLARE_TEST_CHROMIUM").is_file(), "no Chromium");
        let mut client = Client::node("posthog_browser.mjs");
        // Less than the usual 3 s between two sendings saves waiting; all else is what an application gets.
        let options = json!({"request_queue_config": {"flush_interval_ms": 250}});
        let opened = client.ask(&json!({"op": "open", "host": host, "token": PROJECT, "options": options}));
        let text = |name: &str| opened[name].as_str().expect("text").to_owned();
        Visit {
            client,
            anonymous: opened["distinct_id"].clone(),
            session: opened["session_id"].clone(),
            page: text("page"),
            site: text("site"),
        }
    }

    fn ask(&mut self, request: Value) -> Value {
        self.client.ask(&request)
    }

    fn call(&mut self, method: &str, arguments: Value) {
        self.ask(json!({"op": "call", "method": method, "arguments": arguments}));
    }

    fn click(&mut self, selector: &str) {
        self.ask(json!({"op": "click", "selector": selector}));
    }

    /// Waits until as many have run, and what they bring has begun.
    fn wait_for_scripts(&mut self, expected: &[String]) {
        let have_run = |found: &Value| found.as_array().is_some_and(|found| found.len() >= expected.len());
        let found = wait_for("scripts", || Some(self.ask(json!({"op": "scripts"}))).filter(have_run));
        assert_eq!(found, json!(expected));
    }

    fn close(mut self) {
        self.ask(json!({"op": "close"}));
    }
}

fn has_event(server: &Server, event: &str) -> bool {
    server.sql_with("select count(*) from hogflare_events where event = $1", &[json!(event)]).one() != 0
}

fn wait_for_event(server: &Server, event: &str) {
    wait_for(event, || has_event(server, event).then_some(()));
}

/// Clicks where nothing happens until this is known as a dead click, twice: to the heatmap too. Once is enough unless
/// the machine is slow: posthog-js looks every second, and forgets a click that it looks at 2.5 to 2.75 s later.
fn click_in_vain(server: &Server, visit: &mut Visit) {
    let in_heatmap = "hogflare_events where event = '$$heatmap' and properties like '%\"deadclick\"%'";
    let mut clicked = None;
    wait_for("a dead click", || {
        if clicked.is_none_or(|clicked: Instant| clicked.elapsed() > Duration::from_secs(12)) {
            visit.click("#dead");
            clicked = Some(Instant::now());
        }
        (has_event(server, "$dead_click") && server.count(in_heatmap) > 0).then_some(())
    });
}

#[test]
fn a_visit_in_chromium_is_stored_as_it_happened() {
    if cannot_run() {
        return;
    }
    let mut options = Options::new().set("POSTHOG_GROUP_TYPE_0", "company");
    for switch in ["HEATMAPS", "DEAD_CLICKS", "WEB_VITALS", "EXCEPTIONS"] {
        options = options.set(&format!("HOGFLARE_{switch}"), "on");
    }
    let server = options.start();
    let mut visit = Visit::open(server.url());
    // Surveys and recorder are not asked for.
    let scripts = ["array", "dead-clicks-autocapture", "exception-autocapture", "web-vitals-with-attribution"];
    visit.wait_for_scripts(&scripts.map(|name| format!("{name}.js")));
    click_in_vain(&server, &mut visit);
    visit.click("#buy");
    wait_for_event(&server, "$autocapture");

    visit.call("identify", json!(["user_1", {"plan": "pro"}, {"first_seen": "2026"}]));
    visit.call("group", json!(["company", "acme", {"name": "Acme"}]));
    visit.call("setPersonProperties", json!([{"color": "red"}, {"origin": "ad"}]));
    visit.call("capture", json!(["order placed", {"amount": 12.5, "items": ["a", "b"], "note": "größer als 5 € 🛒"}]));
    visit.ask(json!({"op": "fail", "message": "a handled one"}));
    visit.ask(json!({"op": "throw", "message": "nobody caught this"}));
    wait_for_event(&server, "$web_vitals");
    let beacons = visit.ask(json!({"op": "leave"}));
    // `/e/` is the address before the remote configuration was known, and `/i/v0/e/` the one that it names.
    let beacons = beacons.as_array().expect("a list");
    assert!(!beacons.is_empty() && beacons.iter().all(|path| path == "/i/v0/e/"), "{beacons:?}");
    wait_for_event(&server, "$pageleave");
    assert_posts(&visit.ask(json!({"op": "posts"})));
    assert_rows(&server, &visit);
    assert_dead_clicks(&server, &visit);
    assert_heatmap(&server, &visit);
    assert_web_vitals(&server, &visit);
    assert_eq!(server.count("hogflare_dead_letter"), 0);
    visit.close();
}

fn assert_posts(posts: &Value) {
    let posts = posts.as_array().expect("a list");
    assert!(posts.iter().all(|post| post["status"] == 200), "{posts:?}");
    let paths: BTreeSet<_> = posts.iter().filter_map(|post| post["path"].as_str()).collect();
    assert_eq!(paths, BTreeSet::from(["/e/", "/flags/", "/i/v0/e/"]));
}

/// Event, whether the visitor was known, and what must be in its properties.
fn story(visit: &Visit) -> Vec<(&'static str, bool, Value)> {
    let chain = "button.primary:attr__class=\"primary\"attr__id=\"buy\"attr_id=\"buy\"nth-child=\"2\"nth-of-type=\"1\"\
                 text=\"Buy\";body:nth-child=\"2\"nth-of-type=\"1\"";
    let handled = json!({"type": "RangeError", "value": "a handled one", "mechanism": {"handled": true}});
    let thrown = json!({
        "type": "TypeError", "value": "nobody caught this", "mechanism": {"handled": false},
        "stacktrace": {"frames": [{"filename": format!("http://{}/shop.js", visit.site), "in_app": true}]},
    });
    vec![
        ("$autocapture", false, json!({"$event_type": "click", "$el_text": "Buy", "$elements_chain": chain})),
        ("$exception", true, json!({"$exception_list": [handled], "$exception_level": "error", "attempt": 2})),
        ("$exception", true, json!({"$exception_list": [thrown], "$exception_level": "error"})),
        (
            "$groupidentify",
            true,
            json!({"$group_type": "company", "$group_key": "acme", "$group_set": {"name": "Acme"}}),
        ),
        (
            "$identify",
            true,
            json!({
                "$anon_distinct_id": visit.anonymous, "$set": {"plan": "pro"},
                "$set_once": {"first_seen": "2026", "$initial_utm_source": "letter", "$initial_pathname": "/cart"},
            }),
        ),
        ("$pageleave", true, json!({"$prev_pageview_pathname": "/cart", "$groups": {"company": "acme"}})),
        ("$pageview", false, json!({"title": "Shop", "$referrer": "$direct", "$viewport_width": 1200})),
        ("$set", true, json!({"$set": {"color": "red"}, "$set_once": {"origin": "ad"}})),
        ("order placed", true, json!({"amount": 12.5, "items": ["a", "b"], "note": "größer als 5 € 🛒"})),
        ("queued before the script", false, json!({"early": true})),
    ]
}

fn assert_rows(server: &Server, visit: &Visit) {
    let found = server.sql_with(
        "select event, distinct_id, person_mode, session_id, current_url, pathname, host, utm_source, browser, device_type, \
            lib, lib_version, group0, properties \
         from hogflare_events where api_key = $1 and event not in ('$dead_click', '$$heatmap', '$web_vitals') order by event, \"timestamp\"",
        &[json!(PROJECT)],
    );
    let story = story(visit);
    let events: Vec<&Value> = found.column("event");
    assert_eq!(json!(events), json!(story.iter().map(|(event, ..)| event).collect::<Vec<_>>()));
    for (row, (event, known, properties)) in found.rows.iter().zip(story) {
        let mode = if known { "full" } else { "propertyless" };
        let distinct_id = if known { json!("user_1") } else { visit.anonymous.clone() };
        let group = if known && event != "$identify" { json!("acme") } else { Value::Null };
        let expected = json!([
            event,
            distinct_id,
            mode,
            visit.session,
            visit.page,
            "/cart",
            visit.site,
            "letter",
            "Chrome",
            "Desktop",
            "web",
            RELEASE,
            group,
        ]);
        assert_eq!(json!(row[..13]), expected);
        let mut expected = properties;
        expected["token"] = json!(PROJECT);
        expected["$ip"] = json!("127.0.0.1");
        expected["$is_identified"] = json!(known);
        let stored: Value = serde_json::from_str(row[13].as_str().expect("text")).expect("JSON");
        assert_holds(&stored, &expected, event);
    }
}

/// Both clicks and that one was dead, in however many events the browser sent them.
fn assert_heatmap(server: &Server, visit: &Visit) {
    let texts = server.sql("select properties from hogflare_events where event = '$$heatmap'");
    let points = texts.rows.iter().flat_map(|row| {
        let stored: Value = serde_json::from_str(row[0].as_str().expect("text")).expect("JSON");
        let data = &stored["$heatmap_data"];
        assert_eq!(data.as_object().expect("pages").keys().collect::<Vec<_>>(), [&visit.page]);
        data[&visit.page].as_array().expect("points").clone()
    });
    let points: Vec<Value> = points.collect();
    // The paragraph is as wide as the window, and is clicked in its middle.
    let at = |kind: &str, middle: bool| {
        points.iter().any(|point| {
            point["type"] == kind
                && (point["x"] == 600) == middle
                && point["y"].is_number()
                && point["target_fixed"] == false
        })
    };
    assert!(at("click", true) && at("click", false), "{points:?}");
    assert!(at("deadclick", true) && !at("deadclick", false), "{points:?}");
}

fn assert_dead_clicks(server: &Server, visit: &Visit) {
    let found =
        server.sql("select distinct_id, person_mode, properties from hogflare_events where event = '$dead_click'");
    for row in found.rows {
        assert_eq!(json!(row[..2]), json!([visit.anonymous, "propertyless"]));
        let stored: Value = serde_json::from_str(row[2].as_str().expect("text")).expect("JSON");
        let chain = "p:attr__id=\"dead\"attr_id=\"dead\"nth-child=\"3\"nth-of-type=\"1\"text=\"Nothing happens here\";\
                     body:nth-child=\"2\"nth-of-type=\"1\"";
        let expected = json!({
            "$event_type": "click", "$elements_chain": chain, "$dead_click_absolute_timeout": true,
            "$dead_click_scroll_timeout": false, "$session_id": visit.session, "$current_url": visit.page,
        });
        assert_holds(&stored, &expected, "$dead_click");
    }
}

fn assert_web_vitals(server: &Server, visit: &Visit) {
    let texts = server.sql("select properties from hogflare_events where event = '$web_vitals'");
    let painted = texts.rows.iter().filter(|row| {
        let stored: Value = serde_json::from_str(row[0].as_str().expect("text")).expect("JSON");
        assert_holds(&stored, &json!({"$session_id": visit.session, "$current_url": visit.page}), "$web_vitals");
        let event = &stored["$web_vitals_FCP_event"];
        stored["$web_vitals_FCP_value"].is_number() && event["value"] == stored["$web_vitals_FCP_value"]
    });
    assert_eq!(painted.count(), 1, "{texts:?}");
}

/// All of `expected` is in `stored`, which may have more keys.
fn assert_holds(stored: &Value, expected: &Value, at: &str) {
    match (stored, expected) {
        (Value::Object(stored), Value::Object(expected)) => {
            for (key, expected) in expected {
                let at = format!("{at}.{key}");
                assert_holds(stored.get(key).unwrap_or_else(|| panic!("{at} is absent")), expected, &at);
            }
        }
        (Value::Array(stored), Value::Array(expected)) => {
            assert_eq!(stored.len(), expected.len(), "{at}: {stored:?}");
            for (stored, expected) in stored.iter().zip(expected) {
                assert_holds(stored, expected, at);
            }
        }
        _ => assert_eq!(stored, expected, "{at}"),
    }
}

#[test]
fn what_is_switched_off_is_not_captured_in_chromium() {
    if cannot_run() {
        return;
    }
    let server = Options::new().set("HOGFLARE_AUTOCAPTURE", "off").start();
    let mut visit = Visit::open(server.url());
    visit.click("#buy");
    visit.click("#dead");
    visit.ask(json!({"op": "throw", "message": "nobody caught this"}));
    visit.wait_for_scripts(&["array.js".to_owned()]);
    // What was captured before is sent with the end of the page at the latest.
    visit.ask(json!({"op": "leave"}));
    wait_for_event(&server, "$pageleave");
    let events = server.sql("select event from hogflare_events order by event");
    assert_eq!(json!(events.rows), json!([["$pageleave"], ["$pageview"], ["queued before the script"]]));
    visit.close();
}

#[test]
fn a_lost_answer_makes_chromium_send_again_and_is_not_a_second_event() {
    if cannot_run() {
        return;
    }
    let server = Options::new().start();
    let proxy = Proxy::start(server.address());
    let mut visit = Visit::open(&proxy.url());
    wait_for_event(&server, "$pageview");
    let retried = |posts: &Value| {
        let posts = posts.as_array().expect("a list");
        posts.iter().filter(|post| post["query"].as_str().is_some_and(|query| query.contains("retry_count="))).count()
    };

    proxy.cut_after(0);
    visit.call("capture", json!(["cut", {"number": 1}]));
    // The answer that is cut first may be that of a script.
    wait_for_event(&server, "cut");
    // A row is shown just before its answer is sent.
    std::thread::sleep(Duration::from_millis(500));
    assert!(proxy.cuts() > 0, "the answer got through");
    assert_eq!(retried(&visit.ask(json!({"op": "posts"}))), 0, "no sending of it has been answered");

    proxy.pass();
    wait_for("the retry", || (retried(&visit.ask(json!({"op": "posts"}))) > 0).then_some(()));
    let counted = server.sql("select count(*), count(distinct uuid) from hogflare_events where event = 'cut'");
    assert_eq!(counted.rows, [[json!(1), json!(1)]]);
    assert!(server.metrics().contains("hogflare_ingest_events_total{outcome=\"repeat\"}"), "nothing came twice");
    visit.close();
}

#[test]
fn flags_are_asked_for_in_chromium() {
    if cannot_run() {
        return;
    }
    let person = json!({"key": "plan", "value": "pro", "operator": "exact", "type": "person"});
    let variants = json!([{"key": "low", "rollout_percentage": 0}, {"key": "high", "rollout_percentage": 100}]);
    let flags = json!([
        {"key": "beta", "filters": {"groups": [{"properties": []}]}},
        {"key": "price", "filters": {
            "groups": [{"properties": []}], "multivariate": {"variants": variants},
            "payloads": {"high": "{\"cents\": 1250}"}}},
        {"key": "pro", "filters": {"groups": [{"properties": [person]}]}},
        {"key": "on servers", "evaluation_runtime": "server", "filters": {"groups": [{"properties": []}]}},
    ]);
    let server = Options::new().set("HOGFLARE_FEATURE_FLAGS", &flags.to_string()).start();
    assert_eq!(server.get(&format!("/array/{PROJECT}/config"), &[]).json()["hasFeatureFlags"], true);
    let mut visit = Visit::open(server.url());
    let ask = |visit: &mut Visit| visit.ask(json!({"op": "flags", "keys": ["beta", "price", "pro", "on servers"]}));
    let expected = |pro: bool| {
        json!({
            "beta": {"value": true, "payload": null},
            "price": {"value": "high", "payload": {"cents": 1250}},
            "pro": {"value": pro, "payload": null},
            "on servers": {"value": null, "payload": null},
        })
    };
    assert_eq!(ask(&mut visit), expected(false));
    visit.call("setPersonPropertiesForFlags", json!([{"plan": "pro"}]));
    assert_eq!(ask(&mut visit), expected(true));
    visit.ask(json!({"op": "leave"}));
    wait_for_event(&server, "$pageleave");
    let calls = server.sql(
        "select properties->>'$feature_flag', properties->>'$feature_flag_response', distinct_id from hogflare_events \
         where event = '$feature_flag_called' and properties->>'$feature_flag' <> 'on servers' \
         group by all order by 1, 2",
    );
    let called = [["beta", "true"], ["price", "high"], ["pro", "false"], ["pro", "true"]];
    let called = called.map(|[key, value]| json!([key, value, visit.anonymous]));
    assert_eq!(json!(calls.rows), json!(called));
    visit.close();
}
