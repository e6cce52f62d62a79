//! Cohorts: groups of properties, nested, each with any or all of its members required.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::FlagsError;
use super::filter::{self, Names};
use super::flag::{Filter, FilterKind, Subject};
use super::matcher::Dialect;
use super::place::{Object, Place};

/// Groups inside groups, and cohorts inside cohorts.
const DEPTH_MAX: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct Cohort {
    pub(super) id: String,
    pub(super) root: Node,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Leaf { filter: Box<Filter>, negated: bool },
}

impl Node {
    /// The cohorts that it asks for, with repeats.
    pub(super) fn references(&self) -> Vec<usize> {
        match self {
            Node::All(nodes) | Node::Any(nodes) => nodes.iter().flat_map(Node::references).collect(),
            Node::Leaf { filter, .. } => match filter.kind {
                FilterKind::Cohort { cohort, .. } => vec![cohort],
                _ => Vec::new(),
            },
        }
    }

    /// Whether SDKs would find the same: they disagree about a group that has no members to choose from.
    pub(super) fn sdks_agree(&self) -> bool {
        match self {
            Node::Any(nodes) if nodes.is_empty() => false,
            Node::All(nodes) | Node::Any(nodes) => nodes.iter().all(Node::sdks_agree),
            Node::Leaf { filter, .. } => filter.sdks_agree,
        }
    }

    /// Whether SDKs know all operators.
    pub(super) fn sdks_decide(&self) -> bool {
        match self {
            Node::All(nodes) | Node::Any(nodes) => nodes.iter().all(Node::sdks_decide),
            Node::Leaf { filter, .. } => filter.sdks_decide,
        }
    }
}

/// Reads `{"<id>": <group>}`; groups may be wrapped as PostHog's API returns them.
pub(super) fn read(
    cohorts: &Map<String, Value>,
    place: &Place<'_>,
    matching_version: i64,
) -> Result<Vec<Cohort>, FlagsError> {
    let ids = ids(cohorts);
    let names = Names { flags: &HashMap::new(), cohorts: &ids, matching_version };
    let mut read = Vec::with_capacity(cohorts.len());
    for (id, value) in cohorts {
        let place = place.cohort(id);
        let root = unwrap(place.object(value)?)?;
        if root.is_empty() {
            place.warn("has no properties: everybody is in it");
        }
        let root = group(&Object { map: root, place: &place }, names, 1)?;
        read.push(Cohort { id: id.clone(), root });
    }
    check_references(&read, place)?;
    Ok(read)
}

/// Positions of cohorts by their ids.
pub(super) fn ids(cohorts: &Map<String, Value>) -> HashMap<String, usize> {
    cohorts.keys().enumerate().map(|(index, id)| (id.clone(), index)).collect()
}

fn unwrap<'a>(object: Object<'a, '_>) -> Result<&'a Map<String, Value>, FlagsError> {
    if object.boolean("is_static")? == Some(true) {
        return Err(object.place.refuse("is static: its members are not in this file, so nobody can be found in it"));
    }
    let mut map = object.map;
    for wrapper in ["filters", "properties"] {
        if !map.contains_key("values")
            && let Some(Value::Object(inner)) = map.get(wrapper)
        {
            map = inner;
        }
    }
    Ok(map)
}

fn group(object: &Object<'_, '_>, names: Names<'_>, depth: usize) -> Result<Node, FlagsError> {
    let place = object.place;
    if object.map.is_empty() {
        return Ok(Node::All(Vec::new()));
    }
    if depth > DEPTH_MAX {
        return Err(place.refuse(format!("groups are nested deeper than {DEPTH_MAX}")));
    }
    if object.boolean("negation")? == Some(true) {
        place.warn("negation of a group is ignored, as in PostHog");
    }
    let any = match object.text("type")? {
        Some("OR") => true,
        // "property" is PostHog's name of an innermost group.
        Some("AND" | "property") => false,
        _ => return Err(place.refuse("a group of a cohort needs type AND or OR, and values")),
    };
    let mut nodes = Vec::new();
    let values_place = place.field("values");
    for (index, value) in object.list("values")?.iter().enumerate() {
        let place = values_place.index(index);
        nodes.push(node(&place.object(value)?, names, depth)?);
    }
    Ok(if any { Node::Any(nodes) } else { Node::All(nodes) })
}

fn node(object: &Object<'_, '_>, names: Names<'_>, depth: usize) -> Result<Node, FlagsError> {
    let is_group = object.map.is_empty()
        || object.map.contains_key("values")
        || matches!(object.map.get("type").and_then(Value::as_str), Some("AND" | "OR"));
    if is_group {
        return group(object, names, depth + 1);
    }
    let value = Value::Object(object.map.clone());
    let filter = filter::read(&value, object.place, Dialect::PostHog, &Subject::Person, names)?;
    Ok(Node::Leaf { filter: Box::new(filter), negated: object.boolean("negation")?.unwrap_or(false) })
}

fn check_references(cohorts: &[Cohort], place: &Place<'_>) -> Result<(), FlagsError> {
    let references: Vec<Vec<usize>> = cohorts.iter().map(|cohort| cohort.root.references()).collect();
    let order = super::order::dependencies_first(&references).map_err(|cycle| {
        let cycle: Vec<&str> = cycle.iter().map(|index| cohorts[*index].id.as_str()).collect();
        place.cohort(cycle[0]).refuse(format!("contains itself: {}", cycle.join(" → ")))
    })?;
    let mut depths = vec![1; cohorts.len()];
    for index in order {
        let deepest = references[index].iter().map(|reference| depths[*reference]).max().unwrap_or(0);
        depths[index] = deepest + 1;
        if depths[index] > DEPTH_MAX {
            let place = place.cohort(&cohorts[index].id);
            return Err(place.refuse(format!("contains cohorts in cohorts, deeper than {DEPTH_MAX}")));
        }
    }
    Ok(())
}
