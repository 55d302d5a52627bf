//! One request on its way out, as types: `Received` → [`Permitted`] → [`Screened`] → `Credentialed` (`inject`).
//!
//! Invariant: a [`Received`] is a request about exactly one origin, whatever its target and headers claim; it becomes a
//! [`Screened`] only through the policy's proof. The forms differ in type so that no step can be left out.

use super::{
    authority::{self, Origin},
    body::RequestBody,
    exchange::Door,
    websocket,
};
use bottle_policy::{Permitted, Question, Subject, egress::is_method_override};
use bottle_spec::verdict::Reason;
use http::{Method, Request, header, request::Parts, uri::Scheme};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use std::sync::{Arc, atomic::AtomicBool};

/// The largest request body kept so that the request can be repeated with a fresh secret, in bytes.
const MAX_HELD: u64 = 256 << 10;

/// A request whose origin is known and single.
#[derive(Debug)]
pub(crate) struct Received {
    origin: Arc<Origin>,
    request: Request<Incoming>,
    method_override: bool,
    websocket: bool,
}

impl Received {
    /// Refuses nested CONNECT, upgrades to anything but WebSocket, and authorities that do not agree.
    pub(crate) fn new(request: Request<Incoming>, origin: Arc<Origin>) -> Result<Received, Reason> {
        if request.method() == Method::CONNECT {
            return Err(Reason::ConnectNested);
        }
        agree(&request, &origin)?;
        let websocket = websocket::is_websocket(&request);
        if websocket::is_upgrade(&request) && !websocket {
            return Err(Reason::UpgradeNotAllowed);
        }
        let method_override = request.headers().keys().any(|name| is_method_override(name.as_str()));
        Ok(Received { origin, request, method_override, websocket })
    }
}

/// The origin of a request: the tunnel's, or by the absolute form where there is no tunnel.
pub(crate) fn origin(request: &Request<Incoming>, door: &Door) -> Result<Arc<Origin>, Reason> {
    match door {
        Door::Tunnel(origin) => Ok(Arc::clone(origin)),
        Door::Proxy if request.method() == Method::CONNECT => Err(Reason::ConnectNested),
        Door::Proxy => {
            let tls = match request.uri().scheme() {
                Some(scheme) if *scheme == Scheme::HTTP => false,
                // Some clients ask a proxy this way instead of by CONNECT; it goes out over TLS all the same.
                Some(scheme) if *scheme == Scheme::HTTPS => true,
                _ => return Err(Reason::RequestMalformed),
            };
            let authority = request.uri().authority().ok_or(Reason::RequestMalformed)?;
            let (host, port) = authority::parse(authority.as_str(), Some(authority::default_port(tls)))?;
            Origin::new(tls, host, port).map(Arc::new)
        }
    }
}

/// Every authority that a request names is its origin, and it names one.
fn agree(request: &Request<Incoming>, origin: &Origin) -> Result<(), Reason> {
    let uri = request.uri();
    let scheme = uri.scheme().is_none_or(|scheme| *scheme == origin.scheme());
    let mut named = uri.authority().is_some();
    let mut same = scheme && uri.authority().is_none_or(|authority| origin.is_spelled(authority.as_str()));
    let mut hosts = request.headers().get_all(header::HOST).iter();
    if let Some(host) = hosts.next() {
        named = true;
        same &= host.to_str().is_ok_and(|host| origin.is_spelled(host)) && hosts.next().is_none();
    }
    if named && same { Ok(()) } else { Err(Reason::HostMismatch) }
}

impl Subject for Received {
    fn question(&self) -> Question<'_> {
        Question {
            host: &self.origin.host,
            port: self.origin.port,
            method: self.request.method().as_str(),
            path: self.request.uri().path(),
            query: self.request.uri().query(),
            method_override: self.method_override,
        }
    }
}

/// A permitted request in which the scan found nothing to object to.
#[derive(Debug)]
pub(crate) struct Screened {
    pub(super) origin: Arc<Origin>,
    pub(super) route: usize,
    pub(super) parts: Parts,
    pub(super) body: RequestBody,
    /// The agent's side of a WebSocket to be.
    pub(super) upgrade: Option<OnUpgrade>,
}

/// Scans a permitted request. The scan comes with its own issue; until then everything permitted passes.
pub(crate) fn screen(permitted: Permitted<Received>, frozen: &Arc<AtomicBool>) -> Result<Screened, Reason> {
    let route = permitted.route();
    let Received { origin, mut request, websocket, .. } = permitted.into_inner();
    let upgrade = websocket.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let body = RequestBody::Streamed(body, Arc::clone(frozen));
    Ok(Screened { origin, route, parts, body, upgrade })
}

impl Screened {
    /// Reads a short body whole, so that the request can be repeated. A long one, or one of unknown length, stays a
    /// stream.
    pub(crate) async fn hold(&mut self) -> Result<(), Reason> {
        if self.upgrade.is_some() || self.body.size_hint().upper().is_none_or(|length| length > MAX_HELD) {
            return Ok(());
        }
        let body = std::mem::replace(&mut self.body, RequestBody::Held(None));
        let whole = body.collect().await.map_err(|_| Reason::RequestMalformed)?;
        self.body = RequestBody::held(whole.to_bytes());
        Ok(())
    }

    /// The same request once more, where its body is held.
    pub(crate) fn spare(&self) -> Option<Screened> {
        let RequestBody::Held(bytes) = &self.body else { return None };
        Some(Screened {
            origin: Arc::clone(&self.origin),
            route: self.route,
            parts: self.parts.clone(),
            body: RequestBody::Held(bytes.clone()),
            upgrade: None,
        })
    }
}
