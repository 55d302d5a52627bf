//! What keeps a gate alive: the next one is started when one dies, after pauses that grow.
//!
//! Invariants: a new gate gets the same listeners (the keeper holds them too) and is told the same, but for what changed
//! meanwhile. While there is none, connections wait in the listeners' backlog: nothing leaves.

use super::{
    freeze::Freezer,
    gate::{Brief, Gate, GateChildError, Recipe},
    renewal::Refresher,
};
use crate::{process::ProcessId, protocol::FrozenBy};
use bottle_spec::{
    gate_link::KeeperToGate,
    secret::{Secret, SecretRef},
};
use std::time::Duration;
use tokio::{
    sync::{broadcast, oneshot, watch},
    time::sleep,
};

pub(super) const FIRST_BACKOFF: Duration = Duration::from_millis(20);
pub(super) const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// What every kind of gate is kept with.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) brief: Brief,
    pub(super) freezer: Freezer,
    recipe: Recipe,
    frozen: watch::Receiver<Option<FrozenBy>>,
    refresher: Refresher,
    renewed: broadcast::Receiver<(SecretRef, Secret)>,
    /// That the gate which serves has told of.
    canaries: u64,
}

impl Keeping {
    pub(super) fn new(brief: Brief, recipe: Recipe, freezer: Freezer, refresher: Refresher) -> Keeping {
        let (frozen, renewed) = (freezer.watch(), refresher.follow());
        Keeping { brief, freezer, recipe, frozen, refresher, renewed, canaries: 0 }
    }

    /// Reads a secret again for the gate; what there is to say to it at once.
    pub(super) async fn renew(&self, source: SecretRef) -> Option<KeeperToGate> {
        self.refresher.renew(&self.brief, source).await
    }

    /// The switch is told to the gate though it has not moved: it may have while the gate was started.
    fn tell_again(&mut self) {
        self.canaries = 0;
        self.frozen.mark_changed();
    }

    /// The gate has frozen itself.
    pub(super) fn canary_left(&mut self) {
        self.canaries = self.canaries.saturating_add(1);
        self.freezer.freeze(FrozenBy::Canary);
    }

    /// Comes when the kill switch was moved or a secret was read again: what the gate is to be told.
    pub(super) async fn news(&mut self) -> KeeperToGate {
        loop {
            tokio::select! {
                // Fails only without a freezer, and we hold one.
                _ = self.frozen.changed() => {
                    let frozen = self.frozen.borrow_and_update().is_some();
                    return KeeperToGate::Freeze { frozen, canaries: self.canaries };
                }
                renewed = self.renewed.recv() => {
                    // Of too many at once the oldest are lost: what is refused then is read once more.
                    let Ok((source, value)) = renewed else { continue };
                    self.brief.renew(&source, &value);
                    return KeeperToGate::Secret { source, value: Ok(value) };
                }
            }
        }
    }
}

/// What differs from one kind of gate to another.
pub(super) trait Attendant {
    /// As the log names it.
    const GATE: &'static str;

    fn keeping(&mut self) -> &mut Keeping;

    /// Hears of every process started later on.
    fn started(&mut self, id: ProcessId);

    /// Hears which one serves from now on, if one does.
    fn serving(&mut self, _gate: Option<&Gate>) {}

    /// Answers the gate until it is gone.
    async fn attend(&mut self, gate: &mut Gate) -> GateChildError;
}

/// Keeps one serving until `ending` comes or its sender goes; gives the one that serves then, and what came.
pub(super) async fn keep_alive<A: Attendant, T>(
    attendant: &mut A,
    gate: Gate,
    mut ending: oneshot::Receiver<T>,
) -> Result<Option<(Gate, Option<T>)>, GateChildError> {
    let mut serving = Some(gate);
    let mut backoff = FIRST_BACKOFF;
    loop {
        if let Some(mut gate) = serving.take() {
            attendant.keeping().tell_again();
            tokio::select! {
                end = &mut ending => return Ok(Some((gate, end.ok()))),
                error = attendant.attend(&mut gate) => tracing::error!(%error, "{} died; starting another", A::GATE),
            }
            gate.kill()?;
            attendant.serving(None);
        }
        tokio::select! {
            _ = &mut ending => return Ok(None),
            () = sleep(backoff) => {}
        }
        match again(attendant).await {
            Ok(gate) => {
                attendant.serving(Some(&gate));
                serving = Some(gate);
                backoff = FIRST_BACKOFF;
            }
            Err(error) => {
                tracing::error!(%error, "{} does not start", A::GATE);
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
            }
        }
    }
}

async fn again(attendant: &mut impl Attendant) -> Result<Gate, GateChildError> {
    let mut gate = Gate::start(&attendant.keeping().recipe)?;
    attendant.started(gate.id);
    let keeping = attendant.keeping();
    let frozen = keeping.frozen.borrow_and_update().is_some();
    keeping.brief.freeze(frozen);
    let served = match gate.brief(&keeping.brief).await {
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
