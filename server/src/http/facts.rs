//! Who a request comes from, and its query.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, Request};

use super::Edge;

pub(super) fn peer<B>(request: &Request<B>) -> Option<IpAddr> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map(|ConnectInfo(address)| address.ip().to_canonical())
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The site of the page that sends. One that is no text is none that anybody lists.
pub(super) fn origin(headers: &HeaderMap) -> Option<String> {
    headers.get(ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned())
}

/// Whom an event is from: the client, unless Cloudflare was told to hide its address (managed transform
/// "Remove visitor IP headers"). What the connection shows then is Cloudflare's.
pub(super) fn visitor_ip(edge: &Edge, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
    let is_hidden = edge.enrich.trust_cloudflare && headers.contains_key("cf-ray") && cloudflare_ip(headers).is_none();
    if is_hidden { None } else { client_ip(edge, peer, headers) }
}

/// What Cloudflare says, if it is trusted. Else the peer; if that is a trusted proxy, the right-most
/// address of `X-Forwarded-For` that is none. Addresses further left are whatever the client typed.
pub(super) fn client_ip(edge: &Edge, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
    if edge.enrich.trust_cloudflare
        && let Some(address) = cloudflare_ip(headers)
    {
        return Some(address);
    }
    let trusted = |address: &IpAddr| edge.trusted_proxies.contains(address);
    if !peer.as_ref().is_some_and(trusted) {
        return peer;
    }
    let hops = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = hops.flat_map(|value| value.split(',')).map(str::trim).collect();
    for hop in hops.iter().rev() {
        match parse_hop(hop) {
            Some(address) if trusted(&address) => {}
            Some(address) => return Some(address),
            None => return peer,
        }
    }
    peer
}

/// `CF-Connecting-IP`. Where that is set to a made-up IPv4 address for old servers ("Pseudo IPv4"), the
/// true one is beside it.
fn cloudflare_ip(headers: &HeaderMap) -> Option<IpAddr> {
    let address = |name: &str| header(headers, name)?.trim().parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    let is_made_up = |ip: &IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[0] >= 240);
    let connecting = address("cf-connecting-ip")?;
    Some(address("cf-connecting-ipv6").filter(|_| is_made_up(&connecting)).unwrap_or(connecting))
}

/// An address, perhaps with a port or in brackets.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let address = hop.parse().ok();
    let address = address.or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    let address = address.or_else(|| hop.trim_matches(['[', ']']).parse().ok());
    address.map(|address: IpAddr| address.to_canonical())
}

/// Decoded pairs in the order sent, `+` read as a space.
pub(super) fn query_pairs(query: Option<&str>) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_addresses_in_any_usual_form() {
        for (hop, expected) in [
            ("203.0.113.9", Some("203.0.113.9")),
            ("203.0.113.9:8080", Some("203.0.113.9")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("::ffff:203.0.113.9", Some("203.0.113.9")),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(parse_hop(hop).map(|ip| ip.to_string()).as_deref(), expected, "{hop:?}");
        }
    }

    #[test]
    fn cloudflare_names_the_client() {
        for (headers, expected) in [
            (&[("cf-connecting-ip", "81.2.69.142")][..], Some("81.2.69.142")),
            (&[("cf-connecting-ip", " ::ffff:81.2.69.142 ")], Some("81.2.69.142")),
            (&[("cf-connecting-ip", "240.16.0.1"), ("cf-connecting-ipv6", "2a02::1")], Some("2a02::1")),
            (&[("cf-connecting-ip", "81.2.69.142"), ("cf-connecting-ipv6", "2a02::1")], Some("81.2.69.142")),
            (&[("cf-connecting-ipv6", "2a02::1")], None),
            (&[("cf-connecting-ip", "a fish")], None),
            (&[("x-forwarded-for", "81.2.69.142")], None),
        ] {
            let pairs = headers.iter().map(|(name, value)| {
                (axum::http::HeaderName::from_static(name), axum::http::HeaderValue::from_static(value))
            });
            let found = cloudflare_ip(&pairs.collect());
            assert_eq!(found.map(|ip| ip.to_string()).as_deref(), expected, "{headers:?}");
        }
    }

    #[test]
    fn pairs_are_decoded() {
        let pairs = query_pairs(Some("a=1+2&b=%2B&c&=d"));
        let expected = [("a", "1 2"), ("b", "+"), ("c", ""), ("", "d")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
