//! The gate as a child: started, told what to serve, started again when it dies.
//!
//! Invariant: a new gate gets the same listeners (the keeper holds them too), the same authority, policy and secrets.
//! While there is none, connections wait in the listeners' backlog: nothing leaves.

use super::freeze::Freezer;
use crate::{
    audit_log::Notes,
    process::{ProcessId, ended, kill_and_wait},
    protocol::FrozenBy,
    socket::{AsyncLink, SocketError},
    sys,
};
use bottle_spec::{
    event::Head,
    gate_link::{GateStart, GateToKeeper, KeeperToGate},
    secret::{Secret, SecretRef},
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::{
    cell::Cell,
    collections::BTreeMap,
    fs::File,
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{fs::OpenOptionsExt as _, net::UnixStream, process::CommandExt as _},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout},
};

/// A gate that takes longer to confine itself is not going to.
const READY_PATIENCE: Duration = Duration::from_secs(15);
const END_PATIENCE: Duration = Duration::from_secs(5);
pub(super) const FIRST_BACKOFF: Duration = Duration::from_millis(20);
pub(super) const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum GateChildError {
    #[error("the gate could not be started")]
    Spawn(#[source] io::Error),
    #[error("the gate went away; its last words are in {}", log.display())]
    Gone { log: PathBuf, source: SocketError },
    #[error("the gate will not serve: {0}")]
    Refused(String),
    #[error("the gate did not become ready in time; see {}", .0.display())]
    Late(PathBuf),
    #[error("the gate could not be ended")]
    End(#[source] io::Error),
}

/// Where the gate's executable is, what it is told to be, and where it complains.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) role: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) log: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) id: ProcessId,
    child: Child,
    pidfd: AsyncFd<OwnedFd>,
    pub(super) link: AsyncLink,
    pub(super) log: PathBuf,
}

impl Gate {
    /// Starts the process. It waits for its orders.
    pub(crate) fn start(recipe: &Recipe) -> Result<Gate, GateChildError> {
        let log = File::options().create(true).append(true).mode(0o600).open(&recipe.log);
        let log = log.map_err(GateChildError::Spawn)?;
        let (ours, theirs) = UnixStream::pair().map_err(GateChildError::Spawn)?;
        let mut child = command(recipe, theirs, log).spawn().map_err(GateChildError::Spawn)?;
        let named = name(&child);
        let link = AsyncLink::new(ours);
        match (named, link) {
            (Ok((id, pidfd)), Ok(link)) => Ok(Gate { id, child, pidfd, link, log: recipe.log.clone() }),
            (Err(error), _) | (_, Err(error)) => {
                let _ = child.kill().and_then(|()| child.wait());
                Err(GateChildError::Spawn(error))
            }
        }
    }

    /// Gives it what it serves, and with it the audit log and the doors.
    pub(crate) async fn brief(&self, brief: &Brief) -> Result<(), GateChildError> {
        let mut riding: Vec<BorrowedFd<'_>> = brief.audit.iter().map(|audit| audit.as_fd()).collect();
        riding.extend(brief.listeners.iter().map(|listener| listener.as_fd()));
        self.send(&brief.start, &riding).await
    }

    pub(crate) async fn ready(&mut self) -> Result<(), GateChildError> {
        match timeout(READY_PATIENCE, self.link.receive()).await {
            Ok(Ok(GateToKeeper::Ready)) => Ok(()),
            Ok(Ok(GateToKeeper::Failed { message })) => Err(GateChildError::Refused(message)),
            Ok(Ok(_)) => Err(GateChildError::Refused("it spoke out of turn".to_owned())),
            Ok(Err(source)) => Err(GateChildError::Gone { log: self.log.clone(), source }),
            Err(_) => Err(GateChildError::Late(self.log.clone())),
        }
    }

    /// Comes when the process has ended, whatever it said before.
    pub(crate) fn ends(&self) -> Result<impl Future<Output = GateChildError> + use<>, GateChildError> {
        let pidfd = self.pidfd.get_ref().try_clone().and_then(|pidfd| sys::watch(pidfd, Interest::READABLE));
        let (pidfd, log) = (pidfd.map_err(GateChildError::End)?, self.log.clone());
        Ok(async move {
            let _ = pidfd.readable().await;
            GateChildError::Gone { log, source: SocketError::Closed }
        })
    }

    pub(super) async fn send(&self, message: &KeeperToGate, riding: &[BorrowedFd<'_>]) -> Result<(), GateChildError> {
        let gone = |source| GateChildError::Gone { log: self.log.clone(), source };
        self.link.sender().send(message, riding).await.map_err(gone)
    }

    /// Lets it finish for so long, then ends it. Hears of its last checkpoint.
    async fn drain(mut self, seconds: u32, notes: &Notes) -> Result<(), GateChildError> {
        let asked = self.send(&KeeperToGate::Drain { seconds }, &[]).await.is_ok();
        if asked {
            let last_words = async {
                // The link closes when it ends.
                while let Ok(said) = self.link.receive().await {
                    if let GateToKeeper::Noted(head) = said {
                        notes.note(head);
                    }
                }
                let _ = self.pidfd.readable().await;
            };
            let _ = timeout(Duration::from_secs(u64::from(seconds) + 1), last_words).await;
        }
        self.kill()
    }

    /// Ends it at once, and waits until it has ended.
    pub(crate) fn kill(mut self) -> Result<(), GateChildError> {
        if !ended(self.pidfd.get_ref(), Duration::ZERO).map_err(GateChildError::End)? {
            kill_and_wait(self.pidfd.get_ref(), END_PATIENCE).map_err(GateChildError::End)?;
        }
        // What it started is of its group, whose number is its own until it is reaped.
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        self.child.wait().map(drop).map_err(GateChildError::End)
    }
}

fn command(recipe: &Recipe, link: UnixStream, log: File) -> Command {
    let mut command = Command::new(&recipe.program);
    command.arg0("bot-bottle").arg(recipe.role).env_clear().current_dir("/").process_group(0);
    command.stdin(Stdio::from(OwnedFd::from(link))).stdout(Stdio::null()).stderr(Stdio::from(log));
    command
}

/// The child has not been waited for, so its number is still its own.
fn name(child: &Child) -> io::Result<(ProcessId, AsyncFd<OwnedFd>)> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let pidfd = pidfd_open(Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?, PidfdFlags::empty())?;
    Ok((ProcessId::of(pid)?, sys::watch(pidfd, Interest::READABLE)?))
}

/// Everything a gate is given, kept for the next one.
#[derive(Debug)]
pub(crate) struct Brief {
    /// [`KeeperToGate::Start`], or [`KeeperToGate::StartGit`].
    pub(crate) start: KeeperToGate,
    /// A git gate has none.
    pub(crate) audit: Option<File>,
    pub(crate) listeners: Vec<OwnedFd>,
}

impl Brief {
    fn start(&mut self) -> Option<&mut GateStart> {
        match &mut self.start {
            KeeperToGate::Start(start) => Some(start),
            _ => None,
        }
    }
}

/// How a `command:` secret is read again.
pub type Refresh = fn(&SecretRef, &BTreeMap<String, String>) -> Result<Secret, String>;

/// A gate that is kept alive.
#[derive(Debug)]
pub(crate) struct KeptGate {
    end: oneshot::Sender<u32>,
    task: JoinHandle<Result<(), GateChildError>>,
    pub(crate) seen: Rc<Seen>,
}

/// What `status` tells of it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) pid: Cell<Option<i32>>,
    pub(crate) restarts: Cell<u32>,
}

