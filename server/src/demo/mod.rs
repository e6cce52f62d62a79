//! The subcommand `demo`: serves from its own folder, sends the traffic of a small shop through its
//! own SDK routes, and prints lines to paste.

mod card;
mod traffic;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::oneshot;

use crate::cli::DemoArgs;
use crate::config::Config;
use crate::serve::{self, Running};

pub(crate) const TOKEN: &str = "phc_demo";

pub(crate) fn run(args: DemoArgs) -> Result<()> {
    let config = Config::of_demo(&args.listen, &args.data_dir);
    let companion = move |running: Running, end: oneshot::Sender<()>| {
        let exit = args.exit;
        match show(&args, &running) {
            Ok(()) if !exit => std::mem::forget(end),
            Ok(()) => {
                let _ = end.send(());
            }
            Err(error) => {
                eprintln!("hogflare: the demo failed: {error:#}");
                let _ = end.send(());
            }
        }
    };
    serve::run(config, Some(Box::new(companion)))
}

fn show(args: &DemoArgs, running: &Running) -> Result<()> {
    let marker = args.data_dir.join("demo.json");
    let url = format!("http://{}", running.address);
    if marker.exists() {
        println!("the sample traffic is already here; delete {} to start over", args.data_dir.display());
    } else {
        let sent = send(&url, args.events)?;
        println!("\rsent {sent} events through the SDK routes          ");
        settle(running)?;
        write_marker(&marker, sent)?;
    }
    card::print(&url, running, &args.data_dir);
    Ok(())
}

/// Sends in the shapes of several SDKs, with progress.
fn send(url: &str, events: usize) -> Result<usize> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30))).build().into();
    let mut sent = 0;
    for request in traffic::Shop::open(events) {
        let mut post = agent.post(format!("{url}{}", request.path)).header("content-type", request.content_type);
        if let Some(encoding) = request.content_encoding {
            post = post.header("content-encoding", encoding);
        }
        post.send(&request.body[..]).with_context(|| format!("POST {}", request.path))?;
        sent += request.events;
        print!("\rsending sample traffic: {sent} events");
        std::io::stdout().flush()?;
    }
    Ok(sent)
}

/// Brings every row into its table, so that other engines see the same as our own queries.
fn settle(running: &Running) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for _ in 0..50 {
            running.lake.finish().await?;
            if running.lake.is_settled() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!(
            "the rows did not reach their tables: {:?}",
            running.lake.trouble(hogflare_catalog::Table::Events)
        )
    })
}

fn write_marker(marker: &Path, sent: usize) -> Result<()> {
    std::fs::write(marker, format!("{{\"events\": {sent}}}\n"))
        .with_context(|| format!("cannot write {}", marker.display()))
}
