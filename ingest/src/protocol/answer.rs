//! What a capture route answers. SDKs look at the status first: posthog-js drops a request on any 4xx,
//! repeats it on anything else than exactly 200, and the Ruby client wants a JSON object.

use std::borrow::Cow;

/// Body of a 200.
pub const SUCCESS_BODY: &str = r#"{"status":"Ok"}"#;

/// Why one event was not stored as sent; the `reason` of its dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    MissingEvent,
    EmptyEvent,
    /// V1 cuts no names and ids.
    EventNameTooLong,
    MissingDistinctId,
    DistinctIdTooLong,
    /// One that stands for nobody, such as `null`; only V1 refuses it.
    InvalidDistinctId,
    /// V1 answers by uuid.
    MissingUuid,
    InvalidUuid,
    InvalidTimestamp,
    InvalidOptions,
    InvalidProperties,
    NotAnObject,
    TooDeep,
    EventTooLarge,
    /// A recording while recording is off: kept aside, not the client's fault.
    RecordingOff,
    /// It is about a person, and asks for none.
    PersonProcessingOff,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::MissingEvent => "missing_event",
            Reason::EmptyEvent => "empty_event",
            Reason::EventNameTooLong => "event_name_too_long",
            Reason::MissingDistinctId => "missing_distinct_id",
            Reason::DistinctIdTooLong => "distinct_id_too_long",
            Reason::InvalidDistinctId => "invalid_distinct_id",
            Reason::MissingUuid => "missing_uuid",
            Reason::InvalidUuid => "invalid_uuid",
            Reason::InvalidTimestamp => "invalid_timestamp",
            Reason::InvalidOptions => "invalid_options",
            Reason::InvalidProperties => "invalid_properties",
            Reason::NotAnObject => "not_an_object",
            Reason::TooDeep => "too_deep",
            Reason::EventTooLarge => "event_too_large",
            Reason::RecordingOff => "recording_off",
            Reason::PersonProcessingOff => "person_processing_off",
        }
    }
}

/// Why a request was refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    EmptyBody,
    InvalidEncoding,
    InvalidJson,
    NoEvents,
    /// V1: headers that it requires, or their values.
    MissingHeaders,
    InvalidHeader,
    /// V1: keys beside the events.
    InvalidBatch,
    UnsupportedMediaType,
    UnsupportedEncoding,
    MissingToken,
    InvalidToken,
    InconsistentTokens,
    UnknownToken,
    /// Wrong keys, too often.
    TooManyFailures,
    /// A page of a site that the project does not list.
    OriginNotAllowed,
    BodyTooLarge,
    SignatureRequired,
    SignatureMismatch,
    MethodNotAllowed,
    TooSlow,
    Overloaded,
    LogFull,
    ShuttingDown,
    /// No event of the request could be stored; this is why the first could not.
    Rejected(Reason),
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Code::EmptyBody => "empty_body",
            Code::InvalidEncoding => "invalid_encoding",
            Code::InvalidJson => "invalid_json",
            Code::NoEvents => "no_events",
            Code::MissingHeaders => "missing_headers",
            Code::InvalidHeader => "invalid_header",
            Code::InvalidBatch => "invalid_batch",
            Code::UnsupportedMediaType => "unsupported_media_type",
            Code::UnsupportedEncoding => "unsupported_encoding",
            Code::MissingToken => "missing_token",
            Code::InvalidToken => "invalid_token",
            Code::InconsistentTokens => "inconsistent_tokens",
            Code::UnknownToken => "unknown_token",
            Code::TooManyFailures => "too_many_failures",
            Code::OriginNotAllowed => "origin_not_allowed",
            Code::BodyTooLarge => "body_too_large",
            Code::SignatureRequired => "signature_required",
            Code::SignatureMismatch => "signature_mismatch",
            Code::MethodNotAllowed => "method_not_allowed",
            Code::TooSlow => "request_timeout",
            Code::Overloaded => "overloaded",
            Code::LogFull => "log_full",
            Code::ShuttingDown => "shutting_down",
            Code::Rejected(reason) => reason.as_str(),
        }
    }

    /// HTTP status. Pressure is 503, never 429: browsers drop their events on every 4xx.
    pub fn status(self) -> u16 {
        match self {
            Code::EmptyBody | Code::InvalidEncoding | Code::InvalidJson | Code::NoEvents => 400,
            Code::MissingHeaders | Code::InvalidHeader | Code::InvalidBatch => 400,
            Code::MissingToken | Code::InvalidToken | Code::InconsistentTokens | Code::UnknownToken => 401,
            Code::SignatureRequired | Code::SignatureMismatch => 401,
            Code::OriginNotAllowed => 403,
            Code::TooManyFailures => 429,
            Code::MethodNotAllowed => 405,
            Code::TooSlow => 408,
            Code::BodyTooLarge | Code::Rejected(Reason::EventTooLarge) => 413,
            Code::UnsupportedMediaType | Code::UnsupportedEncoding => 415,
            Code::Overloaded | Code::LogFull | Code::ShuttingDown => 503,
            Code::Rejected(_) => 400,
        }
    }

    /// Value of `Retry-After` in seconds, for what passes by itself.
    pub fn retry_after_seconds(self) -> Option<u32> {
        match self {
            Code::Overloaded | Code::ShuttingDown => Some(5),
            Code::LogFull => Some(30),
            _ => None,
        }
    }
}

/// A request that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct Refusal {
    pub code: Code,
    /// One sentence for the developer who reads the answer; holds nothing of the payload.
    pub detail: Cow<'static, str>,
}

impl Refusal {
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code, detail: detail.into() }
    }

    pub fn status(&self) -> u16 {
        self.code.status()
    }

    /// JSON object with the fields that the various SDKs look for.
    pub fn body(&self) -> String {
        let kind = match self.status() {
            401 | 403 => "authentication_error",
            503 => "server_error",
            _ => "validation_error",
        };
        let (code, detail) = (self.code.as_str(), &*self.detail);
        let body = serde_json::json!({
            "status": 0, "type": kind, "code": code, "detail": detail, "error": detail, "attr": null,
        });
        body.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_a_status_and_a_body() {
        for (code, status, kind, retry) in [
            (Code::InvalidJson, 400, "validation_error", None),
            (Code::MissingToken, 401, "authentication_error", None),
            (Code::SignatureMismatch, 401, "authentication_error", None),
            (Code::OriginNotAllowed, 403, "authentication_error", None),
            (Code::MethodNotAllowed, 405, "validation_error", None),
            (Code::TooSlow, 408, "validation_error", None),
            (Code::UnsupportedMediaType, 415, "validation_error", None),
            (Code::BodyTooLarge, 413, "validation_error", None),
            (Code::Rejected(Reason::InvalidUuid), 400, "validation_error", None),
            (Code::Rejected(Reason::EventTooLarge), 413, "validation_error", None),
            (Code::Overloaded, 503, "server_error", Some(5)),
            (Code::LogFull, 503, "server_error", Some(30)),
        ] {
            let refusal = Refusal::new(code, "a \"quoted\" sentence");
            assert_eq!(refusal.status(), status, "{code:?}");
            assert_eq!(code.retry_after_seconds(), retry, "{code:?}");
            let expected = format!(
                r#"{{"status":0,"type":"{kind}","code":"{}","detail":"a \"quoted\" sentence","error":"a \"quoted\" sentence","attr":null}}"#,
                code.as_str()
            );
            assert_eq!(refusal.body(), expected);
        }
    }
}
