//! What the writer takes: rows, whatever they were made from.

use std::fmt::Debug;

use hogflare_catalog::Slot;
use hogflare_catalog::tables::{DeadLetterRow, EventRow};

use crate::identity::IdentityEvent;

/// The rows of one request. Each row is asked for twice: to be measured, and by the writer, in order.
/// Text is copied once, into the log.
pub trait Batch: Debug + Send {
    /// Number of event rows.
    fn events(&self) -> usize;

    fn event(&self, index: usize) -> EventRow<'_>;

    /// The sequence of rows that the event joins.
    fn slot(&self, index: usize) -> Slot;

    /// What the event says about persons and groups; none if its row is complete.
    fn identity(&self, _index: usize) -> Option<IdentityEvent<'_>> {
        None
    }

    /// Whether the client gave the event its uuid, so that a retry has the same.
    fn has_own_uuid(&self, index: usize) -> bool;

    /// Number of dead letters.
    fn dead_letters(&self) -> usize {
        0
    }

    /// Only called below [`Batch::dead_letters`].
    fn dead_letter(&self, index: usize) -> DeadLetterRow<'_> {
        unreachable!("there is no dead letter {index}")
    }
}

/// What a row adds to every column whatever its texts are: offsets, validity, numbers, `_writer`.
const FIXED_BYTES: usize = 320;

/// At least the bytes that the row takes in a frame.
pub(crate) fn event_bytes(row: &EventRow<'_>) -> usize {
    let promoted = &row.promoted;
    let required = [row.uuid, row.event, row.distinct_id, row.properties, row.api_key];
    let optional = [
        row.context,
        row.person_id,
        row.person_properties,
        row.group_properties,
        row.extra,
        row.person_mode,
        promoted.session_id,
        promoted.window_id,
        promoted.current_url,
        promoted.pathname,
        promoted.host,
        promoted.page_title,
        promoted.referrer,
        promoted.referring_domain,
        promoted.utm_source,
        promoted.utm_medium,
        promoted.utm_campaign,
        promoted.utm_content,
        promoted.utm_term,
        promoted.browser,
        promoted.browser_version,
        promoted.os,
        promoted.os_version,
        promoted.device_type,
        promoted.lib,
        promoted.lib_version,
        promoted.country,
        promoted.region,
        promoted.city,
        promoted.timezone,
        promoted.cf_colo,
    ];
    let optional = optional.iter().chain(&row.groups).flatten();
    FIXED_BYTES + required.iter().chain(optional).map(|text| text.len()).sum::<usize>()
}

/// At least the bytes that the row takes in a frame.
pub(crate) fn dead_letter_bytes(row: &DeadLetterRow<'_>) -> usize {
    let required = [row.uuid, row.path, row.reason];
    let optional = [row.api_key, row.detail, row.event, row.distinct_id, row.event_uuid, row.lib];
    let source = row.source.map_or(0, |source| source.table.len() + source.writer.len());
    let texts = required.iter().chain(optional.iter().flatten()).map(|text| text.len()).sum::<usize>();
    FIXED_BYTES + texts + source + row.raw.map_or(0, <[u8]>::len)
}
