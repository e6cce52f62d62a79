//! The state file is a copy: it is lost, missed in words, and made anew; everybody is the same person then.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::{Value, json};

use super::record::Record;
use super::traffic::mixed;
use super::{event, objects, send, send_batch, table};
use crate::backends::Place;
use crate::harness::http::Answer;
use crate::harness::load::{Load, Shape};
use crate::harness::{Options, PROJECT, Server, skipped, wait_for};
use crate::kill::LOAD;

const DEBUG_TOKEN: &str = "debug-token-of-the-tests";

fn options() -> Options {
    Options::new().set("PERSON_DEBUG_TOKEN", DEBUG_TOKEN)
}

fn ask(server: &Server, project: &str, distinct_id: &str, token: &str) -> Answer {
    let path = format!("/__debug/person/{distinct_id}?token={project}");
    server.get(&path, &[("x-hogflare-debug-token", token)])
}

fn person(server: &Server, project: &str, distinct_id: &str) -> Value {
    let answer = ask(server, project, distinct_id, DEBUG_TOKEN);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!((&answer["project"], &answer["distinct_id"]), (&json!(project), &json!(distinct_id)));
    answer["person"].clone()
}

#[test]
fn one_person_can_be_looked_at_with_the_debug_token() {
    let server = options().start();
    let properties = json!({"$anon_distinct_id": "anon 1/ä", "$set": {"email": "ada@example.com"}});
    let mut identified = event("$identify", "ada", properties);
    identified["timestamp"] = json!("2026-03-01T10:00:00Z");
    send(&server, &[identified]);
    let expected = json!({
        "id": "bab20b67-5fa5-55f6-95ff-13bc8a2d2bb6", "number": 1, "canonical_distinct_id": "ada",
        "distinct_ids": ["anon 1/ä", "ada"], "distinct_id_count": 2, "created_at": "2026-03-01T10:00:00.000Z",
        "version": 1, "is_identified": true, "properties": {"email": "ada@example.com"},
    });
    assert_eq!(person(&server, PROJECT, "ada"), expected);
    let encoded = ask(&server, PROJECT, "anon%201%2F%C3%A4", DEBUG_TOKEN);
    assert_eq!((encoded.status, &encoded.json()["person"]), (200, &expected));
    assert_eq!(person(&server, PROJECT, "nobody"), Value::Null);
    assert_eq!(person(&server, "phc_other", "ada"), Value::Null);
    for token in ["", "wrong", &DEBUG_TOKEN[1..], server.read_token()] {
        let answer = ask(&server, PROJECT, "ada", token);
        assert_eq!((answer.status, answer.text().contains("example.com")), (401, false), "{token}");
    }
    let closed = Options::new().start();
    assert_eq!(ask(&closed, PROJECT, "ada", "").status, 404, "without a token of the server there is no such route");
}

/// Everyone that is known, by project and distinct id, as the state has them.
fn everyone(server: &Server) -> BTreeMap<(String, String), Value> {
    let links = server.sql("select project, distinct_id from identity_links").rows;
    let ids = links.iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_str().unwrap().to_owned()));
    let found = ids.map(|(project, id)| {
        let person = person(server, &project, &id);
        assert!(person.is_object(), "{project} {id} is linked to nobody");
        ((project, id), person)
    });
    found.collect()
}

/// More ids than a row of a person lists.
const MANY_IDS: usize = 1_500;

fn fill(server: &Server) {
    let load = Load::start_of(server.url(), &Shape { late_every: None, ..LOAD }, mixed);
    wait_for("events", || (load.acknowledged() >= 3_000).then_some(()));
    assert!(load.finish().unanswered.is_empty());
    for project in ["phc_many", "phc_few"] {
        let aliases = if project == "phc_many" { MANY_IDS } else { 3 };
        let alias = |n: usize| event("$create_alias", "hub", json!({"alias": format!("alias-{n}"), "$set": {"n": n}}));
        send_batch(server, project, &(0..aliases).map(alias).collect::<Vec<_>>());
        send_batch(server, project, &[event("e", "user-1", json!({"$set_once": {"of": project}}))]);
    }
}

#[test]
fn a_lost_state_is_missed_and_made_anew() {
    for (end, name) in [(Server::stop as fn(&mut Server), "stopped"), (Server::kill, "killed")] {
        let mut server = options().interval("300ms").start();
        fill(&server);
        // The log forgets what is in the tables and the state.
        server.stop();
        server.restart();
        send(&server, &[event("e", "last", json!({"$set": {"a": 1}}))]);
        let before = everyone(&server);
        let groups = groups(&server);
        end(&mut server);
        lose_state(&server);
        let refused = serve(&server);
        let said = text(&refused);
        assert!(!refused.status.success(), "{name}: it starts without its state: {said}");
        for words in ["state.sqlite", "hogflare state rebuild"] {
            assert!(said.contains(words), "{name}: {said}");
        }
        let persons = before.values().map(|person| person["id"].to_string()).collect::<std::collections::BTreeSet<_>>();
        let rebuilt = rebuild(&server);
        assert!(rebuilt.status.success(), "{name}: {}", text(&rebuilt));
        assert!(text(&rebuilt).contains(&format!("{} persons are in", persons.len())), "{name}: {}", text(&rebuilt));
        server.restart();
        let after = everyone(&server);
        for (id, person) in &before {
            assert_eq!(after.get(id), Some(person), "{name}: {id:?}");
        }
        assert_eq!(after.len(), before.len(), "{name}");
        check_groups(&server, &groups);
        check_that_life_goes_on(&mut server, name);
    }
}

