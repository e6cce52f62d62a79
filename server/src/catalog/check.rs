//! `hogflare catalog check`: proves a catalog before it is trusted.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use hogflare_catalog::check::{Verdict, check};
use hogflare_catalog::embedded::{EmbeddedCatalog, WarehouseFiles};
use hogflare_catalog::rest::RestCatalog;
use hogflare_catalog::table_catalog::TableCatalog;
use hogflare_catalog::{LakeSettings, MetadataCache, Namespace, Objects, SystemClock, Views, WriterId};
use uuid::Uuid;

use super::CatalogConfig;
use crate::cli::CatalogCheckArgs;
use crate::config;

const CACHED_ENTRIES_MAX: usize = 1_000;

pub(crate) fn run(args: CatalogCheckArgs) -> Result<ExitCode> {
    let catalog = CatalogConfig::new(args.catalog)?;
    let namespace = config::namespace(args.namespace)?;
    println!("catalog {}", catalog.describe());
    let objects = Objects::new(catalog.storage.clone());
    let cache = MetadataCache::new(objects.clone(), CACHED_ENTRIES_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("cannot start")?;
    let namespace = Namespace::new(namespace);
    let report = match (catalog.remote(), catalog.warehouse_root()) {
        (Some(rest), _) => {
            let client = RestCatalog::new(rest.clone(), objects)?;
            runtime.block_on(check(&client, &cache, &namespace, || client.clock_skew_ms()))
        }
        (None, Some(root)) => {
            let pointers = Pointers::new()?;
            let own = pointers.catalog(root, objects)?;
            runtime.block_on(check(&own, &cache, &namespace, || 0))
        }
        (None, None) => bail!(
            "the embedded catalog in the data folder needs no check; name another with --catalog r2, --catalog-uri or \
             --warehouse s3://bucket/prefix"
        ),
    };
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

/// A folder for the pointers of an embedded catalog that lives as long as the check: the server's own may
/// be in use.
struct Pointers(PathBuf);

impl Pointers {
    fn new() -> Result<Pointers> {
        let folder = std::env::temp_dir().join(format!("hogflare-check-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Pointers(folder))
    }

    fn catalog(&self, root: &str, objects: Objects) -> Result<EmbeddedCatalog> {
        let views = Arc::new(Views::new(WriterId::new(Uuid::new_v4())));
        let files = WarehouseFiles { root: Some(root.to_owned()), objects, lent: HashMap::new() };
        Ok(EmbeddedCatalog::open(&self.0, LakeSettings::default(), views, Arc::new(SystemClock), files)?)
    }
}

impl Drop for Pointers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
