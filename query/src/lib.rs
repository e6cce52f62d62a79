//! Reading: SQL over the tables, in bounded memory and time, and never anything but reading.
//!
//! [`Engine::run`] takes an [`SqlRequest`] through the [gate](gate), plans it over the one
//! [`ReadView`](hogflare_catalog::ReadView) that it holds to its end, and gives an [`Answer`] whose
//! [`Body`] is a stream of bytes in the [`Format`] asked for. The scan of a table joins three parts:
//! data files planned from manifests, sealed local files, and the rows in memory.

mod audit;
mod engine;
mod error;
mod format;
mod gate;
mod params;
mod request;
mod scan;
mod scoped;
mod settings;
mod snapshots;
mod tables;
mod telemetry;
mod trace;
mod travel;
mod views;

pub use audit::{AuditReport, GuestSnapshot, Missing, SequenceAudit, TableAudit};
pub use engine::{Answer, Body, Engine, Reader};
pub use error::{ErrorCode, Position, Result, SqlError};
pub use params::Params;
pub use request::{Format, SQL_BYTES_MAX, SqlRequest};
pub use scoped::Scope;
pub use settings::QuerySettings;
pub use travel::TimeTravel;
