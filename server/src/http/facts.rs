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

/// The peer; if that is a trusted proxy, the right-most address of `X-Forwarded-For` that is none.
/// Addresses further left are whatever the client typed.
pub(super) fn client_ip(edge: &Edge, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
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
    fn pairs_are_decoded() {
        let pairs = query_pairs(Some("a=1+2&b=%2B&c&=d"));
        let expected = [("a", "1 2"), ("b", "+"), ("c", ""), ("", "d")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
