//! The tables, and the only way rows enter them.
//!
//! ```text
//! frame (log) → view + tail → seal → commit → snapshot, manifest, stats → table_catalog → view
//! ```
//! Reading order: [`tables`] declares the columns; [`frame`] is how rows stand in the log; [`view`] is what
//! a query sees, the [`tail`] above the watermark included; `seal` turns open rows into local Parquet;
//! `prepare` and `commit` move sealed ranges into a table, with `decide` as the one rule about unclear
//! answers, [`journal`] as its memory, `claim` against copies of the folder and `governor` for what a
//! catalog allows; [`history`] and [`removed`] are what metadata says of the past; [`embedded`] and [`rest`] are the catalogs behind the trait [`table_catalog`], and
//! [`objects`] the stores of their files. [`Lake`] holds them together, and `run` is the loops that the
//! server starts.

pub mod cache;
pub mod check;
mod claim;
mod cleanup;
pub mod clock;
mod commit;
mod creation;
mod decide;
pub mod embedded;
mod encode;
pub mod error;
mod evolve;
mod first_use;
pub mod folder;
pub mod frame;
mod governor;
pub mod head;
pub mod history;
pub mod journal;
mod known;
pub mod lake;
mod manifest;
mod names;
mod news;
pub mod objects;
pub mod pause;
pub mod plan;
mod prepare;
mod reencode;
pub mod removed;
pub mod rest;
mod root_owner;
mod round;
mod run;
mod seal;
mod snapshot;
pub mod stall;
mod stats;
pub mod table_catalog;
pub mod tables;
pub mod tail;
pub mod telemetry;
pub mod view;
pub mod watermark;
pub mod writer_id;

pub use cache::MetadataCache;
pub use clock::{Clock, SystemClock};
pub use error::{Error, Result};
pub use folder::DataFolder;
pub use governor::Budget;
pub use head::TableHead;
pub use iceberg::NamespaceIdent as Namespace;
pub use lake::{Lake, LakeSettings, PositionLog};
pub use objects::Objects;
pub use pause::Pauses;
pub use root_owner::OwnedRoot;
pub use tables::{Slot, Table};
pub use view::{NotReady, ReadView, TableView, Views};
pub use watermark::Watermark;
pub use writer_id::WriterId;
