//! Builds what browsers load, from the sources in `web/` and the packages that its lock file pins.
//!
//! Done once per hash of the sources, into `<target folder>/web/<hash>`, which is there wholly or not at all.
//! The build script of the server includes this file too: hence nothing but `std`, and errors that are text.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program that installs the packages and runs `web/build.mjs`.
const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };
/// A registry that is away should not hold up a build of the server for long.
const NPM_RETRIES: &str = "--fetch-retries=1";
/// Behind them npm prints its stack.
const ERROR_LINES_MAX: usize = 4;

/// The sources and where their build belongs.
#[derive(Debug)]
pub(crate) struct Web {
    source: PathBuf,
    /// Files of `source`, relative to it, sorted.
    pub(crate) files: Vec<PathBuf>,
    /// All builds, one folder each.
    pub(crate) builds: PathBuf,
    hash: String,
}

impl Web {
    /// Reads the sources in the folder `source`.
    pub(crate) fn at(source: &Path, target: &Path) -> Result<Web, String> {
        let mut files = Vec::new();
        collect(source, Path::new(""), &mut files)?;
        files.sort();
        let mut parts = Vec::new();
        for file in &files {
            let path = source.join(file);
            parts.push(file.as_os_str().as_encoded_bytes().to_vec());
            parts.push(fs::read(&path).map_err(at("read", &path))?);
        }
        let hash = hash(&parts);
        Ok(Web { source: source.to_owned(), files, builds: target.join("web"), hash })
    }

    /// The build of these sources, there or not.
    pub(crate) fn build_folder(&self) -> PathBuf {
        self.builds.join(&self.hash)
    }

    /// The folder with the build, made now if an earlier run has not.
    pub(crate) fn build(&self) -> Result<PathBuf, String> {
        let folder = self.build_folder();
        if folder.is_dir() {
            return Ok(folder);
        }
        fs::create_dir_all(&self.builds).map_err(at("create", &self.builds))?;
        // Beside the builds: cargo watches their folder when it has none, and locking changes a file's time.
        let path = self.builds.with_file_name("web-lock");
        let lock = File::create(&path).map_err(at("create", &path))?;
        // Another cargo may be at it; its result is ours.
        lock.lock().map_err(at("lock", &path))?;
        if !folder.is_dir() {
            self.fill(&folder)?;
        }
        Ok(folder)
    }

    fn fill(&self, folder: &Path) -> Result<(), String> {
        let work = self.builds.with_file_name("web-work");
        if work.is_dir() {
            fs::remove_dir_all(&work).map_err(at("remove", &work))?;
        }
        for file in &self.files {
            let copy = work.join(file);
            let parent = copy.parent().unwrap_or(&work);
            fs::create_dir_all(parent).map_err(at("create", parent))?;
            fs::copy(self.source.join(file), &copy).map_err(at("write", &copy))?;
        }
        let quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
        npm(&work, &[&["ci", "--ignore-scripts", NPM_RETRIES], &quiet[..]].concat())?;
        npm(&work, &["run", "--silent", "build", "--", "result"])?;
        fs::rename(work.join("result"), folder).map_err(at("create", folder))?;
        fs::remove_dir_all(&work).map_err(at("remove", &work))
    }
}

/// Keeps the output to itself: what a build script prints speaks to cargo.
fn npm(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new(NPM).args(arguments).current_dir(folder).output().map_err(|error| match error.kind() {
            ErrorKind::NotFound => "npm is not installed (Node 20 or newer with the package npm)".to_owned(),
            _ => format!("cannot start npm: {error}"),
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let errors = said.lines().filter(|line| !line.starts_with("npm warn")).take(ERROR_LINES_MAX);
    let errors = errors.collect::<Vec<_>>().join("; ");
    Err(format!("npm {} failed ({}): {errors}", arguments.join(" "), output.status))
}

/// All files below `folder`, without what npm or an editor leaves there.
fn collect(source: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let path = source.join(folder);
    for entry in fs::read_dir(&path).map_err(at("read", &path))? {
        let entry = entry.map_err(at("read", &path))?;
        let name = entry.file_name();
        let is_source = name != "node_modules" && name != "dist" && !name.to_string_lossy().starts_with('.');
        let relative = folder.join(&name);
        match entry.file_type().map_err(at("read", &path))?.is_dir() {
            true if is_source => collect(source, &relative, files)?,
            false if is_source => files.push(relative),
            _ => {}
        }
    }
    Ok(())
}

/// FNV-1a over these bytes, as 16 digits.
pub(crate) fn hash(parts: &[Vec<u8>]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

fn at(doing: &str, path: &Path) -> impl Fn(std::io::Error) -> String {
    let place = format!("cannot {doing} {}", path.display());
    move |error| format!("{place}: {error}")
}
