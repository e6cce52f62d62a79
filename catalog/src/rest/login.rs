//! Who we are to a catalog: nobody, a bearer token, or OAuth 2 client credentials with renewal.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;

use super::http::{Http, HttpFailure};
use crate::clock::{Clock, SystemClock};

/// Tokens without a stated life are renewed at this age.
const UNSTATED_LIFE: Duration = Duration::from_secs(3600);

/// How to log in. Secrets are not shown in `Debug`.
#[derive(Clone, Default)]
pub enum Login {
    #[default]
    None,
    Token(String),
    /// OAuth 2 client credentials.
    Client {
        id: String,
        secret: String,
        scope: String,
        /// Without one, `<catalog>/v1/oauth/tokens`.
        token_uri: Option<String>,
    },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Login::None => "None",
            Login::Token(_) => "Token(…)",
            Login::Client { .. } => "Client(…)",
        })
    }
}

/// The present token, renewed before it ends.
#[derive(Debug)]
pub(super) struct Session {
    login: Login,
    token: Mutex<Option<Arc<Token>>>,
    renewing: tokio::sync::Mutex<()>,
}

struct Token {
    secret: String,
    renew_at_ms: i64,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    /// Seconds; some servers write text.
    expires_in: Option<serde_json::Value>,
}

impl TokenAnswer {
    fn life(&self) -> Duration {
        let stated = self.expires_in.as_ref();
        let seconds = stated.and_then(|value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()));
        seconds.and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(UNSTATED_LIFE)
    }
}

impl Session {
    pub(super) fn new(login: Login) -> Session {
        Session { login, token: Mutex::default(), renewing: tokio::sync::Mutex::default() }
    }

    /// Whether a refused token can be replaced.
    pub(super) fn can_renew(&self) -> bool {
        matches!(self.login, Login::Client { .. })
    }

    pub(super) async fn bearer(&self, http: &Http, base: &str) -> Result<Option<String>, HttpFailure> {
        match &self.login {
            Login::None => Ok(None),
            Login::Token(token) => Ok(Some(token.clone())),
            Login::Client { .. } => self.client_token(http, base).await.map(Some),
        }
    }

    /// Forgets a token that was refused.
    pub(super) fn forget(&self, refused: &str) {
        let mut token = self.token.lock();
        if token.as_ref().is_some_and(|token| token.secret == refused) {
            *token = None;
        }
    }

    fn fresh(&self) -> Option<String> {
        let token = self.token.lock().clone()?;
        (SystemClock.now_ms() < token.renew_at_ms).then(|| token.secret.clone())
    }

    async fn client_token(&self, http: &Http, base: &str) -> Result<String, HttpFailure> {
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let _one_at_a_time = self.renewing.lock().await;
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let Login::Client { id, secret, scope, token_uri } = &self.login else { return Ok(String::new()) };
        let uri = token_uri.clone().unwrap_or_else(|| format!("{base}/v1/oauth/tokens"));
        let form =
            [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret), ("scope", scope)];
        let asked_ms = SystemClock.now_ms();
        let answer: TokenAnswer = http.post_form(&uri, &form).await?;
        let renew_at_ms = asked_ms + answer.life().mul_f64(0.8).as_millis() as i64;
        *self.token.lock() = Some(Arc::new(Token { secret: answer.access_token.clone(), renew_at_ms }));
        Ok(answer.access_token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_read_in_every_form() {
        for (text, seconds) in [
            (r#"{"access_token":"t","expires_in":60}"#, 60),
            (r#"{"access_token":"t","expires_in":"90"}"#, 90),
            (r#"{"access_token":"t","expires_in":30.0}"#, 30),
            (r#"{"access_token":"t"}"#, 3_600),
            (r#"{"access_token":"t","expires_in":"soon"}"#, 3_600),
        ] {
            let answer: TokenAnswer = serde_json::from_str(text).expect("a token");
            assert_eq!(answer.life(), Duration::from_secs(seconds), "{text}");
        }
    }
}
