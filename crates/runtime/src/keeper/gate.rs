//! A gate as a child process: started, told what to serve, ended.

use crate::{
    process::{ProcessId, ended, kill_and_wait},
    socket::{AsyncLink, SocketError},
    sys,
};
use bottle_spec::{
    gate_link::{GateToKeeper, HeldSecret, KeeperToGate},
    secret::{Secret, SecretRef},
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{fs::OpenOptionsExt as _, net::UnixStream, process::CommandExt as _},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::timeout,
};

/// A gate that takes longer to confine itself is not going to.
const READY_PATIENCE: Duration = Duration::from_secs(15);
const END_PATIENCE: Duration = Duration::from_secs(5);

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

    /// Waits until it serves. Gives the repositories whose mirrors it is making.
    pub(crate) async fn ready(&mut self) -> Result<Vec<String>, GateChildError> {
        let mut mirroring = Vec::new();
        let ready = async {
            loop {
                match self.link.receive().await {
                    Ok(GateToKeeper::Mirroring(names)) => mirroring = names,
                    Ok(GateToKeeper::Ready) => return Ok(()),
                    Ok(GateToKeeper::Failed { message }) => return Err(GateChildError::Refused(message)),
                    Ok(_) => return Err(GateChildError::Refused("it spoke out of turn".to_owned())),
                    Err(source) => return Err(GateChildError::Gone { log: self.log.clone(), source }),
                }
            }
        };
        timeout(READY_PATIENCE, ready).await.map_err(|_| GateChildError::Late(self.log.clone()))??;
        Ok(mirroring)
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

    /// Lets it finish for so long, then ends it. What it says meanwhile is `heard`.
    pub(super) async fn drain(mut self, seconds: u32, heard: impl Fn(GateToKeeper)) -> Result<(), GateChildError> {
        let asked = self.send(&KeeperToGate::Drain { seconds }, &[]).await.is_ok();
        if asked {
            let last_words = async {
                // The link closes when it ends.
                while let Ok(said) = self.link.receive().await {
                    heard(said);
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
    /// The host uid and gid of the gate and of others that are confined as it is.
    pub(super) fn run_as(&self) -> Option<(u32, u32)> {
        match &self.start {
            KeeperToGate::Start(start) => start.run_as,
            _ => None,
        }
    }

    /// Whether the gate starts frozen.
    pub(super) fn freeze(&mut self, frozen: bool) {
        match &mut self.start {
            KeeperToGate::Start(start) => start.frozen = frozen,
            KeeperToGate::StartGit(start) => start.frozen = frozen,
            _ => {}
        }
    }

    pub(super) fn secrets(&self) -> &[HeldSecret] {
        match &self.start {
            KeeperToGate::Start(start) => &start.secrets,
            KeeperToGate::StartGit(start) => &start.secrets,
            _ => &[],
        }
    }

    /// The next gate has it, too.
    pub(super) fn renew(&mut self, source: &SecretRef, value: &Secret) {
        let secrets = match &mut self.start {
            KeeperToGate::Start(start) => &mut start.secrets,
            KeeperToGate::StartGit(start) => &mut start.secrets,
            _ => return,
        };
        for held in secrets.iter_mut().filter(|held| held.source == *source) {
            held.value = value.clone();
        }
    }
}
