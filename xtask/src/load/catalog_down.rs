//! Memory and disk under endless load while no commit ends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Arguments;
use super::body::{Body, Ids};
use super::connection::Connection;
use super::process::{Launch, Server};

/// If the budgets are not reached by then, the run ends and says so.
const UNTIL_REFUSED_MAX: Duration = Duration::from_secs(15 * 60);

const CONNECTIONS: usize = 8;
const BATCH: usize = 100;

/// How long a refused client waits.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
struct Totals {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    stop: AtomicBool,
}

/// Prints a line a second until requests are refused, then for as many seconds as asked.
pub(super) fn run(arguments: &Arguments, mut launch: Launch) -> Result<()> {
    launch.settings.insert(0, ("HOGFLARE_TEST_STALL".to_owned(), "post:3600000".to_owned()));
    let server = Server::start(&launch)?;
    let totals = Totals::default();
    let connections = arguments.connections.unwrap_or(CONNECTIONS);
    let batch = arguments.batch.unwrap_or(BATCH);
    println!("seconds  events       503     RSS MB  log MB   sealed MB");
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..connections)
            .map(|seed| {
                let (server, totals) = (&server, &totals);
                scope.spawn(move || send(server, totals, &arguments.project_token, batch, seed))
            })
            .collect();
        watch(&server, &totals, Duration::from_secs(arguments.seconds));
        totals.stop.store(true, Ordering::SeqCst);
        for sender in senders {
            sender.join().expect("a sender panicked")?;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    ensure!(totals.refused.load(Ordering::SeqCst) > 0, "nothing was refused: the budgets were not reached");
    let acknowledged = totals.acknowledged.load(Ordering::SeqCst);
    let counted = server.sql("select count(*) from hogflare_events")?;
    println!("{acknowledged} events acknowledged, {} counted by SQL", counted.unwrap_or_default());
    ensure!(counted.is_none_or(|counted| counted == acknowledged), "acknowledged events are not counted");
    Ok(())
}

fn watch(server: &Server, totals: &Totals, after_refused: Duration) {
    let started = Instant::now();
    let mut refused_since = None;
    let mut rss_max = 0;
    while refused_since.map_or(started.elapsed() < UNTIL_REFUSED_MAX, |since: Instant| since.elapsed() < after_refused)
    {
        std::thread::sleep(Duration::from_secs(1));
        let refused = totals.refused.load(Ordering::SeqCst);
        if refused > 0 && refused_since.is_none() {
            refused_since = Some(Instant::now());
            println!("requests are refused from here on");
        }
        let rss = server.usage().map_or(0, |usage| usage.rss_bytes);
        rss_max = rss_max.max(rss);
        println!(
            "{:>7}  {:<11}  {:<6}  {:<6}  {:<7}  {}",
            started.elapsed().as_secs(),
            totals.acknowledged.load(Ordering::SeqCst),
            refused,
            rss / 1_000_000,
            server.disk_bytes("wal") / 1_000_000,
            server.disk_bytes("sealed") / 1_000_000,
        );
    }
    println!("largest RSS {} MB", rss_max / 1_000_000);
}

fn send(server: &Server, totals: &Totals, token: &str, batch: usize, seed: usize) -> Result<()> {
    let mut connection = Connection::open(server.url(), "/batch/", false)?;
    let (mut body, mut ids) = (Body::new(token, batch, seed), Ids::new());
    while !totals.stop.load(Ordering::Relaxed) {
        body.renew(&mut ids);
        loop {
            let status = connection.post(body.bytes())?;
            if status == 200 {
                totals.acknowledged.fetch_add(batch as u64, Ordering::SeqCst);
                break;
            }
            ensure!(status == 503, "status {status}");
            totals.refused.fetch_add(1, Ordering::SeqCst);
            if totals.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            std::thread::sleep(REFUSED_PAUSE);
        }
    }
    Ok(())
}
