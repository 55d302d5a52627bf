//! What the cli does with keepers: starts one, and talks to those that run.

use crate::{
    dirs::Dirs,
    protocol::{ControlReply, ControlRequest, Frame, LaunchEvent, LaunchFailure, LaunchRequest, Status},
    socket::{Link, SocketError},
};
use bottle_spec::{
    operator::{Grant, OperatorDecision},
    slug::Slug,
};
use std::{
    io::{self, Write as _},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::Path,
    process::{Child, Command, Stdio},
};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("a keeper could not be started")]
    Spawn(#[source] io::Error),
    #[error("the keeper went away; `bot-bottle cleanup` removes what it left")]
    KeeperGone(#[source] SocketError),
    #[error("the bottle could not be launched")]
    Launch(LaunchFailure),
    #[error("no bottle named {0} is running; `bot-bottle list` shows those there are")]
    NotRunning(Slug),
    #[error("the keeper of {slug} could not be reached")]
    Connect { slug: Slug, source: io::Error },
    #[error("{slug} has ended, and not all of it could be taken away")]
    Left { slug: Slug, causes: Vec<String> },
    #[error("{message}")]
    Refused { code: u8, message: String },
    #[error("the keeper gave an answer that does not belong to the question")]
    Confused,
}

/// A launched bottle; for a foreground launch, `session` is its program's.
#[derive(Debug)]
pub struct Launched {
    pub slug: Slug,
    pub session: Session,
    /// Reaped in the end, so that a long-lived caller keeps no zombie.
    pub keeper: Child,
}

/// Starts a keeper (`program keeper`), hands it the request and waits until the agent runs. `pipes` are the agent's
/// standard input, output and error for [`crate::protocol::Console::Pipes`]; the caller should close its own copies.
pub fn launch(
    program: &Path,
    request: &LaunchRequest,
    pipes: Option<[OwnedFd; 3]>,
    progress: &mut dyn FnMut(&LaunchEvent),
) -> Result<Launched, ClientError> {
    let (ours, theirs) = UnixStream::pair().map_err(ClientError::Spawn)?;
    let keeper = Command::new(program)
        .arg0("bot-bottle")
        .arg("keeper")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(ClientError::Spawn)?;
    let mut link = Link::new(ours);
    let riding: Vec<BorrowedFd<'_>> = pipes.iter().flatten().map(AsFd::as_fd).collect();
    link.send(request, &riding).map_err(ClientError::KeeperGone)?;
    drop(pipes);
    let mut slug = None;
    loop {
        let event: LaunchEvent = link.receive().map_err(ClientError::KeeperGone)?;
        progress(&event);
        match event {
            LaunchEvent::Named { slug: name } => slug = Some(name),
            LaunchEvent::Failed(failure) => return Err(ClientError::Launch(failure)),
            LaunchEvent::Step { .. }
            | LaunchEvent::Copied { .. }
            | LaunchEvent::Fetching
            | LaunchEvent::Notice { .. } => {}
            LaunchEvent::Ready => {
                let slug = slug.ok_or(ClientError::Confused)?;
                return Ok(Launched { slug, session: Session::open(link)?, keeper });
            }
        }
    }
}

/// Joins the agent's terminal.
pub fn attach(dirs: &Dirs, slug: &Slug, request: &ControlRequest) -> Result<Session, ClientError> {
    open_session(dirs, slug, request, None)
}

/// Runs a program in a running bottle; `request` is [`ControlRequest::Exec`].
pub fn exec(
    dirs: &Dirs,
    slug: &Slug,
    request: &ControlRequest,
    pipes: Option<[OwnedFd; 3]>,
) -> Result<Session, ClientError> {
    open_session(dirs, slug, request, pipes)
}

fn open_session(
    dirs: &Dirs,
    slug: &Slug,
    request: &ControlRequest,
    pipes: Option<[OwnedFd; 3]>,
) -> Result<Session, ClientError> {
    let (link, reply) = ask(dirs, slug, request, pipes)?;
    match reply {
        ControlReply::Opened => Session::open(link),
        _ => Err(ClientError::Confused),
    }
}

pub fn status(dirs: &Dirs, slug: &Slug) -> Result<Status, ClientError> {
    match ask(dirs, slug, &ControlRequest::Status, None)? {
        (_, ControlReply::Status(status)) => Ok(status),
        _ => Err(ClientError::Confused),
    }
}

/// Stops everything in a bottle, or lets it go on.
pub fn freeze(dirs: &Dirs, slug: &Slug, frozen: bool) -> Result<Status, ClientError> {
    match ask(dirs, slug, &ControlRequest::Freeze(frozen), None)? {
        (_, ControlReply::Status(status)) => Ok(status),
        _ => Err(ClientError::Confused),
    }
}

/// Gives the operator's answer to a request; comes back when it is in force, with what the gate has to say of it.
pub fn decide(dirs: &Dirs, slug: &Slug, decision: OperatorDecision, kind: &str) -> Result<String, ClientError> {
    let request = ControlRequest::Decide { decision: Box::new(decision), kind: kind.to_owned() };
    done(ask(dirs, slug, &request, None)?.1)
}

/// What was granted to a bottle and holds.
pub fn grants(dirs: &Dirs, slug: &Slug) -> Result<Vec<Grant>, ClientError> {
    match ask(dirs, slug, &ControlRequest::Grants, None)? {
        (_, ControlReply::Grants(grants)) => Ok(grants),
        _ => Err(ClientError::Confused),
    }
}

/// Takes a grant back; comes back when the gate goes by it no more.
pub fn revoke(dirs: &Dirs, slug: &Slug, request: &str) -> Result<String, ClientError> {
    done(ask(dirs, slug, &ControlRequest::Revoke { request: request.to_owned() }, None)?.1)
}

fn done(reply: ControlReply) -> Result<String, ClientError> {
    match reply {
        ControlReply::Done { notice } => Ok(notice),
        _ => Err(ClientError::Confused),
    }
}

/// Ends the bottle and returns when nothing of it runs any more; the agent's exit code, where it had ended by itself.
pub fn stop(dirs: &Dirs, slug: &Slug, grace_seconds: u32) -> Result<Option<u8>, ClientError> {
    match ask(dirs, slug, &ControlRequest::Stop { grace_seconds }, None)? {
        (_, ControlReply::Ended { code, left }) => whole(slug, code, left),
        _ => Err(ClientError::Confused),
    }
}

/// Waits for the bottle to end.
pub fn wait(dirs: &Dirs, slug: &Slug) -> Result<Option<u8>, ClientError> {
    match ask(dirs, slug, &ControlRequest::Wait, None)? {
        (_, ControlReply::Ended { code, left }) => whole(slug, code, left),
        _ => Err(ClientError::Confused),
    }
}

fn whole(slug: &Slug, code: Option<u8>, left: Vec<String>) -> Result<Option<u8>, ClientError> {
    if left.is_empty() { Ok(code) } else { Err(ClientError::Left { slug: slug.clone(), causes: left }) }
}

fn ask(
    dirs: &Dirs,
    slug: &Slug,
    request: &ControlRequest,
    pipes: Option<[OwnedFd; 3]>,
) -> Result<(Link, ControlReply), ClientError> {
    let socket = match crate::control_socket::connect(&dirs.runtime.join(slug.as_str())) {
        Ok(socket) => socket,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(ClientError::NotRunning(slug.clone()));
        }
        Err(source) => return Err(ClientError::Connect { slug: slug.clone(), source }),
    };
    let mut link = Link::new(socket);
    let riding: Vec<BorrowedFd<'_>> = pipes.iter().flatten().map(AsFd::as_fd).collect();
    link.send(request, &riding).map_err(ClientError::KeeperGone)?;
    match link.receive().map_err(ClientError::KeeperGone)? {
        ControlReply::Refused { code, message } => Err(ClientError::Refused { code, message }),
        reply => Ok((link, reply)),
    }
}

/// The client's end of a session: a socket that carries [`Frame`]s.
#[derive(Debug)]
pub struct Session {
    socket: UnixStream,
}

impl Session {
    /// The keeper sends nothing before the client's first frame, so that the reader of its answer has read no more than
    /// the answer. [`Frame::Signal`] of 0 is that frame and does nothing.
    fn open(link: Link) -> Result<Session, ClientError> {
        let session = Session { socket: link.into_socket() };
        session.send(&Frame::Signal(0)).map_err(ClientError::KeeperGone)?;
        Ok(session)
    }

    pub fn send(&self, frame: &Frame) -> Result<(), SocketError> {
        (&self.socket).write_all(&frame.encode()).map_err(SocketError::Send)
    }

    /// The socket, made non-blocking, for a loop of the caller's own.
    pub fn into_socket(self) -> io::Result<UnixStream> {
        self.socket.set_nonblocking(true)?;
        Ok(self.socket)
    }
}
