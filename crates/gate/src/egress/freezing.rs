//! The gate's side of the kill switch: while it is frozen nothing leaves and nothing is answered but with `frozen`.
//!
//! What is under way when it freezes: a WebSocket and a tunnel that is handed on end at once; a body gets no further,
//! either way; a request that waits for its upstream is answered with `frozen`; and every connection is closed after
//! [`FREEZE_TIME`], by when those answers have been heard. Towards upstreams not a byte is written any more, whatever an
//! HTTP library still holds.
//!
//! Invariant: a gate that froze itself (a canary) is thawed only by an order that its keeper gave after it had heard of
//! that. An older one, still on its way, is none.

use super::Egress;
use crate::limits::FREEZE_TIME;
use bottle_spec::event::{AuditEvent, FrozenBy};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::sync::watch;

/// Cheap to clone; all clones are one switch.
#[derive(Debug, Clone)]
pub(crate) struct Switch(Arc<State>);

#[derive(Debug)]
struct State {
    /// Asked by every request; the same as `told` holds.
    frozen: AtomicBool,
    told: watch::Sender<bool>,
    /// How often the gate froze itself.
    own: AtomicU64,
}

impl Switch {
    pub(crate) fn new(frozen: bool) -> Switch {
        let told = watch::Sender::new(frozen);
        Switch(Arc::new(State { frozen: AtomicBool::new(frozen), told, own: AtomicU64::new(0) }))
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.0.frozen.load(Ordering::Relaxed)
    }

    /// Returns when everything is to stop.
    pub(crate) async fn frozen(&self) {
        // Fails only without a sender, and this is one.
        let _ = self.0.told.subscribe().wait_for(|frozen| *frozen).await;
    }

    /// Returns what it was before.
    fn set(&self, frozen: bool) -> bool {
        let before = self.0.frozen.swap(frozen, Ordering::Relaxed);
        self.0.told.send_replace(frozen);
        before
    }
}

impl Egress {
    /// Denies everything from now on, and has the keeper stop the bottle's processes where it does not know yet.
    pub fn freeze(&self, by: FrozenBy) {
        if self.frozen.set(true) {
            return;
        }
        if by == FrozenBy::Canary {
            self.frozen.0.own.fetch_add(1, Ordering::Relaxed);
            self.vault.call_stop();
        }
        if let Err(error) = self.audit.record(AuditEvent::Frozen { frozen: true, by }) {
            tracing::error!(%error, "the audit log could not be written");
        }
    }

    /// Serves again, once that is written down; `canaries` is of how many the keeper had heard.
    pub fn thaw(&self, canaries: u64) {
        if !self.is_frozen() || canaries < self.frozen.0.own.load(Ordering::Relaxed) {
            return;
        }
        let event = AuditEvent::Frozen { frozen: false, by: FrozenBy::Operator };
        match self.audit.record(event) {
            Ok(_) => drop(self.frozen.set(false)),
            Err(error) => tracing::error!(%error, "the audit log could not be written: it stays frozen"),
        }
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.is_frozen()
    }

    /// Returns when a connection that is there when everything is frozen has had its time to say so.
    pub(crate) async fn frozen_out(&self) {
        self.frozen.frozen().await;
        tokio::time::sleep(FREEZE_TIME).await;
    }
}
