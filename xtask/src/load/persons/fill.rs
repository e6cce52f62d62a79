//! Makes persons and groups known, through the server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::load::Arguments;
use crate::load::body::{self, Body, Ids};
use crate::load::connection::Connection;
use crate::load::process::{Launch, Server};

/// Distinct ids of known persons, by number.
pub(in crate::load) const USER_ID: &str = "user-#######";
/// Groups of the type `company`, `company-0000` and so on.
pub(in crate::load) const COMPANIES: u64 = 1_000;
const CONNECTIONS: usize = 8;
const BATCH: u64 = 100;
/// How long a refused client waits.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
/// Says how many persons the folder knows.
const MARK: &str = "load-persons";

/// A launch whose folder knows the persons, and what removes the folder if it is temporary.
pub(in crate::load) fn filled(arguments: &Arguments, mut launch: Launch) -> Result<(Launch, Option<TempDir>)> {
    let temporary = match &launch.folder {
        Some(_) => None,
        None => Some(TempDir::with_prefix_in("load-", &launch.temporary_in)?),
    };
    let folder: PathBuf = match &temporary {
        Some(folder) => folder.path().to_owned(),
        None => launch.folder.clone().context("there is a folder")?,
    };
    launch.folder = Some(folder.clone());
    let known = fs::read_to_string(folder.join(MARK)).ok().and_then(|text| text.trim().parse().ok());
    if known == Some(arguments.persons) {
        return Ok((launch, temporary));
    }
    ensure!(!folder.join("data").exists(), "{} holds something else: name another --folder", folder.display());
    fill(arguments, &launch, &folder)?;
    Ok((launch, temporary))
}

fn fill(arguments: &Arguments, launch: &Launch, folder: &Path) -> Result<()> {
    let server = Server::start(launch)?;
    let (token, persons) = (&arguments.project_token, arguments.persons);
    let started = Instant::now();
    send(&server, token, COMPANIES, company)?;
    send(&server, token, persons, person)?;
    let sent = started.elapsed();
    let rows = server.sql("select count(*) from hogflare_persons where version = 1")?;
    ensure!(rows == Some(persons), "{persons} persons were sent, {rows:?} are counted by SQL");
    // Ends when all is in the state file.
    server.stop()?;
    println!(
        "{persons} persons with two ids each: acknowledged in {:.0} s, in the state file in {:.0} s",
        sent.as_secs_f64(),
        started.elapsed().as_secs_f64()
    );
    fs::write(folder.join(MARK), persons.to_string()).context("cannot note what the folder knows")
}

/// Events for the numbers below `count`, in batches.
fn send(server: &Server, token: &str, count: u64, event: fn(usize) -> Value) -> Result<()> {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..CONNECTIONS).map(|_| scope.spawn(|| send_batches(server, token, count, event, &next))).collect();
        senders.into_iter().try_for_each(|sender| sender.join().expect("a sender panicked"))
    })
}

fn send_batches(server: &Server, token: &str, count: u64, event: fn(usize) -> Value, next: &AtomicU64) -> Result<()> {
    let mut connection = Connection::open(server.url(), "/batch/", false)?;
    let mut ids = Ids::new();
    let mut body = Body::of_events(token, (0..BATCH as usize).map(event).collect());
    loop {
        let first = next.fetch_add(BATCH, Ordering::SeqCst);
        if first >= count {
            return Ok(());
        }
        // The last batch repeats its last number if the others do not fill it.
        let mut numbers = (first..count).take(BATCH as usize);
        body.renew(&mut ids);
        body.number(|| (numbers.next().unwrap_or(count - 1), 0));
        loop {
            match connection.post(body.bytes())? {
                200 => break,
                503 => std::thread::sleep(REFUSED_PAUSE),
                status => anyhow::bail!("status {status}"),
            }
        }
    }
}

/// A visitor says who it is.
fn person(n: usize) -> Value {
    let mut event = body::event(n);
    event["event"] = "$identify".into();
    event["distinct_id"] = USER_ID.into();
    let properties = event["properties"].as_object_mut().expect("an event has properties");
    properties.insert("$anon_distinct_id".to_owned(), "anon-of-user-#######".into());
    let plan = ["free", "pro", "enterprise"][n % 3];
    let set = json!({
        "email": "user-#######@shop.example",
        "name": "User #######",
        "plan": plan,
        "seats": n % 50,
        "country": (["DE", "FR", "US", "JP"])[n % 4],
        "signed_up_at": format!("2025-{:02}-{:02}T08:00:00Z", 1 + n % 12, 1 + n % 28),
    });
    properties.insert("$set".to_owned(), set);
    event
}

fn company(n: usize) -> Value {
    let mut event = body::event(n);
    event["event"] = "$groupidentify".into();
    event["distinct_id"] = "importer".into();
    event["properties"] = json!({
        "$group_type": "company",
        "$group_key": "company-####",
        "$group_set": {"name": "Company ####", "seats": 10 * (n % 100), "tier": (["small", "large"])[n % 2]},
    });
    event
}
