//! The supervise gate as a child: there once somebody has knocked at its door, started again when it dies.
//!
//! Invariants: a new one gets the same listener, so that connections wait meanwhile, and everything that was asked and
//! answered in this run; what it asks goes on unread. A bottle whose agent asks nothing has no such process.

use super::{
    gate::{Brief, Gate, GateChildError, Recipe},
    kept::{FIRST_BACKOFF, LONGEST_BACKOFF},
    queue::{Asker, Queue},
};
use crate::sys;
use bottle_spec::{
    gate_link::{GateToKeeper, KeeperToGate, SuperviseStart},
    git::GitRepository,
    operator::{Grant, OperatorDecision},
    plan::PlannedSecret,
    slug::Slug,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    rc::Rc,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{
        broadcast::{self, error::RecvError},
        oneshot, watch,
    },
    task::{JoinHandle, spawn_local},
    time::sleep,
};

/// What every supervise gate of a bottle is told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) bottle: Slug,
    pub(crate) git: Vec<GitRepository>,
    pub(crate) secrets: Vec<PlannedSecret>,
    /// Seconds that the operator has for an answer.
    pub(crate) wait: u32,
    pub(crate) run_as: Option<(u32, u32)>,
}

/// A supervise gate that is there when it is needed.
#[derive(Debug)]
pub(crate) struct KeptSuperviseGate {
    end: oneshot::Sender<()>,
    task: JoinHandle<Result<(), GateChildError>>,
}

impl KeptSuperviseGate {
    pub(crate) fn keep(
        listener: OwnedFd,
        told: Told,
        recipe: Recipe,
        queue: Rc<Queue>,
    ) -> io::Result<KeptSuperviseGate> {
        let knocks = sys::watch(listener.try_clone()?, Interest::READABLE)?;
        let (end, ending) = oneshot::channel();
        let keeping = Keeping { listener, knocks, told, recipe, queue };
        Ok(KeptSuperviseGate { end, task: spawn_local(keeping.run(ending)) })
    }

    /// Ends it at once: nobody is left inside who could be waiting for anything.
    pub(crate) async fn end(self) -> Result<(), GateChildError> {
        let _ = self.end.send(());
        self.task.await.unwrap_or_else(|error| Err(GateChildError::End(io::Error::other(error))))
    }
}

/// Answers, and grants.
type Heard = (broadcast::Receiver<OperatorDecision>, watch::Receiver<Vec<Grant>>);

struct Keeping {
    listener: OwnedFd,
    knocks: AsyncFd<OwnedFd>,
    told: Told,
    recipe: Recipe,
    queue: Rc<Queue>,
}

impl Keeping {
    async fn run(self, mut ending: oneshot::Receiver<()>) -> Result<(), GateChildError> {
        let mut backoff = FIRST_BACKOFF;
        loop {
            tokio::select! {
                _ = &mut ending => return Ok(()),
                knocked = self.knocked() => knocked.map_err(GateChildError::Spawn)?,
            }
            // From before what it is told at its start, so that it misses nothing.
            let heard = (self.queue.news(), self.queue.granted());
            match self.start().await {
                Ok(mut gate) => {
                    backoff = FIRST_BACKOFF;
                    tokio::select! {
                        _ = &mut ending => return gate.kill(),
                        error = self.attend(&mut gate, heard) => tracing::error!(%error, "the supervise gate died"),
                    }
                    gate.kill()?;
                }
                Err(error) => {
                    tracing::error!(%error, "the supervise gate does not start");
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                }
            }
            tokio::select! {
                _ = &mut ending => return Ok(()),
                () = sleep(backoff) => {}
            }
        }
    }

    /// Returns when a connection waits at the door.
    async fn knocked(&self) -> io::Result<()> {
        loop {
            let mut ready = self.knocks.readable().await?;
            if is_readable(self.knocks.get_ref())? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    async fn start(&self) -> Result<Gate, GateChildError> {
        let mut gate = Gate::start(&self.recipe)?;
        let listener = self.listener.try_clone().map_err(GateChildError::Spawn)?;
        let start = SuperviseStart {
            bottle: self.told.bottle.clone(),
            policy: self.queue.policy(),
            git: self.told.git.clone(),
            secrets: self.told.secrets.clone(),
            asked: self.queue.past(),
            wait: self.told.wait,
            run_as: self.told.run_as,
        };
        let start = KeeperToGate::StartSupervise(Box::new(start));
        let served = match gate.brief(&Brief { start, audit: None, listeners: vec![listener] }).await {
            Ok(()) => gate.ready().await.map(drop),
            Err(error) => Err(error),
        };
        match served {
            Ok(()) => Ok(gate),
            Err(error) => {
                gate.kill()?;
                Err(error)
            }
        }
    }

    /// Hands requests and answers on until it is gone.
    async fn attend(&self, gate: &mut Gate, heard: Heard) -> GateChildError {
        let (mut news, mut granted) = heard;
        loop {
            let told = tokio::select! {
                message = gate.link.receive() => match message {
                    Ok(GateToKeeper::Ask { id, kind, request, expires }) => {
                        let result = self.queue.ask(Asker::Supervise, &id, &kind, request, expires);
                        KeeperToGate::Asked { id, result }
                    }
                    Ok(GateToKeeper::Failed { message }) => return GateChildError::Refused(message),
                    Ok(_) => continue,
                    Err(source) => return GateChildError::Gone { log: gate.log.clone(), source },
                },
                decision = news.recv() => match decision {
                    Ok(decision) => KeeperToGate::Decided(Box::new(decision)),
                    // Its successor is told everything.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => {
                        return GateChildError::Refused("it heard too little of the answers".to_owned());
                    }
                },
                // Fails only without a queue, and we hold one.
                _ = granted.changed() => {
                    granted.mark_unchanged();
                    KeeperToGate::Policy(Box::new(self.queue.policy()))
                }
            };
            if let Err(error) = gate.send(&told, &[]).await {
                return error;
            }
        }
    }
}

/// Whether the agent's probe, or the agent, waits there now.
fn is_readable(listener: &OwnedFd) -> io::Result<bool> {
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    Ok(poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
}

/// Takes what knocked before the agent was there: the self-probe.
pub(crate) fn clear(listener: &OwnedFd) -> io::Result<()> {
    while is_readable(listener)? {
        rustix::net::accept_with(listener.as_fd(), rustix::net::SocketFlags::CLOEXEC)?;
    }
    Ok(())
}
