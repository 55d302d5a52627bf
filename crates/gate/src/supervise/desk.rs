//! What was asked, by whom it waits, and what came of it.
//!
//! Invariants: at most [`MAX_WAITING`] requests wait and [`MAX_RATE`] are made in a minute; one that asks for the same as
//! one that waits is that one; a request is known here only once the keeper has it on the disk.

use bottle_spec::{
    gate_link::{GateToKeeper, PastRequest, SuperviseStart},
    git::GitRepository,
    operator::{OperatorDecision, OperatorRequest, Requested},
    plan::PlannedSecret,
    policy::EgressPolicy,
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout},
};

const MAX_WAITING: usize = 16;
const MAX_RATE: usize = 30;
const MINUTE: Duration = Duration::from_secs(60);
/// Requests that are remembered.
const MAX_KNOWN: usize = 256;
/// How long the keeper has.
const KEEPER: Duration = Duration::from_secs(10);

/// Why a request was not put before the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskError {
    #[error("{MAX_WAITING} requests wait for the operator already; wait for one of them")]
    TooMany,
    #[error("{MAX_RATE} requests were made within a minute; wait before the next one")]
    TooFast,
    #[error("the operator cannot be asked: {0}")]
    Keeper(String),
}

#[derive(Debug)]
pub(super) struct Desk {
    bottle: String,
    pub(super) git: Vec<GitRepository>,
    pub(super) secrets: Vec<PlannedSecret>,
    /// How long the operator has.
    wait: Duration,
    inner: Mutex<Inner>,
    keeper: mpsc::UnboundedSender<GateToKeeper>,
    /// Told of every answer.
    answered: watch::Sender<()>,
}

#[derive(Debug)]
struct Inner {
    policy: EgressPolicy,
    known: BTreeMap<String, Known>,
    /// Ids of `known`, oldest first.
    order: VecDeque<String>,
    recent: VecDeque<Instant>,
    /// Requests on their way to the disk.
    placing: HashMap<String, oneshot::Sender<Result<(), String>>>,
}

/// A request and its answer, where there is one.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) request: OperatorRequest,
    pub(super) decision: Option<OperatorDecision>,
}

impl Desk {
    pub(super) fn new(start: SuperviseStart, keeper: mpsc::UnboundedSender<GateToKeeper>) -> Arc<Desk> {
        let SuperviseStart { bottle, policy, git, secrets, asked, wait, run_as: _ } = start;
        let mut inner = Inner {
            policy,
            known: BTreeMap::new(),
            order: VecDeque::new(),
            recent: VecDeque::new(),
            placing: HashMap::new(),
        };
        for PastRequest { request, decision } in asked {
            if let Ok(request) = serde_json::from_str::<OperatorRequest>(&request) {
                inner.keep(Known { request, decision });
            }
        }
        let (bottle, answered) = (bottle.to_string(), watch::Sender::new(()));
        let wait = Duration::from_secs(wait.into());
        Arc::new(Desk { bottle, git, secrets, wait, inner: Mutex::new(inner), keeper, answered })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn policy(&self) -> EgressPolicy {
        self.inner().policy.clone()
    }

    pub(super) fn follow(&self, policy: EgressPolicy) {
        self.inner().policy = policy;
    }

    /// Puts a request before the operator, or finds the one that waits for the same.
    pub(super) async fn ask(&self, what: Requested) -> Result<Known, AskError> {
        let now = now();
        let (asked, placed) = {
            let mut inner = self.inner();
            if let Some(known) = inner.same(&what, now) {
                return Ok(known.clone());
            }
            inner.admit(now)?;
            let id = new_id()?;
            let expires = now.saturating_add(u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX));
            let request = OperatorRequest { id: id.clone(), bottle: self.bottle.clone(), made: now, expires, what };
            let text = serde_json::to_string_pretty(&request).map_err(|error| AskError::Keeper(error.to_string()))?;
            let (place, placed) = oneshot::channel();
            inner.placing.insert(id.clone(), place);
            let kind = request.what.kind().to_owned();
            // A keeper that is gone answers nothing.
            let _ = self.keeper.send(GateToKeeper::Ask { id, kind, request: text, expires });
            // Known at once, so that the same once more is this one.
            let known = Known { request, decision: None };
            inner.keep(known.clone());
            (known, placed)
        };
        let result = match timeout(KEEPER, placed).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err("the keeper does not answer".to_owned()),
        };
        match result {
            Ok(()) => Ok(asked),
            Err(why) => {
                self.inner().forget(&asked.request.id);
                Err(AskError::Keeper(why))
            }
        }
    }

    /// The keeper's word on a request of ours.
    pub(super) fn placed(&self, id: &str, result: Result<(), String>) {
        if let Some(place) = self.inner().placing.remove(id) {
            let _ = place.send(result);
        }
    }

    pub(super) fn decided(&self, decision: OperatorDecision) {
        if let Some(known) = self.inner().known.get_mut(&decision.id) {
            known.decision = Some(decision);
        }
        self.answered.send_replace(());
    }

    pub(super) fn find(&self, id: &str) -> Option<Known> {
        self.inner().known.get(id).cloned()
    }

    /// All, oldest first.
    pub(super) fn all(&self) -> Vec<Known> {
        let inner = self.inner();
        inner.order.iter().filter_map(|id| inner.known.get(id)).cloned().collect()
    }

    /// Returns when this one has its answer.
    pub(super) async fn answer(&self, id: &str) -> Option<Known> {
        let mut answered = self.answered.subscribe();
        loop {
            let known = self.find(id)?;
            if known.decision.is_some() {
                return Some(known);
            }
            answered.changed().await.ok()?;
        }
    }
}

impl Inner {
    /// The request that waits for the same; a reason or a term in other words makes no other.
    fn same(&self, what: &Requested, now: u64) -> Option<&Known> {
        let bare = bare(what);
        let waiting = |known: &&Known| known.decision.is_none() && known.request.expires > now;
        self.known.values().filter(waiting).find(|known| self::bare(&known.request.what) == bare)
    }

    fn admit(&mut self, now: u64) -> Result<(), AskError> {
        let waiting = self.known.values().filter(|it| it.decision.is_none() && it.request.expires > now).count();
        if waiting >= MAX_WAITING {
            return Err(AskError::TooMany);
        }
        while self.recent.front().is_some_and(|at| at.elapsed() >= MINUTE) {
            self.recent.pop_front();
        }
        if self.recent.len() >= MAX_RATE {
            return Err(AskError::TooFast);
        }
        self.recent.push_back(Instant::now());
        Ok(())
    }

    fn keep(&mut self, known: Known) {
        let id = known.request.id.clone();
        self.order.push_back(id.clone());
        self.known.insert(id, known);
        if self.order.len() > MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn forget(&mut self, id: &str) {
        self.known.remove(id);
        self.placing.remove(id);
        self.order.retain(|it| it != id);
    }
}

/// What is asked for, without the words.
fn bare(what: &Requested) -> Requested {
    let mut what = what.clone();
    match &mut what {
        Requested::Egress(it) => it.reason.clear(),
        Requested::Git(it) => it.reason.clear(),
        Requested::SecretRoute(it) => it.reason.clear(),
        Requested::Push(_) | Requested::Held(_) | Requested::Question(_) => {}
    }
    what
}

/// Six letters.
fn new_id() -> Result<String, AskError> {
    let mut letters = [0_u8; 6];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut letters)
        .map_err(|_| AskError::Keeper("no random numbers could be had".to_owned()))?;
    Ok(letters.iter().map(|byte| char::from(b'a' + byte % 26)).collect())
}

/// Milliseconds since the Unix epoch.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
