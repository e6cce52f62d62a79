//! Senders that meet: browsers that identify one user at the same moment, and more persons than memory holds.

use std::sync::Barrier;

use serde_json::{Value, json};

use super::record::Record;
use super::traffic::wide;
use super::{alias, event, identify, objects, send};
use crate::harness::load::{Load, Shape};
use crate::harness::{Options, Server, wait_for};
use crate::kill::LOAD;

const ROUNDS: usize = 150;
const BROWSERS: usize = 3;

/// What the browsers of a user do at once; `{b}` in ids is the browser.
struct Race {
    name: &'static str,
    merge: fn(user: &str, browser: usize) -> Value,
}

const RACES: [Race; 3] = [
    Race { name: "one user", merge: |user, browser| identify(user, &anonymous(user, browser)) },
    Race {
        name: "aliases in a ring",
        merge: |user, browser| alias(&anonymous(user, browser), &anonymous(user, (browser + 1) % BROWSERS)),
    },
    Race {
        name: "each of the two into the other",
        merge: |user, browser| match browser {
            0 => identify(user, &anonymous(user, 0)),
            _ => event("$merge_dangerously", &anonymous(user, browser), json!({"alias": user})),
        },
    },
];

fn anonymous(user: &str, browser: usize) -> String {
    format!("{user}-browser-{browser}")
}

fn user(race: usize, round: usize) -> String {
    format!("user-{race}-{round}")
}

#[test]
fn browsers_that_identify_one_user_at_once_leave_one_person() {
    let server = Options::new().interval("300ms").start();
    let barrier = Barrier::new(BROWSERS);
    std::thread::scope(|scope| {
        for browser in 0..BROWSERS {
            let (server, barrier) = (&server, &barrier);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    for (race, Race { merge, .. }) in RACES.iter().enumerate() {
                        run(server, barrier, &user(race, round), browser, *merge);
                    }
                }
            });
        }
    });
    for (race, Race { name, .. }) in RACES.iter().enumerate() {
        check(&server, race, name);
    }
}

/// An anonymous visit that every other round leaves out, the merge, and a change by the anonymous id.
fn run(server: &Server, barrier: &Barrier, user: &str, browser: usize, merge: fn(&str, usize) -> Value) {
    let id = anonymous(user, browser);
    let mark = |when: &str| json!({"$set": {format!("{when}-{browser}"): 1}});
    barrier.wait();
    send(server, &[event("before", &id, mark("before"))]);
    barrier.wait();
    send(server, &[merge(user, browser)]);
    send(server, &[event("after", &id, mark("after"))]);
}

fn check(server: &Server, race: usize, name: &str) {
    let mine = |column: &str| format!("{column} like 'user-{race}-%'");
    let letters = server.sql(&format!("select * from dead_letter where {}", mine("distinct_id"))).objects();
    let refused = letters.iter().filter(|letter| letter["reason"] == "merge_refused_already_identified").count();
    assert_eq!(refused, letters.len(), "{name}: {letters:?}");
    let sql = format!("select * from person_profiles where {} order by person_id", mine("canonical_distinct_id"));
    let persons = objects(server, &sql, &["distinct_ids", "properties"]);
    println!("{name}: {} persons, {refused} merges refused", persons.len());
    // Who is identified is merged no more: then two are left, and the row says so.
    assert!(persons.len() <= ROUNDS + refused, "{name}: {} persons with {refused} refusals", persons.len());
    assert!(persons.len() == ROUNDS || race == 1, "{name}: each user is one person");
    let ids: usize = persons.iter().map(|person| person["distinct_ids"].as_array().unwrap().len()).sum();
    let expected = ROUNDS * if race == 1 { BROWSERS } else { BROWSERS + 1 };
    assert_eq!(ids, expected, "{name}: every id belongs to one person");
    for person in &persons {
        for id in person["distinct_ids"].as_array().unwrap() {
            let Some((_, browser)) = id.as_str().unwrap().split_once("-browser-") else { continue };
            for when in ["before", "after"] {
                assert_eq!(person["properties"][format!("{when}-{browser}")], 1, "{name}: {person:?}");
            }
        }
    }
    // Every event is with the person that lists its id.
    let events = format!(
        "select count(*) from events e join person_profiles p on p.person_id = e.resolved_person_id \
         join identity_links l on l.distinct_id = e.distinct_id and l.person_id = p.person_id where {}",
        mine("e.distinct_id")
    );
    assert_eq!(server.sql(&events).one(), &json!(3 * BROWSERS * ROUNDS), "{name}");
}

/// Persons leave memory, are read again by one request and changed by another.
#[test]
fn persons_that_memory_does_not_hold_stay_the_same() {
    let server = Options::new().set("HOGFLARE_STATE_MEMORY_MAX", "8MiB").start();
    let load = Load::start_of(server.url(), &Shape { connections: 8, ..LOAD }, wide);
    wait_for("events", || (load.acknowledged() >= 12_000).then_some(()));
    assert!(load.finish().unanswered.is_empty());
    let record = Record::ask(&server);
    println!("{}", record.sizes());
    record.assert_consistent(&server);
}
