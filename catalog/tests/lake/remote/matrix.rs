//! Every fault at every step, and long runs with drawn faults: nothing lost, nothing doubled.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::harness::{Dial, EVENTS, NAMESPACE, Process, Scene};
use crate::fake::{FakeSettings, Fault, FaultKind, Met, Step};
use hogflare_catalog::Table;

/// Drawn runs in CI; `HOGFLARE_TEST_FAULT_RUNS` asks for more.
const RUNS: u64 = 24;
const STEPS_PER_RUN: usize = 10;

/// A life that meets every step: start, commits, a crash, a cold start, an upload in parts, a sweep.
async fn whole_life(scene: &Scene, once_ready: impl FnOnce()) {
    let mut process = scene.start();
    process.make_ready().await.unwrap();
    once_ready();
    process.append(3);
    process.settle().await;
    process.append(2);
    drop(process);

    let mut process = scene.start();
    process.make_ready().await.unwrap();
    process.settle().await;
    upload_in_parts(&process).await;
    // Later than the credentials live.
    tokio::time::sleep(Duration::from_millis(60)).await;
    process.append(1);
    process.settle().await;
    for _ in 0..20 {
        if process.lake.sweep_metadata(Table::Events).await.is_ok() {
            break;
        }
    }
    process.settle().await;
}

async fn upload_in_parts(process: &Process) {
    let location = process.views.current().head(Table::Events).unwrap().metadata.location().to_owned();
    let bytes = bytes::Bytes::from(vec![7_u8; (1 << 20) + (512 << 10) + 9]);
    let object = format!("{location}/data/large.bin");
    for _ in 0..20 {
        if process.objects.put_new(&object, bytes.clone()).await.is_ok() {
            break;
        }
    }
    assert_eq!(read_patiently(process, &object).await, bytes);
}

async fn read_patiently(process: &Process, object: &str) -> bytes::Bytes {
    for _ in 0..20 {
        if let Ok(bytes) = process.objects.read(object).await {
            return bytes;
        }
    }
    panic!("{object} cannot be read");
}

fn short_lived() -> FakeSettings {
    let short = Some(Duration::from_millis(50));
    FakeSettings { credential_ttl: short, part_bytes_min: 1, ..FakeSettings::default() }
}

#[tokio::test]
async fn every_fault_at_every_step_is_survived() {
    let mut met = Met::default();
    for step in Step::ALL {
        for kind in FaultKind::ALL.into_iter().filter(|kind| kind.suits(step)) {
            let scene = Scene::new(short_lived(), Dial::oauth);
            let script = || scene.fake.script(step, kind.with_status(503));
            // Others can change a table only once there is one.
            let others = [FaultKind::Foreign, FaultKind::Compacted, FaultKind::ExpiredSnapshot].contains(&kind);
            if !others {
                script();
                reach(&scene, step);
            }
            let life = whole_life(&scene, || {
                if others {
                    script()
                }
            });
            let lived = tokio::time::timeout(Duration::from_secs(60), life).await;
            assert!(lived.is_ok(), "{kind:?} at {step:?} is not survived");
            let met_there = scene.fake.met();
            assert_eq!(scene.fake.scripted_left(), 0, "{kind:?} never met {step:?}\n{}", met_there.table());
            scene.check_table();
            met.add(&scene.fake.met());
        }
    }
    println!("{}", met.table());
    assert_eq!(met.empty_cells(), []);
}

/// Steps that no life meets unless something else went wrong before.
fn reach(scene: &Scene, step: Step) {
    // A data file that is there already is looked at.
    if step == Step::Head {
        scene.fake.script(Step::Put, Fault::AppliedThen(503));
    }
    // A lost race leaves files behind that nothing names.
    if step == Step::Delete {
        scene.fake.script(Step::Commit, Fault::Foreign);
    }
}

#[tokio::test]
async fn drawn_faults_lose_and_double_nothing() {
    let asked = std::env::var("HOGFLARE_TEST_FAULT_RUNS").ok().and_then(|runs| runs.parse().ok());
    let runs = asked.unwrap_or(RUNS);
    let mut met = Met::default();
    let mut faults = 0;
    for seed in 0..runs {
        let scene = drawn_life(seed).await;
        scene.check_table();
        faults += scene.fake.met().cells.values().sum::<usize>();
        met.add(&scene.fake.met());
    }
    println!("{faults} faults in {runs} runs\n{}", met.table());
}

async fn drawn_life(seed: u64) -> Scene {
    let mut draw = StdRng::seed_from_u64(seed);
    let profile = if seed.is_multiple_of(2) { crate::fake::Profile::R2 } else { crate::fake::Profile::Spec };
    // A short window, so that limits are met and soon over.
    let settings = FakeSettings { profile, window: Duration::from_millis(300), ..short_lived() };
    let scene = Scene::new(settings, if seed.is_multiple_of(3) { Dial::oauth } else { Dial::r2 });
    scene.fake.random(seed, 120);
    let mut process = scene.start();
    for step in 0..STEPS_PER_RUN {
        process.append(draw.random_range(1..40));
        let ready = tokio::time::timeout(Duration::from_secs(20), process.make_ready()).await;
        assert!(
            matches!(ready, Ok(Ok(()))),
            "seed {seed}, step {step}: {ready:?} {:?}",
            process.lake.trouble(Table::Events)
        );
        let finished = tokio::time::timeout(Duration::from_secs(20), process.lake.finish()).await;
        assert!(finished.is_ok(), "seed {seed}, step {step}: {:?}", process.lake.trouble(Table::Events));
        if draw.random_ratio(1, 3) {
            drop(process);
            process = scene.start();
        }
        if draw.random_ratio(1, 6) && process.views.current().head(Table::Events).is_some() {
            scene.fake.disturb(NAMESPACE, EVENTS, Fault::Compacted);
        }
        let (in_table, in_tail) = process.rows_patiently().await;
        if process.views.current().head(Table::Events).is_some() {
            assert_eq!(in_table + in_tail, scene.log.count(), "seed {seed}, step {step}");
        }
    }
    scene.fake.random(seed, 0);
    process.make_ready().await.unwrap();
    process.settle().await;
    drop(process);
    scene
}
