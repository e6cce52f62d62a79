//! A person and a group as the state knows them.

use hogflare_catalog::tables::LISTED_IDS_MAX;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::ids::DistinctIds;
use super::properties::Properties;

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

    /// The same as values.
    pub fn values(&self) -> Map<String, Value> {
        self.properties.values()
    }

    /// Everything, for people.
    pub fn describe(&self) -> Value {
        let properties = self.values();
        let ids: Vec<String> = self.ids.iter().take(LISTED_IDS_MAX).collect();
        serde_json::json!({
            "id": self.id.to_string(),
            "number": self.number,
            "canonical_distinct_id": &*self.canonical,
            "distinct_ids": ids,
            "distinct_id_count": self.ids.total(),
            "created_at": crate::timestamp::format(self.created_at_us),
            "version": self.version,
            "is_identified": self.is_identified,
            "properties": properties,
        })
    }

    /// The oldest of the person's distinct ids: buckets of flags that must not change by a login hang on it.
    pub fn first_distinct_id(&self) -> String {
        self.ids.first().unwrap_or_else(|| self.canonical.to_string())
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of::<Person>() + self.canonical.len() + self.ids.heap_bytes() + self.properties.bytes()
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

    /// The same as values.
    pub fn values(&self) -> Map<String, Value> {
        self.properties.values()
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of::<Group>() + self.group_type.len() + self.key.len() + self.properties.bytes()
    }
}
