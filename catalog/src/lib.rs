//! The tables, and the only way rows enter them.

pub mod cache;
pub mod clock;
pub mod error;
pub mod frame;
pub mod head;
mod manifest;
mod names;
pub mod objects;
pub mod plan;
pub mod tables;
pub mod tail;
pub mod view;
pub mod watermark;
pub mod writer_id;

pub use cache::MetadataCache;
pub use clock::{Clock, SystemClock};
pub use error::{Error, Result};
pub use head::TableHead;
pub use names::incarnation;
pub use objects::Objects;
pub use tables::{Slot, Table};
pub use view::{NotReady, ReadView, TableView, Views};
pub use watermark::Watermark;
pub use writer_id::WriterId;
