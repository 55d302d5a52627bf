//! Frames and descriptors over unix stream sockets: [`Link`] for blocking callers, [`AsyncLink`] for the keeper's loop.
//!
//! Descriptors ride on the first byte of their frame and arrive close-on-exec. The kernel never merges data across a
//! message that carries descriptors, so a frame's descriptors are there when its first byte is.

use bottle_spec::wire::{self, Decoder, WireError};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    rc::Rc,
};
use tokio::io::Interest;
use zeroize::Zeroizing;

/// The most descriptors in one message (`SCM_MAX_FD`): the audit log and every door ride on one.
const MAX_FDS: usize = 253;

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("the other side closed the connection")]
    Closed,
    #[error("reading from the other side")]
    Receive(#[source] io::Error),
    #[error("writing to the other side")]
    Send(#[source] io::Error),
    #[error("the other side sent something unreadable")]
    Wire(#[source] WireError),
    #[error("more than {MAX_FDS} descriptors in one message")]
    TooManyFds,
}

/// Bytes and descriptors not yet made into messages.
#[derive(Debug, Default)]
struct Inbox {
    decoder: Decoder,
    descriptors: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Takes what one `recvmsg` gives; `Ok(0)` at the end of the stream.
    fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let mut bytes = [0; 4096];
        let (count, descriptors) = receive(socket, &mut bytes)?;
        self.descriptors.extend(descriptors);
        self.decoder.push(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, SocketError> {
        self.decoder.message().map_err(SocketError::Wire)
    }
}

/// One `recvmsg`: how many bytes, and the descriptors that rode along.
pub(crate) fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::io::retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags))?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("descriptors were lost"));
    }
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((received.bytes, descriptors))
}

/// One `sendmsg`: how many of the bytes went, the descriptors with the first.
fn send_some(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let sent =
        rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL))?;
    Ok(sent)
}

/// A blocking end.
#[derive(Debug)]
pub struct Link {
    socket: UnixStream,
    inbox: Inbox,
}

impl Link {
    pub fn new(socket: UnixStream) -> Link {
        Link { socket, inbox: Inbox::default() }
    }

    pub fn send<T: Serialize>(&self, message: &T, descriptors: &[BorrowedFd<'_>]) -> Result<(), SocketError> {
        if descriptors.len() > MAX_FDS {
            return Err(SocketError::TooManyFds);
        }
        let frame = wire::encode(message).map_err(SocketError::Wire)?;
        let mut rest = frame.as_slice();
        let mut riding = descriptors;
        while !rest.is_empty() {
            let sent = send_some(self.socket.as_fd(), rest, riding).map_err(closed_or(SocketError::Send))?;
            riding = &[];
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<T, SocketError> {
        loop {
            if let Some(message) = self.inbox.message()? {
                return Ok(message);
            }
            if self.inbox.fill(self.socket.as_fd()).map_err(closed_or(SocketError::Receive))? == 0 {
                return Err(SocketError::Closed);
            }
        }
    }

    /// The oldest descriptor received and not yet taken.
    pub fn descriptor(&mut self) -> Option<OwnedFd> {
        self.inbox.descriptors.pop_front()
    }

    /// The socket alone, for a session's raw frames. What was already read of them is lost, so the peer must not send
    /// any before it is asked to.
    pub fn into_socket(self) -> UnixStream {
        self.socket
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An end in the keeper's loop.
#[derive(Debug)]
pub(crate) struct AsyncLink {
    sender: AsyncSender,
    inbox: Inbox,
}

/// The sending half. One task at a time may use it: frames are not kept apart here.
#[derive(Debug, Clone)]
pub(crate) struct AsyncSender {
    socket: Rc<tokio::net::UnixStream>,
}

impl AsyncSender {
    pub(crate) async fn send<T: Serialize>(
        &self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        if descriptors.len() > MAX_FDS {
            return Err(SocketError::TooManyFds);
        }
        // A frame to the gate holds secrets.
        let frame = Zeroizing::new(wire::encode(message).map_err(SocketError::Wire)?);
        self.send_bytes(&frame, descriptors).await
    }

    pub(crate) async fn send_bytes(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), SocketError> {
        let mut rest = bytes;
        let mut riding = descriptors;
        while !rest.is_empty() {
            let sent = self
                .socket
                .async_io(Interest::WRITABLE, || send_some(self.socket.as_fd(), rest, riding))
                .await
                .map_err(closed_or(SocketError::Send))?;
            riding = &[];
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }
}

impl AsyncLink {
    pub(crate) fn new(socket: UnixStream) -> io::Result<AsyncLink> {
        socket.set_nonblocking(true)?;
        let socket = Rc::new(tokio::net::UnixStream::from_std(socket)?);
        Ok(AsyncLink { sender: AsyncSender { socket }, inbox: Inbox::default() })
    }

    pub(crate) fn sender(&self) -> AsyncSender {
        self.sender.clone()
    }

    /// The next message. Safe to drop and call again: nothing read is lost.
    pub(crate) async fn receive<T: DeserializeOwned>(&mut self) -> Result<T, SocketError> {
        loop {
            if let Some(message) = self.inbox.message()? {
                return Ok(message);
            }
            let AsyncLink { sender: AsyncSender { socket }, inbox } = self;
            let count = socket
                .async_io(Interest::READABLE, || inbox.fill(socket.as_fd()))
                .await
                .map_err(closed_or(SocketError::Receive))?;
            if count == 0 {
                return Err(SocketError::Closed);
            }
        }
    }

    /// Raw bytes, for a session's frames; 0 at the end.
    pub(crate) async fn read(&self, bytes: &mut [u8]) -> Result<usize, SocketError> {
        let socket = &self.sender.socket;
        socket
            .async_io(Interest::READABLE, || receive(socket.as_fd(), bytes).map(|(count, _)| count))
            .await
            .map_err(closed_or(SocketError::Receive))
    }

    /// Waits until the peer is gone. Never ends once the peer has sent something: then reading will tell.
    pub(crate) async fn closed(&self) {
        let socket = &self.sender.socket;
        let peek = || {
            let mut byte = [0];
            let (_, length) = rustix::net::recv(&**socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
            Ok(length)
        };
        match socket.async_io(Interest::READABLE, peek).await {
            Ok(0) | Err(_) => {}
            Ok(_) => std::future::pending().await,
        }
    }

    /// The oldest descriptor received and not yet taken.
    pub(crate) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.inbox.descriptors.pop_front()
    }

    pub(crate) fn peer(&self) -> io::Result<rustix::net::UCred> {
        Ok(rustix::net::sockopt::socket_peercred(&*self.sender.socket)?)
    }
}

fn closed_or(other: fn(io::Error) -> SocketError) -> impl Fn(io::Error) -> SocketError {
    move |error| match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => SocketError::Closed,
        _ => other(error),
    }
}
