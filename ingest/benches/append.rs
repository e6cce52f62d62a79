//! How many events per second one writer makes durable, and at which cost.
//!
//! `cargo bench -p hogflare-ingest --bench append [-- seconds]`. Nothing is asserted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hogflare_catalog::tables::{EventRow, Promoted, SLOTS, TABLES};
use hogflare_catalog::{Slot, SystemClock, Table, Views, WriterId};
use hogflare_ingest::disk::{Durability, RealDisk};
use hogflare_ingest::{Ack, Batch, Ingest, IngestParts, IngestSettings, Opened, Replay};
use tokio::runtime::Builder;
use uuid::Uuid;

/// Events stored between two restarts while the dedup window is filled.
const WARM_STEP: usize = 1_000_000;

/// Browser events of about 750 bytes, as in the recorded requests.
#[derive(Debug)]
struct Events {
    uuids: Vec<String>,
    properties: Arc<Vec<String>>,
}

impl Events {
    fn new(count: usize, first: u64, properties: &Arc<Vec<String>>) -> Events {
        let uuid =
            |index: usize| Uuid::from_u128((u128::from(first) + index as u128) | (7 << 76) | (2 << 62)).to_string();
        Events { uuids: (0..count).map(uuid).collect(), properties: Arc::clone(properties) }
    }
}

impl Batch for Events {
    fn events(&self) -> usize {
        self.uuids.len()
    }

    fn event(&self, index: usize) -> EventRow<'_> {
        let promoted = Promoted {
            session_id: Some("0190a0c0-7b5e-7cc3-9d3c-3a1c5a9e4f10"),
            window_id: Some("0190a0c0-7b5e-7cc3-9d3c-3a1c5a9e4f11"),
            current_url: Some("https://shop.example/products/42?utm_source=newsletter"),
            pathname: Some("/products/42"),
            host: Some("shop.example"),
            browser: Some("Chrome"),
            browser_version: Some("126"),
            os: Some("Mac OS X"),
            device_type: Some("Desktop"),
            lib: Some("web"),
            lib_version: Some("1.150.0"),
            ..Promoted::default()
        };
        EventRow {
            uuid: &self.uuids[index],
            event: "$pageview",
            distinct_id: "0190a0c0-1111-7cc3-9d3c-3a1c5a9e4f10",
            timestamp_us: 1_750_000_000_000_000,
            created_at_us: 1_750_000_000_000_000,
            properties: &self.properties[index % self.properties.len()],
            person_id: Some("6f1c3b1e-0e0e-5d5d-8a8a-0123456789ab"),
            api_key: "phc_benchmark",
            person_mode: Some("full"),
            promoted,
            ..EventRow::default()
        }
    }

    fn slot(&self, _index: usize) -> Slot {
        Slot::Main
    }

    fn has_own_uuid(&self, _index: usize) -> bool {
        true
    }
}

