//! One HTTP/1.1 connection to an upstream, for one request at a time.
//!
//! Whoever sends a request by it drives it, and after that whoever reads the response: all in one task, so that nobody has
//! to be woken in between. Only where a request may still be on its way while its response comes, and where the connection
//! is to become a WebSocket, does a task of its own drive it.
//!
//! Invariant: a line is kept for the next request only once request and response have passed as a whole; any other one is
//! closed. What is woken for a line in one's own hands is the task that holds it, by the connection alone: its channels
//! are asked right after it was driven, and with a waker that wakes nobody.

use super::{flow::Sent, outward::Outward, pool::Home};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

pub(crate) struct Line {
    sender: http1::SendRequest<Sent>,
    drive: Drive,
}

enum Drive {
    Here(Box<http1::Connection<TokioIo<Outward>, Sent>>),
    Task,
    Ended,
}

impl Line {
    pub(crate) fn new(sender: http1::SendRequest<Sent>, driven: http1::Connection<TokioIo<Outward>, Sent>) -> Line {
        Line { sender, drive: Drive::Here(Box::new(driven)) }
    }

    /// Whether it can take a request; to be asked of one that has been lying idle.
    pub(crate) fn is_open(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its response. An error has the request with it where nothing of it was
    /// sent.
    pub(crate) async fn send(
        mut self,
        request: Request<Sent>,
        upgrade: bool,
        home: Home,
    ) -> Result<Response<Arriving>, TrySendError<Request<Sent>>> {
        if upgrade || !request.body().is_whole() {
            self.detach();
        }
        let mut answer = pin!(self.sender.try_send_request(request));
        let response = poll_fn(|cx| match self.drive(cx) {
            Driven::Here => answer.as_mut().poll(&mut Context::from_waker(Waker::noop())),
            Driven::Elsewhere => answer.as_mut().poll(cx),
        });
        let response = response.await?;
        Ok(response.map(|body| Arriving { body, ended: false, broken: None, line: Some((self, home)) }))
    }

    /// Leaves the driving to a task from now on.
    fn detach(&mut self) {
        if let Drive::Here(driven) = std::mem::replace(&mut self.drive, Drive::Task) {
            tokio::spawn(async move {
                if let Err(error) = driven.with_upgrades().await {
                    // Whoever waits for a response has been told.
                    tracing::debug!(error = &error as &dyn std::error::Error, "connection to an upstream");
                }
            });
        }
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Driven {
        let ended = match &mut self.drive {
            Drive::Task => return Driven::Elsewhere,
            Drive::Here(driven) => Pin::new(driven.as_mut()).poll(cx).is_ready(),
            Drive::Ended => false,
        };
        if ended {
            // What it has not said yet it says when it is dropped.
            self.drive = Drive::Ended;
        }
        Driven::Here
    }

    /// Gives it back once it is ready for the next request, which one in one's own hands is now or never.
    fn keep(mut self, home: Home) {
        match self.drive {
            _ if self.sender.is_ready() => home.keep(self),
            Drive::Task => drop(tokio::spawn(async move {
                if self.sender.ready().await.is_ok() {
                    home.keep(self);
                }
            })),
            Drive::Here(_) | Drive::Ended => {}
        }
    }
}

/// Who wakes whoever waits for something of a line.
enum Driven {
    Here,
    Elsewhere,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// The body of a response, with the line that it comes by; over HTTP/2 without one.
#[derive(Debug)]
pub(crate) struct Arriving {
    body: Incoming,
    ended: bool,
    /// To be told when what came before it has gone on.
    broken: Option<hyper::Error>,
    line: Option<(Line, Home)>,
}

impl From<Incoming> for Arriving {
    fn from(body: Incoming) -> Arriving {
        Arriving { body, ended: false, broken: None, line: None }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let driven = this.line.as_mut().map(|(line, _)| line.drive(cx));
        let polled = match driven {
            Some(Driven::Here) => Pin::new(&mut this.body).poll_frame(&mut Context::from_waker(Waker::noop())),
            Some(Driven::Elsewhere) | None => Pin::new(&mut this.body).poll_frame(cx),
        };
        let polled = ready!(polled);
        if let Some(Err(error)) = polled {
            // The end may have been read together with the last bytes before it. Whoever writes those down the other
            // connection drops them at an error, so it is told one turn later.
            this.broken = Some(error);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.ended = polled.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some((line, home)) = self.line.take().filter(|_| self.ended || self.body.is_end_stream()) {
            line.keep(home);
        }
    }
}
