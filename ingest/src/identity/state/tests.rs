use std::time::Duration;

use arrow::array::RecordBatch;

use super::*;
use crate::disk::{Durability, RealDisk};
use crate::identity::Rebuild;
use crate::ids::RandomIds;
use crate::ingest::{Ingest, IngestParts, IngestSettings, Opened, Replay};
use crate::normalize::normalize;
use crate::protocol::{DecodeLimits, decode};
use crate::testing::{facts, settings};
use crate::writer::Step;
use crate::writer::tests::{TestClock, test_views, test_writer};
use hogflare_catalog::tables::TABLES;

/// A writer with its state, over a real folder.
struct Bench {
    ingest: Ingest,
    writer: crate::writer::Writer,
    state_writer: StateWriter,
    views: Arc<hogflare_catalog::Views>,
}

fn open(folder: &Path, cache_bytes_max: usize) -> Bench {
    let views = test_views();
    let settings = IngestSettings::new(folder.to_owned(), test_writer(), [7; 16]);
    let state = StateSettings { cache_bytes_max, ..StateSettings::new(folder.join("state.sqlite")) };
    let parts = IngestParts {
        disk: Arc::new(RealDisk::new(Durability::Os)),
        views: Arc::clone(&views),
        clock: Arc::new(TestClock::default()),
        state: Some(state),
    };
    let opened = Ingest::open(settings, parts, Replay::of_everything()).unwrap();
    let Opened { ingest, writer, state_writer, .. } = opened;
    Bench { ingest, writer, state_writer: state_writer.unwrap(), views }
}

