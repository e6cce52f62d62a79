//! What the flags are for somebody, and the JSON that SDKs of each generation read.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

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

    fn description(self, condition_index: Option<usize>) -> Cow<'static, str> {
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
                return format!("Matched condition set {}", condition_index.unwrap_or_default() + 1).into();
            }
            Reason::HoldoutConditionValue => "Holdout condition value",
            Reason::SuperConditionValue => "Super condition value",
        };
        text.into()
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
    fn value(&self) -> FlagValue<'_> {
        self.variant().map_or(FlagValue::Enabled(self.outcome.enabled), FlagValue::Variant)
    }

    fn details(&self) -> Details<'_> {
        let Outcome { enabled, reason, condition_index, failed, .. } = self.outcome;
        Details {
            key: self.key(),
            enabled,
            variant: self.variant(),
            reason: ReasonText {
                code: reason.code(),
                condition_index,
                description: reason.description(condition_index),
            },
            metadata: Metadata {
                id: self.flag.id,
                version: self.flag.version,
                description: self.flag.description.as_deref(),
                payload: self.payload(),
            },
            failed: failed.then_some(true),
        }
    }
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum FlagValue<'a> {
    Enabled(bool),
    Variant(&'a str),
}

/// All about a flag. Written as text at once: values of JSON in between cost more than the evaluation.
#[derive(serde::Serialize)]
struct Details<'a> {
    key: &'a str,
    enabled: bool,
    variant: Option<&'a str>,
    reason: ReasonText,
    metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<bool>,
}

#[derive(serde::Serialize)]
struct ReasonText {
    code: &'static str,
    condition_index: Option<usize>,
    description: Cow<'static, str>,
}

#[derive(serde::Serialize)]
struct Metadata<'a> {
    id: i64,
    version: i64,
    description: Option<&'a str>,
    payload: Option<&'a str>,
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
    let body = Body { shape, answers, request_id, evaluated_at_ms, config: config.unwrap_or_default() };
    serde_json::to_string(&body).expect("texts, numbers and maps by text are JSON")
}

struct Body<'a> {
    shape: FlagsShape,
    answers: &'a Answers,
    request_id: &'a str,
    evaluated_at_ms: i64,
    /// Names no field of ours.
    config: Map<String, Value>,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let answers = self.answers;
        let mut body = serializer.serialize_map(None)?;
        for (field, value) in &self.config {
            body.serialize_entry(field, value)?;
        }
        match self.shape {
            FlagsShape::List => {
                let keys: Vec<&str> = answers.enabled().map(Answer::key).collect();
                body.serialize_entry("featureFlags", &keys)?;
            }
            FlagsShape::EnabledValues => {
                body.serialize_entry("featureFlags", &ByKey(|| answers.enabled().map(|a| (a.key(), a.value()))))?;
            }
            FlagsShape::Values | FlagsShape::Flags => {
                if self.shape == FlagsShape::Flags {
                    body.serialize_entry("flags", &ByKey(|| answers.iter().map(|a| (a.key(), a.details()))))?;
                }
                body.serialize_entry("featureFlags", &ByKey(|| answers.iter().map(|a| (a.key(), a.value()))))?;
                let payloads = || answers.iter().filter_map(|a| Some((a.key(), a.payload()?)));
                body.serialize_entry("featureFlagPayloads", &ByKey(payloads))?;
            }
        }
        body.serialize_entry("errorsWhileComputingFlags", &answers.has_failed())?;
        body.serialize_entry("requestId", self.request_id)?;
        if self.shape == FlagsShape::Flags {
            body.serialize_entry("evaluatedAt", &self.evaluated_at_ms)?;
        }
        body.end()
    }
}

/// A map of what the function gives.
struct ByKey<F>(F);

impl<'a, F: Fn() -> I, I: Iterator<Item = (&'a str, T)>, T: Serialize> Serialize for ByKey<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}
