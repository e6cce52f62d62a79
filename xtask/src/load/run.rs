//! One row of the table: a shape of load for some seconds.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::body::{Body, Ids};
use super::connection::Connection;
use super::process::{Server, Usage};

/// Before the clock starts.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long a refused client waits.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// Compressed bodies made before the clock starts; a faster server ends the run early.
const GZIP_BODIES_MAX: usize = 8_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) batch: usize,
    pub(super) connections: usize,
    pub(super) gzip: bool,
}

/// Bodies for one connection.
pub(super) trait Bodies {
    fn next(&mut self) -> Option<&[u8]>;
}

#[derive(Debug)]
pub(super) struct Measured {
    pub(super) elapsed: Duration,
    pub(super) events: u64,
    /// Answers 503: the server is at its limit, the client would come again.
    pub(super) refused: u64,
    /// From the first byte sent to the last byte of the answer; sorted.
    pub(super) latencies_us: Vec<u32>,
    pub(super) before: Option<Usage>,
    pub(super) after: Option<Usage>,
    pub(super) body_bytes: usize,
}

/// The value below which this share of sorted latencies lies.
pub(super) fn quantile_ms(latencies_us: &[u32], share: f64) -> f64 {
    let last = latencies_us.len().saturating_sub(1);
    let index = (last as f64 * share).round() as usize;
    latencies_us.get(index).map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
}

impl Measured {
    pub(super) fn latency_ms(&self, share: f64) -> f64 {
        quantile_ms(&self.latencies_us, share)
    }

    pub(super) fn events_per_second(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64()
    }

    /// Of all threads of the server.
    pub(super) fn cpu(&self) -> Option<Duration> {
        self.before.zip(self.after).map(|(before, after)| after.cpu - before.cpu)
    }
}

/// What one connection did within the measured time.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) requests: u64,
    pub(super) refused: u64,
    pub(super) latencies_us: Vec<u32>,
    pub(super) body_bytes: usize,
}

/// Posts bodies of `batch` events to `/batch/` over many connections; `bodies` makes those of one.
pub(super) fn measure<B: Bodies>(
    server: &Server,
    shape: Shape,
    duration: Duration,
    bodies: impl Fn(usize) -> B + Sync,
) -> Result<Measured> {
    let stop = AtomicBool::new(false);
    let counting = AtomicBool::new(false);
    let prepared = Barrier::new(shape.connections + 1);
    let work = Work { server, shape, stop: &stop, counting: &counting, prepared: &prepared };
    let (mut elapsed, mut before, mut after) = (Duration::ZERO, None, None);
    let counted: Vec<Result<Counted>> = std::thread::scope(|scope| {
        let bodies = &bodies;
        let threads: Vec<_> = (0..shape.connections).map(|seed| scope.spawn(move || work.run(bodies(seed)))).collect();
        prepared.wait();
        std::thread::sleep(WARM_UP);
        before = server.usage();
        let started = Instant::now();
        counting.store(true, Ordering::SeqCst);
        while started.elapsed() < duration && !threads.iter().all(|thread| thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        counting.store(false, Ordering::SeqCst);
        elapsed = started.elapsed();
        after = server.usage();
        stop.store(true, Ordering::SeqCst);
        threads.into_iter().map(|thread| thread.join().expect("a connection's thread panicked")).collect()
    });
    let mut all = Counted::default();
    for counted in counted {
        let counted = counted?;
        all.requests += counted.requests;
        all.refused += counted.refused;
        all.body_bytes = all.body_bytes.max(counted.body_bytes);
        all.latencies_us.extend(counted.latencies_us);
    }
    ensure!(all.requests > 0, "no request was answered");
    all.latencies_us.sort_unstable();
    Ok(Measured {
        elapsed,
        events: all.requests * shape.batch as u64,
        refused: all.refused,
        latencies_us: all.latencies_us,
        before,
        after,
        body_bytes: all.body_bytes,
    })
}

#[derive(Clone, Copy, Debug)]
struct Work<'a> {
    server: &'a Server,
    shape: Shape,
    stop: &'a AtomicBool,
    counting: &'a AtomicBool,
    prepared: &'a Barrier,
}

impl Work<'_> {
    fn run(self, mut bodies: impl Bodies) -> Result<Counted> {
        let opened = Connection::open(self.server.url(), "/batch/", self.shape.gzip);
        // All wait for all, also one that failed to connect: else the others would wait for ever.
        self.prepared.wait();
        let mut connection = opened?;
        let mut counted = Counted::default();
        while !self.stop.load(Ordering::Relaxed) {
            let Some(body) = bodies.next() else { break };
            counted.body_bytes = body.len();
            let sent = Instant::now();
            let status = connection.post(body).context("no answer")?;
            let latency = sent.elapsed();
            ensure!([200, 503].contains(&status), "status {status}");
            let counts = self.counting.load(Ordering::Relaxed);
            if status == 503 {
                counted.refused += u64::from(counts);
                std::thread::sleep(REFUSED_PAUSE);
            } else if counts {
                counted.requests += 1;
                counted.latencies_us.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
            }
        }
        Ok(counted)
    }
}

/// Ordinary events. Plain bodies get new uuids in place; compressed ones cannot, so they are made beforehand.
#[derive(Debug)]
pub(super) enum Plain {
    Text { body: Body, ids: Ids },
    Gzip { bodies: Vec<Vec<u8>>, next: usize },
}

impl Plain {
    pub(super) fn new(token: &str, shape: Shape, seed: usize) -> Self {
        let (mut body, mut ids) = (Body::new(token, shape.batch, seed), Ids::new());
        if !shape.gzip {
            return Plain::Text { body, ids };
        }
        let count = GZIP_BODIES_MAX / shape.connections;
        let bodies = (0..count).map(|_| {
            body.renew(&mut ids);
            body.gzip()
        });
        Plain::Gzip { bodies: bodies.collect(), next: 0 }
    }
}

impl Bodies for Plain {
    fn next(&mut self) -> Option<&[u8]> {
        match self {
            Plain::Text { body, ids } => {
                body.renew(ids);
                Some(body.bytes())
            }
            Plain::Gzip { bodies, next } => {
                *next += 1;
                bodies.get(*next - 1).map(Vec::as_slice)
            }
        }
    }
}
