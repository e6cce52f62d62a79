//! Who may read: a token, or a direct caller on this machine where reads are open.

use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hogflare_query::Scope;

use super::{Edge, facts};
use crate::tokens::{Grant, Right};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// No token, or a wrong one.
    Unauthorized,
    /// The page of another site asks.
    ForeignOrigin,
    /// The token reads single projects.
    OneProject,
    /// This address failed too often within a minute.
    TooManyFailures,
}

impl Denied {
    pub(super) fn status(self) -> u16 {
        match self {
            Denied::Unauthorized => 401,
            Denied::ForeignOrigin | Denied::OneProject => 403,
            Denied::TooManyFailures => 429,
        }
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            Denied::Unauthorized => {
                "a read token is needed: send Authorization: Bearer <token>; the file read-token in the data folder \
                 holds one"
            }
            Denied::ForeignOrigin => "pages of other sites may not read",
            Denied::OneProject => {
                "this token reads single projects, in SQL alone; this needs a read token for all projects"
            }
            Denied::TooManyFailures => "too many wrong tokens from this address; wait a minute",
        }
    }
}

/// Headers that a proxy leaves: such a request is not from this machine, whatever its peer.
const FORWARDING: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// For what holds the rows of all projects, or tells of them.
pub(super) fn check<B>(edge: &Edge, request: &Request<B>) -> Result<Grant, Denied> {
    let grant = check_confined(edge, request)?;
    if grant.projects.is_all() { Ok(grant) } else { Err(Denied::OneProject) }
}

/// For what confines itself to the projects of the grant.
pub(super) fn check_confined<B>(edge: &Edge, request: &Request<B>) -> Result<Grant, Denied> {
    let headers = request.headers();
    let peer = facts::peer(request);
    if !same_origin(headers) {
        return Err(Denied::ForeignOrigin);
    }
    let client = facts::client_ip(edge, peer, headers);
    let secret = secret(headers);
    if let Some(grant) = secret.as_deref().and_then(|secret| edge.tokens.grant(secret)) {
        return Ok(grant);
    }
    if edge.open_reads && is_direct_and_local(peer, headers) {
        return Ok(Grant { name: "open".to_owned(), right: Right::Read, projects: Scope::All });
    }
    if secret.is_none() {
        return Err(Denied::Unauthorized);
    }
    // A right token is always heard: behind a proxy all callers may share one address.
    edge.tokens.note_failure(client);
    Err(if edge.tokens.is_blocked(client) { Denied::TooManyFailures } else { Denied::Unauthorized })
}

/// `Bearer <secret>`, or Basic with the secret as the password.
fn secret(headers: &HeaderMap) -> Option<String> {
    let value = facts::header(headers, AUTHORIZATION.as_str())?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        return basic_password(rest.trim());
    }
    None
}

pub(super) fn basic_password(encoded: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

fn same_origin(headers: &HeaderMap) -> bool {
    let site = facts::header(headers, "sec-fetch-site");
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return false;
    }
    let Some(origin) = facts::header(headers, ORIGIN.as_str()) else { return true };
    let host = facts::header(headers, HOST.as_str()).unwrap_or_default();
    origin.split_once("://").is_some_and(|(_, origin_host)| origin_host.eq_ignore_ascii_case(host))
}

fn is_direct_and_local(peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
    let local_peer = peer.is_some_and(|peer| peer.is_loopback());
    let forwarded = FORWARDING.iter().any(|name| headers.contains_key(*name))
        || headers.keys().any(|name| name.as_str().starts_with("cf-"));
    local_peer && !forwarded && facts::header(headers, HOST.as_str()).is_some_and(is_local_host)
}

fn is_local_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|char| char.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn only_direct_local_callers_are_local() {
        let loopback: Option<IpAddr> = Some("127.0.0.1".parse().expect("an address"));
        for (peer, pairs, expected) in [
            (loopback, vec![("host", "127.0.0.1:4567")], true),
            (loopback, vec![("host", "localhost")], true),
            (loopback, vec![("host", "[::1]:80")], true),
            (loopback, vec![("host", "events.example.com")], false),
            (loopback, vec![("host", "127.0.0.1"), ("x-forwarded-for", "203.0.113.1")], false),
            (loopback, vec![("host", "127.0.0.1"), ("cf-ray", "1")], false),
            (Some("203.0.113.1".parse().expect("an address")), vec![("host", "127.0.0.1")], false),
            (loopback, vec![], false),
        ] {
            assert_eq!(is_direct_and_local(peer, &headers(&pairs)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_told_apart() {
        for (pairs, expected) in [
            (vec![], true),
            (vec![("host", "a.example"), ("origin", "https://a.example")], true),
            (vec![("host", "a.example"), ("origin", "https://b.example")], false),
            (vec![("host", "a.example"), ("origin", "null")], false),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "none")], true),
        ] {
            assert_eq!(same_origin(&headers(&pairs)), expected, "{pairs:?}");
        }
    }
}
