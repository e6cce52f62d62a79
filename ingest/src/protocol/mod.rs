//! The PostHog wire: from the bytes of a request to JSON events, and the answers that SDKs understand.
//!
//! Pure functions; reading sockets, routes and headers is the server's. What an event means is decided
//! in [`crate::normalize()`]: here it is only found.

mod answer;
mod encoding;
pub(crate) mod json;
mod lzstring;
pub mod remote_config;
mod repair;
mod scanner;
pub(crate) mod shape;
pub mod signature;
pub mod v1;

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;

pub use answer::{Code, Reason, Refusal, SUCCESS_BODY};
pub use shape::Request;

/// A capture route of the SDKs. All take the same shapes; the last four give them a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/capture`
    Capture,
    /// `/track`
    Track,
    /// `/engage`: people objects without a name
    Engage,
    /// `/e`
    E,
    /// `/i/v0/e`
    I,
    /// `/batch`
    Batch,
    /// `/identify`
    Identify,
    /// `/alias`
    Alias,
    /// `/groups`
    Groups,
    /// `/s`: session recordings
    Recording,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
}

/// What else than its body decides about a request.
#[derive(Clone, Debug)]
pub struct RequestFacts {
    pub endpoint: Endpoint,
    /// The route without the query, such as `/batch`.
    pub path: Cow<'static, str>,
    pub method: Method,
    /// Decoded pairs in the order sent, `+` read as a space.
    pub query: Vec<(String, String)>,
    pub headers: HeaderFacts,
    /// The client's address: the peer, or what a trusted proxy says.
    pub peer_ip: Option<IpAddr>,
    /// Microseconds since 1970, UTC.
    pub received_at_us: i64,
}

impl RequestFacts {
    /// The first value of a query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Headers that matter, as sent.
#[derive(Clone, Debug, Default)]
pub struct HeaderFacts {
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub user_agent: Option<String>,
    /// Of the page that sends; servers and apps send none.
    pub origin: Option<String>,
    /// `x-posthog-api-key`
    pub api_key: Option<String>,
    /// `x-posthog-sent-at`
    pub sent_at: Option<String>,
    /// `x-posthog-signature`
    pub signature: Option<String>,
    /// `x-hub-signature`
    pub hub_signature: Option<String>,
    /// Of a Capture V1 request: its token and time of sending are here, and its events are held to V1's rules.
    pub v1: Option<v1::V1Facts>,
}

/// Sizes above which a request is refused with 413. The raw size is the server's to limit.
#[derive(Clone, Debug)]
pub struct DecodeLimits {
    /// After decompression; at most 2 GiB.
    pub decoded_bytes_max: usize,
    pub batch_events_max: usize,
    /// Keys of all events and of their properties together: bounds the memory of their index (20 bytes each).
    pub members_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        DecodeLimits { decoded_bytes_max: 32 << 20, batch_events_max: 50_000, members_max: 2_000_000 }
    }
}

/// Undoes form, base64 and compression, reads the JSON and finds the events in it.
///
/// # Errors
/// 400 for what cannot be decoded or holds no event, 413 above the limits.
pub fn decode(facts: &RequestFacts, body: Bytes, limits: &DecodeLimits) -> Result<Request, Refusal> {
    let payload = encoding::decode(facts, body, limits.decoded_bytes_max)?;
    Request::read(payload.text, payload.form, limits)
}

/// The JSON text of a body that is encoded like those of capture routes; an empty one is `{}`.
///
/// # Errors
/// 400 for what cannot be decoded, 413 above the limit.
pub fn text_of_body(facts: &RequestFacts, body: Bytes, decoded_bytes_max: usize) -> Result<String, Refusal> {
    match encoding::decode(facts, body, decoded_bytes_max) {
        Ok(payload) => Ok(repair::repair(&payload.text)),
        Err(refusal) if refusal.code == Code::EmptyBody => Ok("{}".to_owned()),
        Err(refusal) => Err(refusal),
    }
}
