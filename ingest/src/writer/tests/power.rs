//! Random power failures: every acknowledged row is there exactly once afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use hogflare_catalog::{Slot, Table};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Bench, TestBatch, number_of, small_settings};
use crate::disk::Disk;
use crate::disk::model::{Faults, ModelDisk};
use crate::ingest::IngestSettings;
use crate::wal::Positions;

const SEEDS: u64 = 400;

/// What the world outside the process knows.
#[derive(Debug, Default)]
struct World {
    acknowledged: BTreeSet<u64>,
    /// Sent without an answer: to be sent again.
    unanswered: Vec<u64>,
    /// Rows that were committed: position → number, by slot.
    table: [BTreeMap<u64, u64>; 2],
    next_number: u64,
}

impl World {
    fn covered(&self) -> Positions {
        let mut covered = Positions::default();
        for slot in Slot::ALL {
            let last = self.table[slot.index()].last_key_value();
            covered[slot.index()][Table::Events.index()] = last.map_or(0, |(position, _)| *position);
        }
        covered
    }

    /// Some new numbers, and perhaps all that were not answered.
    fn batch(&mut self, rng: &mut StdRng) -> Vec<u64> {
        let mut numbers = std::mem::take(&mut self.unanswered);
        let new = rng.random_range(0..20);
        numbers.extend(self.next_number..self.next_number + new);
        self.next_number += new;
        if rng.random_bool(0.1) {
            numbers.extend(self.acknowledged.iter().rev().take(3));
        }
        numbers
    }

    /// Moves visible rows to the table, as a commit does.
    fn commit(&mut self, bench: &Bench) {
        for slot in Slot::ALL {
            for (uuid, position) in bench.events(slot) {
                self.table[slot.index()].insert(position, number_of(&uuid));
            }
            let through = self.covered()[slot.index()][Table::Events.index()];
            bench.ingest.positions().release_through(slot, Table::Events, through);
        }
    }

    /// The invariant, after a recovery.
    fn check(&self, bench: &Bench) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for slot in Slot::ALL {
            let mut rows = self.table[slot.index()].clone();
            for (uuid, position) in bench.events(slot) {
                if rows.insert(position, number_of(&uuid)).is_some() {
                    return Err(format!("position {position} of {slot:?} is there twice"));
                }
            }
            if rows.keys().copied().ne(1..=rows.len() as u64) {
                return Err(format!("positions of {slot:?} are not 1, 2, 3 …: {:?}", rows.keys()));
            }
            if let Some(twice) = rows.values().find(|number| !seen.insert(**number)) {
                return Err(format!("event {twice} is there twice"));
            }
        }
        match self.acknowledged.difference(&seen).next() {
            Some(lost) => Err(format!("event {lost} was acknowledged and is lost")),
            None => Ok(()),
        }
    }
}

/// What the lives of one seed came to.
#[derive(Debug, Default)]
struct Lives {
    acknowledged: u64,
    /// Bytes of torn frames that recoveries cut off.
    cut_bytes: u64,
    /// Whether segments were removed.
    removed: bool,
}

/// Lives through several power failures; an error says which invariant broke.
fn live(seed: u64, faults: Faults) -> Result<Lives, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let disk = ModelDisk::default();
    let mut world = World::default();
    let mut lives = Lives::default();
    let settings = IngestSettings { dedup_generation_keys: 1 << 20, segment_bytes: 300 << 10, ..small_settings() };
    for _life in 0..6 {
        let lifetime = if rng.random_bool(0.5) { rng.random_range(0..40) } else { rng.random_range(0..250) };
        disk.set_faults(Faults { power_loss_at: Some(disk.operations() + lifetime), ..faults });
        // A power failure during recovery is an error too; then the next life tries again.
        if let Ok(mut bench) = Bench::open(settings.clone(), Arc::new(disk.clone()), world.covered()) {
            world.check(&bench)?;
            lives.cut_bytes += bench.recovered.cut_bytes;
            live_once(&mut bench, &mut world, &mut rng);
        }
        disk.lose_power(&mut rng);
    }
    disk.set_faults(Faults::default());
    let bench = Bench::open(settings, Arc::new(disk.clone()), world.covered()).map_err(|error| error.chain())?;
    world.check(&bench)?;
    lives.acknowledged = world.acknowledged.len() as u64;
    lives.removed = disk.list(Path::new("/data/wal")).expect("listed")[0] != "00000000000000000000.log";
    Ok(lives)
}

fn live_once(bench: &mut Bench, world: &mut World, rng: &mut StdRng) {
    loop {
        let requests: Vec<(Vec<u64>, _)> = (0..rng.random_range(1..4))
            .map(|_| {
                let numbers = world.batch(rng);
                let mut batch = TestBatch::of(numbers.iter().copied());
                for event in &mut batch.events {
                    event.properties = "p".repeat(rng.random_range(0..4_000));
                }
                let answer = bench.send(batch);
                (numbers, answer)
            })
            .collect();
        bench.step();
        let mut alive = true;
        for (numbers, answer) in requests {
            let answer = answer.ok().and_then(|mut answer| answer.try_recv().ok());
            match answer {
                Some(Ok(_)) => world.acknowledged.extend(numbers),
                _ => {
                    world.unanswered.extend(numbers);
                    alive = false;
                }
            }
        }
        if !alive {
            return;
        }
        if rng.random_bool(0.2) {
            world.commit(bench);
        }
    }
}

#[test]
fn acknowledged_rows_survive_power_loss() {
    let lives =
        (0..SEEDS).map(|seed| live(seed, Faults::default()).unwrap_or_else(|broken| panic!("seed {seed}: {broken}")));
    let lives: Vec<Lives> = lives.collect();
    // The lives are long and hard enough to mean something.
    let rows: u64 = lives.iter().map(|lives| lives.acknowledged).sum();
    let torn = lives.iter().filter(|lives| lives.cut_bytes > 0).count() as u64;
    let removed = lives.iter().filter(|lives| lives.removed).count() as u64;
    assert!(
        rows > SEEDS * 100 && torn > SEEDS / 4 && removed > SEEDS / 4,
        "{rows} rows, {torn} torn, {removed} removed"
    );
}

/// The same lives on a disk whose syncs do nothing: the check above must notice.
#[test]
fn without_sync_acknowledged_rows_are_lost() {
    let lying = Faults { lying_syncs: true, ..Faults::default() };
    let broken = (0..SEEDS).filter(|seed| live(*seed, lying).is_err()).count() as u64;
    assert!(broken > SEEDS / 2, "only {broken} of {SEEDS} lives broke without syncs");
}
