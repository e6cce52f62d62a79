//! `hogflare_person_overrides`: one row per distinct id whose events belong to another person than the
//! one that they are stamped with. The row with the highest version of a distinct id holds.

use super::builder::ColumnBuilders;
use super::{Column, long, text, timestamp};

#[derive(Clone, Debug, Default)]
pub struct PersonOverrideRow<'a> {
    pub distinct_id: &'a str,
    /// Person that all events of the distinct id belong to.
    pub person_id: &'a str,
    pub person_int_id: i64,
    /// Person that its earlier events may be stamped with.
    pub old_person_id: &'a str,
    /// Grows with every move of the distinct id.
    pub version: i64,
    /// Microseconds since 1970, UTC.
    pub created_at_us: i64,
    pub team_id: Option<i64>,
    pub api_key: &'a str,
    pub source_event_uuid: &'a str,
}

pub(super) const COLUMNS: &[Column] = &[
    text("distinct_id", "Distinct id whose events move").required().bounded().bloom(),
    text("person_id", "UUID of the person that its events belong to").required().bounded(),
    long("person_int_id", "Number of that person").required(),
    text("old_person_id", "UUID of the person that earlier events are stamped with").required().bounded(),
    long("version", "Grows with every move of the distinct id; the highest holds").required(),
    timestamp("created_at", "When the move was received (UTC)").required(),
    long("team_id", "Number of the project, if one is configured"),
    text("api_key", "Project token").required().bounded(),
    text("source_event_uuid", "Event that made the move").required(),
    text("_writer", "Id of the writer that stored the row").bounded(),
    long("_position", "Number of the row in its writer's sequence, from 1, without gaps"),
];

impl PersonOverrideRow<'_> {
    /// At least the bytes that the texts of the row take.
    pub fn text_bytes(&self) -> usize {
        let texts = [self.distinct_id, self.person_id, self.old_person_id, self.api_key, self.source_event_uuid];
        texts.iter().map(|text| text.len()).sum()
    }

    /// Appends the row; the order is that of [`COLUMNS`].
    pub(super) fn append(&self, columns: &mut ColumnBuilders, position: u64) {
        columns.text(Some(self.distinct_id));
        columns.text(Some(self.person_id));
        columns.long(Some(self.person_int_id));
        columns.text(Some(self.old_person_id));
        columns.long(Some(self.version));
        columns.long(Some(self.created_at_us));
        columns.long(self.team_id);
        columns.text(Some(self.api_key));
        columns.text(Some(self.source_event_uuid));
        columns.finish_row(position);
    }
}
