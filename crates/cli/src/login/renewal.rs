//! A renewal: a refresh token for a new access token (RFC 6749, section 6), and mostly for a new refresh token.

use super::{
    Tokens,
    client::{end_of, token},
    now,
};
use crate::https::{Endpoint, HttpsError};
use bottle_spec::{
    login::{LoginSource, RequestForm},
    notify::{WebhookUrl, WebhookUrlError},
    secret::Secret,
};
use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::Full;
use serde_json::{Map, Value, json};
use std::{io, thread, time::Duration};

const PATIENCE: Duration = Duration::from_secs(30);
/// Of an answer, in bytes.
const ANSWER_MAX: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RenewalError {
    #[error("its server's address is none")]
    Url(#[source] WebhookUrlError),
    #[error("its server cannot be asked")]
    Https(#[source] HttpsError),
    #[error("its server cannot be asked")]
    Thread(#[source] io::Error),
    #[error("its server did not answer within {} seconds", PATIENCE.as_secs())]
    Slow,
    /// The server says that this login is over.
    #[error("its server refused it ({0}): the login is over")]
    Refused(StatusCode),
    #[error("its server answered {0}")]
    Status(StatusCode),
    #[error("its server's answer has no access token")]
    Answer,
}

/// What a server answered.
pub(super) struct Renewed {
    access: Secret,
    fields: Map<String, Value>,
}

impl Renewed {
    fn read(body: &[u8]) -> Result<Renewed, RenewalError> {
        // The parser's own error may quote what it read.
        let fields: Map<String, Value> = serde_json::from_slice(body).map_err(|_| RenewalError::Answer)?;
        let access = fields.get("access_token").and_then(Value::as_str).and_then(token).ok_or(RenewalError::Answer)?;
        Ok(Renewed { access, fields })
    }

    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// The tokens from now on; what the answer does not name stays as it was.
    pub(super) fn tokens(&self, how: &LoginSource, before: &Tokens) -> Tokens {
        let refresh = self.field("refresh_token").and_then(Value::as_str).and_then(token);
        let lives = self.field("expires_in").and_then(Value::as_f64).filter(|seconds| *seconds >= 0.0);
        let lives = lives.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let lives = lives.and_then(|lives| u64::try_from(lives.as_millis()).ok());
        let until = match (&how.expires, lives) {
            (None, None) => end_of(self.access.expose()),
            (_, lives) => lives.map(|lives| now().saturating_add(lives)),
        };
        Tokens {
            access: self.access.clone(),
            refresh: refresh.unwrap_or_else(|| before.refresh.clone()),
            until,
            account: before.account.clone(),
        }
    }
}

/// Blocks, on a thread of its own: whoever asks may have an event loop.
pub(super) fn renew(how: &LoginSource, tokens: &Tokens) -> Result<Renewed, RenewalError> {
    let url: WebhookUrl = how.token_url.parse().map_err(RenewalError::Url)?;
    let ask = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(RenewalError::Thread)?.block_on(async {
            let asked = tokio::time::timeout(PATIENCE, ask(url, how, tokens));
            asked.await.unwrap_or(Err(RenewalError::Slow))
        })
    };
    thread::scope(|scope| {
        let asked = thread::Builder::new().spawn_scoped(scope, ask).map_err(RenewalError::Thread)?;
        asked.join().unwrap_or_else(|_| Err(RenewalError::Thread(io::Error::other("it panicked"))))
    })
}

async fn ask(url: WebhookUrl, how: &LoginSource, tokens: &Tokens) -> Result<Renewed, RenewalError> {
    let endpoint = Endpoint::of(url, None).map_err(RenewalError::Https)?;
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh.expose()),
        ("client_id", how.client_id.as_str()),
    ];
    let (kind, body) = match how.request {
        RequestForm::Json => {
            let fields: Map<String, Value> =
                fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            ("application/json", Value::from(fields).to_string())
        }
        RequestForm::Form => {
            let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
            ("application/x-www-form-urlencoded", pairs.join("&"))
        }
    };
    let request = endpoint.post().header(header::CONTENT_TYPE, kind).header(header::ACCEPT, "application/json");
    let request =
        request.body(Full::new(Bytes::from(body))).map_err(|error| RenewalError::Https(HttpsError::Request(error)))?;
    let (status, body) = endpoint.send(request, ANSWER_MAX).await.map_err(RenewalError::Https)?;
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(RenewalError::Refused(status))
        }
        status if status.is_success() => Renewed::read(&body),
        status => Err(RenewalError::Status(status)),
    }
}

/// Percent-encoded but for what RFC 3986 calls unreserved.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(expires: Option<&str>) -> LoginSource {
        let text =
            r#"{"folder":"f","file":"x","access":"/a","refresh":"/r","token_url":"https://a.test/","client_id":"c"}"#;
        LoginSource { expires: expires.map(str::to_owned), ..serde_json::from_str(text).unwrap() }
    }

    fn before() -> Tokens {
        let secret = |text: &str| Secret::new(text.to_owned());
        Tokens { access: secret("a0"), refresh: secret("r0"), until: None, account: Some("me".to_owned()) }
    }

    #[test]
    fn what_an_answer_does_not_name_stays() {
        let answer = Renewed::read(br#"{"access_token":"a1","expires_in":60,"token_type":"Bearer"}"#).unwrap();
        let tokens = answer.tokens(&how(Some("/e")), &before());
        assert_eq!((tokens.access.expose(), tokens.refresh.expose()), ("a1", "r0"));
        assert!(tokens.until.is_some_and(|until| until > now() && until <= now() + 60_000));
        assert_eq!(tokens.account.as_deref(), Some("me"));
        let answer = Renewed::read(br#"{"access_token":"a1","refresh_token":"r1"}"#).unwrap();
        let tokens = answer.tokens(&how(None), &before());
        assert_eq!((tokens.refresh.expose(), tokens.until), ("r1", None));
    }

    #[test]
    fn an_answer_without_a_token_is_none() {
        for body in ["", "[]", "{}", r#"{"access_token":""}"#, r#"{"access_token":"a\nb"}"#, r#"{"access_token":7}"#] {
            assert!(matches!(Renewed::read(body.as_bytes()), Err(RenewalError::Answer)), "{body}");
        }
        let odd = Renewed::read(br#"{"access_token":"a","expires_in":1e300}"#).unwrap();
        assert_eq!(odd.tokens(&how(Some("/e")), &before()).until, None);
    }

    #[test]
    fn a_form_is_encoded() {
        assert_eq!(encoded("a+b/c=~"), "a%2Bb%2Fc%3D~");
    }
}
