//! A small load generator: what the server does per second, per event and per byte of memory.
//!
//! Server, generator and disk share the machine, so compare CPU per event before events per second.

mod body;
mod catalog_down;
mod connection;
mod flags;
mod persons;
mod process;
mod report;
mod run;
mod visible;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::place::Place;
use process::{Launch, Server};
use run::{Plain, Shape};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Capture,
    Persons,
    Flags,
}

/// The command line. Without `url` the release binary is started in a temporary folder.
#[derive(Debug)]
struct Arguments {
    subject: Subject,
    url: Option<String>,
    project_token: String,
    read_token: Option<String>,
    process: Option<u32>,
    connections: Option<usize>,
    batch: Option<usize>,
    gzip: bool,
    seconds: u64,
    catalog_down: bool,
    /// Known before persons or flags are measured.
    persons: u64,
    /// Keeps what is known from run to run.
    folder: Option<PathBuf>,
    /// The server to start.
    binary: Option<PathBuf>,
    /// One crowd of persons alone.
    crowd: Option<String>,
    /// Requests for flags in a second.
    rate: u32,
    /// Settings for the server that is started: `NAME=VALUE`.
    settings: Vec<(String, String)>,
}

impl Arguments {
    fn parse(words: &[String]) -> Result<Self> {
        let (subject, words) = match words.split_first() {
            Some((first, rest)) if first == "persons" => (Subject::Persons, rest),
            Some((first, rest)) if first == "flags" => (Subject::Flags, rest),
            _ => (Subject::Capture, words),
        };
        let mut arguments = Arguments {
            subject,
            url: None,
            project_token: "phc_load".to_owned(),
            read_token: None,
            process: None,
            connections: None,
            batch: None,
            gzip: false,
            seconds: 8,
            catalog_down: false,
            persons: 1_000_000,
            folder: None,
            binary: None,
            crowd: None,
            rate: 2_000,
            settings: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("a value must follow {word}"));
            match word.as_str() {
                "--url" => arguments.url = Some(value()?.trim_end_matches('/').to_owned()),
                "--token" => value()?.clone_into(&mut arguments.project_token),
                "--read-token" => arguments.read_token = Some(value()?.clone()),
                "--pid" => arguments.process = Some(value()?.parse()?),
                "--connections" => arguments.connections = Some(value()?.parse()?),
                "--batch" => arguments.batch = Some(value()?.parse()?),
                "--seconds" => arguments.seconds = value()?.parse()?,
                "--gzip" => arguments.gzip = true,
                "--catalog-down" => arguments.catalog_down = true,
                "--persons" => arguments.persons = value()?.parse()?,
                "--folder" => arguments.folder = Some(value()?.into()),
                "--binary" => arguments.binary = Some(value()?.into()),
                "--crowd" => arguments.crowd = Some(value()?.clone()),
                "--rate" => arguments.rate = value()?.parse()?,
                "--set" => {
                    let (name, value) = value()?.split_once('=').context("--set NAME=VALUE")?;
                    arguments.settings.push((name.to_owned(), value.to_owned()));
                }
                _ => bail!("unknown argument {word:?}"),
            }
        }
        ensure!((1..=3_600).contains(&arguments.seconds), "--seconds is 1 to 3600");
        ensure!(arguments.connections.is_none_or(|n| (1..=1_000).contains(&n)), "--connections is 1 to 1000");
        ensure!(arguments.batch.is_none_or(|n| (1..=5_000).contains(&n)), "--batch is 1 to 5000");
        ensure!((1_000..=10_000_000).contains(&arguments.persons), "--persons is 1000 to 10000000");
        ensure!((1..=100_000).contains(&arguments.rate), "--rate is 1 to 100000");
        ensure!(
            arguments.url.is_none() || (arguments.subject == Subject::Capture && !arguments.catalog_down),
            "--url measures the capture of events only; all else starts servers of its own"
        );
        Ok(arguments)
    }

    /// One shape if any part of it is given, else the whole table.
    fn shapes(&self) -> Vec<Shape> {
        let shape = |batch, connections, gzip| Shape { batch, connections, gzip };
        if self.connections.is_some() || self.batch.is_some() || self.gzip {
            return vec![shape(self.batch.unwrap_or(1), self.connections.unwrap_or(1), self.gzip)];
        }
        vec![
            shape(1, 1, false),
            shape(1, 32, false),
            shape(100, 1, false),
            shape(100, 32, false),
            shape(100, 1, true),
            shape(100, 32, true),
        ]
    }

    fn launch(&self) -> Result<Launch> {
        let place = Place::find()?;
        Ok(Launch {
            binary: self.binary.clone().unwrap_or_else(|| place.server_binary()),
            settings: self.settings.clone(),
            folder: self.folder.clone(),
            temporary_in: place.target,
        })
    }
}

pub(crate) fn run(words: &[String]) -> Result<()> {
    let arguments = Arguments::parse(words)?;
    match arguments.subject {
        Subject::Persons => persons::run(&arguments, arguments.launch()?),
        Subject::Flags => flags::run(&arguments, arguments.launch()?),
        Subject::Capture if arguments.catalog_down => catalog_down::run(&arguments, arguments.launch()?),
        Subject::Capture => capture(&arguments),
    }
}

fn capture(arguments: &Arguments) -> Result<()> {
    let duration = Duration::from_secs(arguments.seconds);
    let token = &arguments.project_token;
    report::print_header();
    for shape in arguments.shapes() {
        // A fresh server each, so that memory and table belong to this row of the table.
        let server = match &arguments.url {
            Some(url) => Server::running(url, arguments.process, arguments.read_token.clone()),
            None => Server::start(&arguments.launch()?)?,
        };
        let measured = run::measure(&server, shape, duration, |seed| Plain::new(token, shape, seed))?;
        report::print_row(shape, &measured);
        if shape.batch == 100 && shape.connections == 1 {
            visible::measure_and_print(&server, token)?;
        }
    }
    report::print_footer();
    Ok(())
}
