//! The answers of an ordinary test upstream, by path.
//!
//! | path | answer |
//! |---|---|
//! | `/echo` (and every path not below) | the request as JSON: `method`, `target`, `version`, `sni`, `host`, `headers`, `body`, `trailers` |
//! | `/gzip` | the same, gzip'd |
//! | `/split` | the same, in pieces of three bytes |
//! | `/echo-headers` | `x-echo-authorization` and a trailer `x-trailer-authorization` repeat the request's Authorization |
//! | `/size/N` | N bytes, `content-length` set |
//! | `/stream/N` | N bytes in chunks, no length |
//! | `/sse/N` | N server-sent events, each `data: K`, each sent by itself |
//! | `/drip/N` | N bytes, 10 ms apart |
//! | `/slow/MS` | `slow`, after MS milliseconds |
//! | `/hang` | nothing, ever |
//! | `/stall` | the beginning of a body, and nothing more |
//! | `/cut` | a body that breaks off |
//! | `/chunked` | three chunks and the trailer `x-checksum: 42` |
//! | `/sink` | reads the body without keeping it: `{"bytes": N}` |
//! | `/pipe` | sends each piece of the body back as it arrives |
//! | `/status/N` | an empty answer with that status |
//! | `/redirect?to=URL` | 302 to URL |
//! | `/refresh/WORD` | 401 unless some request header's value contains WORD |
//! | `/ws` | a WebSocket that sends every message back |

use super::{Asked, Body, Seen, websocket};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, channel::Channel};
use hyper::body::Incoming;
use serde_json::json;
use std::{future::pending, io::Write, time::Duration};

/// The answer to one request.
pub async fn answer(asked: Asked) -> Response<Body> {
    let Asked { seen, unread } = asked;
    let path = seen.path().to_owned();
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (first, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let number = rest.parse::<usize>().unwrap_or(1);
    match (first, unread) {
        ("ws", Some(request)) => websocket::echo(request),
        ("sink", Some(request)) => sink(request.into_body()).await,
        ("pipe", Some(request)) => pipe(request.into_body()),
        ("gzip", _) => gzip(&seen),
        ("split", _) => pieces(echo_text(&seen).into_bytes().chunks(3).map(Bytes::copy_from_slice).collect()),
        ("echo-headers", _) => echo_headers(&seen),
        ("size", _) => sized(number),
        ("stream", _) => pieces(pattern(number).chunks(16 * 1024).map(Bytes::copy_from_slice).collect()),
        ("sse", _) => events(number),
        ("drip", _) => drip(number),
        ("slow", _) => slow(number).await,
        ("hang", _) => pending().await,
        ("stall", _) => stall(),
        ("cut", _) => cut(),
        ("chunked", _) => chunked(),
        ("status", _) => status(rest),
        ("redirect", _) => redirect(&seen),
        ("refresh", _) => refresh(&seen, rest),
        _ => json_answer(StatusCode::OK, echo_text(&seen)),
    }
}

/// The same bytes for the same length: letters, so that they read well when a test prints them.
pub fn pattern(length: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(length).collect()
}

pub fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

pub fn json_answer(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

fn echo_text(seen: &Seen) -> String {
    json!({
        "method": seen.method,
        "target": seen.target,
        "version": seen.version,
        "sni": seen.sni,
        "host": seen.host,
        "headers": seen.headers,
        "body": String::from_utf8_lossy(&seen.body),
        "trailers": seen.trailers,
    })
    .to_string()
}

fn gzip(seen: &Seen) -> Response<Body> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(echo_text(seen).as_bytes()).expect("memory takes every byte");
    let mut response = json_answer(StatusCode::OK, String::new());
    response.headers_mut().insert("content-encoding", http::HeaderValue::from_static("gzip"));
    *response.body_mut() = full(encoder.finish().expect("memory takes every byte"));
    response
}

fn echo_headers(seen: &Seen) -> Response<Body> {
    let value = seen.header("authorization").unwrap_or("none").parse().unwrap_or(http::HeaderValue::from_static("?"));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-trailer-authorization", value);
    let mut response = with_trailers(vec![Bytes::from_static(b"see the headers")], trailers.clone());
    response.headers_mut().insert("x-echo-authorization", trailers["x-trailer-authorization"].clone());
    response.headers_mut().insert("trailer", http::HeaderValue::from_static("x-trailer-authorization"));
    response
}

fn sized(length: usize) -> Response<Body> {
    Response::new(full(pattern(length)))
}

/// Each piece a frame of its own.
fn pieces(pieces: Vec<Bytes>) -> Response<Body> {
    with_trailers(pieces, HeaderMap::new())
}

fn with_trailers(pieces: Vec<Bytes>, trailers: HeaderMap) -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        for piece in pieces {
            if sender.send(Frame::data(piece)).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if !trailers.is_empty() {
            let _ = sender.send(Frame::trailers(trailers)).await;
        }
    });
    Response::new(body.boxed())
}

fn events(count: usize) -> Response<Body> {
    let mut response = pieces((0..count).map(|event| Bytes::from(format!("data: {event}\n\n"))).collect());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
    response
}

fn drip(length: usize) -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        for byte in pattern(length) {
            if sender.send(Frame::data(Bytes::copy_from_slice(&[byte]))).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    Response::new(body.boxed())
}

async fn slow(milliseconds: usize) -> Response<Body> {
    tokio::time::sleep(Duration::from_millis(milliseconds as u64)).await;
    Response::new(full("slow"))
}

fn stall() -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        let _ = sender.send(Frame::data(Bytes::from_static(b"the beginning"))).await;
        pending::<()>().await;
    });
    Response::new(body.boxed())
}

/// Promises more than it sends, and then breaks off: hyper resets the stream or closes the connection.
fn cut() -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move { sender.send(Frame::data(Bytes::from_static(b"half a body"))).await });
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert("content-length", http::HeaderValue::from_static("1000"));
    response
}

fn chunked() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", http::HeaderValue::from_static("42"));
    let mut response = with_trailers(["one ", "two ", "three"].map(Bytes::from).to_vec(), trailers);
    response.headers_mut().insert("trailer", http::HeaderValue::from_static("x-checksum"));
    response
}

async fn sink(mut body: Incoming) -> Response<Body> {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    json_answer(StatusCode::OK, json!({ "bytes": bytes }).to_string())
}

fn pipe(mut body: Incoming) -> Response<Body> {
    let (mut sender, answer) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        while let Some(Ok(frame)) = body.frame().await {
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    });
    Response::new(answer.boxed())
}

fn status(text: &str) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed());
    *response.status_mut() = StatusCode::from_bytes(text.as_bytes()).unwrap_or(StatusCode::BAD_REQUEST);
    response
}

fn redirect(seen: &Seen) -> Response<Body> {
    let to = seen.target.split_once("to=").map(|(_, to)| to).unwrap_or("/echo");
    let mut response = status("302");
    response.headers_mut().insert("location", to.parse().unwrap_or(http::HeaderValue::from_static("/echo")));
    response
}

fn refresh(seen: &Seen, word: &str) -> Response<Body> {
    let held = seen.headers.iter().any(|(_, value)| value.contains(word));
    let status = if held { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
    json_answer(status, echo_text(seen))
}
