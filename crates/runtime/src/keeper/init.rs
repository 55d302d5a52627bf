//! The keeper's side of init: orders go out in turn, answers find who waits for them.
//!
//! Two tasks: one writes orders from a queue, one reads answers. When init is gone, everyone who waits is told so by
//! a dropped channel.

use crate::socket::{AsyncLink, AsyncSender};
use bottle_spec::init_link::{InitStart, InitToKeeper, KeeperToInit, Spawn, WindowSize};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    rc::Rc,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::spawn_local,
};

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("{message}")]
    Spawn { code: u8, message: String },
    #[error("the bottle's init is gone")]
    Gone,
}

type Orders = mpsc::UnboundedSender<(KeeperToInit, Vec<OwnedFd>)>;
type Started = oneshot::Sender<Result<Option<OwnedFd>, InitError>>;

#[derive(Debug)]
pub(crate) struct Init {
    orders: Orders,
    waiting: Rc<Waiting>,
    last_id: Cell<u32>,
}

/// Who waits for which answer.
#[derive(Debug, Default)]
struct Waiting {
    probe: RefCell<Option<oneshot::Sender<Vec<String>>>>,
    starting: RefCell<HashMap<u32, Started>>,
    running: RefCell<HashMap<u32, watch::Sender<Option<u8>>>>,
    dials: RefCell<HashMap<u32, oneshot::Sender<Option<OwnedFd>>>>,
}

/// A program that runs in the bottle.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) id: u32,
    /// The master side of its terminal, where it has one.
    pub(crate) terminal: Option<OwnedFd>,
    /// Its exit code, once it has ended. Closed without one when init dies first.
    pub(crate) exit: watch::Receiver<Option<u8>>,
}

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: String,
    pub(crate) tty: Option<WindowSize>,
}

impl Init {
    pub(crate) fn new(link: UnixStream) -> io::Result<Init> {
        let link = AsyncLink::new(link)?;
        let (orders, queue) = mpsc::unbounded_channel();
        let waiting = Rc::new(Waiting::default());
        spawn_local(write(link.sender(), queue));
        spawn_local(read(link, Rc::clone(&waiting)));
        Ok(Init { orders, waiting, last_id: Cell::new(0) })
    }

    /// Lets init confine itself and probe; what the probe found.
    pub(crate) async fn start(&self, start: InitStart) -> Result<Vec<String>, InitError> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.probe.replace(Some(sender));
        self.order(KeeperToInit::Start(start), Vec::new());
        receiver.await.map_err(|_| InitError::Gone)
    }

    pub(crate) async fn spawn(&self, order: Order, pipes: Vec<OwnedFd>) -> Result<Program, InitError> {
        let id = self.next_id();
        let (started, answer) = oneshot::channel();
        let (ended, exit) = watch::channel(None);
        self.waiting.starting.borrow_mut().insert(id, started);
        self.waiting.running.borrow_mut().insert(id, ended);
        let Order { argv, env, cwd, tty } = order;
        self.order(KeeperToInit::Spawn(Spawn { id, argv, env, cwd, tty }), pipes);
        let terminal = answer.await.map_err(|_| InitError::Gone)??;
        Ok(Program { id, terminal, exit })
    }

    /// A socket to a port of the bottle's loopback; `None` where nobody listens.
    pub(crate) async fn dial(&self, port: u16) -> Option<OwnedFd> {
        let id = self.next_id();
        let (sender, receiver) = oneshot::channel();
        self.waiting.dials.borrow_mut().insert(id, sender);
        self.order(KeeperToInit::Dial { id, port }, Vec::new());
        receiver.await.ok().flatten()
    }

    pub(crate) fn signal(&self, id: u32, signal: i32) {
        self.order(KeeperToInit::Signal { id, signal }, Vec::new());
    }

    pub(crate) fn resize(&self, id: u32, size: WindowSize) {
        self.order(KeeperToInit::Resize { id, size }, Vec::new());
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        self.order(KeeperToInit::Freeze(frozen), Vec::new());
    }

    pub(crate) fn stop(&self, grace: u32) {
        self.order(KeeperToInit::Stop { grace }, Vec::new());
    }

    fn order(&self, order: KeeperToInit, descriptors: Vec<OwnedFd>) {
        // Where init is gone the waiter is told by its channel.
        let _ = self.orders.send((order, descriptors));
    }

    fn next_id(&self) -> u32 {
        let id = self.last_id.get().wrapping_add(1);
        self.last_id.set(id);
        id
    }
}

async fn write(link: AsyncSender, mut queue: mpsc::UnboundedReceiver<(KeeperToInit, Vec<OwnedFd>)>) {
    while let Some((order, descriptors)) = queue.recv().await {
        let riding: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        if link.send(&order, &riding).await.is_err() {
            return;
        }
    }
}

async fn read(mut link: AsyncLink, waiting: Rc<Waiting>) {
    while let Ok(answer) = link.receive::<InitToKeeper>().await {
        match answer {
            InitToKeeper::Probed { failures } => {
                waiting.probe.take().map(|waiter| waiter.send(failures));
            }
            InitToKeeper::Spawned { id } => {
                let terminal = link.descriptor();
                waiting.starting.borrow_mut().remove(&id).map(|waiter| waiter.send(Ok(terminal)));
            }
            InitToKeeper::SpawnFailed { id, code, message } => {
                waiting.running.borrow_mut().remove(&id);
                let failed = Err(InitError::Spawn { code, message });
                waiting.starting.borrow_mut().remove(&id).map(|waiter| waiter.send(failed));
            }
            InitToKeeper::Exited { id, code } => {
                waiting.running.borrow_mut().remove(&id).map(|ended| ended.send(Some(code)));
            }
            InitToKeeper::Dialed { id, ok } => {
                let socket = if ok { link.descriptor() } else { None };
                waiting.dials.borrow_mut().remove(&id).map(|waiter| waiter.send(socket));
            }
            // Doors are opened before the room is handed over, or never.
            InitToKeeper::Opened { .. } => drop(link.descriptor()),
            InitToKeeper::Failed { message } => {
                tracing::error!(message, "init failed");
                waiting.probe.take().map(|waiter| waiter.send(vec![message]));
            }
        }
    }
    waiting.probe.take();
    waiting.starting.borrow_mut().clear();
    waiting.running.borrow_mut().clear();
    waiting.dials.borrow_mut().clear();
}
