//! WebSockets (RFC 6455), just enough of them for tests: one that sends every message back, fragments as fragments,
//! and one that answers whole texts. Pings are answered, close ends it. Over HTTP/1.1 only.

use super::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const LAST: u8 = 0x80;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// `101` and the echo, or `400` where the request does not ask for a WebSocket.
pub(crate) fn echo(request: Request<Incoming>) -> Response<Body> {
    upgraded(request, send_back)
}

/// The same with what `answers` says to each text, in order.
pub(crate) fn answer(
    request: Request<Incoming>,
    answers: impl FnMut(String) -> Vec<String> + Send + 'static,
) -> Response<Body> {
    upgraded(request, |stream| converse(stream, answers))
}

fn upgraded<F, W>(mut request: Request<Incoming>, work: F) -> Response<Body>
where
    F: FnOnce(TokioIo<hyper::upgrade::Upgraded>) -> W + Send + 'static,
    W: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let mut response = Response::new(Empty::new().boxed());
    let Some(key) = request.headers().get("sec-websocket-key").and_then(|key| key.to_str().ok()) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("Upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", accept_of(key).parse().expect("base64 is a header value"));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(&mut request).await {
            // The peer may break off whenever it likes.
            let _ = work(TokioIo::new(upgraded)).await;
        }
    });
    response
}

/// What the server must answer to a client's key.
fn accept_of(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()))
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    mut answers: impl FnMut(String) -> Vec<String>,
) -> std::io::Result<()> {
    let mut text = Vec::new();
    loop {
        let first = stream.read_u8().await?;
        let payload = payload(&mut stream).await?;
        match first & 0xf {
            TEXT | CONTINUATION => {
                text.extend_from_slice(&payload);
                if first & LAST != 0 {
                    let whole = String::from_utf8_lossy(&std::mem::take(&mut text)).into_owned();
                    for answer in answers(whole) {
                        stream.write_all(&frame(LAST | TEXT, answer.as_bytes())).await?;
                    }
                }
            }
            PING => stream.write_all(&frame(LAST | PONG, &payload)).await?,
            CLOSE => {
                stream.write_all(&frame(LAST | CLOSE, &payload)).await?;
                return stream.shutdown().await;
            }
            _ => {}
        }
        stream.flush().await?;
    }
}

async fn send_back<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> std::io::Result<()> {
    loop {
        let first = stream.read_u8().await?;
        let payload = payload(&mut stream).await?;
        let first = if first & 0xf == PING { first & 0xf0 | PONG } else { first };
        stream.write_all(&frame(first, &payload)).await?;
        stream.flush().await?;
        if first & 0xf == CLOSE {
            return stream.shutdown().await;
        }
    }
}

async fn payload<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Vec<u8>> {
    let second = stream.read_u8().await?;
    let length = match second & 0x7f {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        short => u64::from(short),
    };
    let mut mask = [0; 4];
    if second & 0x80 != 0 {
        stream.read_exact(&mut mask).await?;
    }
    let mut payload = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
    stream.read_exact(&mut payload).await?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok(payload)
}

/// A frame without a mask, as servers send them.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..126), _) => frame.push(short),
        (_, Ok(medium)) => {
            frame.push(126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        assert_eq!(super::accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
