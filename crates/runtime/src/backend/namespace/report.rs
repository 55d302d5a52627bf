//! What the keeper and the child that builds a room tell each other, over a socket pair that closes when the child
//! becomes init.

use super::error::{Failure, Step};
use crate::socket::{Link, SocketError};
use bottle_spec::door::Door;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{io, os::unix::net::UnixStream};

#[derive(Debug, Serialize, Deserialize)]
enum Report {
    /// The door's listener rides along.
    Door(Door),
    /// Nothing is left to do but to start init.
    Built,
    Failed {
        step: Step,
        subject: String,
        errno: i32,
    },
}

/// The child's end.
#[derive(Debug)]
pub(super) struct Reporter(Link);

impl Reporter {
    pub(super) fn new(socket: UnixStream) -> Reporter {
        Reporter(Link::new(socket))
    }

    /// Returns when the keeper has written the maps; an error if it will not.
    pub(super) fn wait_for_keeper(&mut self) -> io::Result<()> {
        self.0.receive().map_err(plain)
    }

    pub(super) fn door(&self, door: Door, listener: BorrowedFd<'_>) -> io::Result<()> {
        self.0.send(&Report::Door(door), &[listener]).map_err(plain)
    }

    pub(super) fn built(&self) -> io::Result<()> {
        self.0.send(&Report::Built, &[]).map_err(plain)
    }

    /// If even this fails the keeper is gone, and nobody is left to tell.
    pub(super) fn failed(&self, failure: Failure) {
        let errno = failure.source.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
        let report = Report::Failed { step: failure.step, subject: failure.subject, errno };
        let _ = self.0.send(&report, &[]);
    }
}

impl AsFd for Reporter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The keeper's end.
#[derive(Debug)]
pub(super) struct Listener(Link);

/// How the child's work ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It has become init; these are the doors it opened.
    Init(Vec<(Door, OwnedFd)>),
    Failed(Failure),
    /// It ended without saying why.
    Silent(io::Error),
}

impl Listener {
    pub(super) fn new(socket: UnixStream) -> Listener {
        Listener(Link::new(socket))
    }

    /// Tells the child that its uid and gid are mapped.
    pub(super) fn mapped(&self) -> io::Result<()> {
        self.0.send(&(), &[]).map_err(plain)
    }

    /// Reads until the socket closes, which exec does.
    pub(super) fn outcome(mut self) -> Outcome {
        let mut doors = Vec::new();
        let mut built = false;
        loop {
            match self.0.receive() {
                Ok(Report::Door(door)) => match self.0.descriptor() {
                    Some(listener) => doors.push((door, listener)),
                    None => return Outcome::Silent(io::ErrorKind::InvalidData.into()),
                },
                Ok(Report::Built) => built = true,
                Ok(Report::Failed { step, subject, errno }) => {
                    return Outcome::Failed(Failure { step, subject, source: io::Error::from_raw_os_error(errno) });
                }
                Err(SocketError::Closed) if built => return Outcome::Init(doors),
                Err(error) => return Outcome::Silent(plain(error)),
            }
        }
    }
}

fn plain(error: SocketError) -> io::Error {
    match error {
        SocketError::Closed => io::ErrorKind::UnexpectedEof.into(),
        SocketError::Receive(error) | SocketError::Send(error) => error,
        other => io::Error::other(other),
    }
}
