//! A setting that is JSON or a file, and looking whether the file changed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;

const LOOK_EVERY: Duration = Duration::from_secs(2);
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A file, as it was last looked at.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// What it holds, such as "the list of projects".
    what: &'static str,
    path: PathBuf,
    /// The text, or why there was none.
    seen: Result<String, String>,
}

/// What the setting says, and the file if it is one. Nothing without a setting.
pub(crate) fn read<T>(
    setting: Option<&str>,
    what: &'static str,
    parse: impl Fn(&str) -> Result<T>,
) -> Result<(Option<T>, Option<Watched>)> {
    let Some(setting) = setting.map(str::trim).filter(|setting| !setting.is_empty()) else {
        return Ok((None, None));
    };
    if setting.starts_with(['[', '{']) {
        return Ok((Some(parse(setting)?), None));
    }
    let path = std::path::absolute(setting)?;
    let text = read_text(&path, what)?;
    let parsed = parse(&text).with_context(|| path.display().to_string())?;
    Ok((Some(parsed), Some(Watched { what, path, seen: Ok(text) })))
}

fn read_text(path: &Path, what: &str) -> Result<String> {
    let cannot = || format!("cannot read {what} in {}", path.display());
    let file = std::fs::File::open(path).with_context(cannot)?;
    let mut text = String::new();
    let read_bytes = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).with_context(cannot)?;
    anyhow::ensure!(read_bytes as u64 <= FILE_BYTES_MAX, "{} is larger than {FILE_BYTES_MAX} bytes", path.display());
    Ok(text)
}

impl Watched {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes what the file holds whenever it changes. What cannot be used leaves what was before in place.
    pub(crate) async fn watch<T>(
        mut self,
        parse: impl Fn(&str) -> Result<T>,
        replace: impl Fn(T),
        mut stop: watch::Receiver<bool>,
    ) {
        while tokio::time::timeout(LOOK_EVERY, stop.wait_for(|stop| *stop)).await.is_err() {
            let (path, what) = (self.path.clone(), self.what);
            let Ok(text) = tokio::task::spawn_blocking(move || read_text(&path, what)).await else { continue };
            match self.look(text, &parse) {
                None => {}
                Some(Ok(parsed)) => {
                    replace(parsed);
                    tracing::info!(file = %self.path.display(), "{what} changed and holds from now on");
                }
                Some(Err(error)) => {
                    tracing::error!(
                        file = %self.path.display(),
                        error = format!("{error:#}"),
                        "{what} changed and cannot be used; what was before still holds"
                    );
                }
            }
        }
    }

    /// Nothing if the file is as it was, also if it cannot be read as before.
    fn look<T>(&mut self, text: Result<String>, parse: impl Fn(&str) -> Result<T>) -> Option<Result<T>> {
        let now = text.map_err(|error| format!("{error:#}"));
        if now == self.seen {
            return None;
        }
        self.seen.clone_from(&now);
        Some(now.map_err(anyhow::Error::msg).and_then(|text| parse(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<usize> {
        Ok(serde_json::from_str::<Vec<u8>>(text).context("no list")?.len())
    }

    #[test]
    fn the_setting_is_a_file_or_json() {
        let folder = std::env::temp_dir().join(format!("hogflare-watched-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (good, bad) = (folder.join("good.json"), folder.join("bad.json"));
        std::fs::write(&good, "[1,2]").unwrap();
        std::fs::write(&bad, "[{").unwrap();
        let path = |path: &Path| path.display().to_string();
        for (setting, expected) in [
            (None, Ok((None, false))),
            (Some(""), Ok((None, false))),
            (Some(" [1]"), Ok((Some(1), false))),
            (Some(path(&good).as_str()), Ok((Some(2), true))),
            (Some(path(&bad).as_str()), Err("bad.json: no list")),
            (Some("[{"), Err("no list")),
            (Some("no-such-file.json"), Err("cannot read the numbers in /")),
        ] {
            let found = read(setting, "the numbers", number).map(|(found, file)| (found, file.is_some()));
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
        let mut file = Watched { what: "the numbers", path: PathBuf::new(), seen: Ok("[1]".to_owned()) };
        let gone = || Err(anyhow::anyhow!("gone"));
        for (text, expected) in [
            (Ok("[1]"), None),
            (Ok("[1,2]"), Some(Ok(2))),
            (Ok("[1,2]"), None),
            (Ok("[{"), Some(Err(()))),
            (Ok("[{"), None),
            (Ok("[1,2]"), Some(Ok(2))),
            (gone(), Some(Err(()))),
            (gone(), None),
            (Ok("[1]"), Some(Ok(1))),
        ] {
            let looked = file.look(text.map(str::to_owned), number);
            assert_eq!(looked.map(|found| found.map_err(|_| ())), expected);
        }
    }
}
