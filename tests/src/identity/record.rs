//! All that the tables say of persons, and that it holds together.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Map, Value, json};

use super::traffic::mixed;
use super::{NAMESPACE, objects};
use crate::harness::load::Load;
use crate::harness::{Options, PROJECT, Server, wait_for};
use crate::kill::LOAD;

type Row = Map<String, Value>;

/// Marks that an event's properties leave on its person or group: `<prefix><uuid>`.
pub(super) const MARK: &str = "mark-";

/// The rows of one project, in the order of their positions.
#[derive(Clone, Debug)]
pub(super) struct Record {
    events: HashMap<String, Row>,
    persons: Vec<Row>,
    moves: Vec<Row>,
    groups: Vec<Row>,
    /// Ids of events that asked for a merge and did not get it.
    refused: HashSet<String>,
}

/// What the rows of persons and moves come to.
#[derive(Debug, Default)]
struct Now {
    /// Live persons: the index of their newest row.
    persons: HashMap<String, usize>,
    gone: HashSet<String>,
    /// Person and version of each distinct id.
    links: HashMap<String, (String, u64)>,
}

fn text<'r>(row: &'r Row, column: &str) -> &'r str {
    row[column].as_str().unwrap_or_else(|| panic!("{column} of {row:?}"))
}

fn number(row: &Row, column: &str) -> u64 {
    row[column].as_u64().unwrap_or_else(|| panic!("{column} of {row:?}"))
}

fn is_true(row: &Row, column: &str) -> bool {
    row[column].as_bool().unwrap_or_else(|| panic!("{column} of {row:?}"))
}

/// The person id of a distinct id that nobody moved.
fn own_id(distinct_id: &str) -> String {
    uuid::Uuid::new_v5(&NAMESPACE, format!("{PROJECT}:{distinct_id}").as_bytes()).to_string()
}

impl Record {
    pub(super) fn ask(server: &Server) -> Record {
        let of = |columns: &str, table: &str| {
            format!("select {columns} from {table} where api_key = '{PROJECT}' order by _position")
        };
        let columns = "uuid, event, distinct_id, person_id, person_mode, resolved_person_id, identity_id, has_person, \
            coalesce(properties->>'$anon_distinct_id', properties->>'alias') as other, \
            properties->>'$group_key' as group_key";
        let events = server.sql(&of(columns, "events")).objects();
        let warnings = server.sql(&of("event_uuid, reason", "dead_letter")).objects();
        for warning in &warnings {
            assert_eq!(warning["reason"], "merge_refused_already_identified", "{warning:?}");
        }
        Record {
            events: events.into_iter().map(|event| (text(&event, "uuid").to_owned(), event)).collect(),
            persons: objects(server, &of("*", "hogflare_persons"), &["distinct_ids", "merged_properties"]),
            moves: server.sql(&of("*", "hogflare_person_overrides")).objects(),
            groups: objects(server, &of("*", "hogflare_groups"), &["properties"]),
            refused: warnings.iter().map(|warning| text(warning, "event_uuid").to_owned()).collect(),
        }
    }

    pub(super) fn sizes(&self) -> String {
        let sizes = [self.events.len(), self.persons.len(), self.moves.len(), self.groups.len(), self.refused.len()];
        format!("events, persons, moves, groups, refusals: {sizes:?}")
    }

    pub(super) fn assert_consistent(&self, server: &Server) {
        let mut now = Now::default();
        self.follow_persons(&mut now);
        self.follow_moves(&mut now);
        self.assert_persons_list_their_ids(&now);
        for event in self.events.values() {
            self.assert_event(event, &now);
        }
        for refused in &self.refused {
            let event = text(&self.events[refused], "event");
            assert!(event == "$identify" || event == "$create_alias", "{event} is never refused");
        }
        self.assert_groups();
        assert_numbers(server);
        assert_views(server, &self.persons, &now);
    }

    fn source(&self, row: &Row) -> &Row {
        let uuid = text(row, "source_event_uuid");
        assert_eq!(row["api_key"], PROJECT);
        self.events.get(uuid).unwrap_or_else(|| panic!("there is no event {uuid} behind {row:?}"))
    }

