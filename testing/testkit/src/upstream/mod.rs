//! A server of a test: hyper over rustls on `127.0.0.1:0`, HTTP/1.1 and HTTP/2, with a record of what it was asked.
//!
//! One thread with its own runtime per upstream, so it serves synchronous and asynchronous tests alike; dropping the
//! value ends the thread and every connection.

pub mod routes;
pub mod scripted;
pub(crate) mod websocket;

use crate::authority::{Shown, TestAuthority};
pub use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    thread,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_rustls::TlsAcceptor;

pub type Response = http::Response<Body>;
pub type Body = BoxBody<Bytes, Infallible>;
pub type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;
/// What answers the requests of an upstream.
pub type Handler = Arc<dyn Fn(Asked) -> Answer + Send + Sync>;

/// One request as it reached the upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The server name of the handshake; `None` without TLS or without SNI.
    pub sni: Option<String>,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    pub method: String,
    /// The Host header, or `:authority`.
    pub host: String,
    /// Path and query as sent.
    pub target: String,
    /// Lower-case names, in order.
    pub headers: Vec<(String, String)>,
    /// What had arrived when the answer began; empty for WebSockets, `/sink` and `/pipe`, which read on their own.
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Seen {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// A request on its way to a [`Handler`]: what was seen of it, and the request itself where its body is still to be
/// read or the connection to be upgraded.
#[derive(Debug)]
pub struct Asked {
    pub seen: Seen,
    pub unread: Option<Request<Incoming>>,
}

/// How an upstream is to behave. Start from [`TlsUpstream::options`].
pub struct Options {
    hosts: Vec<String>,
    authority: Option<Arc<TestAuthority>>,
    alpn: Vec<&'static str>,
    shown: Shown,
    tls: bool,
    handler: Handler,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("hosts", &self.hosts).field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Options {
    /// Which protocols to offer; `["h2", "http/1.1"]` unless said.
    pub fn alpn(mut self, protocols: &[&'static str]) -> Options {
        self.alpn = protocols.to_vec();
        self
    }

    /// Which certificate to show; a valid one unless said.
    pub fn shown(mut self, shown: Shown) -> Options {
        self.shown = shown;
        self
    }

    /// Plain HTTP.
    pub fn plain(mut self) -> Options {
        self.tls = false;
        self
    }

    /// Signed by an authority that other upstreams use, too.
    pub fn authority(mut self, authority: Arc<TestAuthority>) -> Options {
        self.authority = Some(authority);
        self
    }

    /// Answers other than [`routes::answer`].
    pub fn handler(mut self, handler: Handler) -> Options {
        self.handler = handler;
        self
    }

    pub fn start(self) -> TlsUpstream {
        let authority = self.authority.unwrap_or_default();
        let hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        let tls = self.tls.then(|| acceptor(&authority, &hosts, self.shown, &self.alpn));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = Server { tls, handler: self.handler, seen: seen.clone() };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let address = listener.local_addr().expect("the listener's address");
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("upstream".to_owned())
            .spawn(move || server.run(listener, stopped))
            .expect("a thread for the upstream");
        TlsUpstream { address, authority, seen, stop: Some(stop), thread: Some(thread) }
    }
}

/// A running upstream.
#[derive(Debug)]
pub struct TlsUpstream {
    address: SocketAddr,
    authority: Arc<TestAuthority>,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl TlsUpstream {
    /// Serves [`routes::answer`] for `hosts` over TLS with an authority of its own.
    pub fn start(hosts: &[&str]) -> TlsUpstream {
        TlsUpstream::options(hosts).start()
    }

    pub fn options(hosts: &[&str]) -> Options {
        Options {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            authority: None,
            alpn: vec!["h2", "http/1.1"],
            shown: Shown::Valid,
            tls: true,
            handler: Arc::new(|asked| Box::pin(routes::answer(asked))),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn authority(&self) -> &Arc<TestAuthority> {
        &self.authority
    }

    /// Every request so far, in the order their answers began.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    /// Forgets the requests so far and returns them.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *lock(&self.seen))
    }
}

impl Drop for TlsUpstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic over there has been printed over there.
            let _ = thread.join();
        }
    }
}

fn lock(seen: &Mutex<Vec<Seen>>) -> std::sync::MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn acceptor(authority: &TestAuthority, hosts: &[&str], shown: Shown, alpn: &[&str]) -> TlsAcceptor {
    let leaf = authority.leaf(hosts, shown);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(leaf.chain, leaf.key)
        .expect("the leaf fits its key");
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

#[derive(Clone)]
struct Server {
    tls: Option<TlsAcceptor>,
    handler: Handler,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    fn run(self, listener: std::net::TcpListener, stopped: oneshot::Receiver<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("the listener joins the runtime");
            tokio::select! {
                () = self.accept(listener) => {}
                _ = stopped => {}
            }
        });
        // Dropping the runtime drops every connection that is still open.
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let server = self.clone();
            tokio::spawn(async move { server.connection(stream).await });
        }
    }

    async fn connection(self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        match self.tls.clone() {
            None => self.http(stream, None).await,
            Some(acceptor) => {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let sni = stream.get_ref().1.server_name().map(str::to_owned);
                self.http(stream, sni).await;
            }
        }
    }

    async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, sni: Option<String>) {
        let service = service_fn(|request| self.clone().answer(request, sni.clone()));
        // A peer that breaks off is the test's business, not an error here.
        let _ = auto::Builder::new(TokioExecutor::new())
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .await;
    }

    async fn answer(self, request: Request<Incoming>, sni: Option<String>) -> Result<Response, Infallible> {
        let mut seen = head(&request, sni);
        let mut unread = None;
        if reads_on_its_own(&seen) {
            unread = Some(request);
        } else if let Ok(body) = request.into_body().collect().await {
            seen.trailers = body.trailers().map(pairs).unwrap_or_default();
            seen.body = body.to_bytes().to_vec();
        }
        lock(&self.seen).push(seen.clone());
        Ok((self.handler)(Asked { seen, unread }).await)
    }
}

fn reads_on_its_own(seen: &Seen) -> bool {
    matches!(seen.path(), "/ws" | "/sink" | "/pipe") || seen.header("upgrade") == Some("websocket")
}

fn head(request: &Request<Incoming>, sni: Option<String>) -> Seen {
    let headers = pairs(request.headers());
    let named = headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value.clone());
    let authority = request.uri().authority().map(ToString::to_string);
    Seen {
        sni,
        version: format!("{:?}", request.version()),
        method: request.method().to_string(),
        host: authority.or(named).unwrap_or_default(),
        target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers,
        ..Seen::default()
    }
}

fn pairs(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}
