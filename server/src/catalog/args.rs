//! Flags of the catalog and of the stores of its files.

use clap::Args;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Catalog and storage")]
pub(crate) struct CatalogArgs {
    /// embedded = in this process; rest = any Iceberg REST catalog; r2 = Cloudflare R2 Data Catalog.
    /// Without it, rest if there is a --catalog-uri, else embedded
    #[arg(long, env = "HOGFLARE_CATALOG", value_parser = ["embedded", "rest", "r2"])]
    pub(crate) catalog: Option<String>,
    /// Address of the REST catalog, such as https://catalog.example.com/iceberg
    #[arg(long, env = "HOGFLARE_CATALOG_URI", value_name = "URL")]
    pub(crate) catalog_uri: Option<String>,
    /// Name of the warehouse in the REST catalog; with the embedded catalog the bucket of its files, such as
    /// s3://bucket/prefix
    #[arg(long, env = "HOGFLARE_WAREHOUSE", value_name = "NAME")]
    pub(crate) warehouse: Option<String>,
    /// Bearer token of the catalog; for R2 an API token that may write both catalog and storage
    #[arg(long, env = "HOGFLARE_CATALOG_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// OAuth 2 client credentials of the catalog, as id:secret
    #[arg(long, env = "HOGFLARE_CATALOG_CREDENTIAL", hide_env_values = true, value_name = "ID:SECRET")]
    pub(crate) catalog_credential: Option<String>,
    /// OAuth 2 scope
    #[arg(long, env = "HOGFLARE_CATALOG_SCOPE", default_value = "catalog")]
    pub(crate) catalog_scope: String,
    /// Where OAuth 2 tokens are given; without it <catalog-uri>/v1/oauth/tokens
    #[arg(long, env = "HOGFLARE_CATALOG_OAUTH_URI", value_name = "URL")]
    pub(crate) catalog_oauth_uri: Option<String>,
    /// With --catalog r2: id of the Cloudflare account
    #[arg(long, env = "HOGFLARE_R2_ACCOUNT", value_name = "ID")]
    pub(crate) account: Option<String>,
    /// With --catalog r2: the bucket whose data catalog is used
    #[arg(long, env = "HOGFLARE_R2_BUCKET", value_name = "NAME")]
    pub(crate) bucket: Option<String>,
    /// Commits that a table of the catalog may get in a minute; r2 knows its own limit
    #[arg(long, env = "HOGFLARE_CATALOG_COMMITS_PER_MINUTE", value_name = "NUMBER")]
    pub(crate) catalog_commits_per_minute: Option<usize>,
    /// Certificates (PEM) to trust besides those of the system, for catalog and storage
    #[arg(long, env = "HOGFLARE_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<std::path::PathBuf>,
    /// Address of an S3-compatible store, if the catalog does not tell it
    #[arg(long, env = "HOGFLARE_S3_ENDPOINT", value_name = "URL")]
    pub(crate) s3_endpoint: Option<String>,
    /// Region of the bucket
    #[arg(long, env = "HOGFLARE_S3_REGION", value_name = "REGION")]
    pub(crate) s3_region: Option<String>,
    /// Keys of the bucket; with them, credentials that the catalog offers are not used
    #[arg(long, env = "HOGFLARE_S3_ACCESS_KEY_ID", hide_env_values = true, value_name = "ID")]
    pub(crate) s3_access_key_id: Option<String>,
    /// The secret to --s3-access-key-id
    #[arg(long, env = "HOGFLARE_S3_SECRET_ACCESS_KEY", hide_env_values = true, value_name = "SECRET")]
    pub(crate) s3_secret_access_key: Option<String>,
    /// Where the keys are those of a session
    #[arg(long, env = "HOGFLARE_S3_SESSION_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) s3_session_token: Option<String>,
    /// The store wants https://bucket.host/key instead of https://host/bucket/key
    #[arg(long, env = "HOGFLARE_S3_VIRTUAL_HOST_STYLE", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) s3_virtual_host_style: bool,
}
