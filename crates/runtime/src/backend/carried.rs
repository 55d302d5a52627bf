//! Rooms that no descriptor can ride out of: what comes from them comes as connections to sockets of a directory, one for
//! the link and one for each door ([`bottle_spec::machine_link`]). Who carries them there, a machine's own process or
//! one of ours, is all that differs.

use super::{
    relay::{Relay, Switchboard},
    system::System,
};
use crate::socket::{AsyncLink, SocketError};
use bottle_spec::{
    door::Door,
    init_link::InitToKeeper,
    machine_link::{LINK, Token, sockets},
};
use rustix::{
    fs::{AtFlags, CWD, Mode},
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{fs::DirBuilderExt as _, net::UnixListener, net::UnixStream},
    },
    path::{Path, PathBuf},
    rc::Rc,
};
use tokio::sync::oneshot;

/// How long the path of a socket may be.
pub(super) const LONGEST: usize = System::HERE.longest_socket();

#[derive(Debug, thiserror::Error)]
pub enum CarriedError {
    #[error("{} is too long for a socket's path; set XDG_RUNTIME_DIR, or XDG_STATE_HOME, to a shorter one", .0.display())]
    Long(PathBuf),
    #[error("drawing a token")]
    Token(#[source] io::Error),
    #[error("listening for the bottle")]
    Listen(#[source] io::Error),
    #[error("nothing came from the bottle")]
    Nothing,
    #[error("process {found} connected in place of the one that carries for the bottle, {expected}")]
    Stranger { found: i32, expected: i32 },
    #[error("init cannot make the room: {0}")]
    Unmade(String),
    #[error("the bottle's link broke")]
    Broken(#[source] SocketError),
}

/// What the keeper listens at.
pub(super) struct Sockets {
    pub(super) link: tokio::net::UnixListener,
    pub(super) doors: Vec<(Door, OwnedFd)>,
}

/// A socket for the link and one for each door that has one. Nobody else gets to them: what is above is the user's alone.
pub(super) fn listen(directory: &Path, doors: &[Door]) -> Result<Sockets, CarriedError> {
    fs::DirBuilder::new().mode(0o700).create(directory).map_err(CarriedError::Listen)?;
    let bind = |name: &str| -> Result<UnixListener, CarriedError> {
        let path = directory.join(name);
        if path.as_os_str().len() > LONGEST {
            return Err(CarriedError::Long(path));
        }
        let listener = UnixListener::bind(&path).map_err(CarriedError::Listen)?;
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::chmodat(CWD, &path, mode, AtFlags::empty()).map_err(|error| CarriedError::Listen(error.into()))?;
        listener.set_nonblocking(true).map_err(CarriedError::Listen)?;
        Ok(listener)
    };
    let link = tokio::net::UnixListener::from_std(bind(LINK)?).map_err(CarriedError::Listen)?;
    let doors = sockets(doors).into_iter().map(|(name, door)| Ok((door, bind(&name)?.into())));
    Ok(Sockets { link, doors: doors.collect::<Result<_, _>>()? })
}

pub(super) fn token() -> Result<Token, CarriedError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| CarriedError::Token(io::Error::other(error)))?;
    Ok(Token(bytes))
}

/// The process of this number as something that can be held.
pub(super) fn held(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Waits for the link, which is to come from the process that carries for the bottle, and until init has opened its doors.
pub(super) async fn opened(
    connected: oneshot::Receiver<UnixStream>,
    expected: i32,
    doors: &[Door],
) -> Result<AsyncLink, CarriedError> {
    let stream = connected.await.map_err(|_| CarriedError::Nothing)?;
    let found = rustix::net::sockopt::socket_peercred(&stream).map_err(|error| CarriedError::Listen(error.into()))?;
    let found = found.pid.as_raw_pid();
    if found != expected {
        return Err(CarriedError::Stranger { found, expected });
    }
    let mut link = AsyncLink::new(stream).map_err(CarriedError::Listen)?;
    for expected in doors {
        match link.receive().await.map_err(CarriedError::Broken)? {
            InitToKeeper::Opened { door } if door == *expected => {}
            InitToKeeper::Failed { message } => return Err(CarriedError::Unmade(message)),
            other => return Err(CarriedError::Unmade(format!("{other:?} is no door"))),
        }
    }
    Ok(link)
}

/// The link that the keeper has of every room, carried from now on.
pub(super) fn relayed(board: Rc<Switchboard>, bottle: AsyncLink) -> Result<UnixStream, CarriedError> {
    let (ours, theirs) = UnixStream::pair().map_err(CarriedError::Listen)?;
    Relay::start(board, bottle, AsyncLink::new(theirs).map_err(CarriedError::Listen)?);
    Ok(ours)
}
