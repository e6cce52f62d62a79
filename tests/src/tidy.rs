//! Rules of the code base that no compiler checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{read_text, workspace};

const FILE_LINES_MAX: usize = 500;

/// Which of our crates a crate may use, besides the list of features; the tests and xtask stand outside.
const ARROWS: [(&str, &[&str]); 4] = [
    ("hogflare-catalog", &[]),
    ("hogflare-ingest", &["hogflare-catalog"]),
    ("hogflare-query", &["hogflare-catalog"]),
    ("hogflare", &["hogflare-catalog", "hogflare-ingest", "hogflare-query"]),
];

/// Packages with the crates of ours that may name them.
const OWNERS: [(&str, &[&str]); 11] = [
    ("axum", &["hogflare"]),
    ("clap", &["hogflare"]),
    ("tower-http", &["hogflare"]),
    ("tracing-subscriber", &["hogflare"]),
    ("datafusion", &["hogflare-query"]),
    ("datafusion-functions-json", &["hogflare-query"]),
    ("iceberg", &["hogflare-catalog"]),
    ("iceberg-catalog-rest", &["hogflare-catalog"]),
    ("maxminddb", &["hogflare-ingest"]),
    ("reqwest", &["hogflare-catalog"]),
    ("rusqlite", &["hogflare-catalog", "hogflare-ingest"]),
];

/// Crate folders with code of the product.
const CRATES: [&str; 4] = ["catalog", "ingest", "query", "server"];

#[test]
fn crates_use_each_other_only_along_the_arrows() {
    let dependencies = dependencies();
    for (name, allowed) in ARROWS {
        let used = dependencies.get(name).unwrap_or_else(|| panic!("no crate {name}"));
        let ours: BTreeSet<&str> =
            used.iter().map(String::as_str).filter(|used| used.starts_with("hogflare")).collect();
        let is_forbidden = |used: &&&str| **used != "hogflare-features" && !allowed.contains(*used);
        let forbidden: Vec<_> = ours.iter().filter(is_forbidden).collect();
        assert!(forbidden.is_empty(), "{name} must not use {forbidden:?}");
    }
}

#[test]
fn packages_have_their_owners() {
    for (name, used) in dependencies() {
        let exempt = ["hogflare-features", "hogflare-tests", "xtask"].contains(&name.as_str());
        for (package, owners) in OWNERS {
            assert!(
                exempt || owners.contains(&name.as_str()) || !used.contains(package),
                "{name} must not use {package}: {owners:?} own it"
            );
        }
    }
}

/// Names of the direct dependencies of each crate of the workspace, those of its tests left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(workspace())
        .output()
        .expect("cannot run cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let used = package["dependencies"].as_array().unwrap().iter().filter(|used| used["kind"] != "dev");
            (text(&package["name"]), used.map(|used| text(&used["name"])).collect())
        })
        .collect()
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources(&["catalog", "ingest", "query", "server", "tests", "xtask"])
        .into_iter()
        .map(|path| (read(&path).lines().count(), path))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, path)| format!("{} has {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "longer than {FILE_LINES_MAX} lines: {long:#?}");
}

#[test]
fn tasks_are_spawned_in_one_place() {
    let spawn = concat!("tokio::", "spawn");
    let allowed = workspace().join("server/src/tasks.rs");
    for path in sources(&CRATES) {
        let text = read(&path);
        for word in [spawn, concat!("task::", "spawn(")] {
            assert!(path == allowed || !text.contains(word), "{} has {word}: see server/src/tasks.rs", path.display());
        }
    }
}

#[test]
fn nothing_is_left_to_do() {
    for path in sources(&["catalog", "ingest", "query", "server", "tests", "xtask"]) {
        let text = read(&path);
        for word in [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!(")] {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}

/// ARCHITECTURE.md names every crate folder and every module in backquotes: a file `writer.rs` and a folder
/// `protocol/` as `writer` or `writer.rs`, `protocol` or `protocol/`, with or without their path.
#[test]
fn the_architecture_file_names_every_crate_and_module() {
    let text = read_text("ARCHITECTURE.md");
    let named: BTreeSet<&str> = text.split('`').skip(1).step_by(2).flat_map(words).collect();
    let mut missing = Vec::new();
    for folder in CRATES.into_iter().chain(["features", "tests", "xtask"]) {
        if !named.contains(folder) {
            missing.push(folder.to_owned());
        }
    }
    for folder in CRATES {
        let source = workspace().join(folder).join("src");
        missing.extend(
            modules(&source)
                .into_iter()
                .filter(|module| !named.contains(module.as_str()))
                .map(|module| format!("{folder}::{module}")),
        );
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md does not name {missing:?}");
}

fn words(quoted: &str) -> impl Iterator<Item = &str> {
    quoted
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
        .map(|word| word.trim_end_matches('.'))
        .map(|word| word.strip_suffix(".rs").unwrap_or(word))
}

/// Modules at the top of a crate.
fn modules(source: &Path) -> Vec<String> {
    let entries = fs::read_dir(source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let mut modules: Vec<String> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|module| !["lib", "main"].contains(&module.as_str()))
        .collect();
    modules.sort();
    modules
}

/// All Rust files of these crates.
fn sources(folders: &[&str]) -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| workspace().join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty());
    files.sort();
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
