//! `kill -9` at random moments under load: an acknowledged event is there exactly once, for ever.

use std::time::Duration;

use uuid::Uuid;

use crate::backends::Place;
use crate::harness::audit::{self, Occurrences};
use crate::harness::load::{Load, Shape};
use crate::harness::{Options, PATIENCE, Server, skipped, wait_for};

pub(crate) const LOAD: Shape =
    Shape { connections: 4, batch_max: 20, late_every: Some(6), pause: Duration::from_millis(2) };

/// The steps between a request and its row in the table, which a kill can meet.
pub(crate) const STEPS: [&str; 4] = ["frame", "seal", "pending", "post"];

/// Each step is held this long, so that a kill can meet it.
pub(crate) const STALLS: &str = "frame:5,seal:80,pending:80,post:80";

/// Half of the rounds kill at a random moment, the others at a random moment within a step that is open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
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
        kill_rounds(&Place::seaweed(), rounds(8));
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
    let base = || (place.options)(Options::new().interval("300ms").set("HOGFLARE_TABLE_PREFIX", "hogflare_"));
    let stalled = base().stall(STALLS);
    let unstalled = base();
    let mut server = stalled.clone().start();
    server.assert_durability_is_fsync();
    let mut acknowledged: Vec<Uuid> = Vec::new();
    let mut open = [0; STEPS.len()];
    for round in 0..rounds {
        let load = Load::start(server.url(), &LOAD);
        Moment::of_round(round).wait(&server);
        server.kill();
        for (count, step) in open.iter_mut().zip(STEPS) {
            *count += usize::from(server.is_open(step));
        }
        let sent = load.finish();
        acknowledged.extend(&sent.acknowledged);
        // Every fourth round, one with a random moment, goes without stalls, as in production.
        server.restart_with(if (round + 1).is_multiple_of(4) { unstalled.clone() } else { stalled.clone() });
        check(&server, &acknowledged);
        for batch in &sent.unanswered {
            batch.send_again(server.url());
            acknowledged.extend(&batch.uuids);
        }
        check(&server, &acknowledged);
    }
    let occurrences = Occurrences::ask(&server);
    let counted = STEPS.iter().zip(open).map(|(step, times)| format!("{step} {times}")).collect::<Vec<_>>().join(", ");
    println!(
        "{}: {rounds} kills, {} events acknowledged, {} stored; rounds with a step open at the kill: {counted}",
        place.name,
        acknowledged.len(),
        occurrences.len()
    );
    assert!(open.iter().all(|times| *times > 0), "a step was never open at a kill: {counted}");
    check_all_is_committed(server, &acknowledged);
}

/// This many, or as many as `HOGFLARE_KILL_ROUNDS` says.
pub(crate) fn rounds(usual: usize) -> usize {
    let asked = std::env::var("HOGFLARE_KILL_ROUNDS").ok();
    let rounds = asked.map_or(usual, |text| text.parse().expect("HOGFLARE_KILL_ROUNDS is a number"));
    assert!(rounds >= 2 * STEPS.len(), "fewer rounds cannot meet every step");
    rounds
}

impl Moment {
    pub(crate) fn of_round(round: usize) -> Self {
        if round.is_multiple_of(2) { Moment::Random } else { Moment::Within(STEPS[round / 2 % STEPS.len()]) }
    }

    pub(crate) fn wait(self, server: &Server) {
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
