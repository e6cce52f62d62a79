//! An event on its way from the wire to its row. The types say what has been checked.

use std::sync::Arc;

use hogflare_catalog::tables::{DeadLetterRow, EventRow, GROUP_SLOTS, Promoted, Slot};
use uuid::Uuid;

use crate::enrich::{RequestGeo, Wants};
use crate::promote::Column;
use crate::protocol::Reason;
use crate::text::{TextRef, Texts};

/// Namespace of person ids: PostHog's own, so that its deterministic ids have the same form.
const PERSON_NAMESPACE: Uuid = Uuid::from_u128(0x932979b4_65c3_4424_8467_0b66ec27bc22);

/// A project token: 1 to 64 ASCII characters that are no personal key, without spaces around.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProjectToken(Arc<str>);

impl ProjectToken {
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str) -> Result<ProjectToken, &'static str> {
        let token = text.trim();
        match () {
            () if token.is_empty() => Err("it is empty"),
            () if token.len() > 64 => Err("it is longer than 64 characters"),
            () if !token.is_ascii() || token.contains('\0') => Err("it has characters outside ASCII"),
            () if token.starts_with("phx_") => Err("it is a personal key; use the project token that starts with phc_"),
            () => Ok(ProjectToken(Arc::from(token))),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A distinct id that is not blank and has at most 200 characters; spaces inside are kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DistinctId(Box<str>);

impl DistinctId {
    pub const CHARACTERS_MAX: usize = 200;

    /// Cuts what is too long. Nothing for a blank one.
    pub fn parse(text: &str) -> Option<DistinctId> {
        if text.trim().is_empty() {
            return None;
        }
        Some(DistinctId(Box::from(cut(text, Self::CHARACTERS_MAX))))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The first characters of a text.
pub(crate) fn cut(text: &str, characters_max: usize) -> &str {
    // Bytes are at least as many as characters: short texts need no count.
    if text.len() <= characters_max {
        return text;
    }
    text.char_indices().nth(characters_max).map_or(text, |(end, _)| &text[..end])
}

/// A UUID as lower-case text with hyphens.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UuidText([u8; 36]);

impl UuidText {
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a UUID is written in ASCII")
    }
}

impl From<Uuid> for UuidText {
    fn from(uuid: Uuid) -> UuidText {
        let mut text = [0; 36];
        uuid.hyphenated().encode_lower(&mut text);
        UuidText(text)
    }
}

impl std::fmt::Debug for UuidText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Id of the person that a distinct id stands for until another is known: the same on every server.
pub fn person_id(token: &ProjectToken, distinct_id: &DistinctId) -> Uuid {
    let name = [token.as_str(), ":", distinct_id.as_str()].concat();
    Uuid::new_v5(&PERSON_NAMESPACE, name.as_bytes())
}

/// Whether a profile stands behind the person of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonMode {
    Full,
    /// The client asked for no profile.
    Propertyless,
}

impl PersonMode {
    pub fn as_str(self) -> &'static str {
        match self {
            PersonMode::Full => "full",
            PersonMode::Propertyless => "propertyless",
        }
    }
}

/// A valid event with all that its row needs.
#[derive(Clone, Debug)]
pub struct CapturedEvent {
    pub uuid: Uuid,
    pub(crate) uuid_text: UuidText,
    /// Whether the client chose the uuid and it is not nil: only then a second event with it is a retry.
    pub uuid_is_clients: bool,
    pub token: ProjectToken,
    pub team_id: Option<i64>,
    pub(crate) name: Box<str>,
    pub distinct_id: DistinctId,
    /// Microseconds since 1970, UTC.
    pub timestamp_us: i64,
    /// Microseconds since 1970, UTC: the receipt.
    pub created_at_us: i64,
    pub slot: Slot,
    pub(crate) person_id: UuidText,
    pub person_mode: PersonMode,
    pub(crate) texts: Texts,
    pub(crate) columns: [TextRef; Column::COUNT],
    pub(crate) groups: [TextRef; GROUP_SLOTS],
    pub(crate) context: TextRef,
    pub(crate) extra: TextRef,
    pub(crate) cf_asn: Option<i64>,
    /// What enrichment may still add.
    pub(crate) wants: Wants,
    /// Where the sender is, once enrichment has added it to the properties.
    pub(crate) geo: Option<Arc<RequestGeo>>,
}

