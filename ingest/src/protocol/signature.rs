//! Signed requests: an HMAC over the body exactly as sent, still compressed.
//!
//! `X-POSTHOG-SIGNATURE: sha256=<hex>`, or `X-HUB-SIGNATURE: sha1=<hex>` as older senders have it.
//! Browsers cannot sign: their secret would be public.

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;

use super::{Code, Method, Refusal, RequestFacts};

/// Checks the signature of a request; the stronger one decides when both are there.
///
/// # Errors
/// 401 `signature_required` without one, also for GET, whose data nothing could sign;
/// 401 `signature_mismatch` for a wrong one.
pub fn verify(facts: &RequestFacts, body: &[u8], secret: &[u8]) -> Result<(), Refusal> {
    let headers = &facts.headers;
    if facts.method == Method::Get || facts.query("data").is_some() {
        return Err(Refusal::new(Code::SignatureRequired, "requests must be signed, and data in the query cannot be"));
    }
    let matches = match (headers.signature.as_deref(), headers.hub_signature.as_deref()) {
        (Some(signature), _) => {
            hex_after("sha256=", signature).is_some_and(|tag| matches::<Hmac<Sha256>>(secret, body, &tag))
        }
        (None, Some(signature)) => {
            hex_after("sha1=", signature).is_some_and(|tag| matches::<Hmac<Sha1>>(secret, body, &tag))
        }
        (None, None) => {
            return Err(Refusal::new(Code::SignatureRequired, "the header X-POSTHOG-SIGNATURE is missing"));
        }
    };
    if matches { Ok(()) } else { Err(Refusal::new(Code::SignatureMismatch, "the signature does not match the body")) }
}

/// Compares in constant time.
fn matches<M: Mac + hmac::digest::KeyInit>(secret: &[u8], body: &[u8], tag: &[u8]) -> bool {
    let mut mac = <M as Mac>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(body);
    mac.verify_slice(tag).is_ok()
}

fn hex_after(prefix: &str, header: &str) -> Option<Vec<u8>> {
    let digits = header.trim().strip_prefix(prefix)?.as_bytes();
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(nibble(*high)? << 4 | nibble(*low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::facts;

    // RFC 4231 and RFC 2202, test case 2.
    const KEY: &[u8] = b"Jefe";
    const BODY: &[u8] = b"what do ya want for nothing?";
    const SHA256: &str = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    const SHA1: &str = "sha1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";

    fn check(method: Method, signature: Option<&str>, hub: Option<&str>) -> Option<Code> {
        let mut facts = facts();
        facts.method = method;
        facts.headers.signature = signature.map(str::to_owned);
        facts.headers.hub_signature = hub.map(str::to_owned);
        verify(&facts, BODY, KEY).err().map(|refusal| refusal.code)
    }

    #[test]
    fn only_right_signatures_pass() {
        let upper = SHA256.to_uppercase().replace("SHA256", "sha256");
        let wrong = SHA256.replace("843", "844");
        let short = &SHA256[..SHA256.len() - 1];
        let mismatch = Some(Code::SignatureMismatch);
        for (method, signature, hub, expected) in [
            (Method::Post, Some(SHA256), None, None),
            (Method::Post, Some(upper.as_str()), None, None),
            (Method::Post, None, Some(SHA1), None),
            (Method::Post, Some(wrong.as_str()), Some(SHA1), mismatch),
            (Method::Post, Some(short), None, mismatch),
            (Method::Post, Some("sha256="), None, mismatch),
            (Method::Post, Some(SHA1), None, mismatch),
            (Method::Post, None, Some(SHA256), mismatch),
            (Method::Post, None, None, Some(Code::SignatureRequired)),
            (Method::Get, Some(SHA256), None, Some(Code::SignatureRequired)),
        ] {
            assert_eq!(check(method, signature, hub), expected, "{signature:?} {hub:?}");
        }
    }

    #[test]
    fn data_in_the_query_cannot_be_signed() {
        let mut facts = facts();
        facts.headers.signature = Some(SHA256.to_owned());
        facts.query.push(("data".to_owned(), "e30=".to_owned()));
        assert_eq!(verify(&facts, BODY, KEY).map_err(|refusal| refusal.code), Err(Code::SignatureRequired));
    }
}