impl KeptGate {
    /// `started` hears of every gate started later on: it goes into the journal.
    #[expect(clippy::too_many_arguments, reason = "whom a gate is kept for, each of them once")]
    pub(crate) fn keep(
        gate: Gate,
        brief: Brief,
        recipe: Recipe,
        refresher: Refresher,
        notes: Notes,
        freezer: Freezer,
        records: mpsc::Receiver<ToRecord>,
        started: impl FnMut(ProcessId) + 'static,
    ) -> KeptGate {
        let seen = Rc::new(Seen::default());
        seen.pid.set(Some(gate.id.pid));
        let (end, ending) = oneshot::channel();
        let frozen = freezer.watch();
        let seen_too = Rc::clone(&seen);
        let keeping = Keeping { brief, recipe, refresher, notes, freezer, frozen, records, seen: seen_too, started };
        let task = spawn_local(keeping.until_the_end(gate, ending));
        KeptGate { end, task, seen }
    }

    /// Ends it, after at most so many seconds.
    pub(crate) async fn drain(self, seconds: u32) -> Result<(), GateChildError> {
        let _ = self.end.send(seconds);
        self.task.await.unwrap_or_else(|error| Err(GateChildError::End(io::Error::other(error))))
    }
}

/// An event of the git gate for the log that this gate writes. Dropped unanswered, it is not in the log.
#[derive(Debug)]
pub(crate) struct ToRecord {
    pub(crate) event: String,
    pub(crate) answer: oneshot::Sender<Result<u64, String>>,
}

/// Reads secrets again, off the keeper's thread.
#[derive(Debug, Clone)]
pub(crate) struct Refresher {
    pub(crate) refresh: Refresh,
    pub(crate) env: BTreeMap<String, String>,
}

impl Refresher {
    async fn read(&self, source: &SecretRef) -> Result<Secret, String> {
        let Refresher { refresh, env } = self.clone();
        let source = source.clone();
        let read = tokio::task::spawn_blocking(move || refresh(&source, &env)).await;
        read.unwrap_or_else(|_| Err("reading it failed".to_owned()))
    }
}

