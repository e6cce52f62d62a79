//! `kill -9` while persons are made, merged and changed: nothing acknowledged is lost, and nothing is half done.

use serde_json::json;
use uuid::Uuid;

use super::commit;
use super::record::Record;
use super::traffic::mixed;
use crate::backends::Place;
use crate::harness::audit::{self, Occurrences};
use crate::harness::load::Load;
use crate::harness::{Options, Server, skipped};
use crate::kill::{LOAD, killed_under_load, rounds};

const TABLES: [&str; 4] = ["hogflare_events", "hogflare_persons", "hogflare_person_overrides", "hogflare_groups"];

#[test]
fn persons_survive_kills() {
    if !skipped("clients") {
        kill_rounds(&Place::own());
    }
}

/// Each table in a commit of its own.
#[test]
fn persons_survive_kills_over_seaweedfs() {
    if !skipped("clients") {
        kill_rounds(&Place::seaweed("persons"));
    }
}

fn kill_rounds(place: &Place) {
    let rounds = rounds(8);
    let options = (place.options)(Options::new().interval("300ms").set("HOGFLARE_TABLE_PREFIX", "hogflare_"));
    let start = |server: &Server| Load::start_of(server.url(), &LOAD, mixed);
    let (mut server, killed) = killed_under_load(&options, rounds, start, check);
    commit(&mut server);
    check(&server, &killed.acknowledged);
    for table in TABLES {
        assert_eq!(audit::assert_committed_positions_of(&server, table), server.count(table), "{table}");
    }
    println!("{}: {rounds} kills, {killed}; {}", place.name, Record::ask(&server).sizes());
}

fn check(server: &Server, acknowledged: &[Uuid]) {
    Occurrences::ask(server).assert_each_once(acknowledged);
    for table in TABLES {
        audit::assert_positions_of(server, table);
    }
    Record::ask(server).assert_consistent(server);
    assert_committed_events_have_their_persons(server);
}

/// Other engines find the person of every event that they find.
fn assert_committed_events_have_their_persons(server: &Server) {
    let sql = "select count(*) from hogflare_events e \
        left join (select distinct api_key, person_id from hogflare_persons) p \
            on p.api_key = e.api_key and p.person_id = e.person_id \
        where e.person_mode = 'full' and p.person_id is null";
    let token = format!("Bearer {}", server.read_token());
    // At snapshots no row shows that waits for its commit.
    let request = json!({"sql": sql, "snapshots": {}}).to_string();
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    let answer = server.post("/api/sql", &headers, request.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["rows"], json!([[0]]), "events are committed without their persons");
}
