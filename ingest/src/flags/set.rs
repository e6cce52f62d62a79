//! The flags of one project, with what they depend on resolved.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::FlagsError;
use super::cohort::{Cohort, Node};
use super::flag::{Enrollment, Filter, FilterKind, Flag, GroupType, Subject};
use super::place::Place;
use super::question::Selection;

/// Other flags that one flag may depend on, directly or not.
const DEPENDENCIES_MAX: usize = 100;

/// The flags of one project.
#[derive(Debug, Default)]
pub struct FlagSet {
    /// In the order of the file.
    pub(super) flags: Vec<Arc<Flag>>,
    by_key: HashMap<Arc<str>, usize>,
    pub(super) cohorts: Vec<Cohort>,
    /// All flags, each after those it depends on.
    pub(super) order: Vec<usize>,
    /// What each flag depends on, directly or not, in that order.
    pub(super) dependencies: Vec<Vec<usize>>,
    /// As the file names them.
    pub(super) group_types: [Option<String>; super::GROUP_TYPES_MAX],
    pub(super) matching_version: i64,
}

/// What must be known about a person and its groups to evaluate some flags.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs<'a> {
    pub person_keys: BTreeSet<&'a str>,
    /// By the name of the group type; the set is empty if only the group's key counts.
    pub group_keys: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// Some flag keeps the bucket that a person had before it was identified.
    pub continuity: bool,
}

impl FlagSet {
    pub(super) fn new(
        flags: Vec<Flag>,
        cohorts: Vec<Cohort>,
        group_types: [Option<String>; super::GROUP_TYPES_MAX],
        matching_version: i64,
        place: &Place<'_>,
    ) -> Result<FlagSet, FlagsError> {
        let direct: Vec<Vec<usize>> = flags.iter().map(|flag| flag.dependencies().collect()).collect();
        let order = super::order::dependencies_first(&direct).map_err(|cycle| {
            let cycle: Vec<&str> = cycle.iter().map(|index| &*flags[*index].key).collect();
            place.flag(cycle[0]).refuse(format!("depends on itself: {}", cycle.join(" → ")))
        })?;
        let dependencies = closures(&direct, &order, &flags, place)?;
        let by_key = flags.iter().enumerate().map(|(index, flag)| (Arc::clone(&flag.key), index)).collect();
        let flags = flags.into_iter().map(Arc::new).collect();
        Ok(FlagSet { flags, by_key, cohorts, order, dependencies, group_types, matching_version })
    }

    pub fn has_flags(&self) -> bool {
        !self.flags.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.flags.len()
    }

    /// The payload of a flag that is on, as JSON text. This is all there is to a remote configuration.
    pub fn remote_config_payload(&self, key: &str) -> Option<String> {
        let flag = &self.flags[*self.by_key.get(key)?];
        flag.payload(None).map(|payload| payload.as_ref().to_owned())
    }

    /// What to look up before evaluating the selected flags.
    pub fn needs<'a>(
        &'a self,
        selection: &Selection<'_>,
        group_types: &'a [Option<String>; super::GROUP_TYPES_MAX],
    ) -> Needs<'a> {
        let mut collector = Collector { set: self, group_types, needs: Needs::default(), cohorts: BTreeSet::new() };
        let chosen = self.choose(selection);
        for (index, flag) in self.flags.iter().enumerate() {
            if chosen[index].is_evaluated && flag.active {
                collector.flag(flag);
            }
        }
        collector.needs
    }

    /// The name of a group type; what the project says goes before the file.
    pub(super) fn group_type_name<'a>(
        &'a self,
        group_type: &'a GroupType,
        group_types: &'a [Option<String>; super::GROUP_TYPES_MAX],
    ) -> Option<&'a str> {
        match group_type {
            GroupType::Name(name) => Some(name),
            GroupType::Index(index) => group_types[*index].as_deref().or(self.group_types[*index].as_deref()),
        }
    }

    /// What becomes of each flag.
    pub(super) fn choose(&self, selection: &Selection<'_>) -> Vec<Choice> {
        let mut chosen: Vec<Choice> = self
            .flags
            .iter()
            .map(|flag| Choice { is_eligible: selection.admits(flag), is_answered: false, is_evaluated: false })
            .collect();
        let answered: Vec<usize> = match selection.flag_keys {
            None => (0..self.flags.len()).collect(),
            Some(keys) => keys.iter().filter_map(|key| self.by_key.get(key.as_str()).copied()).collect(),
        };
        for index in answered {
            if chosen[index].is_eligible {
                chosen[index].is_answered = true;
                chosen[index].is_evaluated = true;
                for dependency in &self.dependencies[index] {
                    chosen[*dependency].is_evaluated = chosen[*dependency].is_eligible;
                }
            }
        }
        chosen
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// It may be evaluated here; others are off for those that depend on them.
    is_eligible: bool,
    pub(super) is_answered: bool,
    pub(super) is_evaluated: bool,
}

