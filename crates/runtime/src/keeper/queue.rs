//! What agents ask of their operator, and the answers: one file each, in the bottle's `supervise/`.
//!
//! Invariants: a request is kept as the text that a gate gave, unread; a file is there whole or not at all; the first
//! answer counts, and only to the very text that was shown; no answer in time is a no. A decision is in the audit log
//! before the gate hears of it, and in force before whoever waits does. Grants live in the memory of this keeper: what
//! is started later begins with the plan.

mod files;

use super::egress_gate::{ToApply, ToRecord};
use crate::store::StoreError;
use bottle_spec::{
    event::{AuditEvent, DecidedBy, DecidedEvent, Decision, GrantEnd},
    gate_link::PastRequest,
    operator::{Grant, OperatorDecision, Term, digest, is_id},
    policy::EgressPolicy,
};
use files::Files;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::PathBuf,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{Mutex, Notify, broadcast, mpsc, oneshot, watch},
    task::spawn_local,
    time::sleep,
};

/// Requests that wait at once.
const MAX_WAITING: usize = 64;
/// Bytes of one.
const MAX_REQUEST: usize = 64 << 10;
/// Requests of this run that are remembered.
const MAX_PAST: usize = 256;
/// The longest that one may wait: as long as a manifest may say.
const LONGEST: u64 = 30 * 24 * 60 * 60 * 1000;
/// News that an attendant may be behind with.
const NEWS: usize = 256;
/// A policy is given to so many gates in turn, should one after the other die over it.
const TRIES: usize = 3;

/// Which gate asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    Egress,
    Supervise,
}

/// What is asked of the queue's other ends.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) policies: mpsc::Receiver<ToApply>,
}

#[derive(Debug)]
pub(crate) struct Queue {
    files: Files,
    /// The plan's.
    base: EgressPolicy,
    inner: RefCell<Inner>,
    /// One change at a time.
    changing: Mutex<()>,
    policies: mpsc::Sender<ToApply>,
    records: mpsc::Sender<ToRecord>,
    news: broadcast::Sender<OperatorDecision>,
    grants: watch::Sender<Vec<Grant>>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: BTreeMap<String, Waiting>,
    /// Oldest first; the supervise gate's alone.
    past: Vec<(String, PastRequest)>,
}

#[derive(Debug)]
struct Waiting {
    asker: Asker,
    kind: String,
    digest: String,
    expires: u64,
}

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no such request waits")]
    Unknown,
    #[error("the request is not the one that was shown; look at it again")]
    Stale,
    #[error("the request has been answered")]
    Answered,
    #[error("the time for this request is over")]
    Over,
    #[error("the audit log cannot be written: {0}")]
    Audit(String),
    #[error("the gate does not take it: {0}")]
    Gate(String),
    #[error("the answer cannot be written")]
    Write(#[source] std::io::Error),
    #[error("no grant of this name is in force")]
    NoGrant,
}

impl Queue {
    pub(crate) fn open(
        directory: PathBuf,
        base: EgressPolicy,
        records: mpsc::Sender<ToRecord>,
    ) -> Result<(Rc<Queue>, Ends), StoreError> {
        let files = Files::open(directory)?;
        let (policies, to_apply) = mpsc::channel(1);
        let queue = Queue {
            files,
            base,
            inner: RefCell::default(),
            changing: Mutex::new(()),
            policies,
            records,
            news: broadcast::Sender::new(NEWS),
            grants: watch::Sender::new(Vec::new()),
            asked: Notify::new(),
        };
        Ok((Rc::new(queue), Ends { policies: to_apply }))
    }

    /// Hears of every answer.
    pub(crate) fn news(&self) -> broadcast::Receiver<OperatorDecision> {
        self.news.subscribe()
    }

    pub(crate) fn granted(&self) -> watch::Receiver<Vec<Grant>> {
        self.grants.subscribe()
    }

    pub(crate) fn grants(&self) -> Vec<Grant> {
        self.grants.borrow().clone()
    }

    /// The plan's policy with what was granted.
    pub(crate) fn policy(&self) -> EgressPolicy {
        self.base.with_grants(&self.grants.borrow())
    }

