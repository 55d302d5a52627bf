//! Upgrades: WebSocket and nothing else; and the copying of bytes in what is no HTTP any more.

use super::{
    downstream::Activity,
    scrub::{Scrubber, Window},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const CHUNK: usize = 16 << 10;

/// Whether a request asks for another protocol.
pub(crate) fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(header::UPGRADE) || request.headers().contains_key("http2-settings")
}

/// Whether it asks for a WebSocket, in the one form there is for it over HTTP/1.1 (RFC 6455, section 4.1).
pub(crate) fn is_websocket<B>(request: &Request<B>) -> bool {
    let key = request.headers().get_all(header::SEC_WEBSOCKET_KEY).iter().count() == 1;
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && key
        && names_websocket(request.headers())
}

/// Whether the upstream has agreed to it.
pub(crate) fn is_accepted<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS && names_websocket(response.headers())
}

fn names_websocket(headers: &HeaderMap) -> bool {
    let mut upgrades = headers.get_all(header::UPGRADE).iter();
    let only = upgrades.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    only && upgrades.next().is_none()
}

/// Copies both ways until either side ends, nothing moves for too long, or the bottle is frozen. What comes from the
/// upstream is masked by `scrubber`, length for length, so that frames stay whole.
pub(crate) async fn splice<D, U>(down: D, up: U, frozen: &AtomicBool, scrubber: Option<Arc<Scrubber>>)
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let activity = Activity::default();
    let (down_read, down_write) = tokio::io::split(down);
    let (up_read, up_write) = tokio::io::split(up);
    let both = async {
        tokio::try_join!(
            copy(down_read, up_write, frozen, &activity, None),
            copy(up_read, down_write, frozen, &activity, scrubber.map(Window::masking)),
        )
    };
    tokio::select! {
        _ = both => {}
        () = activity.clone().idle() => {}
    }
}

struct Ended;

/// An error = it broke off, which ends both directions; an end of file is passed on and ends this one alone.
async fn copy<R, W>(
    mut from: R,
    mut to: W,
    frozen: &AtomicBool,
    activity: &Activity,
    mut window: Option<Window>,
) -> Result<(), Ended>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        let amount = from.read_buf(&mut buffer).await.unwrap_or(0);
        if frozen.load(Ordering::Relaxed) {
            return Err(Ended);
        }
        activity.note();
        if amount == 0 {
            let rest = window.as_mut().map(Window::finish).unwrap_or_default();
            to.write_all(&rest).await.map_err(|_| Ended)?;
            return to.shutdown().await.map_err(|_| Ended);
        }
        match &mut window {
            None => to.write_all(&buffer).await.map_err(|_| Ended)?,
            Some(window) => {
                let clean: Bytes = window.push(Bytes::copy_from_slice(&buffer));
                to.write_all(&clean).await.map_err(|_| Ended)?;
            }
        }
        to.flush().await.map_err(|_| Ended)?;
        buffer.clear();
    }
}
