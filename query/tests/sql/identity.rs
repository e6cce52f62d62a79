//! Whose events are, by what is known now: the views of persons, links and groups.

use hogflare_catalog::tables::{EventRow, GroupRow, PersonOverrideRow, PersonRow};

use serde_json::json;

use crate::fixture::{DAY_US, Lake, event, rows};
use crate::scoped::{ask, only};

const OTHER: &str = "phc_other";

fn of<'a>(project: &'a str, name: &'a str, id: &'a str, person: &'a str, mode: &'a str) -> EventRow<'a> {
    EventRow { api_key: project, person_id: Some(person), person_mode: Some(mode), ..event(name, id, DAY_US, "{}") }
}

fn moved<'a>(project: &'a str, id: &'a str, to: &'a str, version: i64) -> PersonOverrideRow<'a> {
    PersonOverrideRow {
        distinct_id: id,
        person_id: to,
        old_person_id: "before",
        version,
        created_at_us: DAY_US,
        api_key: project,
        source_event_uuid: "e",
        ..PersonOverrideRow::default()
    }
}

fn person<'a>(project: &'a str, id: &'a str, canonical: &'a str, version: i64, is_deleted: bool) -> PersonRow<'a> {
    PersonRow {
        uuid: format!("{id} {version}").leak(),
        operation: "identify",
        person_id: id,
        canonical_distinct_id: canonical,
        distinct_ids: "[]",
        version,
        is_deleted,
        properties: "{}",
        properties_set_once: "{}",
        merged_properties: if version > 1 { r#"{"email":"a@b.c"}"# } else { "{}" },
        api_key: project,
        source_event_uuid: "e",
        created_at_us: DAY_US,
        updated_at_us: DAY_US,
        ..PersonRow::default()
    }
}

fn group<'a>(kind: &'a str, key: Option<&'a str>, version: i64, properties: &'a str) -> GroupRow<'a> {
    GroupRow {
        uuid: format!("{key:?} {version}").leak(),
        operation: "groupidentify",
        group_type: kind,
        group_key: key,
        version,
        properties,
        api_key: "phc_test",
        source_event_uuid: "e",
        created_at_us: DAY_US,
        updated_at_us: DAY_US,
        ..GroupRow::default()
    }
}

