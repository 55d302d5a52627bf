//! The one unsafe call of the keeper: telling tokio that a descriptor stays open while it is watched.

#![expect(unsafe_code, reason = "AsyncFd::register is unsafe for types that may close their descriptor early")]

use std::{io, os::fd::OwnedFd};
use tokio::io::{Interest, unix::AsyncFd};

/// Watches a descriptor (made non-blocking here) in the running tokio reactor.
pub(crate) fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&descriptor, true)?;
    // SAFETY: an `OwnedFd` keeps its descriptor open, and always gives the same one, until it is dropped; `AsyncFd`
    // deregisters before it drops it.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    watched.map_err(io::Error::from)
}
