//! Requests to upstreams, over pooled connections: verified TLS with HTTP/2 or HTTP/1.1 by ALPN, or plain HTTP/1.1.
//!
//! Invariant: [`Upstream::send`] takes a [`Credentialed`] and nothing else. A pool belongs to one policy.

use super::{
    body::BodyError,
    dial::{DialError, Dialer},
    flow::{Flow, Sent},
    freezing::Switch,
    inject::{Credentialed, Injected},
    scrub::Scrubber,
};
use crate::{
    limits::{HANDSHAKE_TIME, MAX_HEAD_BYTES, MAX_HEADERS, RESPONSE_TIME},
    tls,
    vault::Vault,
};
use bottle_policy::Rules;
use bottle_spec::{host::HostName, verdict::Reason};
use hickory_resolver::TokioResolver;
use http::{Method, Response, Uri, uri::Scheme};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{
    error::Error,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Idle connections kept, per host, and for how long. Shorter than what servers commonly allow.
const IDLE_PER_HOST: usize = 32;
const IDLE_POOLED: Duration = Duration::from_secs(55);

#[derive(Debug)]
pub(crate) struct Upstream {
    any: Client<Connector, Sent>,
    /// For WebSockets, which need HTTP/1.1.
    http1: Client<Connector, Sent>,
    dialer: Arc<Dialer>,
}

impl Upstream {
    pub(crate) fn new(
        rules: &Arc<Rules>,
        roots: RootCertStore,
        resolver: &TokioResolver,
        vault: &Vault,
        frozen: &Switch,
    ) -> Result<Upstream, rustls::Error> {
        let dialer = Arc::new(Dialer::new(rules, resolver, vault));
        let mut tls = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = client(&dialer, frozen, tls.clone());
        tls.alpn_protocols.insert(0, b"h2".to_vec());
        Ok(Upstream { any: client(&dialer, frozen, tls), http1, dialer })
    }

    pub(crate) fn dialer(&self) -> &Arc<Dialer> {
        &self.dialer
    }

    /// Sends a request and waits for the head of the response.
    pub(crate) async fn send(&self, credentialed: Credentialed, flow: &Arc<Flow>) -> Result<Answer, Reason> {
        let Credentialed { request, upgrade, origin, injected, scrubber } = credentialed;
        let method = request.method().clone();
        let client = if upgrade.is_some() { &self.http1 } else { &self.any };
        let request = request.map(|body| Sent::new(body, Arc::clone(flow)));
        match timeout(RESPONSE_TIME, client.request(request)).await {
            Ok(Ok(response)) => {
                flow.answered(response.status().as_u16());
                Ok(Answer { response, method, injected, scrubber, upgrade })
            }
            Ok(Err(error)) => {
                tracing::info!(host = %origin.host, error = &error as &dyn Error, "upstream");
                Err(reason(&error))
            }
            Err(_) => Err(Reason::UpstreamTimeout),
        }
    }
}

/// A response, with what has to be known of its request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) method: Method,
    pub(super) injected: Option<Injected>,
    pub(super) scrubber: Option<Arc<Scrubber>>,
    pub(super) upgrade: Option<OnUpgrade>,
}

fn client(dialer: &Arc<Dialer>, frozen: &Switch, tls: ClientConfig) -> Client<Connector, Sent> {
    let (dialer, tls) = (Arc::clone(dialer), TlsConnector::from(Arc::new(tls)));
    let connector = Connector { dialer, tls, frozen: frozen.clone() };
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_POOLED)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .http1_max_headers(MAX_HEADERS)
        .http1_max_buf_size(4 * MAX_HEAD_BYTES)
        .http2_initial_stream_window_size(1 << 20)
        .http2_initial_connection_window_size(4 << 20)
        .http2_max_header_list_size(super::MAX_HEADER_LIST)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .build(connector)
}

/// Finds the failure in the chain of sources.
fn reason(error: &(dyn Error + 'static)) -> Reason {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(dial) = error.downcast_ref::<DialError>() {
            return dial.reason();
        }
        match error.downcast_ref::<BodyError>() {
            Some(error) => return error.reason(),
            None => next = error.source(),
        }
    }
    Reason::UpstreamProtocol
}

/// Dials and, for `https`, does the handshake.
#[derive(Clone)]
struct Connector {
    dialer: Arc<Dialer>,
    tls: TlsConnector,
    frozen: Switch,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<Stream>, DialError> {
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let host = uri.host().and_then(|host| HostName::parse(host).ok()).ok_or(DialError::NoAddress)?;
        let port = uri.port_u16().unwrap_or(super::authority::default_port(tls));
        let stream = self.dialer.dial(&host, port).await?;
        if !tls {
            return Ok(TokioIo::new(Stream { socket: Socket::Plain(stream), frozen: self.frozen }));
        }
        let name = ServerName::try_from(String::from(host)).map_err(|_| DialError::NoAddress)?;
        let handshake = timeout(HANDSHAKE_TIME, self.tls.connect(name, stream)).await;
        let stream = handshake.map_err(|_| DialError::TlsTime)?.map_err(DialError::Tls)?;
        Ok(TokioIo::new(Stream { socket: Socket::Tls(Box::new(stream)), frozen: self.frozen }))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection on which nothing more is written once everything is frozen.
#[derive(Debug)]
struct Stream {
    socket: Socket,
    frozen: Switch,
}

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn open(&self) -> io::Result<()> {
        if self.frozen.is_frozen() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match &self.socket {
            Socket::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                Connected::new().negotiated_h2()
            }
            Socket::Plain(_) | Socket::Tls(_) => Connected::new(),
        }
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().socket {
            Socket::Plain(inner) => {
                let $stream = Pin::new(inner);
                $call
            }
            Socket::Tls(inner) => {
                let $stream = Pin::new(inner.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, out))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.open()?;
        each!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.open()?;
        each!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(stream) => stream.is_write_vectored(),
            Socket::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