/// Two projects with the same distinct ids; in one, `a` was merged into `u`, then both into `v`.
async fn lake() -> Lake {
    let mut lake = Lake::new();
    lake.commit(&[of("phc_test", "early", "a", "p-a", "propertyless"), of(OTHER, "early", "a", "o-a", "full")]).await;
    lake.tail(&[
        of("phc_test", "later", "u", "p-u", "full"),
        of("phc_test", "last", "v", "p-v", "full"),
        of("phc_test", "alone", "z", "p-z", "propertyless"),
    ]);
    lake.identity(|builder| {
        for (id, to, version) in [("a", "p-u", 2), ("u", "p-v", 4), ("a", "p-v", 4)] {
            builder.push_person_override(&moved("phc_test", id, to, version));
        }
        builder.push_person(&person("phc_test", "p-u", "u", 1, false));
        builder.push_person(&person("phc_test", "p-v", "v", 1, false));
        builder.push_person(&person("phc_test", "p-v", "v", 4, false));
        builder.push_person(&person("phc_test", "p-u", "u", 4, true));
        builder.push_person(&person(OTHER, "o-a", "a", 1, false));
        builder.push_group(&group("company", None, 1, "{}"));
        builder.push_group(&group("company", Some("c1"), 1, r#"{"seats":1}"#));
        builder.push_group(&group("company", Some("c1"), 2, r#"{"seats":2}"#));
    });
    lake
}

#[tokio::test]
async fn events_belong_to_the_person_of_now() {
    let lake = lake().await;
    let engine = lake.engine();
    for (sql, expected) in [
        (
            "SELECT event, identity_id, resolved_person_id, has_person, project FROM events ORDER BY project, event",
            concat!(
                r#"[["early","o-a","o-a",true,"phc_other"],["alone","p-z","p-z",false,"phc_test"],"#,
                r#"["early","p-v","p-v",true,"phc_test"],["last","p-v","p-v",true,"phc_test"],"#,
                r#"["later","p-v","p-v",true,"phc_test"]]"#
            ),
        ),
        (
            "SELECT project, identity_id, event_count, actor_count, has_person FROM persons ORDER BY 1, 2",
            concat!(
                r#"[["phc_other","o-a",1,1,true],["phc_test","p-v",3,3,true],"#,
                r#"["phc_test","p-z",1,1,false]]"#
            ),
        ),
        (
            "SELECT project, person_id, version, email FROM person_profiles ORDER BY 1, 2",
            r#"[["phc_other","o-a",1,null],["phc_test","p-v",4,"a@b.c"]]"#,
        ),
        (
            "SELECT project, distinct_id, person_id, is_canonical FROM identity_links ORDER BY 1, 2",
            concat!(
                r#"[["phc_other","a","o-a",true],["phc_test","a","p-v",false],"#,
                r#"["phc_test","u","p-v",false],["phc_test","v","p-v",true]]"#
            ),
        ),
        // Without the join that is not asked for, the aggregate stands right above a union.
        ("SELECT count(*) FROM identity_links", "[[4]]"),
        (
            "SELECT project, max(version) FROM identity_links GROUP BY 1 ORDER BY 1",
            r#"[["phc_other",0],["phc_test",4]]"#,
        ),
        ("SELECT distinct_id, person_id, version FROM person_overrides ORDER BY 1", r#"[["a","p-v",4],["u","p-v",4]]"#),
        ("SELECT group_type, group_key, version, properties FROM groups", r#"[["company","c1",2,"{\"seats\":2}"]]"#),
        ("SELECT project, group_type, group_type_index FROM group_types", r#"[["phc_test","company",0]]"#),
        ("SELECT count(*) FROM lake.hogflare_persons", "[[5]]"),
    ] {
        assert_eq!(rows(&engine, sql).await, expected, "{sql}");
    }
}

/// Rewrites of a plan must leave each view one that can be counted, and asked for one column.
#[tokio::test]
async fn every_view_can_be_counted() {
    let lake = lake().await;
    let engine = lake.engine();
    for (view, count) in [
        ("events", 5),
        ("persons", 3),
        ("person_profiles", 2),
        ("person_overrides", 2),
        ("identity_links", 4),
        ("groups", 1),
        ("group_types", 1),
        ("dead_letter", 0),
    ] {
        assert_eq!(rows(&engine, &format!("SELECT count(*) FROM {view}")).await, format!("[[{count}]]"), "{view}");
    }
    let links = "SELECT count(*) FROM events e JOIN identity_links l USING (project, distinct_id)";
    assert_eq!(rows(&engine, links).await, "[[4]]");
}

#[tokio::test]
async fn who_does_not_ask_whose_events_are_does_not_pay_for_it() {
    let lake = lake().await;
    let engine = lake.engine();
    for (sql, joins) in [
        ("SELECT count(*) FROM events", false),
        ("SELECT event, count(*) FROM events WHERE distinct_id = 'a' GROUP BY event ORDER BY 2 LIMIT 3", false),
        ("SELECT e.event FROM (SELECT * FROM events WHERE project = 'phc_test') e ORDER BY e.\"timestamp\"", false),
        ("WITH x AS (SELECT event, session_id FROM events) SELECT count(DISTINCT session_id) FROM x", false),
        ("SELECT event FROM events UNION ALL SELECT event_type FROM events", false),
        ("SELECT count(DISTINCT identity_id) FROM events", true),
        ("SELECT count(*) FROM events WHERE has_person", true),
        ("SELECT event FROM events ORDER BY resolved_person_id", true),
        ("SELECT * FROM events", true),
        (
            "SELECT event FROM events e WHERE EXISTS (SELECT 1 FROM person_profiles p WHERE p.person_id = e.identity_id)",
            true,
        ),
    ] {
        let plan = rows(&engine, &format!("EXPLAIN {sql}")).await;
        assert_eq!(plan.contains("Left Join") || plan.contains("join_type=Left"), joins, "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn the_smaller_side_of_the_join_is_held_in_memory() {
    let mut lake = lake().await;
    let many: Vec<EventRow<'_>> = (0..5_000).map(|_| of("phc_test", "many", "a", "p-a", "full")).collect();
    lake.commit(&many).await;
    let engine = lake.engine();
    let plan = rows(&engine, "EXPLAIN SELECT identity_id, count(*) FROM events GROUP BY 1").await;
    assert!(plan.contains("join_type=Right"), "{plan}");
    let counted = rows(&engine, "SELECT identity_id, count(*) FROM events WHERE event = 'many' GROUP BY 1").await;
    assert_eq!(counted, r#"[["p-v",5000]]"#);
}

/// Numbers of persons count those of all projects: who reads single ones has null in their place, in every form.
#[tokio::test]
async fn readers_of_single_projects_see_persons_without_their_numbers() {
    let lake = lake().await;
    let engine = lake.engine();
    for (sql, expected) in [
        ("SELECT person_id, person_int_id, version FROM person_profiles", r#"[["o-a",null,1]]"#),
        ("SELECT p.person_int_id FROM events e JOIN person_profiles p ON p.person_id = e.identity_id", "[[null]]"),
        ("SELECT max(person_int_id), count(person_int_id), count(*) FROM hogflare_persons", "[[null,0,1]]"),
        ("SELECT count(*) FROM hogflare_persons WHERE person_int_id IS NULL", "[[1]]"),
        ("SELECT person_int_id IS NULL FROM hogflare_persons", "[[true]]"),
        ("SELECT count(*) FROM hogflare_persons WHERE person_int_id >= 0", "[[0]]"),
        ("SELECT count(*) FROM (SELECT * FROM hogflare_persons UNION ALL SELECT * FROM hogflare_persons)", "[[2]]"),
    ] {
        assert_eq!(ask(&engine, &only(&[OTHER]), sql, json!({})).await, expected, "{sql}");
    }
}

/// One person or group with a long history must not take the view from everybody.
#[tokio::test]
async fn long_histories_do_not_fill_the_memory() {
    let mut lake = lake().await;
    let long = format!(r#"{{"long":"{}"}}"#, "x".repeat(30_000));
    for versions in [1..500, 500..1_000] {
        lake.identity(|builder| {
            for version in versions {
                builder.push_person(&PersonRow { distinct_ids: &long, ..person(OTHER, "o-long", "l", version, false) });
                builder.push_group(&group("company", Some("long"), version, &long));
            }
        });
    }
    let engine = lake.engine_with(|settings| settings.memory_bytes_max = 8 << 20);
    for (sql, expected) in [
        (
            "SELECT person_id, version, length(distinct_ids) FROM person_profiles ORDER BY 1",
            r#"[["o-a",1,2],["o-long",999,30011],["p-v",4,2]]"#,
        ),
        ("SELECT group_key, version, length(properties) FROM groups ORDER BY 1", r#"[["c1",2,11],["long",999,30011]]"#),
    ] {
        assert_eq!(rows(&engine, sql).await, expected, "{sql}");
    }
}
