//! The stream topology: a container that no socket of this machine's leads into. All that passes between it and its keeper
//! and gate goes over its standard input and output, which the engine carries to whoever is attached there.
//!
//! Attached is a process of ours, the *carrier* ([`carry`]): it makes of what comes connections to the sockets that keeper
//! and gate listen at, as the process does that is a machine. To the keeper it is what init is elsewhere: when it ends, the
//! engine closes the container's standard input, and with that init ends.

use super::{
    attach::{Output, attach},
    container::ContainerSpec,
    error::ContainerError,
    room::make,
    staging::Staged,
};
use crate::{
    backend::{
        carried::{self, CarriedError},
        relay::Switchboard,
        room::Room,
    },
    process, sys,
};
use bottle_spec::machine_link::{Purpose, StreamStart, Token};
use bottle_stream::{
    CarryError, Wire, answering,
    frame::{Frame, Kind},
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    rc::Rc,
    time::Duration,
};
use tokio::{io::AsyncWriteExt as _, io::Interest, task::spawn_local, time::timeout};

/// The engine may be far away, and slow.
const PATIENCE: Duration = Duration::from_secs(60);
const END_PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn create(spec: &ContainerSpec<'_>, image: &str, staged: &Staged) -> Result<Room, ContainerError> {
    let directory = spec.runtime.join("doors");
    let sockets = carried::listen(&directory, spec.room.doors).map_err(ContainerError::Carried)?;
    let token = carried::token().map_err(ContainerError::Carried)?;
    let engine = make(spec, image, staged).await?;
    let mut attached = attach(&engine, &spec.container.name).await.map_err(ContainerError::Attach)?;
    attached.write_all(&greeting(spec, token)?).await.map_err(ContainerError::Carrier)?;
    let carrier = Carrier::start(spec.program, &directory, attached).map_err(ContainerError::Carrier)?;
    let board = Switchboard::new(token);
    let connected = board.expect(Purpose::Link);
    let serving = spawn_local(Rc::clone(&board).serve(sockets.link));
    let opening = async {
        let started = engine.docker.start_container(&spec.container.name, None).await;
        started.map_err(|error| ContainerError::Start(super::engine::refused(error)))?;
        match carried::opened(connected, carrier.pid, spec.room.doors).await {
            Err(CarriedError::Nothing) => Err(ContainerError::Ended),
            opened => opened.map_err(ContainerError::Carried),
        }
    };
    let opened = tokio::select! {
        opened = timeout(PATIENCE, opening) => opened.map_err(|_| ContainerError::Silent(PATIENCE)).flatten(),
        () = carrier.ended() => Err(ContainerError::Ended),
    };
    let relayed = opened.and_then(|link| carried::relayed(board, link).map_err(ContainerError::Carried));
    match relayed {
        Ok(link) => {
            let Carrier { pid, held, alive } = carrier;
            // As long as there is this keeper.
            spawn_local(async move {
                std::future::pending::<()>().await;
                drop(alive);
            });
            Ok(Room { pid, pidfd: held, link, listeners: sockets.doors })
        }
        Err(error) => {
            serving.abort();
            carrier.end();
            Err(error)
        }
    }
}

/// What the porter begins with.
fn greeting(spec: &ContainerSpec<'_>, token: Token) -> Result<Vec<u8>, ContainerError> {
    let start = StreamStart { token, doors: spec.room.doors.to_vec() };
    let payload = serde_json::to_vec(&start).map_err(|error| ContainerError::Carrier(error.into()))?;
    let mut bytes = Vec::new();
    Frame { kind: Kind::Hello, channel: 0, payload: &payload }.write(&mut bytes);
    Ok(bytes)
}

/// The process that carries, as its keeper has it.
struct Carrier {
    pid: i32,
    held: OwnedFd,
    /// When the last copy of it is closed, it ends.
    alive: UnixStream,
}

impl Carrier {
    fn start(program: &Path, directory: &Path, attached: tokio::net::UnixStream) -> io::Result<Carrier> {
        let attached = attached.into_std()?;
        let (alive, watched) = UnixStream::pair()?;
        let mut command = Command::new(program);
        command.arg("carrier").arg(directory).env_clear();
        command.stdin(Stdio::from(OwnedFd::from(attached))).stdout(Stdio::from(OwnedFd::from(watched)));
        let mut child = command.stderr(Stdio::null()).spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        // It was not waited for, so the number is still its own.
        let Some(held) = carried::held(pid) else {
            let _ = child.kill().and_then(|()| child.wait());
            return Err(io::Error::other("it cannot be held"));
        };
        Ok(Carrier { pid, held, alive })
    }

    async fn ended(&self) {
        let watched = self.held.try_clone().and_then(|held| sys::watch(held, Interest::READABLE));
        match watched {
            Ok(watched) => drop(watched.readable().await),
            Err(_) => std::future::pending().await,
        }
    }

    fn end(self) {
        let _ = process::kill_and_wait(&self.held, END_PATIENCE);
        let _ = rustix::process::waitid(
            rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&self.held)),
            rustix::process::WaitIdOptions::EXITED,
        );
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    #[error("this is started by a keeper, with the engine's connection for its standard input")]
    Start(#[source] io::Error),
    #[error("the container's stream broke")]
    Carry(#[source] CarryError),
}

/// The carrier's whole life. `directory` has the sockets that it may connect to; standard input is the connection to the
/// engine, standard output a socket whose other end the keeper has. It knows no secret, and of the bytes that it carries
/// it looks at the frames around them alone; whoever starts it confines it first.
pub fn carry(directory: &Path) -> Result<(), CarrierError> {
    process::name_self(c"bottle-carrier");
    let failed = |error: rustix::io::Errno| CarrierError::Start(error.into());
    let copy = |of| rustix::io::fcntl_dupfd_cloexec(of, 3).map_err(failed);
    let wire = Wire { input: copy(rustix::stdio::stdin())?, output: copy(rustix::stdio::stdin())? };
    let alive = copy(rustix::stdio::stdout())?;
    let mut output = Output::default();
    let carrier = answering(
        wire,
        Some(alive),
        move |bytes, frames| output.unwrap(bytes, |bytes| frames.push(bytes)),
        |name| connect_to(directory, name),
    );
    carrier.and_then(bottle_stream::Carrier::run).map_err(CarrierError::Carry)
}

/// Without waiting: where too many wait already, this one is turned away.
fn connect_to(directory: &Path, name: &str) -> io::Result<OwnedFd> {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !plain || name.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    connect(&socket, &SocketAddrUnix::new(directory.join(name))?)?;
    Ok(socket)
}
