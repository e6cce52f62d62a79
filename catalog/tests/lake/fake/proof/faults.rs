//! What each fault does to a request, and that every fault can be met where it is said to be.

use serde_json::json;

use super::super::{FakeLake, FakeSettings, Fault, FaultKind, Met, Step};
use super::{NAMESPACES, Sender, TABLE, TABLES, append, creation};

/// A commit of snapshot 7 meets a fault: what is heard, whether it is in the table, and how many snapshots are.
#[tokio::test]
async fn each_fault_does_to_a_commit_what_it_says() {
    let raced = "400 ConcurrentUpdateError";
    for (fault, heard, applied, snapshots) in [
        (None, "200", true, 2),
        (Some(Fault::Status(503)), "503 InternalServerError", false, 1),
        (Some(Fault::Status(403)), "403 text", false, 1),
        (Some(Fault::AppliedThen(500)), "500 InternalServerError", true, 2),
        (Some(Fault::Reset), "lost", false, 1),
        (Some(Fault::AppliedThenReset), "lost", true, 2),
        (Some(Fault::Hang), "lost", false, 1),
        (Some(Fault::AppliedThenHang), "lost", true, 2),
        (Some(Fault::Truncated), "200 cut", true, 2),
        (Some(Fault::Garbage), "200 garbage", true, 2),
        (Some(Fault::Replayed), raced, true, 2),
        (Some(Fault::RateLimited), "429 TooManyRequestsException", false, 1),
        (Some(Fault::ExpiredCredentials), "401 text", false, 1),
        (Some(Fault::Foreign), raced, false, 2),
        (Some(Fault::Compacted), raced, false, 2),
        (Some(Fault::ExpiredSnapshot), "200", true, 2),
    ] {
        let fake = FakeLake::start(FakeSettings::default());
        let sender = Sender::new(&fake);
        sender.create_events(&fake).await;
        let head = fake.table("default", "events");
        if let Some(fault) = fault {
            fake.script(Step::Commit, fault);
        }
        assert_eq!(sender.hear("POST", TABLE, append(&head, 7, None)).await, heard, "{fault:?}");
        let table = fake.table("default", "events");
        assert_eq!(table.snapshot_by_id(7).is_some(), applied, "{fault:?}");
        assert_eq!(table.properties().contains_key("at"), applied, "{fault:?}");
        assert_eq!(table.snapshots().len(), snapshots, "{fault:?}");
        assert_eq!(fake.met().cells.values().sum::<usize>(), usize::from(fault.is_some()), "{fault:?}");
        // It is over: the next request is an ordinary one.
        assert_eq!(sender.hear("GET", TABLE, "").await, "200", "{fault:?}");
        fake.check_reachable("default", "events");
    }
}

/// The answer to a commit is lost, and before the client looks, another writer covers its traces.
#[tokio::test]
async fn other_writers_come_between_a_commit_and_the_next_look() {
    for (fault, ours_stays) in [(Fault::Foreign, true), (Fault::Compacted, true), (Fault::ExpiredSnapshot, false)] {
        let fake = FakeLake::start(FakeSettings::default());
        let sender = Sender::new(&fake);
        sender.create_events(&fake).await;
        fake.script(Step::Commit, Fault::AppliedThenReset);
        fake.script(Step::Load, fault);
        assert_eq!(sender.hear("POST", TABLE, append(&fake.table("default", "events"), 7, None)).await, "lost");
        let loaded = sender.json("GET", TABLE, &json!(null)).await;
        assert_ne!(loaded["metadata"]["current-snapshot-id"], 7, "{fault:?}");
        assert_eq!(loaded["metadata"]["properties"]["at"], "7", "{fault:?}");
        assert_eq!(fake.table("default", "events").snapshot_by_id(7).is_some(), ours_stays, "{fault:?}");
    }
}

/// Sends the request of a step to a fresh fake; what it hears, and whether it took effect.
async fn at_step(step: Step, fault: Option<Fault>) -> (String, bool, Met) {
    let fake = FakeLake::start(FakeSettings::default());
    let sender = Sender::new(&fake);
    sender.create_events(&fake).await;
    assert_eq!(sender.hear("PUT", "/lake/a", "1").await, "200");
    let (objects, table) = (fake.objects().len(), fake.table("default", "events"));
    if let Some(fault) = fault {
        fake.script(step, fault);
    }
    let login = "grant_type=client_credentials&client_id=client&client_secret=client-secret";
    let (method, path, body) = match step {
        Step::Config => ("GET", "/catalog/v1/config?warehouse=account_lake", String::new()),
        Step::Token => ("POST", "/catalog/v1/oauth/tokens", login.to_owned()),
        Step::Namespace => ("POST", NAMESPACES, json!({"namespace": ["other"]}).to_string()),
        Step::Load => ("GET", TABLE, String::new()),
        Step::Create => ("POST", TABLES, creation("other").to_string()),
        Step::Commit => ("POST", TABLE, append(&table, 7, None)),
        Step::Credentials => {
            ("GET", "/catalog/v1/account-lake/namespaces/default/tables/events/credentials", String::new())
        }
        Step::Put => ("PUT", "/lake/b", "2".to_owned()),
        Step::Get => ("GET", "/lake/a", String::new()),
        Step::Head => ("HEAD", "/lake/a", String::new()),
        Step::List => ("GET", "/lake?list-type=2&prefix=a", String::new()),
        Step::Delete => ("DELETE", "/lake/a", String::new()),
        Step::Multipart => ("POST", "/lake/c?uploads=", String::new()),
        Step::Other => ("DELETE", TABLE, String::new()),
    };
    let heard = sender.hear(method, path, body).await;
    assert_eq!(fake.scripted_left(), 0);
    let met = fake.met();
    let applied = match step {
        Step::Namespace => sender.hear("HEAD", &format!("{NAMESPACES}/other"), "").await == "204",
        Step::Create => sender.hear("HEAD", &format!("{TABLES}/other"), "").await == "204",
        Step::Commit => fake.table("default", "events").snapshot_by_id(7).is_some(),
        Step::Put => fake.objects().contains_key("b"),
        Step::Delete => fake.objects().len() < objects,
        Step::Multipart => fake.unfinished_uploads() > 0,
        _ => false,
    };
    (heard, applied, met)
}

