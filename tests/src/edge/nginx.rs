//! nginx with the file that docs/deployment offers.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::clients::installed;
use crate::harness::{Options, PROJECT, Server, http, read_text, skipped, wait_for};

/// A running nginx; dropping it ends the process.
#[derive(Debug)]
pub(super) struct Nginx {
    child: Child,
    port: u16,
    url: String,
    _folder: TempDir,
}

impl Nginx {
    /// Our deployment file with only the two addresses exchanged, inside the smallest main file.
    pub(super) fn before(server: &Server) -> Self {
        let port = free_port();
        let site = exchanged(
            &read_text("docs/deployment/nginx.conf"),
            &[("127.0.0.1:4567", server.address()), ("listen 80;", &format!("listen 127.0.0.1:{port};"))],
        );
        let folder = TempDir::with_prefix("hogflare-nginx-").unwrap();
        let path = folder.path().display();
        let main = format!(
            "daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/error.log;\n\
             events {{}}\nhttp {{\naccess_log off;\nclient_body_temp_path {path}/body;\nproxy_temp_path {path}/proxy;\n\
             fastcgi_temp_path {path}/fastcgi;\nuwsgi_temp_path {path}/uwsgi;\nscgi_temp_path {path}/scgi;\n{site}\n}}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, main).unwrap();
        let mut child = Command::new(installed("HOGFLARE_TEST_NGINX"))
            .arg("-p")
            .arg(folder.path())
            .arg("-e")
            .arg(folder.path().join("error.log"))
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cannot start nginx");
        wait_for("nginx", || {
            if let Some(status) = child.try_wait().unwrap() {
                let mut said = String::new();
                child.stderr.take().map(|mut stream| stream.read_to_string(&mut said));
                panic!("nginx ended with {status}: {said}");
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Nginx { child, port, url: format!("http://127.0.0.1:{port}"), _folder: folder }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn exchanged(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "the file must say {from:?} once");
        text.replace(from, to)
    })
}

/// nginx cannot say which port it took, so we ask the system for one that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

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
    let nginx = Nginx::before(&server);
    capture_from(client, nginx.port, "plain", "");
    assert_eq!(stored_ip(&server, "plain"), "127.0.0.2");
    // nginx appends to what the client typed, so the first address is the client's invention.
    capture_from(client, nginx.port, "forged", "X-Forwarded-For: 203.0.113.9\r\n");
    assert_eq!(stored_ip(&server, "forged"), "127.0.0.2");
    capture_from(client, nginx.port, "forged twice", "X-Forwarded-For: 203.0.113.9, 127.0.0.1\r\n");
    assert_eq!(stored_ip(&server, "forged twice"), "127.0.0.2");
}

#[test]
fn a_forwarding_header_counts_only_from_a_trusted_proxy() {
    let server = Options::new().start();
    let port = server.address().rsplit_once(':').unwrap().1.parse().unwrap();
    capture_from(Ipv4Addr::new(127, 0, 0, 2), port, "forged", "X-Forwarded-For: 203.0.113.9\r\n");
    assert_eq!(stored_ip(&server, "forged"), "127.0.0.2");
}

#[test]
fn large_requests_and_their_refusal_pass_nginx() {
    if skipped("clients") {
        return;
    }
    let server = Options::new().set("HOGFLARE_TRUSTED_PROXIES", "127.0.0.1").start();
    let nginx = Nginx::before(&server);
    let url = format!("{}/batch/", nginx.url());
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
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
}
