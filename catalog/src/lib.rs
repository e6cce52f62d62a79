//! The tables, and the only way rows enter them.

pub mod cache;
pub mod clock;
mod encode;
pub mod error;
pub mod folder;
pub mod frame;
pub mod head;
pub mod journal;
mod manifest;
mod names;
pub mod objects;
pub mod plan;
mod stats;
pub mod tables;
pub mod tail;
pub mod view;
pub mod watermark;
pub mod writer_id;

pub use cache::MetadataCache;
pub use clock::{Clock, SystemClock};
pub use error::{Error, Result};
pub use folder::DataFolder;
pub use head::TableHead;
pub use names::incarnation;
pub use objects::Objects;
pub use tables::{Slot, Table};
pub use view::{NotReady, ReadView, TableView, Views};
pub use watermark::Watermark;
pub use writer_id::WriterId;