/// A file that is there is made anew as well, and a running server is not disturbed.
#[test]
fn a_state_is_made_anew_only_while_nobody_uses_it() {
    let mut server = options().start();
    send(&server, &[event("$identify", "ada", json!({"$anon_distinct_id": "anon"}))]);
    let refused = rebuild(&server);
    assert!(!refused.status.success(), "{}", text(&refused));
    assert!(text(&refused).contains("another process"), "{}", text(&refused));
    let before = everyone(&server);
    server.kill();
    assert!(rebuild(&server).status.success());
    server.restart();
    assert_eq!(everyone(&server), before);
    let elsewhere = server.home().join("elsewhere");
    let absent = server.hogflare(&["state", "rebuild", "--data-dir", &elsewhere.display().to_string()]);
    assert!(!absent.status.success() && text(&absent).contains("no data folder"), "{}", text(&absent));
    assert!(!elsewhere.exists(), "it made a folder");
}

/// After the loss of a whole folder, its persons are those of the tables.
#[test]
fn a_new_folder_goes_on_with_the_persons_of_a_remote_catalog() {
    if skipped("clients") {
        return;
    }
    let place = Place::seaweed("rebuilt");
    let options = || (place.options)(options().interval("300ms"));
    let mut server = options().start();
    // Committed before the server has had a look at what others wrote.
    fill(&server);
    let before = everyone(&server);
    assert!(!server.log().contains("knows nobody"), "{}", server.log());
    server.stop();

    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let rebuilt = server.hogflare(&["state", "rebuild", "--data-dir", &data]);
    assert!(rebuilt.status.success(), "{}", text(&rebuilt));
    let heir = options().start_in(folder);
    assert_eq!(everyone(&heir), before);
    // One that did not do so is told.
    let stranger = options().start();
    wait_for("the warning", || stranger.log().contains("knows nobody").then_some(()));
}

fn lose_state(server: &Server) {
    std::fs::remove_file(server.data_dir().join("state.sqlite")).expect("there is a state");
    for beside in ["state.sqlite-wal", "state.sqlite-shm"] {
        std::fs::remove_file(server.data_dir().join(beside)).ok();
    }
}

fn serve(server: &Server) -> Output {
    let folder = server.data_dir().display().to_string();
    server.hogflare(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &folder])
}

fn rebuild(server: &Server) -> Output {
    let folder = server.data_dir().display().to_string();
    server.hogflare(&["state", "rebuild", "--data-dir", &folder])
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn groups(server: &Server) -> Vec<serde_json::Map<String, Value>> {
    let sql = "select group_type, group_type_index, group_key, properties from groups where project = 'phc_test' \
        order by group_type_index, group_key";
    objects(server, sql, &["properties"])
}

/// An event of each group gets the same column and properties.
fn check_groups(server: &Server, groups: &[serde_json::Map<String, Value>]) {
    assert!(!groups.is_empty());
    for group in groups {
        let name = group["group_type"].as_str().unwrap();
        let probe = event("probe", "prober", json!({"$groups": {name: group["group_key"]}}));
        send(server, std::slice::from_ref(&probe));
        let column = format!("group{}", group["group_type_index"]);
        let sql = format!("select {column}, group_properties from events where uuid = {}", quoted(&probe["uuid"]));
        let found = &objects(server, &sql, &["group_properties"])[0];
        assert_eq!(found[&column], group["group_key"], "{group:?}");
        assert_eq!(found["group_properties"], json!({name: group["properties"]}), "{group:?}");
    }
}

fn quoted(text: &Value) -> String {
    format!("'{}'", text.as_str().unwrap())
}

/// Versions and numbers go on where they were, and ids that no row lists can be merged.
fn check_that_life_goes_on(server: &mut Server, name: &str) {
    let load = Load::start_of(server.url(), &LOAD, mixed);
    wait_for("events", || (load.acknowledged() >= 1_000).then_some(()));
    load.finish();
    Record::ask(server).assert_consistent(server);
    send_batch(server, "phc_many", &[event("$merge_dangerously", "user-1", json!({"alias": "alias-1400"}))]);
    let sql = "select p.canonical_distinct_id, count(*) from identity_links l \
        join person_profiles p on p.project = l.project and p.person_id = l.person_id \
        where l.project = 'phc_many' group by 1";
    assert_eq!(table(server, sql), json!([["user-1", MANY_IDS + 2]]), "{name}");
}
