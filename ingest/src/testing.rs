//! Requests for tests.

use std::borrow::Cow;

use bytes::Bytes;

use crate::protocol::{DecodeLimits, Endpoint, HeaderFacts, Method, RequestFacts, decode, v1};
use crate::{IdSource, NormalizeSettings, Normalized, normalize, protocol::Refusal};

/// 2026-11-20T05:30:00Z.
pub(crate) const NOW_US: i64 = 1_795_152_600_000_000;

pub(crate) fn facts() -> RequestFacts {
    RequestFacts {
        endpoint: Endpoint::Capture,
        path: Cow::Borrowed("/capture"),
        method: Method::Post,
        query: Vec::new(),
        headers: HeaderFacts::default(),
        peer_ip: Some("203.0.113.7".parse().unwrap()),
        received_at_us: NOW_US,
    }
}

/// Counts instead of drawing.
#[derive(Debug, Default)]
pub(crate) struct CountingIds(u8);

impl IdSource for CountingIds {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        bytes.fill(self.0);
    }
}

pub(crate) fn settings() -> NormalizeSettings {
    NormalizeSettings {
        team_id: Some(1),
        group_types: std::sync::Arc::new([Some("company".to_owned()), None, None, None, None]),
        ..NormalizeSettings::default()
    }
}

pub(crate) fn run_v1(facts: &RequestFacts, body: &str) -> Result<(v1::Submitted, Normalized), Refusal> {
    let request = v1::decode(facts, Bytes::copy_from_slice(body.as_bytes()), &DecodeLimits::default())?;
    let submitted = v1::Submitted::of(&request);
    Ok((submitted, normalize(request, facts, &settings(), &mut CountingIds::default())?))
}

pub(crate) fn run(facts: &RequestFacts, body: &str) -> Result<Normalized, Refusal> {
    let request = decode(facts, Bytes::copy_from_slice(body.as_bytes()), &DecodeLimits::default())?;
    normalize(request, facts, &settings(), &mut CountingIds::default())
}
