//! Random graphs of identify, alias and merge: who is whom does not depend on the order of delivery.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::*;

const IDS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

#[derive(Clone, Copy, Debug)]
struct Step {
    id: usize,
    other: usize,
    operation: Operation,
}

type Partition = BTreeSet<BTreeSet<&'static str>>;

/// The ids of each person.
fn partition(world: &World) -> Partition {
    let mut persons: BTreeMap<i64, BTreeSet<&'static str>> = BTreeMap::new();
    for id in IDS {
        if let Some(person) = world.person_of(id) {
            persons.entry(person.number).or_default().insert(id);
        }
    }
    persons.into_values().collect()
}

/// The ids that the steps join if none is refused.
fn components(steps: &[Step]) -> Partition {
    let mut sets: Vec<BTreeSet<&'static str>> = Vec::new();
    for step in steps {
        let mut joined = BTreeSet::from([IDS[step.id], IDS[step.other]]);
        sets.retain(|set| {
            let touches = !set.is_disjoint(&joined);
            if touches {
                joined.extend(set);
            }
            !touches
        });
        sets.push(joined);
    }
    sets.into_iter().collect()
}

/// The partition, and whether a merge was refused.
fn deliver(steps: &[Step]) -> (Partition, bool) {
    let mut world = World::default();
    let mut refused = false;
    for step in steps {
        let outcome = world.apply(&event(IDS[step.id], merge_of(IDS[step.other], step.operation)));
        refused |= !outcome.changes.warnings.is_empty();
    }
    for person in world.persons.values() {
        for id in &person.ids.iter().collect::<Vec<_>>() {
            assert_eq!(world.person_of(id).map(|of| of.number), Some(person.number), "each listed id is its person's");
        }
        assert!(person.ids.are_all_listed());
    }
    (partition(&world), refused)
}

#[test]
fn the_order_of_delivery_decides_nothing_unless_a_merge_is_refused() {
    let mut random = StdRng::seed_from_u64(7);
    let (mut with_refusal, mut without) = (0, 0);
    for _ in 0..2_000 {
        let dangerously = random.random_bool(0.5);
        let count = random.random_range(1..14);
        let mut steps: Vec<Step> = (0..count)
            .map(|_| {
                let operation = match (dangerously, random.random_range(0..3)) {
                    (true, _) => Operation::Merge,
                    (false, 0) => Operation::Alias,
                    (false, _) => Operation::Identify,
                };
                Step { id: random.random_range(0..IDS.len()), other: random.random_range(0..IDS.len()), operation }
            })
            .filter(|step| step.id != step.other)
            .collect();
        for _ in 0..6 {
            steps.shuffle(&mut random);
            let (partition, refused) = deliver(&steps);
            let joined = components(&steps);
            if refused {
                with_refusal += 1;
                // A refused merge may come about by another step; nobody is joined without one.
                for set in &partition {
                    assert!(joined.iter().any(|joined| set.is_subset(joined)), "{steps:?}");
                }
            } else {
                without += 1;
                assert_eq!(partition, joined, "{steps:?}");
            }
        }
    }
    assert!(with_refusal > 500 && without > 5_000, "{with_refusal} {without}");
}
