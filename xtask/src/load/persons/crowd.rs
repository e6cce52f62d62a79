//! Whose events are sent.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::fill::USER_ID;
use crate::load::body::{self, Body, Ids};
use crate::load::run::Bodies;

/// Visitors who come again and again, without profiles.
const FEW: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowd {
    /// Without profiles, each event of somebody who was never seen.
    New,
    /// Without profiles, of few.
    Few,
    /// Of anybody who is known.
    Uniform,
    /// Of those who are known, some far more often than others: the n-th in proportion to 1/n.
    Skewed,
    /// Of anybody who is known; each event changes a property of theirs.
    Changing,
}

pub(super) const CROWDS: [Crowd; 5] = [Crowd::New, Crowd::Few, Crowd::Uniform, Crowd::Skewed, Crowd::Changing];

impl Crowd {
    pub(super) fn name(self) -> &'static str {
        match self {
            Crowd::New => "new",
            Crowd::Few => "few",
            Crowd::Uniform => "known-uniform",
            Crowd::Skewed => "known-skewed",
            Crowd::Changing => "known-changing",
        }
    }

    /// As [`body::event`], so that only the person differs.
    fn event(self, n: usize) -> Value {
        let mut event = body::event(n);
        let (id, more) = match self {
            Crowd::New => ("anon-################", json!({"$process_person_profile": false})),
            Crowd::Few => ("visitor-#####", json!({"$process_person_profile": false})),
            Crowd::Uniform | Crowd::Skewed => (USER_ID, json!({})),
            Crowd::Changing => (USER_ID, json!({"$set": {"last_order": "~~~~~~~~~~~~"}})),
        };
        event["distinct_id"] = id.into();
        let more: Map<String, Value> = more.as_object().cloned().unwrap_or_default();
        event["properties"].as_object_mut().expect("an event has properties").extend(more);
        event
    }

    fn next(self, random: &mut Random, persons: u64) -> u64 {
        match self {
            Crowd::New => random.next(),
            Crowd::Few => random.below(FEW),
            Crowd::Uniform | Crowd::Changing => random.below(persons),
            // The logarithm of the rank is spread evenly.
            Crowd::Skewed => (persons as f64).powf(random.share()) as u64 - 1,
        }
    }
}

#[derive(Debug)]
pub(super) struct CrowdBodies {
    crowd: Crowd,
    persons: u64,
    body: Body,
    ids: Ids,
    random: Random,
}

impl CrowdBodies {
    pub(super) fn new(crowd: Crowd, token: &str, batch: usize, persons: u64, seed: usize) -> CrowdBodies {
        let events = (0..batch).map(|n| crowd.event(seed.wrapping_mul(7919).wrapping_add(n)));
        let body = Body::of_events(token, events.collect());
        CrowdBodies { crowd, persons, body, ids: Ids::new(), random: Random::new() }
    }
}

impl Bodies for CrowdBodies {
    fn next(&mut self) -> Option<&[u8]> {
        self.body.renew(&mut self.ids);
        let CrowdBodies { crowd, persons, random, .. } = self;
        self.body.number(|| (crowd.next(random, *persons), random.next()));
        Some(self.body.bytes())
    }
}

/// SplitMix64 from a random start: cheap beside the server.
#[derive(Debug)]
pub(in crate::load) struct Random(u64);

impl Random {
    pub(in crate::load) fn new() -> Random {
        Random(Uuid::new_v4().as_u128() as u64)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(in crate::load) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
