//! Request bodies, built once; only the uuids change from request to request.

use std::io::Write;
use std::ops::Range;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use uuid::Uuid;

const UUID_TEXT_BYTES: usize = 36;

/// Stands where a uuid will be written; no event has such a one.
const PLACEHOLDER: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";

/// A body whose uuids, and numbers if it has places for them, can be exchanged in place.
#[derive(Clone, Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    uuids_at: Vec<usize>,
    /// Of each event.
    numbers_at: Vec<Numbers>,
}

/// Where an event has digits of numbers.
#[derive(Clone, Debug, Default)]
struct Numbers {
    /// Runs of `#`: who it is about.
    who: Vec<Range<usize>>,
    /// Runs of `~`: what differs from event to event.
    what: Vec<Range<usize>>,
}

impl Body {
    /// Events of about 750 bytes of JSON, as a small shop sends them.
    pub(super) fn new(token: &str, batch: usize, seed: usize) -> Self {
        Body::of_events(token, (0..batch).map(|n| event(seed.wrapping_mul(7919).wrapping_add(n))).collect())
    }

    pub(super) fn of_events(token: &str, events: Vec<Value>) -> Self {
        let count = events.len();
        let body = Body::of(&json!({"api_key": token, "batch": events}));
        assert_eq!(body.uuids_at.len(), count, "one place for each uuid");
        body
    }

    /// The uuid of an event stands before its numbers.
    pub(super) fn of(value: &Value) -> Self {
        let bytes = value.to_string().into_bytes();
        let uuids_at: Vec<usize> = bytes
            .windows(UUID_TEXT_BYTES)
            .enumerate()
            .filter(|(_, window)| *window == PLACEHOLDER.as_bytes())
            .map(|(at, _)| at)
            .collect();
        let mut numbers_at = vec![Numbers::default(); uuids_at.len().max(1)];
        for (mark, run) in runs(&bytes) {
            let event = uuids_at.partition_point(|at| *at < run.start).saturating_sub(1);
            let numbers = &mut numbers_at[event];
            if mark == b'#' { numbers.who.push(run) } else { numbers.what.push(run) }
        }
        Body { bytes, uuids_at, numbers_at }
    }

    /// Gives each event the next uuid.
    pub(super) fn renew(&mut self, ids: &mut Ids) {
        for at in &self.uuids_at {
            ids.next().as_hyphenated().encode_lower(&mut self.bytes[*at..*at + UUID_TEXT_BYTES]);
        }
    }

    /// Gives each event the next two numbers: who it is about, and what differs.
    pub(super) fn number(&mut self, mut next: impl FnMut() -> (u64, u64)) {
        for numbers in &self.numbers_at {
            let (who, what) = next();
            for (number, runs) in [(who, &numbers.who), (what, &numbers.what)] {
                runs.iter().for_each(|run| write_digits(&mut self.bytes[run.clone()], number));
            }
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn gzip(&self) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::with_capacity(self.bytes.len() / 4), Compression::new(6));
        encoder.write_all(&self.bytes).expect("memory");
        encoder.finish().expect("memory")
    }
}

/// Runs of two or more of a mark.
fn runs(bytes: &[u8]) -> Vec<(u8, Range<usize>)> {
    let mut start = 0;
    let mut found = Vec::new();
    for piece in bytes.chunk_by(|a, b| a == b) {
        if piece.len() > 1 && [b'#', b'~'].contains(&piece[0]) {
            found.push((piece[0], start..start + piece.len()));
        }
        start += piece.len();
    }
    found
}

/// The last digits, as many as there is room for.
fn write_digits(room: &mut [u8], mut number: u64) {
    for digit in room.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Uuids that no other thread and no other run gives: a random start, then counted.
#[derive(Debug)]
pub(super) struct Ids(u128);

impl Ids {
    pub(super) fn new() -> Self {
        Ids(Uuid::new_v4().as_u128() & !0xffff_ffff_ffff)
    }

    pub(super) fn next(&mut self) -> Uuid {
        self.0 += 1;
        Uuid::from_u128(self.0)
    }
}

/// An ordinary event of a small shop.
pub(super) fn event(n: usize) -> Value {
    let visitor = n % 10_000;
    let page = n % 200;
    json!({
        "event": if n.is_multiple_of(9) { "order placed" } else { "$pageview" },
        "uuid": PLACEHOLDER,
        "distinct_id": format!("visitor-{visitor:05}"),
        "properties": {
            "$lib": "web",
            "$lib_version": "1.449.2",
            "$browser": (["Chrome", "Firefox", "Safari"])[visitor % 3],
            "$browser_version": 120 + visitor % 10,
            "$os": (["Windows", "Mac OS X", "Linux"])[visitor % 3],
            "$device_type": "Desktop",
            "$current_url": format!("https://shop.example/products/{page}?utm_source=newsletter&utm_campaign=spring"),
            "$host": "shop.example",
            "$pathname": format!("/products/{page}"),
            "$referrer": "https://search.example/",
            "$referring_domain": "search.example",
            "$session_id": format!("0190f1b2-7c3d-7e4f-8a5b-{:012x}", visitor),
            "$window_id": format!("0190f1b2-7c3d-7e4f-8a5c-{:012x}", visitor),
            "utm_source": "newsletter",
            "utm_campaign": "spring",
            "$screen_height": 1080,
            "$screen_width": 1920,
            "title": format!("Product {page} of the spring collection"),
            "campaign_note": "came by the newsletter",
            "price": (n % 997) as f64 / 4.0,
        },
    })
}
