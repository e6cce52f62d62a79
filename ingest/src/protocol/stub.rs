//! Answers of the routes that SDKs ask for flags, while none are defined. `quotaLimited` is left out: in any
//! form it breaks posthog-rs or mutes others.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::encoding;
use super::json::Json;
use super::scanner::{ScanError, Scanner};
use super::{Code, Refusal, RequestFacts};

/// Shape of a `/flags` or `/decide` answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagsShape {
    /// `/decide` without `v`, or `v=1`: a list of keys.
    DecideList,
    /// `/decide?v=2` and `v=3`, `/flags?v=1`: a map of values.
    Values,
    /// `/decide?v=4`, `/flags` from `v=2`.
    Flags,
}

impl FlagsShape {
    /// `version` is the query's `v`.
    pub fn of_decide(version: Option<&str>) -> FlagsShape {
        match version {
            None | Some("" | "1") => FlagsShape::DecideList,
            Some("2" | "3") => FlagsShape::Values,
            Some(_) => FlagsShape::Flags,
        }
    }

    /// `version` is the query's `v`.
    pub fn of_flags(version: Option<&str>) -> FlagsShape {
        if version == Some("1") { FlagsShape::Values } else { FlagsShape::Flags }
    }
}

/// What a flags request says about itself; every part may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagsRequest {
    pub token: Option<String>,
    pub distinct_id: Option<String>,
}

/// Reads the body of `/flags` or `/decide`, encoded like those of capture routes. An empty one is none.
///
/// # Errors
/// 400 for what is not a JSON object, 413 above the limit.
pub fn read_flags_request(
    facts: &RequestFacts,
    body: Bytes,
    decoded_bytes_max: usize,
) -> Result<FlagsRequest, Refusal> {
    let text = match encoding::decode(facts, body, decoded_bytes_max) {
        Ok(payload) => payload.text,
        Err(refusal) if refusal.code == Code::EmptyBody => "{}".to_owned(),
        Err(refusal) => return Err(refusal),
    };
    let mut request = FlagsRequest::default();
    let text = super::repair::repair(&text);
    let mut scanner = Scanner::new(&text);
    let scanned = scanner.object(|scanner, key, _| {
        let value = Json::at(&text, scanner.value()?);
        match key.of(&text) {
            "token" | "$token" | "api_key" => request.token = value.as_text().map(Into::into),
            "distinct_id" | "$distinct_id" => request.distinct_id = value.stringified().map(Into::into),
            _ => {}
        }
        Ok::<(), ScanError>(())
    });
    scanned
        .and_then(|_| scanner.end())
        .map_err(|e| Refusal::new(Code::InvalidJson, format!("failed to parse request: {e}")))?;
    let from_query = || facts.query("token").or_else(|| facts.query("api_key"));
    request.token = request.token.or_else(|| facts.headers.api_key.clone()).or_else(|| from_query().map(str::to_owned));
    Ok(request)
}

/// Body of `/flags` and `/decide` without any flag. `config` are the fields of the remote configuration,
/// which `/decide` always has; `request_id` is a fresh UUID.
pub fn flags_body(shape: FlagsShape, request_id: &str, config: Option<Map<String, Value>>) -> String {
    let mut body = config.unwrap_or_default();
    let empty = || Value::Object(Map::new());
    match shape {
        FlagsShape::DecideList => {
            body.insert("featureFlags".to_owned(), json!([]));
        }
        FlagsShape::Values => {
            body.insert("featureFlags".to_owned(), empty());
            body.insert("featureFlagPayloads".to_owned(), empty());
        }
        FlagsShape::Flags => {
            body.insert("flags".to_owned(), empty());
        }
    }
    body.insert("errorsWhileComputingFlags".to_owned(), json!(false));
    body.insert("requestId".to_owned(), json!(request_id));
    Value::Object(body).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::facts;

    #[test]
    fn answers_have_the_shape_of_their_version() {
        let config = || Map::from_iter([("token".to_owned(), json!("phc_a"))]);
        let tail = r#""errorsWhileComputingFlags":false,"requestId":"id"}"#;
        for (shape, config, expected) in [
            (FlagsShape::of_flags(None), None, format!(r#"{{"flags":{{}},{tail}"#)),
            (FlagsShape::of_flags(Some("2")), None, format!(r#"{{"flags":{{}},{tail}"#)),
            (FlagsShape::of_flags(Some("4")), Some(config()), format!(r#"{{"token":"phc_a","flags":{{}},{tail}"#)),
            (
                FlagsShape::of_flags(Some("1")),
                None,
                format!(r#"{{"featureFlags":{{}},"featureFlagPayloads":{{}},{tail}"#),
            ),
            (FlagsShape::of_decide(None), None, format!(r#"{{"featureFlags":[],{tail}"#)),
            (FlagsShape::of_decide(Some("1")), None, format!(r#"{{"featureFlags":[],{tail}"#)),
            (
                FlagsShape::of_decide(Some("3")),
                Some(config()),
                format!(r#"{{"token":"phc_a","featureFlags":{{}},"featureFlagPayloads":{{}},{tail}"#),
            ),
            (FlagsShape::of_decide(Some("4")), None, format!(r#"{{"flags":{{}},{tail}"#)),
        ] {
            assert_eq!(flags_body(shape, "id", config), expected);
        }
    }

    #[test]
    fn flags_requests_name_token_and_id() {
        for (body, token, id) in [
            (r#"{"token":"t","distinct_id":"u","groups":{"a":1}}"#, Some("t"), Some("u")),
            (r#"{"api_key":"t","$distinct_id":42,"device_id":null,"x":NaN}"#, Some("t"), Some("42")),
            ("eyIkdG9rZW4iOiJ0IiwiZGlzdGluY3RfaWQiOm51bGx9", Some("t"), None),
            ("", None, None),
        ] {
            let request = read_flags_request(&facts(), Bytes::copy_from_slice(body.as_bytes()), 1000).unwrap();
            assert_eq!((request.token.as_deref(), request.distinct_id.as_deref()), (token, id), "{body}");
        }
        let refused = read_flags_request(&facts(), Bytes::from_static(b"{\"a\""), 1000).unwrap_err();
        assert_eq!(refused.code, Code::InvalidJson);
    }
}
