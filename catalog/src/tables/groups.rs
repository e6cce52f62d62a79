//! `hogflare_groups`: one row per change of a group, and one per group type when it gets its slot.

use super::builder::ColumnBuilders;
use super::{Column, long, text, timestamp};

#[derive(Clone, Debug, Default)]
pub struct GroupRow<'a> {
    /// Id of this row.
    pub uuid: &'a str,
    pub team_id: Option<i64>,
    /// `groupidentify`, or `group_type` for a type that got its slot.
    pub operation: &'a str,
    pub group_type: &'a str,
    /// Slot of the type: 0 for `group0`.
    pub group_type_index: i64,
    /// None for a row of a type.
    pub group_key: Option<&'a str>,
    /// Microseconds since 1970, UTC.
    pub created_at_us: i64,
    /// Microseconds since 1970, UTC.
    pub updated_at_us: i64,
    pub version: i64,
    /// A JSON object.
    pub properties: &'a str,
    pub api_key: &'a str,
    pub source_event_uuid: &'a str,
}

pub(super) const COLUMNS: &[Column] = &[
    text("uuid", "Id of this row").required().bounded(),
    long("team_id", "Number of the project, if one is configured"),
    text("source", "What sent the event behind the change: posthog").required(),
    text("operation", "groupidentify, or group_type for a type that got its slot").required(),
    text("group_type", "Type of the group").required().bounded(),
    long("group_type_index", "Slot of the type: its keys stand in the column group<index> of events").required(),
    text("group_key", "Key of the group; null in the row of a type").bounded().bloom(),
    timestamp("created_at", "When the group was first described (UTC)").required(),
    timestamp("updated_at", "When this change was received (UTC)").required(),
    long("version", "Counts the changes of the group; the highest is the present state").required(),
    text("properties", "All properties of the group, a JSON object").required().document(),
    text("api_key", "Project token").required().bounded(),
    text("source_event_uuid", "Event that made the change").required(),
    text("_writer", "Id of the writer that stored the row").bounded(),
    long("_position", "Number of the row in its writer's sequence, from 1, without gaps"),
];

impl GroupRow<'_> {
    /// At least the bytes that the texts of the row take.
    pub fn text_bytes(&self) -> usize {
        let texts = [self.uuid, self.operation, self.group_type, self.properties, self.api_key, self.source_event_uuid];
        texts.iter().map(|text| text.len()).sum::<usize>() + self.group_key.map_or(0, str::len)
    }

    /// Appends the row; the order is that of [`COLUMNS`].
    pub(super) fn append(&self, columns: &mut ColumnBuilders, position: u64) {
        columns.text(Some(self.uuid));
        columns.long(self.team_id);
        columns.text(Some("posthog"));
        columns.text(Some(self.operation));
        columns.text(Some(self.group_type));
        columns.long(Some(self.group_type_index));
        columns.text(self.group_key);
        columns.long(Some(self.created_at_us));
        columns.long(Some(self.updated_at_us));
        columns.long(Some(self.version));
        columns.text(Some(self.properties));
        columns.text(Some(self.api_key));
        columns.text(Some(self.source_event_uuid));
        columns.finish_row(position);
    }
}
