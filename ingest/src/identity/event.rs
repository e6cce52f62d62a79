//! What an event says about persons and groups.

use hogflare_catalog::tables::GROUP_SLOTS;
use uuid::Uuid;

use super::automatic::Automatic;
use crate::text::{TextRef, Texts};

/// The part of an event that the rules work with. Texts are borrowed from the event.
#[derive(Clone, Copy, Debug)]
pub struct IdentityEvent<'a> {
    pub(crate) project: &'a str,
    pub(crate) team_id: Option<i64>,
    pub(crate) uuid: &'a str,
    pub(crate) distinct_id: &'a str,
    /// Of the distinct id, see [`super::key`].
    pub(crate) key: Uuid,
    pub(crate) act: Act<'a>,
    /// False if the client wants no profile for the event.
    pub(crate) wants_profile: bool,
    /// JSON objects.
    pub(crate) set: Option<&'a str>,
    pub(crate) set_once: Option<&'a str>,
    /// A JSON array or object of names.
    pub(crate) unset: Option<&'a str>,
    /// A property that should have been an object.
    pub(crate) malformed: Option<&'static str>,
    pub(crate) automatic: AutomaticValues<'a>,
    pub(crate) groups: GroupKeys<'a>,
    pub(crate) group_update: Option<GroupUpdate<'a>>,
    /// Group types whose slots are configured.
    pub(crate) configured_types: &'a [Option<String>; GROUP_SLOTS],
    /// Microseconds since 1970, UTC: when it happened.
    pub(crate) timestamp_us: i64,
    /// Microseconds since 1970, UTC: the receipt.
    pub(crate) received_at_us: i64,
}

/// What an event does to persons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act<'a> {
    /// The other id's person is folded into that of the event's distinct id.
    Merge { other: &'a str, other_key: Uuid, operation: Operation },
    /// It is about the person: any change is written.
    Update(Operation),
    /// An ordinary event.
    Capture,
    /// It has a person if there is one, and makes none: heatmaps, groups.
    Bystander,
}

/// The kind of an [`Act`], as the event's name tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActKind {
    Merge(Operation),
    Update(Operation),
    Capture,
    Bystander,
}

/// What changed a person, as its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Capture,
    Identify,
    Alias,
    /// `$merge_dangerously`: also of two that are identified.
    Merge,
    Set,
    Engage,
}

impl Operation {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Operation::Capture => "capture",
            Operation::Identify => "identify",
            Operation::Alias => "alias",
            Operation::Merge => "merge",
            Operation::Set => "set",
            Operation::Engage => "engage",
        }
    }
}

/// A change of a group's properties.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupUpdate<'a> {
    pub(crate) group_type: &'a str,
    pub(crate) group_key: &'a str,
    /// A JSON object.
    pub(crate) set: Option<&'a str>,
}

/// Values of automatic properties, where they stand in the event's texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AutomaticValues<'a> {
    pub(crate) texts: &'a Texts,
    pub(crate) found: &'a [(Automatic, TextRef)],
}

impl<'a> AutomaticValues<'a> {
    pub(crate) fn collect(&self) -> Vec<(Automatic, &'a str)> {
        self.found.iter().filter_map(|(automatic, at)| Some((*automatic, self.texts.get(*at)?))).collect()
    }
}

/// Group types and keys of an event, where they stand in its texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupKeys<'a> {
    pub(crate) texts: &'a Texts,
    pub(crate) found: &'a [(TextRef, TextRef)],
}

impl<'a> GroupKeys<'a> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let texts = self.texts;
        self.found.iter().filter_map(move |(name, key)| Some((texts.get(*name)?, texts.get(*key)?)))
    }
}
