//! A body, or the messages of one direction of a WebSocket, as they pass.
//!
//! The stream is judged block by block; where blocks lie depends on the offset alone, so the findings do not depend on
//! how the bytes were cut into chunks. What is given back has been judged, and the last [`HOLD`] bytes are held back, so
//! that no value that stands in the stream plainly has begun to leave when it is found.
//!
//! Invariant: nothing leaves before it is judged; a stream takes no more than 256 KiB, whatever comes.

use crate::scan::{
    CANARY, Finding, MAX_MATCH, Place, Scanner, Shape, Steps,
    look::{Look, Unfinished, View},
    parts::Parts,
};
use bytes::{Bytes, BytesMut};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    ops::Range,
    sync::Arc,
};

/// Bytes that are judged at a time.
const BLOCK: usize = 40 * 1024;
/// Bytes before a block that are looked at again with it: an encoded value that is not longer is seen as a whole.
const CONTEXT: usize = 8 * 1024;
/// A match that begins before these is complete when they are there.
const HOLD: usize = 2 * MAX_MATCH;
/// Findings that were hidden are told once each; of so many different ones.
const TOLD: usize = 64;

/// Screens one stream. Made by [`Scanner::stream`].
#[derive(Debug)]
pub struct Stream {
    scanner: Arc<Scanner>,
    place: Place,
    redact: bool,
    /// Rules whose findings are not replaced.
    spared: Vec<String>,
    /// Context, then what is not given back yet.
    held: Vec<u8>,
    /// Where `held` begins in the stream.
    base: u64,
    /// Up to here in `held` bytes were given back.
    released: usize,
    /// Matches that end before this in `held` are reported.
    judged: usize,
    /// Up to here in `held` hidden things were looked for.
    looked: usize,
    /// Bytes since the last block's end.
    fill: usize,
    /// What is to be replaced before it is given back, in `held`, in order and apart.
    replace: Vec<(Range<usize>, &'static str)>,
    parts: Parts,
    /// A compressed text that goes on.
    unfinished: Option<Unfinished>,
    /// What was told without a place, by rule and name.
    told: Vec<(&'static str, Option<Arc<str>>)>,
}

impl Stream {
    pub(super) fn new(scanner: Arc<Scanner>, shape: &Shape) -> Stream {
        let place = if *shape == Shape::WebSocketMessages { Place::Message } else { Place::Body };
        Stream {
            scanner,
            place,
            redact: false,
            spared: Vec::new(),
            held: Vec::new(),
            base: 0,
            released: 0,
            judged: 0,
            looked: 0,
            fill: 0,
            replace: Vec::new(),
            parts: Parts::new(shape),
            unfinished: None,
            told: Vec::new(),
        }
    }

    /// Findings name this place instead of the body.
    #[must_use]
    pub fn at(mut self, place: Place) -> Stream {
        self.place = place;
        self
    }

    /// Puts `[redacted:RULE]` in the place of every finding that has a span, but for those of `exempt` rules; a canary is
    /// replaced whatever they say. A finding without a span must still be blocked.
    #[must_use]
    pub fn redacting(mut self, exempt: &[String]) -> Stream {
        self.redact = true;
        self.spared = exempt.to_vec();
        self
    }

    /// Takes a chunk; gives back what may go on (possibly nothing) and adds what was found.
    pub fn push(&mut self, chunk: Bytes, found: &mut Vec<Finding>) -> Bytes {
        let mut out = BytesMut::new();
        let mut rest: &[u8] = &chunk;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(BLOCK - self.fill));
            // No more than that is ever held; doubling would take more.
            if self.held.len() + now.len() > self.held.capacity() && self.held.len() + now.len() > BLOCK / 4 {
                self.held.reserve_exact(CONTEXT + BLOCK - self.held.len().min(CONTEXT + BLOCK));
            }
            self.held.extend_from_slice(now);
            self.fill += now.len();
            rest = later;
            if self.fill == BLOCK {
                self.fill = 0;
                self.judge(false, found);
                self.release(self.held.len().saturating_sub(HOLD), &mut out);
                self.forget();
            }
        }
        out.freeze()
    }

    /// A border at which the peer waits (the end of a WebSocket message or of an event): nothing is held back, and what
    /// was seen stays context for what follows.
    pub fn flush(&mut self, found: &mut Vec<Finding>) -> Bytes {
        let mut out = BytesMut::new();
        if self.released < self.held.len() {
            self.judge(true, found);
            self.release(self.held.len(), &mut out);
            self.forget();
        }
        out.freeze()
    }

