//! The document from which SDKs on servers evaluate flags themselves.
//!
//! They ask the server for flags that are missing or that they cannot decide. So a flag of which they
//! would decide otherwise than we do is left out.

mod cohorts;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::GROUP_TYPES_MAX;
use super::flag::{Condition, Filter, FilterKind, Flag, GroupType, Hashing, Subject};
use super::set::FlagSet;
use cohorts::SdkView;

/// SDKs have a field for it and read nothing from it.
const TEAM_ID: i64 = 1;

/// Answer of `/flags/definitions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definitions {
    pub body: String,
    /// In quotes, as the header has it.
    pub etag: String,
    /// Keys of flags that SDKs must ask for, and why.
    pub left_out: Vec<(Arc<str>, &'static str)>,
}

impl FlagSet {
    /// All flags that SDKs evaluate as we do. `group_types` are those of the project. Without
    /// `send_cohorts` cohorts are written out as properties where that says the same; where it does not,
    /// the flag keeps its cohort, and SDKs ask, as with PostHog. Worth keeping: it takes long for many flags.
    pub fn definitions(&self, group_types: &[Option<String>; GROUP_TYPES_MAX], send_cohorts: bool) -> Definitions {
        let writer =
            Writer { set: self, group_types: self.merged(group_types), send_cohorts, sdks: SdkView::new(self) };
        let obstacles = writer.obstacles();
        let mut flags = Vec::new();
        let mut left_out = Vec::new();
        let mut cohorts = Map::new();
        for (index, flag) in self.flags.iter().enumerate() {
            match obstacles[index] {
                Some(obstacle) => left_out.push((Arc::clone(&flag.key), obstacle)),
                None => {
                    flags.push(writer.flag(flag));
                    if send_cohorts {
                        writer.add_cohorts(flag, &mut cohorts);
                    }
                }
            }
        }
        let body = json!({
            "flags": flags,
            "group_type_mapping": writer.group_type_mapping(),
            "cohorts": cohorts,
            "property_matching_version": self.matching_version.max(1),
        })
        .to_string();
        Definitions { etag: etag(&body), body, left_out }
    }

    fn merged(&self, group_types: &[Option<String>; GROUP_TYPES_MAX]) -> [Option<String>; GROUP_TYPES_MAX] {
        std::array::from_fn(|index| group_types[index].clone().or_else(|| self.group_types[index].clone()))
    }
}

fn etag(body: &str) -> String {
    let digest = Sha256::digest(body.as_bytes());
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

struct Writer<'a> {
    set: &'a FlagSet,
    group_types: [Option<String>; GROUP_TYPES_MAX],
    send_cohorts: bool,
    sdks: SdkView,
}

