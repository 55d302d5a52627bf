//! What happens in a tunnel: the ClientHello is read before anything answers it, its server name must be the tunnel's
//! host, and then TLS is ended here (intercept) or handed on (passthrough).
//!
//! Invariant: not a byte of TLS is answered or passed on before the server name has been compared. In a tunnel that is
//! handed on, a ClientHello that may hide another name (ECH) is refused.

use super::{
    Egress, Live,
    accept::Place,
    authority::Origin,
    denial::Facts,
    downstream::Downstream,
    exchange::{self, Door},
    flow::Flow,
    hello::{self, HANDSHAKE_RECORD, Hello, MAX_HELLO, Parsed},
    judge::{Judge, Replaceable},
    lasting::Lasting,
    websocket::{Filters, splice},
};
use crate::limits::{HANDSHAKE_TIME, HEAD_TIME};
use bottle_policy::scan::{self, Finding};
use bottle_spec::{host::HostName, policy::Tls, verdict::Reason};
use std::sync::Arc;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// A fatal alert, `access_denied`.
const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 49];

/// Allows a tunnel that is handed on: its name, which is all that is seen of it, is searched, and it is paid for.
pub(crate) fn permit(egress: &Arc<Egress>, live: &Live, facts: &mut Facts) -> Result<Arc<Flow>, Reason> {
    let origin = facts.origin.clone().ok_or(Reason::PolicyError)?;
    let route = live.rules.tunnel_route(&origin.host, origin.port)?;
    let judge = Judge::new(egress, &live.rules, route, facts);
    let mut found = found_in_name(egress, &origin.host);
    let judged = judge.judge(&mut found, Replaceable::Not).and_then(|()| egress.piece_of_name(&origin.host, &judge));
    judged.map_err(|reason| exchange::blamed(reason, &judge, facts))?;
    egress.afford(&live.rules, route, facts, 0, 0)?;
    let seq = egress.allow(facts, false)?;
    Ok(Flow::new(egress, &live.rules, facts, seq))
}

/// What is written down of a tunnel whose requests are judged one by one: not its name, where that holds what must not
/// leave. It goes nowhere before them.
pub(crate) fn told(egress: &Egress, facts: &Facts) -> Facts {
    let clean = facts.origin.as_ref().is_none_or(|origin| found_in_name(egress, &origin.host).is_empty());
    if clean { facts.clone() } else { facts.without(&scan::Place::Host) }
}

fn found_in_name(egress: &Egress, host: &HostName) -> Vec<Finding> {
    egress.knowledge.scanner(&egress.vault).request_head(host.as_str(), "/", std::iter::empty())
}

/// Goes on with a CONNECT that the policy has allowed; `handed_on` is there where its TLS is not ended here.
pub(crate) async fn connected(
    egress: Arc<Egress>,
    mut stream: Downstream,
    origin: Arc<Origin>,
    handed_on: Option<Arc<Flow>>,
    place: Place,
) {
    let facts = Facts { origin: Some(Arc::clone(&origin)), ..Facts::default() };
    let upstream = match handed_on {
        None => None,
        // The client learns by the answer to its CONNECT whether the host can be reached.
        Some(flow) => match dial(&egress, &origin).await {
            Ok(upstream) => Some((upstream, flow)),
            Err(reason) => {
                egress.deny(&facts, reason);
                return stream.part(&facts.bytes(reason)).await;
            }
        },
    };
    if stream.write_all(ESTABLISHED).await.is_err() {
        return;
    }
    match first_byte(&mut stream).await {
        First::Tls => encrypted(egress, stream, origin, upstream, place).await,
        First::Other => {
            egress.deny(&facts, Reason::NotTls);
            stream.part(&[]).await;
        }
        First::Nothing => {}
    }
}

/// Serves a connection to a synthetic address that stands for `host`.
pub(crate) async fn transparent(egress: Arc<Egress>, mut stream: Downstream, host: HostName, port: u16, place: Place) {
    let first = first_byte(&mut stream).await;
    let Ok(origin) = Origin::new(matches!(first, First::Tls), host, port).map(Arc::new) else { return };
    match first {
        First::Nothing => {}
        First::Other => exchange::serve_h1(egress, stream, Door::Tunnel(origin), place).await,
        First::Tls => {
            // A host that no route allows is intercepted too: its requests are refused one by one, with the reason.
            let tls = egress.live.load().rules.tunnel(&origin.host, origin.port).unwrap_or(Tls::Intercept);
            let upstream = match tls {
                Tls::Intercept => None,
                Tls::Passthrough => match passthrough(&egress, &origin).await {
                    Some(upstream) => Some(upstream),
                    None => return stream.part(ALERT).await,
                },
            };
            encrypted(egress, stream, origin, upstream, place).await;
        }
    }
}

