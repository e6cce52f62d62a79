//! Events of people who are known, beside those of nobody.

mod crowd;
mod fill;

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Arguments;
use super::process::{Launch, Server};
use super::report::shown;
use super::run::{self, Measured, Shape};
pub(super) use crowd::Random;
use crowd::{CROWDS, Crowd, CrowdBodies};
pub(super) use fill::{COMPANIES, USER_ID, filled};

const CONNECTIONS: usize = 32;

/// Prints how long a start takes, then a row for each crowd and size of batches.
pub(super) fn run(arguments: &Arguments, launch: Launch) -> Result<()> {
    let crowds = match &arguments.crowd {
        Some(name) => vec![crowd_of(name)?],
        None => CROWDS.to_vec(),
    };
    // The folder is filled once; it outlives the servers.
    let (launch, _folder) = filled(arguments, launch)?;
    print_starts(&launch)?;
    println!("events of         batch |  events/s  CPU µs/ev  p50 ms  p99 ms  RSS MB   503 | rate beside new, few");
    for batch in arguments.batch.map_or(vec![1, 100], |batch| vec![batch]) {
        let shape = Shape { batch, connections: arguments.connections.unwrap_or(CONNECTIONS), gzip: false };
        let mut rates = Vec::new();
        for crowd in &crowds {
            // A fresh server each, so that what is in memory belongs to this row of the table.
            let server = Server::start(&launch)?;
            let duration = Duration::from_secs(arguments.seconds);
            let bodies =
                |seed| CrowdBodies::new(*crowd, &arguments.project_token, shape.batch, arguments.persons, seed);
            let measured = run::measure(&server, shape, duration, bodies)?;
            rates.push((*crowd, measured.events_per_second()));
            print_row(*crowd, shape, &measured, &rates);
            server.stop()?;
        }
    }
    Ok(())
}

fn crowd_of(name: &str) -> Result<Crowd> {
    match CROWDS.into_iter().find(|crowd| crowd.name() == name) {
        Some(crowd) => Ok(crowd),
        None => bail!("--crowd is one of {}", CROWDS.map(Crowd::name).join(", ")),
    }
}

fn print_starts(launch: &Launch) -> Result<()> {
    for ended in ["a clean end", "a kill"] {
        let server = Server::start(launch)?;
        let after = server.listening_after().context("the server is ours")?;
        println!(
            "start after {ended}: listening after {:.2} s, RSS {:.0} MB, state file {:.0} MB",
            after.as_secs_f64(),
            server.usage().map_or(f64::NAN, |usage| usage.rss_bytes as f64 / 1e6),
            server.state_bytes() as f64 / 1e6,
        );
        // Dropped, the first of the two is killed; the second ends cleanly.
        if ended == "a kill" {
            server.stop()?;
        }
    }
    Ok(())
}

fn print_row(crowd: Crowd, shape: Shape, measured: &Measured, rates: &[(Crowd, f64)]) {
    let per_event = measured.cpu().map(|cpu| cpu.as_secs_f64() * 1e6 / measured.events as f64);
    let rate = measured.events_per_second();
    let beside = |other: Crowd| rates.iter().find(|(crowd, _)| *crowd == other).map(|(_, of_other)| rate / of_other);
    println!(
        "{:<17} {:>5} |  {rate:>8.0}  {:>9}  {:>6.2}  {:>6.2}  {:>6}  {:>4} | {}, {}",
        crowd.name(),
        shape.batch,
        shown(per_event, 1),
        measured.latency_ms(0.5),
        measured.latency_ms(0.99),
        shown(measured.after.map(|usage| usage.rss_bytes_peak as f64 / 1e6), 0),
        measured.refused,
        shown(beside(Crowd::New), 2),
        shown(beside(Crowd::Few), 2),
    );
}
