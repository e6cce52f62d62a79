//! Tokens for the catalog and keys for the storage: who may, and until when.

use std::collections::HashMap;

use uuid::Uuid;

use super::FakeSettings;
use super::http::{Request, Response};
use super::xml;

#[derive(Debug, Default)]
pub(super) struct Access {
    /// Lent by OAuth, with the end of their time in microseconds.
    tokens: HashMap<String, i64>,
    /// Key ids lent with tables.
    keys: HashMap<String, LentKeys>,
}

#[derive(Clone, Debug)]
pub(super) struct LentKeys {
    pub(super) key_id: String,
    pub(super) secret: String,
    pub(super) session_token: String,
    pub(super) expires_us: Option<i64>,
}

impl Access {
    pub(super) fn lend_token(&mut self, settings: &FakeSettings, now_us: i64) -> String {
        let token = format!("lent-{}", Uuid::new_v4().simple());
        self.tokens.insert(token.clone(), now_us + settings.token_ttl.as_micros() as i64);
        token
    }

    pub(super) fn lend_keys(&mut self, settings: &FakeSettings, now_us: i64) -> LentKeys {
        let number = self.keys.len() + 1;
        let keys = LentKeys {
            key_id: format!("key-{number}"),
            secret: Uuid::new_v4().simple().to_string(),
            session_token: format!("session-{number}-{}", Uuid::new_v4().simple()),
            expires_us: settings.credential_ttl.map(|ttl| now_us + ttl.as_micros() as i64),
        };
        self.keys.insert(keys.key_id.clone(), keys.clone());
        keys
    }

    /// Refuses in plain text, as R2 does.
    pub(super) fn check_token(
        &self,
        request: &Request,
        settings: &FakeSettings,
        now_us: i64,
    ) -> Result<(), Box<Response>> {
        let refused = |status, text| Err(Box::new(Response::text(status, text)));
        let Some(token) = bearer(request) else { return refused(401, "Missing bearer token") };
        if token == settings.token {
            return Ok(());
        }
        match self.tokens.get(token) {
            Some(expires_us) if now_us < *expires_us => Ok(()),
            Some(_) => refused(401, "The token has expired"),
            None => refused(403, "Forbidden"),
        }
    }

    /// Checks that key and session token belong together and are valid still; signatures are not looked at.
    pub(super) fn check_keys(
        &self,
        request: &Request,
        settings: &FakeSettings,
        now_us: i64,
    ) -> Result<(), Box<Response>> {
        let refused = |code, message| Err(Box::new(xml::error(403, code, message)));
        let Some(key_id) = key_id(request) else { return refused("AccessDenied", "Missing signature") };
        let session_token = request.header("x-amz-security-token");
        if key_id == settings.static_key_id && session_token.is_none() {
            return Ok(());
        }
        let Some(keys) = self.keys.get(key_id) else { return refused("InvalidAccessKeyId", "No such key") };
        if session_token != Some(keys.session_token.as_str()) {
            return refused("AccessDenied", "The session token is not that of the key");
        }
        if keys.expires_us.is_some_and(|expires_us| expires_us <= now_us) {
            return refused("ExpiredToken", "The provided token has expired");
        }
        Ok(())
    }

    /// Whether the request comes with a token or keys that were lent out, of which new ones can be had.
    pub(super) fn is_lent(&self, request: &Request) -> bool {
        let token = bearer(request).is_some_and(|token| self.tokens.contains_key(token));
        token || key_id(request).is_some_and(|key_id| self.keys.contains_key(key_id))
    }

    /// Ends the time of what the request came with, if it was lent out.
    pub(super) fn expire(&mut self, request: &Request, now_us: i64) {
        if let Some(expires_us) = bearer(request).and_then(|token| self.tokens.get_mut(token)) {
            *expires_us = now_us;
        }
        if let Some(keys) = key_id(request).and_then(|key_id| self.keys.get_mut(key_id)) {
            keys.expires_us = Some(now_us);
        }
    }
}

fn bearer(request: &Request) -> Option<&str> {
    request.header("authorization")?.strip_prefix("Bearer ")
}

/// `AWS4-HMAC-SHA256 Credential=<key id>/<day>/<region>/s3/aws4_request, …`.
fn key_id(request: &Request) -> Option<&str> {
    let signed = request.header("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let (_, credential) = signed.split_once("Credential=")?;
    credential.split_once('/').map(|(key_id, _)| key_id)
}
