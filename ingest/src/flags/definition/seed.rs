//! Flags in the short form: `{"key": "beta", "rollout_percentage": 50}`.

use serde_json::Value;

use super::super::FlagsError;
use super::super::filter::{self, Names};
use super::super::flag::{Condition, Flag, GroupType, Payloads, Subject, Variant};
use super::super::matcher::Dialect;
use super::super::place::Object;

const FIELDS: &[&str] = &[
    "id",
    "key",
    "name",
    "description",
    "version",
    "active",
    "deleted",
    "type",
    "rollout_percentage",
    "variants",
    "payload",
    "variant_payloads",
    "conditions",
    "group_type",
    "salt",
    "bucketing",
    "bucketing_identifier",
    "ensure_experience_continuity",
    "early_exit",
    "evaluation_runtime",
    "evaluation_contexts",
    "evaluation_tags",
    "evaluation_environments",
];

const CONDITION_FIELDS: &[&str] = &["properties", "rollout_percentage", "variants", "variant"];

pub(super) fn read(object: &Object<'_, '_>, id: i64, names: Names<'_>) -> Result<Flag, FlagsError> {
    object.warn_unknown(FIELDS);
    let seed_hash = super::uses_seed_hash(object, true)?;
    let dialect = if seed_hash { Dialect::Seed } else { Dialect::SeedAsPostHog };
    let mut flag = super::common(object, id, super::hashing(object, seed_hash)?)?;
    flag.subject = match object.text("group_type")?.filter(|name| !name.is_empty()) {
        Some(name) => Subject::Group(GroupType::Name(name.into())),
        None => Subject::Person,
    };
    flag.early_exit = object.boolean("early_exit")?.unwrap_or(false);
    flag.variants = super::variants(object.list("variants")?, &object.place.field("variants"))?;
    check_type(object, &flag.variants)?;
    flag.conditions = conditions(object, &flag, dialect, names)?;
    flag.payloads = payloads(object)?;
    Ok(flag)
}

fn check_type(object: &Object<'_, '_>, variants: &[Variant]) -> Result<(), FlagsError> {
    let place = object.place.field("type");
    match object.text("type")? {
        None => {}
        Some("boolean") if variants.is_empty() => {}
        Some("boolean") => place.warn("the flag has variants: it is taken for multivariate"),
        Some("multivariate") if !variants.is_empty() || !object.list("conditions")?.is_empty() => {}
        Some("multivariate") => place.warn("the flag has no variants: it evaluates to true or false"),
        Some(other) => return Err(place.refuse(format!("{other:?} is not boolean or multivariate"))),
    }
    Ok(())
}

/// A flag without conditions has one that asks for nothing.
fn conditions(
    object: &Object<'_, '_>,
    flag: &Flag,
    dialect: Dialect,
    names: Names<'_>,
) -> Result<Vec<Condition>, FlagsError> {
    let rollout_percent = object.percent("rollout_percentage")?;
    let items = object.list("conditions")?;
    if items.is_empty() {
        let subject = flag.subject.clone();
        return Ok(vec![Condition { subject, filters: Vec::new(), rollout_percent, variant: None, variants: None }]);
    }
    let place = object.place.field("conditions");
    super::check_number_of_conditions(items, &place)?;
    let mut conditions = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = place.index(index);
        let mut condition = condition(&place.object(item)?, flag, dialect, names)?;
        condition.rollout_percent = condition.rollout_percent.or(rollout_percent);
        conditions.push(condition);
    }
    Ok(conditions)
}

fn condition(
    object: &Object<'_, '_>,
    flag: &Flag,
    dialect: Dialect,
    names: Names<'_>,
) -> Result<Condition, FlagsError> {
    object.warn_unknown(CONDITION_FIELDS);
    let place = object.place.field("properties");
    let mut filters = Vec::new();
    for (index, item) in object.list("properties")?.iter().enumerate() {
        filters.push(filter::read(item, &place.index(index), dialect, &flag.subject, names)?);
    }
    let own_variants = super::variants(object.list("variants")?, &object.place.field("variants"))?;
    let variants = if own_variants.is_empty() { &flag.variants } else { &own_variants };
    Ok(Condition {
        subject: flag.subject.clone(),
        filters,
        rollout_percent: object.percent("rollout_percentage")?,
        variant: super::variant_of_condition(object, variants)?,
        variants: (!own_variants.is_empty()).then_some(own_variants),
    })
}

/// A variant's own payload goes before `variant_payloads`.
fn payloads(object: &Object<'_, '_>) -> Result<Payloads, FlagsError> {
    let mut payloads = Vec::new();
    let mut add = |variant: &str, payload: &Value| {
        if let Some(payload) = super::payload_text(payload) {
            payloads.push((variant.into(), payload));
        }
    };
    add("true", object.get("payload").unwrap_or(&Value::Null));
    for place in variant_lists(object)? {
        for variant in place {
            if let (Some(key), Some(payload)) = (variant.get("key").and_then(Value::as_str), variant.get("payload")) {
                add(key, payload);
            }
        }
    }
    for (variant, payload) in object.entries("variant_payloads")?.into_iter().flatten() {
        add(variant, payload);
    }
    Ok(payloads)
}

/// The variants of the flag, and those of its conditions.
fn variant_lists<'a>(object: &Object<'a, '_>) -> Result<Vec<&'a [Value]>, FlagsError> {
    let mut lists = vec![object.list("variants")?];
    for condition in object.list("conditions")? {
        if let Some(Value::Array(variants)) = condition.get("variants") {
            lists.push(variants);
        }
    }
    Ok(lists)
}
