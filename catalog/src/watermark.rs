//! The mark that a commit leaves in its table: how far a writer's rows are in it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use iceberg::spec::TableMetadata;
use serde::{Deserialize, Serialize};

use crate::tables::Slot;
use crate::writer_id::WriterId;

/// Value of the table property `hogflare.wm.<writer>`, as `epoch:position:snapshot-id`. It is set in
/// the same commit as the snapshot, so the rows up to `position` are in the table exactly if it says so.
/// The snapshot's summary repeats it, for catalogs that do not keep properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// Counts the starts of the writer.
    pub epoch: u64,
    /// Position of the last row of this writer in the table.
    pub position: u64,
    pub snapshot_id: i64,
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.epoch, self.position, self.snapshot_id)
    }
}

impl FromStr for Watermark {
    type Err = String;

    fn from_str(text: &str) -> Result<Watermark, String> {
        let damaged = || format!("watermark {text:?} is not epoch:position:snapshot-id");
        let mut fields = text.split(':');
        let mut next = || fields.next().ok_or_else(damaged);
        let (epoch, position, snapshot_id) = (next()?, next()?, next()?);
        if fields.next().is_some() {
            return Err(damaged());
        }
        Ok(Watermark {
            epoch: epoch.parse().map_err(|_| damaged())?,
            position: position.parse().map_err(|_| damaged())?,
            snapshot_id: snapshot_id.parse().map_err(|_| damaged())?,
        })
    }
}

/// The watermark that a table states for a writer's slot; none if the writer never committed to it.
pub fn read_watermark(metadata: &TableMetadata, writer: &WriterId, slot: Slot) -> Result<Option<Watermark>, String> {
    read_mark(metadata, &writer.watermark_property(slot)).map(str::parse).transpose()
}

/// `epoch:incarnation` of the start that owns a writer's slots.
pub(crate) fn read_claim<'a>(metadata: &'a TableMetadata, writer: &WriterId) -> Option<&'a str> {
    read_mark(metadata, &writer.claim_property())
}

/// The property, or, where a catalog did not keep it, what the newest snapshot of the present history
/// says that says it.
fn read_mark<'a>(metadata: &'a TableMetadata, name: &str) -> Option<&'a str> {
    if let Some(value) = metadata.properties().get(name) {
        return Some(value);
    }
    let mut next = metadata.current_snapshot();
    while let Some(snapshot) = next {
        if let Some(value) = snapshot.summary().additional_properties.get(name) {
            return Some(value);
        }
        next = snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent));
    }
    None
}

/// The watermarks of all writers that ever committed to a table, by slot id.
pub fn all_watermarks(metadata: &TableMetadata) -> Result<BTreeMap<String, Watermark>, String> {
    let marks =
        metadata.properties().iter().filter_map(|(name, text)| Some((WriterId::slot_id_of_property(name)?, text)));
    marks.map(|(slot_id, text)| Ok((slot_id, text.parse()?))).collect()
}
