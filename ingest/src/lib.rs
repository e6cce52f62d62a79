pub mod admission;
mod dedup;
pub mod disk;
pub mod ingest;
pub mod telemetry;
pub mod wal;
pub mod writer;

pub use admission::{BytesPermit, Health, Overloaded};
pub use ingest::{Ack, AppendError, Ingest, IngestParts, IngestSettings, Recovered, Replay};
pub use writer::{Batch, Step, Writer};
