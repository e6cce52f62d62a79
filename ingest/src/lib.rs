//! Everything between the bytes of an SDK and durable rows.
//!
//! Reading order: [`protocol`] finds the events in a request and writes the answers SDKs expect;
//! [`normalize()`] makes [`event::CapturedEvent`]s of them, or dead letters; [`enrich()`] adds what only
//! the server knows. These are pure and run in parallel, one call per request.

pub mod enrich;
pub mod event;
pub mod ids;
pub mod normalize;
mod promote;
mod properties;
pub mod protocol;
#[cfg(test)]
mod testing;
mod text;
mod timestamp;

pub use enrich::enrich;
pub use event::{CapturedEvent, DistinctId, ProjectToken, Rejected};
pub use ids::{IdSource, RandomIds};
pub use normalize::{NormalizeSettings, Normalized, Outcome, normalize};
pub use protocol::RequestFacts;
