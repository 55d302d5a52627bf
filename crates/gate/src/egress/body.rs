//! The bodies that pass through the gate, as enums: no boxing per request and no dynamic dispatch per frame.

use super::{
    decode::Decoded,
    inbound::Listener,
    line::Arriving,
    screened_body::ScreenedBody,
    scrub::{Scrubber, Window},
    waiting::Waits,
};
use bottle_spec::verdict::Reason;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// Why a body ended early; the peer sees a reset or a closed connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
    #[error("the body could not be decompressed")]
    Decode(#[source] io::Error),
    #[error("the operator has frozen this bottle")]
    Frozen,
    /// By the screen, or a budget.
    #[error("{0}")]
    Refused(Reason),
}

impl BodyError {
    /// What the agent is told, where the answer has not begun.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            BodyError::Frozen => Reason::Frozen,
            BodyError::Refused(reason) => *reason,
            BodyError::Broken(_) | BodyError::Decode(_) => Reason::RequestMalformed,
        }
    }
}

/// What goes upstream.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// Searched on its way.
    Screened(Box<ScreenedBody>),
    /// Searched already, and all there.
    Held(Option<Bytes>),
    /// The same, with trailers.
    Trailed(Bytes, Option<HeaderMap>),
}

impl RequestBody {
    pub(crate) fn held(bytes: Bytes) -> RequestBody {
        RequestBody::Held(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    pub(crate) fn ended(bytes: Bytes, trailers: Option<HeaderMap>) -> RequestBody {
        if trailers.is_some() { RequestBody::Trailed(bytes, trailers) } else { RequestBody::held(bytes) }
    }

    /// Whether nothing of it is still to come from the agent.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, RequestBody::Held(_) | RequestBody::Trailed(..))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            RequestBody::Screened(body) => Pin::new(body.as_mut()).poll_frame(cx),
            RequestBody::Held(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            RequestBody::Trailed(bytes, _) if !bytes.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            RequestBody::Trailed(_, trailers) => Poll::Ready(trailers.take().map(|left| Ok(Frame::trailers(left)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Screened(body) => body.is_end_stream(),
            RequestBody::Held(bytes) => bytes.is_none(),
            RequestBody::Trailed(bytes, trailers) => bytes.is_empty() && trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Screened(body) => body.size_hint(),
            // Trailers go behind chunks alone.
            RequestBody::Trailed(..) => SizeHint::default(),
            RequestBody::Held(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
        }
    }
}

/// What goes back to the agent.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    Held(Option<Bytes>),
    /// As the upstream sends it: no secret was ever injected for this host, and it is no text.
    Streamed(Arriving),
    /// Searched for injected secrets, and for orders to the agent, on its way.
    Filtered(Box<Filtered>),
    /// Of a request that still waits for the operator.
    Waits(Box<Waits>),
}

impl ResponseBody {
    pub(crate) fn full(bytes: Bytes) -> ResponseBody {
        ResponseBody::Held(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    pub(crate) fn filtered(
        source: Source,
        scrubber: Option<Arc<Scrubber>>,
        listener: Option<Listener>,
    ) -> ResponseBody {
        let window = scrubber.map(Window::new);
        ResponseBody::Filtered(Box::new(Filtered { source, window, listener, end: End::Open }))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            ResponseBody::Held(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            ResponseBody::Streamed(body) => {
                Poll::Ready(ready!(Pin::new(body).poll_frame(cx)).map(|f| f.map_err(BodyError::Broken)))
            }
            ResponseBody::Filtered(body) => body.poll(cx),
            ResponseBody::Waits(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Held(bytes) => bytes.is_none(),
            ResponseBody::Streamed(body) => body.is_end_stream(),
            ResponseBody::Filtered(body) => matches!(body.end, End::Closed),
            ResponseBody::Waits(body) => body.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Held(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            ResponseBody::Streamed(body) => body.size_hint(),
            // What is filtered changes its length.
            ResponseBody::Filtered(_) | ResponseBody::Waits(_) => SizeHint::default(),
        }
    }
}

/// Where the bytes to scrub come from.
#[derive(Debug)]
pub(crate) enum Source {
    Identity(Arriving),
    Encoded(Box<Decoded<Arriving>>),
}

#[derive(Debug)]
pub(crate) struct Filtered {
    source: Source,
    window: Option<Window>,
    /// Behind the window: what it notes holds no secret.
    listener: Option<Listener>,
    end: End,
}

#[derive(Debug)]
enum End {
    Open,
    /// The last data has gone out; these are left.
    Trailers(HeaderMap),
    /// It is to break off; whether what went before has had its time to leave. hyper drops what it has not sent yet.
    Broken(BodyError, bool),
    Closed,
}

impl Filtered {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match std::mem::replace(&mut self.end, End::Closed) {
                End::Closed => return Poll::Ready(None),
                End::Trailers(trailers) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                End::Broken(error, true) => return Poll::Ready(Some(Err(error))),
                End::Broken(error, false) => {
                    self.end = End::Broken(error, true);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                End::Open => self.end = End::Open,
            }
            let frame = match ready!(self.source.poll(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.end = End::Closed;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.end = End::Closed;
                    match self.rest() {
                        Some(Err(error)) => self.end = End::Broken(error, false),
                        rest => return Poll::Ready(rest),
                    }
                    continue;
                }
            };
            match frame.into_data() {
                Ok(data) => match self.pass(data) {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(error) => self.end = End::Broken(error, false),
                },
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    if let Some(window) = &self.window {
                        window.scrubber().headers(&mut trailers);
                    }
                    self.end = End::Trailers(trailers);
                    match self.rest() {
                        Some(Err(error)) => self.end = End::Broken(error, false),
                        Some(rest) => return Poll::Ready(Some(rest)),
                        None => {}
                    }
                }
            }
        }
    }

    fn pass(&mut self, data: Bytes) -> Result<Bytes, BodyError> {
        let data = match &mut self.window {
            Some(window) => window.push(data),
            None => data,
        };
        match &mut self.listener {
            Some(listener) => {
                let passed = listener.push(data).map_err(BodyError::Refused)?;
                if let Some(reason) = listener.refused() {
                    self.end = End::Broken(BodyError::Refused(reason), false);
                }
                Ok(passed)
            }
            None => Ok(data),
        }
    }

    /// What was held back, at the end.
    fn rest(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        let mut rest = self.window.as_mut().map(Window::finish).unwrap_or_default();
        if let Some(listener) = &mut self.listener {
            let passed = listener.push(rest).and_then(|passed| match listener.refused() {
                None => Ok((passed, listener.finish()?)),
                Some(reason) => Err(reason),
            });
            match passed {
                Ok((passed, held)) if passed.is_empty() => rest = held,
                Ok((passed, held)) => rest = [passed, held].concat().into(),
                Err(reason) => return Some(Err(BodyError::Refused(reason))),
            }
        }
        if rest.is_empty() { None } else { Some(Ok(Frame::data(rest))) }
    }
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Source::Identity(body) => {
                Poll::Ready(ready!(Pin::new(body).poll_frame(cx)).map(|f| f.map_err(BodyError::Broken)))
            }
            Source::Encoded(decoded) => decoded.poll(cx),
        }
    }
}
