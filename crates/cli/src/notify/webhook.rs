//! A notification by a webhook: one POST ([`crate::https`]), of whose answer nothing but the status is read.

use super::message::Message;
use crate::https::{Endpoint, HttpsError};
use bottle_spec::notify::{Target, WebhookKind, WebhookUrl};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

#[derive(Debug, thiserror::Error)]
pub(super) enum WebhookError {
    #[error("its address is none")]
    Url,
    #[error(transparent)]
    Https(#[from] HttpsError),
    #[error("it answered {0}")]
    Status(StatusCode),
}

/// A webhook with all that it takes to reach it.
pub(super) struct Prepared {
    kind: WebhookKind,
    token: Option<String>,
    endpoint: Endpoint,
}

impl Prepared {
    pub(super) fn of(target: &Target, ca: Option<&str>) -> Result<Prepared, WebhookError> {
        let url: WebhookUrl = target.url.expose().parse().map_err(|_| WebhookError::Url)?;
        let token = target.token.as_ref().map(|token| token.expose().to_owned());
        Ok(Prepared { kind: target.kind, token, endpoint: Endpoint::of(url, ca)? })
    }

    /// For the log.
    pub(super) fn host(&self) -> String {
        self.endpoint.host()
    }

    pub(super) async fn send(self, message: &Message) -> Result<(), WebhookError> {
        let request = self.request(message)?;
        let (status, _) = self.endpoint.send(request, 0).await?;
        if status.is_success() { Ok(()) } else { Err(WebhookError::Status(status)) }
    }

    fn request(&self, message: &Message) -> Result<Request<Full<Bytes>>, HttpsError> {
        let (kind, body) = body(self.kind, message);
        let mut request = self.endpoint.post().header(header::CONTENT_TYPE, kind);
        if self.kind == WebhookKind::Ntfy {
            // ASCII: a bottle's name is letters and hyphens.
            request = request.header("title", message.title()).header("tags", "bell");
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(Full::new(Bytes::from(body))).map_err(HttpsError::Request)
    }
}

fn body(kind: WebhookKind, message: &Message) -> (&'static str, String) {
    const JSON: &str = "application/json";
    match kind {
        WebhookKind::Ntfy => ("text/plain; charset=utf-8", message.lines().join("\n")),
        WebhookKind::Slack => {
            let lines = [vec![message.title()], message.lines()].concat();
            (JSON, json!({ "text": unlinked(&lines.join("\n")) }).to_string())
        }
        WebhookKind::Json => {
            let requests: Vec<Value> = message.requests.iter().map(|told| json!(told)).collect();
            let whole = json!({
                "event": "requests_wait", "bottle": message.bottle, "requests": requests, "more": message.more,
            });
            (JSON, whole.to_string())
        }
    }
}

/// Slack takes `<…>` for links and for calls to everybody in the channel, and needs these three escaped.
fn unlinked(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{super::message::Told, *};

    #[test]
    fn each_kind_has_its_own_form() {
        let told = Told { id: "abc".to_owned(), kind: "egress", summary: "send to <!channel> & co".to_owned() };
        let message = Message { bottle: "dev-kqzmb".to_owned(), requests: vec![told], more: 1 };
        assert_eq!(body(WebhookKind::Ntfy, &message).1, "abc  send to <!channel> & co\nand 1 more");
        let slack: Value = serde_json::from_str(&body(WebhookKind::Slack, &message).1).unwrap();
        assert_eq!(slack["text"], "bot-bottle: dev-kqzmb asks\nabc  send to &lt;!channel&gt; &amp; co\nand 1 more");
        let json: Value = serde_json::from_str(&body(WebhookKind::Json, &message).1).unwrap();
        assert_eq!((&json["bottle"], &json["more"]), (&json!("dev-kqzmb"), &json!(1)));
        assert_eq!(json["requests"][0], json!({"id": "abc", "kind": "egress", "summary": "send to <!channel> & co"}));
    }
}
