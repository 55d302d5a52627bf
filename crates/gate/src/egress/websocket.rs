//! Upgrades: WebSocket and nothing else; and the copying of bytes in what is no HTTP any more.

use super::{
    downstream::Activity,
    flow::Flow,
    frames::{Relay, farewell},
    freezing::Switch,
    hearing::Hearing,
    scrub::{Scrubber, Window},
};
use bottle_spec::verdict::Reason;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use std::sync::Arc;
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

/// What is done with the bytes on their way.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    /// Searches the agent's messages.
    pub(crate) up: Option<Relay>,
    /// Masks what comes from the upstream, length for length, so that frames stay whole.
    pub(crate) down: Option<Arc<Scrubber>>,
    /// Reads the upstream's messages, behind that.
    pub(crate) hearing: Option<Hearing>,
    /// Counts both ways.
    pub(crate) flow: Option<Arc<Flow>>,
}

/// Copies both ways until either side ends, nothing moves for too long, the bottle is frozen, or a filter refuses to go
/// on: that reason is given back, and the agent has been told.
pub(crate) async fn splice<D, U>(down: D, up: U, frozen: &Switch, filters: Filters) -> Option<Reason>
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let activity = Activity::default();
    let (down_read, mut down_write) = tokio::io::split(down);
    let (up_read, up_write) = tokio::io::split(up);
    // Only who speaks WebSocket understands a farewell in it.
    let speaks = filters.up.is_some();
    let flow = filters.flow.as_deref();
    let spend = |bytes| flow.map_or(Ok(()), |flow| flow.send(bytes));
    let count = |bytes| {
        flow.iter().for_each(|flow| flow.receive(bytes));
        Ok(())
    };
    let upwards = filters.up.map_or(Filter::None, |relay| Filter::Search(Box::new(relay)));
    let downwards = match (filters.down.map(Window::masking), filters.hearing.map(Box::new)) {
        (None, None) => Filter::None,
        (window, hearing) => Filter::Down(window, hearing),
    };
    let both = async {
        tokio::try_join!(
            copy(down_read, up_write, frozen, &activity, upwards, spend),
            copy(up_read, &mut down_write, frozen, &activity, downwards, count),
        )
    };
    let ended = tokio::select! {
        ended = both => ended,
        () = activity.clone().idle() => return None,
        () = frozen.frozen() => return None,
    };
    match ended {
        Err(Ended::Refused(reason)) => {
            // The agent may be gone; the connection ends in any case.
            if speaks {
                let _ = down_write.write_all(&farewell(reason)).await;
            }
            let _ = down_write.shutdown().await;
            Some(reason)
        }
        Ok(_) | Err(Ended::Broken) => None,
    }
}

enum Filter {
    None,
    Down(Option<Window>, Option<Box<Hearing>>),
    Search(Box<Relay>),
}

impl Filter {
    fn hear(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        match self {
            Filter::Down(_, Some(hearing)) => hearing.hear(bytes).map_err(Ended::Refused),
            Filter::None | Filter::Down(..) | Filter::Search(_) => Ok(()),
        }
    }
}

enum Ended {
    /// It broke off, which ends both directions.
    Broken,
    Refused(Reason),
}

/// An end of file is passed on and ends this direction alone.
async fn copy<R, W>(
    mut from: R,
    mut to: W,
    frozen: &Switch,
    activity: &Activity,
    mut filter: Filter,
    account: impl Fn(usize) -> Result<(), Reason>,
) -> Result<(), Ended>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        let amount = from.read_buf(&mut buffer).await.unwrap_or(0);
        if frozen.is_frozen() {
            return Err(Ended::Broken);
        }
        activity.note();
        if amount == 0 {
            // A message that has not ended is none.
            let rest = if let Filter::Down(Some(window), _) = &mut filter { window.finish() } else { Bytes::new() };
            filter.hear(&rest)?;
            to.write_all(&rest).await.map_err(|_| Ended::Broken)?;
            return to.shutdown().await.map_err(|_| Ended::Broken);
        }
        let clean = match &mut filter {
            Filter::None | Filter::Down(None, _) => None,
            Filter::Down(Some(window), _) => Some(window.push(Bytes::copy_from_slice(&buffer))),
            Filter::Search(relay) => Some(relay.pass(&buffer).map_err(Ended::Refused)?),
        };
        let clean = clean.as_deref().unwrap_or(&buffer);
        filter.hear(clean)?;
        account(clean.len()).map_err(Ended::Refused)?;
        to.write_all(clean).await.map_err(|_| Ended::Broken)?;
        to.flush().await.map_err(|_| Ended::Broken)?;
        buffer.clear();
    }
}
