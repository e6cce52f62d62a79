//! The real clients that the tests use, installed into the target folder from their registries.
//!
//! Each set has a folder named by a hash of the files that pin its versions; a finished folder is used again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::place::{self, Place};
use crate::web;

/// Programs and folders that the tests find through environment variables.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    python: PathBuf,
    node: PathBuf,
    node_modules: PathBuf,
    /// Holds `v0` and `v1`: the client with and without Capture V1.
    posthog_rs: PathBuf,
    nginx: PathBuf,
    caddy: PathBuf,
    strace: PathBuf,
    openssl: PathBuf,
    chromium: PathBuf,
}

impl Clients {
    /// The variables that `tests/src/harness/clients.rs` reads.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 9] {
        [
            ("HOGFLARE_TEST_PYTHON", &self.python),
            ("HOGFLARE_TEST_NODE", &self.node),
            ("HOGFLARE_TEST_NODE_MODULES", &self.node_modules),
            ("HOGFLARE_TEST_POSTHOG_RS", &self.posthog_rs),
            ("HOGFLARE_TEST_NGINX", &self.nginx),
            ("HOGFLARE_TEST_CADDY", &self.caddy),
            ("HOGFLARE_TEST_STRACE", &self.strace),
            ("HOGFLARE_TEST_OPENSSL", &self.openssl),
            ("HOGFLARE_TEST_CHROMIUM", &self.chromium),
        ]
    }
}

/// Installs what is missing.
pub(crate) fn install(place: &Place) -> Result<Clients> {
    let pins = place.root.join("tests/clients");
    let folder = place.target.join("clients");
    fs::create_dir_all(&folder)?;
    Ok(Clients {
        python: python(&pins, &folder).context("cannot prepare the Python clients")?,
        node: place::program("node").context("Node 20 or newer is needed: install the package nodejs")?,
        node_modules: node(&pins, &folder).context("cannot prepare the Node clients")?,
        posthog_rs: posthog_rs(&pins.join("posthog_rs"), &folder).context("cannot build the Rust client")?,
        nginx: debian("nginx", "-v", &folder)?,
        caddy: debian("caddy", "version", &folder)?,
        strace: debian("strace", "-V", &folder)?,
        openssl: debian("openssl", "version", &folder)?,
        chromium: chromium()?,
    })
}

fn python(pins: &Path, folder: &Path) -> Result<PathBuf> {
    let requirements = pins.join("requirements.txt");
    let home = folder.join(format!("python-{}", hash(&[&requirements])?));
    let python = home.join("bin/python");
    once(&home, || {
        let system = place::program("python3").context("Python 3 is needed: install the package python3-venv")?;
        place::run(Command::new(system).args(["-m", "venv"]).arg(&home))?;
        place::run(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
                .arg(&requirements),
        )
    })?;
    Ok(python)
}

fn node(pins: &Path, folder: &Path) -> Result<PathBuf> {
    let files = [pins.join("package.json"), pins.join("package-lock.json")];
    let home = folder.join(format!("node-{}", hash(&[&files[0], &files[1]])?));
    once(&home, || {
        for file in &files {
            fs::copy(file, home.join(file.file_name().context("file name")?))?;
        }
        let npm = place::program("npm").context("npm is needed: install the package npm")?;
        place::run(
            Command::new(npm)
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
                .current_dir(&home),
        )
    })?;
    Ok(home.join("node_modules"))
}

/// Builds the client twice: which protocol it speaks is a feature. A package of its own, not of the
/// workspace, whose dependencies would be those of both otherwise.
fn posthog_rs(package: &Path, folder: &Path) -> Result<PathBuf> {
    let files = ["Cargo.toml", "Cargo.lock", "src/main.rs"].map(|file| package.join(file));
    let home = folder.join(format!("posthog-rs-{}", hash(&[&files[0], &files[1], &files[2]])?));
    once(&home, || {
        let build = home.join("build");
        for (program, features) in [("v0", ""), ("v1", "capture-v1")] {
            let mut cargo = place::cargo();
            cargo.args(["build", "--locked", "--features", features, "--manifest-path"]).arg(&files[0]);
            place::run(cargo.arg("--target-dir").arg(&build))?;
            fs::copy(build.join("debug/posthog-rs-client"), home.join(program))?;
        }
        Ok(fs::remove_dir_all(build)?)
    })?;
    Ok(home)
}

/// Fills the folder if an earlier run did not finish it.
fn once(home: &Path, fill: impl FnOnce() -> Result<()>) -> Result<()> {
    let finished = home.join("finished");
    if place::is_file(&finished) {
        return Ok(());
    }
    if home.is_dir() {
        fs::remove_dir_all(home)?;
    }
    fs::create_dir_all(home)?;
    fill()?;
    fs::write(finished, "")?;
    Ok(())
}

/// A program of the system, else of the Debian package of that name unpacked into the target folder (which
/// starts no service and changes nothing outside), else installed if we may.
fn debian(name: &str, version: &str, folder: &Path) -> Result<PathBuf> {
    if let Some(path) = place::program(name) {
        return Ok(path);
    }
    let home = folder.join(format!("debian-{name}"));
    let unpacked = home.join("usr/sbin").join(name);
    let unpacked = if place::is_file(&unpacked) { unpacked } else { home.join("usr/bin").join(name) };
    if runs(&unpacked, version) {
        return Ok(unpacked);
    }
    fs::create_dir_all(&home)?;
    if unpack(name, &home).is_err() && is_root() {
        place::run(Command::new("apt-get").args(["update", "--quiet=2"]))?;
        unpack(name, &home)?;
    }
    for binaries in ["usr/sbin", "usr/bin"] {
        let path = home.join(binaries).join(name);
        if runs(&path, version) {
            return Ok(path);
        }
    }
    if !is_root() {
        bail!("{name} is needed: as root, run apt-get install {name} (or skip with --without clients)");
    }
    install_from_debian(&[name])?;
    place::program(name).with_context(|| format!("{name} was installed but is not found"))
}

fn install_from_debian(packages: &[&str]) -> Result<()> {
    // RUNLEVEL=1 keeps the packages' scripts from starting a service.
    place::run(
        Command::new("apt-get")
            .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
            .args(packages)
            .env("RUNLEVEL", "1")
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// Unpacked alone it would not run: it needs two dozen libraries, so it is installed.
fn chromium() -> Result<PathBuf> {
    if let Some(path) = place::program("chromium") {
        return Ok(path);
    }
    ensure!(is_root(), "chromium is needed: as root, run apt-get install chromium (or skip with --without clients)");
    place::run(Command::new("apt-get").args(["update", "--quiet=2"]))?;
    install_from_debian(&["chromium", "fonts-liberation"])?;
    place::program("chromium").context("chromium was installed but is not found")
}

fn unpack(name: &str, home: &Path) -> Result<()> {
    place::run(Command::new("apt-get").args(["download", "--quiet=2", name]).current_dir(home).stderr(Stdio::null()))?;
    let package = fs::read_dir(home)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    place::run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(home))?;
    fs::remove_file(package)?;
    Ok(())
}

fn runs(path: &Path, version: &str) -> bool {
    Command::new(path)
        .arg(version)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Over the bytes of the files, so that a changed pin gets a new folder.
fn hash(files: &[&PathBuf]) -> Result<String> {
    let mut parts = Vec::new();
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(!bytes.is_empty(), "{} is empty", file.display());
        parts.push(bytes);
    }
    Ok(web::hash(&parts))
}
