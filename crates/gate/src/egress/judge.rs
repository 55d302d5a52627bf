//! What becomes of findings: one request's verdict over all that the scan finds in it, early or late.
//!
//! Invariant: a finding is in the audit log before what holds it goes on, and one that cannot be written there stops the
//! request. A canary stops the bottle, whatever its route says. No more of a value than its first bytes and its length
//! is kept.

use super::{Egress, decoders::Decoders, denial::Facts};
use bottle_policy::{
    Rules,
    scan::{CANARY, Finding, Place},
};
use bottle_spec::{
    event::{AuditEvent, FindingAction, FindingEvent, FrozenBy},
    policy::{Carrier, OnFinding},
    verdict::Reason,
};
use http::{HeaderMap, header};
use serde::Serialize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Findings of one request that are written down one by one; the first says enough to look.
const MAX_TOLD: usize = 16;

/// What an agent is told of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Found {
    pub(crate) rule: &'static str,
    /// Not for the agent: it may tell how the host keeps its secrets.
    #[serde(skip)]
    name: Option<Arc<str>>,
    place: String,
    shown: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    through: String,
    #[serde(skip)]
    lies: Place,
}

impl Found {
    pub(crate) fn place(&self) -> &Place {
        &self.lies
    }

    /// For the operator, in a line; the value's first bytes and length at most.
    pub(crate) fn told(&self) -> String {
        let name = self.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
        let through = if self.through.is_empty() { String::new() } else { format!(", in {}", self.through) };
        format!("{}{name} in {}: {}{through}", self.rule, self.place, self.shown)
    }

    fn of(finding: &Finding) -> Found {
        Found {
            rule: finding.rule,
            name: finding.name.clone(),
            place: finding.place.to_string(),
            shown: finding.shown.to_string(),
            through: finding.through.to_string(),
            lies: finding.place.clone(),
        }
    }
}

/// Whether what was found can be replaced where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replaceable {
    /// Where the finding has a span.
    InPlace,
    Not,
}

/// Judges what is found in one request.
#[derive(Debug)]
pub(crate) struct Judge {
    egress: Arc<Egress>,
    rules: Arc<Rules>,
    route: usize,
    facts: Facts,
    blocked: OnceLock<Arc<Found>>,
    /// What the operator is to be asked about; none = they can be asked no more.
    asked: Mutex<Option<Vec<Arc<Found>>>>,
    /// Why the body was stopped: an HTTP library may tell its caller only that it was.
    stopped: OnceLock<Reason>,
}

impl Judge {
    pub(crate) fn new(egress: &Arc<Egress>, rules: &Arc<Rules>, route: usize, facts: &Facts) -> Arc<Judge> {
        let (egress, rules, facts) = (Arc::clone(egress), Arc::clone(rules), facts.clone());
        let asked = Mutex::new(Some(Vec::new()));
        Arc::new(Judge { egress, rules, route, facts, blocked: OnceLock::new(), asked, stopped: OnceLock::new() })
    }

    /// What the operator is to be asked about before the request goes on. What is found later is refused: then its
    /// beginning is on its way.
    pub(crate) fn take_asked(&self) -> Vec<Arc<Found>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    /// Whether findings are asked about on this route.
    pub(crate) fn asks(&self) -> bool {
        self.on_finding() == OnFinding::Ask
    }

    pub(crate) fn decoders(&self) -> &Decoders {
        &self.egress.decoders
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.egress.is_frozen()
    }

    pub(crate) fn is_scanning(&self) -> bool {
        self.egress.is_scanning()
    }

    /// The finding for which the request is refused.
    pub(crate) fn blocked(&self) -> Option<&Arc<Found>> {
        self.blocked.get()
    }

    /// Notes that the body goes no further.
    pub(crate) fn stop(&self, reason: Reason) {
        let _ = self.stopped.set(reason);
    }

    pub(crate) fn stopped(&self) -> Option<Reason> {
        self.stopped.get().copied()
    }

    /// Whether findings are replaced on this route.
    pub(crate) fn redacts(&self) -> bool {
        self.on_finding() == OnFinding::Redact
    }

    /// How the agent's own credentials are replaced, where a secret of ours takes their place.
    pub(crate) fn replacement(&self) -> Option<&Carrier> {
        self.rules.route(self.route)?.auth.as_ref().map(|auth| &auth.carrier)
    }

