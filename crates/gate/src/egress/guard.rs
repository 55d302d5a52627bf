//! Puts [`Framing`] between a connection and hyper, so that hyper sees sound requests only.
//!
//! A violation at the head of a request becomes a request with the method [`REFUSED`], which no client can send; the
//! service answers it like any denial, in its turn after the responses before it, and the connection ends. A violation
//! within a body breaks the connection off.
//!
//! A connection that ends while its peer may still be sending is read on for a moment, as bytes that nobody reads make
//! the kernel reset it, and a reset destroys the answer on its way (RFC 9112, section 9.6).

use super::framing::Framing;
use crate::limits::{LINGER_BYTES, LINGER_PAUSE};
use bytes::{Buf, BytesMut};
use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// The method of the request that stands for a refused one; its path is the reason's code.
pub(crate) const REFUSED: &str = "REFUSED";
const READ: usize = 8 << 10;

#[derive(Debug)]
pub(crate) struct Guard<S> {
    inner: S,
    framing: Framing,
    /// Read, and not yet handed on; the first `ready` bytes have passed.
    pending: BytesMut,
    ready: usize,
    closed: bool,
    watch: Watch,
    parting: Option<Parting>,
}

/// Our side has said its last.
#[derive(Debug)]
struct Parting {
    until: Pin<Box<Sleep>>,
    left: usize,
}

/// What others may know of a guarded connection, and tell it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    opened: AtomicBool,
    within_head: AtomicBool,
    refused: AtomicBool,
}

impl Watch {
    /// The connection has become something other than HTTP (a WebSocket): bytes pass as they are.
    pub(crate) fn open(&self) {
        self.0.opened.store(true, Ordering::Relaxed);
    }

    fn is_opened(&self) -> bool {
        self.0.opened.load(Ordering::Relaxed)
    }

    /// A head has begun and not ended.
    pub(crate) fn is_within_head(&self) -> bool {
        self.0.within_head.load(Ordering::Relaxed)
    }

    /// A body was framed badly; no response could say so.
    pub(crate) fn has_refused(&self) -> bool {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl<S> Guard<S> {
    pub(crate) fn new(inner: S) -> (Guard<S>, Watch) {
        let watch = Watch::default();
        let framing = Framing::default();
        let (pending, watch_too) = (BytesMut::new(), watch.clone());
        let guard = Guard { inner, framing, pending, ready: 0, closed: false, watch: watch_too, parting: None };
        (guard, watch)
    }

    /// How many bytes may pass without a look at them.
    fn unseen(&self) -> Option<u64> {
        if self.watch.is_opened() { Some(u64::MAX) } else { self.framing.sized() }
    }

    /// Whether its peer is in the middle of what it says.
    fn is_interrupted(&self) -> bool {
        let within = !self.framing.is_between() || !self.pending.is_empty();
        self.closed || (within && !self.watch.is_opened())
    }

    /// Lets pending bytes pass as far as they are sound.
    fn inspect(&mut self) -> io::Result<()> {
        if self.watch.is_opened() {
            self.ready = self.pending.len();
            return Ok(());
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        match self.framing.pass(&self.pending) {
            Ok(amount) => {
                self.ready = amount;
                self.watch.0.within_head.store(amount == 0 && self.framing.is_between(), Ordering::Relaxed);
            }
            Err(violation) if self.framing.is_between() => {
                let code = violation.reason().code();
                self.pending.clear();
                let stand_in = format!("{REFUSED} /{code} HTTP/1.1\r\nconnection: close\r\n\r\n");
                self.pending.extend_from_slice(stand_in.as_bytes());
                self.ready = self.pending.len();
                self.closed = true;
            }
            Err(_) => {
                self.watch.0.refused.store(true, Ordering::Relaxed);
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the request's body is framed badly"));
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.ready == 0 && !this.closed {
                this.inspect()?;
            }
            if this.ready > 0 {
                let amount = this.ready.min(out.remaining());
                out.put_slice(this.pending.get(..amount).unwrap_or_default());
                this.pending.advance(amount);
                this.ready -= amount;
                return Poll::Ready(Ok(()));
            }
            if this.closed {
                // Not an end of file, at which hyper would drop the answer: it closes once it has sent it.
                return Poll::Pending;
            }
            // A body of known length, and what is no HTTP any more, go straight to the reader's buffer.
            let sized = this.unseen().filter(|_| this.pending.is_empty());
            if let Some(left) = sized {
                let room = usize::try_from(left).unwrap_or(usize::MAX).min(out.remaining());
                let mut direct = ReadBuf::new(out.initialize_unfilled_to(room));
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut direct))?;
                let amount = direct.filled().len();
                out.advance(amount);
                this.framing.passed(amount);
                return Poll::Ready(Ok(()));
            }
            this.pending.reserve(READ);
            // Nothing is lost when this future goes: it holds no bytes of its own.
            if ready!(pin!(this.inner.read_buf(&mut this.pending)).poll(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> Guard<S> {
    /// Reads and drops what still comes, to its end or ours.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let fresh = || Parting { until: Box::pin(sleep(LINGER_PAUSE)), left: LINGER_BYTES };
        let parting = self.parting.get_or_insert_with(fresh);
        let mut sink = [0; READ];
        while parting.left > 0 && parting.until.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut sink);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => parting.left = parting.left.saturating_sub(READ),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.parting.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        }
        if this.is_interrupted() {
            ready!(this.poll_part(cx));
        }
        Poll::Ready(Ok(()))
    }
}
