//! One request to a server that the user named: by TLS that is verified, or in the clear to this machine.
//!
//! Invariants: names are looked up and authorities read when an [`Endpoint`] is made, before a process may confine
//! itself; no redirect is followed; the address is in no error; no more of an answer is read than is asked for.

use bottle_spec::notify::WebhookUrl;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject as _},
};
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
pub(crate) enum HttpsError {
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
    #[error("its answer cannot be read, or is too long")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A server with all that it takes to reach it.
pub(crate) struct Endpoint {
    url: WebhookUrl,
    addresses: Vec<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Endpoint {
    /// Trusts the system's authorities and those of `ca`, PEM.
    pub(crate) fn of(url: WebhookUrl, ca: Option<&str>) -> Result<Endpoint, HttpsError> {
        let addresses = (url.host.as_str(), url.port).to_socket_addrs().map_err(HttpsError::LookUp)?.collect();
        let tls = if url.is_tls {
            let name = ServerName::try_from(url.host.clone()).map_err(HttpsError::Name)?;
            Some((connector(ca)?, name))
        } else {
            None
        };
        Ok(Endpoint { url, addresses, tls })
    }

    /// For a log.
    pub(crate) fn host(&self) -> String {
        self.url.host.clone()
    }

    /// A `POST` to the endpoint's own path.
    pub(crate) fn post(&self) -> request::Builder {
        self.request(Method::POST)
    }

    /// A `GET` of it.
    #[cfg(feature = "registry")]
    pub(crate) fn get(&self) -> request::Builder {
        self.request(Method::GET)
    }

    fn request(&self, method: Method) -> request::Builder {
        let host = if self.url.host.contains(':') { format!("[{}]", self.url.host) } else { self.url.host.clone() };
        let usual = if self.url.is_tls { 443 } else { 80 };
        let host = if self.url.port == usual { host } else { format!("{host}:{}", self.url.port) };
        Request::builder()
            .method(method)
            .uri(&self.url.target)
            .header(header::HOST, host)
            .header(header::USER_AGENT, "bot-bottle")
    }

    /// Sends a request and reads at most `limit` bytes of what is answered; with 0 no more than its status.
    pub(crate) async fn send(
        self,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<(StatusCode, Bytes), HttpsError> {
        let stream = TcpStream::connect(&self.addresses[..]).await.map_err(HttpsError::Connect)?;
        match self.tls {
            Some((connector, name)) => {
                exchange(connector.connect(name, stream).await.map_err(HttpsError::Tls)?, request, limit).await
            }
            None => exchange(stream, request, limit).await,
        }
    }
}

fn connector(ca: Option<&str>) -> Result<TlsConnector, HttpsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in CertificateDer::pem_slice_iter(ca.unwrap_or_default().as_bytes()) {
        roots.add_parsable_certificates([certificate.map_err(HttpsError::Authorities)?]);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpsError::Tls(io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<(StatusCode, Bytes), HttpsError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(HttpsError::Http)?;
    let connection = tokio::spawn(connection);
    let answered = async {
        let (head, body) = sender.send_request(request).await.map(Response::into_parts).map_err(HttpsError::Http)?;
        if limit == 0 {
            return Ok((head.status, Bytes::new()));
        }
        let body = Limited::new(body, limit).collect().await.map_err(HttpsError::Body)?;
        Ok((head.status, body.to_bytes()))
    };
    let answered = answered.await;
    connection.abort();
    answered
}
