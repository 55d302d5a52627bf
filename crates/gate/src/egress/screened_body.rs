//! A body that is searched on its way.
//!
//! Invariant: a byte goes on only after it was searched, of a compressed body also what it says. A compressed piece is
//! held until the decoder has told all that is in it. What is found stops the body with an error: an HTTP/1.1 upstream
//! sees its connection closed within the body, an HTTP/2 one a reset, and neither an end. Trailers go on when all of
//! their names may ([`is_forbidden`]) and nothing was found in them.

use super::{
    body::BodyError,
    decode::{Coding, Decoded},
    decoders::Claim,
    flow::head_length,
    judge::{Judge, Replaceable},
    lingering::Lingering,
    trailers::is_forbidden,
};
use crate::limits::{FLUSH_PAUSE, MAX_HEADERS, MAX_TRAILER_BYTES};
use bottle_policy::scan::{CANARY, Finding, KNOWN_SECRET, Place, Scanner, Shape, Stream};
use bottle_spec::verdict::Reason;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::time::{Sleep, sleep};

/// A body of which the beginning has been read.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) front: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
    /// `None` = all of it is there.
    pub(crate) rest: Option<Lingering>,
}

impl Gathered {
    pub(crate) fn has_ended(&self) -> bool {
        self.rest.is_none()
    }

    /// Whether it is data alone, and all there.
    pub(crate) fn is_bare(&self) -> bool {
        self.rest.is_none() && self.trailers.is_none()
    }
}

impl Body for Gathered {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if !this.front.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.front)))));
        }
        match &mut this.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }
}

/// Goes upstream in a request.
#[derive(Debug)]
pub(crate) struct ScreenedBody {
    source: Source,
    /// The bytes as they are sent.
    raw: Stream,
    scanner: Arc<Scanner>,
    judge: Arc<Judge>,
    found: Vec<Finding>,
    /// Whether `raw` may hold something back.
    holding: bool,
    pause: Option<Pin<Box<Sleep>>>,
    end: End,
    /// What is left of a known length.
    left: Option<u64>,
}

#[derive(Debug)]
enum Source {
    Plain(Gathered),
    /// With the stream that what it says is searched by.
    Encoded(Box<(Decoded<Gathered>, Stream)>),
}

#[derive(Debug)]
enum End {
    Open,
    /// The last data has gone out; these are left.
    Trailers(HeaderMap),
    Closed,
}

/// What the source had to give.
enum Taken {
    /// Searched and judged; may be empty.
    Data(Bytes),
    Ended(Option<HeaderMap>),
}