#[tokio::test]
async fn every_fault_can_be_met_at_every_step_that_it_suits() {
    let mut met = Met::default();
    let changing = [Step::Namespace, Step::Create, Step::Commit, Step::Put, Step::Delete, Step::Multipart];
    for step in Step::ALL {
        let (undisturbed, applied, none) = at_step(step, None).await;
        assert!(undisturbed.starts_with("20"), "{step:?}: {undisturbed}");
        assert_eq!((applied, none), (changing.contains(&step), Met::default()), "{step:?}");
        for kind in FaultKind::ALL.into_iter().filter(|kind| kind.suits(step)) {
            let (heard, applied, at_this) = at_step(step, Some(kind.with_status(502))).await;
            let is_foreign = [FaultKind::Foreign, FaultKind::Compacted, FaultKind::ExpiredSnapshot].contains(&kind);
            let before = [
                FaultKind::Status,
                FaultKind::Reset,
                FaultKind::Hang,
                FaultKind::RateLimited,
                FaultKind::ExpiredCredentials,
            ];
            if !is_foreign {
                let takes_effect = changing.contains(&step) && !before.contains(&kind);
                assert_eq!(applied, takes_effect, "{step:?} {kind:?}");
                // A second deletion and a second start of an upload are no mistakes.
                let same = kind == FaultKind::Replayed && [Step::Put, Step::Delete, Step::Multipart].contains(&step);
                assert_eq!(heard == undisturbed, same, "{step:?} {kind:?}: {heard}");
            }
            assert_eq!(at_this.cells, [((step, kind), 1)].into(), "{step:?} {kind:?}");
            met.add(&at_this);
        }
    }
    assert_eq!(met.empty_cells(), []);
    let table = met.table();
    assert_eq!(table.lines().count(), 1 + Step::ALL.len(), "{table}");
    let cells = table.lines().skip(1).flat_map(str::split_whitespace).filter(|cell| *cell == "1").count();
    assert_eq!(cells, met.cells.len(), "{table}");

    met.cells.remove(&(Step::Commit, FaultKind::Replayed));
    assert_eq!(met.empty_cells(), [(Step::Commit, FaultKind::Replayed)]);
}

/// What 60 loads and commits hear under drawn faults.
async fn under_random_faults(seed: u64, per_mille: u32) -> (Vec<String>, Met) {
    let fake = FakeLake::start(FakeSettings { window: std::time::Duration::ZERO, ..FakeSettings::default() });
    let sender = Sender::new(&fake);
    sender.create_events(&fake).await;
    fake.random(seed, per_mille);
    let mut heard = Vec::new();
    for round in 0..30 {
        heard.push(sender.hear("GET", TABLE, "").await);
        heard.push(sender.hear("POST", TABLE, append(&fake.table("default", "events"), 100 + round, None)).await);
    }
    fake.random(seed, 0);
    assert_eq!(sender.hear("GET", TABLE, "").await, "200");
    fake.check_reachable("default", "events");
    (heard, fake.met())
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let (heard, met) = under_random_faults(1, 400).await;
    assert_eq!((heard.clone(), met.clone()), under_random_faults(1, 400).await);
    assert_ne!(heard, under_random_faults(2, 400).await.0);
    assert!(met.cells.len() > 8, "{}", met.table());
    // Keys that were not lent out stay good.
    assert!(met.cells.keys().all(|(_, kind)| *kind != FaultKind::ExpiredCredentials), "{}", met.table());
    assert_eq!(under_random_faults(1, 0).await.1, Met::default());
}

/// A thousand seeded runs must cost the fakes next to nothing.
#[tokio::test]
async fn fakes_come_and_go() {
    for _ in 0..200 {
        let fake = FakeLake::start(FakeSettings::default());
        assert!(fake.endpoint().starts_with("http://127.0.0.1:"));
    }
}