struct Keeping<F> {
    brief: Brief,
    recipe: Recipe,
    refresher: Refresher,
    notes: Notes,
    freezer: Freezer,
    frozen: watch::Receiver<Option<FrozenBy>>,
    records: mpsc::Receiver<ToRecord>,
    seen: Rc<Seen>,
    started: F,
}

impl<F: FnMut(ProcessId)> Keeping<F> {
    async fn until_the_end(mut self, gate: Gate, ending: oneshot::Receiver<u32>) -> Result<(), GateChildError> {
        let ended = self.run(gate, ending).await;
        self.notes.finish().await;
        ended
    }

    async fn run(&mut self, gate: Gate, mut ending: oneshot::Receiver<u32>) -> Result<(), GateChildError> {
        let mut serving = Some(gate);
        let mut backoff = FIRST_BACKOFF;
        loop {
            if let Some(mut gate) = serving.take() {
                tokio::select! {
                    seconds = &mut ending => return gate.drain(seconds.unwrap_or(0), &self.notes).await,
                    error = self.attend(&mut gate) => tracing::error!(%error, "the gate died; starting another"),
                }
                self.seen.pid.set(None);
                gate.kill()?;
            }
            tokio::select! {
                _ = &mut ending => return Ok(()),
                () = sleep(backoff) => {}
            }
            match self.again().await {
                Ok(gate) => {
                    serving = Some(gate);
                    backoff = FIRST_BACKOFF;
                }
                Err(error) => {
                    tracing::error!(%error, "the gate does not start");
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                }
            }
        }
    }

    async fn again(&mut self) -> Result<Gate, GateChildError> {
        let mut gate = Gate::start(&self.recipe)?;
        let frozen = self.frozen.borrow_and_update().is_some();
        if let Some(start) = self.brief.start() {
            start.frozen = frozen;
        }
        (self.started)(gate.id);
        let served = match gate.brief(&self.brief).await {
            Ok(()) => gate.ready().await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            gate.kill()?;
            return Err(error);
        }
        self.seen.pid.set(Some(gate.id.pid));
        self.seen.restarts.set(self.seen.restarts.get().saturating_add(1));
        Ok(gate)
    }

    /// Answers the gate, and tells it of the kill switch, until it is gone.
    async fn attend(&mut self, gate: &mut Gate) -> GateChildError {
        // What changed before the gate was there, or while it was told.
        self.frozen.mark_changed();
        let mut recording: BTreeMap<u64, oneshot::Sender<Result<u64, String>>> = BTreeMap::new();
        let mut number = 0_u64;
        loop {
            let message = tokio::select! {
                message = gate.link.receive() => message,
                Some(ToRecord { event, answer }) = self.records.recv() => {
                    number += 1;
                    recording.insert(number, answer);
                    match gate.send(&KeeperToGate::Record { id: number, event }, &[]).await {
                        Ok(()) => continue,
                        Err(error) => return error,
                    }
                }
                // Fails only without a freezer, and we hold one.
                _ = self.frozen.changed() => {
                    let frozen = self.frozen.borrow_and_update().is_some();
                    match gate.send(&KeeperToGate::Freeze(frozen), &[]).await {
                        Ok(()) => continue,
                        Err(error) => return error,
                    }
                }
            };
            match message {
                Ok(GateToKeeper::RefreshSecret { source }) => {
                    let value = self.renew(&source).await;
                    if let Err(error) = gate.send(&KeeperToGate::Secret { source, value }, &[]).await {
                        return error;
                    }
                }
                Ok(GateToKeeper::Noted(head)) => self.noted(head),
                Ok(GateToKeeper::Recorded { id, result }) => {
                    if let Some(answer) = recording.remove(&id) {
                        let _ = answer.send(result);
                    }
                }
                Ok(GateToKeeper::CanaryLeft) => self.freezer.freeze(FrozenBy::Canary),
                Ok(GateToKeeper::Failed { message }) => return GateChildError::Refused(message),
                Ok(GateToKeeper::Ready | GateToKeeper::PolicyApplied { .. } | GateToKeeper::Record { .. }) => {}
                Err(source) => return GateChildError::Gone { log: gate.log.clone(), source },
            }
        }
    }

    /// The next gate must find these records, too.
    fn noted(&mut self, head: Head) {
        if let Some(start) = self.brief.start() {
            start.audit_head.clone_from(&head);
        }
        self.notes.note(head);
    }

    /// Only what the plan names is read: a gate that was taken over cannot have the keeper run its own commands.
    async fn renew(&mut self, source: &SecretRef) -> Result<Secret, String> {
        let named = self.brief.start().is_some_and(|start| start.secrets.iter().any(|held| held.source == *source));
        if !named {
            return Err("the plan names no such secret".to_owned());
        }
        let value = self.refresher.read(source).await?;
        for held in self.brief.start().into_iter().flat_map(|start| &mut start.secrets) {
            if held.source == *source {
                held.value = value.clone();
            }
        }
        Ok(value)
    }
}
