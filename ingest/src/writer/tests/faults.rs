//! Full disks and failing ones.

use std::path::Path;
use std::sync::Arc;

use hogflare_catalog::{Slot, Table};

use super::{Bench, TestBatch, small_settings};
use crate::admission::{Health, OverloadReason};
use crate::disk::model::{Faults, ModelDisk};
use crate::ingest::AppendError;
use crate::wal::{LogError, Positions};
use crate::writer::Step;

fn large(numbers: std::ops::Range<u64>) -> TestBatch {
    let mut batch = TestBatch::of(numbers);
    batch.events.iter_mut().for_each(|event| event.properties = format!(r#""{}""#, "y".repeat(1_500)));
    batch
}

/// Appends until the log is full; returns the numbers that were acknowledged.
fn fill(bench: &mut Bench) -> u64 {
    for round in 0..1_000 {
        match bench.append(large(round * 20..round * 20 + 20)) {
            Ok(_) => {}
            Err(AppendError::Overloaded(refused)) => {
                assert_eq!((refused.reason, refused.retry_after_seconds), (OverloadReason::LogFull, 30));
                return round * 20;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the log never got full");
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = ModelDisk::default();
    disk.set_faults(Faults { capacity_bytes: Some(1 << 20), ..Faults::default() });
    let mut bench = Bench::open(small_settings(), Arc::new(disk.clone()), Positions::default()).expect("opens");
    let acknowledged = fill(&mut bench);
    assert!(acknowledged > 100);
    assert!(matches!(bench.ingest.health(), Health::LogFull(_)));
    assert_eq!(bench.ingest.reserve(1).expect_err("refused before a byte is taken").reason, OverloadReason::LogFull);
    assert_eq!(bench.step(), Step::Idle);
    assert!(matches!(bench.ingest.health(), Health::LogFull(_)));

    disk.set_faults(Faults::default());
    assert_eq!(bench.step(), Step::Idle);
    assert_eq!(bench.ingest.health(), Health::Accepting);
    // The refused request comes again: what it stored before it was refused is not stored twice.
    bench.append(large(acknowledged..acknowledged + 20)).expect("room");
    let all: Vec<u64> = (0..acknowledged + 20).collect();
    assert_eq!(bench.numbers(), all);
    let reopened = Bench::open(small_settings(), Arc::new(disk), Positions::default()).expect("opens");
    assert_eq!(reopened.numbers(), all);
}

#[test]
fn a_start_on_a_full_disk_serves_what_is_there() {
    let disk = ModelDisk::default();
    let mut bench = Bench::open(small_settings(), Arc::new(disk.clone()), Positions::default()).expect("opens");
    bench.append(TestBatch::of(0..5)).expect("stored");
    disk.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let mut bench = Bench::open(small_settings(), Arc::new(disk.clone()), Positions::default()).expect("opens");
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4]);
    let refused = bench.append(TestBatch::of(5..6)).expect_err("no room");
    assert_eq!(refused, OverloadReason::LogFull.now().into());
    disk.set_faults(Faults::default());
    bench.step();
    bench.append(TestBatch::of(5..6)).expect("room");
}

#[test]
fn a_full_budget_recovers_when_rows_are_released() {
    let mut settings = small_settings();
    settings.wal_bytes_max = 3 * settings.segment_bytes;
    let disk = ModelDisk::default();
    let mut bench = Bench::open(settings, Arc::new(disk), Positions::default()).expect("opens");
    let acknowledged = fill(&mut bench);
    bench.step();
    assert!(matches!(bench.ingest.health(), Health::LogFull(_)));
    for slot in Slot::ALL {
        let durable = bench.ingest.positions().durable_position(slot, Table::Events);
        bench.ingest.positions().release_through(slot, Table::Events, durable);
    }
    bench.step();
    assert_eq!(bench.ingest.health(), Health::Accepting);
    bench.append(large(acknowledged..acknowledged + 20)).expect("room");
}

#[test]
fn a_failed_write_or_sync_ends_the_writer() {
    for faults in [Faults { fail_sync: true, ..Faults::default() }, Faults { fail_write: true, ..Faults::default() }] {
        let disk = ModelDisk::default();
        let mut bench = Bench::open(small_settings(), Arc::new(disk.clone()), Positions::default()).expect("opens");
        bench.append(TestBatch::of(0..5)).expect("stored");
        disk.set_faults(faults);
        let mut answer = bench.send(TestBatch::of(5..6)).expect("room");
        let mut same_group = bench.send(TestBatch::of([0])).expect("room");
        assert_eq!(bench.step(), Step::Failed);
        assert_eq!(answer.try_recv().expect("answered"), Err(AppendError::Stopped));
        assert_eq!(same_group.try_recv().expect("answered"), Err(AppendError::Stopped));
        assert!(matches!(bench.ingest.health(), Health::Failed(_)));
        assert_eq!(bench.send(TestBatch::of(6..7)).expect_err("failed"), OverloadReason::Failed.now().into());
        assert_eq!(bench.step(), Step::Failed);
        assert_eq!(bench.numbers(), [0, 1, 2, 3, 4], "what is not durable is not visible");
        drop(bench.writer);

        let mut bench = Bench::open(small_settings(), Arc::new(disk), Positions::default()).expect("recovers");
        bench.append(TestBatch::of(5..6)).expect("stored, or a repeat");
        assert_eq!(bench.numbers(), [0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_torn_end_is_cut_and_damage_before_it_is_refused() {
    const PATH: &str = "/data/wal/00000000000000000000.log";
    let frames = |disk: &ModelDisk| -> Vec<usize> {
        let mut bench = Bench::open(small_settings(), Arc::new(disk.clone()), Positions::default()).expect("opens");
        let mut starts = Vec::new();
        for number in 0..4 {
            starts.push(usize::try_from(bench.writer.log.end()).expect("small"));
            bench.append(TestBatch::of([number])).expect("stored");
        }
        starts
    };
    struct Case {
        name: &'static str,
        damaged_frame: usize,
        /// Later frames are lost too, so that nothing calls the damaged one durable.
        cut_after: bool,
        left: Option<Vec<u64>>,
    }
    let cases = [
        Case { name: "last frame", damaged_frame: 3, cut_after: false, left: Some(vec![0, 1, 2]) },
        Case { name: "frame before a later one", damaged_frame: 2, cut_after: false, left: None },
        Case { name: "frame with nothing behind", damaged_frame: 2, cut_after: true, left: Some(vec![0, 1]) },
    ];
    for Case { name, damaged_frame, cut_after, left } in cases {
        for byte in [2, 9, 17, 44, 60] {
            let disk = ModelDisk::default();
            let starts = frames(&disk);
            disk.damage(Path::new(PATH), |bytes| {
                if cut_after {
                    bytes[starts[damaged_frame + 1]..].fill(0);
                }
                bytes[starts[damaged_frame] + byte] ^= 0x10;
            });
            let opened = Bench::open(small_settings(), Arc::new(disk), Positions::default());
            match (&left, opened) {
                (Some(left), Ok(bench)) => assert_eq!(bench.numbers(), *left, "{name}, byte {byte}"),
                (None, Err(LogError::Corrupt { .. })) => {}
                (_, opened) => panic!("{name}, byte {byte}: {opened:?}"),
            }
        }
    }
}
