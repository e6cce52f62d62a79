//! The operators of both forms, and the names they go by.

use super::{Order, Part};

/// Which form a definition is written in, and so what its operators mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Dialect {
    PostHog,
    /// Values are compared across types, and `eq`, `in` and `contains` exist.
    Seed,
    /// The seed's names with PostHog's meaning: for flags of the seed's form with PostHog's buckets.
    SeedAsPostHog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Operator {
    Exact,
    IsNot,
    IsSet,
    IsNotSet,
    Text(Part, bool),
    AnyText(bool),
    Regex,
    NotRegex,
    Number(Order),
    Between,
    NotBetween,
    Date(Order),
    Version(Order),
    Tilde,
    Caret,
    Wildcard,
    SeedEqual,
    SeedIsNot,
    SeedIn,
    SeedNotIn,
    SeedContains,
    SeedNotContains,
    SeedNumber(Order),
}

/// Operators of PostHog that test a property. Negated texts are marked by `true`.
const POSTHOG: [(&str, Operator); 36] = [
    ("exact", Operator::Exact),
    ("is_not", Operator::IsNot),
    ("is_set", Operator::IsSet),
    ("is_not_set", Operator::IsNotSet),
    ("icontains", Operator::Text(Part::Anywhere, false)),
    ("not_icontains", Operator::Text(Part::Anywhere, true)),
    ("icontains_multi", Operator::AnyText(false)),
    ("not_icontains_multi", Operator::AnyText(true)),
    ("starts_with", Operator::Text(Part::Start, false)),
    ("not_starts_with", Operator::Text(Part::Start, true)),
    ("ends_with", Operator::Text(Part::End, false)),
    ("not_ends_with", Operator::Text(Part::End, true)),
    ("regex", Operator::Regex),
    ("not_regex", Operator::NotRegex),
    ("gt", Operator::Number(Order::Greater)),
    ("gte", Operator::Number(Order::GreaterOrEqual)),
    ("lt", Operator::Number(Order::Less)),
    ("lte", Operator::Number(Order::LessOrEqual)),
    ("min", Operator::Number(Order::GreaterOrEqual)),
    ("max", Operator::Number(Order::LessOrEqual)),
    ("between", Operator::Between),
    ("not_between", Operator::NotBetween),
    ("is_date_exact", Operator::Date(Order::Equal)),
    ("is_date_before", Operator::Date(Order::Less)),
    ("is_date_after", Operator::Date(Order::Greater)),
    ("semver_eq", Operator::Version(Order::Equal)),
    ("semver_neq", Operator::Version(Order::NotEqual)),
    ("semver_gt", Operator::Version(Order::Greater)),
    ("semver_gte", Operator::Version(Order::GreaterOrEqual)),
    ("semver_lt", Operator::Version(Order::Less)),
    ("semver_lte", Operator::Version(Order::LessOrEqual)),
    ("semver_tilde", Operator::Tilde),
    ("semver_caret", Operator::Caret),
    ("semver_wildcard", Operator::Wildcard),
    // Names of earlier releases and of upstream.
    ("is", Operator::Exact),
    ("eq", Operator::Exact),
];

/// What the seed's form adds or means otherwise.
const SEED: [(&str, Operator); 12] = [
    ("eq", Operator::SeedEqual),
    ("is", Operator::SeedEqual),
    ("exact", Operator::SeedEqual),
    ("is_not", Operator::SeedIsNot),
    ("in", Operator::SeedIn),
    ("not_in", Operator::SeedNotIn),
    ("contains", Operator::SeedContains),
    ("not_contains", Operator::SeedNotContains),
    ("gt", Operator::SeedNumber(Order::Greater)),
    ("gte", Operator::SeedNumber(Order::GreaterOrEqual)),
    ("lt", Operator::SeedNumber(Order::Less)),
    ("lte", Operator::SeedNumber(Order::LessOrEqual)),
];

/// What the seed's form adds, in PostHog's meaning.
const SEED_AS_POSTHOG: [(&str, Operator); 4] = [
    ("in", Operator::Exact),
    ("not_in", Operator::IsNot),
    ("contains", Operator::SeedContains),
    ("not_contains", Operator::SeedNotContains),
];

impl Dialect {
    fn own(self) -> &'static [(&'static str, Operator)] {
        match self {
            Dialect::PostHog => &[],
            Dialect::Seed => &SEED,
            Dialect::SeedAsPostHog => &SEED_AS_POSTHOG,
        }
    }

    /// The operator of this name.
    ///
    /// # Errors
    /// What is wrong with the name, and which there are.
    pub(in super::super) fn operator(self, name: &str) -> Result<Operator, String> {
        let mut all = self.own().iter().chain(&POSTHOG);
        if let Some((_, operator)) = all.find(|(known, _)| *known == name) {
            return Ok(*operator);
        }
        let mut names: Vec<&str> = self.own().iter().chain(&POSTHOG).map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        Err(format!("unknown operator {name:?}; there are {}", names.join(", ")))
    }
}

impl Operator {
    pub(super) fn is_negated(self) -> bool {
        matches!(
            self,
            Operator::IsNot
                | Operator::IsNotSet
                | Operator::Text(_, true)
                | Operator::AnyText(true)
                | Operator::NotRegex
                | Operator::NotBetween
                | Operator::SeedIsNot
                | Operator::SeedNotIn
                | Operator::SeedNotContains
        )
    }

    /// The name in documents for SDKs; nothing for what PostHog lacks.
    pub(in super::super) fn posthog_name(self) -> Option<&'static str> {
        POSTHOG.iter().find(|(_, operator)| *operator == self).map(|(name, _)| *name)
    }

    /// Whether the SDKs that evaluate locally know it; for others they ask the server.
    pub(in super::super) fn is_known_to_sdks(self) -> bool {
        !matches!(self, Operator::AnyText(_) | Operator::Between | Operator::NotBetween | Operator::Date(Order::Equal))
            && self.posthog_name().is_some()
    }
}