    /// Notes what trailers say, beside what other requests have said.
    pub(crate) fn trailers(&self, trailers: &HeaderMap) -> Result<(), Reason> {
        let host = self.facts.host().unwrap_or_default();
        self.egress.piece_of_trailers(host, trailers, self)
    }

    /// Judges what was found, and empties the list. An error stops the request.
    pub(crate) fn judge(&self, found: &mut Vec<Finding>, replaceable: Replaceable) -> Result<(), Reason> {
        if found.is_empty() {
            return Ok(());
        }
        found.retain(|finding| !self.is_exempt(finding));
        let mut verdict = Ok(());
        // What one finding stands in is not told beside another.
        let facts = found.iter().fold(self.facts.clone(), |facts, finding| facts.without(&finding.place));
        for finding in found.iter().take(MAX_TOLD) {
            let action = self.action(finding, replaceable);
            self.egress.metrics.found(action);
            let recorded = self.egress.audit.record(event(&facts, finding, action));
            if action == FindingAction::Block {
                verdict = Err(Reason::Finding);
                let _ = self.blocked.set(Arc::new(Found::of(finding)));
                continue;
            }
            if action == FindingAction::Ask && self.put_off(finding).is_none() {
                verdict = verdict.and(Err(Reason::PolicyError));
            }
            if let Err(error) = recorded {
                tracing::error!(%error, "the audit log could not be written: denied");
                verdict = verdict.and(Err(Reason::PolicyError));
            }
        }
        // What is not told one by one is not passed for it.
        let rest = found.iter().skip(MAX_TOLD);
        if rest.clone().any(|finding| self.action(finding, replaceable) == FindingAction::Block) {
            verdict = Err(Reason::Finding);
        }
        if found.iter().any(|finding| finding.rule == CANARY) {
            self.egress.freeze(FrozenBy::Canary);
        }
        found.clear();
        verdict
    }

    fn put_off(&self, finding: &Finding) -> Option<()> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.as_mut().map(|asked| asked.push(Arc::new(Found::of(finding))))
    }

    /// Whether nothing of the request is on its way yet, and the operator sees all that is found.
    fn can_ask(&self) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.as_ref().is_some_and(|asked| asked.len() < MAX_TOLD)
    }

    fn action(&self, finding: &Finding, replaceable: Replaceable) -> FindingAction {
        if finding.rule == CANARY {
            return FindingAction::Block;
        }
        match self.on_finding() {
            OnFinding::Log => FindingAction::Log,
            OnFinding::Redact if finding.span.is_some() && replaceable == Replaceable::InPlace => FindingAction::Redact,
            OnFinding::Ask if self.can_ask() => FindingAction::Ask,
            OnFinding::Block | OnFinding::Ask | OnFinding::Redact => FindingAction::Block,
        }
    }

    fn on_finding(&self) -> OnFinding {
        self.rules.route(self.route).map(|route| route.on_finding).unwrap_or_default()
    }

    pub(crate) fn is_exempt(&self, finding: &Finding) -> bool {
        finding.rule != CANARY && self.exempt().iter().any(|rule| rule == finding.rule)
    }

    /// The rules that the route does not apply.
    pub(crate) fn exempt(&self) -> &[String] {
        self.rules.route(self.route).map(|route| route.exempt.as_slice()).unwrap_or_default()
    }
}

fn event(facts: &Facts, finding: &Finding, action: FindingAction) -> AuditEvent {
    let found = Found::of(finding);
    AuditEvent::Finding(FindingEvent {
        action,
        rule: found.rule.to_owned(),
        name: found.name.as_deref().map(str::to_owned),
        place: found.place,
        shown: found.shown,
        through: found.through,
        host: facts.host().map(str::to_owned),
        method: facts.method.as_ref().map(|method| method.as_str().to_owned()),
        path: facts.target.as_ref().map(|target| target.path().to_owned()),
    })
}

impl Facts {
    /// Less what a finding in this place stands in.
    pub(crate) fn without(&self, place: &Place) -> Facts {
        let mut facts = self.clone();
        match place {
            Place::Host => facts.origin = None,
            // HTTP/1 names it there, too.
            Place::Header(name) if name.as_ref() == header::HOST.as_str() => facts.origin = None,
            Place::Path | Place::Query | Place::Target => facts.target = None,
            Place::Method => facts.method = None,
            _ => {}
        }
        if matches!(place, Place::Target) {
            facts.origin = None;
        }
        facts
    }
}
