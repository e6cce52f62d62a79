//! Flags as PostHog's API returns them.

use serde_json::Value;

use super::super::FlagsError;
use super::super::filter::{self, Names};
use super::super::flag::{Condition, Enrollment, Flag, GroupType, Holdout, Subject, Variant};
use super::super::matcher::Dialect;
use super::super::place::{Object, Place};

/// What is read, and what PostHog's API adds that says nothing about evaluation.
const FIELDS: &[&str] = &[
    "id",
    "key",
    "name",
    "description",
    "version",
    "active",
    "deleted",
    "filters",
    "ensure_experience_continuity",
    "bucketing",
    "bucketing_identifier",
    "salt",
    "evaluation_runtime",
    "evaluation_contexts",
    "evaluation_tags",
    "evaluation_environments",
    "type",
    "team_id",
    "project_id",
    "rollout_percentage",
    "is_simple_flag",
    "has_experiment",
    "has_encrypted_payloads",
    "is_remote_configuration",
    "is_used_in_replay_settings",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
    "last_modified_by",
    "last_called_at",
    "last_calculated_at",
    "experiment_set",
    "experiment_set_metadata",
    "features",
    "surveys",
    "status",
    "tags",
    "can_edit",
    "user_access_level",
    "creation_context",
    "usage_dashboard",
    "usage_dashboard_has_enriched_insights",
    "analytics_dashboards",
    "has_enriched_analytics",
    "rollback_conditions",
    "performed_rollback",
    "should_create_usage_dashboard",
    "replay_settings",
    "session_recording_settings",
    "_create_in_folder",
    "_should_create_usage_dashboard",
    "archived",
];

const FILTERS_FIELDS: &[&str] = &[
    "groups",
    "multivariate",
    "payloads",
    "aggregation_group_type_index",
    "super_groups",
    "holdout_groups",
    "holdout",
    "early_exit",
    "feature_enrollment",
    "bucketing_identifier",
];

const CONDITION_FIELDS: &[&str] = &[
    "properties",
    "rollout_percentage",
    "variant",
    "aggregation_group_type_index",
    "sort_key",
    "description",
    "users_affected",
    "id",
    "name",
];

pub(super) fn read(object: &Object<'_, '_>, filters: &Value, id: i64, names: Names<'_>) -> Result<Flag, FlagsError> {
    object.warn_unknown(FIELDS);
    let hashing = super::hashing(object, super::uses_seed_hash(object, false)?)?;
    let mut flag = super::common(object, id, hashing)?;
    let place = object.place.field("filters");
    let filters = place.object(filters)?;
    filters.warn_unknown(FILTERS_FIELDS);
    // Older releases keep it here.
    flag.buckets_devices |= filters.text("bucketing_identifier")? == Some("device_id");
    flag.subject = subject(&filters)?.unwrap_or(Subject::Person);
    flag.variants = multivariate(&filters)?;
    flag.early_exit = filters.boolean("early_exit")?.unwrap_or(false);
    flag.holdout = holdout(&filters)?;
    flag.enrollment = enrollment(&filters, &flag.key, names)?;
    flag.conditions = conditions(&filters, "groups", &flag.subject, &flag.variants, names)?;
    for (variant, payload) in filters.entries("payloads")?.into_iter().flatten() {
        if let Some(payload) = super::payload_text(payload) {
            flag.payloads.push((variant.as_str().into(), payload));
        }
    }
    Ok(flag)
}

fn subject(object: &Object<'_, '_>) -> Result<Option<Subject>, FlagsError> {
    let index = filter::index(object, "aggregation_group_type_index")?;
    Ok(index.map(|index| Subject::Group(GroupType::Index(index))))
}

fn multivariate(filters: &Object<'_, '_>) -> Result<Vec<Variant>, FlagsError> {
    let Some(multivariate) = filters.get("multivariate") else { return Ok(Vec::new()) };
    let place = filters.place.field("multivariate");
    let multivariate = place.object(multivariate)?;
    let place = place.field("variants");
    let variants = super::variants(multivariate.list("variants")?, &place)?;
    super::warn_if_under_100(&variants, &place);
    Ok(variants)
}

fn conditions(
    filters: &Object<'_, '_>,
    field: &str,
    flag_subject: &Subject,
    variants: &[Variant],
    names: Names<'_>,
) -> Result<Vec<Condition>, FlagsError> {
    let place = filters.place.field(field);
    let items = filters.list(field)?;
    super::check_number_of_conditions(items, &place)?;
    let mut conditions = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = place.index(index);
        conditions.push(condition(&place.object(item)?, flag_subject, variants, names)?);
    }
    Ok(conditions)
}

fn condition(
    object: &Object<'_, '_>,
    flag_subject: &Subject,
    variants: &[Variant],
    names: Names<'_>,
) -> Result<Condition, FlagsError> {
    object.warn_unknown(CONDITION_FIELDS);
    // A null says that the set is about people though the flag is about groups; a missing field says nothing.
    let subject = match subject(object)? {
        Some(subject) => subject,
        None if object.map.contains_key("aggregation_group_type_index") => Subject::Person,
        None => flag_subject.clone(),
    };
    let place = object.place.field("properties");
    let mut filters = Vec::new();
    for (index, item) in object.list("properties")?.iter().enumerate() {
        filters.push(filter::read(item, &place.index(index), Dialect::PostHog, &subject, names)?);
    }
    Ok(Condition {
        subject,
        filters,
        rollout_percent: object.percent("rollout_percentage")?,
        variant: super::variant_of_condition(object, variants)?,
        variants: None,
    })
}

fn enrollment(filters: &Object<'_, '_>, key: &str, names: Names<'_>) -> Result<Option<Enrollment>, FlagsError> {
    if filters.boolean("feature_enrollment")? == Some(true) {
        return Ok(Some(Enrollment::Property(format!("$feature_enrollment/{key}").into())));
    }
    let mut conditions = conditions(filters, "super_groups", &Subject::Person, &[], names)?;
    if conditions.len() > 1 {
        filters.place.field("super_groups").warn("only the first one is used, as in PostHog");
    }
    conditions.truncate(1);
    Ok(conditions.pop().filter(|condition| !condition.filters.is_empty()).map(Enrollment::Condition))
}

/// `holdout`, or the older `holdout_groups`, whose first set named the variant.
fn holdout(filters: &Object<'_, '_>) -> Result<Option<Holdout>, FlagsError> {
    if let Some(holdout) = filters.get("holdout") {
        let place = filters.place.field("holdout");
        let holdout = place.object(holdout)?;
        let (Some(id), Some(percent)) = (holdout.integer("id")?, holdout.percent("exclusion_percentage")?) else {
            place.warn("is incomplete and excludes nobody: it needs id and exclusion_percentage");
            return Ok(None);
        };
        return Ok(Some(Holdout { variant: format!("holdout-{id}").into(), id: Some(id), percent }));
    }
    let groups = filters.place.field("holdout_groups");
    let Some(first) = filters.list("holdout_groups")?.first() else { return Ok(None) };
    older_holdout(&groups.index(0), first).map(Some)
}

fn older_holdout(place: &Place<'_>, value: &Value) -> Result<Holdout, FlagsError> {
    let object = place.object(value)?;
    if !object.list("properties")?.is_empty() {
        return Err(place.field("properties").refuse("a holdout with properties is not supported"));
    }
    let variant = object.text("variant")?.unwrap_or("holdout");
    let id = variant.strip_prefix("holdout-").and_then(|id| id.parse().ok());
    let percent = object.percent("rollout_percentage")?.unwrap_or(100.0);
    Ok(Holdout { variant: variant.into(), id, percent })
}
