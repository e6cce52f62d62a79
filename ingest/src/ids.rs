//! Where new ids come from: an argument, so that tests are deterministic.

use rand::RngCore;
use uuid::Uuid;

/// A source of random bytes for ids.
pub trait IdSource {
    fn fill(&mut self, bytes: &mut [u8]);

    /// A UUIDv7 of the time, in microseconds since 1970.
    fn uuid_v7(&mut self, at_us: i64) -> Uuid {
        let mut random = [0; 10];
        self.fill(&mut random);
        let milliseconds = u64::try_from(at_us / 1_000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
    }
}

/// Ids for production: from the operating system's seeded generator of this thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl IdSource for RandomIds {
    fn fill(&mut self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}
