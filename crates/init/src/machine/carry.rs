//! Copies bytes between two descriptors, a thread for each direction.
//!
//! Invariant: an end of one direction is passed on as an end of that direction alone; a failure ends both.

use rustix::{
    fd::{AsFd, OwnedFd},
    io::Errno,
    net::Shutdown,
};
use std::{io, sync::Arc, thread};

const CHUNK: usize = 32 << 10;
/// What such a thread keeps on its stack is little; the bytes are on the heap.
const STACK: usize = 64 << 10;

/// Starts a thread of the size that carrying takes.
pub(super) fn thread(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().stack_size(STACK).spawn(work).map(drop)
}

/// Between two sockets, until both directions have ended; `done` goes with the last.
pub(super) fn both(a: OwnedFd, b: OwnedFd, done: impl Send + Sync + 'static) -> io::Result<()> {
    let (a, b, done) = (Arc::new(a), Arc::new(b), Arc::new(done));
    let (from, to, until) = (Arc::clone(&b), Arc::clone(&a), Arc::clone(&done));
    thread(move || {
        one_way(&*from, &*to);
        drop(until);
    })?;
    thread(move || {
        one_way(&*a, &*b);
        drop(done);
    })
}

/// Until `from` ends or one of them fails.
pub(super) fn one_way(from: impl AsFd, to: impl AsFd) {
    let mut bytes = vec![0; CHUNK];
    loop {
        let count = match rustix::io::read(&from, &mut *bytes) {
            Ok(0) => break,
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => {
                wait(&from, rustix::event::PollFlags::IN);
                continue;
            }
            Err(_) => break,
        };
        if !write_all(&to, bytes.get(..count).unwrap_or_default()) {
            // Nobody takes any more of it: whoever sends is told.
            let _ = rustix::net::shutdown(&from, Shutdown::Both);
            break;
        }
    }
    // Of a pipe or a terminal this fails, and closing it is what tells.
    let _ = rustix::net::shutdown(&to, Shutdown::Write);
}

fn write_all(to: impl AsFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(&to, rustix::event::PollFlags::OUT),
            Err(_) => return false,
        }
    }
    true
}

fn wait(on: impl AsFd, what: rustix::event::PollFlags) {
    let mut watched = [rustix::event::PollFd::new(&on, what)];
    let _ = rustix::event::poll(&mut watched, None);
}
