//! What changes while the server runs: the files that tell where addresses are, and the day.

use std::sync::Arc;
use std::time::Duration;

use hogflare_catalog::{Clock, SystemClock};
use hogflare_ingest::cookieless::Salts;
use hogflare_ingest::enrich::GeoFiles;
use tokio::sync::watch;

const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Reads replaced databases anew and deletes the salts of days that are over, until told to stop.
pub(crate) async fn run(geo: Arc<GeoFiles>, salts: Arc<Salts>, mut stop: watch::Receiver<bool>) {
    while tokio::time::timeout(LOOK_EVERY, stop.wait_for(|stop| *stop)).await.is_err() {
        // Both read and write files, a database of addresses for seconds.
        tokio::task::block_in_place(|| look(&geo, &salts));
    }
}

fn look(geo: &GeoFiles, salts: &Salts) {
    for reloaded in geo.reload_if_changed() {
        match reloaded {
            Ok(path) => tracing::info!(path = %path.display(), "read the database of addresses anew"),
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the database of addresses that was read before stays in use"
                );
            }
        }
    }
    if let Err(error) = salts.rotate(SystemClock.now_us()) {
        let error = anyhow::Error::from(error);
        tracing::warn!(
            error = format!("{error:#}"),
            "salts of past days are forgotten, but may still be on the disk; trying again"
        );
    }
}
