//! The git gate, kept alive where the plan has repositories.
//!
//! Invariant: what it asks to be written to the audit log goes on unread to the gate that writes it, and a record that
//! gets no answer is answered with a failure.

use super::{
    egress_gate::ToRecord,
    gate::{Gate, GateChildError},
    kept::{Attendant, Keeping, keep_alive},
};
use crate::process::ProcessId;
use bottle_spec::{
    gate_link::{GateToKeeper, KeeperToGate},
    operator::Grant,
};
use std::io;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, spawn_local},
};

/// A git gate that is kept alive.
#[derive(Debug)]
pub(crate) struct KeptGitGate {
    end: oneshot::Sender<()>,
    task: JoinHandle<Result<(), GateChildError>>,
}

impl KeptGitGate {
    pub(super) fn keep(
        gate: Gate,
        keeping: Keeping,
        records: mpsc::Sender<ToRecord>,
        granted: watch::Receiver<Vec<Grant>>,
        started: impl FnMut(ProcessId) + 'static,
    ) -> KeptGitGate {
        let (end, ending) = oneshot::channel();
        let attending = Attending { keeping, records, granted, started };
        KeptGitGate { end, task: spawn_local(attending.until_the_end(gate, ending)) }
    }

    /// Ends it at once: nobody is left inside who could be waiting for anything.
    pub(crate) async fn end(self) -> Result<(), GateChildError> {
        let _ = self.end.send(());
        self.task.await.unwrap_or_else(|error| Err(GateChildError::End(io::Error::other(error))))
    }
}

struct Attending<F> {
    keeping: Keeping,
    records: mpsc::Sender<ToRecord>,
    granted: watch::Receiver<Vec<Grant>>,
    started: F,
}

impl<F: FnMut(ProcessId)> Attending<F> {
    async fn until_the_end(mut self, gate: Gate, ending: oneshot::Receiver<()>) -> Result<(), GateChildError> {
        keep_alive(&mut self, gate, ending).await?.map_or(Ok(()), |(gate, _)| gate.kill())
    }
}

impl<F: FnMut(ProcessId)> Attendant for Attending<F> {
    const GATE: &'static str = "the git gate";

    fn keeping(&mut self) -> &mut Keeping {
        &mut self.keeping
    }

    fn started(&mut self, id: ProcessId) {
        (self.started)(id);
    }

    async fn attend(&mut self, gate: &mut Gate) -> GateChildError {
        let (answered, mut answers) = mpsc::unbounded_channel();
        self.granted.mark_changed();
        loop {
            let message = tokio::select! {
                message = gate.link.receive() => message,
                Some((id, result)) = answers.recv() => {
                    match gate.send(&KeeperToGate::Recorded { id, result }, &[]).await {
                        Ok(()) => continue,
                        Err(error) => return error,
                    }
                }
                // Fails only without a queue, which lives as long as the bottle.
                Ok(()) = self.granted.changed() => {
                    let grants = self.granted.borrow_and_update().clone();
                    match gate.send(&KeeperToGate::Granted(grants), &[]).await {
                        Ok(()) => continue,
                        Err(error) => return error,
                    }
                }
                news = self.keeping.news() => match gate.send(&news, &[]).await {
                    Ok(()) => continue,
                    Err(error) => return error,
                },
            };
            match message {
                Ok(GateToKeeper::Record { id, event }) => {
                    let (records, answered) = (self.records.clone(), answered.clone());
                    spawn_local(async move {
                        let _ = answered.send((id, record(&records, event).await));
                    });
                }
                Ok(GateToKeeper::RefreshSecret { source }) => {
                    if let Some(failure) = self.keeping.renew(source).await
                        && let Err(error) = gate.send(&failure, &[]).await
                    {
                        return error;
                    }
                }
                Ok(GateToKeeper::CanaryLeft) => self.keeping.canary_left(),
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
