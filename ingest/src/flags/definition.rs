//! Reading one flag: what both forms share.

mod posthog;
mod seed;

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use super::FlagsError;
use super::filter::Names;
use super::flag::{Flag, Hashing, Runtime, Variant};
use super::place::{Object, Place};

const KEY_BYTES_MAX: usize = 400;
const CONDITIONS_MAX: usize = 1000;
/// Variants must sum to 100; thirds never do exactly.
const PERCENT_TOLERANCE: f64 = 1e-6;

/// What must be known of all flags before any is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) key: &'a str,
    pub(super) id: Option<i64>,
    pub(super) deleted: bool,
}

pub(super) fn head<'a>(object: &Object<'a, '_>) -> Result<Head<'a>, FlagsError> {
    let key = object.text("key")?.filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| object.place.refuse("a flag needs a key"))?;
    if key.len() > KEY_BYTES_MAX {
        return Err(object.place.field("key").refuse(format!("is longer than {KEY_BYTES_MAX} bytes")));
    }
    let id = object.integer("id")?;
    // Several SDKs hold ids in 32 bits.
    if let Some(id) = id.filter(|id| i32::try_from(*id).map_or(true, |id| id < 0)) {
        return Err(object.place.field("id").refuse(format!("{id} is not from 0 to {}", i32::MAX)));
    }
    Ok(Head { key, id, deleted: object.boolean("deleted")?.unwrap_or(false) })
}

/// Reads the flag with this id, in the form that its fields show.
pub(super) fn read(object: &Object<'_, '_>, id: i64, names: Names<'_>) -> Result<Flag, FlagsError> {
    match object.get("filters") {
        Some(filters) => posthog::read(object, filters, id, names),
        None => seed::read(object, id, names),
    }
}

/// What both forms say in the same words. The rest says that the flag is on for everybody.
fn common(object: &Object<'_, '_>, id: i64, hashing: Hashing) -> Result<Flag, FlagsError> {
    let key: Arc<str> = object.text("key")?.unwrap_or_default().into();
    let runtime = match object.text("evaluation_runtime")? {
        None => Runtime::All,
        Some(name) => Runtime::parse(name).ok_or_else(|| {
            object.place.field("evaluation_runtime").refuse(format!("{name:?} is not client, server or all"))
        })?,
    };
    let contexts = ["evaluation_contexts", "evaluation_tags", "evaluation_environments"];
    let contexts = contexts.into_iter().find(|name| object.get(name).is_some()).unwrap_or(contexts[0]);
    let buckets_devices = match object.text("bucketing_identifier")? {
        None | Some("distinct_id") => false,
        Some("device_id") => true,
        Some(other) => {
            let problem = format!("{other:?} is not distinct_id or device_id");
            return Err(object.place.field("bucketing_identifier").refuse(problem));
        }
    };
    Ok(Flag {
        id,
        key,
        version: version(object)?,
        name: object.text("name")?.unwrap_or_default().to_owned(),
        description: object.text("description")?.map(str::to_owned),
        active: object.boolean("active")?.unwrap_or(true),
        hashing,
        subject: super::flag::Subject::Person,
        buckets_devices,
        keeps_experience: object.boolean("ensure_experience_continuity")?.unwrap_or(false),
        runtime,
        contexts: object.texts(contexts)?,
        enrollment: None,
        holdout: None,
        conditions: Vec::new(),
        early_exit: false,
        variants: Vec::new(),
        payloads: Vec::new(),
    })
}

fn version(object: &Object<'_, '_>) -> Result<i64, FlagsError> {
    let version = object.integer("version")?.unwrap_or(1);
    if i32::try_from(version).map_or(true, |version| version < 0) {
        return Err(object.place.field("version").refuse(format!("{version} is not from 0 to {}", i32::MAX)));
    }
    Ok(version)
}

/// Which rule spreads ids; `default` if the flag does not say.
fn uses_seed_hash(object: &Object<'_, '_>, default: bool) -> Result<bool, FlagsError> {
    match object.text("bucketing")? {
        None => Ok(default),
        Some("seed") => Ok(true),
        Some("posthog") => Ok(false),
        Some(other) => Err(object.place.field("bucketing").refuse(format!("{other:?} is not posthog or seed"))),
    }
}

fn hashing(object: &Object<'_, '_>, seed_hash: bool) -> Result<Hashing, FlagsError> {
    let salt = object.text("salt")?.filter(|salt| !salt.is_empty());
    Ok(match (seed_hash, salt) {
        (true, salt) => Hashing::Seed { salt: salt.or(object.text("key")?).unwrap_or_default().into() },
        (false, Some(salt)) => Hashing::PostHogSalted(salt.into()),
        (false, None) => Hashing::PostHog,
    })
}

/// Variants, whose shares may not exceed the whole.
fn variants(items: &[Value], place: &Place<'_>) -> Result<Vec<Variant>, FlagsError> {
    let mut variants = Vec::with_capacity(items.len());
    let mut keys = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let place = place.index(index);
        let object = place.object(item)?;
        object.warn_unknown(&["key", "name", "rollout_percentage", "payload"]);
        let key = object.text("key")?.filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| place.refuse("a variant needs a key"))?;
        if !keys.insert(key) {
            return Err(place.field("key").refuse(format!("there are two variants {key:?}")));
        }
        let percent = object.percent("rollout_percentage")?.unwrap_or(0.0);
        variants.push(Variant { key: key.into(), percent });
    }
    let sum: f64 = variants.iter().map(|variant| variant.percent).sum();
    if sum > 100.0 + PERCENT_TOLERANCE {
        let sum = round(sum);
        return Err(place.refuse(format!("the variants sum to {sum} percent, more than 100")));
    }
    Ok(variants)
}

fn warn_if_under_100(variants: &[Variant], place: &Place<'_>) {
    let sum: f64 = variants.iter().map(|variant| variant.percent).sum();
    if !variants.is_empty() && sum < 100.0 - PERCENT_TOLERANCE {
        place.warn(format_args!("the variants sum to {} percent: the others get true, no variant", round(sum)));
    }
}

fn round(percent: f64) -> f64 {
    (percent * 1e6).round() / 1e6
}

/// The variant that a condition gives, if the flag has it.
fn variant_of_condition(object: &Object<'_, '_>, variants: &[Variant]) -> Result<Option<Arc<str>>, FlagsError> {
    let Some(wanted) = object.text("variant")?.filter(|variant| !variant.is_empty()) else { return Ok(None) };
    let found = variants.iter().find(|variant| &*variant.key == wanted);
    if found.is_none() {
        object.place.field("variant").warn(format_args!("there is no variant {wanted:?}; one is chosen by hash"));
    }
    Ok(found.map(|variant| Arc::clone(&variant.key)))
}

fn check_number_of_conditions(items: &[Value], place: &Place<'_>) -> Result<(), FlagsError> {
    if items.len() > CONDITIONS_MAX {
        return Err(place.refuse(format!("{} conditions, more than {CONDITIONS_MAX}", items.len())));
    }
    Ok(())
}

/// A payload as JSON text. Text that is JSON already stays, as PostHog stores payloads so.
fn payload_text(value: &Value) -> Option<Arc<str>> {
    match value {
        Value::Null => None,
        Value::String(text) if serde_json::from_str::<&RawValue>(text).is_ok() => Some(text.as_str().into()),
        other => Some(other.to_string().into()),
    }
}
