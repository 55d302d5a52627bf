//! The socket to the keeper: [`bottle_spec::wire`] frames, with descriptors on the first byte of theirs.

use bottle_spec::wire::{self, Decoder, WireError};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::unix::net::UnixStream,
    path::Path,
};

/// A `Spawn` carries three.
const MAX_FDS: usize = 16;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the keeper is gone")]
    Closed,
    #[error("descriptor 3 is not a socket")]
    Adopt(#[source] io::Error),
    #[error("the keeper's socket cannot be connected to")]
    Connect(#[source] io::Error),
    #[error("the socket to go on with did not come")]
    NoSocket,
    #[error("reading")]
    Receive(#[source] io::Error),
    #[error("writing")]
    Send(#[source] io::Error),
    #[error("a message cannot be read")]
    Wire(#[source] WireError),
}

#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
    decoder: Decoder,
    descriptors: VecDeque<OwnedFd>,
}

impl Link {
    /// Takes descriptor 3, and keeps it from every program started later.
    pub(crate) fn adopt() -> Result<Link, LinkError> {
        let socket = crate::sys::adopt_descriptor(3).map_err(LinkError::Adopt)?;
        Ok(Link::over(socket))
    }

    /// Connects to the keeper's socket at `path`, once; it takes one connection and no other.
    pub(crate) fn connect(path: &Path) -> Result<Link, LinkError> {
        let stream = UnixStream::connect(path).map_err(LinkError::Connect)?;
        Ok(Link::over(stream.into()))
    }

    /// Goes on over the socket that came with the last message; the one before is closed.
    pub(crate) fn move_over(&mut self) -> Result<(), LinkError> {
        let socket = self.descriptor().ok_or(LinkError::NoSocket)?;
        *self = Link::over(socket);
        Ok(())
    }

    /// The same socket once more, to send over while somebody else receives.
    pub(crate) fn another(&self) -> io::Result<Link> {
        Ok(Link::over(self.socket.try_clone()?))
    }

    pub(crate) fn over(socket: OwnedFd) -> Link {
        Link { socket, decoder: Decoder::default(), descriptors: VecDeque::new() }
    }

    /// Waits for the next message.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> Result<T, LinkError> {
        loop {
            if let Some(message) = self.pending()? {
                return Ok(message);
            }
            self.fill()?;
        }
    }

    /// A message that has arrived whole.
    pub(crate) fn pending<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LinkError> {
        self.decoder.message().map_err(LinkError::Wire)
    }

    /// Reads once; blocks where nothing has arrived.
    pub(crate) fn fill(&mut self) -> Result<(), LinkError> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
        })
        .map_err(|error| LinkError::Receive(error.into()))?;
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(LinkError::Receive(io::ErrorKind::InvalidData.into()));
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.descriptors.extend(rights);
            }
        }
        match bytes.get(..received.bytes) {
            Some([]) | None => Err(LinkError::Closed),
            Some(bytes) => {
                self.decoder.push(bytes);
                Ok(())
            }
        }
    }

    /// The oldest descriptor that came with a message and was not taken yet.
    pub(crate) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    pub(crate) fn send<T: Serialize>(&self, message: &T, riding: Option<BorrowedFd<'_>>) -> Result<(), LinkError> {
        self.send_with(message, riding.as_slice())
    }

    /// With any number of descriptors that fits a message.
    pub(crate) fn send_with<T: Serialize>(&self, message: &T, riding: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        let frame = wire::encode(message).map_err(LinkError::Wire)?;
        let mut rest = frame.as_slice();
        let mut riding = riding;
        while !rest.is_empty() {
            let sent = send_some(self.socket.as_fd(), rest, std::mem::take(&mut riding))?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn send_some(socket: BorrowedFd<'_>, bytes: &[u8], riding: &[BorrowedFd<'_>]) -> Result<usize, LinkError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !riding.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(riding));
    }
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)).map_err(
        |error| match error {
            rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => LinkError::Closed,
            other => LinkError::Send(other.into()),
        },
    )
}