/// Decides about, writes down and dials a tunnel that is handed on and that no CONNECT asked for.
async fn passthrough(egress: &Arc<Egress>, origin: &Arc<Origin>) -> Option<(TcpStream, Arc<Flow>)> {
    let mut facts = Facts { origin: Some(Arc::clone(origin)), ..Facts::default() };
    let live = egress.live.load_full();
    let allowed = if egress.is_frozen() { Err(Reason::Frozen) } else { permit(egress, &live, &mut facts) };
    let dialled = match allowed {
        Ok(flow) => dial(egress, origin).await.map(|upstream| (upstream, flow)),
        Err(reason) => Err(reason),
    };
    dialled.map_err(|reason| egress.deny(&facts, reason)).ok()
}

async fn dial(egress: &Egress, origin: &Origin) -> Result<TcpStream, Reason> {
    let dialer = Arc::clone(egress.live.load().upstream.dialer());
    dialer.dial(&origin.host, origin.port).await.map_err(|error| {
        tracing::info!(host = %origin.host, error = &error as &dyn std::error::Error, "dial");
        error.reason()
    })
}

enum First {
    Tls,
    Other,
    Nothing,
}

async fn first_byte(stream: &mut Downstream) -> First {
    while stream.ahead().is_empty() {
        if !matches!(timeout(HEAD_TIME, stream.read_ahead()).await, Ok(Ok(true))) {
            return First::Nothing;
        }
    }
    if stream.ahead().first() == Some(&HANDSHAKE_RECORD) { First::Tls } else { First::Other }
}

/// Compares the server name, then ends TLS or hands it on to `upstream`.
async fn encrypted(
    egress: Arc<Egress>,
    mut stream: Downstream,
    origin: Arc<Origin>,
    upstream: Option<(TcpStream, Arc<Flow>)>,
    place: Place,
) {
    let checked = match timeout(HANDSHAKE_TIME, client_hello(&mut stream)).await {
        Ok(Ok(hello)) => check(&hello, &origin, upstream.is_some()),
        Ok(Err(reason)) => Err(reason),
        Err(_) => Err(Reason::LimitExceeded),
    };
    match (checked, upstream) {
        (Ok(()), None) => intercept(egress, stream, origin, place).await,
        (Ok(()), Some((upstream, flow))) => {
            let _place = place;
            let facts = Facts { origin: Some(origin), ..Facts::default() };
            let filters = Filters { flow: Some(flow), ..Filters::default() };
            // What refused to go on is the budget, of which the flow tells.
            tokio::select! {
                _ = splice(stream, upstream, &egress.frozen, filters) => {}
                () = Lasting::tunnel(&egress, facts).revoked() => {}
            }
        }
        (Err(reason), _) => {
            egress.deny(&Facts { origin: Some(origin), ..Facts::default() }, reason);
            stream.part(ALERT).await;
        }
    }
}

async fn client_hello(stream: &mut Downstream) -> Result<Hello, Reason> {
    loop {
        match hello::parse(stream.ahead()) {
            Ok(Parsed::Whole(hello)) => return Ok(hello),
            Ok(Parsed::Partial) if stream.ahead().len() > 2 * MAX_HELLO => return Err(Reason::LimitExceeded),
            Ok(Parsed::Partial) => match stream.read_ahead().await {
                Ok(true) => {}
                Ok(false) | Err(_) => return Err(Reason::RequestMalformed),
            },
            Err(hello::Malformed) => return Err(Reason::RequestMalformed),
        }
    }
}

fn check(hello: &Hello, origin: &Origin, handed_on: bool) -> Result<(), Reason> {
    let name = hello.server_name.as_deref().ok_or(Reason::ServerNameMissing)?;
    if HostName::parse(name).ok().as_ref() != Some(&origin.host) || (handed_on && hello.encrypted) {
        return Err(Reason::HostMismatch);
    }
    Ok(())
}

async fn intercept(egress: Arc<Egress>, stream: Downstream, origin: Arc<Origin>, place: Place) {
    let config = match egress.issuer.server_config(&origin.host) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(host = %origin.host, error = &error as &dyn std::error::Error, "no certificate");
            egress.deny(&Facts { origin: Some(origin), ..Facts::default() }, Reason::PolicyError);
            return stream.part(ALERT).await;
        }
    };
    let activity = stream.activity();
    match timeout(HANDSHAKE_TIME, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(tls)) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => {
            exchange::serve_h2(egress, tls, activity, origin, place).await;
        }
        Ok(Ok(tls)) => exchange::serve_tls_h1(egress, tls, activity, origin, place).await,
        // The client may not trust this bottle's authority: worth a line for whoever debugs, and no decision.
        Ok(Err(error)) => tracing::info!(host = %origin.host, %error, "TLS handshake with the agent"),
        Err(_) => tracing::info!(host = %origin.host, "TLS handshake with the agent timed out"),
    }
}
