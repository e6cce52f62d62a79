//! Answers that a caller may already have.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// 200 with the body, or 304 if the request names its entity tag (`W/"…"` or `"…"`). Caches keep either as
/// `cache_control` says.
pub(super) fn answer(
    request: &HeaderMap,
    tag: &str,
    cache_control: &'static str,
    content_type: &'static str,
    body: impl FnOnce() -> Body,
) -> Response {
    let mut response = match has(request, tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => (StatusCode::OK, body()).into_response(),
    };
    let headers: [(HeaderName, Option<HeaderValue>); 3] = [
        (ETAG, HeaderValue::from_str(tag).ok()),
        (CACHE_CONTROL, Some(HeaderValue::from_static(cache_control))),
        (CONTENT_TYPE, (response.status() == StatusCode::OK).then(|| HeaderValue::from_static(content_type))),
    ];
    response.headers_mut().extend(headers.into_iter().filter_map(|(name, value)| Some((name, value?))));
    response
}

/// RFC 9110, 13.1.2: compared weakly.
fn has(request: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let known = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).any(|known| known.trim() == "*" || opaque(known) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_any_of_its_forms() {
        for (known, expected) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", W/\"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            let mut request = HeaderMap::new();
            request.insert(IF_NONE_MATCH, HeaderValue::from_static(known));
            assert_eq!(has(&request, "W/\"a\""), expected, "{known}");
        }
        assert!(!has(&HeaderMap::new(), "W/\"a\""));
    }
}
