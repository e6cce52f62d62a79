//! `/flags` for known persons, at a fixed rate: requests are due whether or not earlier ones are answered, so
//! that waiting in a queue counts.

mod file;

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Arguments;
use super::body::Body;
use super::connection::Connection;
use super::persons::{COMPANIES, Random, USER_ID, filled};
use super::process::{Launch, Server};
use super::run::quantile_ms;
use file::FLAGS;

const CONNECTIONS: usize = 32;
const PATH: &str = "/flags/?v=2";
/// Not counted: caches fill.
const WARM_UP: Duration = Duration::from_secs(2);

pub(super) fn run(arguments: &Arguments, launch: Launch) -> Result<()> {
    let (mut launch, _folder) = filled(arguments, launch)?;
    let path = launch.folder.as_ref().context("there is a folder")?.join("flags.json");
    fs::write(&path, file::flags().to_string()).context("cannot write the file of flags")?;
    launch.settings.push(("HOGFLARE_FEATURE_FLAGS".to_owned(), path.display().to_string()));
    let server = Server::start(&launch)?;
    let enabled = check(&server, &arguments.project_token)?;
    println!("{FLAGS} flags, {enabled} of them on for the first person, {} persons known", arguments.persons);
    let measured = measure(&server, arguments)?;
    measured.print(&server);
    server.stop()
}

/// All flags are answered and none failed. Returns how many are on.
fn check(server: &Server, token: &str) -> Result<usize> {
    let mut body = Body::of(&question(token));
    body.number(|| (0, 0));
    let asked: Value = serde_json::from_slice(body.bytes())?;
    let answer = server.post_json(PATH, &asked)?;
    let flags = answer["flags"].as_object().context("no flags in the answer")?;
    ensure!(flags.len() == FLAGS, "{} flags were answered, not {FLAGS}", flags.len());
    ensure!(answer["errorsWhileComputingFlags"] == false, "flags failed: {answer}");
    Ok(flags.values().filter(|flag| flag["enabled"] == true).count())
}

/// As a browser asks.
fn question(token: &str) -> Value {
    json!({
        "token": token,
        "distinct_id": USER_ID,
        "$anon_distinct_id": "anon-of-user-#######",
        "groups": {"company": "company-~~~~"},
        "person_properties": {"$initial_current_url": "https://shop.example/"},
    })
}

#[derive(Debug, Default)]
struct Measured {
    seconds: f64,
    cpu: Option<Duration>,
    answer_bytes: usize,
    /// From when a request was due.
    due_us: Vec<u32>,
    /// From when it was sent.
    sent_us: Vec<u32>,
}

fn measure(server: &Server, arguments: &Arguments) -> Result<Measured> {
    let connections = arguments.connections.unwrap_or(CONNECTIONS);
    let pace = Pace {
        first: Instant::now() + Duration::from_millis(100),
        rate: arguments.rate,
        requests: u64::from(arguments.rate) * (WARM_UP.as_secs() + arguments.seconds),
        next: AtomicU64::new(0),
    };
    let mut all = Measured::default();
    let mut before = None;
    let measured: Vec<Result<Measured>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(|| ask(server, arguments, &pace))).collect();
        std::thread::sleep((pace.first + WARM_UP).saturating_duration_since(Instant::now()));
        before = server.usage();
        let started = Instant::now();
        let measured = threads.into_iter().map(|thread| thread.join().expect("a connection's thread panicked"));
        let measured = measured.collect();
        all.seconds = started.elapsed().as_secs_f64();
        measured
    });
    all.cpu = before.zip(server.usage()).map(|(before, after)| after.cpu - before.cpu);
    for measured in measured {
        let measured = measured?;
        all.due_us.extend(measured.due_us);
        all.sent_us.extend(measured.sent_us);
        all.answer_bytes = all.answer_bytes.max(measured.answer_bytes);
    }
    all.due_us.sort_unstable();
    all.sent_us.sort_unstable();
    Ok(all)
}

/// When requests are due. Each goes to the connection that is free first.
#[derive(Debug)]
struct Pace {
    first: Instant,
    rate: u32,
    requests: u64,
    next: AtomicU64,
}

impl Pace {
    fn next_due(&self) -> Option<Instant> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let after = Duration::from_secs_f64(number as f64 / f64::from(self.rate));
        (number < self.requests).then(|| self.first + after)
    }
}

fn ask(server: &Server, arguments: &Arguments, pace: &Pace) -> Result<Measured> {
    let mut connection = Connection::open(server.url(), PATH, false)?;
    let mut body = Body::of(&question(&arguments.project_token));
    let mut random = Random::new();
    let mut measured = Measured::default();
    let microseconds = |since: Instant| u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
    while let Some(due) = pace.next_due() {
        body.number(|| (random.below(arguments.persons), random.below(COMPANIES)));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        let status = connection.post(body.bytes())?;
        ensure!(status == 200, "status {status}");
        measured.answer_bytes = measured.answer_bytes.max(connection.answer_bytes());
        if due >= pace.first + WARM_UP {
            measured.due_us.push(microseconds(due));
            measured.sent_us.push(microseconds(sent));
        }
    }
    Ok(measured)
}

impl Measured {
    fn print(&self, server: &Server) {
        let requests = self.due_us.len();
        println!("latency ms     p50     p99   p99.9     max");
        for (since, latencies) in [("since due", &self.due_us), ("since sent", &self.sent_us)] {
            let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| quantile_ms(latencies, share));
            println!("{since:<10}  {p50:>6.2}  {p99:>6.2}  {p999:>6.2}  {max:>6.2}");
        }
        let cpu = self.cpu.map_or(f64::NAN, |cpu| cpu.as_secs_f64());
        println!(
            "{requests} requests, {:.0}/s, answers of {:.1} KB; server: {:.0} µs of CPU each, {:.2} cores, RSS {:.0} MB",
            requests as f64 / self.seconds,
            self.answer_bytes as f64 / 1e3,
            cpu * 1e6 / requests as f64,
            cpu / self.seconds,
            server.usage().map_or(f64::NAN, |usage| usage.rss_bytes_peak as f64 / 1e6),
        );
    }
}
