//! The handle by which other threads give the loop something to carry.

use rustix::{fd::OwnedFd, io::Errno, pipe::PipeFlags};
use std::{
    any::Any,
    io,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What the loop is asked for from outside.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) requests: Vec<Request>,
    /// It is to end when it has sent what there is.
    pub(crate) finish: bool,
}

/// What is to be carried.
pub(crate) struct Request {
    pub(crate) name: String,
    pub(crate) socket: OwnedFd,
    pub(crate) first: Vec<u8>,
    pub(crate) held: Box<dyn Any + Send>,
}

/// Hands over connections, from any thread.
#[derive(Clone)]
pub struct Opener {
    asked: Arc<Mutex<Asked>>,
    /// A byte in it wakes the loop; when the last is gone, nothing more will be asked for.
    wake: Arc<OwnedFd>,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opener")
    }
}

impl Opener {
    /// With what the loop sees of it: what it is asked for, and the end of the pipe that wakes it.
    pub(crate) fn new() -> io::Result<(Opener, Arc<Mutex<Asked>>, OwnedFd)> {
        let (woken, wake) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let asked: Arc<Mutex<Asked>> = Arc::default();
        Ok((Opener { asked: Arc::clone(&asked), wake: Arc::new(wake) }, asked, woken))
    }

    /// Carries `socket` to the one of this name, after `first`. `held` goes when both directions have ended.
    pub fn carry(&self, name: &str, socket: OwnedFd, first: &[u8], held: impl Send + 'static) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let (name, first) = (name.to_owned(), first.to_owned());
        lock(&self.asked).requests.push(Request { name, socket, first, held: Box::new(held) });
        self.wake()
    }

    /// Has the loop end once it has sent all that can be read by then; within seconds, whoever takes it or not.
    pub fn finish(&self) -> io::Result<()> {
        lock(&self.asked).finish = true;
        self.wake()
    }

    fn wake(&self) -> io::Result<()> {
        match rustix::io::write(&*self.wake, &[0]) {
            // Full: it will wake all the same.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A connection to the socket of this name.
    pub fn connect(&self, name: &str) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        self.carry(name, theirs.into(), &[], ())?;
        Ok(ours)
    }
}

pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
