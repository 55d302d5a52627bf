//! Requests to upstreams, over connections that are kept: HTTP/2 or HTTP/1.1, as their TLS agrees on, or plain HTTP/1.1.
//!
//! Invariant: [`Upstream::send`] takes a [`Credentialed`] and nothing else. A pool belongs to one policy.

use super::{
    authority::Origin,
    body::BodyError,
    dial::{DialError, Dialer},
    flow::{Flow, Sent},
    freezing::Switch,
    inject::{Credentialed, Injected},
    line::{Arriving, Line},
    outward::{Connector, Outward},
    pool::{Home, Pool},
    scrub::Scrubber,
};
use crate::{
    limits::{MAX_HEAD_BYTES, MAX_HEADERS, RESPONSE_TIME},
    vault::Vault,
};
use bottle_policy::Rules;
use bottle_spec::verdict::Reason;
use hickory_resolver::TokioResolver;
use http::{Method, Request, Response, Uri, header, uri};
use hyper::{
    client::conn::{http1, http2},
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::RootCertStore;
use std::{error::Error, future::poll_fn, sync::Arc, task::Poll, time::Duration};
use tokio::time::timeout;

#[derive(Debug)]
pub(crate) struct Upstream {
    connector: Connector,
    pool: Arc<Pool>,
}

impl Upstream {
    pub(crate) fn new(
        rules: &Arc<Rules>,
        roots: RootCertStore,
        resolver: &TokioResolver,
        vault: &Vault,
        frozen: &Switch,
    ) -> Result<Upstream, rustls::Error> {
        let connector = Connector::new(Dialer::new(rules, resolver, vault), roots, frozen)?;
        Ok(Upstream { connector, pool: Arc::default() })
    }

    pub(crate) fn dialer(&self) -> &Arc<Dialer> {
        &self.connector.dialer
    }

    /// Closes what has been idle for too long; whether connections are left.
    pub(crate) fn reap(&self) -> bool {
        self.pool.reap()
    }

    /// How many connections wait for their next request, of those that serve one at a time.
    pub(crate) fn idle(&self) -> usize {
        self.pool.idle()
    }

    /// Sends a request and waits for the head of the response.
    pub(crate) async fn send(&self, credentialed: Credentialed, flow: &Arc<Flow>) -> Result<Answer, Reason> {
        let Credentialed { request, upgrade, origin, injected, scrubber } = credentialed;
        let method = request.method().clone();
        let request = request.map(|body| Sent::new(body, Arc::clone(flow)));
        match timeout(RESPONSE_TIME, self.exchange(&origin, request, upgrade.is_some())).await {
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

    /// By a connection that is there, or else by a new one. One that was there may have been closed before anything of the
    /// request was sent: then the next is tried.
    async fn exchange(
        &self,
        origin: &Arc<Origin>,
        mut request: Request<Sent>,
        upgrade: bool,
    ) -> Result<Response<Arriving>, SendError> {
        loop {
            let (way, fresh) = match self.kept(origin, upgrade).await {
                Some(way) => (way, false),
                None => (self.open(origin, upgrade).await?, true),
            };
            let sent = match way {
                Way::Line(line) => {
                    to_line(&mut request, origin);
                    line.send(request, upgrade, Home::new(&self.pool, origin)).await
                }
                Way::Shared(mut sender) => {
                    to_stream(&mut request, origin);
                    let answer = sender.try_send_request(request).await;
                    answer.map(|response| response.map(Arriving::from))
                }
            };
            let mut failed = match sent {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            match failed.take_message().filter(|_| !fresh) {
                Some(unsent) => request = unsent,
                None => return Err(SendError::Http(failed.into_error())),
            }
            self.pool.forget(origin);
        }
    }

    async fn kept(&self, origin: &Origin, upgrade: bool) -> Option<Way> {
        if let Some(sender) = self.pool.shared(origin).filter(|_| !upgrade) {
            return Some(Way::Shared(sender));
        }
        poll_fn(|cx| Poll::Ready(self.pool.line(origin, cx))).await.map(Way::Line)
    }

    async fn open(&self, origin: &Arc<Origin>, upgrade: bool) -> Result<Way, SendError> {
        let outward = self.connector.connect(origin, upgrade).await.map_err(SendError::Dial)?;
        if outward.is_h2() { self.open_shared(origin, outward).await } else { open_line(outward).await }
    }

    async fn open_shared(&self, origin: &Arc<Origin>, outward: Outward) -> Result<Way, SendError> {
        let opened = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_header_list_size(super::MAX_HEADER_LIST)
            .keep_alive_interval(Duration::from_secs(30))
            .handshake(TokioIo::new(outward));
        let (mut sender, connection) = opened.await.map_err(SendError::Http)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // Whoever waits for a response is told, too.
                tracing::debug!(error = &error as &dyn Error, "connection to an upstream");
            }
        });
        sender.ready().await.map_err(SendError::Http)?;
        self.pool.share(origin, sender.clone());
        Ok(Way::Shared(sender))
    }
}

async fn open_line(outward: Outward) -> Result<Way, SendError> {
    let opened = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(4 * MAX_HEAD_BYTES)
        .handshake(TokioIo::new(outward));
    let (sender, connection) = opened.await.map_err(SendError::Http)?;
    Ok(Way::Line(Line::new(sender, connection)))
}

/// What a request goes by.
enum Way {
    Line(Line),
    Shared(http2::SendRequest<Sent>),
}

/// As HTTP/1.1 has it: the target is the path, the authority is `Host`.
fn to_line(request: &mut Request<Sent>, origin: &Origin) {
    request.headers_mut().insert(header::HOST, origin.host_header.clone());
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = target.map_or(Uri::default(), Uri::from);
}

/// As HTTP/2 has it: scheme and authority are part of the target.
fn to_stream(request: &mut Request<Sent>, origin: &Origin) {
    request.headers_mut().remove(header::HOST);
    let mut parts = uri::Parts::default();
    parts.scheme = Some(origin.scheme());
    parts.authority = Some(origin.authority.clone());
    parts.path_and_query = request.uri().path_and_query().cloned();
    // All three are there, which is all that can be wrong with them.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// A response, with what has to be known of its request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) response: Response<Arriving>,
    pub(super) method: Method,
    pub(super) injected: Option<Injected>,
    pub(super) scrubber: Option<Arc<Scrubber>>,
    pub(super) upgrade: Option<OnUpgrade>,
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("no connection to the upstream could be had")]
    Dial(#[source] DialError),
    #[error("the request could not be sent")]
    Http(#[source] hyper::Error),
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