    /// The end.
    pub fn finish(&mut self, found: &mut Vec<Finding>) -> Bytes {
        self.flush(found)
    }

    fn judge(&mut self, last: bool, found: &mut Vec<Finding>) {
        let first = found.len();
        self.judge_plain(last, found);
        self.judge_hidden(last, found);
        // What stands there loosely or in an encoding that is known beforehand is found by more than one way.
        let mut told = Told::default();
        let fresh = found.split_off(first);
        found.extend(fresh.into_iter().filter(|it| it.span.is_none() || told.is_new(it)));
        for finding in found.get(first..).unwrap_or_default() {
            let spared = finding.rule != CANARY && self.spared.iter().any(|it| it == finding.rule);
            if self.redact
                && !spared
                && let Some(span) = &finding.span
            {
                let within = |at: u64| usize::try_from(at.saturating_sub(self.base)).unwrap_or(usize::MAX);
                self.replace.push((within(span.start)..within(span.end).min(self.held.len()), finding.rule));
            }
        }
    }

    /// What stands there plainly.
    fn judge_plain(&mut self, last: bool, found: &mut Vec<Finding>) {
        let from = self.judged.saturating_sub(HOLD);
        let settled = if last { self.held.len() } else { self.held.len().saturating_sub(MAX_MATCH) };
        let text = self.held.get(from..).unwrap_or_default();
        let (settled_within, judged) = (settled.saturating_sub(from), self.judged - from);
        self.scanner.plain(text, settled_within, last, true, Steps::default(), &mut |finding, span| {
            if span.end >= judged {
                let span = Some(self.offset(from + span.start)..self.offset(from + span.end));
                found.push(Finding { place: self.place.clone(), span, ..finding });
            }
        });
        self.judged = settled.max(self.judged);
    }

    /// What is encoded or split.
    fn judge_hidden(&mut self, last: bool, found: &mut Vec<Finding>) {
        let base = self.base;
        let told = &mut self.told;
        let mut tell = |finding: Finding| {
            if finding.span.is_none() {
                let which = (finding.rule, finding.name.clone());
                if told.contains(&which) {
                    return;
                }
                if told.len() < TOLD {
                    told.push(which);
                }
            }
            found.push(finding);
        };
        let fresh = self.held.get(self.looked..).unwrap_or_default();
        let mut look = Look::new(&self.scanner, &self.place, fresh.len(), &mut tell);
        let at = |offset: usize| base.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX));
        let map = |span: Range<usize>| Some(at(span.start)..at(span.end));
        let view =
            View { text: &self.held, map: &map, steps: Steps::default(), depth: 0, fresh: self.looked, open: !last };
        if let Some(mut unfinished) = self.unfinished.take()
            && look.go_on(&mut unfinished, view, fresh)
        {
            self.unfinished = Some(unfinished);
        }
        look.hidden(view);
        self.parts.feed(fresh, &mut |joined| look.joined(joined));
        if last {
            self.parts.border(&mut |joined| look.joined(joined));
        }
        self.parts.judge(&mut |joined| look.joined(joined));
        if self.unfinished.is_none() {
            self.unfinished = look.unfinished.take();
        }
        look.end();
        self.looked = self.held.len();
    }

    fn offset(&self, at: usize) -> u64 {
        self.base.saturating_add(u64::try_from(at).unwrap_or(u64::MAX))
    }

    /// Gives back what lies before `until`, with replacements.
    fn release(&mut self, until: usize, out: &mut BytesMut) {
        self.replace.sort_by_key(|(span, _)| span.start);
        for (span, rule) in &self.replace {
            if span.start >= until {
                break;
            }
            // Of values that overlap, the first is replaced with its name and the rest is left out.
            if span.start >= self.released {
                out.extend_from_slice(self.held.get(self.released..span.start).unwrap_or_default());
                out.extend_from_slice(b"[redacted:");
                out.extend_from_slice(rule.as_bytes());
                out.extend_from_slice(b"]");
            }
            self.released = self.released.max(span.end);
        }
        self.replace.retain(|(span, _)| span.start >= until);
        if until > self.released {
            out.extend_from_slice(self.held.get(self.released..until).unwrap_or_default());
            self.released = until;
        }
    }

    /// Drops what is neither context nor held back.
    fn forget(&mut self) {
        let drop = self.held.len().saturating_sub(CONTEXT).min(self.released).min(self.judged).min(self.looked);
        self.held.drain(..drop);
        self.base = self.offset(drop);
        self.released -= drop;
        self.judged -= drop;
        self.looked -= drop;
        for (span, _) in &mut self.replace {
            *span = span.start.saturating_sub(drop)..span.end.saturating_sub(drop);
        }
    }
}

