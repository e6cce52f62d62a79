//! What the demo prints: lines to paste, with the real address and token.

use std::path::Path;

use super::TOKEN;
use crate::serve::Running;

pub(super) fn print(url: &str, running: &Running, folder: &Path) {
    let token = &running.read_token;
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    println!(
        r#"
Query it
  hogflare sql --url {url} --data-dir {folder} \
    "select event, count(*) as events, count(distinct person_id) as people from events group by event order by events desc"
  curl -s {url}/api/sql -H "Authorization: Bearer {token}" \
    --data "select date_trunc('hour', timestamp) as hour, count(*) from events group by 1 order by 1 desc limit 24"

DuckDB, on this machine
  INSTALL iceberg; LOAD iceberg;
  ATTACH 'hogflare' AS lake (TYPE iceberg, ENDPOINT '{url}/iceberg', TOKEN '{token}');
  SELECT event, count(*) FROM lake."default".hogflare_events GROUP BY 1 ORDER BY 2 DESC;

PyIceberg, on this machine
  from pyiceberg.catalog import load_catalog
  catalog = load_catalog("hogflare", type="rest", uri="{url}/iceberg", token="{token}")
  print(catalog.load_table("default.hogflare_events").scan(limit=10).to_arrow())

Send your own events (project token {TOKEN}, or any other)
  posthog.init('{TOKEN}', {{ api_host: '{url}' }})                                    // posthog-js
  new PostHog('{TOKEN}', {{ host: '{url}' }})                                         // posthog-node
  Posthog('{TOKEN}', host='{url}')                                                  # posthog (Python)
  curl {url}/capture -H 'content-type: application/json' \
    -d '{{"api_key":"{TOKEN}","event":"hello","distinct_id":"me"}}'

The data is in {folder}; Ctrl-C stops."#,
        folder = folder.display(),
    );
}
