//! What a client and the server see of each other through a proxy.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::json;

use super::front::{Front, KINDS};
use crate::harness::{Options, PROJECT, Server, http, skipped};

/// A connection whose own address is another one of this machine's loopback addresses.
fn connect_from(source: Ipv4Addr, port: u16) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(source, 0)).unwrap();
    connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap();
    TcpStream::from(socket)
}

fn capture_from(source: Ipv4Addr, port: u16, event: &str, forwarded: &str) {
    let body = json!({"api_key": PROJECT, "event": event, "distinct_id": "visitor", "properties": {}}).to_string();
    let request = format!(
        "POST /i/v0/e/ HTTP/1.1\r\nHost: events.example.com\r\nContent-Type: application/json\r\n{forwarded}\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = http::send_raw(connect_from(source, port), request.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn stored_ip(server: &Server, event: &str) -> serde_json::Value {
    server.sql_with("select properties->>'$ip' from hogflare_events where event = $1", &[json!(event)]).one().clone()
}

#[test]
fn the_stored_ip_is_the_clients_own() {
    if skipped("clients") {
        return;
    }
    let client = Ipv4Addr::new(127, 0, 0, 2);
    let server = Options::new().set("HOGFLARE_TRUSTED_PROXIES", "127.0.0.1").start();
    for kind in KINDS {
        let front = Front::before(kind, &server);
        // What the client typed itself stands left of what the proxy saw, or is gone.
        let typed = ["", "X-Forwarded-For: 203.0.113.9\r\n", "X-Forwarded-For: 203.0.113.9, 127.0.0.1\r\n"];
        for (number, forwarded) in typed.into_iter().enumerate() {
            let event = format!("{kind:?} {number}");
            capture_from(client, front.port(), &event, forwarded);
            assert_eq!(stored_ip(&server, &event), "127.0.0.2", "{event}");
        }
    }
}

#[test]
fn a_forwarding_header_counts_only_from_a_trusted_proxy() {
    let server = Options::new().start();
    let port = server.address().rsplit_once(':').unwrap().1.parse().unwrap();
    capture_from(Ipv4Addr::new(127, 0, 0, 2), port, "forged", "X-Forwarded-For: 203.0.113.9\r\n");
    assert_eq!(stored_ip(&server, "forged"), "127.0.0.2");
}

#[test]
fn large_requests_and_their_refusal_pass_the_proxies() {
    if skipped("clients") {
        return;
    }
    let server = Options::new().set("HOGFLARE_TRUSTED_PROXIES", "127.0.0.1").start();
    for kind in KINDS {
        let front = Front::before(kind, &server);
        let url = format!("{}/batch/", front.url());
        let headers = [("content-type", "application/json"), ("origin", "https://shop.example")];
        let filled = |bytes: usize| {
            let mut body = json!({"api_key": PROJECT, "batch": [{"event": "large", "distinct_id": "d"}]}).to_string();
            body.push_str(&" ".repeat(bytes - body.len()));
            body
        };
        let answer = http::send("POST", &url, &headers, Some(filled(15 << 20).as_bytes())).unwrap();
        answer.assert_sdk_ok();
        let answer = http::send("POST", &url, &headers, Some(filled(22 << 20).as_bytes())).unwrap();
        answer.assert_sdk_error(413);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"), "{kind:?}");
    }
}
