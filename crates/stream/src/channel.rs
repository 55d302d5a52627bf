//! One connection: its descriptor here, and how much of it may be on its way.

use crate::frame::{PAYLOAD, WINDOW};
use rustix::{event::PollFlags, fd::OwnedFd, io::Errno, net::Shutdown};
use std::{any::Any, collections::VecDeque, fmt};

/// So much is written before the other side hears of it: fewer frames, and it never stands still.
const TOLD_AT: usize = WINDOW / 4;

/// What became of a descriptor that was read from or written to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Became {
    Fine,
    /// It gives no more.
    Ended,
    Broken,
}

pub(crate) struct Channel {
    /// Does not block.
    socket: OwnedFd,
    /// Goes with the channel.
    _held: Box<dyn Any + Send>,
    /// What may still be sent of what it gives.
    credit: usize,
    gives: bool,
    /// What came for it.
    waiting: VecDeque<u8>,
    /// Whether more may come.
    comes: bool,
    /// Written to it, and not told of yet.
    written: usize,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("credit", &self.credit)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl Channel {
    pub(crate) fn new(socket: OwnedFd, held: Box<dyn Any + Send>) -> Channel {
        Channel { socket, _held: held, credit: WINDOW, gives: true, waiting: VecDeque::new(), comes: true, written: 0 }
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// What it is to be waited for; nothing where it cannot go on by itself.
    pub(crate) fn interest(&self, may_send: bool) -> PollFlags {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::IN, self.gives && self.credit > 0 && may_send);
        interest.set(PollFlags::OUT, !self.waiting.is_empty());
        interest
    }

    /// Whether nothing more of it is to be sent.
    pub(crate) fn is_silent(&self) -> bool {
        !self.gives
    }

    /// Whether there may be something to read that may not be sent yet.
    pub(crate) fn is_held_up(&self) -> bool {
        self.gives && self.credit == 0
    }

    pub(crate) fn has_written_all(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn is_over(&self) -> bool {
        !self.gives && !self.comes && self.waiting.is_empty()
    }

    /// Reads once, as much as may be sent.
    pub(crate) fn read(&mut self, into: &mut [u8; PAYLOAD]) -> (usize, Became) {
        let most = self.credit.min(PAYLOAD);
        let Some(into) = into.get_mut(..most).filter(|into| !into.is_empty()) else { return (0, Became::Fine) };
        match rustix::io::read(&self.socket, into) {
            Ok(0) => {
                self.gives = false;
                (0, Became::Ended)
            }
            Ok(count) => {
                self.credit -= count;
                (count, Became::Fine)
            }
            Err(Errno::AGAIN | Errno::INTR) => (0, Became::Fine),
            Err(_) => (0, Became::Broken),
        }
    }

    /// What had been sent first, before there was anything to read.
    pub(crate) fn has_sent(&mut self, count: usize) {
        self.credit = self.credit.saturating_sub(count);
    }

    /// More of it may be sent; `None` where that is more than there ever was.
    pub(crate) fn grant(&mut self, count: usize) -> Option<()> {
        self.credit = self.credit.checked_add(count).filter(|credit| *credit <= WINDOW)?;
        Some(())
    }

    /// `None` where it is more than was allowed.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Option<()> {
        let fits = self.comes && self.waiting.len() + self.written + bytes.len() <= WINDOW;
        fits.then(|| self.waiting.extend(bytes))
    }

    /// Nothing more comes; `None` where that had been said.
    pub(crate) fn takes_no_more(&mut self) -> Option<Became> {
        std::mem::take(&mut self.comes).then(|| self.write())
    }

    /// Writes what waits, as far as that goes.
    pub(crate) fn write(&mut self) -> Became {
        while !self.waiting.is_empty() {
            match rustix::io::write(&self.socket, self.waiting.as_slices().0) {
                Ok(count) => {
                    self.waiting.drain(..count);
                    self.written += count;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Became::Fine,
                Err(_) => return Became::Broken,
            }
        }
        if !self.comes {
            // Somebody who has closed it needs not be told.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
        }
        Became::Fine
    }

    /// How much more the other side may send, when it is time that it hears of it.
    pub(crate) fn owed(&mut self) -> Option<u32> {
        let due = self.comes && self.written >= TOLD_AT;
        due.then(|| u32::try_from(std::mem::take(&mut self.written)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    fn channel() -> (Channel, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        (Channel::new(ours, Box::new(())), theirs)
    }

    #[test]
    fn more_than_the_window_is_not_taken() {
        let (mut channel, _theirs) = channel();
        for _ in 0..WINDOW / PAYLOAD {
            channel.take(&[0; PAYLOAD]).unwrap();
        }
        assert_eq!(channel.take(&[0]), None);
        assert_eq!(channel.grant(1), None, "nothing was sent that could be allowed again");
    }

    #[test]
    fn what_is_written_may_come_again() {
        let (mut channel, theirs) = channel();
        channel.take(&[7; TOLD_AT]).unwrap();
        assert_eq!((channel.write(), channel.owed()), (Became::Fine, Some(u32::try_from(TOLD_AT).unwrap())));
        assert_eq!(rustix::io::read(&theirs, &mut [0; PAYLOAD]), Ok(PAYLOAD));
        assert_eq!(channel.takes_no_more(), Some(Became::Fine));
        assert_eq!((channel.takes_no_more(), channel.take(&[1])), (None, None), "after its end");
    }

    #[test]
    fn no_more_is_read_than_may_be_sent() {
        let (mut channel, theirs) = channel();
        let (mut sent, mut into) = (0, [0; PAYLOAD]);
        loop {
            let written = rustix::io::write(&theirs, &[1; PAYLOAD]).unwrap_or(0);
            let (read, became) = channel.read(&mut into);
            assert_eq!(became, Became::Fine);
            sent += read;
            if written == 0 && read == 0 {
                break;
            }
        }
        assert_eq!(sent, WINDOW);
        assert!(channel.interest(true).is_empty(), "it would be waited for in vain");
    }
}
