//! The explicit proxy: `CONNECT host:port`, or requests in absolute form.
//!
//! Invariant: a tunnel is answered with 200 only after the policy has allowed its host and port.

use super::{
    Egress,
    accept::Place,
    authority::{self, Origin},
    denial::Facts,
    downstream::Downstream,
    exchange::{self, Door},
    framing::Framing,
    tunnel,
};
use crate::limits::HEAD_TIME;
use bottle_spec::{policy::Tls, verdict::Reason};
use http::Method;
use std::{io, sync::Arc};
use tokio::time::timeout;

const CONNECT: &[u8] = b"CONNECT ";

/// Serves one connection to the proxy's port.
pub(crate) async fn serve(egress: Arc<Egress>, mut stream: Downstream, place: Place) {
    let first = timeout(HEAD_TIME, until(&mut stream, CONNECT.len())).await;
    match first {
        Ok(Ok(true)) if stream.ahead().starts_with(CONNECT) => tunnel_asked(egress, stream, place).await,
        // Shorter than any request: nothing was asked.
        Ok(Ok(false) | Err(_)) => {}
        Ok(Ok(true)) => exchange::serve_h1(egress, stream, Door::Proxy, place).await,
        Err(_) => egress.deny(&Facts::default(), Reason::LimitExceeded),
    }
}

async fn until(stream: &mut Downstream, length: usize) -> io::Result<bool> {
    while stream.ahead().len() < length {
        if !stream.read_ahead().await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn tunnel_asked(egress: Arc<Egress>, mut stream: Downstream, place: Place) {
    let mut facts = Facts { method: Some(Method::CONNECT), supervised: egress.supervised, ..Facts::default() };
    let asked = match timeout(HEAD_TIME, head(&mut stream)).await {
        Ok(Ok(head)) => target(&head),
        Ok(Err(reason)) => Err(reason),
        Err(_) => Err(Reason::LimitExceeded),
    };
    let decided = asked.and_then(|origin| {
        facts.origin = Some(Arc::clone(&origin));
        if egress.is_frozen() {
            return Err(Reason::Frozen);
        }
        let live = egress.live.load_full();
        match live.rules.tunnel(&origin.host, origin.port)? {
            Tls::Passthrough => Ok((origin, Some(tunnel::permit(&egress, &live, &mut facts)?))),
            Tls::Intercept => egress.allow(&tunnel::told(&egress, &facts), false).map(|_| (origin, None)),
        }
    });
    match decided {
        Ok((origin, handed_on)) => tunnel::connected(egress, stream, origin, handed_on, place).await,
        Err(reason) => {
            egress.deny(&facts, reason);
            stream.part(&facts.bytes(reason)).await;
        }
    }
}

/// Reads the head of a CONNECT; the bytes after it are the tunnel's.
async fn head(stream: &mut Downstream) -> Result<Vec<u8>, Reason> {
    let mut framing = Framing::default();
    loop {
        match framing.pass(stream.ahead()) {
            Ok(0) => match stream.read_ahead().await {
                Ok(true) => {}
                Ok(false) | Err(_) => return Err(Reason::RequestMalformed),
            },
            // A body after a CONNECT has no meaning (RFC 9110, section 9.3.6).
            Ok(_) if !framing.is_between() => return Err(Reason::RequestMalformed),
            Ok(length) => {
                let head = stream.ahead().get(..length).unwrap_or_default().to_vec();
                stream.consume(length);
                return Ok(head);
            }
            Err(violation) => return Err(violation.reason()),
        }
    }
}

/// The host and port asked for, and nothing in the head that says otherwise. `Host` may leave the port out.
fn target(head: &[u8]) -> Result<Arc<Origin>, Reason> {
    let head = std::str::from_utf8(head).map_err(|_| Reason::RequestMalformed)?;
    let mut lines = head.split("\r\n");
    let target = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or(Reason::RequestMalformed)?;
    let (host, port) = authority::parse(target, None)?;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let agrees = || authority::parse(value.trim(), Some(port)).is_ok_and(|(h, p)| h == host && p == port);
        if name.eq_ignore_ascii_case("host") && !agrees() {
            return Err(Reason::HostMismatch);
        }
    }
    Origin::new(true, host, port).map(Arc::new)
}
