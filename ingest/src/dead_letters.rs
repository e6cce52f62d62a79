//! How many dead letters a project may write: the token is public, and anyone can send what is refused.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::event::{ProjectToken, Rejected};
use crate::telemetry;

/// Dead letters that a token may write in a minute; more are only counted.
const PER_MINUTE_MAX: u32 = 1_000;
/// Dead letters of all tokens together: tokens can be invented.
const ALL_PER_MINUTE_MAX: u32 = 10_000;
const US_PER_MINUTE: i64 = 60_000_000;

/// Counts the dead letters of the running minute.
#[derive(Debug, Default)]
pub struct DeadLetterRate {
    minute: Mutex<Minute>,
}

#[derive(Debug, Default)]
struct Minute {
    number: i64,
    all: u32,
    by_token: HashMap<ProjectToken, u32>,
}

impl DeadLetterRate {
    /// Drops what is above the rate, and counts it.
    pub fn keep_within_rate(&self, rejected: &mut Vec<Rejected>, now_us: i64) {
        if rejected.is_empty() {
            return;
        }
        let before = rejected.len();
        let mut minute = self.minute.lock();
        let number = now_us.div_euclid(US_PER_MINUTE);
        if minute.number != number {
            *minute = Minute { number, ..Minute::default() };
        }
        rejected.retain(|rejected| minute.take(&rejected.token));
        let dropped = (before - rejected.len()) as u64;
        if dropped > 0 {
            metrics::counter!(telemetry::EVENTS, "outcome" => "dropped").increment(dropped);
        }
    }
}

impl Minute {
    fn take(&mut self, token: &ProjectToken) -> bool {
        if self.all >= ALL_PER_MINUTE_MAX {
            return false;
        }
        let taken = self.by_token.entry(token.clone()).or_insert(0);
        if *taken >= PER_MINUTE_MAX {
            return false;
        }
        *taken += 1;
        self.all += 1;
        true
    }
}