impl CapturedEvent {
    /// The event's name, at most 200 characters.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A JSON object.
    pub fn properties(&self) -> &str {
        self.texts.properties()
    }

    /// Where the sender is, for the properties of the person; nothing if the event says so itself or
    /// wants none. To be asked after [`crate::enrich()`].
    pub fn geo(&self) -> Option<&RequestGeo> {
        self.geo.as_deref()
    }

    /// Bytes that the event holds, for budgets.
    pub fn bytes(&self) -> usize {
        size_of::<CapturedEvent>() + self.texts.bytes() + self.name.len() + self.distinct_id.as_str().len()
    }

    /// The row. Columns that need more than this event (persons, groups' properties) are null.
    pub fn as_row(&self) -> EventRow<'_> {
        let text = |text: TextRef| self.texts.get(text);
        EventRow {
            uuid: self.uuid_text.as_str(),
            team_id: self.team_id,
            event: &self.name,
            distinct_id: self.distinct_id.as_str(),
            timestamp_us: self.timestamp_us,
            created_at_us: self.created_at_us,
            properties: self.properties(),
            context: text(self.context),
            person_id: Some(self.person_id.as_str()),
            person_created_at_us: None,
            person_properties: None,
            groups: self.groups.map(text),
            group_properties: None,
            api_key: self.token.as_str(),
            extra: text(self.extra),
            person_mode: Some(self.person_mode.as_str()),
            promoted: self.promoted(),
        }
    }

    fn promoted(&self) -> Promoted<'_> {
        let text = |column: Column| self.texts.get(self.columns[column as usize]);
        Promoted {
            session_id: text(Column::SessionId),
            window_id: text(Column::WindowId),
            current_url: text(Column::CurrentUrl),
            pathname: text(Column::Pathname),
            host: text(Column::Host),
            page_title: text(Column::PageTitle),
            referrer: text(Column::Referrer),
            referring_domain: text(Column::ReferringDomain),
            utm_source: text(Column::UtmSource),
            utm_medium: text(Column::UtmMedium),
            utm_campaign: text(Column::UtmCampaign),
            utm_content: text(Column::UtmContent),
            utm_term: text(Column::UtmTerm),
            browser: text(Column::Browser),
            browser_version: text(Column::BrowserVersion),
            os: text(Column::Os),
            os_version: text(Column::OsVersion),
            device_type: text(Column::DeviceType),
            lib: text(Column::Lib),
            lib_version: text(Column::LibVersion),
            country: text(Column::Country),
            region: text(Column::Region),
            city: text(Column::City),
            timezone: text(Column::Timezone),
            cf_colo: text(Column::CfColo),
            cf_asn: self.cf_asn,
        }
    }
}

/// An event that was not stored as sent: a dead letter.
#[derive(Clone, Debug)]
pub struct Rejected {
    pub(crate) uuid: UuidText,
    pub received_at_us: i64,
    pub token: ProjectToken,
    pub(crate) path: std::borrow::Cow<'static, str>,
    pub reason: Reason,
    /// A sentence without payload.
    pub detail: String,
    pub(crate) event: Option<String>,
    pub(crate) distinct_id: Option<String>,
    pub(crate) event_uuid: Option<String>,
    /// Index in the request, from 0.
    pub item: usize,
    pub(crate) lib: Option<String>,
    /// The start of the event's text.
    pub(crate) raw: Vec<u8>,
    pub raw_length_bytes: usize,
}

impl Rejected {
    pub fn as_row(&self) -> DeadLetterRow<'_> {
        DeadLetterRow {
            uuid: self.uuid.as_str(),
            received_at_us: self.received_at_us,
            api_key: Some(self.token.as_str()),
            path: &self.path,
            reason: self.reason.as_str(),
            detail: Some(&self.detail),
            event: self.event.as_deref(),
            distinct_id: self.distinct_id.as_deref(),
            event_uuid: self.event_uuid.as_deref(),
            item: Some(i64::try_from(self.item).expect("a request has fewer items than 2^63")),
            lib: self.lib.as_deref(),
            raw: Some(&self.raw),
            raw_length_bytes: i64::try_from(self.raw_length_bytes).expect("a request is shorter than 2^63 bytes"),
            source: None,
        }
    }
}
