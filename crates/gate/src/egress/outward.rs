//! A connection to an upstream, dialled and, for `https`, with its TLS: verified, with HTTP/2 or HTTP/1.1 by ALPN.
//!
//! Invariant: once everything is frozen not a byte more is written on one.

use super::{
    authority::Origin,
    dial::{DialError, Dialer},
    freezing::Switch,
};
use crate::{limits::HANDSHAKE_TIME, tls};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Dials and does the handshake.
pub(crate) struct Connector {
    pub(crate) dialer: Arc<Dialer>,
    any: TlsConnector,
    /// For WebSockets, which need HTTP/1.1.
    http1: TlsConnector,
    frozen: Switch,
}

impl Connector {
    pub(crate) fn new(dialer: Dialer, roots: RootCertStore, frozen: &Switch) -> Result<Connector, rustls::Error> {
        let mut tls = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = TlsConnector::from(Arc::new(tls.clone()));
        tls.alpn_protocols.insert(0, b"h2".to_vec());
        let any = TlsConnector::from(Arc::new(tls));
        Ok(Connector { dialer: Arc::new(dialer), any, http1, frozen: frozen.clone() })
    }

    pub(crate) async fn connect(&self, origin: &Origin, http1: bool) -> Result<Outward, DialError> {
        let stream = self.dialer.dial(&origin.host, origin.port).await?;
        if !origin.tls {
            return Ok(Outward { socket: Socket::Plain(stream), frozen: self.frozen.clone() });
        }
        let name = ServerName::try_from(origin.host.to_string()).map_err(|_| DialError::NoAddress)?;
        let tls = if http1 { &self.http1 } else { &self.any };
        let handshake = timeout(HANDSHAKE_TIME, tls.connect(name, stream)).await;
        let stream = handshake.map_err(|_| DialError::TlsTime)?.map_err(DialError::Tls)?;
        Ok(Outward { socket: Socket::Tls(Box::new(stream)), frozen: self.frozen.clone() })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) struct Outward {
    socket: Socket,
    frozen: Switch,
}

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Outward {
    /// Whether both sides have agreed on HTTP/2.
    pub(crate) fn is_h2(&self) -> bool {
        matches!(&self.socket, Socket::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    fn open(&self) -> io::Result<()> {
        if self.frozen.is_frozen() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
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

impl AsyncRead for Outward {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, out))
    }
}

impl AsyncWrite for Outward {
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
