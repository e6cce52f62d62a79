//! What is stored, in which order, and what is not stored twice.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use hogflare_catalog::{Slot, Table};

use super::{Bench, TestBatch, TestEvent, small_settings};
use crate::admission::{Health, OverloadReason};
use crate::disk::model::ModelDisk;
use crate::disk::{Disk, Durability, RealDisk, read_all};
use crate::ingest::{Ack, AppendError, IngestSettings};
use crate::wal::{FrameStall, Positions};
use crate::writer::Step;

fn open(disk: &ModelDisk) -> Bench {
    Bench::open(small_settings(), Arc::new(disk.clone()), Positions::default()).expect("the folder opens")
}

fn stored(stored: u64) -> Ack {
    Ack { stored, ..Ack::default() }
}

#[test]
fn acknowledged_rows_are_visible_and_come_back_after_a_restart() {
    let disk = ModelDisk::default();
    let mut bench = open(&disk);
    assert_eq!(bench.append(TestBatch::of(0..10)), Ok(stored(10)));
    assert_eq!(bench.append(TestBatch::of(10..11)), Ok(stored(1)));
    assert_eq!(bench.numbers(), (0..11).collect::<Vec<_>>());

    let reopened = open(&disk);
    assert_eq!(reopened.numbers(), bench.numbers());
    let recovered = &reopened.recovered;
    assert_eq!((recovered.frames, recovered.rows, recovered.published_rows), (2, 11, 11));
    assert_eq!((recovered.cut_bytes, recovered.dedup_keys), (0, 11));
    for slot in Slot::ALL {
        assert_eq!(reopened.events(slot), bench.events(slot), "{slot:?}");
    }
}

#[test]
fn each_slot_and_table_counts_its_own_positions() {
    let mut bench = open(&ModelDisk::default());
    let mut batch = TestBatch::of(0..14);
    batch.dead_letters = 3;
    assert_eq!(bench.append(batch), Ok(Ack { stored: 14, repeats: 0, rejected: 3 }));
    let positions = |slot| bench.events(slot).into_iter().map(|(_, position)| position).collect::<Vec<_>>();
    assert_eq!(positions(Slot::Main), (1..=12).collect::<Vec<_>>());
    assert_eq!(positions(Slot::Late), [1, 2]);
    let durable = |slot, table| bench.ingest.positions().durable_position(slot, table);
    assert_eq!(durable(Slot::Main, Table::Events), 12);
    assert_eq!(durable(Slot::Late, Table::Events), 2);
    assert_eq!(durable(Slot::Main, Table::DeadLetter), 3);
    assert_eq!(durable(Slot::Late, Table::DeadLetter), 0);
}

#[test]
fn waiting_requests_share_one_frame_and_one_sync() {
    let disk = ModelDisk::default();
    let mut bench = open(&disk);
    assert_eq!(bench.append(TestBatch::of(0..1)), Ok(stored(1)));
    let before = disk.syncs();
    let mut answers: Vec<_> = (1..4).map(|number| bench.send(TestBatch::of([number])).expect("room")).collect();
    assert_eq!(bench.step(), Step::Group { requests: 3, rows: 3 });
    assert_eq!(disk.syncs() - before, 1);
    for answer in &mut answers {
        assert_eq!(answer.try_recv().expect("answered"), Ok(stored(1)));
    }
    assert_eq!(open(&disk).recovered.frames, 2);
}

