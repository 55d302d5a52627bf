//! Responses on their way to the agent, read for text that gives it orders ([`bottle_policy::inbound`]).
//!
//! Invariant: what is found is in the audit log before the bytes it stands in go on, where the route says `strip` or
//! `block`; under `warn` nothing waits for it. What may list tools goes on as a whole or not at all there: a body of
//! JSON, a line, an event. Bodies that are no text are not read.

use super::{Egress, denial::Facts};
use bottle_policy::inbound::{Act, Blocked, Cut, Cutter, Judged, Piece, Reader, Sign};
use bottle_spec::{
    event::{AuditEvent, InboundAction, InboundEvent},
    policy::Inbound,
    verdict::Reason,
};
use bytes::Bytes;
use http::{HeaderMap, header};
use std::sync::{Arc, PoisonError};

/// Of one body, or of what goes on as one, so much is read, in bytes: more than an agent takes in at once. Reading costs
/// some 6 ns for each.
const MAX_READ: usize = 4 << 20;

/// Of one response so many signs of tools are written down; more of them say nothing new.
const MAX_TOLD: usize = 64;

/// Reads one response, or the messages of one WebSocket.
#[derive(Debug)]
pub(crate) struct Listener {
    book: Book,
    act: Act,
    reader: Reader,
    /// What may be lists of tools.
    pieces: Option<(Cut, Cutter)>,
    signs: Vec<Sign>,
    read: usize,
    refused: Option<Reason>,
}

/// Where what is found is written down, and what tools were.
#[derive(Debug)]
struct Book {
    egress: Arc<Egress>,
    facts: Facts,
    told: usize,
}

impl Listener {
    /// `None` where the route does not ask for it, or the response is no text.
    pub(crate) fn new(egress: &Arc<Egress>, facts: &Facts, inbound: Inbound, headers: &HeaderMap) -> Option<Listener> {
        let kind = headers.get(header::CONTENT_TYPE).map_or("text/plain", |kind| kind.to_str().unwrap_or_default());
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let cut = match kind.as_str() {
            "text/event-stream" => Some(Cut::Events),
            "application/x-ndjson" => Some(Cut::Lines),
            kind => kind.contains("json").then_some(Cut::Whole),
        };
        let act = act(inbound)?;
        is_text(&kind).then(|| Listener::of(egress, facts, act, cut))
    }

    /// For the messages of a WebSocket. Nothing can be taken out of them: `strip` is `block`.
    pub(crate) fn of_messages(egress: &Arc<Egress>, facts: &Facts, inbound: Inbound) -> Option<Listener> {
        let act = if act(inbound)? == Act::Warn { Act::Warn } else { Act::Block };
        Some(Listener::of(egress, facts, act, Some(Cut::Whole)))
    }

    fn of(egress: &Arc<Egress>, facts: &Facts, act: Act, cut: Option<Cut>) -> Listener {
        let book = Book { egress: Arc::clone(egress), facts: facts.clone(), told: 0 };
        let pieces = cut.map(|cut| (cut, Cutter::new(cut)));
        Listener { book, act, reader: Reader::new(act), pieces, signs: Vec::new(), read: 0, refused: None }
    }

    /// Whether every byte goes on as it came, or the body breaks off.
    pub(crate) fn changes_nothing(&self) -> bool {
        self.act != Act::Strip
    }

    pub(crate) fn only_warns(&self) -> bool {
        self.act == Act::Warn
    }

    /// Takes a piece of the body and gives back what may go on.
    pub(crate) fn push(&mut self, data: Bytes) -> Result<Bytes, Reason> {
        let Some((cut, cutter)) = &mut self.pieces else {
            let passed = self.read(data);
            return self.told(passed);
        };
        let mut ready = Ready { held: cutter.held(), ..Ready::default() };
        let judged = cutter.push(&data, &mut |piece| self.book.judge(*cut, piece, self.act, &mut ready));
        self.refused = judged.err();
        // What stands before it goes on.
        match self.refused {
            Some(reason) if ready.bytes.is_empty() => Err(reason),
            _ => self.go_on(data, ready),
        }
    }

    /// Why nothing more is to come behind what has been given.
    pub(crate) fn refused(&self) -> Option<Reason> {
        self.refused
    }

    /// At the end of the body, or of a message: what was held back.
    pub(crate) fn finish(&mut self) -> Result<Bytes, Reason> {
        let mut passed = Bytes::new();
        if let Some((cut, cutter)) = &mut self.pieces {
            let mut ready = Ready::default();
            cutter.finish(&mut |piece| self.book.judge(*cut, piece, self.act, &mut ready))?;
            // Under `warn` it went on as it came.
            passed = self.go_on(Bytes::new(), Ready { ended: None, ..ready })?;
        }
        self.read = 0;
        let rest = self.reader.flush(&mut self.signs);
        let rest = self.told(rest)?;
        self.reader.forget();
        Ok(joined(passed, rest))
    }

