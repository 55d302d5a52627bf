//! A notification by a webhook: one POST, by TLS that is verified or to this machine.
//!
//! Invariants: names are looked up and authorities read before the process confines itself; no redirect is followed and
//! nothing of the answer but its status is read; the address is in no error.

use super::message::Message;
use bottle_spec::notify::{Target, WebhookKind, WebhookUrl};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

#[derive(Debug, thiserror::Error)]
pub(super) enum WebhookError {
    #[error("its address is none")]
    Url,
    #[error("its host's name cannot be looked up")]
    LookUp(#[source] io::Error),
    #[error("its host has no name for TLS")]
    Name(#[source] InvalidDnsNameError),
    #[error("the authorities to trust cannot be read")]
    Authorities(#[source] rustls::pki_types::pem::Error),
    #[error("it cannot be connected to")]
    Connect(#[source] io::Error),
    #[error("TLS with it failed")]
    Tls(#[source] io::Error),
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
    #[error("it does not answer as HTTP has it")]
    Http(#[source] hyper::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
}

/// A webhook with all that it takes to reach it.
pub(super) struct Prepared {
    kind: WebhookKind,
    url: WebhookUrl,
    token: Option<String>,
    addresses: Vec<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Prepared {
    pub(super) fn of(target: &Target, ca: Option<&str>) -> Result<Prepared, WebhookError> {
        let url: WebhookUrl = target.url.expose().parse().map_err(|_| WebhookError::Url)?;
        let addresses = (url.host.as_str(), url.port).to_socket_addrs().map_err(WebhookError::LookUp)?.collect();
        let tls = if url.is_tls {
            let name = ServerName::try_from(url.host.clone()).map_err(WebhookError::Name)?;
            Some((connector(ca)?, name))
        } else {
            None
        };
        let token = target.token.as_ref().map(|token| token.expose().to_owned());
        Ok(Prepared { kind: target.kind, url, token, addresses, tls })
    }

    /// For the log.
    pub(super) fn host(&self) -> String {
        self.url.host.clone()
    }

    pub(super) async fn send(self, message: &Message) -> Result<(), WebhookError> {
        let request = self.request(message)?;
        let stream = TcpStream::connect(&self.addresses[..]).await.map_err(WebhookError::Connect)?;
        let status = match self.tls {
            Some((connector, name)) => {
                exchange(connector.connect(name, stream).await.map_err(WebhookError::Tls)?, request).await?
            }
            None => exchange(stream, request).await?,
        };
        if status.is_success() { Ok(()) } else { Err(WebhookError::Status(status)) }
    }

    fn request(&self, message: &Message) -> Result<Request<Full<Bytes>>, WebhookError> {
        let host = if self.url.host.contains(':') { format!("[{}]", self.url.host) } else { self.url.host.clone() };
        let usual = if self.url.is_tls { 443 } else { 80 };
        let host = if self.url.port == usual { host } else { format!("{host}:{}", self.url.port) };
        let (kind, body) = body(self.kind, message);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.url.target)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, kind)
            .header(header::USER_AGENT, "bot-bottle");
        if self.kind == WebhookKind::Ntfy {
            // ASCII: a bottle's name is letters and hyphens.
            request = request.header("title", message.title()).header("tags", "bell");
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(Full::new(Bytes::from(body))).map_err(WebhookError::Request)
    }
}

fn connector(ca: Option<&str>) -> Result<TlsConnector, WebhookError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in CertificateDer::pem_slice_iter(ca.unwrap_or_default().as_bytes()) {
        roots.add_parsable_certificates([certificate.map_err(WebhookError::Authorities)?]);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| WebhookError::Tls(io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, WebhookError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(WebhookError::Http)?;
    let connection = tokio::spawn(connection);
    let answered = sender.send_request(request).await.map_err(WebhookError::Http);
    connection.abort();
    Ok(answered?.status())
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
