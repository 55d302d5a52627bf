//! Responses on their way to the agent, read for text that gives it orders ([`bottle_policy::inbound`]).
//!
//! Invariant: what is found is in the audit log before the bytes it stands in go on, where the route says `strip` or
//! `block`; under `warn` nothing waits for it. Bodies that are no text are not read.

use super::{Egress, denial::Facts};
use bottle_policy::inbound::{Act, Blocked, Reader, Sign};
use bottle_spec::{
    event::{AuditEvent, InboundAction, InboundEvent},
    policy::Inbound,
    verdict::Reason,
};
use bytes::Bytes;
use http::{HeaderMap, header};
use std::sync::{Arc, PoisonError};

/// The largest body looked at for descriptions of tools, in bytes.
const MAX_TOOLS_BODY: usize = 256 << 10;

/// Of one body so much is read, in bytes: more than an agent takes in at once. Reading costs some 6 ns for each.
const MAX_READ: usize = 4 << 20;

/// Reads one response.
#[derive(Debug)]
pub(crate) struct Listener {
    egress: Arc<Egress>,
    facts: Facts,
    act: Act,
    reader: Reader,
    /// Whether each event is to go on at once.
    events: bool,
    /// What may be a list of tools, while it is small enough to be one.
    tools: Option<Vec<u8>>,
    signs: Vec<Sign>,
    read: usize,
}

impl Listener {
    /// `None` where the route does not ask for it, or the response is no text.
    pub(crate) fn new(egress: &Arc<Egress>, facts: &Facts, inbound: Inbound, headers: &HeaderMap) -> Option<Listener> {
        let act = match inbound {
            Inbound::Off => return None,
            Inbound::Warn => Act::Warn,
            Inbound::Strip => Act::Strip,
            Inbound::Block => Act::Block,
        };
        let kind = headers.get(header::CONTENT_TYPE).map_or("text/plain", |kind| kind.to_str().unwrap_or_default());
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !is_text(&kind) {
            return None;
        }
        Some(Listener {
            egress: Arc::clone(egress),
            facts: facts.clone(),
            act,
            reader: Reader::new(act),
            events: kind == "text/event-stream",
            tools: (kind.contains("json") || kind == "text/event-stream").then(Vec::new),
            signs: Vec::new(),
            read: 0,
        })
    }

    /// Whether every byte goes on as it came, or the body breaks off.
    pub(crate) fn changes_nothing(&self) -> bool {
        self.act != Act::Strip
    }

    /// Takes a piece of the body and gives back what may go on.
    pub(crate) fn push(&mut self, data: Bytes) -> Result<Bytes, Reason> {
        if self.read > MAX_READ {
            return Ok(data);
        }
        self.read += data.len();
        if let Some(tools) = self.tools.as_mut() {
            if tools.len() + data.len() <= MAX_TOOLS_BODY {
                tools.extend_from_slice(&data);
            } else {
                self.tools = None;
            }
        }
        let ends = self.read > MAX_READ || self.events && data.ends_with(b"\n\n");
        let passed = self.reader.push(data, &mut self.signs);
        let passed = if ends { self.with_rest(passed) } else { passed };
        self.told(passed)
    }

    /// At the end of the body: what was held back.
    pub(crate) fn finish(&mut self) -> Result<Bytes, Reason> {
        if let Some(body) = self.tools.take() {
            let mut tools = self.egress.tools.lock().unwrap_or_else(PoisonError::into_inner);
            tools.look(self.facts.host().unwrap_or_default(), &body, &mut self.signs);
        }
        let rest = self.reader.flush(&mut self.signs);
        self.told(rest)
    }

    fn with_rest(&mut self, passed: Result<Bytes, Blocked>) -> Result<Bytes, Blocked> {
        let passed = passed?;
        let rest = self.reader.flush(&mut self.signs)?;
        Ok(if rest.is_empty() { passed } else { [passed, rest].concat().into() })
    }

    /// Writes down what was found.
    fn told(&mut self, passed: Result<Bytes, Blocked>) -> Result<Bytes, Reason> {
        let action = match self.act {
            Act::Warn => InboundAction::Warn,
            Act::Strip => InboundAction::Strip,
            Act::Block => InboundAction::Block,
        };
        for sign in self.signs.drain(..) {
            let event = AuditEvent::Inbound(InboundEvent {
                host: self.facts.host().map(str::to_owned),
                path: self.facts.target.as_ref().map(|target| target.path().to_owned()),
                rule: sign.rule.to_owned(),
                words: sign.words,
                action,
            });
            self.egress.audit.record(event).map_err(|error| {
                tracing::error!(%error, "the audit log could not be written");
                Reason::PolicyError
            })?;
        }
        passed.map_err(|Blocked| Reason::Inbound)
    }
}

/// By the media type alone. Without one it may be anything, and is read.
fn is_text(kind: &str) -> bool {
    let (top, sub) = kind.split_once('/').unwrap_or((kind, ""));
    top == "text"
        || matches!(sub, "json" | "xml" | "javascript" | "x-ndjson" | "yaml" | "x-yaml" | "graphql-response+json")
        || sub.ends_with("+json")
        || sub.ends_with("+xml")
}