fn properties() -> Arc<Vec<String>> {
    let text = |number: usize| {
        let url = format!("https://shop.example/products/{number}?utm_source=newsletter&ref={}", number * 7919);
        format!(
            r#"{{"$current_url":"{url}","$host":"shop.example","$pathname":"/products/{number}","$browser":"Chrome","$browser_version":126,"$os":"Mac OS X","$device_type":"Desktop","$screen_height":1080,"$screen_width":1920,"$viewport_height":969,"$viewport_width":{},"$lib":"web","$lib_version":"1.150.0","$insert_id":"{:016x}","$time":17500000{number:02}.123,"distinct_id":"0190a0c0-1111-7cc3-9d3c-3a1c5a9e4f10","$session_id":"0190a0c0-7b5e-7cc3-9d3c-3a1c5a9e4f10","token":"phc_benchmark","price":{}.5,"plan":"team"}}"#,
            1_000 + number % 900,
            (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            number % 100,
        )
    };
    Arc::new((0..10_000).map(text).collect())
}

struct Run {
    batch: usize,
    clients: usize,
    /// Keys in the dedup window before the measurement.
    warm: u64,
}

fn main() {
    let seconds = std::env::args().filter_map(|text| text.parse().ok()).next().unwrap_or(5);
    let root = std::env::var_os("HOGFLARE_BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    println!("batch clients   warm keys   events/s   writer us/event   requests/s   ack p50 ms   p99 ms");
    for run in [
        Run { batch: 100, clients: 16, warm: 0 },
        Run { batch: 100, clients: 16, warm: 8_000_000 },
        Run { batch: 100, clients: 64, warm: 0 },
        Run { batch: 10, clients: 64, warm: 0 },
        Run { batch: 1, clients: 64, warm: 0 },
        Run { batch: 1, clients: 1, warm: 0 },
    ] {
        let folder = root.join(format!("hogflare-bench-{}", Uuid::new_v4()));
        measure(&run, &folder, Duration::from_secs(seconds));
        std::fs::remove_dir_all(&folder).expect("the folder of the run is removed");
    }
}

struct Server {
    ingest: Ingest,
    writer: JoinHandle<u64>,
}

impl Server {
    /// Rows up to the covered ones are not loaded.
    fn open(folder: &Path, covered: [[u64; TABLES]; SLOTS]) -> Server {
        let id = WriterId::new(Uuid::from_u128(1 << 90));
        let views = Arc::new(Views::new(id.clone()));
        let mut settings = IngestSettings::new(folder.to_owned(), id, [5; 16]);
        settings.admission.tail_bytes_max = u64::MAX;
        let disk = Arc::new(RealDisk::new(Durability::Fsync));
        let parts = IngestParts { disk, views, clock: Arc::new(SystemClock), state: None };
        let replay = Replay { covered, ..Replay::of_everything() };
        let Opened { ingest, writer, .. } = Ingest::open(settings, parts, replay).expect("opens");
        let writer = std::thread::spawn(move || {
            writer.run().expect("no failure");
            thread_cpu_ns()
        });
        Server { ingest, writer }
    }

    /// Processor time of the writer's thread, in nanoseconds.
    fn stop(self) -> u64 {
        self.ingest.stop();
        self.writer.join().expect("no panic")
    }

    fn durable(&self) -> [[u64; TABLES]; SLOTS] {
        Slot::ALL.map(|slot| Table::ALL.map(|table| self.ingest.positions().durable_position(slot, table)))
    }
}

fn measure(run: &Run, folder: &Path, duration: Duration) {
    let runtime = Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let mut covered = [[0; TABLES]; SLOTS];
    for first in (0..run.warm).step_by(WARM_STEP) {
        let server = Server::open(folder, covered);
        runtime.block_on(warm(&server.ingest, first));
        covered = server.durable();
        server.stop();
    }
    let server = Server::open(folder, covered);
    let (events, mut latencies) = runtime.block_on(clients(run, &server.ingest, duration));
    let writer_us = server.stop() as f64 / 1e3 / events as f64;
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let rate = events as f64 / duration.as_secs_f64();
    let requests = latencies.len() as f64 / duration.as_secs_f64();
    println!(
        "{:5} {:7} {:11} {rate:10.0} {writer_us:17.2} {requests:12.0} {:12.2} {:8.2}",
        run.batch,
        run.clients,
        run.warm,
        at(0.5),
        at(0.99)
    );
}

/// Fills the dedup window with small events.
async fn warm(ingest: &Ingest, first: u64) {
    let properties = Arc::new(vec!["{}".to_owned()]);
    for number in (first..first + WARM_STEP as u64).step_by(1_000) {
        let permit = ingest.reserve(1_000).expect("room");
        ingest.append(Box::new(Events::new(1_000, number, &properties)), permit).await.expect("stored");
        release(ingest);
    }
}

async fn clients(run: &Run, ingest: &Ingest, duration: Duration) -> (u64, Vec<Duration>) {
    let properties = properties();
    let first = AtomicU64::new(run.warm);
    let until = Instant::now() + duration;
    let one = || async {
        let mut latencies = Vec::new();
        let mut stored = 0;
        while Instant::now() < until {
            let number = first.fetch_add(run.batch as u64, Ordering::Relaxed);
            let batch = Box::new(Events::new(run.batch, number, &properties));
            let permit = ingest.reserve(run.batch * 750).expect("room");
            let started = Instant::now();
            let Ack { stored: rows, .. } = ingest.append(batch, permit).await.expect("stored");
            latencies.push(started.elapsed());
            stored += rows;
            release(ingest);
        }
        (stored, latencies)
    };
    let results = futures_all((0..run.clients).map(|_| one()).collect()).await;
    let events = results.iter().map(|(stored, _)| stored).sum();
    (events, results.into_iter().flat_map(|(_, latencies)| latencies).collect())
}

/// As if a commit followed each acknowledgement, so that the log does not grow.
fn release(ingest: &Ingest) {
    for slot in Slot::ALL {
        let durable = ingest.positions().durable_position(slot, Table::Events);
        ingest.positions().release_through(slot, Table::Events, durable);
    }
}

/// Polls all futures on this task, so that the clients cost little themselves.
async fn futures_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *result = Some(value),
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    results.into_iter().flatten().collect()
}

/// Time that this thread was on a processor, in nanoseconds.
fn thread_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
