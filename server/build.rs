//! Embeds the scripts that browsers load. Without npm, or without a network, the binary has none and says so.

#[path = "../xtask/src/web.rs"]
mod web;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use web::Web;

fn main() -> Result<(), String> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let web = Web::at(Path::new("../web"), &target_folder(&out))?;
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    println!("cargo::rerun-if-changed=build.rs");
    for file in &web.files {
        println!("cargo::rerun-if-changed=../web/{}", file.display());
    }
    let found = match web.build() {
        Ok(build) => Bundles::take(&build.join("static"), &out)?,
        Err(reason) => {
            println!("cargo::warning=scripts for browsers are left out: {reason}; `cargo xtask web` builds them");
            // Changes when they are built, and is there: a path that is missing would run this every time.
            let failed = |error| format!("cannot create {}: {error}", web.builds.display());
            fs::create_dir_all(&web.builds).map_err(failed)?;
            println!("cargo::rerun-if-changed={}", web.builds.display());
            Bundles::default()
        }
    };
    fs::write(out.join("bundles.rs"), found.table()).map_err(|error| format!("cannot write bundles.rs: {error}"))
}

/// The folder that cargo has marked as its own; `OUT_DIR` is some levels below.
fn target_folder(out: &Path) -> PathBuf {
    let marked = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked.or_else(|| out.ancestors().nth(4)).unwrap_or(out).to_owned()
}

#[derive(Debug, Default)]
struct Bundles {
    /// Release of posthog-js.
    version: String,
    /// Name without `.js.gz`, and the hash of the bytes.
    hashes: BTreeMap<String, String>,
}

impl Bundles {
    /// Copies the files, so that a build removed later takes nothing from this one.
    fn take(from: &Path, out: &Path) -> Result<Bundles, String> {
        let failed = |error: std::io::Error| format!("cannot take scripts from {}: {error}", from.display());
        let version = fs::read_to_string(from.join("version")).map_err(failed)?;
        let mut hashes = BTreeMap::new();
        for entry in fs::read_dir(from).map_err(failed)? {
            let file = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if let Some(name) = file.strip_suffix(".js.gz") {
                let gzip = fs::read(from.join(&file)).map_err(failed)?;
                fs::write(out.join(&file), &gzip).map_err(failed)?;
                hashes.insert(name.to_owned(), web::hash(&[gzip]));
            }
        }
        Ok(Bundles { version, hashes })
    }

    /// Constants for `http/assets/bundles.rs`, the scripts sorted by name.
    fn table(&self) -> String {
        let entry = |(name, hash): (&String, &String)| {
            let gzip = format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.js.gz\"))");
            format!("    Bundle {{ name: {name:?}, tag: \"W/\\\"{hash}\\\"\", gzip: {gzip} }},\n")
        };
        let entries: String = self.hashes.iter().map(entry).collect();
        let version = &self.version;
        format!("const VERSION: &str = {version:?};\nstatic EMBEDDED: &[Bundle] = &[\n{entries}];\n")
    }
}
