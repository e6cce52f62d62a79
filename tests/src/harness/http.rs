//! HTTP as a client sees it: ordinary requests through ureq, odd ones byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, Request, Response};

/// Largest answer a test reads.
const ANSWER_BYTES_MAX: u64 = 512 * 1024 * 1024;

static AGENT: LazyLock<Agent> = LazyLock::new(agent);

/// Keeps connections alive; every status is an answer.
pub(crate) fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .into()
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("header text"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// Exactly what every SDK takes for success.
    pub(crate) fn assert_sdk_ok(&self) {
        assert_eq!((self.status, self.text().as_str()), (200, r#"{"status":"Ok"}"#));
    }

    /// An error as SDK routes give it: JSON with `status` 0, and readable across origins.
    pub(crate) fn assert_sdk_error(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        assert_eq!(body["status"], 0, "{body}");
        assert!(body["error"].is_string(), "{body}");
    }
}

pub(crate) fn send(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<Answer> {
    send_by(&AGENT, method, url, headers, body)
}

pub(crate) fn send_by(
    agent: &Agent,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Result<Answer> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = match body {
        Some(body) => agent.run(request.body(body)?),
        None => agent.run(request.body(())?),
    };
    read(response.with_context(|| format!("{method} {url}"))?)
}

fn read(response: Response<ureq::Body>) -> Result<Answer> {
    let (parts, mut body) = response.into_parts();
    let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}

/// Writes the bytes as they are and reads until the server closes; send `connection: close`.
pub(crate) fn send_raw(mut stream: TcpStream, request: &[u8]) -> Result<Answer> {
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    // A server may answer and close before it has read all: then writing fails but an answer is there.
    let written = stream.write_all(request);
    let mut bytes = Vec::new();
    let received = stream.read_to_end(&mut bytes);
    if bytes.is_empty() {
        written?;
        received?;
    }
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("no end of headers")?;
    let head = std::str::from_utf8(&bytes[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?.parse()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').context("no colon in header")?;
        headers.append(ureq::http::HeaderName::from_bytes(name.trim().as_bytes())?, value.trim().parse()?);
    }
    Ok(Answer { status, headers, body: bytes[end + 4..].to_vec() })
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
