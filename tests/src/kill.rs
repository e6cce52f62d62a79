//! `kill -9` at random moments under load: an acknowledged event is there exactly once, for ever.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use uuid::Uuid;

use crate::backends::Place;
use crate::harness::audit::{self, Occurrences};
use crate::harness::load::{Load, Shape};
use crate::harness::{Options, PATIENCE, Server, skipped, wait_for};

pub(crate) const LOAD: Shape =
    Shape { connections: 4, batch_max: 20, late_every: Some(6), pause: Duration::from_millis(2) };

/// The steps between a request and its row in the table, which a kill can meet.
const STEPS: [&str; 4] = ["frame", "seal", "pending", "post"];

/// Each step is held this long, so that a kill can meet it.
const STALLS: &str = "frame:5,seal:80,pending:80,post:80";

/// Half of the rounds kill at a random moment, the others at a random moment within a step that is open.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Random,
    Within(&'static str),
}

#[test]
fn acknowledged_events_survive_kills_exactly_once() {
    if !skipped("clients") {
        kill_rounds(&Place::own(), rounds(20));
    }
}

#[test]
fn acknowledged_events_survive_kills_over_seaweedfs() {
    if !skipped("clients") {
        kill_rounds(&Place::seaweed("default"), rounds(8));
    }
}

#[test]
fn acknowledged_events_survive_kills_with_files_on_s3() {
    if !skipped("clients") {
        kill_rounds(&Place::embedded_on_s3(), rounds(8));
    }
}

#[test]
fn acknowledged_events_survive_kills_over_our_catalog_on_s3() {
    if !skipped("clients") {
        kill_rounds(&Place::our_catalog_on_s3(), rounds(8));
    }
}

fn kill_rounds(place: &Place, rounds: usize) {
    let base = (place.options)(Options::new().interval("300ms").set("HOGFLARE_TABLE_PREFIX", "hogflare_"));
    let start = |server: &Server| {
        server.assert_durability_is_fsync();
        Load::start(server.url(), &LOAD)
    };
    let (server, killed) = killed_under_load(&base, rounds, start, check);
    let occurrences = Occurrences::ask(&server);
    println!("{}: {rounds} kills, {killed}, {} stored", place.name, occurrences.len());
    killed.assert_each_step_was_open();
    check_all_is_committed(server, &killed.acknowledged);
}

/// What became of a server that was killed again and again.
pub(crate) struct Killed {
    pub(crate) acknowledged: Vec<Uuid>,
    /// Kills that met each of the [`STEPS`].
    open: [usize; STEPS.len()],
}

/// Kills a server under load and starts it again, so many times; after each start what was acknowledged is
/// checked, and once more when the clients have sent again what was not.
pub(crate) fn killed_under_load(
    options: &Options,
    rounds: usize,
    load: impl Fn(&Server) -> Load,
    check: impl Fn(&Server, &[Uuid]),
) -> (Server, Killed) {
    let stalled = options.clone().stall(STALLS);
    let mut server = stalled.clone().start();
    let mut killed = Killed { acknowledged: Vec::new(), open: [0; STEPS.len()] };
    for round in 0..rounds {
        let load = load(&server);
        Moment::of_round(round).wait(&server);
        server.kill();
        for (count, step) in killed.open.iter_mut().zip(STEPS) {
            *count += usize::from(server.is_open(step));
        }
        let sent = load.finish();
        killed.acknowledged.extend(&sent.acknowledged);
        // Every fourth round, one with a random moment, goes without stalls, as in production.
        server.restart_with(if (round + 1).is_multiple_of(4) { options.clone() } else { stalled.clone() });
        check(&server, &killed.acknowledged);
        for batch in &sent.unanswered {
            batch.send_again(server.url());
            killed.acknowledged.extend(&batch.uuids);
        }
        check(&server, &killed.acknowledged);
    }
    (server, killed)
}

impl Killed {
    fn assert_each_step_was_open(&self) {
        assert!(self.open.iter().all(|times| *times > 0), "a step was never open at a kill: {self}");
    }
}

impl Display for Killed {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let open = STEPS.iter().zip(self.open).map(|(step, times)| format!("{step} {times}")).collect::<Vec<_>>();
        let (events, open) = (self.acknowledged.len(), open.join(", "));
        write!(out, "{events} events acknowledged, rounds with a step open at the kill: {open}")
    }
}

/// This many, or as many as `HOGFLARE_KILL_ROUNDS` says.
pub(crate) fn rounds(usual: usize) -> usize {
    let asked = std::env::var("HOGFLARE_KILL_ROUNDS").ok();
    let rounds = asked.map_or(usual, |text| text.parse().expect("HOGFLARE_KILL_ROUNDS is a number"));
    assert!(rounds >= 2 * STEPS.len(), "fewer rounds cannot meet every step");
    rounds
}

impl Moment {
    fn of_round(round: usize) -> Self {
        if round.is_multiple_of(2) { Moment::Random } else { Moment::Within(STEPS[round / 2 % STEPS.len()]) }
    }

    fn wait(self, server: &Server) {
        match self {
            Moment::Random => std::thread::sleep(Duration::from_millis(rand::random_range(0..1_500))),
            Moment::Within(step) => {
                std::thread::sleep(Duration::from_millis(rand::random_range(0..400)));
                // Closer together than the shortest step lasts.
                let started = std::time::Instant::now();
                while !server.is_open(step) {
                    assert!(started.elapsed() < PATIENCE, "the step {step} was not seen open");
                    std::thread::sleep(Duration::from_micros(500));
                }
                let within_ms = if step == "frame" { 3 } else { 60 };
                std::thread::sleep(Duration::from_micros(rand::random_range(0..within_ms * 1_000)));
            }
        }
    }
}

fn check(server: &Server, acknowledged: &[Uuid]) {
    Occurrences::ask(server).assert_each_once(acknowledged);
    audit::assert_positions_have_no_gap(server);
    let committed = audit::assert_committed_positions_have_no_gap(server);
    assert!(committed <= server.count("hogflare_events"), "a committed row is missing in our own answer");
}

/// After the last round everything reaches the table, and an orderly stop leaves it so.
fn check_all_is_committed(mut server: Server, acknowledged: &[Uuid]) {
    let stored = server.count("hogflare_events");
    wait_for("the commits", || (server.committed_rows("hogflare_events") == stored).then_some(()));
    server.stop();
    server.restart();
    assert_eq!(audit::assert_committed_positions_have_no_gap(&server), stored);
    Occurrences::ask(&server).assert_each_once(acknowledged);
}
