//! The loop: one thread that waits for the stream and for every connection.

use crate::{
    channel::{Became, Channel},
    frame::{CHANNELS, Frame, FrameError, Frames, Kind, NAME, PAYLOAD},
    opener::{Asked, Opener, Request, lock},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd as _, OwnedFd},
    io::Errno,
};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// With more than this on its way out, no connection is read.
const OUTBOX: usize = 256 << 10;
/// For what came before the stream ended, and nobody has taken yet.
const LAST_BYTES: Duration = Duration::from_secs(2);
/// How long is waited at a time while there is an end to be reached, in nanoseconds.
const A_LITTLE: i64 = 50_000_000;

/// The stream. Both may be copies of one socket.
#[derive(Debug)]
pub struct Wire {
    pub input: OwnedFd,
    pub output: OwnedFd,
}

#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    #[error("making what the loop waits for")]
    Setup(#[source] io::Error),
    #[error("waiting")]
    Wait(#[source] io::Error),
    #[error("reading the stream")]
    Read(#[source] io::Error),
    #[error("writing the stream")]
    Write(#[source] io::Error),
    #[error("what came cannot be read")]
    Frame(#[source] FrameError),
    #[error("a frame that is out of turn: {0}")]
    Turn(&'static str),
}

/// Gives the descriptor that a name stands for.
type Connect<'a> = Box<dyn FnMut(&str) -> io::Result<OwnedFd> + Send + 'a>;
/// From the stream's own bytes to those of frames.
type Unwrap<'a> = Box<dyn FnMut(&[u8], &mut Frames) + Send + 'a>;

/// What the other side may do, and what this one does then.
enum Role<'a> {
    Opens { asked: Arc<Mutex<Asked>>, woken: OwnedFd, no_more: bool },
    Answers { connect: Connect<'a>, alive: Option<OwnedFd> },
}

/// One side of a stream.
pub struct Carrier<'a> {
    wire: Wire,
    role: Role<'a>,
    unwrap: Unwrap<'a>,
    frames: Frames,
    channels: BTreeMap<u32, Channel>,
    /// The newest channel there ever was.
    newest: u32,
    outbox: Vec<u8>,
    /// When the stream ended.
    ended: Option<Instant>,
    /// The other side reads nothing any more.
    unheard: bool,
    /// Since when it is to end by itself.
    finishing: Option<Instant>,
}

impl std::fmt::Debug for Carrier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carrier").field("channels", &self.channels.len()).finish_non_exhaustive()
    }
}

/// The side that opens. It runs until the stream ends, or nobody can ask for more and all was sent.
pub fn opening(wire: Wire) -> Result<(Opener, Carrier<'static>), CarryError> {
    let (opener, asked, woken) = Opener::new().map_err(CarryError::Setup)?;
    let role = Role::Opens { asked, woken, no_more: false };
    Ok((opener, Carrier::new(wire, role, |bytes, frames| frames.push(bytes))?))
}

/// The side that answers: `connect` gives a descriptor for each name, without waiting. It runs until the stream ends, or
/// the other end of `alive` is closed. `unwrap` takes the stream's bytes and gives on those of frames.
pub fn answering<'a>(
    wire: Wire,
    alive: Option<OwnedFd>,
    unwrap: impl FnMut(&[u8], &mut Frames) + Send + 'a,
    connect: impl FnMut(&str) -> io::Result<OwnedFd> + Send + 'a,
) -> Result<Carrier<'a>, CarryError> {
    Carrier::new(wire, Role::Answers { connect: Box::new(connect), alive }, unwrap)
}

