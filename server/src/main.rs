//! `hogflare`: PostHog-compatible capture into Apache Iceberg tables, in one binary.

mod cli;
mod config;
mod demo;
mod http;
mod maintain;
mod serve;
mod sql;
mod start;
mod tasks;
mod telemetry;
mod tokens;

use std::process::ExitCode;

use cli::Command;

fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let result = match cli.command {
        Command::Serve(settings) => config::Config::new(*settings).and_then(|config| serve::run(config, None)),
        Command::Demo(settings) => demo::run(*settings),
        Command::Sql(query) => sql::run(&query),
        Command::Maintain(args) => maintain::run(&args),
        Command::Config(settings) => config::print(*settings),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hogflare: {error:#}");
            ExitCode::FAILURE
        }
    }
}
