//! The body of a request as the agent sends it. Where nobody wants the rest of it any more (the request was refused, or
//! the upstream answered before its end), the rest is read and dropped for a while: a client that still sends would
//! otherwise lose the answer to a reset, of its HTTP/2 stream or of its connection (RFC 9112, section 9.6).
//!
//! Invariant: what is read after the verdict goes nowhere, is bounded in bytes and time, and ends with the connection.

use crate::limits::{LINGER_BYTES, LINGER_PAUSE, LINGER_TIME};
use bytes::Bytes;
use http::{Request, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{runtime::Handle, time::timeout};

#[derive(Debug)]
pub(crate) struct Lingering {
    /// `None` = it has ended.
    body: Option<Incoming>,
    /// Whether the agent sends without being asked to (RFC 9110, section 10.1.1).
    sends: bool,
}

impl Lingering {
    pub(crate) fn within(request: Request<Incoming>) -> Request<Lingering> {
        let sends = !request.headers().contains_key(header::EXPECT);
        request.map(|body| Lingering { body: Some(body).filter(|body| !body.is_end_stream()), sends })
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        // Who expects to be asked has been, by this.
        this.sends = true;
        let polled = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(polled, Some(Ok(_))) || this.is_end_stream() {
            this.body = None;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        // Outside a runtime, the gate ends.
        if let (Some(body), true, Ok(runtime)) = (self.body.take(), self.sends, Handle::try_current()) {
            runtime.spawn(timeout(LINGER_TIME, drained(body)));
        }
    }
}

async fn drained(mut body: Incoming) {
    let mut left = LINGER_BYTES;
    while let Ok(Some(Ok(frame))) = timeout(LINGER_PAUSE, body.frame()).await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(less) => left = less,
            None => return,
        }
    }
}
