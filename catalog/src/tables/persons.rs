//! `hogflare_persons`: one row per change of a person, never changed afterwards.
//!
//! A row is also what the writer's state is rebuilt from, so it holds the person whole: all that is not
//! here follows from the links in `hogflare_person_overrides`.

use super::builder::ColumnBuilders;
use super::{Column, boolean, long, text, timestamp};

/// Distinct ids that a row lists; a person may have more.
pub const LISTED_IDS_MAX: usize = 1_000;

#[derive(Clone, Debug, Default)]
pub struct PersonRow<'a> {
    /// Id of this row.
    pub uuid: &'a str,
    pub team_id: Option<i64>,
    /// What changed the person: `capture`, `identify`, `alias`, `merge`, `set`, `engage` or `delete`.
    pub operation: &'a str,
    pub person_id: &'a str,
    pub person_int_id: i64,
    pub canonical_distinct_id: &'a str,
    /// A JSON array of at most [`LISTED_IDS_MAX`] texts, the oldest first.
    pub distinct_ids: &'a str,
    /// How many distinct ids the person has.
    pub distinct_id_count: i64,
    /// Microseconds since 1970, UTC.
    pub created_at_us: i64,
    /// Microseconds since 1970, UTC.
    pub updated_at_us: i64,
    pub version: i64,
    pub is_identified: bool,
    /// The person was merged into another.
    pub is_deleted: bool,
    pub merged_into: Option<&'a str>,
    /// JSON objects.
    pub properties: &'a str,
    pub properties_set_once: &'a str,
    pub merged_properties: &'a str,
    pub api_key: &'a str,
    pub source_event_uuid: &'a str,
}

pub(super) const COLUMNS: &[Column] = &[
    text("uuid", "Id of this row").required().bounded(),
    long("team_id", "Number of the project, if one is configured"),
    text("source", "What sent the event behind the change: posthog").required(),
    text("operation", "What changed the person: capture, identify, alias, merge, set, engage or delete").required(),
    text("person_id", "UUID of the person").required().bounded().bloom(),
    long("person_int_id", "Number of the person, in the order of first appearance").required(),
    text("canonical_distinct_id", "Distinct id with which the person began").required().bounded(),
    text("distinct_ids", "JSON array of the person's distinct ids, the oldest first, at most 1000")
        .required()
        .document(),
    long("distinct_id_count", "How many distinct ids the person has").required(),
    timestamp("created_at", "When the person was first seen (UTC)").required(),
    timestamp("updated_at", "When this change was received (UTC)").required(),
    long("version", "Counts the changes of the person; the highest is the present state").required(),
    boolean("is_identified", "Whether an identify or alias has named the person").required(),
    boolean("is_deleted", "Whether the person is gone: merged into another").required(),
    text("merged_into", "UUID of the person that this one was merged into").bounded(),
    text("properties", "Properties from $set, a JSON object").required().document(),
    text("properties_set_once", "Properties from $set_once that no $set has replaced, a JSON object")
        .required()
        .document(),
    text("merged_properties", "All properties, a JSON object").required().document(),
    text("api_key", "Project token").required().bounded(),
    text("source_event_uuid", "Event that made the change").required(),
    text("_writer", "Id of the writer that stored the row").bounded(),
    long("_position", "Number of the row in its writer's sequence, from 1, without gaps"),
];

impl PersonRow<'_> {
    /// At least the bytes that the texts of the row take.
    pub fn text_bytes(&self) -> usize {
        let texts = [
            self.uuid,
            self.operation,
            self.person_id,
            self.canonical_distinct_id,
            self.distinct_ids,
            self.properties,
            self.properties_set_once,
            self.merged_properties,
            self.api_key,
            self.source_event_uuid,
        ];
        texts.iter().map(|text| text.len()).sum::<usize>() + self.merged_into.map_or(0, str::len)
    }

    /// Appends the row; the order is that of [`COLUMNS`].
    pub(super) fn append(&self, columns: &mut ColumnBuilders, position: u64) {
        columns.text(Some(self.uuid));
        columns.long(self.team_id);
        columns.text(Some("posthog"));
        columns.text(Some(self.operation));
        columns.text(Some(self.person_id));
        columns.long(Some(self.person_int_id));
        columns.text(Some(self.canonical_distinct_id));
        columns.text(Some(self.distinct_ids));
        columns.long(Some(self.distinct_id_count));
        columns.long(Some(self.created_at_us));
        columns.long(Some(self.updated_at_us));
        columns.long(Some(self.version));
        columns.boolean(Some(self.is_identified));
        columns.boolean(Some(self.is_deleted));
        columns.text(self.merged_into);
        columns.text(Some(self.properties));
        columns.text(Some(self.properties_set_once));
        columns.text(Some(self.merged_properties));
        columns.text(Some(self.api_key));
        columns.text(Some(self.source_event_uuid));
        columns.finish_row(position);
    }
}
