//! What holds for all events of a request: its project and when it was sent.

use std::borrow::Cow;
use std::sync::Arc;

use hogflare_catalog::tables::GROUP_SLOTS;

use crate::event::ProjectToken;
use crate::normalize::NormalizeSettings;
use crate::projects::Project;
use crate::protocol::json::Json;
use crate::protocol::shape::Item;
use crate::protocol::{Code, Refusal, Request, RequestFacts};
use crate::timestamp;

#[derive(Debug)]
pub(super) struct RequestContext {
    pub(super) token: ProjectToken,
    /// What is settled for the project, if anything is.
    project: Option<Arc<Project>>,
    pub(super) team_id: Option<i64>,
    /// Whether addresses of clients are stored, sent ones too.
    pub(super) stores_ip: bool,
    /// Of the envelope, or of V1's header.
    pub(super) sent_at_us: Option<i64>,
    /// Of header, query or form, for events that have none.
    pub(super) outer_sent_at_us: Option<i64>,
    pub(super) historical_migration: bool,
    /// The sender wants no address of its own stored.
    pub(super) refuses_ip: bool,
}

impl RequestContext {
    pub(super) fn read(
        request: &Request,
        facts: &RequestFacts,
        settings: &NormalizeSettings,
    ) -> Result<RequestContext, Refusal> {
        let (token, sent_at_us) = match &facts.headers.v1 {
            Some(v1) => (v1.token.clone(), Some(v1.sent_at_us)),
            None => (token(request, facts)?, request.envelope("sent_at").and_then(timestamp::parse)),
        };
        let projects = settings.projects.load();
        let project = projects.admit(token.as_str(), facts.headers.origin.as_deref())?.cloned();
        let form = &request.form;
        let outer =
            [facts.headers.sent_at.as_deref(), facts.query("sent_at"), facts.query("_"), form.sent_at.as_deref()];
        let ip = facts.query("ip").or(form.ip.as_deref());
        // The sender is one of the operator's own machines.
        let is_internal = request.envelope("capture_internal").and_then(Json::as_bool) == Some(true);
        Ok(RequestContext {
            token,
            team_id: project.as_ref().and_then(|project| project.team_id).or(settings.team_id),
            stores_ip: project.as_ref().is_none_or(|project| project.store_ip),
            project,
            sent_at_us,
            outer_sent_at_us: outer.into_iter().flatten().find_map(timestamp::parse_sent_at),
            historical_migration: request.envelope("historical_migration").and_then(Json::as_bool) == Some(true),
            refuses_ip: matches!(ip, Some("0" | "false")) || (facts.headers.v1.is_some() && is_internal),
        })
    }

    pub(super) fn group_types<'a>(&'a self, settings: &'a NormalizeSettings) -> &'a Arc<[Option<String>; GROUP_SLOTS]> {
        let own = self.project.as_ref().and_then(|project| project.group_types.as_ref());
        own.unwrap_or(&settings.group_types)
    }
}

/// The token of the body wins; a header that names another is a mistake worth an answer.
fn token(request: &Request, facts: &RequestFacts) -> Result<ProjectToken, Refusal> {
    let of_body = match envelope_token(request) {
        Some(token) => Some(token),
        None => token_of_items(request)?,
    };
    let header = facts.headers.api_key.as_deref().filter(|token| !token.trim().is_empty());
    if let (Some(body), Some(header)) = (&of_body, header)
        && body.trim() != header.trim()
    {
        return Err(inconsistent("the header x-posthog-api-key names another project token than the body"));
    }
    let query = || facts.query("token").or_else(|| facts.query("api_key"));
    let token = of_body.as_deref().or(header).or_else(query);
    let Some(token) = token.filter(|token| !token.trim().is_empty()) else {
        return Err(Refusal::new(Code::MissingToken, "event submitted without an api_key"));
    };
    ProjectToken::parse(token)
        .map_err(|reason| Refusal::new(Code::InvalidToken, format!("API key is not valid: {reason}")))
}

fn envelope_token(request: &Request) -> Option<Cow<'_, str>> {
    ["api_key", "token"].into_iter().find_map(|key| non_empty(request.envelope(key)?))
}

fn token_of_items(request: &Request) -> Result<Option<Cow<'_, str>>, Refusal> {
    let mut found: Option<Cow<'_, str>> = None;
    for token in request.items().filter_map(token_of_item) {
        match &found {
            None => found = Some(token),
            Some(first) if first.trim() == token.trim() => {}
            Some(_) => return Err(inconsistent("batch submitted with inconsistent api_key values")),
        }
    }
    Ok(found)
}

fn token_of_item(item: Item<'_>) -> Option<Cow<'_, str>> {
    let fields = item.fields?;
    let top_level = ["token", "$token", "api_key"].into_iter().find_map(|key| {
        let member = fields.iter().rev().find(|member| member.key.of(item.text) == key)?;
        non_empty(Json::at(item.text, member.value))
    });
    top_level.or_else(|| {
        let member = item.properties.iter().rev().find(|member| member.key.of(item.text) == "token")?;
        non_empty(Json::at(item.text, member.value))
    })
}

fn non_empty(token: Json<'_>) -> Option<Cow<'_, str>> {
    token.as_text().filter(|token| !token.trim().is_empty())
}

fn inconsistent(detail: &'static str) -> Refusal {
    Refusal::new(Code::InconsistentTokens, detail)
}
