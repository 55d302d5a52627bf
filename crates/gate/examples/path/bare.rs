//! The least that an intercepting proxy does, by the same libraries: CONNECT, TLS ended with a leaf of its own, each
//! request sent on over pooled connections, each response sent back. It decides, searches, writes down and bounds nothing.

use super::{Given, HOST};
use bottle_gate::ca::Issuer;
use bottle_spec::host::HostName;
use http::{HeaderValue, Request, Uri, header, uri::Parts};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo},
};
use rustls::{ClientConfig, crypto::ring, pki_types::ServerName};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

type Upstreams = Client<Connector, Incoming>;

pub(super) async fn serve(listener: TcpListener, given: Given) {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(given.roots)
        .with_no_client_auth();
    let connector = Connector { address: given.upstream, tls: TlsConnector::from(Arc::new(tls)) };
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let issuer = Arc::new(given.issuer);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (client, issuer) = (client.clone(), Arc::clone(&issuer));
        tokio::spawn(async move {
            // A client that breaks off is its own affair.
            let _ = tunnel(stream, client, issuer).await;
        });
    }
}

async fn tunnel(mut stream: TcpStream, client: Upstreams, issuer: Arc<Issuer>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let leaf = issuer.server_config(&HostName::parse(HOST).unwrap()).unwrap();
    let tls = TlsAcceptor::from(leaf).accept(stream).await?;
    let service = service_fn(move |request| send(client.clone(), request));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
    Ok(())
}

async fn send(
    client: Upstreams,
    mut request: Request<Incoming>,
) -> Result<http::Response<Incoming>, hyper_util::client::legacy::Error> {
    let mut parts = Parts::default();
    (parts.scheme, parts.authority) = (Some("https".parse().unwrap()), Some(HOST.parse().unwrap()));
    parts.path_and_query = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from_parts(parts).unwrap();
    let token = HeaderValue::from_static("Bearer token-of-the-benchmark");
    request.headers_mut().insert(header::AUTHORIZATION, token);
    client.request(request).await
}

#[derive(Clone)]
struct Connector {
    address: SocketAddr,
    tls: TlsConnector,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Connector { address, tls } = self.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream = tls.connect(ServerName::try_from(HOST).unwrap(), stream).await?;
            Ok(TokioIo::new(Stream(stream)))
        })
    }
}

struct Stream(TlsStream<TcpStream>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
