//! A client that wants events is told that its request waits for the operator.
//!
//! It sees an event stream begin when its request has waited for [`ASK_NEWS`], and a comment, which readers of events pass
//! over, as often from then on. What it is answered in the end goes on in that stream. An answer that is no event stream
//! (a refusal, most of all) comes as an event `error` with its status and its body, for the status line has gone out.
//!
//! Invariant: nothing of an answer is in the stream before there is one; a client that goes away ends the request.

use super::{
    body::{BodyError, ResponseBody},
    flow::Returned,
};
use crate::limits::ASK_NEWS;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use serde_json::{Value, json};
use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::time::{Interval, interval};

const EVENTS: &str = "text/event-stream";
/// Of an answer that becomes an event.
const MAX_TOLD: usize = 64 << 10;
const NEWS: &[u8] = b": waiting for the operator\n\n";

/// A request on its way to an answer.
pub(crate) type Work = Pin<Box<dyn Future<Output = Response<Returned>> + Send>>;

/// Whether a client can read events.
pub(crate) fn wants_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim_ascii().starts_with(EVENTS))
}

/// The beginning of a stream, while `work` waits.
pub(crate) fn begin(work: Work) -> Response<Returned> {
    let waits = Waits { state: Mutex::new(State::Waiting(work)), news: interval(ASK_NEWS) };
    let mut response = Response::new(Returned::from(ResponseBody::Waits(Box::new(waits))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The body of such a stream.
pub(crate) struct Waits {
    /// Never locked by two: the lock is what makes a future that is not [`Sync`] part of a body that is.
    state: Mutex<State>,
    news: Interval,
}

enum State {
    Waiting(Work),
    Streaming(Box<Returned>),
    /// An answer that is no stream, as far as it is there.
    Reading(StatusCode, Box<Returned>, Vec<u8>),
    Over,
}

impl std::fmt::Debug for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waits").finish_non_exhaustive()
    }
}

impl Waits {
    pub(crate) fn is_over(&self) -> bool {
        matches!(*self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Over)
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        loop {
            match state {
                State::Over => return Poll::Ready(None),
                State::Streaming(body) => return Pin::new(body.as_mut()).poll_frame(cx),
                State::Waiting(work) => match work.as_mut().poll(cx) {
                    Poll::Ready(response) => *state = answered(response),
                    Poll::Pending => {
                        ready!(self.news.poll_tick(cx));
                        return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(NEWS)))));
                    }
                },
                State::Reading(status, body, bytes) => match ready!(Pin::new(body.as_mut()).poll_frame(cx)) {
                    Some(Ok(frame)) if bytes.len() < MAX_TOLD => {
                        bytes.extend(frame.data_ref().into_iter().flatten());
                    }
                    Some(Err(error)) => {
                        *state = State::Over;
                        return Poll::Ready(Some(Err(error)));
                    }
                    Some(Ok(_)) | None => {
                        let event = error(*status, bytes);
                        *state = State::Over;
                        return Poll::Ready(Some(Ok(Frame::data(event))));
                    }
                },
            }
        }
    }
}

fn answered(response: Response<Returned>) -> State {
    let (parts, body) = response.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let streams = parts.status == StatusCode::OK
        && kind.is_some_and(|kind| kind.starts_with(EVENTS))
        && !parts.headers.contains_key(header::CONTENT_ENCODING);
    if streams { State::Streaming(Box::new(body)) } else { State::Reading(parts.status, Box::new(body), Vec::new()) }
}

/// One event; JSON has no line break in it.
fn error(status: StatusCode, body: &[u8]) -> Bytes {
    let body = serde_json::from_slice(body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(body)));
    format!("event: error\ndata: {}\n\n", json!({ "status": status.as_u16(), "body": body })).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_events_says_so() {
        let accepts = |value: &'static str| {
            wants_events(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))]))
        };
        assert!(accepts("text/event-stream") && accepts("application/json, text/event-stream;q=0.9"));
        assert!(!accepts("*/*") && !accepts("application/json") && !wants_events(&HeaderMap::new()));
    }

    #[test]
    fn an_error_is_one_event_whatever_the_body() {
        let event = |body: &[u8]| String::from_utf8(error(StatusCode::FORBIDDEN, body).to_vec()).unwrap();
        assert_eq!(event(br#"{"error":"x"}"#), "event: error\ndata: {\"body\":{\"error\":\"x\"},\"status\":403}\n\n");
        assert_eq!(event(b"a\n\nb"), "event: error\ndata: {\"body\":\"a\\n\\nb\",\"status\":403}\n\n");
    }
}
