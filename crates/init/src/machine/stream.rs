//! PID 1 of a container that no socket leads into: init on its one thread, as everywhere, and the porter on others. What
//! leaves goes over standard input and output, which the engine carries to whoever is attached there.
//!
//! Invariants: no program of the bottle has either of the two, or can look for them here: this process cannot be dumped
//! before any of them runs, and nothing inside can signal PID 1. When the stream ends this process does, and with it the
//! container.

use super::{Keeper, PorterError, fail, link, pair, way::Way};
use crate::{link::Link, sentence, sys};
use bottle_spec::{
    init_link::InitToKeeper,
    machine_link::{Purpose, StreamStart},
};
use bottle_stream::{
    Wire,
    frame::{Frames, Kind},
    opening,
};
use rustix::{
    fd::OwnedFd,
    fs::{CWD, Mode, OFlags, openat},
    net::Shutdown,
};
use std::{io, process::ExitCode, sync::mpsc, thread, time::Duration};

/// For what is still on its way out when init has ended.
const LAST_BYTES: Duration = Duration::from_secs(3);

pub(crate) fn run() -> ExitCode {
    match serve() {
        Ok(code) => code,
        Err(error) => fail(&sentence(&error)),
    }
}

fn serve() -> Result<ExitCode, PorterError> {
    let wire = take_standard_streams().map_err(PorterError::Socket)?;
    let start = greeting(&wire.input)?;
    // Ends of processes are for the thread that is init, whichever thread the kernel would tell.
    let _signals = sys::child_signals().map_err(PorterError::Socket)?;
    let (ours, theirs) = pair().map_err(PorterError::Socket)?;
    let (opener, carrier) = opening(wire).map_err(|error| PorterError::Start(io::Error::other(error)))?;
    let (sent, all_sent) = mpsc::channel::<()>();
    start_thread(move || {
        // An error is the stream's end as well.
        let _ = carrier.run();
        drop(sent);
    })?;
    start_thread(move || {
        let keeper = Keeper { token: start.token, way: Way::Stream(opener) };
        if let Err(error) = be_porter(&keeper, &start, Link::over(ours)) {
            fail(&sentence(&error));
        }
        // The doors' threads go on until this process ends, and would ask for more.
        keeper.way.finish();
    })?;
    let mut link = Link::over(theirs);
    let code = crate::be_init(&mut link);
    drop(link);
    // The porter sees that, and lets go of the stream when it has said everything.
    let _ = all_sent.recv_timeout(LAST_BYTES);
    Ok(code)
}

/// When this returns, init's link is closed, so it ends too.
fn be_porter(keeper: &Keeper, start: &StreamStart, first: Link) -> Result<(), PorterError> {
    let mut upward = keeper.connect(Purpose::Link).map_err(PorterError::Socket)?;
    let ended = super::be_porter(keeper, &start.doors, &mut upward, first, |downward| {
        let link = downward.another();
        Box::new(move || {
            if let Ok(link) = link {
                let _ = rustix::net::shutdown(&link, Shutdown::Both);
            }
        })
    });
    if let Err(error) = &ended {
        // Nobody is left to tell if this fails.
        let _ = link::tell(&mut upward, &InitToKeeper::Failed { message: sentence(error) });
    }
    ended
}

fn start_thread(work: impl FnOnce() + Send + 'static) -> Result<(), PorterError> {
    thread::Builder::new().stack_size(256 << 10).spawn(work).map(drop).map_err(PorterError::Thread)
}

/// Leaves nothing in the places where a program would look for its own.
fn take_standard_streams() -> io::Result<Wire> {
    let wire = Wire {
        input: rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?,
        output: rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?,
    };
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(wire)
}

/// The first frame. Nothing else comes before this side has opened a channel.
fn greeting(input: &OwnedFd) -> Result<StreamStart, PorterError> {
    let mut frames = Frames::default();
    let mut bytes = [0; 4096];
    loop {
        let frame = frames.frame().map_err(|error| PorterError::Read(io::Error::other(error)))?;
        match frame {
            Some(frame) if frame.kind == Kind::Hello => {
                return serde_json::from_slice(frame.payload).map_err(PorterError::Malformed);
            }
            Some(_) => return Err(PorterError::Read(io::ErrorKind::InvalidData.into())),
            None => {}
        }
        let read = rustix::io::retry_on_intr(|| rustix::io::read(input, &mut bytes));
        match read.map_err(|error| PorterError::Read(error.into()))? {
            0 => return Err(PorterError::Read(io::ErrorKind::UnexpectedEof.into())),
            count => frames.push(bytes.get(..count).unwrap_or_default()),
        }
    }
}
