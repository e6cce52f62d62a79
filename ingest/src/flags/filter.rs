//! Reading one property of a condition or cohort.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::FlagsError;
use super::flag::{Expected, Filter, FilterKind, GroupType, Subject};
use super::matcher::{Dialect, Matcher, Operator};
use super::place::{Object, Place};
use super::value::text_of;

const FIELDS: &[&str] = &[
    "key",
    "value",
    "operator",
    "op",
    "type",
    "group_type",
    "group_type_index",
    "negation",
    "dependency_chain",
    "label",
    "cohort_name",
    "group_key_names",
    "explicit_datetime",
];

/// What conditions can name, and how their values compare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) flags: &'a HashMap<String, usize>,
    pub(super) cohorts: &'a HashMap<String, usize>,
    pub(super) matching_version: i64,
}

/// Reads a property of a condition about `subject`.
pub(super) fn read(
    value: &Value,
    place: &Place<'_>,
    dialect: Dialect,
    subject: &Subject,
    names: Names<'_>,
) -> Result<Filter, FlagsError> {
    let object = place.object(value)?;
    object.warn_unknown(FIELDS);
    match object.text("type")? {
        Some("cohort") => cohort(&object, subject, names),
        Some("flag") => flag(&object, names),
        None => property(&object, dialect, subject, None, names),
        Some("person") => property(&object, dialect, subject, Some(Subject::Person), names),
        Some("group") => {
            let own = group_type(&object)?.map(Subject::Group);
            let inherited = matches!(subject, Subject::Group(_)).then(|| subject.clone());
            let Some(group) = own.or(inherited) else {
                return Err(place.refuse("a property of a group needs group_type_index or group_type"));
            };
            property(&object, dialect, subject, Some(group), names)
        }
        // What PostHog's export may have, and nothing here knows of anybody.
        Some(unknown @ ("person_metadata" | "event")) => fails(&object, unknown, subject),
        Some(other) => Err(place
            .field("type")
            .refuse(format!("{other:?} is not supported; there are person, group, cohort, flag"))),
    }
}

/// A condition that is never met, and the flag with it.
fn fails(object: &Object<'_, '_>, kind: &str, subject: &Subject) -> Result<Filter, FlagsError> {
    object
        .place
        .field("type")
        .warn(format_args!("{kind:?} is not known here: the condition fails, and the flag with it"));
    let key = object.text("key")?.unwrap_or_default();
    Ok(Filter {
        document: object.map.clone(),
        sdks_agree: false,
        sdks_decide: false,
        kind: FilterKind::Property { subject: subject.clone(), key: key.into(), matcher: Matcher::unusable() },
    })
}

/// `group_type_index`, or `group_type` as the seed has it.
pub(super) fn group_type(object: &Object<'_, '_>) -> Result<Option<GroupType>, FlagsError> {
    if let Some(index) = index(object, "group_type_index")? {
        return Ok(Some(GroupType::Index(index)));
    }
    Ok(object.text("group_type")?.map(|name| GroupType::Name(name.into())))
}

/// An index into the five group types of a project.
pub(super) fn index(object: &Object<'_, '_>, name: &str) -> Result<Option<usize>, FlagsError> {
    let Some(number) = object.integer(name)? else { return Ok(None) };
    let index = usize::try_from(number).ok().filter(|index| *index < super::GROUP_TYPES_MAX);
    let refusal = || object.place.field(name).refuse(format!("{number} is no group type; they are 0 to 4"));
    index.map(Some).ok_or_else(refusal)
}

