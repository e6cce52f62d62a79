//! `hogflare`: PostHog-compatible capture into Apache Iceberg tables, in one binary.

mod audit;
mod catalog;
mod cli;
mod config;
mod demo;
mod flags;
mod http;
mod maintain;
mod projects;
mod reader;
mod serve;
mod sql;
mod start;
mod state;
mod tasks;
mod telemetry;
mod tokens;
mod upkeep;
mod watched;

use std::process::ExitCode;

use cli::{CatalogCommand, Command, StateCommand};
use tikv_jemallocator::Jemalloc;

/// Requests, rows and the caches behind them make many small allocations on many threads.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let result = match cli.command {
        Command::Serve(settings) => config::Config::new(*settings).and_then(|config| serve::run(config, None)),
        Command::Demo(settings) => demo::run(*settings),
        Command::Sql(query) => sql::run(&query),
        Command::State(StateCommand::Rebuild(settings)) => state::rebuild(*settings),
        Command::Catalog(CatalogCommand::Check(settings)) => return exit(catalog::check::run(*settings)),
        Command::Catalog(CatalogCommand::Bill(args)) => catalog::bill::run(&args),
        Command::Audit(args) => return audit::run(&args),
        Command::Maintain(args) => maintain::run(&args),
        Command::Config(settings) => config::print(*settings),
    };
    exit(result.map(|()| ExitCode::SUCCESS))
}

fn exit(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hogflare: {error:#}");
            ExitCode::FAILURE
        }
    }
}