fn closures(
    direct: &[Vec<usize>],
    order: &[usize],
    flags: &[Flag],
    place: &Place<'_>,
) -> Result<Vec<Vec<usize>>, FlagsError> {
    let mut ranks = vec![0; order.len()];
    for (rank, index) in order.iter().enumerate() {
        ranks[*index] = rank;
    }
    let mut closures: Vec<Vec<usize>> = vec![Vec::new(); direct.len()];
    for index in order {
        let mut closure = BTreeSet::new();
        for dependency in &direct[*index] {
            closure.extend(closures[*dependency].iter().chain([dependency]).map(|index| ranks[*index]));
        }
        if closure.len() > DEPENDENCIES_MAX {
            let problem = format!("depends on {} flags, more than {DEPENDENCIES_MAX}", closure.len());
            return Err(place.flag(&flags[*index].key).refuse(problem));
        }
        closures[*index] = closure.into_iter().map(|rank| order[rank]).collect();
    }
    Ok(closures)
}

struct Collector<'a> {
    set: &'a FlagSet,
    group_types: &'a [Option<String>; super::GROUP_TYPES_MAX],
    needs: Needs<'a>,
    cohorts: BTreeSet<usize>,
}

impl<'a> Collector<'a> {
    fn flag(&mut self, flag: &'a Flag) {
        self.needs.continuity |= flag.keeps_experience;
        if let Some(Enrollment::Property(key)) = &flag.enrollment {
            self.needs.person_keys.insert(key);
        }
        self.subject(&flag.subject);
        for condition in flag.all_conditions() {
            self.subject(&condition.subject);
            for filter in &condition.filters {
                self.filter(filter);
            }
        }
    }

    fn filter(&mut self, filter: &'a Filter) {
        match &filter.kind {
            FilterKind::Property { subject, key, .. } => match self.subject(subject) {
                Some(keys) => {
                    keys.insert(key);
                }
                None if *subject == Subject::Person => {
                    self.needs.person_keys.insert(key);
                }
                None => {}
            },
            FilterKind::Cohort { cohort, .. } => {
                if self.cohorts.insert(*cohort) {
                    let set = self.set;
                    self.node(&set.cohorts[*cohort].root);
                }
            }
            FilterKind::Flag { .. } => {}
        }
    }

    fn node(&mut self, node: &'a Node) {
        match node {
            Node::All(nodes) | Node::Any(nodes) => nodes.iter().for_each(|node| self.node(node)),
            Node::Leaf { filter, .. } => self.filter(filter),
        }
    }

    /// The wanted properties of a group type that has a name.
    fn subject(&mut self, subject: &'a Subject) -> Option<&mut BTreeSet<&'a str>> {
        let Subject::Group(group_type) = subject else { return None };
        let name = self.set.group_type_name(group_type, self.group_types)?;
        Some(self.needs.group_keys.entry(name).or_default())
    }
}