impl Writer<'_> {
    /// Why each flag must be left out, if it must.
    fn obstacles(&self) -> Vec<Option<&'static str>> {
        let flags = &self.set.flags;
        let mut obstacles: Vec<Option<&'static str>> = vec![None; flags.len()];
        for index in &self.set.order {
            let flag = &flags[*index];
            let dependencies = &self.set.dependencies[*index];
            obstacles[*index] = self.obstacle(flag).or_else(|| {
                let is_left_out = |dependency: &usize| obstacles[*dependency].is_some();
                let asks_groups = |flag: &Flag| flag.all_conditions().any(|c| c.subject != Subject::Person);
                if dependencies.iter().any(is_left_out) {
                    Some("it depends on a flag that is left out")
                } else if !dependencies.is_empty()
                    && (asks_groups(flag) || dependencies.iter().any(|dependency| asks_groups(&flags[*dependency])))
                {
                    // posthog (Python) takes the properties and the id of the flag that depends.
                    Some("SDKs differ about dependencies of flags about groups")
                } else {
                    None
                }
            });
        }
        obstacles
    }

    fn obstacle(&self, flag: &Flag) -> Option<&'static str> {
        let filters = || flag.conditions.iter().flat_map(|condition| &condition.filters);
        if flag.hashing != Hashing::PostHog {
            Some("its ids are not spread by PostHog's rule")
        } else if flag.enrollment.is_some() {
            Some("SDKs differ about early access")
        } else if flag.holdout.as_ref().is_some_and(|holdout| holdout.id.is_none()) {
            Some("its holdout has no number")
        } else if flag.conditions.iter().any(|condition| condition.variants.is_some()) {
            Some("a condition has variants of its own")
        } else if flag.subject != Subject::Person && flag.conditions.iter().any(|c| c.subject != flag.subject) {
            Some("it is about groups, a condition is not")
        } else if filters().any(|filter| !self.sdks.agree(filter)) {
            Some("a property is of no use, or SDKs read it otherwise")
        } else if self.subjects(flag).any(|subject| self.aggregation(subject).is_none()) {
            Some("its group type has no index")
        } else if self.order_hides_undecided(flag) {
            Some("SDKs would skip a condition whose operator they do not know")
        } else {
            None
        }
    }

    fn subjects<'f>(&self, flag: &'f Flag) -> impl Iterator<Item = &'f Subject> {
        flag.conditions.iter().map(|condition| &condition.subject).chain([&flag.subject])
    }

    /// SDKs go on after a condition that they cannot decide; what a later one gives may differ.
    fn order_hides_undecided(&self, flag: &Flag) -> bool {
        let order_matters = !flag.variants.is_empty() || flag.early_exit;
        let Some((_, earlier)) = flag.conditions.split_last() else { return false };
        order_matters && earlier.iter().flat_map(|condition| &condition.filters).any(|f| !self.sdks.decide(f))
    }

    /// The index that says what a flag is about, null for people; nothing for a type without one.
    fn aggregation(&self, subject: &Subject) -> Option<Value> {
        match subject {
            Subject::Person => Some(Value::Null),
            Subject::Group(GroupType::Index(index)) => Some((*index).into()),
            Subject::Group(GroupType::Name(name)) => {
                self.group_types.iter().position(|known| known.as_deref() == Some(name)).map(Value::from)
            }
        }
    }

    fn flag(&self, flag: &Flag) -> Value {
        let payloads: Map<String, Value> =
            flag.payloads.iter().rev().map(|(key, payload)| (key.to_string(), Value::from(&**payload))).collect();
        let mut filters = json!({
            "groups": flag.conditions.iter().flat_map(|condition| self.condition(flag, condition)).collect::<Vec<_>>(),
            "multivariate": multivariate(flag),
            "payloads": payloads,
            "aggregation_group_type_index": self.aggregation(&flag.subject),
        });
        if let Some(holdout) = &flag.holdout {
            filters["holdout"] = json!({ "id": holdout.id, "exclusion_percentage": percent(holdout.percent) });
        }
        if flag.early_exit {
            filters["early_exit"] = Value::Bool(true);
        }
        json!({
            "id": flag.id,
            "team_id": TEAM_ID,
            "name": flag.name,
            "key": &*flag.key,
            "active": flag.active,
            "deleted": false,
            "version": flag.version,
            "ensure_experience_continuity": flag.keeps_experience,
            "evaluation_runtime": flag.runtime.name(),
            "evaluation_contexts": flag.contexts,
            "bucketing_identifier": if flag.buckets_devices { "device_id" } else { "distinct_id" },
            "has_experiment": false,
            "filters": filters,
        })
    }

    /// One set of conditions; several if a cohort is written out as a choice.
    fn condition(&self, flag: &Flag, condition: &Condition) -> Vec<Value> {
        let written_out = if self.send_cohorts { None } else { cohorts::write_out(self.set, &condition.filters) };
        let sets = written_out.unwrap_or_else(|| vec![condition.filters.iter().collect()]);
        let write = |filters: Vec<&Filter>| {
            let properties: Vec<Value> = filters.into_iter().map(|filter| self.filter(filter)).collect();
            let mut set = json!({
                "properties": properties,
                "rollout_percentage": condition.rollout_percent.map(percent),
                "variant": condition.variant.as_deref(),
            });
            if condition.subject != flag.subject {
                set["aggregation_group_type_index"] = self.aggregation(&condition.subject).unwrap_or_default();
            }
            set
        };
        sets.into_iter().map(write).collect()
    }

    fn filter(&self, filter: &Filter) -> Value {
        let mut document = filter.document.clone();
        match &filter.kind {
            FilterKind::Property { subject: subject @ Subject::Group(_), .. } => {
                document.insert("group_type_index".to_owned(), self.aggregation(subject).unwrap_or_default());
            }
            FilterKind::Flag { flag, .. } => {
                let key = |index: &usize| Value::from(&*self.set.flags[*index].key);
                let chain: Vec<Value> = self.set.dependencies[*flag].iter().chain([flag]).map(key).collect();
                document.insert("key".to_owned(), key(flag));
                document.insert("dependency_chain".to_owned(), chain.into());
            }
            FilterKind::Property { .. } | FilterKind::Cohort { .. } => {}
        }
        Value::Object(document)
    }

    fn add_cohorts(&self, flag: &Flag, documents: &mut Map<String, Value>) {
        let filters = flag.conditions.iter().flat_map(|condition| &condition.filters);
        let mut wanted: Vec<usize> = filters.filter_map(cohorts::of_filter).collect();
        while let Some(index) = wanted.pop() {
            let cohort = &self.set.cohorts[index];
            if !documents.contains_key(&cohort.id) {
                documents.insert(cohort.id.clone(), cohorts::document(&cohort.root));
                wanted.extend(cohort.root.references());
            }
        }
    }

    fn group_type_mapping(&self) -> Value {
        let named = self.group_types.iter().enumerate().filter_map(|(i, name)| Some((i.to_string(), name.clone()?)));
        Value::Object(named.map(|(index, name)| (index, Value::String(name))).collect())
    }
}

fn multivariate(flag: &Flag) -> Value {
    if flag.variants.is_empty() {
        return Value::Null;
    }
    let variants = flag
        .variants
        .iter()
        .map(|variant| json!({ "key": &*variant.key, "name": "", "rollout_percentage": percent(variant.percent) }));
    json!({ "variants": variants.collect::<Vec<_>>() })
}

/// Whole numbers without a point: some SDKs read integers.
fn percent(percent: f64) -> Value {
    if percent.fract() == 0.0 { Value::from(percent as i64) } else { Value::from(percent) }
}
