//! `cargo xtask test` runs all checks, `cargo xtask load` measures the server.
//!
//! Plain `std` and few crates: this binary is built before anything else.

mod clients;
mod load;
mod place;
mod stages;
mod web;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask test [--without STAGE]… [--only STAGE]… [-- ARGUMENTS FOR THE TESTS]
    Runs the stages fmt, web, clippy, build, clients, test and prints the minutes of each.
    A missing external package fails the run. --without skips a stage, and the summary says so;
    --without clients also skips the tests that need external clients.

cargo xtask web
    Builds what browsers load from web/ and the packages of its lock file, once per change, into the target
    folder; builds of the server embed it. They try the same by themselves, but go on without it.

cargo xtask load [--url URL --token PROJECT_TOKEN [--pid PID] [--read-token TOKEN]]
                 [--connections N] [--batch N] [--seconds S] [--gzip] [--catalog-down]
    Measures events per second, latency of the answer, CPU per event and memory. Without --url it starts
    the release binary in a temporary folder; without --connections and --batch it runs the whole table.
    --catalog-down shows the memory under endless load while no commit ends. --binary PATH starts another server.

cargo xtask load persons [--persons N] [--folder PATH] [--crowd NAME] [--batch N] [--connections N] [--seconds S]
    The same for events of people, of whom N are known (1000000), beside those of nobody. --folder keeps who is
    known for the next run, --set HOGFLARE_STATE_MEMORY_MAX=32MiB bounds the memory.

cargo xtask load flags [--rate N] [--persons N] [--folder PATH] [--connections N] [--seconds S]
    Latency of /flags with 100 flags for known persons, at N requests a second (2000) whatever the answers take.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let outcome = match command.as_str() {
        "test" => stages::run(&rest),
        "load" => load::run(&rest),
        "web" => stages::web(),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(anyhow::anyhow!("unknown command {command:?}\n\n{HELP}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
