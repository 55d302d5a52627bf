//! The git gate as a child: there where the plan has repositories, started again when it dies.
//!
//! Invariants: a new one gets the same listener, so that connections wait meanwhile; what it asks to be written to the
//! audit log goes on unread to the gate that writes it, and a record that gets no answer is answered with a failure.

use super::{
    freeze::Freezer,
    gate::{Brief, FIRST_BACKOFF, Gate, GateChildError, LONGEST_BACKOFF, Recipe, ToRecord},
};
use crate::{process::ProcessId, protocol::FrozenBy};
use bottle_spec::gate_link::{GateToKeeper, KeeperToGate};
use std::io;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, spawn_local},
    time::sleep,
};

/// A git gate that is kept alive.
#[derive(Debug)]
pub(crate) struct KeptGitGate {
    end: oneshot::Sender<()>,
    task: JoinHandle<Result<(), GateChildError>>,
}

impl KeptGitGate {
    pub(crate) fn keep(
        gate: Gate,
        brief: Brief,
        recipe: Recipe,
        freezer: Freezer,
        records: mpsc::Sender<ToRecord>,
        started: impl FnMut(ProcessId) + 'static,
    ) -> KeptGitGate {
        let (end, ending) = oneshot::channel();
        let frozen = freezer.watch();
        let keeping = Keeping { brief, recipe, freezer, frozen, records, started };
        KeptGitGate { end, task: spawn_local(keeping.run(gate, ending)) }
    }

    /// Ends it at once: nobody is left inside who could be waiting for anything.
    pub(crate) async fn end(self) -> Result<(), GateChildError> {
        let _ = self.end.send(());
        self.task.await.unwrap_or_else(|error| Err(GateChildError::End(io::Error::other(error))))
    }
}

struct Keeping<F> {
    brief: Brief,
    recipe: Recipe,
    freezer: Freezer,
    frozen: watch::Receiver<Option<FrozenBy>>,
    records: mpsc::Sender<ToRecord>,
    started: F,
}

impl<F: FnMut(ProcessId)> Keeping<F> {
    async fn run(mut self, gate: Gate, mut ending: oneshot::Receiver<()>) -> Result<(), GateChildError> {
        let mut serving = Some(gate);
        let mut backoff = FIRST_BACKOFF;
        loop {
            if let Some(mut gate) = serving.take() {
                tokio::select! {
                    _ = &mut ending => return gate.kill(),
                    error = self.attend(&mut gate) => tracing::error!(%error, "the git gate died; starting another"),
                }
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
                    tracing::error!(%error, "the git gate does not start");
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                }
            }
        }
    }

    async fn again(&mut self) -> Result<Gate, GateChildError> {
        let mut gate = Gate::start(&self.recipe)?;
        if let KeeperToGate::StartGit(start) = &mut self.brief.start {
            start.frozen = self.frozen.borrow_and_update().is_some();
        }
        (self.started)(gate.id);
        let served = match gate.brief(&self.brief).await {
            Ok(()) => gate.ready().await,
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

    /// Hands its records on, and tells it of the kill switch, until it is gone.
    async fn attend(&mut self, gate: &mut Gate) -> GateChildError {
        self.frozen.mark_changed();
        let (answered, mut answers) = mpsc::unbounded_channel();
        loop {
            let message = tokio::select! {
                message = gate.link.receive() => message,
                Some((id, result)) = answers.recv() => {
                    match gate.send(&KeeperToGate::Recorded { id, result }, &[]).await {
                        Ok(()) => continue,
                        Err(error) => return error,
                    }
                }
                _ = self.frozen.changed() => {
                    let frozen = self.frozen.borrow_and_update().is_some();
                    match gate.send(&KeeperToGate::Freeze(frozen), &[]).await {
                        Ok(()) => continue,
                        Err(error) => return error,
                    }
                }
            };
            match message {
                Ok(GateToKeeper::Record { id, event }) => {
                    let (records, answered) = (self.records.clone(), answered.clone());
                    spawn_local(async move {
                        let _ = answered.send((id, record(&records, event).await));
                    });
                }
                Ok(GateToKeeper::CanaryLeft) => self.freezer.freeze(FrozenBy::Canary),
                Ok(GateToKeeper::Failed { message }) => return GateChildError::Refused(message),
                Ok(_) => {}
                Err(source) => return GateChildError::Gone { log: gate.log.clone(), source },
            }
        }
    }
}

async fn record(records: &mpsc::Sender<ToRecord>, event: String) -> Result<u64, String> {
    let gone = |_| "the gate that writes the log is gone".to_owned();
    let (answer, answered) = oneshot::channel();
    records.send(ToRecord { event, answer }).await.map_err(|error| gone(error.to_string()))?;
    answered.await.unwrap_or_else(|error| Err(gone(error.to_string())))
}
