//! `HOGFLARE_PROJECTS`: where the list of projects stands, and looking whether it changed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use hogflare_ingest::{Project, Projects, SharedProjects};
use tokio::sync::watch;

const LOOK_EVERY: Duration = Duration::from_secs(2);
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A list in a file, as it was last looked at.
#[derive(Clone, Debug)]
pub(crate) struct ProjectsFile {
    path: PathBuf,
    /// The text, or why there was none.
    seen: Result<String, String>,
}

/// The projects of the setting: JSON or a file. Everyone's without a setting.
pub(crate) fn read(setting: Option<&str>) -> Result<(Projects, Option<ProjectsFile>)> {
    let Some(setting) = setting.map(str::trim).filter(|setting| !setting.is_empty()) else {
        return Ok((Projects::default(), None));
    };
    if setting.starts_with(['[', '{']) {
        return Ok((Projects::parse(setting)?, None));
    }
    let path = std::path::absolute(setting)?;
    let text = read_text(&path)?;
    let projects = Projects::parse(&text).with_context(|| path.display().to_string())?;
    Ok((projects, Some(ProjectsFile { path, seen: Ok(text) })))
}

fn read_text(path: &Path) -> Result<String> {
    let cannot = || format!("cannot read the list of projects in {}", path.display());
    let file = std::fs::File::open(path).with_context(cannot)?;
    let mut text = String::new();
    let read_bytes = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).with_context(cannot)?;
    anyhow::ensure!(read_bytes as u64 <= FILE_BYTES_MAX, "{} is larger than {FILE_BYTES_MAX} bytes", path.display());
    Ok(text)
}

impl ProjectsFile {
    /// Takes the file's list whenever it changes. One that cannot be used leaves the list before in place.
    pub(crate) async fn watch(mut self, shared: SharedProjects, mut stop: watch::Receiver<bool>) {
        while tokio::time::timeout(LOOK_EVERY, stop.wait_for(|stop| *stop)).await.is_err() {
            let path = self.path.clone();
            let Ok(text) = tokio::task::spawn_blocking(move || read_text(&path)).await else { continue };
            match self.look(text) {
                None => {}
                Some(Ok(projects)) => {
                    let count = projects.iter().count();
                    shared.replace(projects);
                    tracing::info!(projects = count, "the list of projects changed and holds from now on");
                }
                Some(Err(error)) => {
                    tracing::error!(
                        file = %self.path.display(),
                        error = format!("{error:#}"),
                        "the list of projects changed and cannot be used; the one before still holds"
                    );
                }
            }
        }
    }

    /// Nothing if the file is as it was, also if it cannot be read as before.
    fn look(&mut self, text: Result<String>) -> Option<Result<Projects>> {
        let now = text.map_err(|error| format!("{error:#}"));
        if now == self.seen {
            return None;
        }
        self.seen.clone_from(&now);
        Some(now.map_err(anyhow::Error::msg).and_then(|text| Ok(Projects::parse(&text)?)))
    }
}

/// Lines of `hogflare config`: where the list is, then each project.
pub(crate) fn lines(projects: &Projects, file: Option<&ProjectsFile>) -> Vec<(&'static str, String)> {
    let count = projects.iter().count();
    let whose = match file {
        _ if projects.is_open() => "every well-formed token".to_owned(),
        Some(file) => format!("{count} in {}, read again when it changes", file.path.display()),
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

    const ONE: &str = r#"[{"token":"phc_a"}]"#;
    const TWO: &str = r#"[{"token":"phc_a"},{"token":"phc_b"}]"#;

    #[test]
    fn the_setting_is_a_file_or_json() {
        let folder = std::env::temp_dir().join(format!("hogflare-projects-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (good, bad) = (folder.join("good.json"), folder.join("bad.json"));
        std::fs::write(&good, TWO).unwrap();
        std::fs::write(&bad, "[{").unwrap();
        let path = |path: &Path| path.display().to_string();
        for (setting, expected) in [
            (None, Ok((0, false))),
            (Some(""), Ok((0, false))),
            (Some(ONE), Ok((1, false))),
            (Some(" {\"projects\": [{\"token\":\"phc_a\"}]}"), Ok((1, false))),
            (Some(path(&good).as_str()), Ok((2, true))),
            (Some(path(&bad).as_str()), Err("bad.json: the list of projects cannot be read")),
            (Some("[{"), Err("the list of projects cannot be read")),
            (Some("no-such-file.json"), Err("cannot read the list of projects in /")),
        ] {
            let found = read(setting).map(|(projects, file)| (projects.iter().count(), file.is_some()));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{setting:?}"),
                (Err(error), Err(words)) => assert!(format!("{error:#}").contains(words), "{setting:?}: {error:#}"),
                (found, _) => panic!("{setting:?}: {found:?}"),
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_change_is_noticed_once() {
        let mut file = ProjectsFile { path: PathBuf::new(), seen: Ok(ONE.to_owned()) };
        let gone = || Err(anyhow::anyhow!("gone"));
        for (text, expected) in [
            (Ok(ONE), None),
            (Ok(TWO), Some(Ok(2))),
            (Ok(TWO), None),
            (Ok("[{"), Some(Err(()))),
            (Ok("[{"), None),
            (Ok(TWO), Some(Ok(2))),
            (gone(), Some(Err(()))),
            (gone(), None),
            (Ok(ONE), Some(Ok(1))),
        ] {
            let looked = file.look(text.map(str::to_owned));
            let looked = looked.map(|found| found.map(|projects| projects.iter().count()).map_err(|_| ()));
            assert_eq!(looked, expected);
        }
    }

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
