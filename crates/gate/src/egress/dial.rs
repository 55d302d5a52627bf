//! Connections to upstreams: the name is resolved once, every address is vetted, and what was vetted is dialled.
//!
//! Invariant: no name is looked up that the policy has not allowed (callers hold the permission), and no connection is
//! made to an address that was not just vetted, or that the operator fixed by `resolve` or `upstream_proxy`.

use crate::{
    address,
    limits::{CONNECT_TIME, HANDSHAKE_TIME, RESOLVE_TIME},
    vault::Vault,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bottle_policy::Rules;
use bottle_spec::{host::HostName, policy::UpstreamProxy, verdict::Reason};
use hickory_resolver::{TokioResolver, net::NetError};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use zeroize::Zeroizing;

/// How long one address has before the next is tried beside it (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);
/// The answer of a corporate proxy to a CONNECT, in bytes.
const MAX_PROXY_HEAD: usize = 8 << 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the name could not be looked up")]
    Resolve(#[source] Box<NetError>),
    #[error("the lookup took too long")]
    ResolveTime,
    #[error("the name has no address")]
    NoAddress,
    #[error("every address of the name is forbidden")]
    Forbidden(#[source] address::Forbidden),
    #[error("no address of the name answered")]
    Connect(#[source] io::Error),
    #[error("no address of the name answered in time")]
    ConnectTime,
    #[error("the upstream proxy broke off")]
    Proxy(#[source] io::Error),
    #[error("the upstream proxy refused the tunnel with status {0}")]
    ProxyRefused(u16),
    #[error("the credential of the upstream proxy is not there")]
    ProxySecret,
    #[error("TLS with the upstream failed")]
    Tls(#[source] io::Error),
    #[error("the TLS handshake took too long")]
    TlsTime,
}

impl DialError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            DialError::Resolve(_) | DialError::NoAddress => Reason::NameNotResolved,
            DialError::Forbidden(_) => Reason::AddressForbidden,
            DialError::Connect(_) | DialError::Proxy(_) | DialError::ProxyRefused(_) => Reason::UpstreamUnreachable,
            DialError::ResolveTime | DialError::ConnectTime | DialError::TlsTime => Reason::UpstreamTimeout,
            DialError::ProxySecret => Reason::SecretUnavailable,
            DialError::Tls(_) => Reason::UpstreamTls,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Dialer {
    rules: Arc<Rules>,
    resolver: TokioResolver,
    vault: Vault,
}

impl Dialer {
    pub(crate) fn new(rules: &Arc<Rules>, resolver: &TokioResolver, vault: &Vault) -> Dialer {
        Dialer { rules: Arc::clone(rules), resolver: resolver.clone(), vault: vault.clone() }
    }

    /// A connection to a host that the policy has allowed.
    pub(crate) async fn dial(&self, host: &HostName, port: u16) -> Result<TcpStream, DialError> {
        let policy = self.rules.policy();
        if let Some(fixed) = policy.resolve.get(host) {
            return connect(vec![*fixed]).await;
        }
        if let Some(proxy) = &policy.upstream_proxy {
            return self.through(proxy, host, port).await;
        }
        let addresses = self.lookup(host.as_str()).await?;
        let private = self.rules.allows_private(host, port);
        connect(vetted(addresses, port, private)?).await
    }

    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, DialError> {
        // The final dot keeps search domains out.
        let answer = timeout(RESOLVE_TIME, self.resolver.lookup_ip(format!("{name}."))).await;
        let found = answer.map_err(|_| DialError::ResolveTime)?.map_err(|error| DialError::Resolve(Box::new(error)))?;
        Ok(found.iter().collect())
    }

    /// The operator named the proxy, so its address is not vetted; the proxy looks the host's name up.
    async fn through(&self, proxy: &UpstreamProxy, host: &HostName, port: u16) -> Result<TcpStream, DialError> {
        let addresses = match proxy.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.lookup(proxy.host.trim_end_matches('.')).await?,
        };
        let mut stream = connect(addresses.into_iter().map(|a| SocketAddr::new(a, proxy.port)).collect()).await?;
        let mut ask = Zeroizing::new(format!("CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}:{port}\r\n"));
        if let Some(source) = &proxy.auth {
            let held = self.vault.value(source).ok_or(DialError::ProxySecret)?;
            let encoded = Zeroizing::new(STANDARD.encode(held.value.expose()));
            ask.push_str("proxy-authorization: Basic ");
            ask.push_str(&encoded);
            ask.push_str("\r\n");
        }
        ask.push_str("\r\n");
        let tunnel = async {
            stream.write_all(ask.as_bytes()).await.map_err(DialError::Proxy)?;
            proxy_answer(&mut stream).await
        };
        timeout(HANDSHAKE_TIME, tunnel).await.map_err(|_| DialError::ConnectTime)??;
        Ok(stream)
    }
}

/// Reads the answer byte by byte to its end, so that nothing of the tunnel is taken; it comes once per connection.
async fn proxy_answer(stream: &mut TcpStream) -> Result<(), DialError> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_PROXY_HEAD {
            return Err(DialError::Proxy(io::ErrorKind::InvalidData.into()));
        }
        head.push(stream.read_u8().await.map_err(DialError::Proxy)?);
    }
    let text = String::from_utf8_lossy(&head);
    match text.split(' ').nth(1).and_then(|status| status.get(..3)?.parse().ok()) {
        Some(200..=299) if text.starts_with("HTTP/1.") => Ok(()),
        Some(status) => Err(DialError::ProxyRefused(status)),
        None => Err(DialError::Proxy(io::ErrorKind::InvalidData.into())),
    }
}

/// The addresses that may be dialled; an error where there is none.
fn vetted(addresses: Vec<IpAddr>, port: u16, private: bool) -> Result<Vec<SocketAddr>, DialError> {
    let mut refused = DialError::NoAddress;
    let mut allowed = Vec::with_capacity(addresses.len());
    for ip in addresses {
        match address::vet(ip, private) {
            Ok(()) => allowed.push(SocketAddr::new(ip, port)),
            Err(forbidden) => refused = DialError::Forbidden(forbidden),
        }
    }
    if allowed.is_empty() { Err(refused) } else { Ok(allowed) }
}

/// Tries the addresses in order, each a little after the one before; the first to answer wins.
async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, DialError> {
    let mut attempts = JoinSet::new();
    let mut failure = DialError::NoAddress;
    let mut waiting = addresses.into_iter();
    let race = async {
        loop {
            if let Some(address) = waiting.next() {
                attempts.spawn(TcpStream::connect(address));
            }
            let more = waiting.len() > 0;
            tokio::select! {
                ended = attempts.join_next() => match ended {
                    Some(Ok(Ok(stream))) => return Ok(stream),
                    Some(Ok(Err(error))) => failure = DialError::Connect(error),
                    Some(Err(_)) => {}
                    None if more => {}
                    None => return Err(failure),
                },
                () = tokio::time::sleep(STAGGER), if more => {}
            }
        }
    };
    let stream = timeout(CONNECT_TIME, race).await.map_err(|_| DialError::ConnectTime)??;
    // Fails only on a connection that is gone already.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
