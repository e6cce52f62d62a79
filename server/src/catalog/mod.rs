//! Which catalog is written to, and with whose keys.

pub(crate) mod args;
pub(crate) mod bill;
pub(crate) mod check;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hogflare_catalog::Budget;
use hogflare_catalog::objects::{S3Settings, StorageSettings, is_local, path_of};
use hogflare_catalog::rest::{Login, Profile, RestSettings};

use self::args::CatalogArgs;

/// The settings of catalog and storage, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct CatalogConfig {
    pub(crate) choice: Choice,
    pub(crate) storage: StorageSettings,
    pub(crate) commits_per_minute: Option<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// Pointers in this process; files in the data folder, or at a location such as `s3://bucket/prefix`.
    Embedded {
        root: Option<String>,
    },
    Remote(Box<RestSettings>),
}

impl Default for Choice {
    fn default() -> Choice {
        Choice::Embedded { root: None }
    }
}

impl CatalogConfig {
    pub(crate) fn new(args: CatalogArgs) -> Result<CatalogConfig> {
        let pem = match &args.ca_file {
            None => None,
            Some(file) => {
                let pem = std::fs::read(file).with_context(|| format!("--ca-file: cannot read {}", file.display()))?;
                Some(Arc::<[u8]>::from(pem))
            }
        };
        let storage = StorageSettings { s3: s3(&args)?, extra_roots_pem: pem.clone(), ..StorageSettings::default() };
        let kind = match (args.catalog.as_deref(), &args.catalog_uri) {
            (Some(kind), _) => kind,
            (None, Some(_)) => "rest",
            (None, None) => "embedded",
        };
        let mut choice = match kind {
            "rest" => Choice::Remote(Box::new(rest(&args)?)),
            "r2" => Choice::Remote(Box::new(r2(&args)?)),
            _ => embedded(&args)?,
        };
        if let Choice::Remote(rest) = &mut choice {
            rest.vended_credentials = !storage.has_static_keys();
            rest.extra_roots_pem = pem;
        }
        Ok(CatalogConfig { choice, storage, commits_per_minute: args.catalog_commits_per_minute })
    }

    pub(crate) fn remote(&self) -> Option<&RestSettings> {
        match &self.choice {
            Choice::Remote(settings) => Some(settings),
            Choice::Embedded { .. } => None,
        }
    }

    /// Where the tables of the embedded catalog stand, if not in the data folder.
    pub(crate) fn warehouse_root(&self) -> Option<&str> {
        match &self.choice {
            Choice::Embedded { root } => root.as_deref(),
            Choice::Remote(_) => None,
        }
    }

    pub(crate) fn budget(&self) -> Budget {
        let known = match self.remote().map(|settings| settings.profile) {
            Some(Profile::R2) => Budget::R2,
            _ => Budget::PLENTY,
        };
        match self.commits_per_minute {
            Some(per_table) => Budget { per_table: per_table.max(1), ..known },
            None => known,
        }
    }

    /// Commits to a bucket cost money, and every engine that reads it a look at one more file.
    pub(crate) fn commit_interval(&self) -> Duration {
        let in_bucket = self.remote().is_some() || self.warehouse_root().is_some();
        Duration::from_secs(if in_bucket { 30 } else { 10 })
    }

    /// How the catalog is logged in to; no secrets.
    pub(crate) fn login(&self) -> &'static str {
        match self.remote().map(|rest| &rest.login) {
            None => "(not needed)",
            Some(Login::None) => "(none)",
            Some(Login::Token(_)) => "token (set)",
            Some(Login::Client { .. }) => "client credentials (set)",
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self.remote() {
            None => match self.warehouse_root() {
                Some(root) => format!("embedded, files at {root}"),
                None => "embedded".to_owned(),
            },
            Some(rest) => match &rest.warehouse {
                Some(warehouse) => format!("{} (warehouse {warehouse})", rest.uri),
                None => rest.uri.clone(),
            },
        }
    }
}

fn s3(args: &CatalogArgs) -> Result<S3Settings> {
    if args.s3_access_key_id.is_some() != args.s3_secret_access_key.is_some() {
        bail!("--s3-access-key-id and --s3-secret-access-key belong together; one is missing");
    }
    if args.s3_access_key_id.is_none() && args.s3_session_token.is_some() {
        bail!("--s3-session-token needs --s3-access-key-id and --s3-secret-access-key");
    }
    Ok(S3Settings {
        endpoint: args.s3_endpoint.clone(),
        region: args.s3_region.clone(),
        access_key_id: args.s3_access_key_id.clone(),
        secret_access_key: args.s3_secret_access_key.clone(),
        session_token: args.s3_session_token.clone(),
        virtual_host_style: args.s3_virtual_host_style,
    })
}

