//! The projects that events are taken for, and what is settled for each.
//!
//! A project is a project token. Without a list every well-formed token is a project. Reading the list, and
//! noticing that it changed, are the server's.

mod origin;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono_tz::Tz;
use hogflare_catalog::tables::GROUP_SLOTS;
use serde::Deserialize;

use self::origin::Origin;
use crate::event::ProjectToken;
use crate::protocol::{Code, Refusal};

const PROJECTS_MAX: usize = 10_000;
const ORIGINS_MAX: usize = 1_000;
const NAME_CHARACTERS_MAX: usize = 200;
const RETENTION_DAYS_MAX: u32 = 36_500;

/// One project of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    pub token: ProjectToken,
    /// For people; at most 200 characters.
    pub name: Option<String>,
    /// Fills the column `team_id`; the general setting does if not given.
    pub team_id: Option<i64>,
    /// In which its days begin; UTC if not given.
    pub time_zone: Tz,
    /// Whether sessions are recorded; as for all projects if not given.
    pub recording: Option<bool>,
    pub retention_days: Retention,
    /// Whether the addresses of clients are stored.
    pub store_ip: bool,
    /// Names of the group types whose keys have columns, by slot; the general ones if not given.
    pub group_types: Option<Arc<[Option<String>; GROUP_SLOTS]>>,
    /// Sites whose pages may send; all if not given.
    allowed_origins: Option<Vec<Origin>>,
}

/// Days after which rows may be removed; never if not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub events: Option<u32>,
    pub replay: Option<u32>,
}

impl Project {
    /// `origin` is that of the header, as sent.
    pub fn allows_origin(&self, origin: &str) -> bool {
        match &self.allowed_origins {
            None => true,
            Some(allowed) => Origin::parse(origin).is_ok_and(|origin| allowed.iter().any(|one| one.covers(&origin))),
        }
    }

    /// As the list has them; none for all.
    pub fn allowed_origins(&self) -> Option<impl Iterator<Item = String>> {
        self.allowed_origins.as_ref().map(|allowed| allowed.iter().map(Origin::to_string))
    }
}

/// Why a list of projects cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProjectsError(String);

/// Whose events are taken. The default is everyone's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projects {
    /// By token.
    listed: Option<BTreeMap<String, Arc<Project>>>,
}

impl Projects {
    /// From `[{"token": …}, …]` or `{"projects": […]}`.
    ///
    /// # Errors
    /// The place and what is wrong there; an unknown key is an error, so that a typing mistake in a setting
    /// of privacy does not pass for the setting.
    pub fn parse(text: &str) -> Result<Projects, ProjectsError> {
        let parsed = match text.trim_start().chars().next() {
            Some('[') => serde_json::from_str::<Vec<Entry>>(text),
            _ => serde_json::from_str::<Document>(text).map(|document| document.projects),
        };
        let entries = parsed.map_err(|error| ProjectsError(format!("the list of projects cannot be read: {error}")))?;
        if entries.is_empty() || entries.len() > PROJECTS_MAX {
            let count = entries.len();
            return Err(ProjectsError(format!("a list has 1 to {PROJECTS_MAX} projects; this one has {count}")));
        }
        let mut listed = BTreeMap::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let place = entry.place(index);
            let fault = |problem: String| ProjectsError(format!("{place}: {problem}"));
            let project = entry.check().map_err(fault)?;
            let token = project.token.as_str().to_owned();
            if listed.insert(token.clone(), Arc::new(project)).is_some() {
                return Err(fault(format!("the token {token} is listed before")));
            }
        }
        Ok(Projects { listed: Some(listed) })
    }

    /// Whether every well-formed token is a project.
    pub fn is_open(&self) -> bool {
        self.listed.is_none()
    }

    /// What is settled for a project; nothing for one that is not listed.
    pub fn get(&self, token: &str) -> Option<&Arc<Project>> {
        self.listed.as_ref()?.get(token)
    }

    /// In the order of their tokens.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.listed.iter().flat_map(BTreeMap::values)
    }

    /// Lets a request in that names a project. `origin` is the header of that name, which pages send and
    /// servers do not. Nothing is settled for a token that is accepted because all are.
    ///
    /// # Errors
    /// 401 for a token that is not listed, 403 for a page of a site that the project does not know.
    pub fn admit(&self, token: &str, origin: Option<&str>) -> Result<Option<&Arc<Project>>, Refusal> {
        if self.is_open() {
            return Ok(None);
        }
        let Some(project) = self.get(token) else {
            return Err(Refusal::new(Code::UnknownToken, "the project token is not known here"));
        };
        if origin.is_some_and(|origin| !project.allows_origin(origin)) {
            let detail = "pages of this site may not send to the project: its allowed_origins do not list the site";
            return Err(Refusal::new(Code::OriginNotAllowed, detail));
        }
        Ok(Some(project))
    }
}

