//! The keeper's side of a wall that no descriptor passes: makes of connections from inside what other rooms hand over as
//! descriptors.
//!
//! Two tasks: one takes connections and finds who waits for what they say they are, one carries the messages of
//! [`bottle_spec::init_link`] both ways. Bytes of pipes are copied by threads, for what a client hands over may be a file
//! or a terminal, which no event loop waits for.
//!
//! Invariants: a connection that nobody waits for, or whose token is another, is closed, and so is one that does not say
//! in time what it is; what waits is bounded by what the keeper itself ordered. A message that cannot be read ends the
//! link, and with it the machine.

mod pipes;

use crate::socket::{AsyncLink, AsyncSender, SocketError};
use bottle_spec::{
    init_link::{InitToKeeper, KeeperToInit},
    machine_link::{Head, Purpose, Token},
};
use pipes::Pipes;
use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream as StdStream,
    },
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::AsyncReadExt as _,
    net::{UnixListener, UnixStream},
    sync::oneshot,
    task::spawn_local,
    time::timeout,
};

/// A connection says at once what it is.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// A stream is made right after the order that it belongs to.
const STREAM_PATIENCE: Duration = Duration::from_secs(20);
/// How long after a program's end its last words may take, where something else still holds its pipes.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Connections that have not said yet what they are.
const MOST_UNKNOWN: usize = 64;

/// Who waits for which connection.
#[derive(Debug)]
pub(super) struct Switchboard {
    token: Token,
    waiting: RefCell<HashMap<Purpose, oneshot::Sender<StdStream>>>,
    unknown: RefCell<usize>,
}

impl Switchboard {
    pub(super) fn new(token: Token) -> Rc<Switchboard> {
        Rc::new(Switchboard { token, waiting: RefCell::default(), unknown: RefCell::new(0) })
    }