#[test]
fn a_large_request_spans_frames_and_segments() {
    let disk = ModelDisk::default();
    let mut bench = open(&disk);
    let mut batch = TestBatch::of(0..600);
    for event in &mut batch.events {
        event.properties = format!(r#"{{"text":"{}"}}"#, "x".repeat(1_500));
    }
    assert_eq!(bench.append(batch), Ok(stored(600)));
    let reopened = open(&disk);
    assert_eq!(reopened.numbers(), (0..600).collect::<Vec<_>>());
    assert!(reopened.recovered.frames >= 200, "{:?}", reopened.recovered);
    assert!(reopened.recovered.segments >= 3, "{:?}", reopened.recovered);
}

#[test]
fn repeats_are_not_stored_again() {
    let all_of = |numbers: &[u64]| TestBatch::of(numbers.iter().copied());
    struct Case {
        name: &'static str,
        batch: TestBatch,
        ack: Ack,
    }
    let mut nil = all_of(&[20, 21]);
    let mut server_made = all_of(&[1, 1]);
    let mut other_slot = all_of(&[1]);
    nil.events.iter_mut().for_each(|event| event.uuid = uuid::Uuid::nil().to_string());
    server_made.events.iter_mut().for_each(|event| event.own_uuid = false);
    other_slot.events[0].slot = Slot::Late;
    let cases = [
        Case { name: "first", batch: all_of(&[1, 2, 3]), ack: stored(3) },
        Case { name: "all again", batch: all_of(&[1, 2, 3]), ack: Ack { repeats: 3, ..Ack::default() } },
        Case { name: "some again", batch: all_of(&[3, 4]), ack: Ack { stored: 1, repeats: 1, rejected: 0 } },
        Case { name: "twice in a batch", batch: all_of(&[5, 5, 5]), ack: Ack { stored: 1, repeats: 2, rejected: 0 } },
        Case { name: "nil uuids are no keys", batch: nil, ack: stored(2) },
        Case { name: "uuids made here are no keys", batch: server_made, ack: stored(2) },
        Case { name: "in the other slot", batch: other_slot, ack: Ack { repeats: 1, ..Ack::default() } },
        Case { name: "empty", batch: TestBatch::default(), ack: Ack::default() },
    ];
    let mut bench = open(&ModelDisk::default());
    for Case { name, batch, ack } in cases {
        assert_eq!(bench.append(batch), Ok(ack), "{name}");
    }
}

#[test]
fn a_repeat_within_a_group_is_acknowledged_with_its_first_copy() {
    let disk = ModelDisk::default();
    let mut bench = open(&disk);
    let mut first = bench.send(TestBatch::of([1])).expect("room");
    let mut second = bench.send(TestBatch::of([1])).expect("room");
    assert!(first.try_recv().is_err() && second.try_recv().is_err(), "nothing is answered before the sync");
    bench.step();
    assert_eq!(first.try_recv().expect("answered"), Ok(stored(1)));
    assert_eq!(second.try_recv().expect("answered"), Ok(Ack { repeats: 1, ..Ack::default() }));
    assert_eq!(bench.numbers(), [1]);
}

#[test]
fn bytes_of_a_row_cannot_pass_for_a_frame() {
    let path = Path::new("/data/wal/00000000000000000000.log");
    let disk = ModelDisk::default();
    let mut bench = open(&disk);
    bench.append(TestBatch::of(0..2)).expect("stored");
    bench.append(TestBatch::of(2..3)).expect("stored");
    // Intact frames of this very segment as bytes of a row, at a multiple of eight.
    let segment = read_all(disk.open(path).expect("the first segment").as_ref()).expect("readable");
    let end = usize::try_from(bench.writer.log.end()).expect("small");
    let raw = segment[end - 7_000 / 8 * 8..end].to_vec();
    let frames = raw.windows(4).filter(|bytes| bytes == b"HFRM").count();
    assert!(frames > 0, "the row holds a frame");
    bench.append(TestBatch { dead_letters: 1, raw, ..TestBatch::of([50]) }).expect("stored");
    // That row's own frame is torn: the log ends before it, and nothing in it is a later frame.
    disk.damage(path, |bytes| bytes[end + 20] ^= 1);
    let reopened = open(&disk);
    assert_eq!(reopened.numbers(), [0, 1, 2]);
    assert!(reopened.recovered.cut_bytes > 7_000);
}

#[test]
fn retries_are_known_after_restarts_and_after_their_segments_are_gone() {
    let disk = ModelDisk::default();
    let mut settings = small_settings();
    settings.dedup_generation_keys = 1 << 20;
    let reopen = |covered| Bench::open(settings.clone(), Arc::new(disk.clone()), covered).expect("opens");
    let mut bench = reopen(Positions::default());
    let mut covered = Positions::default();
    for round in 0..30 {
        let mut batch = TestBatch::of(round * 40..round * 40 + 40);
        batch.events.iter_mut().for_each(|event| event.properties = format!(r#""{}""#, "y".repeat(1_000)));
        bench.append(batch).expect("stored");
        for slot in Slot::ALL {
            let durable = bench.ingest.positions().durable_position(slot, Table::Events);
            bench.ingest.positions().release_through(slot, Table::Events, durable);
            covered[slot.index()][Table::Events.index()] = durable;
        }
        if round % 10 == 9 {
            bench = reopen(covered);
            assert_eq!(bench.numbers(), [0; 0], "covered rows are not published");
            for (slot, table) in [(Slot::Main, Table::Events), (Slot::Late, Table::Events)] {
                bench.ingest.positions().release_through(slot, table, covered[slot.index()][table.index()]);
            }
        }
        bench.step();
    }
    assert!(bench.recovered.segments <= 3, "released segments are gone: {:?}", bench.recovered);
    assert_eq!(bench.recovered.dedup_keys, 1_200);
    let ack = bench.append(TestBatch::of(0..1_200));
    assert_eq!(ack, Ok(Ack { repeats: 1_200, ..Ack::default() }));
}

#[test]
fn rows_below_a_covered_position_are_cut_off() {
    let disk = ModelDisk::default();
    open(&disk).append(TestBatch::of([0, 1, 2, 4, 5, 6])).expect("stored");
    for (covered, left) in [(0, 6), (2, 4), (5, 1), (6, 0), (100, 0)] {
        let mut positions = Positions::default();
        positions[Slot::Main.index()][Table::Events.index()] = covered;
        let bench = Bench::open(small_settings(), Arc::new(disk.clone()), positions).expect("opens");
        let events = bench.events(Slot::Main);
        assert_eq!(events.len(), left, "covered {covered}");
        assert_eq!(events.first().map(|(_, position)| *position), (left > 0).then_some(covered + 1));
        let next = bench.recovered.next[Slot::Main.index()][Table::Events.index()];
        assert_eq!(next, covered.max(6) + 1);
    }
}

#[test]
fn a_missing_segment_is_noticed() {
    let disk = ModelDisk::default();
    let mut bench = open(&disk);
    for round in 0..15 {
        let mut batch = TestBatch::of(round * 40..round * 40 + 40);
        batch.events.iter_mut().for_each(|event| event.properties = format!(r#""{}""#, "y".repeat(1_500)));
        bench.append(batch).expect("stored");
    }
    let folder = Path::new("/data/wal");
    let names = disk.list(folder).expect("listed");
    assert!(names.len() >= 3, "{names:?}");
    for name in [&names[1], &names[0]] {
        let path = folder.join(name);
        disk.remove(&path).expect("removed");
        let error = Bench::open(small_settings(), Arc::new(disk.clone()), Positions::default()).expect_err("noticed");
        assert!(error.to_string().contains("missing"), "{error}");
    }
}

#[test]
fn too_large_rows_are_refused_alone() {
    let mut bench = open(&ModelDisk::default());
    let mut batch = TestBatch::of([1, 2]);
    batch.events[1].properties = "z".repeat(9 << 10);
    let permit = bench.ingest.reserve(10).expect("room");
    let refused = futures_now(bench.ingest.append(Box::new(batch), permit));
    assert!(matches!(refused, Err(AppendError::RowTooLarge { index: 1, .. })), "{refused:?}");
    assert_eq!(bench.append(TestBatch::of([1])), Ok(stored(1)));
}

fn futures_now<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

#[test]
fn the_queue_and_the_tail_are_limited() {
    let mut settings = small_settings();
    settings.admission.queue_requests_max = 2;
    let bench = Bench::open(settings.clone(), Arc::new(ModelDisk::default()), Positions::default()).expect("opens");
    let _answers = [bench.send(TestBatch::of([1])), bench.send(TestBatch::of([2]))].map(|sent| sent.expect("room"));
    assert_eq!(bench.send(TestBatch::of([3])).expect_err("full"), OverloadReason::Queue.now().into());

    settings.admission.tail_bytes_max = 1;
    let mut bench = Bench::open(settings, Arc::new(ModelDisk::default()), Positions::default()).expect("opens");
    assert_eq!(bench.append(TestBatch::of([1])), Ok(stored(1)));
    assert_eq!(bench.send(TestBatch::of([2])).expect_err("full"), OverloadReason::Tail.now().into());
}

#[test]
fn the_writer_thread_drains_and_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = || {
        let mut settings = IngestSettings::new(folder.path().to_owned(), super::test_writer(), [7; 16]);
        settings.segment_bytes = 8 << 20;
        settings
    };
    let disk = || Arc::new(RealDisk::new(Durability::Fsync));
    for round in 0..3_u64 {
        let bench = Bench::open(settings(), disk(), Positions::default()).expect("opens");
        assert_eq!(bench.recovered.published_rows, round * 40);
        let Bench { ingest, writer, .. } = bench;
        let thread = std::thread::spawn(|| writer.run());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            for number in 0..4 {
                let permit = ingest.reserve(1_000).expect("room");
                let first = round * 1_000 + number * 10;
                let ack = ingest.append(Box::new(TestBatch::of(first..first + 10)), permit).await;
                assert_eq!(ack, Ok(stored(10)));
            }
        });
        ingest.stop();
        assert_eq!(ingest.health(), Health::Stopping);
        assert_eq!(ingest.reserve(1).expect_err("stopping").reason, OverloadReason::Stopping);
        assert_eq!(thread.join().expect("no panic"), Ok(()));
    }
}

#[test]
fn events_of_any_text_come_back_as_they_were() {
    let disk = ModelDisk::default();
    let mut bench = open(&disk);
    let events = ["", "{}", "ü€😀", "\0\u{1}", &"long".repeat(500)].map(|text| TestEvent {
        uuid: uuid::Uuid::from_u128(text.len() as u128 + 1).to_string(),
        slot: Slot::Main,
        own_uuid: false,
        properties: text.to_owned(),
    });
    let texts: Vec<String> = events.iter().map(|event| event.properties.clone()).collect();
    bench.append(TestBatch { events: events.into(), ..TestBatch::default() }).expect("stored");
    let view = open(&disk).views.current();
    let chunk = &view.tail(Table::Events, Slot::Main).chunks[0];
    let column = chunk.batch.column_by_name("properties").expect("a column").as_string::<i32>();
    assert_eq!(column.iter().flatten().collect::<Vec<_>>(), texts);
}

#[test]
fn a_stalled_frame_is_marked_while_it_is_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let marker = folder.path().join("open-frame");
    let mut settings = IngestSettings::new(folder.path().to_owned(), super::test_writer(), [7; 16]);
    settings.frame_stall = Some(FrameStall { wait: Duration::from_millis(400), marker: marker.clone() });
    let disk = Arc::new(RealDisk::new(Durability::Fsync));
    let mut bench = Bench::open(settings, disk, Positions::default()).expect("opens");
    let mut answer = bench.send(TestBatch::of([1])).expect("room");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| bench.writer.step(Duration::ZERO));
        while !marker.exists() {
            assert!(answer.try_recv().is_err(), "acknowledged before the frame was seen open");
        }
        writer.join().expect("no panic");
    });
    assert_eq!(answer.try_recv().expect("answered"), Ok(stored(1)));
    assert!(!marker.exists());
}
