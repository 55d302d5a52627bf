//! The egress gate, kept alive: its records are noted, others' records handed to it.

use super::{
    freeze::GateIs,
    gate::{Gate, GateChildError},
    kept::{Attendant, Keeping, keep_alive},
    queue::{Asker, Ends, Queue},
};
use crate::{audit_log::Notes, process::ProcessId};
use bottle_spec::{
    event::Head,
    gate_link::{GateStart, GateToKeeper, KeeperToGate},
    policy::EgressPolicy,
};
use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    io,
    rc::Rc,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, spawn_local},
};

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
    pub(super) fn keep(
        gate: Gate,
        keeping: Keeping,
        notes: Notes,
        records: mpsc::Receiver<ToRecord>,
        queue: Rc<Queue>,
        ends: Ends,
        started: impl FnMut(ProcessId) + 'static,
    ) -> KeptGate {
        let seen = Rc::new(Seen::default());
        seen.pid.set(Some(gate.id.pid));
        let (end, ending) = oneshot::channel();
        let (policies, seen_by) = (ends.policies, Rc::clone(&seen));
        let attending = Attending { keeping, notes, records, queue, policies, seen: seen_by, started };
        let task = spawn_local(attending.until_the_end(gate, ending));
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

/// A policy for the gate to go by. Dropped unanswered, the gate went away over it.
#[derive(Debug)]
pub(crate) struct ToApply {
    pub(crate) policy: EgressPolicy,
    pub(crate) answer: oneshot::Sender<Result<String, String>>,
}

struct Attending<F> {
    keeping: Keeping,
    notes: Notes,
    records: mpsc::Receiver<ToRecord>,
    queue: Rc<Queue>,
    policies: mpsc::Receiver<ToApply>,
    seen: Rc<Seen>,
    started: F,
}

impl<F: FnMut(ProcessId)> Attending<F> {
    async fn until_the_end(mut self, gate: Gate, ending: oneshot::Receiver<u32>) -> Result<(), GateChildError> {
        let ended = match keep_alive(&mut self, gate, ending).await {
            Ok(Some((gate, seconds))) => gate.drain(seconds.unwrap_or(0), |said| self.hear(said)).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        self.notes.finish().await;
        ended
    }

    /// Of its last words only the last checkpoint matters.
    fn hear(&self, said: GateToKeeper) {
        if let GateToKeeper::Noted(head) = said {
            self.notes.note(head);
        }
    }

    fn start(&mut self) -> Option<&mut GateStart> {
        match &mut self.keeping.brief.start {
            KeeperToGate::Start(start) => Some(start),
            _ => None,
        }
    }

    /// Only what a gate has taken is given to the next one.
    fn applied(&mut self, policy: EgressPolicy, accepted: bool) {
        if let Some(start) = self.start().filter(|_| accepted) {
            start.policy = policy;
        }
    }

    /// The next gate must find these records, too.
    fn noted(&mut self, head: Head) {
        if let Some(start) = self.start() {
            start.audit_head.clone_from(&head);
        }
        self.notes.note(head);
    }
}

impl<F: FnMut(ProcessId)> Attendant for Attending<F> {
    const GATE: &'static str = "the gate";

    fn keeping(&mut self) -> &mut Keeping {
        &mut self.keeping
    }

    fn started(&mut self, id: ProcessId) {
        (self.started)(id);
    }

    fn serving(&mut self, gate: Option<&Gate>) {
        self.seen.pid.set(gate.map(|gate| gate.id.pid));
        self.keeping.freezer.gate_is(if gate.is_some() { GateIs::Serving } else { GateIs::Gone });
        if gate.is_none() {
            self.queue.withdraw_all(Asker::Egress);
        }
        if gate.is_some() {
            self.seen.restarts.set(self.seen.restarts.get().saturating_add(1));
        }
    }

    async fn attend(&mut self, gate: &mut Gate) -> GateChildError {
        let mut recording: BTreeMap<u64, oneshot::Sender<Result<u64, String>>> = BTreeMap::new();
        let mut number = 0_u64;
        // In the order in which they were sent, which is that of their answers.
        let mut applying: VecDeque<ToApply> = VecDeque::new();
        let mut answers = self.queue.news();
        loop {
            let message = tokio::select! {
                message = gate.link.receive() => message,
                Some(to_apply) = self.policies.recv() => {
                    let policy = KeeperToGate::Policy(Box::new(to_apply.policy.clone()));
                    applying.push_back(to_apply);
                    match gate.send(&policy, &[]).await {
                        Ok(()) => continue,
                        Err(error) => return error,
                    }
                }
                Ok(decision) = answers.recv() => {
                    match gate.send(&KeeperToGate::Decided(Box::new(decision)), &[]).await {
                        Ok(()) => continue,
                        Err(error) => return error,
                    }
                }
                Some(ToRecord { event, answer }) = self.records.recv() => {
                    number += 1;
                    recording.insert(number, answer);
                    match gate.send(&KeeperToGate::Record { id: number, event }, &[]).await {
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
                Ok(GateToKeeper::RefreshSecret { source }) => {
                    if let Some(failure) = self.keeping.renew(source).await
                        && let Err(error) = gate.send(&failure, &[]).await
                    {
                        return error;
                    }
                }
                Ok(GateToKeeper::Noted(head)) => self.noted(head),
                Ok(GateToKeeper::Recorded { id, result }) => {
                    if let Some(answer) = recording.remove(&id) {
                        let _ = answer.send(result);
                    }
                }
                Ok(GateToKeeper::CanaryLeft) => {
                    self.keeping.freezer.gate_is(GateIs::Frozen);
                    self.keeping.canary_left();
                }
                Ok(GateToKeeper::Frozen(frozen)) => {
                    self.keeping.freezer.gate_is(if frozen { GateIs::Frozen } else { GateIs::Serving });
                }
                Ok(GateToKeeper::Failed { message }) => return GateChildError::Refused(message),
                Ok(GateToKeeper::PolicyApplied { accepted, message }) => {
                    if let Some(ToApply { policy, answer }) = applying.pop_front() {
                        self.applied(policy, accepted);
                        let _ = answer.send(if accepted { Ok(message) } else { Err(message) });
                    }
                }
                Ok(GateToKeeper::Ask { id, kind, request, expires }) => {
                    let result = self.queue.ask(Asker::Egress, &id, &kind, request, expires);
                    if let Err(error) = gate.send(&KeeperToGate::Asked { id, result }, &[]).await {
                        return error;
                    }
                }
                Ok(GateToKeeper::Withdraw { id }) => self.queue.withdraw(Asker::Egress, &id),
                Ok(GateToKeeper::Used { request }) => self.queue.used(request),
                Ok(GateToKeeper::Ready | GateToKeeper::Mirroring(_) | GateToKeeper::Record { .. }) => {}
                Err(source) => return GateChildError::Gone { log: gate.log.clone(), source },
            }
        }
    }
}