    /// The one connection of this purpose, when it comes.
    pub(super) fn expect(&self, purpose: Purpose) -> oneshot::Receiver<StdStream> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(purpose, sender);
        receiver
    }

    fn forget(&self, purpose: Purpose) {
        self.waiting.borrow_mut().remove(&purpose);
    }

    /// Takes connections for as long as the task lives.
    pub(super) async fn serve(self: Rc<Switchboard>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) if *self.unknown.borrow() < MOST_UNKNOWN => {
                    *self.unknown.borrow_mut() += 1;
                    let board = Rc::clone(&self);
                    spawn_local(async move {
                        let head = timeout(HEAD_PATIENCE, head(stream)).await;
                        *board.unknown.borrow_mut() -= 1;
                        if let Ok(Ok((head, stream))) = head {
                            board.connect(head, stream);
                        }
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the machine's link listener");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn connect(&self, head: Head, stream: StdStream) {
        let same = head.token.0.iter().zip(self.token.0).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0;
        let waiter = if same { self.waiting.borrow_mut().remove(&head.purpose) } else { None };
        match waiter {
            Some(waiter) => drop(waiter.send(stream)),
            None => {
                tracing::warn!(purpose = ?head.purpose, same, "a connection from the machine that nobody waits for")
            }
        }
    }
}

async fn head(mut stream: UnixStream) -> io::Result<(Head, StdStream)> {
    let mut bytes = [0; Head::LENGTH];
    stream.read_exact(&mut bytes).await?;
    let head = Head::decode(bytes).ok_or(io::ErrorKind::InvalidData)?;
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok((head, stream))
}

/// Between the machine's link and the one that the keeper has, whose other end this is.
pub(super) struct Relay {
    board: Rc<Switchboard>,
    /// To the keeper.
    keeper: AsyncSender,
    pipes: RefCell<HashMap<u32, Pipes>>,
    terminals: RefCell<HashMap<u32, oneshot::Receiver<StdStream>>>,
    dials: RefCell<HashMap<u32, oneshot::Receiver<StdStream>>>,
}

impl Relay {
    /// Starts carrying; goes on until one of the two is gone, and then neither has the other any more.
    pub(super) fn start(board: Rc<Switchboard>, machine: AsyncLink, keeper: AsyncLink) {
        let relay = Rc::new(Relay {
            board,
            keeper: keeper.sender(),
            pipes: RefCell::default(),
            terminals: RefCell::default(),
            dials: RefCell::default(),
        });
        let to_machine = machine.sender();
        spawn_local(async move {
            let orders = relay.pass_orders(keeper, to_machine);
            let answers = Rc::clone(&relay).pass_answers(machine);
            let ended = tokio::select! {
                ended = orders => ended,
                ended = answers => ended,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "the machine's link ended");
            }
        });
    }

    async fn pass_orders(&self, mut keeper: AsyncLink, machine: AsyncSender) -> Result<(), SocketError> {
        loop {
            let order = keeper.receive::<KeeperToInit>().await?;
            match &order {
                KeeperToInit::Spawn(spawn) if spawn.tty.is_some() => {
                    let stream = self.board.expect(Purpose::Terminal(spawn.id));
                    self.terminals.borrow_mut().insert(spawn.id, stream);
                }
                KeeperToInit::Spawn(spawn) => {
                    let mut next = || keeper.descriptor().ok_or(SocketError::Closed);
                    let ends = [next()?, next()?, next()?];
                    let purposes = [Purpose::Input(spawn.id), Purpose::Output(spawn.id), Purpose::Error(spawn.id)];
                    let streams = purposes.map(|purpose| self.board.expect(purpose));
                    self.pipes.borrow_mut().insert(spawn.id, Pipes::join(ends, streams));
                }
                KeeperToInit::Dial { id, .. } => {
                    let stream = self.board.expect(Purpose::Dial(*id));
                    self.dials.borrow_mut().insert(*id, stream);
                }
                _ => {}
            }
            machine.send(&order, &[]).await?;
        }
    }

    /// What waits for a stream does so in a task of its own: the others' answers go on. No order is kept among answers
    /// about different programs, and none is needed.
    async fn pass_answers(self: Rc<Relay>, mut machine: AsyncLink) -> Result<(), SocketError> {
        loop {
            let answer = machine.receive::<InitToKeeper>().await?;
            match answer {
                InitToKeeper::Spawned { id } => {
                    let Some(stream) = self.terminals.borrow_mut().remove(&id) else {
                        self.tell(&answer, None).await?;
                        continue;
                    };
                    let terminal = self.stream(Purpose::Terminal(id), stream).await;
                    self.tell(&answer, terminal).await?;
                }
                InitToKeeper::Dialed { id, ok } => {
                    let stream = self.dials.borrow_mut().remove(&id);
                    let relay = Rc::clone(&self);
                    spawn_local(async move {
                        let socket = match stream {
                            Some(stream) if ok => relay.stream(Purpose::Dial(id), stream).await,
                            _ => None,
                        };
                        relay.board.forget(Purpose::Dial(id));
                        let answer = InitToKeeper::Dialed { id, ok: socket.is_some() };
                        let _ = relay.tell(&answer, socket).await;
                    });
                }
                InitToKeeper::SpawnFailed { id, .. } => {
                    self.let_go(id);
                    self.tell(&answer, None).await?;
                }
                InitToKeeper::Exited { id, .. } => {
                    let pipes = self.pipes.borrow_mut().remove(&id);
                    let relay = Rc::clone(&self);
                    spawn_local(async move {
                        if let Some(pipes) = pipes {
                            pipes.end(LAST_WORDS).await;
                        }
                        relay.let_go(id);
                        let _ = relay.tell(&answer, None).await;
                    });
                }
                InitToKeeper::Opened { .. } | InitToKeeper::Probed { .. } | InitToKeeper::Failed { .. } => {
                    self.tell(&answer, None).await?;
                }
            }
        }
    }

    /// `None` where it does not come.
    async fn stream(&self, purpose: Purpose, stream: oneshot::Receiver<StdStream>) -> Option<OwnedFd> {
        let come = timeout(STREAM_PATIENCE, stream).await;
        self.board.forget(purpose);
        Some(come.ok()?.ok()?.into())
    }

    fn let_go(&self, id: u32) {
        self.terminals.borrow_mut().remove(&id);
        for purpose in [Purpose::Input(id), Purpose::Output(id), Purpose::Error(id), Purpose::Terminal(id)] {
            self.board.forget(purpose);
        }
    }

    async fn tell(&self, answer: &InitToKeeper, riding: Option<OwnedFd>) -> Result<(), SocketError> {
        let riding: Vec<_> = riding.iter().map(|descriptor| descriptor.as_fd()).collect();
        self.keeper.send(answer, &riding).await
    }
}