impl<'a> Carrier<'a> {
    fn new(
        wire: Wire,
        role: Role<'a>,
        unwrap: impl FnMut(&[u8], &mut Frames) + Send + 'a,
    ) -> Result<Carrier<'a>, CarryError> {
        for end in [&wire.input, &wire.output] {
            rustix::io::ioctl_fionbio(end, true).map_err(|error| CarryError::Setup(error.into()))?;
        }
        Ok(Carrier {
            wire,
            role,
            unwrap: Box::new(unwrap),
            frames: Frames::default(),
            channels: BTreeMap::new(),
            newest: 0,
            outbox: Vec::new(),
            ended: None,
            unheard: false,
            finishing: None,
        })
    }

    pub fn run(mut self) -> Result<(), CarryError> {
        loop {
            self.take_requests();
            if self.is_finished() {
                return Ok(());
            }
            let Some(ready) = self.wait()? else { return Ok(()) };
            if self.has_sent_all(&ready) {
                return Ok(());
            }
            if ready.output {
                self.write()?;
            }
            for (number, events) in ready.channels {
                self.serve(number, events);
            }
            if ready.input {
                self.read()?;
            }
            // Most of it goes at once.
            self.write()?;
        }
    }

    fn is_finished(&self) -> bool {
        if let Some(ended) = self.ended {
            return self.channels.values().all(Channel::has_written_all) || ended.elapsed() >= LAST_BYTES;
        }
        let Role::Opens { asked, no_more: true, .. } = &self.role else { return false };
        self.outbox.is_empty() && lock(asked).requests.is_empty() && self.channels.values().all(Channel::is_silent)
    }

    /// Where it is to end: nothing can be read, and all that was is sent.
    fn has_sent_all(&self, ready: &Ready) -> bool {
        let Some(since) = self.finishing else { return false };
        since.elapsed() >= LAST_BYTES || (ready.channels.is_empty() && !self.is_held_up())
    }

    /// Whether something can go on only when the other side does.
    fn is_held_up(&self) -> bool {
        !self.outbox.is_empty() || self.channels.values().any(Channel::is_held_up)
    }

    /// `None` where whom this is done for is gone.
    fn wait(&self) -> Result<Option<Ready>, CarryError> {
        let may_send = self.outbox.len() < OUTBOX && self.ended.is_none();
        let watched: Vec<(u32, &Channel, PollFlags)> = self
            .channels
            .iter()
            .map(|(number, channel)| (*number, channel, channel.interest(may_send)))
            .filter(|(.., interest)| !interest.is_empty())
            .collect();
        let aside = match &self.role {
            Role::Opens { woken, no_more, .. } => Some(woken).filter(|_| !no_more),
            Role::Answers { alive, .. } => alive.as_ref(),
        };
        let on_wire = |wanted: bool, what| if wanted && self.ended.is_none() { what } else { PollFlags::empty() };
        let mut fds = Vec::with_capacity(watched.len() + 3);
        let mut of_wire = [None; 2];
        let ends = [
            (&self.wire.input, on_wire(true, PollFlags::IN)),
            (&self.wire.output, on_wire(!self.outbox.is_empty(), PollFlags::OUT)),
        ];
        for (at, (end, what)) in of_wire.iter_mut().zip(ends) {
            // What is not waited for could still say that it has ended, over and over.
            if !what.is_empty() {
                *at = Some(fds.len());
                fds.push(PollFd::new(end, what));
            }
        }
        let of_aside = aside.map(|aside| {
            fds.push(PollFd::new(aside, PollFlags::IN));
            fds.len() - 1
        });
        let first = fds.len();
        fds.extend(watched.iter().map(|(_, channel, what)| PollFd::from_borrowed_fd(channel.socket().as_fd(), *what)));
        let patience = match (self.ended, self.finishing) {
            (None, None) => None,
            (None, Some(_)) if !self.is_held_up() => Some(0),
            _ => Some(A_LITTLE),
        };
        let patience = patience.map(|nanoseconds| Timespec { tv_sec: 0, tv_nsec: nanoseconds });
        match poll(&mut fds, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(CarryError::Wait(error.into())),
        }
        let seen = |at: Option<usize>| at.and_then(|at| fds.get(at)).is_some_and(|fd| !fd.revents().is_empty());
        if seen(of_aside) && matches!(self.role, Role::Answers { .. }) {
            return Ok(None);
        }
        let happened = fds.iter().skip(first).map(PollFd::revents);
        let channels = watched.iter().map(|(number, ..)| *number).zip(happened);
        let [input, output] = of_wire.map(seen);
        Ok(Some(Ready { input, output, channels: channels.filter(|(_, events)| !events.is_empty()).collect() }))
    }

    fn take_requests(&mut self) {
        let Role::Opens { asked, woken, no_more } = &mut self.role else { return };
        let mut bytes = [0; 64];
        loop {
            match rustix::io::read(&*woken, &mut bytes) {
                Ok(0) => {
                    *no_more = true;
                    break;
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        let Asked { requests, finish } = std::mem::take(&mut *lock(asked));
        if finish {
            self.finishing.get_or_insert_with(Instant::now);
        }
        for Request { name, socket, first, held } in requests {
            if self.channels.len() >= CHANNELS || name.len() > NAME || first.len() > PAYLOAD {
                // It is closed, as where nobody listens.
                continue;
            }
            let Some(number) = self.newest.checked_add(1) else { continue };
            self.newest = number;
            let mut channel = Channel::new(socket, held);
            Frame { kind: Kind::Open, channel: number, payload: name.as_bytes() }.write(&mut self.outbox);
            if !first.is_empty() {
                Frame { kind: Kind::Data, channel: number, payload: &first }.write(&mut self.outbox);
                channel.has_sent(first.len());
            }
            self.channels.insert(number, channel);
        }
    }

    fn serve(&mut self, number: u32, events: PollFlags) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let mut became = Became::Fine;
        if !channel.has_written_all() {
            became = channel.write();
        }
        let mut bytes = [0; PAYLOAD];
        let mut read = 0;
        let readable = events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        if became == Became::Fine && readable && !channel.is_silent() {
            (read, became) = channel.read(&mut bytes);
        }
        if read > 0 {
            let payload = bytes.get(..read).unwrap_or_default();
            Frame { kind: Kind::Data, channel: number, payload }.write(&mut self.outbox);
        }
        self.settle(number, became);
    }

    /// Says what is to be said of a channel after something was done to it.
    fn settle(&mut self, number: u32, became: Became) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        match became {
            Became::Fine => {}
            Became::Ended => Frame { kind: Kind::End, channel: number, payload: &[] }.write(&mut self.outbox),
            Became::Broken => {
                Frame { kind: Kind::Reset, channel: number, payload: &[] }.write(&mut self.outbox);
                self.channels.remove(&number);
                return;
            }
        }
        if let Some(more) = channel.owed() {
            Frame { kind: Kind::Credit, channel: number, payload: &more.to_be_bytes() }.write(&mut self.outbox);
        }
        if channel.is_over() {
            self.channels.remove(&number);
        }
    }

    fn read(&mut self) -> Result<(), CarryError> {
        let mut bytes = vec![0; 2 * PAYLOAD];
        match rustix::io::read(&self.wire.input, &mut *bytes) {
            Ok(0) => self.ended = Some(Instant::now()),
            Ok(count) => {
                (self.unwrap)(bytes.get(..count).unwrap_or_default(), &mut self.frames);
                self.obey_all()?;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::CONNRESET) => self.ended = Some(Instant::now()),
            Err(error) => return Err(CarryError::Read(error.into())),
        }
        Ok(())
    }

    fn obey_all(&mut self) -> Result<(), CarryError> {
        let mut frames = std::mem::take(&mut self.frames);
        while let Some(frame) = frames.frame().map_err(CarryError::Frame)? {
            self.obey(frame)?;
        }
        self.frames = frames;
        Ok(())
    }

    fn obey(&mut self, frame: Frame<'_>) -> Result<(), CarryError> {
        let number = frame.channel;
        match frame.kind {
            Kind::Hello => return Err(CarryError::Turn("a greeting")),
            Kind::Open => return self.open(number, frame.payload),
            Kind::Data | Kind::End | Kind::Credit | Kind::Reset => {}
        }
        if number == 0 || number > self.newest {
            return Err(CarryError::Turn("about a channel that there never was"));
        }
        // It may have been reset here while this was on its way.
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let became = match frame.kind {
            Kind::Data => {
                channel.take(frame.payload).ok_or(CarryError::Turn("more than may come"))?;
                channel.write()
            }
            Kind::End => channel.takes_no_more().ok_or(CarryError::Turn("a second end"))?,
            Kind::Credit => {
                let more = frame.payload.try_into().map(u32::from_be_bytes);
                let more = more.map_err(|_| CarryError::Turn("a credit of another length"))?;
                channel.grant(more as usize).ok_or(CarryError::Turn("a credit for what was not sent"))?;
                Became::Fine
            }
            _ => {
                self.channels.remove(&number);
                return Ok(());
            }
        };
        self.settle(number, became);
        Ok(())
    }

    fn open(&mut self, number: u32, name: &[u8]) -> Result<(), CarryError> {
        let Role::Answers { connect, .. } = &mut self.role else {
            return Err(CarryError::Turn("this side opens the channels"));
        };
        if number <= self.newest {
            return Err(CarryError::Turn("the number of another channel"));
        }
        self.newest = number;
        let name = std::str::from_utf8(name).ok().filter(|name| name.len() <= NAME);
        let socket = match name {
            Some(name) if self.channels.len() < CHANNELS => connect(name).ok(),
            _ => None,
        };
        let socket = socket.filter(|socket| rustix::io::ioctl_fionbio(socket, true).is_ok());
        match socket {
            Some(socket) => {
                self.channels.insert(number, Channel::new(socket, Box::new(())));
            }
            None => Frame { kind: Kind::Reset, channel: number, payload: &[] }.write(&mut self.outbox),
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), CarryError> {
        if self.unheard {
            self.outbox.clear();
        }
        let mut sent = 0;
        while let Some(rest) = self.outbox.get(sent..).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(&self.wire.output, rest) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // Nobody hears any more; what was said before is still to be read, up to its end.
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    self.unheard = true;
                    sent = self.outbox.len();
                }
                Err(error) => return Err(CarryError::Write(error.into())),
            }
        }
        self.outbox.drain(..sent);
        Ok(())
    }
}

/// What can go on.
struct Ready {
    input: bool,
    output: bool,
    channels: Vec<(u32, PollFlags)>,
}
