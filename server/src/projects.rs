//! `HOGFLARE_PROJECTS`: whose events are taken.

use anyhow::Result;
use hogflare_catalog::tables::GROUP_SLOTS;
use hogflare_ingest::identity::ConfiguredTypes;
use hogflare_ingest::{Project, Projects, State};

use crate::watched::{self, Watched};

/// The projects of the setting: JSON or a file. Everyone's without a setting.
pub(crate) fn read(setting: Option<&str>) -> Result<(Projects, Option<Watched>)> {
    let (projects, file) = watched::read(setting, "the list of projects", parse)?;
    Ok((projects.unwrap_or_default(), file))
}

pub(crate) fn parse(text: &str) -> Result<Projects> {
    Ok(Projects::parse(text)?)
}

/// The same for a running server, which must not give a column of groups two meanings.
pub(crate) fn parse_for(text: &str, state: Option<&State>, others: &TypeNames) -> Result<Projects> {
    let projects = parse(text)?;
    if let Some(state) = state {
        // Reads the state file.
        tokio::task::block_in_place(|| state.check_types(&configured_types(&projects, others)))?;
    }
    Ok(projects)
}

/// Names of group types by column.
pub(crate) type TypeNames = [Option<String>; GROUP_SLOTS];

/// Group types whose columns are settled; `others` are those of projects without their own.
pub(crate) fn configured_types(projects: &Projects, others: &TypeNames) -> ConfiguredTypes {
    let own = projects.iter().filter_map(|project| {
        Some((project.token.as_str().to_owned(), TypeNames::clone(project.group_types.as_ref()?)))
    });
    ConfiguredTypes {
        default: others.clone(),
        projects: own.collect(),
        only: (!projects.is_open()).then(|| projects.iter().map(|one| one.token.as_str().to_owned()).collect()),
    }
}

/// Lines of `hogflare config`: where the list is, then each project.
pub(crate) fn lines(projects: &Projects, file: Option<&Watched>) -> Vec<(&'static str, String)> {
    let count = projects.iter().count();
    let whose = match file {
        _ if projects.is_open() => "every well-formed token".to_owned(),
        Some(file) => format!("{count} in {}, read again when it changes", file.path().display()),
        None => format!("{count}"),
    };
    let mut lines = vec![("projects", whose)];
    lines.extend(projects.iter().map(|project| ("project", line(project))));
    lines
}

fn line(project: &Project) -> String {
    let days = |what: &str, days: Option<u32>| days.map(|days| format!("{what} {days} days"));
    let retention = [days("events", project.retention_days.events), days("replay", project.retention_days.replay)];
    let list = |items: Vec<String>| Some(items.join(" ")).filter(|text| !text.is_empty());
    let slots = project.group_types.iter().map(|types| {
        let names = types.iter().map(|name| name.as_deref().unwrap_or("-"));
        names.collect::<Vec<_>>().join(",")
    });
    let facts = [
        ("name", project.name.as_ref().map(|name| format!("{name:?}"))),
        ("team-id", project.team_id.map(|id| id.to_string())),
        ("time-zone", Some(project.time_zone.name().to_owned())),
        ("recording", project.recording.map(|on| if on { "on" } else { "off" }.to_owned())),
        ("retention", list(retention.into_iter().flatten().collect())),
        ("store-ip", Some(project.store_ip.to_string())),
        ("allowed-origins", project.allowed_origins().and_then(|origins| list(origins.collect()))),
        ("group-types", list(slots.collect())),
    ];
    let facts = facts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    format!("{}: {}", project.token.as_str(), facts.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_told_in_one_line() {
        let (projects, _) = read(Some(
            r#"[{"token":"phc_b"},{"token":"phc_a","name":"Shop","team_id":7,"time_zone":"Europe/Berlin","recording":false,
                "retention_days":{"events":365},"store_ip":false,"allowed_origins":["https://a.example"],
                "group_types":["company",null,"team"]}]"#,
        ))
        .unwrap();
        let told: Vec<String> = lines(&projects, None).into_iter().map(|(_, line)| line).collect();
        assert_eq!(
            told,
            [
                "2",
                "phc_a: name \"Shop\"; team-id 7; time-zone Europe/Berlin; recording off; retention events 365 days; \
                 store-ip false; allowed-origins https://a.example; group-types company,-,team,-,-",
                "phc_b: time-zone UTC; store-ip true",
            ]
        );
        assert_eq!(lines(&Projects::default(), None), [("projects", "every well-formed token".to_owned())]);
    }
}