/// Places that were told, apart for each rule and name: where they begin and end. A rule and a name stand there by their
/// hash, as there may be thousands.
#[derive(Default)]
struct Told(BTreeMap<(u64, u64), u64>);

impl Told {
    /// Whether no finding of the same thing overlaps with this.
    fn is_new(&mut self, finding: &Finding) -> bool {
        let Some(span) = &finding.span else { return true };
        let mut hasher = DefaultHasher::new();
        (finding.rule, finding.name.as_deref()).hash(&mut hasher);
        let what = hasher.finish();
        let before = self.0.range((what, 0)..(what, span.end)).next_back();
        let new = before.is_none_or(|(_, end)| *end <= span.start);
        if new {
            self.0.insert((what, span.start), span.end);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Known;
    use proptest::prelude::*;

    const SECRET: &[u8] = b"correct-horse-battery";

    fn scanner() -> Arc<Scanner> {
        Arc::new(Scanner::new(Known::builder().secret("horse", SECRET).build()))
    }

    fn through(stream: &mut Stream, text: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<Finding>) {
        let (mut out, mut found, mut from) = (Vec::new(), Vec::new(), 0);
        for cut in cuts.iter().copied().chain([text.len()]) {
            let cut = cut.clamp(from, text.len());
            out.extend_from_slice(&stream.push(Bytes::copy_from_slice(&text[from..cut]), &mut found));
            from = cut;
        }
        out.extend_from_slice(&stream.finish(&mut found));
        (out, found)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_verdict_does_not_depend_on_the_cuts(
            at in 0usize..100_000, length in 0usize..100_000, mut cuts in prop::collection::vec(0usize..120_000, 0..12),
        ) {
            cuts.sort_unstable();
            let mut text = vec![b' '; length.max(at)];
            text.splice(at..at, SECRET.iter().copied());
            let (whole, expected) = through(&mut scanner().stream(Shape::Raw), &text, &[]);
            let (cut, found) = through(&mut scanner().stream(Shape::Raw), &text, &cuts);
            prop_assert_eq!(expected.len(), 1);
            prop_assert_eq!(&expected, &found);
            prop_assert_eq!(&whole, &text);
            prop_assert_eq!(&cut, &text);
            let (redacted, _) = through(&mut scanner().stream(Shape::Raw).redacting(&[]), &text, &cuts);
            text.splice(at..at + SECRET.len(), b"[redacted:known-secret]".iter().copied());
            prop_assert_eq!(&redacted, &text);
        }
    }

    #[test]
    fn what_is_exempt_is_not_replaced() {
        let known = Known::builder().secret("horse", SECRET).canary("bird", b"tweet-tweet-9").build();
        let scanner = Arc::new(Scanner::new(known));
        let exempt = ["known-secret", "canary"].map(str::to_owned);
        let text = b"a correct-horse-battery and a tweet-tweet-9 here";
        let (out, found) = through(&mut scanner.stream(Shape::Raw).redacting(&exempt), text, &[]);
        assert_eq!(String::from_utf8_lossy(&out), "a correct-horse-battery and a [redacted:canary] here");
        assert_eq!(found.len(), 2, "who exempts decides what a finding does");
    }

    #[test]
    fn a_value_completed_after_a_border_is_found_before_its_end_leaves() {
        let mut stream = scanner().stream(Shape::WebSocketMessages);
        let mut found = Vec::new();
        assert_eq!(stream.push(Bytes::from_static(b"a correct-horse"), &mut found), Bytes::new());
        assert_eq!(stream.flush(&mut found), Bytes::from_static(b"a correct-horse"));
        assert_eq!(found, []);
        assert_eq!(stream.push(Bytes::from_static(b"-battery b"), &mut found), Bytes::new());
        assert_eq!(stream.flush(&mut found).len(), 10);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].place, Place::Message);
    }
}