impl ScreenedBody {
    /// `length` is what the agent announced; with the coding comes the memory to undo it in.
    pub(crate) fn new(
        body: Gathered,
        coding: (Coding, Claim),
        length: Option<u64>,
        shape: Shape,
        scanner: &Arc<Scanner>,
        judge: &Arc<Judge>,
    ) -> ScreenedBody {
        let (coding, claim) = coding;
        let redacts = judge.redacts() && coding == Coding::Identity;
        let raw = |shape| if redacts { scanner.stream(shape).redacting(judge.exempt()) } else { scanner.stream(shape) };
        let (source, raw) = match Decoded::searched(coding, body, claim) {
            Ok(decoded) => (Source::Encoded(Box::new((decoded, scanner.stream(shape)))), raw(Shape::Raw)),
            Err(body) => (Source::Plain(body), raw(shape)),
        };
        ScreenedBody {
            source,
            raw,
            scanner: Arc::clone(scanner),
            judge: Arc::clone(judge),
            found: Vec::new(),
            holding: false,
            pause: None,
            end: End::Open,
            left: length.filter(|_| !redacts),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = ready!(self.poll_open(cx));
        if let Some(Err(error)) = &polled {
            self.judge.stop(error.reason());
            self.end = End::Closed;
        }
        if let (Some(left), Some(Ok(frame))) = (&mut self.left, &polled) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        Poll::Ready(polled)
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match std::mem::replace(&mut self.end, End::Closed) {
                End::Closed => return Poll::Ready(None),
                End::Trailers(trailers) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                End::Open => self.end = End::Open,
            }
            if self.judge.is_frozen() {
                return Poll::Ready(Some(Err(BodyError::Frozen)));
            }
            match self.take(cx) {
                Poll::Ready(Ok(Taken::Data(data))) if data.is_empty() => {}
                Poll::Ready(Ok(Taken::Data(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Poll::Ready(Ok(Taken::Ended(trailers))) => match self.finish(trailers) {
                    Ok(rest) if rest.is_empty() => {}
                    Ok(rest) => return Poll::Ready(Some(Ok(Frame::data(rest)))),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => return self.poll_pause(cx),
            }
        }
    }

    /// While the agent pauses, it may be waiting for an answer to what it has sent: after a moment all of it goes on.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.holding {
            return Poll::Pending;
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(FLUSH_PAUSE)));
        ready!(pause.as_mut().poll(cx));
        self.pause = None;
        self.holding = false;
        let data = self.raw.flush(&mut self.found);
        match self.judged() {
            Err(error) => Poll::Ready(Some(Err(error))),
            Ok(()) if data.is_empty() => Poll::Pending,
            Ok(()) => Poll::Ready(Some(Ok(Frame::data(data)))),
        }
    }

    fn take(&mut self, cx: &mut Context<'_>) -> Poll<Result<Taken, BodyError>> {
        match &mut self.source {
            Source::Plain(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                None => Poll::Ready(Ok(Taken::Ended(None))),
                Some(Err(error)) => Poll::Ready(Err(BodyError::Broken(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Poll::Ready(self.push(data).map(Taken::Data)),
                    Err(frame) => Poll::Ready(Ok(Taken::Ended(frame.into_trailers().ok()))),
                },
            },
            Source::Encoded(source) => {
                let (decoded, plain) = source.as_mut();
                loop {
                    match decoded.poll(cx) {
                        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                            Ok(data) => drop(plain.push(data, &mut self.found)),
                            Err(frame) => return Poll::Ready(Ok(Taken::Ended(frame.into_trailers().ok()))),
                        },
                        Poll::Ready(Some(Err(error))) => {
                            tracing::info!(%error, "a body that cannot be decoded is not passed on");
                            return Poll::Ready(Err(BodyError::Refused(Reason::BodyUnscannable)));
                        }
                        Poll::Ready(None) => return Poll::Ready(Ok(Taken::Ended(None))),
                        Poll::Pending => break,
                    }
                    if !self.found.is_empty() {
                        self.judge.judge(&mut self.found, Replaceable::Not).map_err(BodyError::Refused)?;
                    }
                }
                // The decoder has told all of what it took.
                let _ = plain.flush(&mut self.found);
                self.judge.judge(&mut self.found, Replaceable::Not).map_err(BodyError::Refused)?;
                let taken = decoded.taken();
                if taken.is_empty() { Poll::Pending } else { Poll::Ready(self.push(taken).map(Taken::Data)) }
            }
        }
    }

    fn push(&mut self, data: Bytes) -> Result<Bytes, BodyError> {
        self.holding = true;
        self.pause = None;
        let out = self.raw.push(data, &mut self.found);
        self.judged().map(|()| out)
    }

    fn judged(&mut self) -> Result<(), BodyError> {
        let replaceable = match self.source {
            Source::Plain(_) => Replaceable::InPlace,
            Source::Encoded(_) => {
                // Compressed bytes are noise, in which a rule finds something by chance; what they say is searched with
                // every rule. A value that is known may stand beside it (a gzip file's name).
                self.found.retain(|finding| [KNOWN_SECRET, CANARY].contains(&finding.rule));
                Replaceable::Not
            }
        };
        self.judge.judge(&mut self.found, replaceable).map_err(BodyError::Refused)
    }

    /// The last of the data; trailers come after it.
    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<Bytes, BodyError> {
        let mut last = BytesMut::new();
        if let Source::Encoded(source) = &mut self.source {
            let (decoded, plain) = source.as_mut();
            let _ = plain.finish(&mut self.found);
            let taken = decoded.taken();
            self.judge.judge(&mut self.found, Replaceable::Not).map_err(BodyError::Refused)?;
            last.extend_from_slice(&self.push(taken)?);
        }
        let rest = self.raw.finish(&mut self.found);
        self.judged()?;
        self.end = match trailers {
            None => End::Closed,
            Some(trailers) => End::Trailers(self.screened(trailers)?),
        };
        if last.is_empty() {
            return Ok(rest);
        }
        last.extend_from_slice(&rest);
        Ok(last.freeze())
    }

    fn screened(&mut self, trailers: HeaderMap) -> Result<HeaderMap, BodyError> {
        if trailers.len() > MAX_HEADERS || head_length(&trailers) > MAX_TRAILER_BYTES {
            return Err(BodyError::Refused(Reason::LimitExceeded));
        }
        let carrier = self.judge.replacement();
        if trailers.keys().any(|name| is_forbidden(name.as_str(), carrier)) {
            return Err(BodyError::Refused(Reason::RequestMalformed));
        }
        let mut joined = Vec::new();
        for (name, value) in &trailers {
            self.found.extend(self.scanner.piece(Place::Trailers, name.as_str().as_bytes()));
            self.found.extend(self.scanner.piece(Place::Trailers, value.as_bytes()));
            joined.extend_from_slice(value.as_bytes());
        }
        if trailers.len() > 1 {
            self.found.extend(self.scanner.piece(Place::Trailers, &joined));
        }
        self.judge.judge(&mut self.found, Replaceable::Not).map_err(BodyError::Refused)?;
        self.judge.trailers(&trailers).map_err(BodyError::Refused)?;
        Ok(trailers)
    }
}

impl Body for ScreenedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.get_mut().poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.end, End::Closed)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
