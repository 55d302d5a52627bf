//! One request on its way out, as types: [`Received`] → `Permitted` → `Screened` (`screen`) → `Credentialed` (`inject`).
//!
//! Invariant: a [`Received`] is a request about exactly one origin, whatever its target and headers claim; it becomes a
//! `Screened` only through the policy's proof. The forms differ in type so that no step can be left out.

use super::{
    authority::{self, Origin},
    exchange::Door,
    lingering::Lingering,
    websocket,
};
use bottle_policy::{Question, Subject, egress::is_method_override};
use bottle_spec::verdict::Reason;
use http::{HeaderMap, HeaderName, Method, Request, header, uri::Scheme};
use std::sync::Arc;

/// A request whose origin is known and single.
#[derive(Debug)]
pub(crate) struct Received {
    origin: Arc<Origin>,
    request: Request<Lingering>,
    method_override: bool,
    websocket: bool,
}

impl Received {
    /// Refuses nested CONNECT, upgrades to anything but WebSocket, and authorities that do not agree.
    pub(crate) fn new(request: Request<Lingering>, origin: Arc<Origin>) -> Result<Received, Reason> {
        if request.method() == Method::CONNECT {
            return Err(Reason::ConnectNested);
        }
        agree(&request, &origin)?;
        if request.headers().keys().any(is_misspelled) || !expects_nothing_odd(request.headers()) {
            return Err(Reason::RequestMalformed);
        }
        let websocket = websocket::is_websocket(&request);
        if websocket::is_upgrade(&request) && !websocket {
            return Err(Reason::UpgradeNotAllowed);
        }
        let method_override = request.headers().keys().any(|name| is_method_override(name.as_str()));
        Ok(Received { origin, request, method_override, websocket })
    }

    /// Whether it opens a WebSocket comes last.
    pub(crate) fn into_parts(self) -> (Arc<Origin>, Request<Lingering>, bool) {
        (self.origin, self.request, self.websocket)
    }
}

/// Servers that hand headers on as variables take `_` for `-`; what frames a message must not come by that way.
fn is_misspelled(name: &HeaderName) -> bool {
    const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "content-encoding"];
    let name = name.as_str();
    name.contains('_') && FRAMING.contains(&name.replace('_', "-").as_str())
}

/// `100-continue` is the one expectation there is (RFC 9110, section 10.1.1).
fn expects_nothing_odd(headers: &HeaderMap) -> bool {
    let mut expected = headers.get_all(header::EXPECT).iter();
    let plain = expected.next().is_none_or(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    plain && expected.next().is_none()
}

/// The origin of a request: the tunnel's, or by the absolute form where there is no tunnel.
pub(crate) fn origin(request: &Request<Lingering>, door: &Door) -> Result<Arc<Origin>, Reason> {
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
fn agree(request: &Request<Lingering>, origin: &Origin) -> Result<(), Reason> {
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