    /// Lets the reader read what the tools left over, and all of what ends behind a border at once.
    fn go_on(&mut self, data: Bytes, ready: Ready) -> Result<Bytes, Reason> {
        let data = if self.act == Act::Warn { data } else { ready.bytes.into() };
        let passed = match ready.ended {
            Some(at) => self.read_to(&data, at.min(data.len())),
            None => self.read(data),
        };
        self.told(passed)
    }

    fn read_to(&mut self, data: &Bytes, border: usize) -> Result<Bytes, Blocked> {
        let head = self.read(data.slice(..border))?;
        let head = joined(head, self.reader.flush(&mut self.signs)?);
        self.read = 0;
        Ok(joined(head, self.read(data.slice(border..))?))
    }

    fn read(&mut self, data: Bytes) -> Result<Bytes, Blocked> {
        if self.read > MAX_READ {
            return Ok(data);
        }
        self.read += data.len();
        let passed = self.reader.push(data, &mut self.signs)?;
        let rest = if self.read > MAX_READ { self.reader.flush(&mut self.signs)? } else { Bytes::new() };
        Ok(joined(passed, rest))
    }

    /// Writes down what the reader found.
    fn told(&mut self, passed: Result<Bytes, Blocked>) -> Result<Bytes, Reason> {
        let action = match self.act {
            Act::Warn => InboundAction::Warn,
            Act::Strip => InboundAction::Strip,
            Act::Block => InboundAction::Block,
        };
        for sign in self.signs.drain(..) {
            self.book.write(sign, action)?;
        }
        passed.map_err(|Blocked| Reason::Inbound)
    }
}

/// What goes on of one chunk once it was looked at for tools.
#[derive(Debug, Default)]
struct Ready {
    /// Nothing under `warn`.
    bytes: Vec<u8>,
    /// Where in them the last piece ends, if one does; under `warn`, where in the chunk.
    ended: Option<usize>,
    /// Held before the chunk came.
    held: usize,
    /// Given of both.
    given: usize,
}

impl Book {
    fn judge(&mut self, cut: Cut, piece: Piece<'_>, act: Act, ready: &mut Ready) -> Result<(), Reason> {
        let (bytes, ends) = match piece {
            // Too long for a list of tools that is looked at.
            Piece::Part(bytes, ends) => (bytes, ends),
            Piece::One(bytes) => (bytes, true),
        };
        let judged = if let Piece::One(bytes) = piece { self.tools(cut, bytes, act)? } else { Judged::Passes };
        if act != Act::Warn {
            match judged {
                Judged::Passes => ready.bytes.extend_from_slice(bytes),
                Judged::Cleaned(bytes) => ready.bytes.extend_from_slice(&bytes),
                Judged::Refused => return Err(Reason::Inbound),
            }
        }
        ready.given += bytes.len();
        if ends {
            let before = ready.given.saturating_sub(ready.held);
            ready.ended = Some(if act == Act::Warn { before } else { ready.bytes.len() });
        }
        Ok(())
    }

    /// What is written down is what is done.
    fn tools(&mut self, cut: Cut, bytes: &[u8], act: Act) -> Result<Judged, Reason> {
        let mut signs = Vec::new();
        let judged = {
            let mut tools = self.egress.tools.lock().unwrap_or_else(PoisonError::into_inner);
            let host = self.facts.host().unwrap_or_default();
            match cut {
                Cut::Events => tools.event(host, bytes, act, &mut signs),
                Cut::Whole | Cut::Lines => tools.text(host, bytes, act, &mut signs),
            }
        };
        let action = match judged {
            Judged::Passes => InboundAction::Warn,
            Judged::Cleaned(_) => InboundAction::Strip,
            Judged::Refused => InboundAction::Block,
        };
        for sign in signs {
            if self.told < MAX_TOLD {
                self.told += 1;
                self.write(sign, action)?;
            }
        }
        Ok(judged)
    }

    fn write(&self, sign: Sign, action: InboundAction) -> Result<(), Reason> {
        let event = AuditEvent::Inbound(InboundEvent {
            host: self.facts.host().map(str::to_owned),
            path: self.facts.target.as_ref().map(|target| target.path().to_owned()),
            rule: sign.rule.to_owned(),
            words: sign.words,
            action,
        });
        self.egress.audit.record(event).map(drop).map_err(|error| {
            tracing::error!(%error, "the audit log could not be written");
            Reason::PolicyError
        })
    }
}

fn joined(first: Bytes, second: Bytes) -> Bytes {
    match (first.is_empty(), second.is_empty()) {
        (_, true) => first,
        (true, false) => second,
        (false, false) => [first, second].concat().into(),
    }
}

fn act(inbound: Inbound) -> Option<Act> {
    match inbound {
        Inbound::Off => None,
        Inbound::Warn => Some(Act::Warn),
        Inbound::Strip => Some(Act::Strip),
        Inbound::Block => Some(Act::Block),
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
