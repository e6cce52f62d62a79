//! What a catalog's answer means for a commit. Total: every answer has a meaning, and only answers
//! that prove it say "not applied".

use std::time::Duration;

/// Whose error names and limits apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// The Iceberg REST specification.
    #[default]
    Spec,
    /// Cloudflare R2 Data Catalog: a lost race is 400 `ConcurrentUpdateError`; writes are limited.
    R2,
}

/// The parts of an answer that matter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// `error.type` of the protocol's error model; empty for other bodies.
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A requirement failed, or this is our own commit again.
    Conflict,
    Unknown,
    RateLimited(Duration),
    /// The login ended before anything was applied.
    LoginEnded,
    Rejected,
}

/// Used where a 429 does not say how long.
const RETRY_AFTER: Duration = Duration::from_secs(10);

pub(crate) fn classify(refusal: &Refusal, profile: Profile) -> Meaning {
    let race = ["CommitFailedException", "ConcurrentUpdateError", "ConcurrentModificationException"];
    match refusal.status {
        429 => Meaning::RateLimited(refusal.retry_after.unwrap_or(RETRY_AFTER)),
        401 | 419 => Meaning::LoginEnded,
        409 if refusal.kind == "FailedToSetProperties" => Meaning::Rejected,
        409 | 412 => Meaning::Conflict,
        400 if race.contains(&refusal.kind.as_str()) => Meaning::Conflict,
        // R2 names races in words too when its own two tries lost.
        400 if profile == Profile::R2 && refusal.message.contains("concurrent") => Meaning::Conflict,
        408 => Meaning::Unknown,
        400..=499 => Meaning::Rejected,
        300..=399 => Meaning::Rejected,
        _ => Meaning::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_a_meaning() {
        let check = |status: u16, kind: &str, profile: Profile, expected: Meaning| {
            let refusal = Refusal { status, kind: kind.to_owned(), ..Refusal::default() };
            assert_eq!(classify(&refusal, profile), expected, "{status} {kind} {profile:?}");
        };
        for profile in [Profile::Spec, Profile::R2] {
            check(400, "ConcurrentUpdateError", profile, Meaning::Conflict);
            check(400, "BadRequestException", profile, Meaning::Rejected);
            check(401, "", profile, Meaning::LoginEnded);
            check(403, "", profile, Meaning::Rejected);
            check(404, "NoSuchTableException", profile, Meaning::Rejected);
            check(408, "", profile, Meaning::Unknown);
            check(409, "CommitFailedException", profile, Meaning::Conflict);
            check(409, "", profile, Meaning::Conflict);
            check(409, "FailedToSetProperties", profile, Meaning::Rejected);
            check(418, "", profile, Meaning::Rejected);
            check(419, "AuthenticationTimeoutException", profile, Meaning::LoginEnded);
            check(429, "TooManyRequestsException", profile, Meaning::RateLimited(RETRY_AFTER));
            check(302, "", profile, Meaning::Rejected);
            for status in [500, 501, 502, 503, 504, 520, 599] {
                check(status, "CommitStateUnknownException", profile, Meaning::Unknown);
            }
        }
        let limited = Refusal { status: 429, retry_after: Some(Duration::from_secs(60)), ..Refusal::default() };
        assert_eq!(classify(&limited, Profile::R2), Meaning::RateLimited(Duration::from_secs(60)));
        let in_words = Refusal { status: 400, message: "concurrent update".to_owned(), ..Refusal::default() };
        assert_eq!(classify(&in_words, Profile::R2), Meaning::Conflict);
        assert_eq!(classify(&in_words, Profile::Spec), Meaning::Rejected);
    }
}
