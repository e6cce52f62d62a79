//! Pauses inside the steps of a commit, for the tests that kill the process there.

use std::path::PathBuf;
use std::time::Duration;

/// For each step, how long it is held open. While it is, a marker file stands in `folder`, so that a
/// test can tell after a kill which step it met.
#[derive(Clone, Debug, Default)]
pub struct Stalls {
    pub folder: PathBuf,
    pub seal: Duration,
    pub pending: Duration,
    pub post: Duration,
}

impl Stalls {
    /// Runs a step, held open for `wait`: half before what it writes, half after.
    pub(crate) fn around<T>(&self, step: &str, wait: Duration, run: impl FnOnce() -> T) -> T {
        if wait.is_zero() {
            return run();
        }
        let marker = self.mark(step);
        std::thread::sleep(wait / 2);
        let result = run();
        std::thread::sleep(wait / 2);
        drop(marker);
        result
    }

    /// The marker stands until the result is dropped.
    pub(crate) fn mark(&self, step: &str) -> Marker {
        let path = self.folder.join(format!("open-{step}"));
        let _ = std::fs::write(&path, "");
        Marker { path }
    }
}

#[derive(Debug)]
pub(crate) struct Marker {
    path: PathBuf,
}

impl Drop for Marker {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