fn embedded(args: &CatalogArgs) -> Result<Choice> {
    for (given, flag) in [
        (args.catalog_uri.is_some(), "--catalog-uri"),
        (args.token.is_some(), "--token"),
        (args.account.is_some(), "--account"),
        (args.bucket.is_some(), "--bucket"),
    ] {
        if given {
            bail!("{flag} means nothing to the embedded catalog; leave it out, or choose --catalog rest or r2");
        }
    }
    if let Some(root) = args.warehouse.as_deref().filter(|root| !is_bucket(root)) {
        bail!(
            "--warehouse: {root:?} is no bucket; with the embedded catalog write s3://bucket/prefix, gs:// or abfss://"
        );
    }
    Ok(Choice::Embedded { root: args.warehouse.clone() })
}

fn is_bucket(location: &str) -> bool {
    path_of(location).is_ok() && !is_local(location)
}

fn rest(args: &CatalogArgs) -> Result<RestSettings> {
    let uri = args.catalog_uri.as_deref().context("--catalog rest needs --catalog-uri")?;
    if !uri.starts_with("http://") && !uri.starts_with("https://") {
        bail!("--catalog-uri: {uri:?} must start with https:// or http://");
    }
    let mut settings = RestSettings::new(uri);
    settings.warehouse = args.warehouse.clone();
    settings.login = match (&args.token, &args.catalog_credential) {
        (Some(_), Some(_)) => bail!("--token and --catalog-credential exclude each other"),
        (Some(token), None) => Login::Token(token.clone()),
        (None, Some(credential)) => {
            let (id, secret) = credential.split_once(':').context("--catalog-credential must be id:secret")?;
            Login::Client {
                id: id.to_owned(),
                secret: secret.to_owned(),
                scope: args.catalog_scope.clone(),
                token_uri: args.catalog_oauth_uri.clone(),
            }
        }
        (None, None) => Login::None,
    };
    if uri.contains("catalog.cloudflarestorage.com") {
        settings.profile = Profile::R2;
    }
    Ok(settings)
}

fn r2(args: &CatalogArgs) -> Result<RestSettings> {
    let token = args.token.as_deref().context("--catalog r2 needs --token (HOGFLARE_CATALOG_TOKEN)")?;
    let named = args.account.as_deref().zip(args.bucket.as_deref());
    let mut settings = match (named, &args.catalog_uri) {
        (Some((account, bucket)), _) => RestSettings::r2(account, bucket, token),
        // Another address that behaves like R2, with its own warehouse.
        (None, Some(uri)) => {
            RestSettings { profile: Profile::R2, login: Login::Token(token.to_owned()), ..RestSettings::new(uri) }
        }
        (None, None) => bail!("--catalog r2 needs --account and --bucket"),
    };
    if let Some(uri) = &args.catalog_uri {
        settings.uri = uri.clone();
    }
    if let Some(warehouse) = &args.warehouse {
        settings.warehouse = Some(warehouse.clone());
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: CatalogArgs,
    }

    fn config(line: &[&str]) -> Result<CatalogConfig> {
        CatalogConfig::new(Line::parse_from(std::iter::once(&"x").chain(line)).args)
    }

    #[test]
    fn presets_and_mistakes() {
        let r2 = config(&["--catalog", "r2", "--account", "a1", "--bucket", "b", "--token", "t"]).expect("complete");
        let rest = r2.remote().expect("remote");
        assert_eq!(rest.uri, "https://catalog.cloudflarestorage.com/a1/b");
        assert_eq!(rest.warehouse.as_deref(), Some("a1_b"));
        assert_eq!((rest.profile, r2.budget()), (Profile::R2, Budget::R2));
        assert_eq!(r2.commit_interval(), Duration::from_secs(30));
        assert!(config(&["--catalog-uri", "http://h"]).expect("enough").remote().is_some());
        assert!(config(&[]).expect("nothing needed").remote().is_none());
        let keys = ["--catalog-uri", "http://h", "--s3-access-key-id", "k", "--s3-secret-access-key", "s"];
        assert!(!config(&keys).expect("complete").remote().expect("remote").vended_credentials);
        for (line, word) in [
            (&["--catalog", "r2", "--account", "a"][..], "--token"),
            (&["--catalog", "r2", "--token", "t"], "--bucket"),
            (&["--catalog", "rest"], "--catalog-uri"),
            (&["--catalog-uri", "h"], "https://"),
            (&["--catalog-uri", "http://h", "--token", "t", "--catalog-credential", "a:b"], "exclude"),
            (&["--catalog-uri", "http://h", "--catalog-credential", "a"], "id:secret"),
            (&["--catalog-uri", "http://h", "--s3-access-key-id", "k"], "together"),
            (&["--token", "t"], "--token"),
            (&["--warehouse", "name"], "s3://bucket/prefix"),
        ] {
            let error = config(line).expect_err("a mistake").to_string();
            assert!(error.contains(word), "{line:?}: {error}");
        }
    }
}
