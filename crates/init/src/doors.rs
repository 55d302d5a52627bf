//! Opens the doors from inside, where whoever made the bottle could not enter its network: in a container.
//!
//! Comes before the confinement and before any program of the agent's. The listeners are the keeper's from then on;
//! none of them stays open here.

use crate::{InitError, link::Link};
use bottle_spec::{door::Door, init_link::InitToKeeper};
use rustix::{
    fd::{AsFd, OwnedFd},
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
};
use std::io;

/// Connections that may wait at a door while the gate is busy or being restarted.
const BACKLOG: i32 = 4096;

/// Hands each listener over before the next is made.
pub(crate) fn open(doors: &[Door], link: &Link) -> Result<(), InitError> {
    for door in doors {
        let listener = listener(*door).map_err(|error| InitError::Door(*door, error))?;
        link.send(&InitToKeeper::Opened { door: *door }, Some(listener.as_fd())).map_err(InitError::Link)?;
    }
    Ok(())
}

fn listener(door: Door) -> io::Result<OwnedFd> {
    let kind = if door.is_datagram() { SocketType::DGRAM } else { SocketType::STREAM };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?;
    if !door.is_datagram() {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &door.address())?;
    if !door.is_datagram() {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}
