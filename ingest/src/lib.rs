//! Everything between the bytes of an SDK and durable rows.
//!
//! Reading order: [`protocol`] finds the events in a request and writes the answers SDKs expect;
//! [`normalize()`] makes [`event::CapturedEvent`]s of them, or dead letters; [`enrich()`] adds what only
//! the server knows. These are pure and run in parallel, one call per request. [`Ingest`] lets a
//! request in and waits; [`writer`] is the one serial task that makes its rows durable in the log
//! ([`wal`]) and shows them; [`disk`] is the seam at which tests lose power. [`flags`] stands apart: it
//! answers what feature flags are for somebody, and stores nothing.

pub mod admission;
mod batch;
pub mod cookieless;
pub mod dead_letters;
mod dedup;
pub mod disk;
pub mod enrich;
pub mod event;
pub mod flags;
pub mod identity;
pub mod ids;
pub mod ingest;
pub mod normalize;
pub mod projects;
mod promote;
mod properties;
pub mod protocol;
pub mod telemetry;
#[cfg(test)]
mod testing;
mod text;
mod timestamp;
pub mod wal;
pub mod writer;

pub use admission::{BytesPermit, Health, OverloadReason, Overloaded};
pub use enrich::{Known, enrich};
pub use event::{CapturedEvent, DistinctId, ProjectToken, Rejected};
pub use identity::{State, StateSettings, StateWriter};
pub use ids::{IdSource, RandomIds};
pub use ingest::{Ack, AppendError, Ingest, IngestParts, IngestSettings, Opened, Recovered, Replay};
pub use normalize::{NormalizeSettings, Normalized, Outcome, normalize};
pub use projects::{Project, Projects, SharedProjects};
pub use protocol::RequestFacts;
pub use writer::{Batch, Step, Writer};
