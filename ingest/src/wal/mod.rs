//! The durable log: every acknowledged row is in it until its table has it.
//!
//! A log is a folder of segments; a segment is a header and frames; a frame holds the rows of one
//! group under one checksum. A *log offset* counts bytes over all segments, headers included: the
//! segment that starts at offset `s` holds the byte at offset `o` at its own byte `o - s`.
//!
//! Reading order: [`segment`] (bytes), [`log`] (append, sync, rotate), [`scan`] (where does the log
//! end), [`replay`] (what is in it), [`retention`] (when may a segment go).

mod error;
mod log;
mod replay;
mod retention;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

pub use error::LogError;
pub use log::FrameStall;
pub use retention::LogPositions;

pub(crate) use log::{Log, LogSettings};
pub(crate) use replay::{ReplayedGroup, replay};
pub(crate) use scan::find_end;
pub(crate) use segment::BODY_BYTES_MAX;

use hogflare_catalog::tables::{SLOTS, TABLES};

/// A position for each (slot, table), by their indexes. 0 means none.
pub type Positions = [[u64; TABLES]; SLOTS];
