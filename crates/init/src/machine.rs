//! The porter: what this program is in a bottle that is a machine of its own, beside the init that it starts there.
//!
//! It reads what the room is made of ([`bottle_spec::machine_link`]), connects to the keeper, and forks: the child makes
//! the room ([`room`]) and becomes init, which is then what it is everywhere. The porter stays outside of the room and
//! carries: the connections that init's listeners take, to the sockets that lead out of the machine ([`doors`]), and
//! between init's link, where descriptors ride, and the keeper's, where each is a connection of its own ([`link`]).
//!
//! In a container that no socket leads into, the porter is threads of init itself, and all that it carries goes over
//! init's standard input and output ([`stream`]).
//!
//! In a machine that others are branched from it waits for a room ([`run_parked`]), which only a branch is given.
//!
//! Invariants: nothing of the bottle's can see the porter, its sockets or its token: other namespaces, another root and
//! another uid. When the keeper is gone the porter ends, with it init, and with that the machine.

mod carry;
mod doors;
mod link;
mod room;
mod share;
mod stream;
mod way;

pub(crate) use stream::run as run_stream;

use crate::{link::Link, sentence, sys};
use bottle_spec::{
    door::Door,
    init_link::{InitToKeeper, KeeperToInit},
    machine_link::{ENTRY, Head, LINK, MachineRoom, PROGRAM, Purpose, ROOM, Token},
};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{CWD, Mode, OFlags},
    net::{AddressFamily, SocketFlags, SocketType},
};
use std::{
    fs,
    io::{self, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::ExitCode,
    thread,
    time::Duration,
};
use way::Way;

/// How often a parked porter looks. The machine that others are branched from stands still between them.
const PARKED_PAUSE: Duration = Duration::from_millis(2);

#[derive(Debug, thiserror::Error)]
enum PorterError {
    #[error("reading what the room is made of")]
    Read(#[source] io::Error),
    #[error("what the room is made of cannot be understood")]
    Malformed(#[source] serde_json::Error),
    #[error("making a socket")]
    Socket(#[source] io::Error),
    #[error("starting init")]
    Start(#[source] io::Error),
    #[error("making the room, {step}")]
    Room {
        step: String,
        #[source]
        source: io::Error,
    },
    #[error("talking to init")]
    Init(#[source] crate::link::LinkError),
    #[error("init did not make its room: {0}")]
    Unmade(String),
    #[error("starting a thread")]
    Thread(#[source] io::Error),
}

/// The keeper's socket, and how to connect to it.
#[derive(Debug, Clone)]
struct Keeper {
    token: Token,
    way: Way,
}

impl Keeper {
    /// A connection that has said what it is for.
    fn connect(&self, purpose: Purpose) -> io::Result<UnixStream> {
        let mut stream = self.way.connect(LINK)?;
        stream.write_all(&Head { token: self.token, purpose }.encode())?;
        Ok(stream)
    }
}

pub(crate) fn run() -> ExitCode {
    let entry = Path::new(ENTRY);
    let spec = fs::read(entry.join(ROOM)).map_err(PorterError::Read);
    let spec = spec.and_then(|bytes| serde_json::from_slice::<MachineRoom>(&bytes).map_err(PorterError::Malformed));
    let spec = match spec {
        Ok(spec) => spec,
        Err(error) => {
            return fail(&sentence(&error));
        }
    };
    let keeper = Keeper { token: spec.token, way: Way::Sockets };
    let mut upward = match keeper.connect(Purpose::Link) {
        Ok(link) => link,
        Err(error) => {
            return fail(&format!("the keeper's socket cannot be connected to: {error}"));
        }
    };
    match serve(&spec, &keeper, &mut upward) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = sentence(&error);
            let code = fail(&message);
            // Nobody is left to tell if this fails.
            let _ = link::tell(&mut upward, &InitToKeeper::Failed { message });
            code
        }
    }
}

/// As a porter that is started before there is a bottle: of what the machine branches into, each finds a room of its own.
pub(crate) fn run_parked() -> ExitCode {
    // What of this program has not run is in the machine's memory from here on: a branch has another host behind its
    // directories.
    let _ = fs::read("/proc/self/exe");
    while !Path::new(ENTRY).join(ROOM).exists() {
        thread::sleep(PARKED_PAUSE);
    }
    run()
}

/// For the machine's own log.
fn fail(message: &str) -> ExitCode {
    let _ = io::stderr().write_all(format!("bot-bottle: {message}\n").as_bytes());
    ExitCode::from(70)
}

fn serve(spec: &MachineRoom, keeper: &Keeper, upward: &mut UnixStream) -> Result<(), PorterError> {
    let program = Path::new(ENTRY).join(PROGRAM);
    let program = rustix::fs::openat(CWD, &program, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| PorterError::Start(error.into()))?;
    let (ours, theirs) = pair().map_err(PorterError::Socket)?;
    // The machine's own bound holds without it.
    let share = share::set_apart().unwrap_or_else(|error| {
        let _ = io::stderr().write_all(format!("bot-bottle: no memory is kept for the machine: {error}\n").as_bytes());
        None
    });
    // Before there is a second thread.
    let init = match sys::fork_into(libc::CLONE_NEWPID).map_err(PorterError::Start)? {
        sys::Forked::Parent(pid) => pid,
        sys::Forked::Child => {
            drop(ours);
            let error = room::become_init(spec, share.as_ref(), &program, &theirs);
            let _ = Link::over(theirs).send(&InitToKeeper::Failed { message: sentence(&error) }, None);
            sys::exit_now(70)
        }
    };
    drop((theirs, program, share));
    let end_init = move || {
        if let Some(init) = rustix::process::Pid::from_raw(init) {
            let _ = rustix::process::kill_process(init, rustix::process::Signal::KILL);
        }
    };
    let ended = be_porter(keeper, &spec.doors, upward, Link::over(ours), |_| Box::new(end_init));
    switch_off();
    ended
}

/// What to do about init when the keeper is gone, given its link.
type EndInit = Box<dyn FnOnce() + Send>;

/// Has init open the doors, and carries all there is to carry, until init or the keeper is gone.
fn be_porter(
    keeper: &Keeper,
    doors: &[Door],
    upward: &mut UnixStream,
    first: Link,
    end_init: impl FnOnce(&Link) -> EndInit,
) -> Result<(), PorterError> {
    let (mut downward, listeners) = open_doors(doors, first)?;
    doors::carry(&keeper.way, listeners)?;
    for door in doors {
        link::tell(upward, &InitToKeeper::Opened { door: *door }).map_err(PorterError::Socket)?;
    }
    let end_init = end_init(&downward);
    link::relay(keeper, upward, &mut downward, end_init)
}

/// Ends the machine at once: smolvm's own way takes its time, and with init gone there is nothing left to end in order.
/// Only where it is a machine that smolvm's library runs, which the kernel's command line tells.
fn switch_off() {
    let is_machine = fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.contains("KRUN_INIT="));
    if is_machine {
        rustix::fs::sync();
        // Where it cannot be done, smolvm's own way is left.
        let _ = fs::write("/proc/sysrq-trigger", "b");
    }
}

/// Has init open the doors, as the keeper does where it is nearer: over a socket of its own for all that follows.
fn open_doors(doors: &[Door], mut first: Link) -> Result<(Link, Vec<(Door, OwnedFd)>), PorterError> {
    let (ours, theirs) = pair().map_err(PorterError::Socket)?;
    let open = KeeperToInit::Open { doors: doors.to_vec() };
    first.send(&open, Some(theirs.as_fd())).map_err(PorterError::Init)?;
    drop(theirs);
    let mut link = Link::over(ours);
    let mut listeners = Vec::with_capacity(doors.len());
    for expected in doors {
        match link.receive::<InitToKeeper>() {
            Ok(InitToKeeper::Opened { door }) if door == *expected => {
                let listener =
                    link.descriptor().ok_or_else(|| PorterError::Unmade("a door did not come".to_owned()))?;
                listeners.push((door, listener));
            }
            Ok(InitToKeeper::Failed { message }) => return Err(PorterError::Unmade(message)),
            Ok(other) => return Err(PorterError::Unmade(format!("{other:?} is no door"))),
            // It says why over the first, where it did not come as far as the second.
            Err(error) => {
                return Err(match first.receive::<InitToKeeper>() {
                    Ok(InitToKeeper::Failed { message }) => PorterError::Unmade(message),
                    _ => PorterError::Init(error),
                });
            }
        }
    }
    Ok((link, listeners))
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}
