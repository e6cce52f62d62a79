//! The commit protocol against a catalog that misbehaves, by the names of the invariants that it keeps.

use std::time::{Duration, Instant};

use hogflare_catalog::watermark::read_watermark;
use hogflare_catalog::{Budget, Slot, Table};

use super::harness::{Dial, EVENTS, NAMESPACE, Scene, copy_folder};
use crate::fake::{Client, FakeSettings, Fault, Step};

fn our_snapshots(scene: &Scene) -> usize {
    let metadata = scene.fake.table(NAMESPACE, EVENTS);
    let ours = |snapshot: &&iceberg::spec::SnapshotRef| {
        snapshot.summary().additional_properties.contains_key("hogflare.through")
    };
    metadata.snapshots().filter(ours).count()
}

#[tokio::test]
async fn i3_a_lost_response_never_doubles() {
    for fault in [
        Fault::AppliedThen(500),
        Fault::AppliedThen(502),
        Fault::AppliedThen(504),
        Fault::AppliedThenReset,
        Fault::AppliedThenHang,
        Fault::Truncated,
        Fault::Garbage,
    ] {
        let scene = Scene::r2();
        let mut process = scene.start();
        process.make_ready().await.unwrap();
        scene.fake.script(Step::Commit, fault);
        process.append(10);
        process.settle().await;
        assert_eq!(our_snapshots(&scene), 1, "{fault:?}");
        scene.check_table();
    }
}

#[tokio::test]
async fn i4_a_conflict_with_our_own_replayed_commit_is_success() {
    let scene = Scene::r2();
    let mut process = scene.start();
    process.make_ready().await.unwrap();
    scene.fake.script(Step::Commit, Fault::Replayed);
    process.append(10);
    process.settle().await;
    assert_eq!(our_snapshots(&scene), 1);
    scene.check_table();
}

/// I6 and I7: between the lost answer and the next start the snapshot was compacted away or expired.
#[tokio::test]
async fn i6_i7_compaction_and_expiry_before_recovery_are_harmless() {
    for disturbances in [
        &[Fault::Compacted][..],
        &[Fault::Foreign, Fault::ExpiredSnapshot],
        &[Fault::Compacted, Fault::ExpiredSnapshot],
    ] {
        let scene = Scene::r2();
        let mut process = scene.start();
        process.make_ready().await.unwrap();
        process.append(10);
        scene.fake.script(Step::Commit, Fault::AppliedThenReset);
        (0..20).for_each(|_| scene.fake.script(Step::Load, Fault::Status(503)));
        process.lake.finish().await.unwrap();
        assert!(!process.lake.is_settled());
        drop(process);
        for fault in disturbances {
            scene.fake.disturb(NAMESPACE, EVENTS, *fault);
        }
        while scene.fake.scripted_left() > 0 {
            let process = scene.start();
            let _ = process.make_ready().await;
        }
        let mut process = scene.start();
        process.make_ready().await.unwrap();
        process.append(5);
        process.settle().await;
        scene.check_table();
    }
}

/// I8: a copy of the folder takes over; the first process finds out, says so and shows all that it took.
#[tokio::test]
async fn i8_a_copied_folder_fences_the_one_that_runs() {
    let scene = Scene::r2();
    let mut first = scene.start();
    first.make_ready().await.unwrap();
    first.append(7);
    first.settle().await;

    let copy = tempfile::tempdir().unwrap();
    copy_folder(&scene.path(), copy.path());
    let mut second = super::harness::start(copy.path(), &scene.fake, &scene.dial, &scene.log);
    second.make_ready().await.unwrap();

    first.append(3);
    first.lake.finish().await.unwrap();
    let said = first.lake.trouble(Table::Events).unwrap_or_default();
    assert!(said.starts_with("fenced"), "{said}");
    assert_eq!(first.rows().await, (7, 3), "what was acknowledged is still shown");
    assert_eq!(scene.fake.rows(NAMESPACE, EVENTS).len(), 7);
    first.lake.freshen().await;
    assert_eq!(first.rows().await, (7, 3), "news of the copy hide nothing");

    // The copy goes on; the first stays fenced through its restarts.
    second.append(2);
    second.settle().await;
    drop(first);
    for _ in 0..2 {
        let again = scene.start();
        assert!(again.make_ready().await.unwrap_err().starts_with("fenced"));
    }
}

/// Both are started from the same copy, so neither epoch is newer.
#[tokio::test]
async fn of_two_starts_of_one_copy_the_first_claim_wins() {
    let scene = Scene::r2();
    let process = scene.start();
    process.make_ready().await.unwrap();
    drop(process);
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&scene.path(), copy.path());
    let left = scene.start();
    let right = super::harness::start(copy.path(), &scene.fake, &scene.dial, &scene.log);
    let outcomes = tokio::join!(left.make_ready(), right.make_ready());
    let won = [outcomes.0.is_ok(), outcomes.1.is_ok()].into_iter().filter(|won| *won).count();
    assert!(won >= 1, "{outcomes:?}");
    let (mut left, mut right) = (left, right);
    left.append(1);
    left.lake.finish().await.unwrap();
    right.lake.finish().await.unwrap();
    right.append(1);
    right.lake.finish().await.unwrap();
    let settled = [left.lake.is_settled(), right.lake.is_settled()];
    assert_eq!(settled.into_iter().filter(|settled| *settled).count(), 1, "one writes, the other waits");
}

