//! A person and a group as the state knows them.

use hogflare_catalog::tables::LISTED_IDS_MAX;
use uuid::Uuid;

use super::properties::Properties;

/// Distinct ids of a person that are kept beside it. A person with more cannot be merged into another.
pub(crate) const KEPT_IDS_MAX: usize = 10_000;

/// A person at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Counts persons in the order of their first appearance.
    pub(crate) number: i64,
    pub(crate) id: Uuid,
    /// The distinct id with which the person began; its key is the person's id.
    pub(crate) canonical: Box<str>,
    pub(crate) ids: DistinctIds,
    /// Microseconds since 1970, UTC.
    pub(crate) created_at_us: i64,
    pub(crate) version: i64,
    /// Whether a merge has named the person.
    pub(crate) is_identified: bool,
    pub(crate) properties: Properties,
}

impl Person {
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// All properties, a JSON object.
    pub fn properties(&self) -> &str {
        self.properties.as_json()
    }

    /// Everything, for people.
    pub fn describe(&self) -> serde_json::Value {
        let properties: serde_json::Value = serde_json::from_str(self.properties()).unwrap_or_default();
        let ids: Vec<&str> = self.ids.listed.iter().take(LISTED_IDS_MAX).map(|id| &**id).collect();
        serde_json::json!({
            "id": self.id.to_string(),
            "number": self.number,
            "canonical_distinct_id": &*self.canonical,
            "distinct_ids": ids,
            "distinct_id_count": self.ids.total,
            "created_at": crate::timestamp::format(self.created_at_us),
            "version": self.version,
            "is_identified": self.is_identified,
            "properties": properties,
        })
    }

    /// The oldest of the person's distinct ids: buckets of flags that must not change by a login hang on it.
    pub fn first_distinct_id(&self) -> &str {
        self.ids.listed.first().map_or(&self.canonical, |id| id)
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of::<Person>() + self.canonical.len() + self.ids.bytes() + self.properties.bytes()
    }
}

/// Distinct ids of a person, the oldest first; beyond [`KEPT_IDS_MAX`] they are only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DistinctIds {
    pub(crate) listed: Vec<Box<str>>,
    pub(crate) total: u64,
}

impl DistinctIds {
    pub(crate) fn of<const N: usize>(ids: [&str; N]) -> DistinctIds {
        let mut all = DistinctIds::default();
        ids.into_iter().for_each(|id| all.push(id));
        all
    }

    pub(crate) fn push(&mut self, id: &str) {
        self.total += 1;
        if self.listed.len() < KEPT_IDS_MAX {
            self.listed.push(Box::from(id));
        }
    }

    pub(crate) fn are_all_listed(&self) -> bool {
        self.listed.len() as u64 == self.total
    }

    fn bytes(&self) -> usize {
        self.listed.iter().map(|id| id.len() + size_of::<Box<str>>() + 8).sum()
    }
}

/// A group at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub(crate) slot: usize,
    pub(crate) group_type: Box<str>,
    pub(crate) key: Box<str>,
    /// Microseconds since 1970, UTC.
    pub(crate) created_at_us: i64,
    pub(crate) version: i64,
    pub(crate) properties: Properties,
}

impl Group {
    /// All properties, a JSON object.
    pub fn properties(&self) -> &str {
        self.properties.as_json()
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of::<Group>() + self.group_type.len() + self.key.len() + self.properties.bytes()
    }
}
