//! The agent's side of a connection: a socket, the bytes already read from it, and a clock of when it last moved.

use crate::limits::IDLE_TIME;
use bytes::{Buf, BytesMut};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};

#[derive(Debug)]
pub(crate) struct Downstream {
    stream: TcpStream,
    /// Read ahead, and read again by whoever reads next.
    ahead: BytesMut,
    activity: Activity,
}

/// Counts the reads and writes of one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity(Arc<AtomicU64>);

impl Activity {
    pub(crate) fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns when nothing has moved for [`IDLE_TIME`].
    pub(crate) async fn idle(self) {
        const ROUNDS: u32 = 10;
        let (mut quiet, mut last) = (0, self.0.load(Ordering::Relaxed));
        while quiet < ROUNDS {
            tokio::time::sleep(IDLE_TIME / ROUNDS).await;
            let now = self.0.load(Ordering::Relaxed);
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
        }
    }
}

impl Downstream {
    pub(crate) fn new(stream: TcpStream) -> Downstream {
        Downstream { stream, ahead: BytesMut::new(), activity: Activity::default() }
    }

    pub(crate) fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// What has been read ahead.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Drops bytes read ahead that have been dealt with.
    pub(crate) fn consume(&mut self, amount: usize) {
        self.ahead.advance(amount.min(self.ahead.len()));
    }

    /// Reads more ahead; `false` = the peer has ended.
    pub(crate) async fn read_ahead(&mut self) -> io::Result<bool> {
        self.ahead.reserve(4 << 10);
        Ok(self.stream.read_buf(&mut self.ahead).await? > 0)
    }

    /// Sends a last message, and reads on for a moment so that a reset does not destroy it on its way.
    pub(crate) async fn part(mut self, message: &[u8]) {
        use tokio::io::AsyncWriteExt;
        let say = async {
            self.stream.write_all(message).await?;
            self.stream.shutdown().await?;
            let (mut sink, mut left) = ([0; 4096], 64usize);
            while left > 0 && self.stream.read(&mut sink).await? > 0 {
                left -= 1;
            }
            io::Result::Ok(())
        };
        // Whether the peer listens is its own affair.
        let _ = tokio::time::timeout(Duration::from_secs(2), say).await;
    }
}

impl AsyncRead for Downstream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let amount = this.ahead.len().min(out.remaining());
            out.put_slice(this.ahead.get(..amount).unwrap_or_default());
            this.ahead.advance(amount);
            if this.ahead.is_empty() {
                this.ahead = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut this.stream).poll_read(cx, out))?;
        this.activity.note();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        this.activity.note();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, slices))?;
        this.activity.note();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