#[tokio::test]
async fn a_foreign_commit_is_rebased_on_and_seen_by_reads() {
    let scene = Scene::r2();
    let mut process = scene.start();
    process.make_ready().await.unwrap();
    process.append(4);
    scene.fake.script(Step::Commit, Fault::Foreign);
    process.settle().await;
    scene.check_table();
    scene.fake.disturb(NAMESPACE, EVENTS, Fault::Compacted);
    let before = process.views.current().head(Table::Events).unwrap().metadata_location.clone();
    process.lake.freshen().await;
    assert_ne!(process.views.current().head(Table::Events).unwrap().metadata_location, before);
    process.append(1);
    process.settle().await;
    scene.check_table();
}

/// I21: a table of the same name that is not ours, and one that was rolled back.
#[tokio::test]
async fn i21_a_wrong_table_is_never_written() {
    for replace in [true, false] {
        let scene = Scene::r2();
        let mut process = scene.start();
        process.make_ready().await.unwrap();
        for _ in 0..2 {
            process.append(5);
            process.settle().await;
        }
        if replace {
            scene.fake.replace_table(NAMESPACE, EVENTS);
        } else {
            let metadata = scene.fake.table(NAMESPACE, EVENTS);
            let parent = metadata.current_snapshot().unwrap().parent_snapshot_id().unwrap();
            scene.fake.roll_back(NAMESPACE, EVENTS, parent);
        }
        let before = scene.fake.rows(NAMESPACE, EVENTS);
        process.append(3);
        process.lake.finish().await.unwrap();
        let said = process.lake.trouble(Table::Events).unwrap_or_default();
        let word = if replace { "replaced" } else { "rolled back" };
        assert!(said.contains(word), "{said}");
        assert_eq!(scene.fake.rows(NAMESPACE, EVENTS), before);
        assert_eq!(process.rows().await.1, 3, "the rows wait");
        // The next start finds out before it changes anything: no claim, no column.
        let before = scene.fake.table(NAMESPACE, EVENTS);
        drop(process);
        let process = scene.start();
        assert!(process.make_ready().await.unwrap_err().contains(word));
        assert_eq!(scene.fake.table(NAMESPACE, EVENTS), before);
    }
}

/// I26: what a commit costs.
#[tokio::test]
async fn i26_a_commit_is_one_post_and_three_puts() {
    let scene = Scene::r2();
    let mut process = scene.start();
    process.make_ready().await.unwrap();
    process.append(1);
    process.settle().await;
    scene.fake.reset_counts();
    for commit in 1..=5_usize {
        // One day, so one data file.
        process.append(1);
        process.settle().await;
        let counts = scene.fake.counts();
        let asked = |step: Step| counts.requests(step);
        assert_eq!(asked(Step::Commit), commit);
        assert_eq!(asked(Step::Put), 3 * commit, "data file, manifest and manifest list");
        for step in [Step::Load, Step::Get, Step::Head, Step::List, Step::Config, Step::Credentials, Step::Namespace] {
            assert_eq!(asked(step), 0, "{step:?}");
        }
        assert_eq!(counts.of(Client::Catalog, Step::Put).requests, commit);
    }
    let counts = scene.fake.counts();
    let (put, commit) = (counts.of(Client::Wire, Step::Put), counts.of(Client::Wire, Step::Commit));
    println!("per commit of one row: {} bytes put, {} bytes posted", put.bytes_up / 5, commit.bytes_up / 5);
}

#[tokio::test]
async fn i17_credentials_roll_without_a_refused_request() {
    let settings = FakeSettings {
        credential_ttl: Some(Duration::from_millis(400)),
        window: Duration::ZERO,
        ..FakeSettings::default()
    };
    let scene = Scene::new(settings, Dial::r2);
    let mut process = scene.start();
    process.make_ready().await.unwrap();
    scene.fake.reset_counts();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(2_000) {
        process.append(1);
        process.settle().await;
        assert_eq!(process.lake.trouble(Table::Events), None);
    }
    scene.check_table();
    let counts = scene.fake.counts();
    let renewals = counts.requests(Step::Credentials) + counts.requests(Step::Load);
    assert!((4..=8).contains(&renewals), "{renewals} renewals in five lives");
    assert_eq!(scene.fake.refused_keys(), 0, "no request was refused");
}

#[tokio::test]
async fn i16_parts_of_an_upload_are_equal() {
    let settings = FakeSettings { part_bytes_min: 1, ..FakeSettings::default() };
    let scene = Scene::new(settings, Dial::r2);
    let process = scene.start();
    process.make_ready().await.unwrap();
    let location = process.views.current().head(Table::Events).unwrap().metadata.location().to_owned();
    let bytes = bytes::Bytes::from(vec![7_u8; (3 << 20) + 12_345]);
    let object = format!("{location}/data/large.bin");
    process.objects.put_new(&object, bytes.clone()).await.unwrap();
    assert_eq!(process.objects.read(&object).await.unwrap(), bytes);
    assert_eq!(scene.fake.unfinished_uploads(), 0);
}

