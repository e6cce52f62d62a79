//! `hogflare catalog check`: proves a catalog before it is trusted.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use hogflare_catalog::check::{Verdict, check};
use hogflare_catalog::rest::RestCatalog;
use hogflare_catalog::table_catalog::TableCatalog;
use hogflare_catalog::{MetadataCache, Namespace, Objects};

use super::CatalogConfig;
use crate::cli::CatalogCheckArgs;
use crate::config;

const CACHED_ENTRIES_MAX: usize = 1_000;

pub(crate) fn run(args: CatalogCheckArgs) -> Result<ExitCode> {
    let catalog = CatalogConfig::new(args.catalog)?;
    let namespace = config::namespace(args.namespace)?;
    let Some(rest) = catalog.remote() else {
        bail!("the embedded catalog needs no check; name another with --catalog r2 or --catalog-uri");
    };
    println!("catalog {}", catalog.describe());
    let objects = Objects::new(catalog.storage.clone());
    let cache = MetadataCache::new(objects.clone(), CACHED_ENTRIES_MAX);
    let client = RestCatalog::new(rest.clone(), objects)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let namespace = Namespace::new(namespace);
    let report = runtime.block_on(check(&client, &cache, &namespace, || client.clock_skew_ms()));
    for finding in &report.findings {
        let mark = match finding.verdict {
            Verdict::Good => "ok     ",
            Verdict::Weaker => "weaker ",
            Verdict::Bad => "BAD    ",
        };
        match finding.words.is_empty() {
            true => println!("{mark} {}", finding.what),
            false => println!("{mark} {}: {}", finding.what, finding.words),
        }
    }
    match report.verdict() {
        Verdict::Good => println!("hogflare can use this catalog: rows get there exactly once"),
        Verdict::Weaker => println!("hogflare can use this catalog, with what is said above"),
        Verdict::Bad => {
            println!("hogflare cannot use this catalog");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
