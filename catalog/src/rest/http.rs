//! Requests to a catalog: limited in time, never repeated by the HTTP layer.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{DATE, ETAG, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder};
use serde::de::DeserializeOwned;

use super::classify::Refusal;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result, chain};
use crate::telemetry;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Answers of catalogs are table metadata: megabytes at most.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const USER_AGENT: &str = concat!("hogflare/", env!("CARGO_PKG_VERSION"));

#[derive(Debug)]
pub(super) struct Http {
    reads: Client,
    /// Its connections are not used again: a connection that ends under a POST would leave open whether
    /// the POST arrived.
    writes: Client,
    /// Milliseconds by which the catalog's clock is ahead of ours, from its last answer.
    skew_ms: AtomicI64,
}

/// A request that brought no answer of the kind hoped for.
#[derive(Clone, Debug)]
pub(crate) enum HttpFailure {
    /// The catalog answered with an error.
    Refused(Refusal),
    /// No answer, or one that cannot be read: what was asked for may have been done.
    Unclear(String),
    /// The request never left: nothing was done.
    NotSent { reason: String, tls: bool },
}

impl HttpFailure {
    pub(crate) fn message(&self) -> String {
        match self {
            HttpFailure::Refused(refusal) if refusal.message.is_empty() => format!("status {}", refusal.status),
            HttpFailure::Refused(refusal) => format!("status {}: {}", refusal.status, refusal.message),
            HttpFailure::Unclear(reason) | HttpFailure::NotSent { reason, .. } => reason.clone(),
        }
    }
}

/// An answer with a 2xx or 304.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    pub(super) body: Bytes,
}

impl Http {
    pub(super) fn new(request_limit: Duration, extra_roots_pem: Option<&Arc<[u8]>>) -> Result<Http> {
        let roots = extra_roots_pem.map(|pem| Certificate::from_pem_bundle(pem));
        let roots = roots
            .transpose()
            .map_err(|error| Error::Refused(format!("the extra root certificates are not PEM: {}", chain(&error))))?;
        let build = |idle: usize| {
            let mut builder = Client::builder()
                .user_agent(USER_AGENT)
                .connect_timeout(CONNECT_LIMIT)
                .timeout(request_limit)
                .redirect(Policy::none())
                .retry(reqwest::retry::never())
                .http1_only()
                .pool_max_idle_per_host(idle);
            for root in roots.iter().flatten() {
                builder = builder.add_root_certificate(root.clone());
            }
            builder.build().map_err(|error| Error::Refused(format!("cannot set up TLS: {}", chain(&error))))
        };
        Ok(Http { reads: build(4)?, writes: build(0)?, skew_ms: AtomicI64::new(0) })
    }

    pub(super) fn read(&self, url: &str) -> RequestBuilder {
        self.reads.get(url)
    }

    pub(super) fn write(&self, url: &str) -> RequestBuilder {
        self.writes.post(url)
    }

    pub(super) fn delete(&self, url: &str) -> RequestBuilder {
        self.writes.delete(url)
    }

    pub(super) fn skew_ms(&self) -> i64 {
        self.skew_ms.load(Ordering::Relaxed)
    }

    pub(super) async fn post_form<T: DeserializeOwned>(
        &self,
        url: &str,
        form: &[(&str, &str)],
    ) -> Result<T, HttpFailure> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.write(url).header("content-type", "application/x-www-form-urlencoded").body(body);
        telemetry::catalog_request("login");
        let answer = self.send(request).await?;
        parse(&answer.body)
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Answer, HttpFailure> {
        let mut response = request.send().await.map_err(|error| failure(&error))?;
        self.note_date(response.headers());
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES_MAX => body.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(HttpFailure::Unclear("the answer is too large".to_owned())),
                Ok(None) => break,
                // An error that is cut short is still an error; an answer that is cut short is not one.
                Err(_) if status >= 300 => break,
                Err(error) => return Err(HttpFailure::Unclear(format!("the answer was cut: {}", chain(&error)))),
            }
        }
        if (200..300).contains(&status) || status == 304 {
            let etag = headers.get(ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
            return Ok(Answer { status, etag, body: Bytes::from(body) });
        }
        Err(HttpFailure::Refused(refusal(status, &headers, &body)))
    }

    fn note_date(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|value| value.to_str().ok());
        if let Some(there) = date.and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok()) {
            let skew_ms = there.timestamp_millis() - SystemClock.now_ms();
            self.skew_ms.store(skew_ms, Ordering::Relaxed);
        }
    }
}

// No part of the body: it may hold tokens and keys.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpFailure> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        HttpFailure::Unclear(format!(
            "the answer cannot be read at line {line}, column {column} ({:?})",
            error.classify()
        ))
    })
}

fn failure(error: &reqwest::Error) -> HttpFailure {
    let reason = chain(&error.without_url_ref());
    let mut cause = error.source();
    let mut tls = false;
    while let Some(source) = cause {
        let text = source.to_string();
        tls |= text.contains("certificate") || text.contains("Certificate") || text.contains("TLS");
        cause = source.source();
    }
    if error.is_connect() || error.is_builder() {
        return HttpFailure::NotSent { reason, tls };
    }
    HttpFailure::Unclear(reason)
}

/// The address may carry the account, which need not be in every log line.
trait WithoutUrl {
    fn without_url_ref(&self) -> Shown<'_>;
}

impl WithoutUrl for reqwest::Error {
    fn without_url_ref(&self) -> Shown<'_> {
        Shown(self)
    }
}

#[derive(Debug)]
struct Shown<'a>(&'a reqwest::Error);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = self.0.url().and_then(|url| url.host_str()).unwrap_or("the catalog");
        let what = match self.0 {
            error if error.is_timeout() => "no answer in time from",
            error if error.is_connect() => "cannot connect to",
            _ => "no answer from",
        };
        write!(f, "{what} {host}")
    }
}

impl std::error::Error for Shown<'_> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// Bodies are the protocol's error model, OAuth's, or plain text.
fn refusal(status: u16, headers: &HeaderMap, body: &[u8]) -> Refusal {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let kind = text(&json["error"]["type"]).or_else(|| text(&json["error"])).unwrap_or_default();
    let stated = text(&json["error"]["message"]).or_else(|| text(&json["error_description"]));
    let plain = || String::from_utf8_lossy(body).chars().take(300).collect::<String>().trim().to_owned();
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let mut message = stated.unwrap_or_else(plain);
    if let Some(target) = header(LOCATION).filter(|_| (300..400).contains(&status)) {
        message = format!("the catalog redirects to {target}; use that address");
    }
    let retry_after = header(RETRY_AFTER).and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
    Refusal { status, kind, message, retry_after }
}
