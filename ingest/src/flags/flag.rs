//! A flag, read and checked: what evaluation needs, nothing of the text.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::matcher::Matcher;

/// Whom a flag, or a set of its conditions, is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Person,
    Group(GroupType),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GroupType {
    /// Into the group types of the project.
    Index(usize),
    Name(Arc<str>),
}

/// How ids are spread over rollout and variants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hashing {
    PostHog,
    /// Upstream's variation: the salt is appended for the rollout alone.
    PostHogSalted(Arc<str>),
    Seed {
        salt: Arc<str>,
    },
}

/// Where a flag may be evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runtime {
    Client,
    Server,
    #[default]
    All,
}

impl Runtime {
    pub(super) fn parse(text: &str) -> Option<Runtime> {
        match text {
            "client" => Some(Runtime::Client),
            "server" => Some(Runtime::Server),
            "all" => Some(Runtime::All),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Runtime::Client => "client",
            Runtime::Server => "server",
            Runtime::All => "all",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Variant {
    pub(super) key: Arc<str>,
    pub(super) percent: f64,
}

/// Properties that must all pass, and the share of those who pass that is let in.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) subject: Subject,
    pub(super) filters: Vec<Filter>,
    /// Missing: everybody.
    pub(super) rollout_percent: Option<f64>,
    /// Given to whoever matches, instead of one by hash.
    pub(super) variant: Option<Arc<str>>,
    /// Instead of the flag's: the seed's form only.
    pub(super) variants: Option<Vec<Variant>>,
}

#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) kind: FilterKind,
    /// As SDKs are told.
    pub(super) document: Map<String, Value>,
    /// Whether SDKs would find the same, if they find anything.
    pub(super) sdks_agree: bool,
    /// Whether SDKs know the operator; if not, they ask the server when they come to it.
    pub(super) sdks_decide: bool,
}

#[derive(Clone, Debug)]
pub(super) enum FilterKind {
    Property { subject: Subject, key: Box<str>, matcher: Matcher },
    Cohort { cohort: usize, inside: bool },
    Flag { flag: usize, expected: Expected },
}

/// What another flag must evaluate to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// True or any variant.
    On,
    Off,
    Variant(Arc<str>),
    /// A value of a type that no flag has.
    Impossible,
}

/// Early access: whoever answered is in or out, whatever the conditions say.
#[derive(Clone, Debug)]
pub(super) enum Enrollment {
    /// By this person property.
    Property(Box<str>),
    /// By a condition, for whoever has any of its properties.
    Condition(Condition),
}

#[derive(Clone, Debug)]
pub(super) struct Holdout {
    pub(super) variant: Arc<str>,
    /// For documents; missing if the variant has no number.
    pub(super) id: Option<i64>,
    pub(super) percent: f64,
}

/// JSON texts by variant, or by `true`; of several for one the first counts.
pub(super) type Payloads = Vec<(Arc<str>, Arc<str>)>;

#[derive(Clone, Debug)]
pub(super) struct Flag {
    pub(super) id: i64,
    pub(super) key: Arc<str>,
    pub(super) version: i64,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) active: bool,
    pub(super) hashing: Hashing,
    pub(super) subject: Subject,
    pub(super) buckets_devices: bool,
    pub(super) keeps_experience: bool,
    pub(super) runtime: Runtime,
    pub(super) contexts: Vec<Box<str>>,
    pub(super) enrollment: Option<Enrollment>,
    pub(super) holdout: Option<Holdout>,
    pub(super) conditions: Vec<Condition>,
    pub(super) early_exit: bool,
    pub(super) variants: Vec<Variant>,
    pub(super) payloads: Payloads,
}

impl Flag {
    pub(super) fn payload(&self, variant: Option<&str>) -> Option<&Arc<str>> {
        let wanted = variant.unwrap_or("true");
        self.payloads.iter().find(|(key, _)| &**key == wanted).map(|(_, payload)| payload)
    }

    /// All conditions that look at properties, that of the enrollment included.
    pub(super) fn all_conditions(&self) -> impl Iterator<Item = &Condition> {
        let enrollment = match &self.enrollment {
            Some(Enrollment::Condition(condition)) => Some(condition),
            _ => None,
        };
        enrollment.into_iter().chain(&self.conditions)
    }

    /// The flags that its conditions ask for, with repeats.
    pub(super) fn dependencies(&self) -> impl Iterator<Item = usize> {
        self.all_conditions().flat_map(|condition| &condition.filters).filter_map(|filter| match filter.kind {
            FilterKind::Flag { flag, .. } => Some(flag),
            _ => None,
        })
    }
}
