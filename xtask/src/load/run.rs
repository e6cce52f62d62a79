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

/// Compressed bodies made before the clock starts; a faster server ends the run early.
const GZIP_BODIES_MAX: usize = 8_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) batch: usize,
    pub(super) connections: usize,
    pub(super) gzip: bool,
}

#[derive(Debug)]
pub(super) struct Measured {
    pub(super) shape: Shape,
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

impl Measured {
    /// The value below which this share of the latencies lies.
    pub(super) fn latency_ms(&self, share: f64) -> f64 {
        let last = self.latencies_us.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        self.latencies_us.get(index).map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
    }
}

/// What one connection did within the measured time.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) requests: u64,
    pub(super) refused: u64,
    pub(super) latencies_us: Vec<u32>,
}

pub(super) fn measure(server: &Server, token: &str, shape: Shape, duration: Duration) -> Result<Measured> {
    let stop = AtomicBool::new(false);
    let counting = AtomicBool::new(false);
    let prepared = Barrier::new(shape.connections + 1);
    let work = Work { server, token, shape, stop: &stop, counting: &counting, prepared: &prepared };
    let (mut elapsed, mut before, mut after) = (Duration::ZERO, None, None);
    let counted: Vec<Result<Counted>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..shape.connections).map(|seed| scope.spawn(move || work.run(seed))).collect();
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
        all.latencies_us.extend(counted.latencies_us);
    }
    ensure!(all.requests > 0, "no request was answered");
    all.latencies_us.sort_unstable();
    Ok(Measured {
        shape,
        elapsed,
        events: all.requests * shape.batch as u64,
        refused: all.refused,
        latencies_us: all.latencies_us,
        before,
        after,
        body_bytes: Body::new(token, shape.batch, 0).bytes().len(),
    })
}

#[derive(Clone, Copy, Debug)]
struct Work<'a> {
    server: &'a Server,
    token: &'a str,
    shape: Shape,
    stop: &'a AtomicBool,
    counting: &'a AtomicBool,
    prepared: &'a Barrier,
}

impl Work<'_> {
    fn run(self, seed: usize) -> Result<Counted> {
        let opened = Connection::open(self.server.url(), "/batch/", self.shape.gzip);
        let mut bodies = Bodies::new(self.token, self.shape, seed);
        // All wait for all, also one that failed to connect: else the others would wait for ever.
        self.prepared.wait();
        let mut connection = opened?;
        let mut counted = Counted::default();
        while !self.stop.load(Ordering::Relaxed) {
            let Some(body) = bodies.next() else { break };
            let sent = Instant::now();
            let status = connection.post(body).context("no answer")?;
            let latency = sent.elapsed();
            ensure!([200, 503].contains(&status), "status {status}");
            if !self.counting.load(Ordering::Relaxed) {
                continue;
            }
            if status == 200 {
                counted.requests += 1;
                counted.latencies_us.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
            } else {
                counted.refused += 1;
            }
        }
        Ok(counted)
    }
}

/// Plain bodies get new uuids in place; compressed ones cannot, so they are made beforehand.
#[derive(Debug)]
enum Bodies {
    Plain { body: Body, ids: Ids },
    Gzip { bodies: Vec<Vec<u8>>, next: usize },
}

impl Bodies {
    fn new(token: &str, shape: Shape, seed: usize) -> Self {
        let (mut body, mut ids) = (Body::new(token, shape.batch, seed), Ids::new());
        if !shape.gzip {
            return Bodies::Plain { body, ids };
        }
        let count = GZIP_BODIES_MAX / shape.connections;
        let bodies = (0..count).map(|_| {
            body.renew(&mut ids);
            body.gzip()
        });
        Bodies::Gzip { bodies: bodies.collect(), next: 0 }
    }

    fn next(&mut self) -> Option<&[u8]> {
        match self {
            Bodies::Plain { body, ids } => {
                body.renew(ids);
                Some(body.bytes())
            }
            Bodies::Gzip { bodies, next } => {
                *next += 1;
                bodies.get(*next - 1).map(Vec::as_slice)
            }
        }
    }
}
