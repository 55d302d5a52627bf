//! What one decision let through for long: a tunnel that is handed on, a WebSocket, a response by a route that was granted.
//!
//! Invariant: it lasts no longer than the policy that allowed it. Under each new policy it is asked about anew, by the
//! question that it was allowed by, and a refusal is written down and ends it. Requests by the plan's own routes need
//! none of this: each of them is decided about when it comes.

use super::{Egress, denial::Facts};
use bottle_policy::{Question, Rules};
use bottle_spec::{policy::Tls, verdict::Reason};
use std::{future::pending, sync::Arc};

#[derive(Debug)]
pub(crate) struct Lasting {
    egress: Arc<Egress>,
    facts: Facts,
    method_override: bool,
    /// Granted for itself alone: spent, and not asked about again.
    once: bool,
}

impl Lasting {
    /// A tunnel whose TLS is not ended here: no method, no path.
    pub(crate) fn tunnel(egress: &Arc<Egress>, facts: Facts) -> Lasting {
        Lasting { egress: Arc::clone(egress), facts, method_override: false, once: false }
    }

    /// A request that became something else.
    pub(crate) fn request(egress: &Arc<Egress>, facts: Facts, method_override: bool) -> Lasting {
        Lasting { egress: Arc::clone(egress), facts, method_override, once: false }
    }

    pub(crate) fn for_once(self, once: bool) -> Lasting {
        Lasting { once, ..self }
    }

    /// Returns when the policy in force no longer allows it, and that is written down.
    pub(crate) async fn revoked(self) {
        let reason = self.refusal().await;
        self.egress.deny(&self.facts, reason);
    }

    /// The same, for one who writes it down.
    pub(crate) async fn refusal(&self) -> Reason {
        if self.once {
            return pending().await;
        }
        let mut reloads = self.egress.reloads.subscribe();
        loop {
            // Asked before the first wait, too: a policy may have come since the decision.
            if let Err(reason) = self.ask(&self.egress.live.load().rules) {
                return reason;
            }
            if reloads.changed().await.is_err() {
                // The door itself is gone, and its connections with it.
                return pending().await;
            }
        }
    }

    /// Whether the policy in force allows it.
    pub(crate) fn allowed(&self) -> Result<(), Reason> {
        self.ask(&self.egress.live.load().rules)
    }

    fn ask(&self, rules: &Rules) -> Result<(), Reason> {
        let origin = self.facts.origin.as_ref().ok_or(Reason::RequestMalformed)?;
        let (Some(method), Some(target)) = (&self.facts.method, &self.facts.target) else {
            return match rules.tunnel(&origin.host, origin.port)? {
                Tls::Passthrough => Ok(()),
                // What is in it would have to be looked at from now on, and cannot be.
                Tls::Intercept => Err(Reason::NoRoute),
            };
        };
        let question = Question {
            host: &origin.host,
            port: origin.port,
            method: method.as_str(),
            path: target.path(),
            query: target.query(),
            method_override: self.method_override,
        };
        rules.permit(question).map(drop).map_err(|refused| refused.reason)
    }
}