/// The projects as they are now, for all who ask; a changed list takes the place of the one before.
#[derive(Clone, Debug, Default)]
pub struct SharedProjects(Arc<ArcSwap<Projects>>);

impl SharedProjects {
    pub fn new(projects: Projects) -> SharedProjects {
        SharedProjects(Arc::new(ArcSwap::from_pointee(projects)))
    }

    /// One request asks once, so that it sees one list.
    pub fn load(&self) -> Arc<Projects> {
        self.0.load_full()
    }

    pub fn replace(&self, projects: Projects) {
        self.0.store(Arc::new(projects));
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    projects: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    token: String,
    name: Option<String>,
    team_id: Option<i64>,
    time_zone: Option<String>,
    recording: Option<bool>,
    retention_days: Option<Retention>,
    store_ip: Option<bool>,
    allowed_origins: Option<Vec<String>>,
    group_types: Option<Vec<Option<String>>>,
}

impl Entry {
    fn place(&self, index: usize) -> String {
        let name = self.name.as_ref().unwrap_or(&self.token);
        format!("project {} ({})", index + 1, crate::event::cut(name, NAME_CHARACTERS_MAX))
    }

    fn check(self) -> Result<Project, String> {
        let token = ProjectToken::parse(&self.token).map_err(|reason| format!("the token is no good: {reason}"))?;
        if let Some(name) = &self.name
            && (name.trim().is_empty() || name.chars().count() > NAME_CHARACTERS_MAX)
        {
            return Err(format!("name has 1 to {NAME_CHARACTERS_MAX} characters"));
        }
        let time_zone = self.time_zone.as_deref().map(time_zone).transpose()?.unwrap_or(Tz::UTC);
        Ok(Project {
            token,
            name: self.name,
            team_id: self.team_id,
            time_zone,
            recording: self.recording,
            retention_days: retention(self.retention_days.unwrap_or_default())?,
            store_ip: self.store_ip.unwrap_or(true),
            group_types: self.group_types.map(group_types).transpose()?.map(Arc::new),
            allowed_origins: self.allowed_origins.map(|origins| allowed_origins(&origins)).transpose()?,
        })
    }
}

fn time_zone(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| format!("time_zone: {name:?} is no IANA time zone, such as Europe/Berlin"))
}

fn retention(days: Retention) -> Result<Retention, String> {
    for (what, days) in [("events", days.events), ("replay", days.replay)] {
        if days.is_some_and(|days| !(1..=RETENTION_DAYS_MAX).contains(&days)) {
            return Err(format!("retention_days: {what} is a number from 1 to {RETENTION_DAYS_MAX}"));
        }
    }
    Ok(days)
}

fn group_types(names: Vec<Option<String>>) -> Result<[Option<String>; GROUP_SLOTS], String> {
    if names.len() > GROUP_SLOTS {
        return Err(format!("group_types: there are {GROUP_SLOTS} slots, not {}", names.len()));
    }
    let mut slots: [Option<String>; GROUP_SLOTS] = Default::default();
    for (slot, name) in names.into_iter().enumerate() {
        let Some(name) = name else { continue };
        if name.trim().is_empty() {
            return Err("group_types: a name is empty; null leaves a slot free".to_owned());
        }
        if slots.contains(&Some(name.clone())) {
            return Err(format!("group_types: {name:?} has two slots"));
        }
        slots[slot] = Some(name);
    }
    Ok(slots)
}

fn allowed_origins(texts: &[String]) -> Result<Vec<Origin>, String> {
    if texts.is_empty() {
        return Err("allowed_origins is empty: leave it out to allow the pages of all sites".to_owned());
    }
    if texts.len() > ORIGINS_MAX {
        return Err(format!("allowed_origins: at most {ORIGINS_MAX}, not {}", texts.len()));
    }
    let pattern = |text: &String| Origin::pattern(text).map_err(|problem| format!("allowed_origins: {problem}"));
    texts.iter().map(pattern).collect()
}

#[cfg(test)]
mod tests;