    pub(crate) fn past(&self) -> Vec<PastRequest> {
        self.inner.borrow().past.iter().map(|(_, past)| past.clone()).collect()
    }

    /// Comes when something was asked since it came last.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Puts a request before the operator.
    pub(crate) fn ask(
        self: &Rc<Queue>,
        asker: Asker,
        id: &str,
        kind: &str,
        request: String,
        expires: u64,
    ) -> Result<(), String> {
        let expires = expires.min(now().saturating_add(LONGEST));
        {
            let inner = self.inner.borrow();
            if !is_id(id) || !kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') || kind.len() > 32 {
                return Err("this is no request".to_owned());
            }
            if request.len() > MAX_REQUEST {
                return Err("the request is too long".to_owned());
            }
            if inner.waiting.len() >= MAX_WAITING {
                return Err("too many requests wait already".to_owned());
            }
            if inner.waiting.contains_key(id) || self.files.has(id) {
                return Err("there is a request of this name".to_owned());
            }
        }
        self.files.write_request(id, request.as_bytes()).map_err(|error| format!("it cannot be written: {error}"))?;
        let mut inner = self.inner.borrow_mut();
        let waiting = Waiting { asker, kind: kind.to_owned(), digest: digest(request.as_bytes()), expires };
        inner.waiting.insert(id.to_owned(), waiting);
        if asker == Asker::Supervise {
            inner.past.push((id.to_owned(), PastRequest { request, decision: None }));
            if inner.past.len() > MAX_PAST {
                inner.past.remove(0);
            }
        }
        drop(inner);
        self.asked.notify_one();
        let (queue, id) = (Rc::clone(self), id.to_owned());
        spawn_local(async move {
            sleep(Duration::from_millis(expires.saturating_sub(now()))).await;
            queue.expire(&id).await;
        });
        Ok(())
    }

    /// Takes a request back.
    pub(crate) fn withdraw(&self, asker: Asker, id: &str) {
        let mut inner = self.inner.borrow_mut();
        if inner.waiting.get(id).is_some_and(|waiting| waiting.asker == asker) {
            inner.waiting.remove(id);
            self.files.remove(id);
        }
    }

    /// Of a gate that is gone, and with it whoever waited there.
    pub(crate) fn withdraw_all(&self, asker: Asker) {
        let gone: Vec<String> = {
            let inner = self.inner.borrow();
            let own = inner.waiting.iter().filter(|(_, waiting)| waiting.asker == asker);
            own.map(|(id, _)| id.clone()).collect()
        };
        gone.iter().for_each(|id| self.withdraw(asker, id));
    }

    /// Takes the operator's answer, and returns when it is in force. What the gate has to say about it comes back.
    pub(crate) async fn decide(
        self: &Rc<Queue>,
        mut decision: OperatorDecision,
        kind: &str,
    ) -> Result<String, Refusal> {
        let _one = self.changing.lock().await;
        let id = decision.id.clone();
        let shown = self.files.read(&id).ok_or(Refusal::Unknown)?;
        if digest(&shown) != decision.request {
            return Err(Refusal::Stale);
        }
        if self.files.is_answered(&id) {
            return Err(Refusal::Answered);
        }
        if self.inner.borrow().waiting.get(&id).is_some_and(|waiting| waiting.expires <= now()) {
            return Err(Refusal::Over);
        }
        if let Some(grant) = &mut decision.grant {
            grant.until = match grant.term {
                Term::Seconds(seconds) => Some(now().saturating_add(u64::from(seconds) * 1000)),
                Term::Once | Term::Bottle => None,
            };
        }
        self.record(&decision, kind, DecidedBy::Operator).await.map_err(Refusal::Audit)?;
        let mut said = String::new();
        if let Some(grant) = decision.grant.clone().filter(|_| decision.allow) {
            self.grants.send_modify(|grants| grants.push(grant.clone()));
            match self.apply().await {
                Ok(notice) => said = notice,
                Err(why) => {
                    self.grants.send_modify(|grants| grants.retain(|it| it.request != grant.request));
                    return Err(Refusal::Gate(why));
                }
            }
            self.end_at(&grant);
        }
        self.files.write_decision(&decision).map_err(Refusal::Write)?;
        self.settle(decision);
        Ok(said)
    }

    /// Takes a grant back, and returns when the gate goes by it no more.
    pub(crate) async fn end(&self, request: &str, how: GrantEnd) -> Result<(), Refusal> {
        let _one = self.changing.lock().await;
        let found = self.grants.send_if_modified(|grants| {
            let before = grants.len();
            grants.retain(|grant| grant.request != request);
            grants.len() < before
        });
        if !found {
            return Err(Refusal::NoGrant);
        }
        // It ends also where that cannot be written down: less is allowed, not more.
        let event = AuditEvent::GrantEnded { request: request.to_owned(), how };
        if let Err(error) = self.write_down(&event).await {
            tracing::error!(error, "the end of a grant is not in the audit log");
        }
        self.apply().await.map(drop).map_err(Refusal::Gate)
    }

    /// A grant for one request was used.
    pub(crate) fn used(self: &Rc<Queue>, request: String) {
        let queue = Rc::clone(self);
        spawn_local(async move {
            let _ = queue.end(&request, GrantEnd::Used).await;
        });
    }

    fn end_at(self: &Rc<Queue>, grant: &Grant) {
        let Some(until) = grant.until else { return };
        let (queue, request) = (Rc::clone(self), grant.request.clone());
        spawn_local(async move {
            sleep(Duration::from_millis(until.saturating_sub(now()))).await;
            if let Err(error @ (Refusal::Gate(_) | Refusal::Audit(_))) = queue.end(&request, GrantEnd::Expired).await {
                tracing::error!(%error, "a grant could not be ended");
            }
        });
    }

    async fn expire(&self, id: &str) {
        let _one = self.changing.lock().await;
        let over = self.inner.borrow().waiting.get(id).map(|waiting| (waiting.digest.clone(), waiting.kind.clone()));
        let Some((digest, kind)) = over else { return };
        let decision = OperatorDecision::no(id, digest, "the operator did not answer in time");
        if let Err(error) = self.record(&decision, &kind, DecidedBy::Time).await {
            tracing::error!(error, "a request that ran out is not in the audit log");
        }
        if let Err(error) = self.files.write_decision(&decision) {
            tracing::error!(%error, "a request that ran out is not written down");
        }
        self.settle(decision);
    }

    fn settle(&self, decision: OperatorDecision) {
        let mut inner = self.inner.borrow_mut();
        inner.waiting.remove(&decision.id);
        if let Some((_, past)) = inner.past.iter_mut().find(|(id, _)| *id == decision.id) {
            past.decision = Some(decision.clone());
        }
        drop(inner);
        self.files.prune();
        // Nobody may be waiting.
        let _ = self.news.send(decision);
    }

    async fn record(&self, decision: &OperatorDecision, kind: &str, by: DecidedBy) -> Result<u64, String> {
        let event = DecidedEvent {
            request: decision.id.clone(),
            kind: kind.to_owned(),
            decision: if decision.allow { Decision::Allow } else { Decision::Deny },
            by,
            grant: decision.grant.clone().filter(|_| decision.allow),
        };
        self.write_down(&AuditEvent::Decided(event)).await
    }

    async fn write_down(&self, event: &AuditEvent) -> Result<u64, String> {
        let event = serde_json::to_string(event).map_err(|error| error.to_string())?;
        let (answer, answered) = oneshot::channel();
        let gone = |_| "the gate that writes the log is gone".to_owned();
        self.records.send(ToRecord { event, answer }).await.map_err(|error| gone(error.to_string()))?;
        answered.await.unwrap_or_else(|error| Err(gone(error.to_string())))
    }

    /// Has the gate go by the policy as it is now.
    async fn apply(&self) -> Result<String, String> {
        for _ in 0..TRIES {
            let (answer, answered) = oneshot::channel();
            let to_apply = ToApply { policy: self.policy(), answer };
            if self.policies.send(to_apply).await.is_err() {
                break;
            }
            // Where it died over it, its successor is asked.
            if let Ok(answer) = answered.await {
                return answer;
            }
        }
        Err("it went away".to_owned())
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
