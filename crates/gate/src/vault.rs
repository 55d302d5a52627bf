//! The secrets of this bottle, in memory, and their renewal through the keeper.
//!
//! Invariant: a value leaves this module only inside [`Held`], whose `Debug` shows no value. The gate reads no
//! secret itself: a refresh is asked of the keeper over the link, once for all requests that wait for it.

use crate::limits::{REFRESH_PAUSE, REFRESH_TIME};
use bottle_spec::{
    gate_link::{GateToKeeper, HeldSecret},
    secret::{Secret, SecretRef},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// A secret as it is now.
#[derive(Debug, Clone)]
pub struct Held {
    pub value: Secret,
    /// What the bottle holds in its place.
    pub placeholder: Arc<str>,
    /// From 0, one more with every refresh that brought a new value.
    pub generation: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    #[error("the plan of this bottle holds no such secret")]
    Unknown,
    #[error("the secret was read moments ago; it is not read again yet")]
    TooSoon,
    #[error("the secret was read again and is the same")]
    Unchanged,
    #[error("the secret could not be read on the host")]
    Unreadable,
    #[error("the keeper did not answer in time")]
    Timeout,
    #[error("the keeper is gone")]
    KeeperGone,
}

/// Cheap to clone; all clones are one vault.
#[derive(Debug, Clone)]
pub struct Vault {
    entries: Arc<BTreeMap<SecretRef, Mutex<Entry>>>,
    renewals: Arc<AtomicU64>,
    keeper: mpsc::UnboundedSender<GateToKeeper>,
}

#[derive(Debug)]
struct Entry {
    held: Held,
    /// Before the last renewal: it may still open something.
    former: Option<Secret>,
    asked: Option<Instant>,
    /// Present while the keeper is being asked.
    pending: Option<watch::Sender<Option<Outcome>>>,
}

type Outcome = Result<Held, VaultError>;

impl Vault {
    /// `keeper` carries the questions to the link. Unbounded, but it never holds more than one question per secret.
    pub fn new(secrets: Vec<HeldSecret>, keeper: mpsc::UnboundedSender<GateToKeeper>) -> Vault {
        let entry = |secret: HeldSecret| {
            let held = Held { value: secret.value, placeholder: secret.placeholder.into(), generation: 0 };
            (secret.source, Mutex::new(Entry { held, former: None, asked: None, pending: None }))
        };
        let entries = Arc::new(secrets.into_iter().map(entry).collect());
        Vault { entries, renewals: Arc::default(), keeper }
    }

    /// The secret as it is now; `None` = this bottle has none by this name.
    pub fn value(&self, source: &SecretRef) -> Option<Held> {
        Some(self.entry(source)?.held.clone())
    }

    /// Counts the renewals of all secrets: as long as it stays the same, so do [`Vault::values`].
    pub fn renewals(&self) -> u64 {
        self.renewals.load(Ordering::Acquire)
    }

    /// Every value that must not be seen leaving, each by its source; former ones too.
    pub fn values(&self) -> Vec<(SecretRef, Secret)> {
        let mut values = Vec::new();
        for source in self.entries.keys() {
            let Some(entry) = self.entry(source) else { continue };
            values.push((source.clone(), entry.held.value.clone()));
            values.extend(entry.former.iter().map(|former| (source.clone(), former.clone())));
        }
        values
    }

    /// Tells the keeper that everything is to stop.
    pub(crate) fn call_stop(&self) {
        // Without a keeper the gate ends, and with it everything.
        let _ = self.keeper.send(GateToKeeper::CanaryLeft);
    }

    /// Tells the keeper that a grant for one request is spent.
    pub(crate) fn tell_used(&self, request: String) {
        let _ = self.keeper.send(GateToKeeper::Used { request });
    }

    /// The secret newer than `generation`, which an upstream refused: at once if another request has renewed it
    /// already, else by asking the keeper. Asks at most once at a time and once every [`REFRESH_PAUSE`], so a bottle
    /// that provokes refusals cannot make the host run a secret's command over and over.
    pub async fn refresh(&self, source: &SecretRef, generation: u64) -> Result<Held, VaultError> {
        let mut answer = match self.ask(source, generation)? {
            Asked::Newer(held) => return Ok(held),
            Asked::Wait(answer) => answer,
        };
        let outcome = tokio::time::timeout(REFRESH_TIME, answer.wait_for(Option::is_some)).await;
        match outcome {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Err(VaultError::KeeperGone)),
            Ok(Err(_)) => Err(VaultError::KeeperGone),
            Err(_) => {
                self.give_up(source);
                Err(VaultError::Timeout)
            }
        }
    }

    /// Takes the keeper's answer. What nobody waits for (an answer after its time) is still kept, if it is a value.
    pub fn deliver(&self, source: &SecretRef, answer: Result<Secret, String>) {
        let Some(mut entry) = self.entry(source) else {
            return;
        };
        let outcome = match answer {
            Ok(value) if value == entry.held.value => Err(VaultError::Unchanged),
            Ok(value) => {
                entry.former = Some(std::mem::replace(&mut entry.held.value, value));
                entry.held.generation += 1;
                self.renewals.fetch_add(1, Ordering::Release);
                Ok(entry.held.clone())
            }
            // The text says how the source failed, on the host; it is the keeper's to show.
            Err(_) => Err(VaultError::Unreadable),
        };
        if let Some(pending) = entry.pending.take() {
            pending.send_replace(Some(outcome));
        }
    }

    fn ask(&self, source: &SecretRef, generation: u64) -> Result<Asked, VaultError> {
        let mut entry = self.entry(source).ok_or(VaultError::Unknown)?;
        if entry.held.generation > generation {
            return Ok(Asked::Newer(entry.held.clone()));
        }
        if let Some(pending) = &entry.pending {
            return Ok(Asked::Wait(pending.subscribe()));
        }
        if entry.asked.is_some_and(|asked| asked.elapsed() < REFRESH_PAUSE) {
            return Err(VaultError::TooSoon);
        }
        let question = GateToKeeper::RefreshSecret { source: source.clone() };
        self.keeper.send(question).map_err(|_| VaultError::KeeperGone)?;
        let (sender, receiver) = watch::channel(None);
        entry.asked = Some(Instant::now());
        entry.pending = Some(sender);
        Ok(Asked::Wait(receiver))
    }

    fn give_up(&self, source: &SecretRef) {
        if let Some(pending) = self.entry(source).and_then(|mut entry| entry.pending.take()) {
            pending.send_replace(Some(Err(VaultError::Timeout)));
        }
    }

    fn entry(&self, source: &SecretRef) -> Option<MutexGuard<'_, Entry>> {
        Some(self.entries.get(source)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

enum Asked {
    Newer(Held),
    Wait(watch::Receiver<Option<Outcome>>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> (Vault, mpsc::UnboundedReceiver<GateToKeeper>, SecretRef) {
        let source: SecretRef = "command:token".parse().unwrap();
        let secret = HeldSecret {
            source: source.clone(),
            value: Secret::new("old".to_owned()),
            placeholder: "placeholder-1".to_owned(),
            until: None,
        };
        let (keeper, questions) = mpsc::unbounded_channel();
        (Vault::new(vec![secret], keeper), questions, source)
    }

    fn secret(text: &str) -> Result<Secret, String> {
        Ok(Secret::new(text.to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn refreshes_at_one_time_are_one_question() {
        let (vault, mut questions, source) = vault();
        let (a, b) = (vault.refresh(&source, 0), vault.refresh(&source, 0));
        let keeper = async {
            assert!(matches!(questions.recv().await, Some(GateToKeeper::RefreshSecret { .. })));
            vault.deliver(&source, secret("new"));
        };
        let (a, b, ()) = tokio::join!(a, b, keeper);
        assert_eq!((a.unwrap().value.expose(), b.unwrap().generation), ("new", 1));
        assert!(questions.try_recv().is_err(), "a second question was asked");
        assert_eq!(vault.value(&source).unwrap().value.expose(), "new");
        // One that failed with the old value gets the new one without a question.
        assert_eq!(vault.refresh(&source, 0).await.unwrap().generation, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_secret_is_not_read_over_and_over() {
        let (vault, mut questions, source) = vault();
        for round in 0..2 {
            let keeper = async {
                questions.recv().await;
                vault.deliver(&source, secret("old"));
            };
            let (refreshed, ()) = tokio::join!(vault.refresh(&source, 0), keeper);
            assert_eq!(refreshed.unwrap_err(), VaultError::Unchanged, "round {round}");
            assert_eq!(vault.refresh(&source, 0).await.unwrap_err(), VaultError::TooSoon, "round {round}");
            tokio::time::advance(REFRESH_PAUSE).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_keeper_that_fails_is_silent_or_is_gone_ends_the_wait() {
        let (vault, mut questions, source) = vault();
        assert_eq!(vault.refresh(&source, 0).await.unwrap_err(), VaultError::Timeout);
        // The late answer is not lost.
        vault.deliver(&source, secret("late"));
        assert_eq!(vault.refresh(&source, 0).await.unwrap().value.expose(), "late");

        tokio::time::advance(REFRESH_PAUSE).await;
        questions.recv().await;
        let keeper = async {
            questions.recv().await;
            vault.deliver(&source, Err("exit status 1: hunter2".to_owned()));
        };
        let (refreshed, ()) = tokio::join!(vault.refresh(&source, 1), keeper);
        assert_eq!(refreshed.unwrap_err(), VaultError::Unreadable);

        drop(questions);
        tokio::time::advance(REFRESH_PAUSE).await;
        assert_eq!(vault.refresh(&source, 1).await.unwrap_err(), VaultError::KeeperGone);
        let unknown = "env:OTHER".parse().unwrap();
        assert_eq!(vault.refresh(&unknown, 0).await.unwrap_err(), VaultError::Unknown);
        assert!(vault.value(&unknown).is_none());
    }

    #[test]
    fn nothing_printed_holds_the_value() {
        let (vault, _questions, source) = vault();
        vault.deliver(&source, secret("hunter2"));
        let printed = format!("{vault:?} {:?}", vault.value(&source));
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
