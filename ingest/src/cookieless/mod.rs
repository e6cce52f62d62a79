//! Ids for visitors whose browser keeps none: the cookieless mode of posthog-js.
//!
//! Such a browser sends the same distinct id for everybody, [`SENTINEL`]. The server makes an id of what
//! every request shows (address, browser, site) and of a salt that only it knows. Within a day (UTC) a
//! visitor keeps the id; when the day's salt is deleted, nobody can find out whose it was, nor which id
//! the visitor had on another day. Two visitors with one address and one browser are one.
//!
//! PostHog does the same (`nodejs/src/ingestion/cookieless`), with the day of the visitor's time zone and
//! a public suffix list; the ids of the two never agree, as the salts do not.

mod salts;

pub use salts::{Salts, SaltsError};

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// The distinct id of everybody.
pub const SENTINEL: &str = "$posthog_cookieless";
/// So that the ids are recognized wherever they turn up.
const ID_PREFIX: &str = "cookieless_";
const ID_BYTES: usize = 16;
const DAY_MS: i64 = 86_400_000;
/// Of what a site adds to tell visitors apart.
const EXTRA_CHARACTERS_MAX: usize = 100;

/// Secret of one day.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub(crate) [u8; 32]);

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt")
    }
}

/// What tells visitors apart. What is not known is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visitor<'a> {
    /// Project token.
    pub token: &'a str,
    pub ip: &'a str,
    pub user_agent: &'a str,
    /// Host of the page, perhaps with a port.
    pub host: &'a str,
    /// What the site adds (`$cookieless_extra`).
    pub extra: &'a str,
}

/// Stands for a visitor on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisitorHash {
    hash: [u8; 32],
    day: i64,
}

impl VisitorHash {
    /// `day` counts from 1970, UTC.
    pub fn new(salt: &Salt, day: i64, visitor: &Visitor<'_>) -> VisitorHash {
        let mut mac = Hmac::<Sha256>::new_from_slice(&salt.0).expect("HMAC takes keys of any length");
        let extra: String = visitor.extra.chars().take(EXTRA_CHARACTERS_MAX).collect();
        let root = root_host(visitor.host);
        // Of a day without a salt of its own, the id must not be that of another day.
        mac.update(&day.to_le_bytes());
        for part in [visitor.token, visitor.ip, visitor.user_agent, &root, &extra] {
            // With its length, so that nothing moves from one part into the next.
            mac.update(&u64::try_from(part.len()).expect("a text is shorter than 2^64 bytes").to_le_bytes());
            mac.update(part.as_bytes());
        }
        VisitorHash { hash: mac.finalize().into_bytes().into(), day }
    }

    pub fn distinct_id(&self) -> String {
        format!("{ID_PREFIX}{}", URL_SAFE_NO_PAD.encode(&self.hash[..ID_BYTES]))
    }

    /// One session a day: there is nothing to remember when the visitor was last seen. A UUIDv7 of the
    /// day's beginning.
    pub fn session_id(&self) -> Uuid {
        let random = self.hash[ID_BYTES..].first_chunk::<10>().expect("a hash has 32 bytes");
        let milliseconds = u64::try_from(self.day.saturating_mul(DAY_MS)).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(milliseconds, random).into_uuid()
    }
}

/// Second labels under which names are registered in countries, as in `example.co.uk`.
const SECOND_LEVELS: [&str; 16] =
    ["ac", "co", "com", "edu", "go", "gob", "gouv", "gov", "govt", "mil", "ne", "net", "nom", "or", "org", "sch"];

/// What the sites of one owner have in common: `example.com` of `shop.example.com:8080`, with the port,
/// in lower case. Without a public suffix list this is a guess: where it takes too little off, a visitor
/// counts once for each site; where too much, sites under one project token share visitors.
pub(crate) fn root_host(host: &str) -> String {
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    let host = host.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or(host).trim().to_lowercase();
    if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
        return host;
    }
    let (name, port) = host.split_once(':').map_or((&*host, None), |(name, port)| (name, Some(port)));
    let name = name.trim_end_matches('.');
    let labels: Vec<&str> = name.split('.').collect();
    let is_registry = |labels: &[&str]| matches!(labels, [.., second, country] if country.len() == 2 && SECOND_LEVELS.contains(second));
    let kept = match labels.len() {
        _ if name.parse::<IpAddr>().is_ok() => labels.len(),
        count if is_registry(&labels) => count.min(3),
        count => count.min(2),
    };
    let root = labels[labels.len() - kept..].join(".");
    port.map_or_else(|| root.clone(), |port| format!("{root}:{port}"))
}

#[cfg(test)]
mod tests;
