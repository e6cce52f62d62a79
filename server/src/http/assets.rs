//! posthog-js itself: html snippets load `array.js` from here, and what is loaded later comes from here too.
//!
//! One release is built in and served for every version that is asked for. A name that is absent is a real 404:
//! only then does posthog-js try its other address.

mod bundles;

use std::io::Write;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, VARY};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use flate2::Compression;
use flate2::write::GzEncoder;
use hogflare_ingest::protocol::{Code, Refusal};

use super::{Services, conditional, cors, facts, remote_config, sdk};
use bundles::Bundle;

pub(super) const SCRIPT: &str = "application/javascript; charset=utf-8";

/// The release in the address is ours, so that its bytes never change.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Another release: ours is given, and the next one of ours after an update.
const A_DAY: &str = "public, max-age=86400";
const FIVE_MINUTES: &str = "public, max-age=300";

const NOT_BUILT_IN: &str = "the scripts of posthog-js are not built into this binary: install Node 20 with npm, \
                            run cargo xtask web and build it again\n";

/// Said at the start, if the scripts are missing.
pub(crate) fn warning() -> Option<&'static str> {
    (!bundles::are_built_in()).then_some(NOT_BUILT_IN.trim_ascii_end())
}

pub(super) fn routes(services: &Services) -> Router {
    Router::new()
        .route("/static/{file}", any(|Path(file): Path<String>, request: Request<Body>| asset(file, None, request)))
        .route(
            "/static/{version}/{file}",
            any(|Path((version, file)): Path<(String, String)>, request: Request<Body>| {
                asset(file, Some(version), request)
            }),
        )
        .route("/array/{token}/array.js", any(array))
        .with_state(services.clone())
}

async fn asset(file: String, version: Option<String>, request: Request<Body>) -> Response {
    let headers = request.headers();
    let mut response = match *request.method() {
        Method::OPTIONS => return cors::preflight(headers),
        Method::GET | Method::HEAD => match find(&file) {
            Ok(bundle) => {
                let asked = version.or_else(|| asked_version(&request));
                serve(bundle, asked.as_deref(), headers)
            }
            Err(missing) => not_found(missing),
        },
        _ => only_get(),
    };
    allow(headers, &mut response);
    response
}

/// posthog-js falls back to `?v=<version>`.
fn asked_version(request: &Request<Body>) -> Option<String> {
    let pairs = facts::query_pairs(request.uri().query());
    pairs.into_iter().find_map(|(name, value)| (name == "v").then_some(value))
}

/// What a 404 says otherwise.
fn find(file: &str) -> Result<&'static Bundle, String> {
    let found = file.strip_suffix(".js").and_then(bundles::find);
    found.ok_or_else(|| match (bundles::are_built_in(), file) {
        (false, _) => NOT_BUILT_IN.to_owned(),
        (true, "toolbar.js") => "the toolbar is not part of the package posthog-js\n".to_owned(),
        (true, _) => format!("posthog-js {} has no such script\n", bundles::version()),
    })
}

fn serve(bundle: &'static Bundle, asked: Option<&str>, headers: &HeaderMap) -> Response {
    let cache_control = match asked {
        None => FIVE_MINUTES,
        Some(version) if version == bundles::version() => FOR_EVER,
        Some(_) => A_DAY,
    };
    let gzip = accepts_gzip(headers);
    let body = || if gzip { Body::from(bundle.gzip()) } else { Body::from(bundle.text()) };
    let response = conditional::answer(headers, bundle.tag, cache_control, SCRIPT, body);
    encoded(response, gzip)
}

/// `array.js` with the remote configuration in front, which saves a request.
async fn array(Path(token): Path<String>, State(services): State<Services>, request: Request<Body>) -> Response {
    let headers = request.headers();
    if request.method() != Method::OPTIONS
        && let Some(response) = remote_config::refused(&services, &token, headers)
    {
        return response;
    }
    let config = services.edge.remote_config_of(&token);
    let mut response = match *request.method() {
        Method::OPTIONS => return cors::preflight(headers),
        Method::GET | Method::HEAD => match (config.script(&token), find("array.js")) {
            (None, _) => remote_config::no_such_token(),
            (_, Err(missing)) => not_found(missing),
            (Some(config), Ok(bundle)) => array_after(config, bundle, headers),
        },
        _ => only_get(),
    };
    allow(headers, &mut response);
    response
}

fn array_after(config: String, bundle: &'static Bundle, headers: &HeaderMap) -> Response {
    let gzip = accepts_gzip(headers);
    let tag =
        format!("{}-{}", remote_config::tag(&config).trim_end_matches('"'), bundle.tag.trim_start_matches("W/\""));
    let body = || {
        let text = [config.as_bytes(), b"\n", &bundle.text()].concat();
        // Some milliseconds, which would hold up the other requests of this thread.
        Body::from(if gzip { tokio::task::block_in_place(|| compress(&text)) } else { text })
    };
    let response = conditional::answer(headers, &tag, FIVE_MINUTES, SCRIPT, body);
    encoded(response, gzip)
}

fn compress(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

fn encoded(mut response: Response, gzip: bool) -> Response {
    if gzip && response.status() == StatusCode::OK {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| {
        let mut words = part.split(';').map(str::trim);
        let gzip = words.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        gzip && !words.any(|word| word.strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0)))
    })
}

fn only_get() -> Response {
    sdk::refused(&Refusal::new(Code::MethodNotAllowed, "use GET"))
}

fn not_found(text: String) -> Response {
    (StatusCode::NOT_FOUND, [(CACHE_CONTROL, HeaderValue::from_static("no-store"))], text).into_response()
}

fn allow(request: &HeaderMap, response: &mut Response) {
    cors::allow(request, response.headers_mut());
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_those_that_take_it() {
        for (accepted, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("deflate, gzip; q=1.0", true),
            ("br, zstd", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("xgzip", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            assert_eq!(accepts_gzip(&headers), expected, "{accepted}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
