//! The socket to the keeper ([`bottle_spec::gate_link`]): the first frame with its descriptors, then the rest.
//!
//! Invariant: frames and descriptors are bounded before they are taken, and an end of the stream or a frame that
//! cannot be read ends the gate. The keeper is trusted; the bounds are for our own mistakes.

use crate::limits::MAX_DOORS;
use bottle_spec::{
    gate_link::{GateStart, GateToKeeper, GitStart, KeeperToGate, SuperviseStart},
    wire::{self, Decoder, WireError},
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use std::{
    io::{self, IoSliceMut, Write},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixStream},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const READ: usize = 16 << 10;
/// The audit log and the doors.
const MAX_DESCRIPTORS: usize = MAX_DOORS + 1;

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("could not read from the keeper")]
    Read(#[source] io::Error),
    #[error("could not write to the keeper")]
    Write(#[source] io::Error),
    #[error("the keeper is gone")]
    Closed,
    #[error("the keeper sent more than {MAX_DESCRIPTORS} descriptors")]
    Descriptors,
    #[error("could not understand the keeper")]
    Frame(#[source] WireError),
    #[error("the keeper started this gate twice")]
    StartedTwice,
    #[error("the keeper's first message was not the start")]
    NotStarted,
}

/// What a gate starts from.
#[derive(Debug)]
pub(crate) struct Received<T = GateStart> {
    pub(crate) start: T,
    /// In the order they were sent: the audit log, then the doors.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// May hold the beginning of the next frame already.
    pub(crate) decoder: Decoder,
}

/// Waits for the first frame.
pub(crate) fn receive_start(link: &UnixStream) -> Result<Received, LinkError> {
    receive_first(link, |message| match message {
        KeeperToGate::Start(start) => Some(*start),
        _ => None,
    })
}

/// The same of a git gate.
pub(crate) fn receive_git_start(link: &UnixStream) -> Result<Received<GitStart>, LinkError> {
    receive_first(link, |message| match message {
        KeeperToGate::StartGit(start) => Some(*start),
        _ => None,
    })
}

/// The same of a supervise gate.
pub(crate) fn receive_supervise_start(link: &UnixStream) -> Result<Received<SuperviseStart>, LinkError> {
    receive_first(link, |message| match message {
        KeeperToGate::StartSupervise(start) => Some(*start),
        _ => None,
    })
}

fn receive_first<T>(link: &UnixStream, start: fn(KeeperToGate) -> Option<T>) -> Result<Received<T>, LinkError> {
    let mut decoder = Decoder::default();
    let mut descriptors = Vec::new();
    loop {
        match decoder.message().map_err(LinkError::Frame)? {
            Some(message) => {
                let start = start(message).ok_or(LinkError::NotStarted)?;
                return Ok(Received { start, descriptors, decoder });
            }
            None => receive(link, &mut decoder, &mut descriptors)?,
        }
    }
}

fn receive(link: &UnixStream, decoder: &mut Decoder, descriptors: &mut Vec<OwnedFd>) -> Result<(), LinkError> {
    let mut bytes = [0; READ];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(link, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(|err| LinkError::Read(err.into()))?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = message {
            descriptors.extend(sent);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > MAX_DESCRIPTORS {
        return Err(LinkError::Descriptors);
    }
    let taken = bytes.get(..received.bytes).filter(|taken| !taken.is_empty()).ok_or(LinkError::Closed)?;
    decoder.push(taken);
    Ok(())
}

/// Tells the keeper why this gate will not serve. Best effort: the exit status says it too.
pub(crate) fn send_failed(mut link: &UnixStream, message: String) {
    if let Ok(frame) = wire::encode(&GateToKeeper::Failed { message }) {
        let _ = link.write_all(&frame);
    }
}

/// A keeper that goes with words of ours unread resets the link.
fn closed_or_read(error: io::Error) -> LinkError {
    if error.kind() == io::ErrorKind::ConnectionReset { LinkError::Closed } else { LinkError::Read(error) }
}

/// The link while the gate serves.
#[derive(Debug)]
pub(crate) struct Link {
    stream: tokio::net::UnixStream,
    decoder: Decoder,
}

impl Link {
    /// Within a runtime.
    pub(crate) fn new(stream: UnixStream, decoder: Decoder) -> Result<Link, LinkError> {
        stream.set_nonblocking(true).map_err(LinkError::Read)?;
        let stream = tokio::net::UnixStream::from_std(stream).map_err(LinkError::Read)?;
        Ok(Link { stream, decoder })
    }

    /// The next message. Loses nothing when it is dropped before it is done.
    pub(crate) async fn next(&mut self) -> Result<KeeperToGate, LinkError> {
        loop {
            if let Some(message) = self.decoder.message().map_err(LinkError::Frame)? {
                return Ok(message);
            }
            let mut bytes = [0; READ];
            let length = self.stream.read(&mut bytes).await.map_err(closed_or_read)?;
            let taken = bytes.get(..length).filter(|taken| !taken.is_empty()).ok_or(LinkError::Closed)?;
            self.decoder.push(taken);
        }
    }

    pub(crate) async fn send(&mut self, message: &GateToKeeper) -> Result<(), LinkError> {
        let frame = wire::encode(message).map_err(LinkError::Frame)?;
        self.stream.write_all(&frame).await.map_err(LinkError::Write)
    }
}
