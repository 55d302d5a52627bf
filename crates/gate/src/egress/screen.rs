//! The screen: a permitted request is searched for what must not leave, and only then becomes a [`Screened`].
//!
//! Invariant: this module alone makes a [`Screened`], and what of it goes upstream has been searched: its head and a
//! short body here, before anything else is done for it; a long body, or one that comes slowly, piece by piece on its
//! way (`screened_body`).

use super::{
    authority::Origin,
    body::RequestBody,
    decode::Coding,
    inject::is_replaced,
    judge::{Judge, Replaceable},
    lingering::Lingering,
    request::Received,
    screened_body::{Gathered, ScreenedBody},
};
use crate::limits::{GATHER_PAUSE, MAX_WHOLE};
use bottle_policy::{
    Permitted,
    scan::{Finding, Place, Scanner, Shape},
};
use bottle_spec::verdict::Reason;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use std::sync::Arc;
use tokio::time::timeout;

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

/// Searches a permitted request; `replaced` is whether a secret of ours takes the place of the agent's credentials.
pub(crate) async fn screen(
    permitted: Permitted<Received>,
    scanner: &Arc<Scanner>,
    judge: &Arc<Judge>,
) -> Result<Screened, Reason> {
    let route = permitted.route();
    let (origin, mut request, websocket) = permitted.into_inner().into_parts();
    let upgrade = websocket.then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    screen_head(&origin, &mut parts, scanner, judge)?;
    if websocket {
        // What is compressed with a history of its own cannot be searched message by message.
        parts.headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    }
    let body = screen_body(&parts.headers, body, scanner, judge).await?;
    Ok(Screened { origin, route, parts, body, upgrade })
}

fn screen_head(origin: &Origin, parts: &mut Parts, scanner: &Scanner, judge: &Judge) -> Result<(), Reason> {
    if !judge.is_scanning() {
        return Ok(());
    }
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let replacement = judge.replacement();
    let sent = parts.headers.iter().filter(|(name, _)| !is_replaced(name, replacement));
    let headers = sent.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let mut found = scanner.request_head(origin.host.as_str(), target, headers);
    if !is_common(&parts.method) {
        found.extend(scanner.piece(Place::Method, parts.method.as_str().as_bytes()));
    }
    if found.is_empty() {
        return Ok(());
    }
    if judge.redacts() {
        let (headers, mut others): (Vec<_>, Vec<_>) = found.into_iter().partition(|finding| redactable(finding, parts));
        judge.judge(&mut others, Replaceable::Not)?;
        judge.judge(&mut headers.clone(), Replaceable::InPlace)?;
        headers.iter().filter(|finding| !judge.is_exempt(finding)).for_each(|finding| redact(finding, parts));
        return Ok(());
    }
    judge.judge(&mut found, Replaceable::Not)
}

fn is_common(method: &Method) -> bool {
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS]
        .contains(method)
}

/// A value of a header that stands there once, plainly.
fn redactable(finding: &Finding, parts: &Parts) -> bool {
    match &finding.place {
        Place::Header(name) => finding.span.is_some() && parts.headers.get_all(name.as_ref()).iter().count() == 1,
        _ => false,
    }
}

/// The whole value goes: it is not worth guessing what the rest of it is for.
fn redact(finding: &Finding, parts: &mut Parts) {
    let (Place::Header(name), Ok(text)) =
        (&finding.place, HeaderValue::try_from(format!("[redacted:{}]", finding.rule)))
    else {
        return;
    };
    if let Some(value) = parts.headers.get_mut(name.as_ref()) {
        *value = text;
    }
}

async fn screen_body(
    headers: &HeaderMap,
    body: Lingering,
    scanner: &Arc<Scanner>,
    judge: &Arc<Judge>,
) -> Result<RequestBody, Reason> {
    if body.is_end_stream() {
        return Ok(RequestBody::Held(None));
    }
    let shape = Shape::of(headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes));
    let length = body.size_hint().exact();
    let coding = Coding::of(headers).ok_or(Reason::BodyUnscannable)?;
    let gathered = gather(body).await?;
    if coding == Coding::Identity && gathered.is_bare() {
        return whole(gathered.front, shape, scanner, judge).map(RequestBody::held);
    }
    let (ended, claim) = (gathered.has_ended(), judge.decoders().claim(coding).await?);
    let body = ScreenedBody::new(gathered, (coding, claim), length, shape, scanner, judge);
    if !ended {
        return Ok(RequestBody::Screened(Box::new(body)));
    }
    // Nothing goes upstream before the verdict, which all of the body is there for.
    let collected = body.collect().await.map_err(|error| error.reason())?;
    let trailers = collected.trailers().cloned();
    Ok(RequestBody::ended(collected.to_bytes(), trailers))
}

/// Searches a body that is all there.
fn whole(body: Bytes, shape: Shape, scanner: &Arc<Scanner>, judge: &Judge) -> Result<Bytes, Reason> {
    let mut stream = scanner.stream(shape);
    if judge.redacts() {
        stream = stream.redacting(judge.exempt());
    }
    let mut found = Vec::new();
    let first = stream.push(body, &mut found);
    let rest = stream.finish(&mut found);
    judge.judge(&mut found, Replaceable::InPlace)?;
    if first.is_empty() {
        return Ok(rest);
    }
    Ok([first, rest].concat().into())
}

/// Reads what is there of a body: all of a short one, and of one of unknown length what comes without a pause.
async fn gather(mut body: Lingering) -> Result<Gathered, Reason> {
    let exact = body.size_hint().exact();
    let mut front = BytesMut::new();
    let mut trailers = None;
    if exact.is_some_and(|length| length > MAX_WHOLE as u64) {
        return Ok(Gathered { front: Bytes::new(), trailers, rest: Some(body) });
    }
    let mut first = None;
    while front.len() <= MAX_WHOLE && trailers.is_none() {
        let frame = match exact {
            Some(_) => body.frame().await,
            // The agent may wait for an answer before it goes on.
            None => match timeout(GATHER_PAUSE, body.frame()).await {
                Ok(frame) => frame,
                Err(_) => return Ok(Gathered { front: joined(first, front), trailers, rest: Some(body) }),
            },
        };
        let Some(frame) = frame else {
            return Ok(Gathered { front: joined(first, front), trailers, rest: None });
        };
        match frame.map_err(|_| Reason::RequestMalformed)?.into_data() {
            Ok(data) if first.is_none() && front.is_empty() => first = Some(data),
            Ok(data) => {
                front.extend_from_slice(&first.take().unwrap_or_default());
                front.extend_from_slice(&data);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        if first.as_ref().is_some_and(|first| first.len() > MAX_WHOLE) {
            break;
        }
    }
    Ok(Gathered { front: joined(first, front), rest: trailers.is_none().then_some(body), trailers })
}

/// The usual body comes in one piece, and is not copied.
fn joined(first: Option<Bytes>, rest: BytesMut) -> Bytes {
    first.unwrap_or_else(|| rest.freeze())
}

impl Screened {
    /// Reads a body that is not there as a whole yet, where it is not too long, so that the request can be repeated.
    pub(crate) async fn hold(&mut self, longest: u64) -> Result<(), Reason> {
        if self.upgrade.is_some() || self.body.size_hint().upper().is_none_or(|length| length > longest) {
            return Ok(());
        }
        let body = std::mem::replace(&mut self.body, RequestBody::Held(None));
        let whole = body.collect().await.map_err(|error| error.reason())?;
        let trailers = whole.trailers().cloned();
        self.body = RequestBody::ended(whole.to_bytes(), trailers);
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
