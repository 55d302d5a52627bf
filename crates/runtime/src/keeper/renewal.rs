//! Secrets that are read again, and told to every gate of the bottle: each searches for them.
//!
//! Invariant: only what a gate's plan names is read: one that was taken over cannot have the keeper run its own commands.

use super::gate::Brief;
use bottle_spec::{
    gate_link::KeeperToGate,
    secret::{Secret, SecretRef},
};
use std::collections::BTreeMap;
use tokio::sync::broadcast;

/// Secrets read anew that a gate has not been told of yet.
const WAITING: usize = 16;

/// How a `command:` secret is read again.
pub type Refresh = fn(&SecretRef, &BTreeMap<String, String>) -> Result<Secret, String>;

/// Reads secrets again, off the keeper's thread. All clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Refresher {
    refresh: Refresh,
    env: BTreeMap<String, String>,
    renewed: broadcast::Sender<(SecretRef, Secret)>,
}

impl Refresher {
    pub(crate) fn new(refresh: Refresh, env: BTreeMap<String, String>) -> Refresher {
        let (renewed, _) = broadcast::channel(WAITING);
        Refresher { refresh, env, renewed }
    }

    /// Hears of every secret that was read again, for whichever gate.
    pub(super) fn follow(&self) -> broadcast::Receiver<(SecretRef, Secret)> {
        self.renewed.subscribe()
    }

    /// For the gate of this brief. A value goes to all who follow; a failure is the answer to this one.
    pub(super) async fn renew(&self, brief: &Brief, source: SecretRef) -> Option<KeeperToGate> {
        let value = if brief.secrets().iter().any(|held| held.source == source) {
            self.read(&source).await
        } else {
            Err("the plan names no such secret".to_owned())
        };
        match value {
            Ok(value) => {
                // There is one who follows: the gate that asks.
                let _ = self.renewed.send((source, value));
                None
            }
            Err(_) => Some(KeeperToGate::Secret { source, value }),
        }
    }

    async fn read(&self, source: &SecretRef) -> Result<Secret, String> {
        let (refresh, env, source) = (self.refresh, self.env.clone(), source.clone());
        let read = tokio::task::spawn_blocking(move || refresh(&source, &env)).await;
        read.unwrap_or_else(|_| Err("reading it failed".to_owned()))
    }
}
