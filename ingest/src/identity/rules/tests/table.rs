//! The merge table, row by row, and what ordinary events do.

use super::*;

/// `distinct_id operation [other] [set]` → persons as `canonical:ids:version:identified:properties`, and
/// the reason of a warning.
fn check(steps: &[(&str, Act<'_>, &str)], expected: &[&str], warning: Option<&str>) {
    let mut world = World::default();
    let mut warned = None;
    for (id, act, set) in steps {
        let outcome = world.apply(&IdentityEvent { set: Some(set), ..event(id, *act) });
        warned = outcome.changes.warnings.first().map(|warning| warning.reason.as_str());
        let stamped = outcome.stamp.person.expect("somebody");
        assert_eq!(Some(&*stamped), world.person_of(id), "the event is stamped with the person as it is then");
    }
    let mut persons: Vec<&Person> = world.persons.values().map(|person| &**person).collect();
    persons.sort_by_key(|person| person.number);
    let shown: Vec<String> = persons
        .iter()
        .map(|person| {
            let identified = if person.is_identified { "identified" } else { "anonymous" };
            let ids = person.ids.iter().collect::<Vec<_>>().join("+");
            format!("{}:{ids}:{}:{identified}:{}", person.canonical, person.version, person.properties())
        })
        .collect();
    assert_eq!(shown, expected, "{steps:?}");
    assert_eq!(warned, warning, "{steps:?}");
}

#[test]
fn the_merge_table_holds() {
    let identify = |other| merge_of(other, Operation::Identify);
    let alias = |other| merge_of(other, Operation::Alias);
    let dangerously = |other| merge_of(other, Operation::Merge);
    let capture = Act::Capture;
    // Nobody is known.
    check(&[("u", identify("a"), "{}")], &["u:a+u:1:identified:{}"], None);
    check(&[("u", alias("a"), "{}")], &["u:u+a:1:identified:{}"], None);
    // One is known.
    check(
        &[("a", capture, r#"{"x":1}"#), ("u", identify("a"), r#"{"y":2}"#)],
        &[r#"a:a+u:2:identified:{"x":1,"y":2}"#],
        None,
    );
    check(&[("u", capture, "{}"), ("u", identify("a"), "{}")], &["u:u+a:2:identified:{}"], None);
    // Both are the same person.
    check(&[("u", identify("a"), "{}"), ("u", identify("a"), "{}")], &["u:a+u:1:identified:{}"], None);
    check(&[("u", identify("a"), "{}"), ("a", identify("u"), r#"{"x":1}"#)], &[r#"u:a+u:2:identified:{"x":1}"#], None);
    // Two persons: the target survives, its values win.
    check(
        &[("a", capture, r#"{"x":1,"y":1}"#), ("u", capture, r#"{"y":2}"#), ("u", identify("a"), r#"{"z":3}"#)],
        &[r#"u:u+a:2:identified:{"y":2,"x":1,"z":3}"#],
        None,
    );
    // The other one is identified already.
    let identified = [("b", identify("c"), "{}"), ("u", capture, "{}")];
    let refused = &["b:c+b:1:identified:{}", r#"u:u:2:anonymous:{"x":1}"#];
    for act in [identify("b"), alias("b")] {
        let steps = [identified[0], identified[1], ("u", act, r#"{"x":1}"#)];
        check(&steps, refused, Some("merge_refused_already_identified"));
    }
    let steps = [identified[0], identified[1], ("u", dangerously("b"), r#"{"x":1}"#)];
    check(&steps, &[r#"u:u+c+b:2:identified:{"x":1}"#], None);
    // A plain identify names nobody.
    check(&[("u", Act::Update(Operation::Identify), "{}")], &["u:u:1:anonymous:{}"], None);
    // Ids that name nobody, and the own id.
    for illegal in ["null", "anonymous", "0"] {
        check(
            &[("u", identify(illegal), r#"{"x":1}"#)],
            &[r#"u:u:1:anonymous:{"x":1}"#],
            Some("merge_refused_illegal_id"),
        );
    }
    check(&[("u", identify("u"), "{}")], &["u:u:1:anonymous:{}"], None);
}

#[test]
fn a_merge_moves_every_id_and_ends_the_other_person() {
    let mut world = World::default();
    for id in ["a", "u"] {
        world.apply(&event(id, Act::Capture));
    }
    let later = IdentityEvent { timestamp_us: 2_000_000_000, ..event("a", merge_of("a2", Operation::Merge)) };
    assert_eq!(world.apply(&later).changes.links.len(), 1);
    let last = IdentityEvent { timestamp_us: 3_000_000_000, ..event("u", merge_of("a", Operation::Merge)) };
    let merged = world.apply(&last);
    let moved: Vec<(&str, Uuid, Option<Uuid>, i64)> = (merged.changes.links.iter())
        .map(|link| (&*link.distinct_id, link.person_id, link.moved_from, link.version))
        .collect();
    let (u, a) = (key(PROJECT, "u"), key(PROJECT, "a"));
    assert_eq!(moved, [("a", u, Some(a), 3), ("a2", u, Some(a), 3)]);
    let gone: Vec<_> = merged.changes.persons.iter().filter_map(|change| change.merged_into).collect();
    assert_eq!(gone, [u]);
    assert_eq!(world.person_of("a2").map(|person| person.created_at_us), Some(1_000_000_000));
}

#[test]
fn too_many_ids_are_not_moved() {
    let mut world = World::default();
    world.apply(&event("u", Act::Capture));
    let ids: Vec<String> = (0..=MOVED_IDS_MAX).map(|number| format!("id-{number}")).collect();
    world.apply(&event(&ids[0], Act::Capture));
    for id in &ids[1..] {
        world.apply(&event(&ids[0], merge_of(id, Operation::Merge)));
    }
    let refused = world.apply(&event("u", merge_of(&ids[0], Operation::Merge)));
    assert_eq!(refused.changes.warnings[0].reason.as_str(), "merge_refused_too_many_ids");
    assert_eq!(world.person_of(&ids[7]).map(|person| person.ids.total()), Some(MOVED_IDS_MAX + 1));
    // The other way round nothing moves but one id.
    let outcome = world.apply(&event(&ids[0], merge_of("u", Operation::Merge)));
    assert_eq!((outcome.changes.warnings.len(), outcome.changes.links.len()), (0, 1));
}

#[test]
fn properties_that_are_too_large_are_refused() {
    let mut world = World::default();
    let large = format!(r#"{{"blob":"{}"}}"#, "x".repeat(300 << 10));
    world.apply(&IdentityEvent { set: Some(&large), ..event("u", Act::Capture) });
    let more = large.replace("blob", "more");
    let refused = world.apply(&IdentityEvent { set: Some(&more), ..event("u", Act::Capture) });
    assert_eq!(refused.changes.warnings[0].reason.as_str(), "person_too_large");
    assert!(refused.changes.persons.is_empty());
    world.apply(&IdentityEvent { set: Some(&more), ..event("v", Act::Capture) });
    let merged = world.apply(&event("u", merge_of("v", Operation::Merge)));
    assert_eq!(merged.changes.warnings[0].reason.as_str(), "person_too_large");
    assert_eq!(world.person_of("v").map(|person| person.properties().len()), Some(large.len()));
}

#[test]
fn events_without_a_profile_make_nobody() {
    let mut world = World::default();
    let personless = |id, timestamp_us| IdentityEvent {
        wants_profile: false,
        timestamp_us,
        set: Some(r#"{"x":1}"#),
        ..event(id, Act::Capture)
    };
    let outcome = world.apply(&personless("u", 0));
    assert_eq!((outcome.stamp.person_id, outcome.stamp.mode), (key(PROJECT, "u"), PersonMode::Propertyless));
    assert!(outcome.changes.is_empty() && outcome.stamp.person.is_none());
    let outcome = world.apply(&event("u", Act::Bystander));
    assert!(outcome.changes.is_empty() && outcome.stamp.mode == PersonMode::Propertyless);
    world.apply(&event("v", merge_of("u", Operation::Identify)));
    for (after_us, mode) in [(1_059_000_000, PersonMode::Propertyless), (1_061_000_000, PersonMode::ForceUpgrade)] {
        let outcome = world.apply(&personless("u", after_us));
        assert_eq!((outcome.stamp.person_id, outcome.stamp.mode), (key(PROJECT, "v"), mode));
        assert!(outcome.changes.is_empty());
    }
    assert_eq!(world.apply(&event("u", Act::Bystander)).stamp.mode, PersonMode::Full);
}

#[test]
fn the_third_event_of_the_verification_flow_changes_nothing() {
    let mut world = World::default();
    let first = world.apply(&IdentityEvent { set: Some(r#"{"plan":"pro"}"#), ..event("a", Act::Capture) });
    let second = world.apply(&event("u", merge_of("a", Operation::Identify)));
    let third = world.apply(&event("u", Act::Capture));
    let operations: Vec<&str> = [&first, &second, &third]
        .iter()
        .flat_map(|outcome| outcome.changes.persons.iter().map(|change| change.operation.as_str()))
        .collect();
    assert_eq!(operations, ["capture", "identify"]);
    assert_eq!(first.stamp.person_id, third.stamp.person_id);
}
