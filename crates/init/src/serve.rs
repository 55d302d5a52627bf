//! The loop of PID 1: the keeper's orders and the ends of processes, one at a time.

use crate::{
    InitError,
    link::Link,
    reap::{Left, Programs},
    sentence,
    spawn::{SpawnError, spawn},
    still::Still,
    sys,
};
use bottle_spec::init_link::{InitToKeeper, KeeperToInit, Spawn};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, OwnedFd},
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// A listener on loopback answers at once; one that is full does not, and must not hold up everything else.
const DIAL_PATIENCE: Duration = Duration::from_millis(250);

/// Obeys until the keeper is gone, or until it has asked for the end and nothing runs any more.
pub(crate) fn serve(link: &mut Link) -> Result<(), InitError> {
    let signals = sys::child_signals().map_err(InitError::Reap)?;
    let (mut programs, mut still) = (Programs::default(), Still::default());
    let mut deadline = None;
    loop {
        while let Some(order) = link.pending().map_err(InitError::Link)? {
            obey(order, link, &mut programs, &mut still, &mut deadline)?;
        }
        // Also without a signal: a child may have ended before the descriptor was made.
        let (ended, left) = programs.reap().map_err(InitError::Reap)?;
        for (id, code) in ended {
            link.send(&InitToKeeper::Exited { id, code }, None).map_err(InitError::Link)?;
        }
        if deadline.is_some() && left == Left::Nothing {
            return Ok(());
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            // An error means that nothing is left to be killed, which the next round sees.
            let _ = sys::signal_all(libc::SIGKILL);
        }
        if wait(link, &signals, deadline).map_err(InitError::Reap)? {
            link.fill().map_err(InitError::Link)?;
        }
    }
}

/// Waits for an order or for a process to end; whether it is the first. What a deadline that has passed leaves to be
/// waited for is the end of killed processes.
fn wait(link: &Link, signals: &OwnedFd, deadline: Option<Instant>) -> io::Result<bool> {
    let left =
        deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
    let timeout = left.map(|left| Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    let mut watched = [PollFd::new(link, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
    match poll(&mut watched, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let [orders, ends] = watched.map(|watched| !watched.revents().is_empty());
    if ends {
        // Which process it was, `wait` tells; here the signal is only taken off.
        let mut signal = [0_u8; size_of::<libc::signalfd_siginfo>()];
        let _ = rustix::io::read(signals, &mut signal);
    }
    Ok(orders)
}

fn obey(
    order: KeeperToInit,
    link: &mut Link,
    programs: &mut Programs,
    still: &mut Still,
    deadline: &mut Option<Instant>,
) -> Result<(), InitError> {
    match order {
        KeeperToInit::Start(_) | KeeperToInit::Open { .. } | KeeperToInit::Resize { .. } => {
            return Err(InitError::Order);
        }
        KeeperToInit::Spawn(order) => start(&order, link, programs)?,
        KeeperToInit::Signal { id, signal } => {
            if let Some(group) = programs.group(id) {
                // It may have ended just now.
                let _ = sys::signal_group(group, signal);
            }
        }
        KeeperToInit::Freeze(true) => still.hold(),
        KeeperToInit::Freeze(false) => still.release(),
        KeeperToInit::Dial { id, port } => dial(id, port, link)?,
        KeeperToInit::Stop { grace } => {
            ask_to_end(programs);
            *deadline = Some(Instant::now() + Duration::from_secs(grace.into()));
        }
    }
    Ok(())
}

fn start(order: &Spawn, link: &mut Link, programs: &mut Programs) -> Result<(), InitError> {
    let streams = if order.tty.is_some() { None } else { three(link) };
    let (message, terminal) = match spawn(order, streams) {
        Ok(started) => {
            programs.started(started.pid, started.group, order.id);
            (InitToKeeper::Spawned { id: order.id }, started.terminal)
        }
        Err(error) => (failed(order.id, &error), None),
    };
    link.send(&message, terminal.as_ref().map(AsFd::as_fd)).map_err(InitError::Link)
}

fn failed(id: u32, error: &SpawnError) -> InitToKeeper {
    InitToKeeper::SpawnFailed { id, code: error.exit_code(), message: sentence(error) }
}

fn three(link: &mut Link) -> Option<[OwnedFd; 3]> {
    Some([link.descriptor()?, link.descriptor()?, link.descriptor()?])
}

fn dial(id: u32, port: u16, link: &Link) -> Result<(), InitError> {
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let connect = |address| TcpStream::connect_timeout(&SocketAddr::new(address, port), DIAL_PATIENCE).ok();
    let connected = addresses.into_iter().find_map(connect);
    let message = InitToKeeper::Dialed { id, ok: connected.is_some() };
    link.send(&message, connected.as_ref().map(AsFd::as_fd)).map_err(InitError::Link)
}

/// SIGTERM to all, SIGHUP as well to what was started by the keeper (a shell on a terminal heeds only that), SIGCONT
/// so that what is stopped hears of it. Errors mean that nothing is there to be told.
fn ask_to_end(programs: &Programs) {
    let _ = sys::signal_all(libc::SIGTERM);
    for group in programs.groups() {
        let _ = sys::signal_group(group, libc::SIGHUP);
    }
    let _ = sys::signal_all(libc::SIGCONT);
}
