//! What the flags are for somebody.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::answer::{Answer, Answers, Outcome, Reason};
use super::cohort::Node;
use super::flag::{Condition, Enrollment, Expected, Filter, FilterKind, Flag, GroupType, Hashing, Holdout, Subject};
use super::hash;
use super::matcher::Undecided;
use super::question::Question;
use super::set::FlagSet;

impl FlagSet {
    /// Evaluates the flags that are asked for. A flag that cannot be evaluated fails alone.
    pub fn evaluate(&self, question: &Question<'_>) -> Answers {
        let chosen = self.choose(&question.selection);
        let mut evaluation = Evaluation {
            set: self,
            question,
            outcomes: vec![None; self.flags.len()],
            cohorts: vec![None; self.cohorts.len()],
        };
        for index in &self.order {
            if chosen[*index].is_evaluated {
                let outcome = evaluation.flag(&self.flags[*index]);
                evaluation.outcomes[*index] = Some(outcome);
            }
        }
        let answered = evaluation.outcomes.into_iter().zip(chosen).zip(&self.flags);
        let answers = answered.filter(|((_, choice), _)| choice.is_answered);
        Answers(
            answers
                .filter_map(|((outcome, _), flag)| Some(Answer { flag: Arc::clone(flag), outcome: outcome? }))
                .collect(),
        )
    }
}

struct Evaluation<'a> {
    set: &'a FlagSet,
    question: &'a Question<'a>,
    /// Of flags evaluated so far; dependencies go first.
    outcomes: Vec<Option<Outcome>>,
    /// Whether the person is in each cohort that was asked for so far.
    cohorts: Vec<Option<Result<bool, Undecided>>>,
}

/// What became of one set of conditions.
enum Verdict {
    Matched,
    /// The properties pass, the id is not in the rollout.
    OutOfRollout,
    /// Nothing can pass for this question.
    Skipped(Reason),
    Unmatched,
    Undecided,
}

impl<'a> Evaluation<'a> {
    fn flag(&mut self, flag: &'a Flag) -> Outcome {
        if !flag.active {
            return Outcome::off(Reason::FlagDisabled, None);
        }
        match self.enrollment(flag) {
            Ok(None) => {}
            Ok(Some(enrolled)) => {
                return Outcome { enabled: enrolled, ..Outcome::off(Reason::SuperConditionValue, Some(0)) };
            }
            Err(Undecided) => return Outcome::failed(),
        }
        if let Some(holdout) = &flag.holdout
            && self.is_held_out(flag, holdout)
        {
            return Outcome::on(Some(Arc::clone(&holdout.variant)), Reason::HoldoutConditionValue, None);
        }
        self.conditions(flag)
    }

    /// Whether the person is in or out by its own choice, if it made one.
    fn enrollment(&mut self, flag: &'a Flag) -> Result<Option<bool>, Undecided> {
        match &flag.enrollment {
            None => Ok(None),
            Some(Enrollment::Property(key)) => {
                let choice = self.question.person_properties.get(key.as_ref());
                Ok(choice.map(|choice| *choice == true || *choice == "true"))
            }
            Some(Enrollment::Condition(condition)) => {
                let has_any = condition.filters.iter().any(|filter| match &filter.kind {
                    FilterKind::Property { key, .. } => self.question.person_properties.contains_key(key.as_ref()),
                    _ => false,
                });
                if !has_any {
                    return Ok(None);
                }
                match self.condition(flag, condition) {
                    Verdict::Undecided => Err(Undecided),
                    verdict => Ok(Some(matches!(verdict, Verdict::Matched))),
                }
            }
        }
    }

    fn is_held_out(&self, flag: &Flag, holdout: &Holdout) -> bool {
        // Without a device people are held out by their own id; without a group nobody is.
        let id = match &flag.subject {
            Subject::Person => self.person_id(flag).unwrap_or(self.question.distinct_id),
            Subject::Group(group_type) => match self.group_key(group_type) {
                Some(key) => key,
                None => return false,
            },
        };
        holdout.percent == 100.0 || hash::holdout(id) <= holdout.percent / 100.0
    }

    /// The first set that matches decides; if none does, the most telling reason is reported.
    fn conditions(&mut self, flag: &'a Flag) -> Outcome {
        let mut closest = Outcome::off(Reason::NoGroupType, None);
        let mut undecided = false;
        let mut skipped_group = false;
        for (index, condition) in flag.conditions.iter().enumerate() {
            let verdict = self.condition(flag, condition);
            let reason = match verdict {
                Verdict::Matched => {
                    return Outcome::on(self.variant(flag, condition), Reason::ConditionMatch, Some(index));
                }
                Verdict::OutOfRollout if flag.early_exit => {
                    closest = Outcome::off(Reason::OutOfRolloutBound, Some(index));
                    break;
                }
                Verdict::OutOfRollout => Reason::OutOfRolloutBound,
                Verdict::Skipped(reason) => reason,
                Verdict::Unmatched => Reason::NoConditionMatch,
                Verdict::Undecided => {
                    undecided = true;
                    continue;
                }
            };
            skipped_group |= reason == Reason::NoGroupType;
            if reason >= closest.reason {
                closest = Outcome::off(reason, Some(index));
            }
        }
        if undecided {
            return Outcome::failed();
        }
        match (closest.reason, closest.condition_index) {
            (Reason::NoGroupType, None) => Outcome::off(Reason::NoConditionMatch, None),
            (Reason::NoConditionMatch, index) if skipped_group => {
                Outcome::off(Reason::NoConditionMatchGroupsSkipped, index)
            }
            _ => closest,
        }
    }