impl Bench {
    fn send(&mut self, events: &str) {
        let body = format!(r#"{{"api_key":"t","batch":[{events}]}}"#);
        let request = decode(&facts(), body.into_bytes().into(), &DecodeLimits::default()).unwrap();
        let normalized = normalize(request, &facts(), &settings(), &mut RandomIds).unwrap();
        assert!(normalized.rejected.is_empty(), "{:?}", normalized.rejected);
        let permit = self.ingest.reserve(1_000).unwrap();
        let mut answer = self.ingest.enqueue(Box::new(normalized), permit).unwrap();
        assert!(matches!(self.writer.step(Duration::ZERO), Step::Group { .. }));
        answer.try_recv().unwrap().unwrap();
    }

    fn who(&self, id: &str) -> Option<String> {
        who(self.ingest.state().unwrap(), id)
    }

    /// Rows of a table in memory.
    fn batches(&self, table: Table) -> Vec<RecordBatch> {
        let view = self.views.current();
        view.tail(table, Slot::Main).chunks.iter().map(|chunk| chunk.batch.clone()).collect()
    }

    /// All changes get into the file.
    fn close(self) {
        drop((self.writer, self.ingest));
        self.state_writer.run();
    }

    /// None do, as if the process were killed.
    fn kill(self) {
        drop(self.state_writer);
    }
}

/// Numbers and texts that other readers of JSON refuse are kept as sent, also through a crash.
#[test]
fn odd_values_survive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = open(folder.path(), 1 << 20);
    let odd = r#"{"huge":1e400,"long":123456789012345678901234567890,"text":"\u0000\ud83d"}"#;
    bench.send(&event("$set", "u", &format!(r#"{{"$set":{odd}}}"#)));
    let describe = r#"{"$group_type":"team","$group_key":"t","$group_set":{"n":3e999}}"#;
    bench.send(&event("$groupidentify", "u", describe));
    let before = bench.who("u");
    assert!(before.as_ref().is_some_and(|person| person.contains("1e400")), "{before:?}");
    bench.kill();
    let bench = open(folder.path(), 1 << 20);
    assert_eq!(bench.who("u"), before);
    let group = bench.ingest.state().unwrap().group("t", "team", "t").unwrap();
    assert_eq!(group.unwrap().properties(), r#"{"n":3e999}"#);
}

/// A request of small events about a large person is many times its own size.
#[test]
fn a_request_that_makes_many_rows_is_shown_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = open(folder.path(), 1 << 20);
    let large = "x".repeat(200 << 10);
    bench.send(&event("$set", "u", &format!(r#"{{"$set":{{"blob":"{large}"}}}}"#)));
    let changes: Vec<String> = (0..300).map(|n| event("$set", "u", &format!(r#"{{"$set":{{"n":{n}}}}}"#))).collect();
    bench.send(&changes.join(","));
    // Of each piece the newest version is handed over.
    let waiting = bench.ingest.state().unwrap().waiting_bytes();
    assert!(waiting > 3 * large.len() && waiting < 100 * large.len(), "{waiting}");
    let rows: usize = bench.batches(Table::Persons).iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 301);
    bench.close();
    let bench = open(folder.path(), 1 << 20);
    assert!(bench.who("u").is_some_and(|person| person.starts_with("1:u:301:") && person.contains("\"n\":299")));
}

/// Two writers count their persons from 1 each; their tables are one.
#[test]
fn rows_of_two_writers_stay_two_persons() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let path = folders[0].path().join("both.sqlite");
    let mut rebuild = Rebuild::begin(&path).unwrap();
    for (folder, id) in folders.iter().zip(["a", "b"]) {
        let mut bench = open(folder.path(), 1 << 20);
        bench.send(&event("$identify", id, &format!(r#"{{"$anon_distinct_id":"anon-{id}"}}"#)));
        for table in STATE_TABLES {
            for batch in bench.batches(table) {
                rebuild.put(table, &batch).unwrap();
            }
        }
    }
    assert_eq!(rebuild.finish(&[[0; TABLES]; 2]).unwrap(), 2);
    let opening = Opening::open(StateSettings::new(path)).unwrap();
    let (state, _, _) = opening.finish(&LogPositions::default()).unwrap();
    assert_eq!(who(&state, "anon-a").as_deref(), Some("1:anon-a+a:1:true:{}"));
    assert!(who(&state, "anon-b").is_some_and(|person| person.contains(":anon-b+b:1:true:{}")));
}

fn who(state: &State, id: &str) -> Option<String> {
    let person = state.person("t", id).unwrap()?;
    let ids = person.ids.iter().collect::<Vec<_>>().join("+");
    Some(format!("{}:{ids}:{}:{}:{}", person.number, person.version, person.is_identified, person.properties()))
}

fn event(name: &str, id: &str, properties: &str) -> String {
    format!(r#"{{"event":"{name}","distinct_id":"{id}","properties":{properties}}}"#)
}

/// What the folders below go through, in pieces that are groups of the writer.
fn story() -> Vec<String> {
    vec![
        event("e", "a", r#"{"$set":{"plan":"pro"},"$groups":{"company":"c1"}}"#),
        event("$identify", "u", r#"{"$anon_distinct_id":"a","$set_once":{"first":1}}"#),
        [event("e", "b", "{}"), event("e", "c", "{}")].join(","),
        event("$identify", "u", r#"{"$anon_distinct_id":"b"}"#),
        event("$merge_dangerously", "c", r#"{"alias":"u"}"#),
        event("$groupidentify", "u", r#"{"$group_type":"team","$group_key":"t1","$group_set":{"seats":3}}"#),
        event("$set", "c", r#"{"$set":{"plan":"free"},"$unset":["first"]}"#),
    ]
}

const EXPECTED: [(&str, Option<&str>); 5] = [
    ("a", Some(r#"3:c+a+u+b:5:true:{"plan":"free"}"#)),
    ("u", Some(r#"3:c+a+u+b:5:true:{"plan":"free"}"#)),
    ("b", Some(r#"3:c+a+u+b:5:true:{"plan":"free"}"#)),
    ("c", Some(r#"3:c+a+u+b:5:true:{"plan":"free"}"#)),
    ("d", None),
];

fn check(bench: &Bench, when: &str) {
    for (id, expected) in EXPECTED {
        assert_eq!(bench.who(id).as_deref(), expected, "{id} {when}");
    }
    let state = bench.ingest.state().unwrap();
    let types = state.group_types("t").unwrap();
    assert_eq!(types.names().collect::<Vec<_>>(), [Some("company"), Some("team"), None, None, None], "{when}");
    let group = state.group("t", "team", "t1").unwrap().map(|group| group.properties().to_owned());
    assert_eq!(group.as_deref(), Some(r#"{"seats":3}"#), "{when}");
    assert!(state.group("t", "company", "c1").unwrap().is_none(), "nobody described it");
}

#[test]
fn the_state_is_the_same_whenever_the_process_ends() {
    let steps = story();
    for killed_before in 0..=steps.len() {
        for is_killed in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let mut bench = open(folder.path(), 1 << 20);
            steps[..killed_before].iter().for_each(|events| bench.send(events));
            if is_killed {
                bench.kill()
            } else {
                bench.close()
            }
            let mut bench = open(folder.path(), 1 << 20);
            steps[killed_before..].iter().for_each(|events| bench.send(events));
            check(&bench, "in memory");
            bench.close();
            let bench = open(folder.path(), 1 << 20);
            check(&bench, "in the file");
        }
    }
}

#[test]
fn of_many_versions_in_one_group_the_newest_gets_into_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = open(folder.path(), 1 << 20);
    bench.send(&story().join(","));
    check(&bench, "in memory");
    bench.close();
    let mut bench = open(folder.path(), 1 << 20);
    check(&bench, "in the file");

    // The copies of a list that grows by one id each time would be a hundred times as much.
    let alias = |n: usize| event("$create_alias", "hub", &format!(r#"{{"alias":"{n:0200}"}}"#));
    bench.send(&(0..1_000).map(alias).collect::<Vec<_>>().join(","));
    let waiting_bytes = bench.ingest.state().unwrap().waiting_bytes();
    assert!((400_000..4_000_000).contains(&waiting_bytes), "{waiting_bytes}");
    bench.close();
    let bench = open(folder.path(), 1 << 20);
    let hub = bench.ingest.state().unwrap().person("t", &format!("{:0200}", 999)).unwrap().unwrap();
    assert_eq!((hub.version, hub.ids.total()), (1_000, 1_001));
}

#[test]
fn a_small_cache_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = open(folder.path(), 2_000);
    for round in 0..50 {
        for id in 0..20 {
            bench.send(&event("$set", &format!("id-{id}"), &format!(r#"{{"$set":{{"round":{round}}}}}"#)));
        }
        if round % 10 == 9 {
            bench.close();
            bench = open(folder.path(), 2_000);
        }
    }
    for id in 0..20 {
        let expected = format!(r#"{}:id-{id}:50:false:{{"round":49}}"#, id + 1);
        assert_eq!(bench.who(&format!("id-{id}")), Some(expected));
    }
}

#[test]
fn a_lost_file_is_made_anew_from_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = open(folder.path(), 1 << 20);
    story().iter().for_each(|events| bench.send(events));
    let ids: Vec<String> =
        (0..1_500).map(|id| event("$identify", "many", &format!(r#"{{"$anon_distinct_id":"m{id}"}}"#))).collect();
    bench.send(&ids.join(","));
    let many = bench.who("m7");
    let rows = STATE_TABLES.map(|table| (table, bench.batches(table)));
    bench.close();
    let path = folder.path().join("state.sqlite");
    let mut rebuild = Rebuild::begin(&path).unwrap();
    // In any order, a row at a time.
    for (table, batches) in rows.iter().rev() {
        for batch in batches.iter().rev() {
            for row in (0..batch.num_rows()).rev() {
                rebuild.put(*table, &batch.slice(row, 1)).unwrap();
            }
        }
    }
    let mut positions: Positions = [[0; TABLES]; 2];
    for (table, batches) in &rows {
        positions[0][table.index()] = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    }
    assert_eq!(rebuild.finish(&positions).unwrap(), 2);
    let mut bench = open(folder.path(), 1 << 20);
    check(&bench, "rebuilt");
    assert_eq!(bench.who("m7"), many);
    // The next person does not get a number that was given before.
    bench.send(&event("e", "new", "{}"));
    assert_eq!(bench.who("new").as_deref(), Some("5:new:1:false:{}"));
}

#[test]
fn a_file_that_is_behind_or_ahead_of_the_log_is_refused() {
    let refused = |folder: &Path| {
        let state = StateSettings::new(folder.join("state.sqlite"));
        let settings = IngestSettings::new(folder.to_owned(), test_writer(), [7; 16]);
        let parts = IngestParts {
            disk: Arc::new(RealDisk::new(Durability::Os)),
            views: test_views(),
            clock: Arc::new(TestClock::default()),
            state: Some(state),
        };
        let mut covered: Positions = [[0; TABLES]; 2];
        covered[0][Table::Persons.index()] = 2;
        let replay = Replay { covered, ..Replay::of_everything() };
        Ingest::open(settings, parts, replay).map(drop).map_err(|error| error.to_string())
    };
    let folder = tempfile::tempdir().unwrap();
    let error = refused(folder.path()).unwrap_err();
    assert!(error.contains("hogflare state rebuild"), "{error}");
    let mut bench = open(folder.path(), 1 << 20);
    story().iter().for_each(|events| bench.send(events));
    bench.close();
    std::fs::remove_dir_all(folder.path().join("wal")).unwrap();
    let error = refused(folder.path()).unwrap_err();
    assert!(error.contains("the log was"), "{error}");
}

#[test]
fn a_setting_that_contradicts_the_slots_is_refused() {
    let of_others = ConfiguredTypes {
        default: [Some("company".to_owned()), None, None, None, None],
        only: Some(std::collections::HashSet::from(["t".to_owned()])),
        ..ConfiguredTypes::default()
    };
    assert!(of_others.check(&[("junk".to_owned(), 0, "x".to_owned())]).is_ok());
    let own = [("t".to_owned(), [Some("team".to_owned()), None, None, None, None])];
    let of_project = ConfiguredTypes { projects: own.into_iter().collect(), ..of_others };
    assert!(of_project.check(&[("t".to_owned(), 0, "team".to_owned())]).is_ok());
    let names = |names: &[&str]| -> [Option<String>; GROUP_SLOTS] {
        std::array::from_fn(|slot| names.get(slot).filter(|name| !name.is_empty()).map(|name| (*name).to_owned()))
    };
    let known = [("t".to_owned(), 0, "company".to_owned()), ("t".to_owned(), 1, "team".to_owned())];
    for (configured, fits) in [
        (&["company", "team"][..], true),
        (&[][..], true),
        (&["company"][..], true),
        (&["", "", "other"][..], true),
        (&["team", "company"][..], false),
        (&["project"][..], false),
        (&["", "", "company"][..], false),
    ] {
        let configured_types = ConfiguredTypes { default: names(configured), ..ConfiguredTypes::default() };
        assert_eq!(configured_types.check(&known).is_ok(), fits, "{configured:?}");
    }
}

/// The same while the server runs, for the projects that a list names.
#[test]
fn listed_projects_are_compared_with_their_slots() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = open(folder.path(), 1 << 20);
    bench.send(&event("e", "u", r#"{"$groups":{"company":"acme"}}"#));
    for (project, configured, fits) in [("t", "company", true), ("t", "team", false), ("other", "team", true)] {
        let types = [Some(configured.to_owned()), None, None, None, None];
        let configured_types = ConfiguredTypes {
            projects: HashMap::from([(project.to_owned(), types)]),
            only: Some(std::collections::HashSet::from([project.to_owned()])),
            ..ConfiguredTypes::default()
        };
        let checked = bench.ingest.state().unwrap().check_types(&configured_types);
        assert_eq!(checked.is_ok(), fits, "{project} {configured}: {checked:?}");
    }
}

/// Rows of a person list its oldest ids only; a process that ends before the others are looked up leaves a note.
#[test]
fn ids_that_rows_do_not_list_are_listed_once_all_rows_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = open(folder.path(), 1 << 20);
    for from in (0..1_500).step_by(100) {
        let alias = |number: usize| event("$create_alias", "hub", &format!(r#"{{"alias":"alias-{number}"}}"#));
        bench.send(&(from..from + 100).map(alias).collect::<Vec<_>>().join(","));
    }
    let part = |table| {
        let batches = bench.batches(table);
        let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
        Part { table, slot: Slot::Main, first_position: 1, batch }
    };
    let parts = [part(Table::PersonOverrides), part(Table::Persons)];
    let path = folder.path().join("other.sqlite");
    Opening::open(StateSettings::new(path.clone())).unwrap().redo(&parts).unwrap();
    let mut store = Store::open(&path).unwrap();
    store.list_all_ids().unwrap();
    let hub = store.reader(1 << 20).unwrap().person(key("t", "alias-7").into()).unwrap().unwrap();
    let ids: Vec<String> = hub.ids.iter().collect();
    assert_eq!(
        (ids.len(), &*ids[0], &*ids[1], &*ids[1_000], hub.ids.total()),
        (1_501, "hub", "alias-0", "alias-999", 1_501)
    );
}

#[test]
fn a_damaged_file_says_what_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = open(folder.path(), 1 << 20);
    story().iter().for_each(|events| bench.send(events));
    bench.close();
    let path = folder.path().join("state.sqlite");
    let whole = std::fs::read(&path).unwrap();
    for bytes in [&b"this is no database, and long enough to have been one"[..], &whole[..8 << 10]] {
        std::fs::write(&path, bytes).unwrap();
        let error = Opening::open(StateSettings::new(path.clone())).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("hogflare state rebuild"), "{error}");
    }
}

#[test]
fn files_of_other_releases_are_refused() {
    for (format, expected) in [(1, "hogflare state rebuild"), (99, "written by a later release")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.sqlite");
        Opening::open(StateSettings::new(path.clone())).unwrap();
        rusqlite::Connection::open(&path).unwrap().execute("UPDATE meta SET format = ?", [format]).unwrap();
        let error = Opening::open(StateSettings::new(path)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
