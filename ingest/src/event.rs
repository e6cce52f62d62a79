//! An event on its way from the wire to its row. The types say what has been checked.

use std::ops::Range;
use std::sync::Arc;

use hogflare_catalog::tables::{DeadLetterRow, EventRow, GROUP_SLOTS, Promoted, Slot};
use uuid::Uuid;

use crate::enrich::Wants;
use crate::identity::{Act, ActKind, Automatic, AutomaticValues, GroupKeys, GroupUpdate, IdentityEvent};
use crate::promote::Column;
use crate::protocol::Reason;
use crate::text::{TextRef, Texts};

/// A project token: 1 to 64 ASCII characters that are no personal key, without spaces around and colons:
/// one would make keys of persons ambiguous.
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
            () if token.contains(':') => Err("it has a colon"),
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

/// Whether a profile stands behind the person of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonMode {
    Full,
    /// Nobody is known, or the client asked for no profile.
    Propertyless,
    /// The client asked for no profile, but there is one.
    ForceUpgrade,
}

impl PersonMode {
    pub fn as_str(self) -> &'static str {
        match self {
            PersonMode::Full => "full",
            PersonMode::Propertyless => "propertyless",
            PersonMode::ForceUpgrade => "force_upgrade",
        }
    }
}

/// What an event says about persons and groups, as places in its texts.
#[derive(Clone, Debug)]
pub(crate) struct IdentityTexts {
    /// Of the distinct id, see [`identity::key`].
    pub(crate) key: Uuid,
    pub(crate) act: ActKind,
    /// The other id of a merge.
    pub(crate) other: TextRef,
    pub(crate) other_key: Uuid,
    pub(crate) wants_profile: bool,
    pub(crate) set: TextRef,
    pub(crate) set_once: TextRef,
    pub(crate) unset: TextRef,
    pub(crate) malformed: Option<&'static str>,
    /// Whether the person gets properties of the event without being asked.
    pub(crate) takes_automatic: bool,
    pub(crate) automatic: Vec<(Automatic, TextRef)>,
    pub(crate) groups: Box<[(TextRef, TextRef)]>,
    pub(crate) group_update: Option<GroupUpdateTexts>,
    /// Only if the event has groups.
    pub(crate) configured_types: Option<Arc<[Option<String>; GROUP_SLOTS]>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupUpdateTexts {
    pub(crate) group_type: TextRef,
    pub(crate) group_key: TextRef,
    pub(crate) set: TextRef,
}

impl IdentityTexts {
    /// An event that says nothing.
    pub(crate) fn new(key: Uuid) -> IdentityTexts {
        IdentityTexts {
            key,
            act: ActKind::Capture,
            other: TextRef::NONE,
            other_key: Uuid::nil(),
            wants_profile: true,
            set: TextRef::NONE,
            set_once: TextRef::NONE,
            unset: TextRef::NONE,
            malformed: None,
            takes_automatic: false,
            automatic: Vec::new(),
            groups: Box::default(),
            group_update: None,
            configured_types: None,
        }
    }
}

static NO_TYPES: [Option<String>; GROUP_SLOTS] = [const { None }; GROUP_SLOTS];

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
    /// What the event is stamped with if nobody is known.
    pub(crate) person_id: UuidText,
    pub(crate) identity: IdentityTexts,
    pub(crate) texts: Texts,
    pub(crate) columns: [TextRef; Column::COUNT],
    pub(crate) context: TextRef,
    pub(crate) extra: TextRef,
    pub(crate) cf_asn: Option<i64>,
    /// What enrichment may still add.
    pub(crate) wants: Wants,
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

    /// Tells the person where the sender is: values that stand in the properties, from `offset` on.
    pub(crate) fn note_place(&mut self, offset: usize, place: &[(Automatic, Range<usize>)]) {
        if self.identity.takes_automatic {
            let values = place.iter().map(|(name, at)| (*name, TextRef::in_properties(offset + at.start, at.len())));
            self.identity.automatic.extend(values);
        }
    }

    /// Bytes that the event holds, for budgets.
    pub fn bytes(&self) -> usize {
        size_of::<CapturedEvent>() + self.texts.bytes() + self.name.len() + self.distinct_id.as_str().len()
    }

    /// What it says about persons and groups.
    pub(crate) fn identity(&self) -> IdentityEvent<'_> {
        let of = &self.identity;
        let text = |text: TextRef| self.texts.get(text);
        let act = match of.act {
            ActKind::Merge(operation) => {
                Act::Merge { other: text(of.other).unwrap_or_default(), other_key: of.other_key, operation }
            }
            ActKind::Update(operation) => Act::Update(operation),
            ActKind::Capture => Act::Capture,
            ActKind::Bystander => Act::Bystander,
        };
        let group_update = of.group_update.as_ref().and_then(|update| {
            let (group_type, group_key) = (text(update.group_type)?, text(update.group_key)?);
            Some(GroupUpdate { group_type, group_key, set: text(update.set) })
        });
        IdentityEvent {
            project: self.token.as_str(),
            team_id: self.team_id,
            uuid: self.uuid_text.as_str(),
            distinct_id: self.distinct_id.as_str(),
            key: of.key,
            act,
            wants_profile: of.wants_profile,
            set: text(of.set),
            set_once: text(of.set_once),
            unset: text(of.unset),
            malformed: of.malformed,
            automatic: AutomaticValues { texts: &self.texts, found: &of.automatic },
            groups: GroupKeys { texts: &self.texts, found: &of.groups },
            group_update,
            configured_types: of.configured_types.as_deref().unwrap_or(&NO_TYPES),
            timestamp_us: self.timestamp_us,
            received_at_us: self.created_at_us,
        }
    }

    /// The row. Columns that need more than this event (persons, groups) are as if nobody were known.
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
            groups: [None; GROUP_SLOTS],
            group_properties: None,
            api_key: self.token.as_str(),
            extra: text(self.extra),
            person_mode: Some(PersonMode::Propertyless.as_str()),
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
