//! Cohorts in the document, and what SDKs make of them.

use serde_json::{Value, json};

use super::super::cohort::Node;
use super::super::flag::{Filter, FilterKind};
use super::super::set::FlagSet;

/// Sets of conditions that one may become when its cohorts are written out.
const ALTERNATIVES_MAX: usize = 16;
/// Properties and cohorts that are looked at for it.
const STEPS_MAX: usize = 1000;

/// What SDKs make of each cohort, those inside included.
pub(super) struct SdkView {
    agree: Vec<bool>,
    decide: Vec<bool>,
}

impl SdkView {
    pub(super) fn new(set: &FlagSet) -> SdkView {
        let references: Vec<Vec<usize>> = set.cohorts.iter().map(|cohort| cohort.root.references()).collect();
        let order =
            super::super::order::dependencies_first(&references).expect("a file with a cycle of cohorts is refused");
        let mut view = SdkView { agree: vec![false; order.len()], decide: vec![false; order.len()] };
        for index in order {
            let root = &set.cohorts[index].root;
            view.agree[index] = root.sdks_agree() && references[index].iter().all(|inner| view.agree[*inner]);
            view.decide[index] = root.sdks_decide() && references[index].iter().all(|inner| view.decide[*inner]);
        }
        view
    }

    /// Whether SDKs would find the same, if they find anything.
    pub(super) fn agree(&self, filter: &Filter) -> bool {
        filter.sdks_agree && of_filter(filter).is_none_or(|cohort| self.agree[cohort])
    }

    /// Whether SDKs know the operators.
    pub(super) fn decide(&self, filter: &Filter) -> bool {
        filter.sdks_decide && of_filter(filter).is_none_or(|cohort| self.decide[cohort])
    }
}

pub(super) fn of_filter(filter: &Filter) -> Option<usize> {
    match filter.kind {
        FilterKind::Cohort { cohort, .. } => Some(cohort),
        _ => None,
    }
}

/// A cohort as SDKs read it. They take all members of a group for groups if the first is one.
pub(super) fn document(node: &Node) -> Value {
    let (kind, nodes) = match node {
        Node::All(nodes) => ("AND", nodes),
        Node::Any(nodes) => ("OR", nodes),
        Node::Leaf { .. } => ("AND", &vec![node.clone()]),
    };
    let has_groups = nodes.iter().any(|node| !matches!(node, Node::Leaf { .. }));
    let values: Vec<Value> = nodes
        .iter()
        .map(|node| match node {
            Node::Leaf { filter, negated } if !has_groups => {
                let mut leaf = filter.document.clone();
                leaf.insert("negation".to_owned(), (*negated).into());
                Value::Object(leaf)
            }
            group_or_wrapped => document(group_or_wrapped),
        })
        .collect();
    json!({ "type": kind, "values": values })
}

/// The sets of properties of which one must pass, instead of filters with cohorts. Nothing if there is
/// no cohort, or one that says more than that, or too much.
pub(super) fn write_out<'a>(set: &'a FlagSet, filters: &'a [Filter]) -> Option<Vec<Vec<&'a Filter>>> {
    filters.iter().find_map(of_filter)?;
    let mut expansion = Expansion { set, steps_left: STEPS_MAX };
    let mut all = vec![Vec::new()];
    for filter in filters {
        all = product(&all, &expansion.filter(filter)?)?;
    }
    Some(all)
}

/// Cohorts in cohorts can name each other so often that writing them out would never end.
struct Expansion<'a> {
    set: &'a FlagSet,
    steps_left: usize,
}

impl<'a> Expansion<'a> {
    fn filter(&mut self, filter: &'a Filter) -> Option<Vec<Vec<&'a Filter>>> {
        self.steps_left = self.steps_left.checked_sub(1)?;
        let set = self.set;
        match filter.kind {
            FilterKind::Cohort { cohort, inside: true } => self.node(&set.cohorts[cohort].root),
            FilterKind::Cohort { inside: false, .. } => None,
            FilterKind::Property { .. } | FilterKind::Flag { .. } => Some(vec![vec![filter]]),
        }
    }

    fn node(&mut self, node: &'a Node) -> Option<Vec<Vec<&'a Filter>>> {
        match node {
            Node::Leaf { negated: true, .. } => None,
            Node::Leaf { filter, .. } => self.filter(filter),
            Node::All(nodes) => {
                let mut all = vec![Vec::new()];
                for node in nodes {
                    all = product(&all, &self.node(node)?)?;
                }
                Some(all)
            }
            Node::Any(nodes) => {
                let mut any = Vec::new();
                for node in nodes {
                    any.extend(self.node(node)?);
                }
                (any.len() <= ALTERNATIVES_MAX).then_some(any)
            }
        }
    }
}

fn product<'a>(left: &[Vec<&'a Filter>], right: &[Vec<&'a Filter>]) -> Option<Vec<Vec<&'a Filter>>> {
    if left.len() * right.len() > ALTERNATIVES_MAX {
        return None;
    }
    let pairs = left.iter().flat_map(|left| right.iter().map(move |right| [left.as_slice(), right].concat()));
    Some(pairs.collect())
}
