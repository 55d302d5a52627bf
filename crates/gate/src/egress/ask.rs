//! A request that waits for the operator, because its route or a finding in it says `ask`.
//!
//! Invariants: no answer in time is a no; at most [`MAX_ASKED`] requests wait, each with no more of its body than is
//! held for other reasons; one whose client goes away is taken back; what is shown is made of what goes upstream.

use super::{Egress, denial::Facts, judge::Found};
use crate::limits::{ASK_NEWS, ASK_TIME, MAX_ASKED};
use bottle_spec::{
    gate_link::GateToKeeper,
    operator::{HeldRequest, OperatorDecision, OperatorRequest, Requested},
    verdict::Reason,
};
use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

/// The requests that wait. Cheap to clone; all clones are one list.
#[derive(Debug, Clone)]
pub struct Questions {
    bottle: Arc<str>,
    keeper: mpsc::UnboundedSender<GateToKeeper>,
    /// How long the operator has.
    wait: Duration,
    waiting: Arc<Mutex<BTreeMap<String, oneshot::Sender<bool>>>>,
}

impl Questions {
    /// `wait` is how long the operator has, as far as a client can be held.
    pub fn new(bottle: &str, keeper: mpsc::UnboundedSender<GateToKeeper>, wait: Duration) -> Questions {
        Questions { bottle: bottle.into(), keeper, wait: wait.min(ASK_TIME), waiting: Arc::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<String, oneshot::Sender<bool>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keeper's word on a question: one that it does not put before the operator is answered with no.
    pub fn asked(&self, id: &str, result: Result<(), String>) {
        if let Err(why) = result {
            tracing::warn!(why, "the operator cannot be asked");
            self.answer(id, false);
        }
    }

    pub fn decided(&self, decision: &OperatorDecision) {
        self.answer(&decision.id, decision.allow);
    }

    fn answer(&self, id: &str, allow: bool) {
        if let Some(waits) = self.waiting().remove(id) {
            // Who asked may be gone.
            let _ = waits.send(allow);
        }
    }

    /// `true` where the operator said yes.
    async fn ask(&self, what: HeldRequest) -> Result<bool, Reason> {
        let id = new_id()?;
        let made = now();
        let expires = made.saturating_add(u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX));
        let what = Requested::Held(what);
        let kind = what.kind().to_owned();
        let request = OperatorRequest { id: id.clone(), bottle: self.bottle.to_string(), made, expires, what };
        let request = serde_json::to_string_pretty(&request).map_err(|_| Reason::PolicyError)?;
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.len() >= MAX_ASKED {
                return Err(Reason::LimitExceeded);
            }
            waiting.insert(id.clone(), answer);
        }
        let taken_back = TakenBack { questions: self, id: id.clone() };
        self.keeper.send(GateToKeeper::Ask { id, kind, request, expires }).map_err(|_| Reason::PolicyError)?;
        let answer = timeout(self.wait, answered).await;
        drop(taken_back);
        Ok(matches!(answer, Ok(Ok(true))))
    }
}

/// Takes the question back when whoever waits for its answer is gone.
struct TakenBack<'a> {
    questions: &'a Questions,
    id: String,
}

impl Drop for TakenBack<'_> {
    fn drop(&mut self) {
        if self.questions.waiting().remove(&self.id).is_some() {
            let _ = self.questions.keeper.send(GateToKeeper::Withdraw { id: std::mem::take(&mut self.id) });
        }
    }
}

impl Egress {
    /// Holds a request until the operator has answered; `found` is what they are asked about besides it.
    pub(super) async fn ask(&self, facts: &Facts, found: &[Arc<Found>]) -> Result<(), Reason> {
        let mut shown = facts.clone();
        for found in found {
            shown = shown.without(found.place());
        }
        let held = HeldRequest {
            host: shown.host().unwrap_or_default().to_owned(),
            port: facts.origin.as_ref().map_or(0, |origin| origin.port),
            method: shown.method.as_ref().map(|method| method.as_str().to_owned()).unwrap_or_default(),
            path: shown.target.as_ref().map(|target| target.path().to_owned()).unwrap_or_default(),
            findings: found.iter().map(|found| found.told()).collect(),
        };
        let mut asking = pin!(self.questions.ask(held));
        let answer = loop {
            tokio::select! {
                answer = &mut asking => break answer?,
                () = self.frozen.frozen() => return Err(Reason::Frozen),
                () = sleep(ASK_NEWS), if facts.waits.is_some() => facts.waits.iter().for_each(|waits| waits.notify_one()),
            }
        };
        match answer {
            _ if self.is_frozen() => Err(Reason::Frozen),
            true => Ok(()),
            false => Err(Reason::NotApproved),
        }
    }
}

fn new_id() -> Result<String, Reason> {
    let mut letters = [0_u8; 6];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut letters).map_err(|_| Reason::PolicyError)?;
    Ok(letters.iter().map(|byte| char::from(b'a' + byte % 26)).collect())
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
