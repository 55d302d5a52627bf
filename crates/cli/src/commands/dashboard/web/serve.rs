//! The page over HTTP/1.1.
//!
//! Invariants: every request passes the [guard](super::guard) before anything is done for it, and every answer has the
//! page's headers; a connection, head, body or stream that is too many, too large or too slow ends.

use super::{
    Site,
    api::{self, Done},
    guard::{self, Asked, Refusal},
    page,
};
use crate::compose::Context;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Limited, channel::Channel, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

const CONNECTIONS: usize = 32;
/// Pages that are told of news at once.
const LISTENERS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 16 << 10;
const MAX_BODY: usize = 16 << 10;
/// So that a page that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

type Body = BoxBody<Bytes, Infallible>;

pub(super) async fn serve(listener: TcpListener, site: Arc<Site>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Who finds no place is not kept waiting.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            converse(stream, site).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, site: Arc<Site>) {
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(respond(request, &site).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(MAX_HEAD);
    // A browser that goes away in the middle is no event.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(request: Request<Incoming>, site: &Arc<Site>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut response = match answer(&head, body, site).await {
        Ok(response) => response,
        Err(refusal) => text(refusal.status(), "text/plain; charset=utf-8", refusal.text()),
    };
    response.headers_mut().extend(page::headers());
    response
}

async fn answer(head: &Parts, body: Incoming, site: &Arc<Site>) -> Result<Response<Body>, Refusal> {
    let asked = guard::admit(head, site.port, &site.sessions())?;
    Ok(match asked {
        Asked::Enter(token) => enter(&token, site)?,
        Asked::Page => text(StatusCode::OK, "text/html; charset=utf-8", page::HTML),
        Asked::Script => text(StatusCode::OK, "text/javascript; charset=utf-8", page::SCRIPT),
        Asked::Style => text(StatusCode::OK, "text/css; charset=utf-8", page::STYLE),
        Asked::News => news(site),
        Asked::Answer => act(body, site, |asked, context| api::answer(&asked, context)).await,
        Asked::Freeze => act(body, site, |asked, context| api::freeze(&asked, context)).await,
    })
}

fn enter(token: &str, site: &Site) -> Result<Response<Body>, Refusal> {
    // Without random bytes there is no session.
    let admitted = site.sessions().admit(token).ok().flatten().ok_or(Refusal::Session)?;
    let (html, cookie) = page::entered(&admitted, site.port);
    let mut response = text(StatusCode::OK, "text/html; charset=utf-8", html);
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Reads what is to be done, does it on a thread that may wait, and tells how it went.
async fn act<T: DeserializeOwned + Send + 'static>(
    body: Incoming,
    site: &Arc<Site>,
    act: impl FnOnce(T, &Context) -> Done + Send + 'static,
) -> Response<Body> {
    let read = timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await;
    let asked = match read.map(|read| read.map(|body| serde_json::from_slice::<T>(&body.to_bytes()))) {
        Ok(Ok(Ok(asked))) => asked,
        Ok(Ok(Err(_))) => return said(StatusCode::BAD_REQUEST, &Err("this is not what the page sends".to_owned())),
        Ok(Err(_)) => return said(StatusCode::PAYLOAD_TOO_LARGE, &Err("this is too long".to_owned())),
        Err(_) => return said(StatusCode::REQUEST_TIMEOUT, &Err("this took too long".to_owned())),
    };
    let context = Arc::clone(&site.context);
    let done = tokio::task::spawn_blocking(move || act(asked, &context)).await;
    let done = done.unwrap_or_else(|_| Err("it failed".to_owned()));
    site.news.look_soon();
    said(if done.is_ok() { StatusCode::OK } else { StatusCode::CONFLICT }, &done)
}

fn said(status: StatusCode, done: &Done) -> Response<Body> {
    let body = match done {
        Ok(said) => json!({ "said": said }),
        Err(error) => json!({ "error": error }),
    };
    text(status, "application/json", body.to_string())
}

fn news(site: &Arc<Site>) -> Response<Body> {
    if site.news.listeners() >= LISTENERS {
        return text(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", "too many pages are open");
    }
    let mut listening = site.news.listen();
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    tokio::spawn(async move {
        loop {
            let event = match timeout(HEARTBEAT, listening.next()).await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(_) => Bytes::from_static(b": still here\n\n"),
            };
            if sender.send_data(event).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(http_body_util::Full::new(body.into()).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
