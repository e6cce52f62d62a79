mod faults;
mod power;
mod rows;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use hogflare_catalog::tables::{DeadLetterRow, EventRow};
use hogflare_catalog::{Clock, Slot, Table, Views, WriterId};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Batch, Step, Writer};
use crate::disk::Disk;
use crate::ingest::{Ack, AppendError, Ingest, IngestParts, IngestSettings, Opened, Recovered, Replay};
use crate::wal::{LogError, Positions};

pub(crate) fn test_writer() -> WriterId {
    WriterId::new(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef))
}

pub(crate) fn test_views() -> Arc<Views> {
    Arc::new(Views::new(test_writer()))
}

/// Goes on by a millisecond at each look.
#[derive(Debug, Default)]
pub(crate) struct TestClock {
    now_us: AtomicI64,
}

impl Clock for TestClock {
    fn now_us(&self) -> i64 {
        self.now_us.fetch_add(1_000, Ordering::Relaxed)
    }
}

/// An event of the tests; its text is `properties`.
#[derive(Clone, Debug)]
pub(crate) struct TestEvent {
    pub(crate) uuid: String,
    pub(crate) slot: Slot,
    pub(crate) own_uuid: bool,
    pub(crate) properties: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct TestBatch {
    pub(crate) events: Vec<TestEvent>,
    pub(crate) dead_letters: usize,
    /// Bytes of each dead letter.
    pub(crate) raw: Vec<u8>,
}

impl TestBatch {
    /// Events with these numbers as uuids.
    pub(crate) fn of(numbers: impl IntoIterator<Item = u64>) -> TestBatch {
        let events = numbers.into_iter().map(|number| TestEvent {
            uuid: Uuid::from_u128(u128::from(number) + 1).to_string(),
            slot: if number % 7 == 3 { Slot::Late } else { Slot::Main },
            own_uuid: true,
            properties: format!(r#"{{"number":{number}}}"#),
        });
        TestBatch { events: events.collect(), ..TestBatch::default() }
    }
}

impl Batch for TestBatch {
    fn events(&self) -> usize {
        self.events.len()
    }

    fn event(&self, index: usize) -> EventRow<'_> {
        let event = &self.events[index];
        EventRow {
            uuid: &event.uuid,
            event: "$pageview",
            distinct_id: "someone",
            properties: &event.properties,
            api_key: "phc_test",
            ..EventRow::default()
        }
    }

    fn slot(&self, index: usize) -> Slot {
        self.events[index].slot
    }

    fn has_own_uuid(&self, index: usize) -> bool {
        self.events[index].own_uuid
    }

    fn dead_letters(&self) -> usize {
        self.dead_letters
    }

    fn dead_letter(&self, _index: usize) -> DeadLetterRow<'_> {
        DeadLetterRow {
            uuid: "u",
            path: "/batch",
            reason: "missing_event",
            raw: Some(&self.raw),
            ..DeadLetterRow::default()
        }
    }
}

pub(crate) type Answer = oneshot::Receiver<Result<Ack, AppendError>>;

/// A server without its edge.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) ingest: Ingest,
    pub(crate) writer: Writer,
    pub(crate) views: Arc<Views>,
    pub(crate) recovered: Recovered,
}

pub(crate) fn small_settings() -> IngestSettings {
    let mut settings = IngestSettings::new(PathBuf::from("/data"), test_writer(), [7; 16]);
    settings.frame_bytes = 4 << 10;
    settings.row_bytes_max = 8 << 10;
    settings.segment_bytes = 288 << 10;
    settings.dedup_generation_keys = 64;
    settings
}

impl Bench {
    pub(crate) fn open(settings: IngestSettings, disk: Arc<dyn Disk>, covered: Positions) -> Result<Bench, LogError> {
        let views = test_views();
        let parts = IngestParts { disk, views: Arc::clone(&views), clock: Arc::new(TestClock::default()), state: None };
        let replay = Replay { covered, ..Replay::of_everything() };
        let Opened { ingest, writer, recovered, .. } = Ingest::open(settings, parts, replay)?;
        Ok(Bench { ingest, writer, views, recovered })
    }

    /// Puts a request into the queue.
    pub(crate) fn send(&self, batch: TestBatch) -> Result<Answer, AppendError> {
        let permit = self.ingest.reserve(1_000)?;
        self.ingest.enqueue(Box::new(batch), permit)
    }

    pub(crate) fn step(&mut self) -> Step {
        self.writer.step(Duration::ZERO)
    }

    /// Sends, steps and takes the answer.
    pub(crate) fn append(&mut self, batch: TestBatch) -> Result<Ack, AppendError> {
        let mut answer = self.send(batch)?;
        self.step();
        answer.try_recv().expect("a step answers what waits")
    }

    /// `(uuid, position)` of the visible events of a slot, in order.
    pub(crate) fn events(&self, slot: Slot) -> Vec<(String, u64)> {
        events_of(&self.views, slot)
    }

    /// Numbers of the visible events of both slots, sorted.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> =
            Slot::ALL.iter().flat_map(|slot| self.events(*slot)).map(|(uuid, _)| number_of(&uuid)).collect();
        numbers.sort_unstable();
        numbers
    }
}

pub(crate) fn number_of(uuid: &str) -> u64 {
    u64::try_from(Uuid::try_parse(uuid).expect("a uuid").as_u128() - 1).expect("test numbers are small")
}

pub(crate) fn events_of(views: &Views, slot: Slot) -> Vec<(String, u64)> {
    let view = views.current();
    let mut rows = Vec::new();
    for chunk in &view.tail(Table::Events, slot).chunks {
        let uuid = chunk.batch.column_by_name("uuid").expect("a column").as_string::<i32>();
        let position = chunk.batch.column_by_name("_position").expect("a column").as_primitive::<Int64Type>();
        for row in 0..chunk.batch.num_rows() {
            rows.push((uuid.value(row).to_owned(), u64::try_from(position.value(row)).expect("positive")));
        }
    }
    rows
}