    /// Versions count from 1; only a merge skips some, to pass those of both.
    fn follow_persons(&self, now: &mut Now) {
        for (index, row) in self.persons.iter().enumerate() {
            let (person, version) = (text(row, "person_id"), number(row, "version"));
            assert!(!now.gone.contains(person), "a merged person goes on: {row:?}");
            let source = self.source(row);
            let before = now.persons.get(person).map(|before| number(&self.persons[*before], "version"));
            if is_true(row, "is_deleted") {
                let survivor = &self.persons[index - 1];
                assert_eq!(row["operation"], "delete");
                assert_eq!(row["source_event_uuid"], survivor["source_event_uuid"], "{row:?}");
                assert_eq!(row["merged_into"], survivor["person_id"], "{row:?}");
                assert_eq!(row["version"], survivor["version"], "{row:?}");
                assert!(before.is_some(), "nobody was there to be merged: {row:?}");
                now.gone.insert(person.to_owned());
                now.persons.remove(person);
                continue;
            }
            let gone = self
                .persons
                .get(index + 1)
                .filter(|next| is_true(next, "is_deleted") && next["source_event_uuid"] == row["source_event_uuid"]);
            let of_gone = gone.map_or(0, |gone| number(&self.persons[now.persons[text(gone, "person_id")]], "version"));
            assert_eq!(version, before.unwrap_or(0).max(of_gone) + 1, "a version is missing or twice: {row:?}");
            assert_eq!(person, own_id(text(row, "canonical_distinct_id")), "{row:?}");
            assert_eq!(source["person_id"], person, "the event belongs to whom it changes: {row:?}");
            if before.is_none() {
                now.links.insert(text(row, "canonical_distinct_id").to_owned(), (person.to_owned(), 0));
            }
            now.persons.insert(person.to_owned(), index);
        }
    }

    fn follow_moves(&self, now: &mut Now) {
        let mut versions: HashMap<&str, u64> = HashMap::new();
        for row in &self.moves {
            let (id, person, version) = (text(row, "distinct_id"), text(row, "person_id"), number(row, "version"));
            self.source(row);
            let of_event = |other: &&Row| other["source_event_uuid"] == row["source_event_uuid"];
            let change = self.persons.iter().find(of_event).unwrap_or_else(|| panic!("no person changed: {row:?}"));
            assert_eq!((&change["person_id"], &change["version"]), (&row["person_id"], &row["version"]), "{row:?}");
            let before = versions.insert(id, version).unwrap_or(0);
            assert!(version > before, "a move that does not hold: {row:?}");
            let old = text(row, "old_person_id");
            assert!(old == own_id(id) || now.gone.contains(old), "nobody was {old}: {row:?}");
            now.links.insert(id.to_owned(), (person.to_owned(), version));
        }
    }

    fn assert_persons_list_their_ids(&self, now: &Now) {
        let mut ids: HashMap<&str, HashSet<&str>> = HashMap::new();
        for (id, (person, _)) in &now.links {
            assert!(now.persons.contains_key(person), "{id} belongs to {person}, who is gone or never was");
            ids.entry(person).or_default().insert(id);
        }
        for (person, index) in &now.persons {
            let row = &self.persons[*index];
            let listed = row["distinct_ids"].as_array().expect("a list");
            let listed_set: HashSet<&str> = listed.iter().map(|id| id.as_str().expect("text")).collect();
            assert_eq!(listed.len(), listed_set.len(), "{row:?}");
            assert_eq!(listed.len() as u64, number(row, "distinct_id_count"), "{row:?}");
            assert_eq!(ids.get(&**person), Some(&listed_set), "{row:?}");
        }
    }

    fn assert_event(&self, event: &Row, now: &Now) {
        let id = text(event, "distinct_id");
        let (stamped, mode) = (text(event, "person_id"), text(event, "person_mode"));
        let link = now.links.get(id).map(|(person, _)| person.as_str());
        assert_eq!(text(event, "resolved_person_id"), link.unwrap_or(stamped), "{event:?}");
        assert_eq!(event["identity_id"], event["resolved_person_id"], "{event:?}");
        if mode == "propertyless" {
            let is_nobody_or_known =
                stamped == own_id(id) || now.persons.contains_key(stamped) || now.gone.contains(stamped);
            assert!(is_nobody_or_known, "{event:?}");
            return;
        }
        assert!(is_true(event, "has_person"), "{event:?}");
        assert!(link.is_some(), "an event without its person: {event:?}");
        assert!(now.persons.contains_key(stamped) || now.gone.contains(stamped), "without the row of it: {event:?}");
        let uuid = text(event, "uuid");
        let asks_merge = ["$identify", "$create_alias", "$merge_dangerously"].contains(&text(event, "event"));
        if asks_merge && !self.refused.contains(uuid) {
            let other = now.links.get(text(event, "other")).map(|(person, _)| person.as_str());
            assert_eq!(link, other, "what it merged is not one: {event:?}");
        }
        if text(event, "event") == "$set" {
            let person = &self.persons[now.persons[link.expect("checked")]];
            let mark = format!("{MARK}{uuid}");
            assert!(person["merged_properties"].get(&mark).is_some(), "the change of {uuid} is lost: {person:?}");
        }
    }

