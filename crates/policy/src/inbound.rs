//! What comes back: text that gives the agent orders instead of information.
//!
//! Heuristics, and no more: an agent obeys what it reads, and no list of phrases is whole. They say so to the operator
//! (`warn`), or take such text out (`strip`), or end the response (`block`).
//!
//! Invariant: sans-I/O; at most [`BLOCK`] and its margins are held, whatever comes; what is found does not depend on how
//! the response was cut into chunks. Under `warn` not a byte is delayed or changed.

mod cutter;
mod hidden;
mod phrases;
mod reading;
mod tools;

pub use cutter::{Cut, Cutter, MAX_PIECE, Piece};
pub use tools::{Judged, MAX_TOOLS, Tools};

use bytes::Bytes;
use phrases::Phrase;
use reading::Reading;
use std::ops::Range;

/// Looked at as one piece, in bytes.
const BLOCK: usize = 16 << 10;
/// How far before a sign its text is looked at.
const MARGIN: usize = 512;
/// How far behind its beginning a sign may end: a phrase of 270 bytes, each spelled by an escape.
const REACH: usize = 2 << 10;
/// Signs told of one response; more of them say nothing new.
const MAX_SIGNS: usize = 16;
/// What stands where something was taken out. Fits into a JSON string and into HTML as it is.
const REMOVED: &[u8] = b"[removed by the gate: text that gives orders to an agent]";

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Warn,
    Strip,
    Block,
}

/// Something that speaks to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// A stable id, in kebab case.
    pub rule: &'static str,
    /// In the response's body.
    pub span: Range<u64>,
    /// As it stands there, at most 80 characters; the upstream's words, to be escaped before they are shown.
    pub words: String,
}

/// One response's body on its way through.
#[derive(Debug)]
pub struct Reader {
    act: Act,
    /// Already looked at and kept as context, then what is still to be looked at.
    text: Vec<u8>,
    /// How much of `text` is context.
    context: usize,
    /// Where `text` begins in the body.
    base: u64,
    told: usize,
}

/// The response is not to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked;

impl Reader {
    #[must_use]
    pub fn new(act: Act) -> Reader {
        Reader { act, text: Vec::new(), context: 0, base: 0, told: 0 }
    }

    /// Takes a chunk and gives back what may go on.
    ///
    /// # Errors
    /// Under [`Act::Block`], at the first sign; nothing of the block it stands in has been given back.
    pub fn push(&mut self, chunk: Bytes, signs: &mut Vec<Sign>) -> Result<Bytes, Blocked> {
        let mut out = Vec::new();
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let room = (self.context + BLOCK + REACH).saturating_sub(self.text.len());
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.text.extend_from_slice(now);
            rest = later;
            if self.text.len() == self.context + BLOCK + REACH {
                self.settle(self.context + BLOCK, &mut out, signs)?;
            }
        }
        Ok(if self.act == Act::Warn { chunk } else { out.into() })
    }

    /// A border at which the agent waits, as the end of an event: nothing is held back.
    ///
    /// # Errors
    /// As [`Reader::push`].
    pub fn flush(&mut self, signs: &mut Vec<Sign>) -> Result<Bytes, Blocked> {
        let mut out = Vec::new();
        self.settle(self.text.len(), &mut out, signs)?;
        Ok(out.into())
    }

    /// What comes next is a text of its own. To be called behind [`Reader::flush`].
    pub fn forget(&mut self) {
        self.base = self.base.saturating_add(self.text.len() as u64);
        self.text.clear();
        self.context = 0;
    }

    /// Looks at everything up to `end` and moves it into the context.
    fn settle(&mut self, end: usize, out: &mut Vec<u8>, signs: &mut Vec<Sign>) -> Result<(), Blocked> {
        let mut done = self.context;
        for (rule, span) in found(&self.text, self.context..end, false) {
            // What begins in the context has been told; what begins behind `end` is seen whole next time.
            if span.start < done || span.start >= end {
                continue;
            }
            if self.told < MAX_SIGNS {
                self.told += 1;
                signs.push(self.sign(rule, &span));
            }
            if self.act == Act::Block {
                return Err(Blocked);
            }
            out.extend_from_slice(self.text.get(done..span.start).unwrap_or_default());
            out.extend_from_slice(REMOVED);
            done = span.end;
        }
        let end = end.max(done);
        out.extend_from_slice(self.text.get(done..end).unwrap_or_default());
        if self.act == Act::Warn {
            out.clear();
        }
        let gone = end.saturating_sub(MARGIN);
        self.text.drain(..gone);
        self.context = end - gone;
        self.base = self.base.saturating_add(gone as u64);
        Ok(())
    }

    fn sign(&self, rule: &'static str, span: &Range<usize>) -> Sign {
        let words = String::from_utf8_lossy(self.text.get(span.clone()).unwrap_or_default());
        let at = |offset: usize| self.base.saturating_add(offset as u64);
        Sign { rule, span: at(span.start)..at(span.end), words: words.chars().take(80).collect() }
    }
}

/// All that is found in a text and begins in this part of it, in order and not overlapping. What describes a tool
/// (`of_tool`) has no words for an agent in the open either.
fn found(text: &[u8], within: Range<usize>, of_tool: bool) -> Vec<(&'static str, Range<usize>)> {
    let mut all = Vec::new();
    // Words that mean little in the open mean much where nobody is to see them.
    let weighs = |phrase: &Phrase, unseen: &dyn Fn() -> bool| {
        !phrase.weak || (of_tool && phrase.rule == phrases::ORDER) || unseen()
    };
    hidden::find(text, within.clone(), &mut |rule, span| all.push((rule, span)));
    phrases::find(text, within.clone(), &mut |phrase, span| {
        if weighs(phrase, &|| hidden::is_unseen(text, span.start)) {
            all.push((phrase.rule, span));
        }
    });
    if let Some(reading) = Reading::of(text) {
        reading.hidden(&mut |rule, span| {
            let rest = span.start.max(within.start)..span.end;
            if !rest.is_empty() {
                all.push((rule, rest));
            }
        });
        reading.phrases(&mut |phrase, span, unseen| {
            if weighs(phrase, &|| unseen) {
                all.push((phrase.rule, span));
            }
        });
    }
    all.retain(|(_, span)| within.contains(&span.start));
    all.sort_by_key(|(_, span)| (span.start, std::cmp::Reverse(span.end)));
    let mut end = 0;
    all.retain(|(_, span)| {
        let apart = span.start >= end;
        end = end.max(span.end);
        apart
    });
    all
}

#[cfg(test)]
mod tests;
