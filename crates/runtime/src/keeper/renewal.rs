//! Secrets that are read again, after an upstream refused them or before they expire, and told to every gate of the
//! bottle: each searches for them.
//!
//! Invariant: only what a gate's plan names is read: one that was taken over cannot have the keeper run its own commands.

use super::gate::Brief;
use bottle_spec::{
    gate_link::{HeldSecret, KeeperToGate},
    secret::{Secret, SecretRef},
};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::broadcast, task::spawn_local, time::sleep};

/// Secrets read anew that a gate has not been told of yet.
const WAITING: usize = 16;
/// A secret is read anew so long before it expires; later where it does not live ten times as long.
const AHEAD: Duration = Duration::from_secs(240);
/// The clock that secrets expire by goes on while the machine sleeps, a timer's does not.
const LOOK: Duration = Duration::from_secs(60);
/// After one that could not be read.
const AGAIN: Duration = Duration::from_secs(30);

/// A secret as it was read.
#[derive(Debug)]
pub struct Fresh {
    pub value: Secret,
    /// When it expires, in milliseconds since 1970.
    pub until: Option<u64>,
}

/// How a secret is read again: another than the one that is held, where there is another.
pub type Refresh = fn(&SecretRef, &Secret, &BTreeMap<String, String>) -> Result<Fresh, String>;

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

    /// Reads each of these that expires anew before it does, as long as the keeper's loop runs.
    pub(super) fn keep_fresh(&self, secrets: &[HeldSecret]) {
        for secret in secrets {
            let Some(until) = secret.until else { continue };
            let (refresher, source, value) = (self.clone(), secret.source.clone(), secret.value.clone());
            spawn_local(async move { refresher.keep(source, value, until).await });
        }
    }

    async fn keep(self, source: SecretRef, mut value: Secret, until: u64) {
        let mut due = Some(due(now(), until));
        while let Some(at) = due {
            let left = Duration::from_millis(at.saturating_sub(now()));
            if !left.is_zero() {
                sleep(left.min(LOOK)).await;
                continue;
            }
            match self.read(&source, &value).await {
                Ok(fresh) => {
                    due = fresh.until.map(|until| self::due(now(), until));
                    value = fresh.value.clone();
                    // Without gates there is nobody to tell.
                    let _ = self.renewed.send((source.clone(), fresh.value));
                }
                Err(error) => {
                    tracing::warn!(%source, %error, "a secret that is about to expire was not read anew");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// For the gate of this brief. A value goes to all who follow; a failure is the answer to this one.
    pub(super) async fn renew(&self, brief: &Brief, source: SecretRef) -> Option<KeeperToGate> {
        let fresh = match brief.secrets().iter().find(|held| held.source == source) {
            Some(held) => self.read(&source, &held.value).await,
            None => Err("the plan names no such secret".to_owned()),
        };
        match fresh {
            Ok(fresh) => {
                // There is one who follows: the gate that asks.
                let _ = self.renewed.send((source, fresh.value));
                None
            }
            Err(error) => Some(KeeperToGate::Secret { source, value: Err(error) }),
        }
    }

    async fn read(&self, source: &SecretRef, held: &Secret) -> Result<Fresh, String> {
        let (refresh, env, source, held) = (self.refresh, self.env.clone(), source.clone(), held.clone());
        let read = tokio::task::spawn_blocking(move || refresh(&source, &held, &env)).await;
        read.unwrap_or_else(|_| Err("reading it failed".to_owned()))
    }
}

/// When a secret that came at `from` is read anew. All in milliseconds since 1970.
fn due(from: u64, until: u64) -> u64 {
    let ahead = u64::try_from(AHEAD.as_millis()).unwrap_or(u64::MAX);
    until.saturating_sub(ahead.min(until.saturating_sub(from) / 10))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_anew_before_it_expires() {
        let hours = |hours: u64| hours * 3_600_000;
        assert_eq!(due(0, hours(8)), hours(8) - 240_000);
        assert_eq!(due(0, 1000), 900);
        assert_eq!(due(hours(1), hours(1)), hours(1));
        // One that is over already: at once.
        assert!(due(hours(2), hours(1)) <= hours(2));
    }
}