/// A catalog that is away at the start and for long: events are taken, nothing is forgotten, and all goes
/// on its return in commits of bounded size.
#[tokio::test]
async fn a_catalog_that_is_away_holds_up_nothing_but_commits() {
    let scene = Scene::new(FakeSettings::default(), Dial::own_keys);
    scene.fake.away(true);
    let mut process = scene.start();
    for _ in 0..40 {
        process.append(25);
        process.lake.seal_all().unwrap();
        process.lake.finish().await.unwrap();
    }
    assert_eq!(process.rows().await, (0, 1_000));
    drop(process);
    let mut process = scene.start();
    assert_eq!(process.rows().await, (0, 1_000), "also after a restart");
    scene.fake.away(false);
    process.make_ready().await.unwrap();
    process.settle().await;
    assert_eq!(process.rows().await, (1_000, 0));
    scene.check_table();
    // Away again: what is known is still shown, also by the next start.
    scene.fake.away(true);
    process.append(5);
    process.lake.freshen().await;
    assert_eq!(process.rows().await, (1_000, 5));
    drop(process);
    let mut process = scene.start();
    process.make_ready().await.unwrap();
    let view = process.views.current();
    let shown = read_watermark(&view.head(Table::Events).unwrap().metadata, process.views.writer(), Slot::Main);
    assert_eq!(shown.unwrap().unwrap().position, 1_000);
    assert_eq!(view.tail(Table::Events, Slot::Main).rows(), 5);
    process.append(1);
    scene.fake.away(false);
    process.make_claimed().await;
    process.settle().await;
    scene.check_table();
}

#[tokio::test]
async fn a_forbidden_change_stops_the_table_instead_of_trying_for_ever() {
    let scene = Scene::r2();
    let mut process = scene.start();
    process.make_ready().await.unwrap();
    scene.fake.reset_counts();
    scene.fake.script(Step::Commit, Fault::Status(403));
    process.append(1);
    process.lake.finish().await.unwrap();
    assert_eq!(scene.fake.counts().requests(Step::Commit), 1);
    assert!(process.lake.trouble(Table::Events).unwrap().contains("refuses"));
    process.settle().await;
    scene.check_table();
}

/// I13: commits as fast as they go, races lost again and again; no window holds more than R2 takes, and
/// none is refused.
#[tokio::test]
async fn i13_a_storm_of_conflicts_stays_within_the_limits() {
    let window = Duration::from_secs(1);
    let settings = FakeSettings { window, ..FakeSettings::default() };
    let mut scene = Scene::new(settings, Dial::r2);
    scene.dial.settings.budget = Budget { window: Duration::from_millis(1_050), ..Budget::R2 };
    let mut process = scene.start();
    process.make_ready().await.unwrap();
    for commit in 0..30 {
        if commit % 2 == 0 {
            scene.fake.script(Step::Commit, Fault::Foreign);
        }
        process.append(1);
        process.settle().await;
    }
    scene.check_table();
    let busiest = scene.fake.busiest();
    assert!(busiest.values().all(|most| *most <= 20), "{busiest:?}");
    let table = crate::fake::Budget::Commits(format!("{NAMESPACE}.{EVENTS}"));
    assert!(busiest[&table] >= 10, "the budget is used: {busiest:?}");
}

/// Tokens of OAuth that live shortly are renewed without a failed commit.
#[tokio::test]
async fn tokens_are_renewed_before_they_end() {
    let settings =
        FakeSettings { token_ttl: Duration::from_secs(1), window: Duration::ZERO, ..FakeSettings::default() };
    let scene = Scene::new(settings, Dial::oauth);
    let mut process = scene.start();
    process.make_ready().await.unwrap();
    scene.fake.reset_counts();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(2_500) {
        process.append(1);
        process.settle().await;
        assert_eq!(process.lake.trouble(Table::Events), None);
    }
    let tokens = scene.fake.counts().requests(Step::Token);
    assert!((2..=5).contains(&tokens), "{tokens} tokens");
    scene.check_table();
}

/// Some catalogs name their credentials `s3` instead of by a location, and leave the endpoint to the load.
#[tokio::test]
async fn credentials_without_a_location_are_renewed() {
    let settings = FakeSettings {
        credential_ttl: Some(Duration::from_millis(300)),
        credential_prefix: Some("s3".to_owned()),
        window: Duration::ZERO,
        ..FakeSettings::default()
    };
    let scene = Scene::new(settings, Dial::r2);
    let mut process = scene.start();
    process.make_ready().await.unwrap();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1_000) {
        process.append(1);
        process.settle().await;
        assert_eq!(process.lake.trouble(Table::Events), None);
    }
    scene.check_table();
}
