//! What the child that builds a room and the keeper tell each other, over a socket pair that closes when the child
//! becomes init.

use super::{
    error::{Failure, Step},
    room::RoomError,
};
use crate::socket::{self, Link, SocketError};
use bottle_spec::{door::Door, wire::Decoder};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
};

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The door's listener rides along.
    Door(Door),
    /// Nothing is left to do but to start init.
    Built,
    Failed { step: Step, subject: String, errno: i32 },
}