    fn condition(&mut self, flag: &Flag, condition: &'a Condition) -> Verdict {
        let Some(id) = self.hashed_id(flag, &condition.subject) else {
            return Verdict::Skipped(match condition.subject {
                Subject::Person => Reason::OutOfRolloutBound,
                Subject::Group(_) => Reason::NoGroupType,
            });
        };
        match self.all_pass(&condition.filters) {
            Ok(true) if is_in_rollout(flag, condition, id) => Verdict::Matched,
            Ok(true) => Verdict::OutOfRollout,
            Ok(false) => Verdict::Unmatched,
            Err(Undecided) => Verdict::Undecided,
        }
    }

    /// One filter that fails decides, whatever others could not be decided.
    fn all_pass(&mut self, filters: &'a [Filter]) -> Result<bool, Undecided> {
        let mut result = Ok(true);
        for filter in filters {
            match self.passes(filter) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(Undecided) => result = Err(Undecided),
            }
        }
        result
    }

    fn passes(&mut self, filter: &'a Filter) -> Result<bool, Undecided> {
        match &filter.kind {
            FilterKind::Property { subject, key, matcher } => {
                let value = self.properties(subject).and_then(|properties| properties.get(key.as_ref()));
                matcher.matches(value, self.question.now_us)
            }
            FilterKind::Cohort { cohort, inside } => Ok(self.is_in_cohort(*cohort)? == *inside),
            FilterKind::Flag { flag, expected } => {
                let Some(outcome) = &self.outcomes[*flag] else {
                    // Not for this runtime or context, and so off.
                    return Ok(*expected == Expected::Off);
                };
                if outcome.failed {
                    return Err(Undecided);
                }
                Ok(match expected {
                    Expected::On => outcome.enabled,
                    Expected::Off => !outcome.enabled,
                    Expected::Variant(variant) => outcome.enabled && outcome.variant.as_ref() == Some(variant),
                    Expected::Impossible => false,
                })
            }
        }
    }

    fn is_in_cohort(&mut self, cohort: usize) -> Result<bool, Undecided> {
        if let Some(known) = self.cohorts[cohort] {
            return known;
        }
        let set = self.set;
        let found = self.node(&set.cohorts[cohort].root);
        self.cohorts[cohort] = Some(found);
        found
    }

    fn node(&mut self, node: &'a Node) -> Result<bool, Undecided> {
        let (nodes, decisive) = match node {
            Node::All(nodes) => (nodes, false),
            Node::Any(nodes) => (nodes, true),
            Node::Leaf { filter, negated } => return Ok(self.passes(filter)? != *negated),
        };
        let mut result = Ok(!decisive);
        for node in nodes {
            match self.node(node) {
                Ok(found) if found == decisive => return Ok(decisive),
                Ok(_) => {}
                Err(Undecided) => result = Err(Undecided),
            }
        }
        result
    }

    fn variant(&self, flag: &Flag, condition: &Condition) -> Option<Arc<str>> {
        if condition.variant.is_some() {
            return condition.variant.clone();
        }
        let id = self.hashed_id(flag, &condition.subject)?;
        let (place, whole) = match &flag.hashing {
            Hashing::Seed { salt } => (hash::seed_bucket(salt, id) as f64, 100.0),
            Hashing::PostHog | Hashing::PostHogSalted(_) => (hash::variant(&flag.key, id), 1.0),
        };
        let mut upper = 0.0;
        for variant in condition.variants.as_ref().unwrap_or(&flag.variants) {
            upper += variant.percent * whole / 100.0;
            if place < upper {
                return Some(Arc::clone(&variant.key));
            }
        }
        None
    }

    /// The id that is hashed; nothing if there is no such group or device.
    fn hashed_id(&self, flag: &Flag, subject: &Subject) -> Option<&'a str> {
        match subject {
            Subject::Person => self.person_id(flag),
            Subject::Group(group_type) => self.group_key(group_type),
        }
    }

    fn person_id(&self, flag: &Flag) -> Option<&'a str> {
        let question = self.question;
        if flag.buckets_devices {
            return question.device_id.filter(|id| !id.is_empty());
        }
        let kept = question.continuity_id.filter(|_| flag.keeps_experience);
        Some(kept.unwrap_or(question.distinct_id))
    }

    fn group_key(&self, group_type: &GroupType) -> Option<&'a str> {
        let name = self.group_type_name(group_type)?;
        self.question.groups.get(name).map(String::as_str)
    }

    fn properties(&self, subject: &Subject) -> Option<&'a Map<String, Value>> {
        match subject {
            Subject::Person => Some(self.question.person_properties),
            Subject::Group(group_type) => self.question.group_properties.get(self.group_type_name(group_type)?),
        }
    }

    fn group_type_name<'b>(&'b self, group_type: &'b GroupType) -> Option<&'b str> {
        self.set.group_type_name(group_type, self.question.group_types)
    }
}

fn is_in_rollout(flag: &Flag, condition: &Condition, id: &str) -> bool {
    let Some(percent) = condition.rollout_percent.filter(|percent| *percent < 100.0) else { return true };
    match &flag.hashing {
        Hashing::PostHog => hash::rollout(&flag.key, id) <= percent / 100.0,
        Hashing::PostHogSalted(salt) => hash::salted_rollout(&flag.key, id, salt) <= percent / 100.0,
        Hashing::Seed { salt } => (hash::seed_bucket(salt, id) as f64) < percent,
    }
}
