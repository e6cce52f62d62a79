//! What the tests share: the server as a process, its answers, real clients, load, a faulty network.

pub(crate) mod audit;
pub(crate) mod backend;
pub(crate) mod clients;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod proxy;
pub(crate) mod server;
pub(crate) mod setting;
pub(crate) mod sql;
pub(crate) mod values;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) use server::{Options, Server};

/// A project token; without `HOGFLARE_PROJECTS` the server takes any well-formed one.
pub(crate) const PROJECT: &str = "phc_test";

/// Secret that the tests give the server as its admin token.
pub(crate) const ADMIN: &str = "outside-test-admin-secret";

/// No wait of a test lasts longer; reaching it is a failure, never a measurement.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Asks until the answer is there.
///
/// # Panics
/// After [`PATIENCE`].
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The folder of the workspace, as the cargo that runs us says it: the one that compiled us may have
/// worked in another checkout with the same target folder.
pub(crate) fn workspace() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).parent().expect("the package is in the workspace").to_owned()
}

/// The text of a file of the workspace.
pub(crate) fn read_text(path: &str) -> String {
    let path = workspace().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Whether `cargo xtask test --without <what>` asked to skip; says so in the output.
pub(crate) fn skipped(what: &str) -> bool {
    let without = std::env::var("HOGFLARE_TEST_WITHOUT").unwrap_or_default();
    let skipped = without.split(',').any(|word| word == what);
    if skipped {
        println!("SKIPPED: this test needs {what}");
    }
    skipped
}
