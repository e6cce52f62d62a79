//! A small load generator: what the server does per second, per event and per byte of memory.
//!
//! Server, generator and disk share the machine, so compare CPU per event before events per second.

mod body;
mod catalog_down;
mod connection;
mod process;
mod report;
mod run;
mod visible;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::place::Place;
use process::Server;
use run::Shape;

/// The command line. Without `url` the release binary is started in a temporary folder.
#[derive(Debug)]
struct Arguments {
    url: Option<String>,
    project_token: String,
    read_token: Option<String>,
    process: Option<u32>,
    connections: Option<usize>,
    batch: Option<usize>,
    gzip: bool,
    seconds: u64,
    catalog_down: bool,
    /// Settings for the server that is started: `NAME=VALUE`.
    settings: Vec<(String, String)>,
}

impl Arguments {
    fn parse(words: &[String]) -> Result<Self> {
        let mut arguments = Arguments {
            url: None,
            project_token: "phc_load".to_owned(),
            read_token: None,
            process: None,
            connections: None,
            batch: None,
            gzip: false,
            seconds: 8,
            catalog_down: false,
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

    fn server(&self, place: &Place) -> Result<Server> {
        match &self.url {
            Some(url) => Ok(Server::running(url, self.process, self.read_token.clone())),
            None => Server::start(place, &self.settings),
        }
    }
}

pub(crate) fn run(words: &[String]) -> Result<()> {
    let arguments = Arguments::parse(words)?;
    let place = Place::find()?;
    if arguments.catalog_down {
        ensure!(arguments.url.is_none(), "--catalog-down starts a server of its own");
        return catalog_down::run(&place, &arguments);
    }
    let duration = Duration::from_secs(arguments.seconds);
    report::print_header();
    for shape in arguments.shapes() {
        // A fresh server each, so that memory and table belong to this row of the table.
        let server = arguments.server(&place)?;
        let measured = run::measure(&server, &arguments.project_token, shape, duration)?;
        report::print_row(&measured);
        if shape.batch == 100 && shape.connections == 1 {
            visible::measure_and_print(&server, &arguments.project_token)?;
        }
    }
    report::print_footer();
    Ok(())
}
