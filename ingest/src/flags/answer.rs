//! What the flags are for somebody, and the JSON that SDKs of each generation read.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::flag::Flag;

/// Why a flag is what it is. Of several sets of conditions the one with the greatest reason is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    FlagDisabled,
    EvaluationError,
    NoGroupType,
    NoConditionMatch,
    /// Sets about groups were left out, for want of a group.
    NoConditionMatchGroupsSkipped,
    OutOfRolloutBound,
    ConditionMatch,
    HoldoutConditionValue,
    SuperConditionValue,
}

impl Reason {
    pub fn code(self) -> &'static str {
        match self {
            Reason::FlagDisabled => "flag_disabled",
            Reason::EvaluationError => "evaluation_error",
            Reason::NoGroupType => "no_group_type",
            Reason::NoConditionMatch | Reason::NoConditionMatchGroupsSkipped => "no_condition_match",
            Reason::OutOfRolloutBound => "out_of_rollout_bound",
            Reason::ConditionMatch => "condition_match",
            Reason::HoldoutConditionValue => "holdout_condition_value",
            Reason::SuperConditionValue => "super_condition_value",
        }
    }

    fn description(self, condition_index: Option<usize>) -> String {
        let text = match self {
            Reason::FlagDisabled => "Feature flag is disabled",
            Reason::EvaluationError => "A condition of the flag cannot be evaluated",
            Reason::NoGroupType => "No group type",
            Reason::NoConditionMatch => "No matching condition set",
            Reason::NoConditionMatchGroupsSkipped => {
                "No matching condition set (group conditions were not evaluated because no group type was provided)"
            }
            Reason::OutOfRolloutBound => "Out of rollout bound",
            Reason::ConditionMatch => {
                return format!("Matched condition set {}", condition_index.unwrap_or_default() + 1);
            }
            Reason::HoldoutConditionValue => "Holdout condition value",
            Reason::SuperConditionValue => "Super condition value",
        };
        text.to_owned()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) enabled: bool,
    pub(super) variant: Option<Arc<str>>,
    pub(super) reason: Reason,
    pub(super) condition_index: Option<usize>,
    pub(super) failed: bool,
}

impl Outcome {
    pub(super) fn on(variant: Option<Arc<str>>, reason: Reason, condition_index: Option<usize>) -> Outcome {
        Outcome { enabled: true, variant, reason, condition_index, failed: false }
    }

    pub(super) fn off(reason: Reason, condition_index: Option<usize>) -> Outcome {
        Outcome { enabled: false, variant: None, reason, condition_index, failed: false }
    }

    pub(super) fn failed() -> Outcome {
        Outcome { failed: true, ..Outcome::off(Reason::EvaluationError, None) }
    }
}

/// What one flag is.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) flag: Arc<Flag>,
    pub(super) outcome: Outcome,
}

impl Answer {
    pub fn key(&self) -> &str {
        &self.flag.key
    }

    pub fn is_enabled(&self) -> bool {
        self.outcome.enabled
    }

    pub fn variant(&self) -> Option<&str> {
        self.outcome.variant.as_deref()
    }

    pub fn reason(&self) -> Reason {
        self.outcome.reason
    }

    /// The set of conditions that the reason is about, from 0.
    pub fn condition_index(&self) -> Option<usize> {
        self.outcome.condition_index
    }

    /// The flag could not be evaluated, and is off for that.
    pub fn has_failed(&self) -> bool {
        self.outcome.failed
    }

    /// JSON text.
    pub fn payload(&self) -> Option<&str> {
        if !self.outcome.enabled {
            return None;
        }
        self.flag.payload(self.variant()).map(AsRef::as_ref)
    }

    /// The variant, or whether the flag is on.
    fn value(&self) -> Value {
        self.variant().map_or(Value::Bool(self.outcome.enabled), Value::from)
    }

