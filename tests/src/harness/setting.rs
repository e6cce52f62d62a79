//! A setting in a file of its own, which the server reads again when it changes.

use std::path::PathBuf;

use tempfile::TempDir;

/// The file, removed with its folder.
#[derive(Debug)]
pub(crate) struct Setting {
    _folder: TempDir,
    path: PathBuf,
}

impl Setting {
    pub(crate) fn new(name: &str, text: &str) -> Setting {
        let folder = TempDir::with_prefix("hogflare-setting-").unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Setting { _folder: folder, path }
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// In one step, as editors do.
    pub(crate) fn write(&self, text: &str) {
        let new = self.path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.path).unwrap();
    }

    pub(crate) fn remove(&self) {
        std::fs::remove_file(&self.path).unwrap();
    }
}
