//! Columns that are filled from properties.

use std::borrow::Cow;

use uuid::Uuid;

use super::draft::Draft;
use crate::promote::{Column, Promotion, referring_domain};
use crate::properties::Object;
use crate::protocol::json::{self, Json};
use crate::text::{TextRef, Texts};

/// Where the text of each promoted column stands.
pub(super) fn promoted(draft: &Draft<'_>, promotion: &Promotion<'_>, texts: &mut Texts) -> [TextRef; Column::COUNT] {
    let mut columns = [TextRef::NONE; Column::COUNT];
    for column in Column::ALL {
        let Some(value) = promotion.column(column) else { continue };
        columns[column as usize] = keep(&draft.properties, value, texts);
    }
    let session_id = promotion.column(Column::SessionId).and_then(Json::scalar).or_else(|| draft.context_session_id());
    if let Some(session_id) = session_id {
        let lower = lower_uuid(&session_id);
        if promotion.column(Column::SessionId).is_none() || lower != session_id {
            columns[Column::SessionId as usize] = texts.push(&lower);
        }
    }
    for (column, top_level) in [(Column::Lib, "library"), (Column::LibVersion, "library_version")] {
        if let (None, Some(value)) = (promotion.column(column), draft.other(top_level).and_then(Json::scalar)) {
            columns[column as usize] = texts.push(&value);
        }
    }
    let text = |column| promotion.column(column).and_then(Json::scalar);
    let (property, referrer, host) = (text(Column::ReferringDomain), text(Column::Referrer), text(Column::Host));
    let domain = referring_domain(property.as_deref(), referrer.as_deref(), host.as_deref());
    columns[Column::ReferringDomain as usize] = domain.map_or(TextRef::NONE, |domain| texts.push(domain));
    columns
}

/// A promoted value: in the properties, unless escapes make it another text.
fn keep(properties: &Object<'_>, value: Json<'_>, texts: &mut Texts) -> TextRef {
    let raw = value.raw();
    let offset = properties.offset_of(value);
    match raw.strip_prefix('"') {
        None => TextRef::in_properties(offset, raw.len()),
        Some(text) if !text.contains('\\') => TextRef::in_properties(offset + 1, raw.len() - 2),
        Some(text) => texts.push(&json::unescape(&text[..text.len() - 1])),
    }
}

/// iOS writes the UUIDs of sessions in capitals; other ids stay as they are.
fn lower_uuid(id: &str) -> Cow<'_, str> {
    if id.bytes().any(|byte| byte.is_ascii_uppercase()) && Uuid::try_parse(id).is_ok() {
        Cow::Owned(id.to_ascii_lowercase())
    } else {
        Cow::Borrowed(id)
    }
}
