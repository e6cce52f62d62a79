//! Addresses of a catalog's resources, as its configuration says.

use std::collections::HashMap;

use iceberg::{NamespaceIdent, TableIdent};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// All but the unreserved characters of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The answer of `GET /v1/config`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ServerConfig {
    #[serde(default)]
    defaults: HashMap<String, String>,
    #[serde(default)]
    overrides: HashMap<String, String>,
    endpoints: Option<Vec<String>>,
}

#[derive(Debug)]
pub(super) struct Paths {
    /// Without `/v1` and without a slash at the end.
    pub(super) base: String,
    /// `<base>/v1[/<prefix>]`.
    root: String,
    separator: String,
    endpoints: Vec<String>,
}

/// The address that users give, with or without `/v1`.
pub(super) fn base(uri: &str) -> String {
    let uri = uri.trim_end_matches('/');
    uri.strip_suffix("/v1").unwrap_or(uri).to_owned()
}

pub(super) fn config_url(base: &str, warehouse: Option<&str>) -> String {
    match warehouse {
        Some(warehouse) => format!("{base}/v1/config?warehouse={}", utf8_percent_encode(warehouse, SEGMENT)),
        None => format!("{base}/v1/config"),
    }
}

impl Paths {
    pub(super) fn new(asked: String, config: ServerConfig) -> Paths {
        let value = |key: &str| config.overrides.get(key).or_else(|| config.defaults.get(key)).cloned();
        let base = config.overrides.get("uri").map_or(asked, |uri| base(uri));
        let root = match value("prefix").filter(|prefix| !prefix.is_empty()) {
            Some(prefix) => format!("{base}/v1/{}", prefix.trim_matches('/')),
            None => format!("{base}/v1"),
        };
        let separator = value("namespace-separator").unwrap_or_else(|| "%1F".to_owned());
        Paths { base, root, separator, endpoints: config.endpoints.unwrap_or_default() }
    }

    pub(super) fn namespaces(&self) -> String {
        format!("{}/namespaces", self.root)
    }

    pub(super) fn namespace(&self, namespace: &NamespaceIdent) -> String {
        let levels = namespace.as_ref().iter().map(|level| utf8_percent_encode(level, SEGMENT).to_string());
        format!("{}/namespaces/{}", self.root, levels.collect::<Vec<_>>().join(&self.separator))
    }

    pub(super) fn tables(&self, namespace: &NamespaceIdent) -> String {
        format!("{}/tables", self.namespace(namespace))
    }

    pub(super) fn table(&self, table: &TableIdent) -> String {
        format!("{}/{}", self.tables(table.namespace()), utf8_percent_encode(table.name(), SEGMENT))
    }

    pub(super) fn serves_credentials(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.starts_with("GET ") && endpoint.ends_with("/credentials"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_the_configuration() {
        let check = |uri: &str, config: &str, expected: &str| {
            let config: ServerConfig = serde_json::from_str(config).expect("a configuration");
            let paths = Paths::new(base(uri), config);
            let namespace = NamespaceIdent::from_vec(vec!["a b".to_owned(), "c".to_owned()]).expect("levels");
            assert_eq!(paths.table(&TableIdent::new(namespace, "t".to_owned())), expected);
        };
        check("http://h/x/", "{}", "http://h/x/v1/namespaces/a%20b%1Fc/tables/t");
        check("http://h/v1", r#"{"overrides":{"prefix":"p/q"}}"#, "http://h/v1/p/q/namespaces/a%20b%1Fc/tables/t");
        check("http://h", r#"{"defaults":{"prefix":"p"}}"#, "http://h/v1/p/namespaces/a%20b%1Fc/tables/t");
        check(
            "http://h",
            r#"{"defaults":{"prefix":"d"},"overrides":{"prefix":"o","uri":"http://other/v1"}}"#,
            "http://other/v1/o/namespaces/a%20b%1Fc/tables/t",
        );
        assert_eq!(config_url("http://h", Some("a/b")), "http://h/v1/config?warehouse=a%2Fb");
    }
}
