//! `control.sock`: what other commands ask of a running bottle.
//!
//! Invariant: only the user who started the bottle is heard (and root). The socket is 0600 in a 0700 directory; the
//! peer's uid is asked of the kernel besides.

use super::{
    bottle::{Bottle, Ended},
    chain,
    init::{InitError, Order},
    queue::Refusal,
    session::{self, Left, Seat},
    terminal::Terminal,
};
use crate::{
    protocol::{Console, ControlReply, ControlRequest, FrozenBy, Status},
    socket::{AsyncLink, SocketError},
};
use bottle_spec::{event::GrantEnd, init_link::WindowSize};
use std::{collections::BTreeMap, io, os::unix::net::UnixListener, rc::Rc, time::Duration};
use tokio::{
    task::{JoinSet, spawn_local},
    time::{sleep, timeout},
};

const REQUEST_PATIENCE: Duration = Duration::from_secs(5);
const CLIENTS: usize = 64;
const SIGHUP: i32 = 1;

/// Serves clients until the bottle has ended and each has been told so.
pub(crate) async fn serve(listener: UnixListener, bottle: Rc<Bottle>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let mut clients = JoinSet::new();
    let mut ended = bottle.ended();
    loop {
        tokio::select! {
            _ = ended.wait_for(Option::is_some) => break,
            accepted = listener.accept(), if clients.len() < CLIENTS => match accepted {
                Ok((socket, _)) => {
                    let bottle = Rc::clone(&bottle);
                    clients.spawn_local(async move {
                        if let Err(error) = converse(socket.into_std(), bottle).await {
                            tracing::debug!(%error, "a client went away");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a client was not taken");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
    drop(listener);
    // A client that does not read must not keep the keeper.
    let told = async { while clients.join_next().await.is_some() {} };
    let _ = timeout(REQUEST_PATIENCE, told).await;
    Ok(())
}

async fn converse(socket: io::Result<std::os::unix::net::UnixStream>, bottle: Rc<Bottle>) -> Result<(), SocketError> {
    let mut link = AsyncLink::new(socket.map_err(SocketError::Receive)?).map_err(SocketError::Receive)?;
    let uid = link.peer().map_err(SocketError::Receive)?.uid;
    if !uid.is_root() && uid != rustix::process::geteuid() {
        return Err(SocketError::Closed);
    }
    let Ok(request) = timeout(REQUEST_PATIENCE, link.receive()).await else { return Ok(()) };
    match request? {
        ControlRequest::Status => reply(&link, &ControlReply::Status(status(&bottle))).await,
        ControlRequest::Attach { size } => attach(link, &bottle, size).await,
        ControlRequest::Exec { argv, env, cwd, console } => {
            let order =
                Order { argv, env: with(&bottle.env, env), cwd: cwd.unwrap_or_else(|| bottle.cwd.clone()), tty: None };
            exec(link, &bottle, order, console).await
        }
        ControlRequest::Stop { grace_seconds } => {
            bottle.stop(grace_seconds);
            wait(&link, &bottle).await
        }
        ControlRequest::Freeze(true) => {
            bottle.freezer.freeze(FrozenBy::Operator);
            reply(&link, &ControlReply::Status(status(&bottle))).await
        }
        ControlRequest::Freeze(false) if bottle.freezer.thaw() => {
            reply(&link, &ControlReply::Status(status(&bottle))).await
        }
        ControlRequest::Freeze(false) => {
            let sentinel = bottle.freezer.sentinel().map(|path| path.display().to_string()).unwrap_or_default();
            refuse(&link, 2, &format!("{sentinel} keeps it frozen; remove that file")).await
        }
        ControlRequest::Wait => wait(&link, &bottle).await,
        ControlRequest::Decide { decision, kind } => {
            let decided = bottle.queue.decide(*decision, &kind).await;
            done(&link, decided).await
        }
        ControlRequest::Grants => reply(&link, &ControlReply::Grants(bottle.queue.grants())).await,
        ControlRequest::Revoke { request } => {
            let ended = bottle.queue.end(&request, GrantEnd::Revoked).await;
            done(&link, ended.map(|()| String::new())).await
        }
    }
}

async fn reply(link: &AsyncLink, reply: &ControlReply) -> Result<(), SocketError> {
    link.sender().send(reply, &[]).await
}

async fn refuse(link: &AsyncLink, code: u8, message: &str) -> Result<(), SocketError> {
    reply(link, &ControlReply::Refused { code, message: message.to_owned() }).await
}

async fn done(link: &AsyncLink, done: Result<String, Refusal>) -> Result<(), SocketError> {
    match done {
        Ok(notice) => reply(link, &ControlReply::Done { notice }).await,
        Err(refusal) => {
            let host = matches!(refusal, Refusal::Audit(_) | Refusal::Gate(_) | Refusal::Write(_));
            refuse(link, if host { 4 } else { 2 }, &chain(&refusal).join(": ")).await
        }
    }
}

async fn wait(link: &AsyncLink, bottle: &Bottle) -> Result<(), SocketError> {
    let ended = bottle.ended().wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
    let (code, left) = ended.map_or((None, Vec::new()), |Ended { code, left }| (Some(code), left));
    reply(link, &ControlReply::Ended { code, left }).await
}

fn status(bottle: &Bottle) -> Status {
    let clients = bottle.terminal.as_ref().map_or(0, |terminal| terminal.viewers());
    Status {
        slug: bottle.slug.clone(),
        keeper: rustix::process::getpid().as_raw_pid(),
        gate: bottle.gate.pid.get(),
        init: bottle.init_pid,
        gate_restarts: bottle.gate.restarts.get(),
        clients,
        frozen: bottle.freezer.frozen(),
    }
}

async fn attach(link: AsyncLink, bottle: &Bottle, size: WindowSize) -> Result<(), SocketError> {
    let Some(terminal) = &bottle.terminal else {
        return refuse(&link, 2, "this bottle's agent has no terminal: it was started with pipes").await;
    };
    reply(&link, &ControlReply::Opened).await?;
    terminal.resize(size);
    session::serve(link, bottle.seat()).await;
    Ok(())
}

async fn exec(mut link: AsyncLink, bottle: &Bottle, mut order: Order, console: Console) -> Result<(), SocketError> {
    let pipes: Vec<_> = std::iter::from_fn(|| link.descriptor()).collect();
    match console {
        Console::Terminal(size) => order.tty = Some(size),
        Console::Pipes if pipes.len() != 3 => return refuse(&link, 70, "three pipes were expected").await,
        Console::Pipes => {}
    }
    if bottle.freezer.frozen().is_some() {
        return refuse(&link, 2, "the bottle is frozen: nothing new runs in it until it is thawed").await;
    }
    if order.argv.is_empty() {
        return refuse(&link, 2, "there is no command to run").await;
    }
    let program = match bottle.init.spawn(order, pipes).await {
        Ok(program) => program,
        Err(InitError::Spawn { code, message }) => return refuse(&link, code, &message).await,
        Err(error @ InitError::Gone) => return refuse(&link, 4, &error.to_string()).await,
    };
    let terminal =
        match program.terminal.map(|master| Terminal::new(master, program.id, Rc::clone(&bottle.init))).transpose() {
            Ok(terminal) => terminal,
            Err(error) => return refuse(&link, 4, &format!("the terminal cannot be used: {error}")).await,
        };
    if let Some(terminal) = &terminal {
        let (terminal, exit) = (Rc::clone(terminal), program.exit.clone());
        spawn_local(async move { terminal.pump(exit, None).await });
    }
    reply(&link, &ControlReply::Opened).await?;
    let seat = Seat { init: Rc::clone(&bottle.init), program: program.id, terminal, ended: program.exit, bells: None };
    if session::serve(link, seat).await != Left::Ended {
        // As when a terminal's line is cut.
        bottle.init.signal(program.id, SIGHUP);
    }
    Ok(())
}

fn with(base: &BTreeMap<String, String>, more: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut env = base.clone();
    env.extend(more);
    env
}