    fn details(&self) -> Value {
        let Outcome { enabled, reason, condition_index, failed, .. } = self.outcome;
        let mut details = json!({
            "key": self.key(),
            "enabled": enabled,
            "variant": self.variant(),
            "reason": {
                "code": reason.code(),
                "condition_index": condition_index,
                "description": reason.description(condition_index),
            },
            "metadata": {
                "id": self.flag.id,
                "version": self.flag.version,
                "description": self.flag.description,
                "payload": self.payload(),
            },
        });
        if failed {
            details["failed"] = Value::Bool(true);
        }
        details
    }
}

/// What the flags that were asked for are, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Answers(pub(super) Vec<Answer>);

impl Answers {
    /// Of a request that wants no flags.
    pub fn none() -> Answers {
        Answers::default()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Answer> {
        self.0.iter()
    }

    pub fn get(&self, key: &str) -> Option<&Answer> {
        self.0.iter().find(|answer| answer.key() == key)
    }

    pub fn has_failed(&self) -> bool {
        self.0.iter().any(Answer::has_failed)
    }

    fn map(&self, of: impl Fn(&Answer) -> Option<Value>) -> Value {
        let members = self.0.iter().filter_map(|answer| Some((answer.key().to_owned(), of(answer)?)));
        Value::Object(members.collect())
    }

    fn enabled(&self) -> impl Iterator<Item = &Answer> {
        self.0.iter().filter(|answer| answer.outcome.enabled)
    }
}

/// Shape of a `/flags` or `/decide` answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagsShape {
    /// `/decide` without `v`, or `v=1`: a list of the keys of flags that are on.
    List,
    /// `/decide?v=2`: a map of the values of flags that are on.
    EnabledValues,
    /// `/decide?v=3`, `/flags?v=1`: a map of all values, and one of payloads.
    Values,
    /// `/decide?v=4`, `/flags` from `v=2`: all about each flag, and the maps of the earlier shape.
    Flags,
}

impl FlagsShape {
    /// `version` is the query's `v`.
    pub fn of_decide(version: Option<&str>) -> FlagsShape {
        match version {
            None | Some("" | "1") => FlagsShape::List,
            Some("2") => FlagsShape::EnabledValues,
            Some("3") => FlagsShape::Values,
            Some(_) => FlagsShape::Flags,
        }
    }

    /// `version` is the query's `v`.
    pub fn of_flags(version: Option<&str>) -> FlagsShape {
        if version == Some("1") { FlagsShape::Values } else { FlagsShape::Flags }
    }
}

/// Body of `/flags` and `/decide`. `config` is the remote configuration, whose fields go first.
///
/// There is never a `quotaLimited`: its mere presence breaks some SDKs and mutes others.
pub fn body(
    shape: FlagsShape,
    answers: &Answers,
    request_id: &str,
    evaluated_at_ms: i64,
    config: Option<Map<String, Value>>,
) -> String {
    let mut body = config.unwrap_or_default();
    let mut add = |field: &str, value: Value| body.insert(field.to_owned(), value);
    match shape {
        FlagsShape::List => {
            add("featureFlags", answers.enabled().map(|answer| Value::from(answer.key())).collect());
        }
        FlagsShape::EnabledValues => {
            add("featureFlags", answers.map(|answer| answer.outcome.enabled.then(|| answer.value())));
        }
        FlagsShape::Values | FlagsShape::Flags => {
            if shape == FlagsShape::Flags {
                add("flags", answers.map(|answer| Some(answer.details())));
            }
            add("featureFlags", answers.map(|answer| Some(answer.value())));
            add("featureFlagPayloads", answers.map(|answer| answer.payload().map(Value::from)));
        }
    }
    add("errorsWhileComputingFlags", Value::Bool(answers.has_failed()));
    add("requestId", request_id.into());
    if shape == FlagsShape::Flags {
        add("evaluatedAt", evaluated_at_ms.into());
    }
    Value::Object(body).to_string()
}
