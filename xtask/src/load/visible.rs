//! From the acknowledgement of an event to the query that sees it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::body::{Body, Ids};
use super::connection::Connection;
use super::process::Server;

const PROBES: usize = 50;
const QUERIES_MAX: usize = 1_000;

/// Prints how long and how many queries it took until the event was counted. Nothing without a read token.
pub(super) fn measure_and_print(server: &Server, token: &str) -> Result<()> {
    let Some(mut rows) = server.sql("select count(*) from hogflare_events")? else { return Ok(()) };
    let mut connection = Connection::open(server.url(), "/batch/", false)?;
    let (mut body, mut ids) = (Body::new(token, 1, 0), Ids::new());
    let (mut times, mut at_once) = (Vec::new(), 0);
    for _ in 0..PROBES {
        body.renew(&mut ids);
        ensure!(connection.post(body.bytes())? == 200, "the probe was refused");
        let acknowledged = Instant::now();
        rows += 1;
        let mut queries = 0;
        loop {
            queries += 1;
            if server.sql("select count(*) from hogflare_events")? == Some(rows) {
                break;
            }
            ensure!(queries < QUERIES_MAX, "the event did not become visible");
        }
        times.push(acknowledged.elapsed());
        at_once += usize::from(queries == 1);
    }
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    println!(
        "       from acknowledged to counted by SQL over {rows} rows: p50 {:.1} ms, p99 {:.1} ms; {at_once} of {PROBES} by the first query",
        ms(times[PROBES / 2]),
        ms(times[PROBES * 99 / 100])
    );
    Ok(())
}
