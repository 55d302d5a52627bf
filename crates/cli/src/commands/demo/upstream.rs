//! The demo's upstream: a real TLS server on the host's loopback, so that the demo needs no network and no account. It
//! answers only to the token that the gate injects, and echoes the header it got, as a careless API would.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;

/// A server that is not yet listening to anyone: its address and its authority are known, its loop is not running.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    /// The authority that signed its certificate; the bottle's policy trusts it for upstreams.
    pub(crate) authority_pem: String,
    listener: std::net::TcpListener,
    tls: Arc<rustls::ServerConfig>,
    token: Arc<str>,
}

impl Upstream {
    pub(crate) fn bind(host: &str, token: &str) -> io::Result<Upstream> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let authority_key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(authority, authority_key).map_err(io::Error::other)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let leaf = CertificateParams::new([host.to_owned()])
            .and_then(|params| params.signed_by(&key, &issuer))
            .map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key.into()))
            .map_err(io::Error::other)?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        Ok(Upstream {
            address: listener.local_addr()?,
            authority_pem: issuer.pem(),
            listener,
            tls: Arc::new(tls),
            token: token.into(),
        })
    }

    /// Serves on a thread of its own until the process ends.
    pub(crate) fn serve(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("demo-upstream".to_owned()).spawn(move || runtime.block_on(self.accept()))?;
        Ok(())
    }

    async fn accept(self) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let acceptor = tokio_rustls::TlsAcceptor::from(self.tls);
        loop {
            let (stream, _) = listener.accept().await?;
            let (acceptor, token) = (acceptor.clone(), Arc::clone(&self.token));
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(stream).await else { return };
                let answer = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request, &token))));
                let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), answer);
                if let Err(error) = served.await {
                    tracing::debug!(%error, "demo upstream connection ended");
                }
            });
        }
    }
}

fn answer(request: &Request<Incoming>, token: &str) -> Response<Full<Bytes>> {
    let credential = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    let known = credential == format!("Bearer {token}");
    let body = serde_json::json!({ "hello": if known { "authorized" } else { "stranger" }, "you_sent": credential });
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = if known { http::StatusCode::OK } else { http::StatusCode::UNAUTHORIZED };
    response
}
