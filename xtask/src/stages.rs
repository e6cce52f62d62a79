//! The stages of `cargo xtask test`, in order, each with its minutes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::clients::{self, Clients};
use crate::place::{self, Place};
use crate::web::Web;

/// Above this the run still passes but says that it is too slow for continuous integration.
const WARN_AFTER: Duration = Duration::from_secs(70 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Fmt,
    Web,
    Clippy,
    Build,
    Clients,
    Test,
}

const STAGES: [Stage; 6] = [Stage::Fmt, Stage::Web, Stage::Clippy, Stage::Build, Stage::Clients, Stage::Test];

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Fmt => "fmt",
            Stage::Web => "web",
            Stage::Clippy => "clippy",
            Stage::Build => "build",
            Stage::Clients => "clients",
            Stage::Test => "test",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        STAGES
            .into_iter()
            .find(|stage| stage.name() == name)
            .with_context(|| format!("no stage {name:?}; the stages are {}", STAGES.map(Stage::name).join(", ")))
    }
}

/// What the command line asks for.
#[derive(Debug, Default)]
struct Wanted {
    without: Vec<Stage>,
    only: Vec<Stage>,
    test_arguments: Vec<String>,
}

impl Wanted {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut wanted = Wanted::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut stage = || Stage::parse(words.next().context("a stage must follow")?);
            match word.as_str() {
                "--without" => wanted.without.push(stage()?),
                "--only" => wanted.only.push(stage()?),
                "--" => wanted.test_arguments.extend(words.by_ref().cloned()),
                _ => bail!("unknown argument {word:?}"),
            }
        }
        Ok(wanted)
    }

    fn has(&self, stage: Stage) -> bool {
        !self.without.contains(&stage) && (self.only.is_empty() || self.only.contains(&stage))
    }
}

/// Runs the wanted stages; the first failure ends the run. The summary is printed either way.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let wanted = Wanted::parse(arguments)?;
    let place = Place::find()?;
    let started = Instant::now();
    let mut lines = Vec::new();
    let mut outcome = Ok(());
    for stage in STAGES {
        if !wanted.has(stage) {
            lines.push(format!("{:8} skipped", stage.name()));
            continue;
        }
        println!("\n== {} ==", stage.name());
        let stage_started = Instant::now();
        outcome = run_stage(stage, &place, &wanted);
        let word = if outcome.is_ok() { "done" } else { "FAILED" };
        lines.push(format!("{:8} {:6.1} min  {word}", stage.name(), minutes(stage_started.elapsed())));
        if outcome.is_err() {
            break;
        }
    }
    println!("\nstages of cargo xtask test");
    for line in &lines {
        println!("  {line}");
    }
    println!("  {:8} {:6.1} min", "total", minutes(started.elapsed()));
    if started.elapsed() > WARN_AFTER {
        println!("warning: the run took longer than {:.0} minutes", minutes(WARN_AFTER));
    }
    outcome
}

fn run_stage(stage: Stage, place: &Place, wanted: &Wanted) -> Result<()> {
    match stage {
        Stage::Fmt => cargo(place, &["fmt", "--all", "--check"]),
        Stage::Web => build_web(place),
        Stage::Clippy => cargo(place, &["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        Stage::Build => cargo(place, &["build", "--release", "--workspace", "--all-targets"]),
        Stage::Clients => clients::install(place).map(drop),
        Stage::Test => test(place, wanted),
    }
}

/// The subcommand `web`.
pub(crate) fn web() -> Result<()> {
    build_web(&Place::find()?)
}

fn build_web(place: &Place) -> Result<()> {
    let folder = Web::at(&place.root.join("web"), &place.target).and_then(|web| web.build());
    println!("scripts for browsers: {}", folder.map_err(anyhow::Error::msg)?.display());
    Ok(())
}

fn cargo(place: &Place, arguments: &[&str]) -> Result<()> {
    place::run(place::cargo().args(arguments).current_dir(&place.root))
}

fn test(place: &Place, wanted: &Wanted) -> Result<()> {
    let mut command = place::cargo();
    command.current_dir(&place.root).args(["test", "--release", "--workspace", "--no-fail-fast"]);
    command.args(["--", "--show-output"]).args(&wanted.test_arguments);
    let without = [Stage::Web, Stage::Clients].into_iter().filter(|stage| wanted.without.contains(stage));
    let without: Vec<&str> = without.map(Stage::name).collect();
    if !without.is_empty() {
        command.env("HOGFLARE_TEST_WITHOUT", without.join(","));
        println!("the tests that need {} are skipped", without.join(" or "));
    }
    if !wanted.without.contains(&Stage::Clients) {
        let clients: Clients = clients::install(place)?;
        command.envs(clients.environment());
    }
    place::run(&mut command)
}

fn minutes(duration: Duration) -> f64 {
    duration.as_secs_f64() / 60.0
}
