//! What is printed at the start: where it listens, where the data is, what was found.

use std::net::SocketAddr;

use hogflare_catalog::DataFolder;
use hogflare_ingest::Recovered;
use hogflare_ingest::disk::Durability;

use crate::config::Config;
use crate::http;

pub(crate) fn print(config: &Config, folder: &DataFolder, address: SocketAddr, recovered: &Recovered) {
    let path = folder.path.display();
    println!("listening on http://{address}");
    if folder.created {
        println!("data folder {path} (new)");
    } else {
        println!(
            "data folder {path}: {} rows in the log, {} of them not in their tables yet",
            recovered.rows, recovered.published_rows
        );
    }
    if config.catalog.remote().is_some() {
        println!("rows go to the catalog {} every {:?}", config.catalog.describe(), config.commit_interval);
        println!(
            "one process per data folder and table: a second one with a folder of its own writes beside this one, but \
             they share neither rows that wait for a commit nor the memory of retries"
        );
    }
    println!(
        "reads need a token: {path}/read-token holds one (curl -H \"Authorization: Bearer $(cat {path}/read-token)\")"
    );
    if config.durability == Durability::Os {
        println!("durability os: a 200 survives the end of the process, not a power cut");
    }
    match config.normalize.projects.load() {
        projects if projects.is_open() => println!("any well-formed project token is accepted"),
        projects => println!("events of {} projects are taken, other tokens get 401", projects.iter().count()),
    }
    if config.enrich.trust_cloudflare {
        println!("headers of Cloudflare are believed: let nothing but Cloudflare reach this address");
    }
    if config.signing_secret.is_some() {
        println!("requests of SDKs must be signed: browsers cannot sign, so posthog-js is refused");
    }
    if let Some(warning) = http::assets_warning() {
        println!("{warning}");
    }
    if config.open_reads {
        println!("direct callers on this machine may read without a token");
    }
    use std::io::Write;
    let _ = std::io::stdout().flush();
}