    fn assert_groups(&self) {
        let mut types: HashMap<&str, u64> = HashMap::new();
        let mut groups: HashMap<&str, &Row> = HashMap::new();
        for row in &self.groups {
            self.source(row);
            let (name, slot) = (text(row, "group_type"), number(row, "group_type_index"));
            if row["group_key"].is_null() {
                assert_eq!(slot, types.len() as u64, "slots follow the first appearance: {row:?}");
                assert_eq!(types.insert(name, slot), None, "a type has one slot: {row:?}");
                continue;
            }
            assert_eq!(types.get(name), Some(&slot), "{row:?}");
            let before = groups.insert(text(row, "group_key"), row).map_or(0, |before| number(before, "version"));
            assert_eq!(number(row, "version"), before + 1, "{row:?}");
        }
        for event in self.events.values().filter(|event| event["event"] == "$groupidentify") {
            let group = groups[text(event, "group_key")];
            let mark = format!("{MARK}{}", text(event, "uuid"));
            assert!(group["properties"].get(&mark).is_some(), "a change is lost: {event:?}");
        }
    }
}

/// Of all projects together, in the order of first appearance.
fn assert_numbers(server: &Server) {
    let sql = "select person_int_id, count(distinct person_id), min(_position) from hogflare_persons \
        group by 1 order by 3";
    for (index, row) in server.sql(sql).rows.iter().enumerate() {
        assert_eq!(row[..2], [json!(index + 1), json!(1)], "a number is missing, or of two persons");
    }
    let of_persons = "select count(distinct person_int_id) = count(distinct person_id) from hogflare_persons";
    assert_eq!(server.sql(of_persons).one(), &json!(true), "a person has two numbers");
}

fn assert_views(server: &Server, persons: &[Row], now: &Now) {
    let ids = |sql: &str| -> HashSet<String> {
        let rows = server.sql(sql);
        let found: HashSet<String> = rows.rows.iter().map(|row| json!(row).to_string()).collect();
        assert_eq!(found.len(), rows.rows.len(), "{sql}: a row twice");
        found
    };
    let newest = now.persons.iter().map(|(person, newest)| json!([person, persons[*newest]["version"]]).to_string());
    let profiles = format!("select person_id, version from person_profiles where project = '{PROJECT}'");
    assert_eq!(ids(&profiles), newest.collect());
    let links = now.links.iter().map(|(id, (person, _))| json!([id, person]).to_string());
    assert_eq!(
        ids(&format!("select distinct_id, person_id from identity_links where project = '{PROJECT}'")),
        links.collect()
    );
}

type Damage<'a> = &'a dyn Fn(&mut Record);

/// The check itself: it finds what is missing, doubled or changed.
#[test]
fn a_record_that_does_not_hold_together_is_found() {
    let server = Options::new().start();
    let load = Load::start_of(server.url(), &LOAD, mixed);
    wait_for("events", || (load.acknowledged() >= 1_500).then_some(()));
    load.finish();
    let record = Record::ask(&server);
    record.assert_consistent(&server);
    let middle = |rows: &[Row]| rows.len() / 2;
    let of_event = |record: &Record, name: &str| {
        let found = record.events.iter().find(|(_, event)| event["event"] == name && event["person_mode"] == "full");
        found.map(|(uuid, _)| uuid.clone()).expect("such an event")
    };
    let damages: [(&str, Damage<'_>); 10] = [
        ("a person's row is missing", &|record| drop(record.persons.remove(middle(&record.persons)))),
        ("a person's row is there twice", &|record| {
            let at = middle(&record.persons);
            record.persons.insert(at, record.persons[at].clone());
        }),
        ("a move is missing", &|record| drop(record.moves.remove(middle(&record.moves)))),
        ("a move leads elsewhere", &|record| {
            let at = middle(&record.moves);
            record.moves[at]["person_id"] = record.moves[at]["old_person_id"].clone();
        }),
        ("a group's row is missing", &|record| drop(record.groups.remove(middle(&record.groups)))),
        ("an event behind a change is missing", &|record| {
            let source = text(&record.persons[middle(&record.persons)], "source_event_uuid").to_owned();
            record.events.remove(&source);
        }),
        ("an event is another person's", &|record| {
            let event = record.events.get_mut(&of_event(record, "visit")).expect("it is there");
            event["resolved_person_id"] = json!(own_id("somebody"));
        }),
        ("an event's person is nobody", &|record| {
            let event = record.events.get_mut(&of_event(record, "visit")).expect("it is there");
            event["person_id"] = json!(own_id("somebody"));
        }),
        ("a merge did nothing", &|record| {
            let event = record.events.get_mut(&of_event(record, "$create_alias")).expect("it is there");
            event["other"] = json!("somebody");
            record.refused.remove(text(&event.clone(), "uuid"));
        }),
        ("a change of properties is lost", &|record| {
            for person in &mut record.persons {
                person["merged_properties"] = json!({});
            }
        }),
    ];
    for (what, damage) in damages {
        let mut damaged = record.clone();
        damage(&mut damaged);
        let outcome = catch_unwind(AssertUnwindSafe(|| damaged.assert_consistent(&server)));
        assert!(outcome.is_err(), "not found: {what}");
    }
}
