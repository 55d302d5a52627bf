//! Events on their way into the bottle's audit log, which the other gate writes: through the keeper, who hands them on.
//!
//! Invariant: [`Recorder::record`] returns `Ok` only after the event is in the log; with the keeper, the other gate or
//! the disk gone it is an error, and what the event would have allowed is not done.

use bottle_spec::{event::AuditEvent, gate_link::GateToKeeper};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Longer than the other gate takes to be started anew.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("the event has no JSON form")]
    Encode(#[source] serde_json::Error),
    #[error("the audit log cannot be reached")]
    Unreachable,
    #[error("the audit log cannot be written: {0}")]
    Refused(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    keeper: mpsc::UnboundedSender<GateToKeeper>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    answers: HashMap<u64, oneshot::Sender<Result<u64, String>>>,
}

impl Recorder {
    pub(crate) fn new(keeper: mpsc::UnboundedSender<GateToKeeper>) -> Recorder {
        Recorder { keeper, waiting: Arc::default() }
    }

    /// Gives the event's `seq`.
    pub(crate) async fn record(&self, event: AuditEvent) -> Result<u64, RecordError> {
        let event = serde_json::to_string(&event).map_err(RecordError::Encode)?;
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.next = waiting.next.wrapping_add(1);
            let id = waiting.next;
            waiting.answers.insert(id, answer);
            id
        };
        self.keeper.send(GateToKeeper::Record { id, event }).map_err(|_| RecordError::Unreachable)?;
        let answer = timeout(PATIENCE, answered).await;
        self.take(id);
        match answer {
            Ok(Ok(Ok(seq))) => Ok(seq),
            Ok(Ok(Err(why))) => Err(RecordError::Refused(why)),
            Ok(Err(_)) | Err(_) => Err(RecordError::Unreachable),
        }
    }

    /// The keeper's answer to one of ours.
    pub(crate) fn recorded(&self, id: u64, result: Result<u64, String>) {
        if let Some(answer) = self.take(id) {
            // Who asked may have stopped waiting.
            let _ = answer.send(result);
        }
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<Result<u64, String>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&id)
    }
}