fn property(
    object: &Object<'_, '_>,
    dialect: Dialect,
    subject: &Subject,
    explicit: Option<Subject>,
    names: Names<'_>,
) -> Result<Filter, FlagsError> {
    let place = object.place;
    let key = object.text("key")?.filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| place.refuse("a property needs a key"))?;
    let operator_field = if object.get("operator").is_some() { "operator" } else { "op" };
    let operator_name = object.text(operator_field)?.unwrap_or("eq");
    let operator = dialect.operator(operator_name).map_err(|problem| place.field(operator_field).refuse(problem))?;
    let value = object.map.get("value").unwrap_or(&Value::Null);
    let matcher = Matcher::new(operator, value, names.matching_version)
        .map_err(|problem| place.field("value").refuse(problem))?;
    if matcher.is_unusable() {
        place
            .field("value")
            .warn(format_args!("{value} is of no use to {operator_name}: the condition fails, and the flag with it"));
    }
    let own_subject = explicit.unwrap_or_else(|| subject.clone());
    Ok(Filter {
        document: document(key, value, operator, &own_subject),
        // SDKs look in the properties that the condition is about, whatever the type.
        sdks_agree: own_subject == *subject && operator.posthog_name().is_some() && !matcher.is_unusable(),
        sdks_decide: operator.is_known_to_sdks(),
        kind: FilterKind::Property { subject: own_subject, key: key.into(), matcher },
    })
}

fn document(key: &str, value: &Value, operator: Operator, subject: &Subject) -> Map<String, Value> {
    let mut document = Map::new();
    document.insert("key".to_owned(), key.into());
    document.insert("value".to_owned(), value.clone());
    document.insert("operator".to_owned(), operator.posthog_name().into());
    match subject {
        Subject::Person => {
            document.insert("type".to_owned(), "person".into());
        }
        Subject::Group(group) => {
            document.insert("type".to_owned(), "group".into());
            if let GroupType::Index(index) = group {
                document.insert("group_type_index".to_owned(), (*index).into());
            }
        }
    }
    document
}

fn cohort(object: &Object<'_, '_>, subject: &Subject, names: Names<'_>) -> Result<Filter, FlagsError> {
    let place = object.place;
    let value = object.get("value").ok_or_else(|| place.refuse("a cohort property needs the cohort's id as value"))?;
    let id = text_of(value);
    let cohort = names.cohorts.get(id.as_ref()).copied();
    let cohort = cohort.ok_or_else(|| place.field("value").refuse(format!("there is no cohort {id}")))?;
    let inside = match object.text("operator")? {
        None | Some("in" | "exact") => true,
        Some("not_in") => false,
        Some(other) => {
            let problem = format!("unknown operator {other:?} for a cohort; there are in, not_in");
            return Err(place.field("operator").refuse(problem));
        }
    };
    let document = json!({
        "key": "id", "value": value, "operator": if inside { "in" } else { "not_in" }, "type": "cohort",
    });
    Ok(Filter {
        kind: FilterKind::Cohort { cohort, inside },
        document: fields(document),
        // Cohorts are of people; SDKs look in the properties that the condition is about.
        sdks_agree: *subject == Subject::Person,
        sdks_decide: true,
    })
}

fn flag(object: &Object<'_, '_>, names: Names<'_>) -> Result<Filter, FlagsError> {
    let place = object.place;
    let key = object.get("key").ok_or_else(|| place.refuse("a flag property needs the id or key of a flag"))?;
    let key = text_of(key);
    let flag = names.flags.get(key.as_ref()).copied();
    let flag = flag.ok_or_else(|| place.field("key").refuse(format!("there is no flag {key:?} to depend on")))?;
    match object.text("operator")? {
        Some("flag_evaluates_to") => {}
        None | Some("exact") => place.warn("the operator of a flag property is taken for flag_evaluates_to"),
        Some(other) => {
            let problem = format!("unknown operator {other:?} for a flag; there is flag_evaluates_to");
            return Err(place.field("operator").refuse(problem));
        }
    }
    let value = object.map.get("value").unwrap_or(&Value::Null);
    let expected = match value {
        Value::Bool(true) => Expected::On,
        Value::Bool(false) => Expected::Off,
        Value::String(variant) => Expected::Variant(variant.as_str().into()),
        other => {
            place.field("value").warn(format_args!("no flag evaluates to {other}: the condition never matches"));
            Expected::Impossible
        }
    };
    // Key and chain are written with the document, when all flags are known.
    let document = json!({ "key": key, "value": value, "operator": "flag_evaluates_to", "type": "flag" });
    Ok(Filter {
        kind: FilterKind::Flag { flag, expected },
        document: fields(document),
        sdks_agree: true,
        sdks_decide: true,
    })
}

fn fields(document: Value) -> Map<String, Value> {
    match document {
        Value::Object(fields) => fields,
        _ => unreachable!("the literal is an object"),
    }
}
