//! A body, or the messages of one direction of a WebSocket, as they pass.
//!
//! The stream is judged block by block; where blocks lie depends on the offset alone, so the findings do not depend on
//! how the bytes were cut into chunks. What is given back has been judged, and the last [`HOLD`] bytes are held back, so
//! that no value that stands in the stream plainly has begun to leave when it is found.
//!
//! Invariant: nothing leaves before it is judged; a stream takes no more than 256 KiB, whatever comes.

use crate::scan::{Finding, MAX_MATCH, Place, Scanner, Shape};
use bytes::{Bytes, BytesMut};
use std::{ops::Range, sync::Arc};

/// Bytes that are judged at a time.
const BLOCK: usize = 32 * 1024;
/// Bytes before a block that are looked at again with it.
const CONTEXT: usize = 8 * 1024;
/// A match that begins before these is complete when they are there.
const HOLD: usize = 2 * MAX_MATCH;

/// Screens one stream. Made by [`Scanner::stream`].
#[derive(Debug)]
pub struct Stream {
    scanner: Arc<Scanner>,
    #[expect(dead_code, reason = "the parts look at it")]
    shape: Shape,
    place: Place,
    redact: bool,
    /// Context, then what is not given back yet.
    held: Vec<u8>,
    /// Where `held` begins in the stream.
    base: u64,
    /// Up to here in `held` bytes were given back.
    released: usize,
    /// Matches that end before this in `held` are reported.
    judged: usize,
    /// Bytes since the last block's end.
    fill: usize,
    /// What is to be replaced before it is given back, in `held`, in order and apart.
    replace: Vec<(Range<usize>, &'static str)>,
}

impl Stream {
    pub(super) fn new(scanner: Arc<Scanner>, shape: Shape) -> Stream {
        let place = if shape == Shape::WebSocketMessages { Place::Message } else { Place::Body };
        let (held, replace) = (Vec::new(), Vec::new());
        Stream { scanner, shape, place, redact: false, held, base: 0, released: 0, judged: 0, fill: 0, replace }
    }

    /// Findings name this place instead of the body.
    #[must_use]
    pub fn at(mut self, place: Place) -> Stream {
        self.place = place;
        self
    }

    /// Puts `[redacted:RULE]` in the place of every finding that has a span. A finding without one must still be blocked.
    #[must_use]
    pub fn redacting(mut self) -> Stream {
        self.redact = true;
        self
    }

    /// Takes a chunk; gives back what may go on (possibly nothing) and adds what was found.
    pub fn push(&mut self, chunk: Bytes, found: &mut Vec<Finding>) -> Bytes {
        let mut out = BytesMut::new();
        let mut rest: &[u8] = &chunk;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(BLOCK - self.fill));
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
        let from = self.judged.saturating_sub(HOLD);
        let settled = if last { self.held.len() } else { self.held.len().saturating_sub(MAX_MATCH) };
        let text = self.held.get(from..).unwrap_or_default();
        let base = self.offset(from);
        let (judged, start) = (self.offset(self.judged), self.base);
        let (place, replace, redact) = (&self.place, &mut self.replace, self.redact);
        self.scanner.raw(text, settled.saturating_sub(from), last, base, &mut |mut finding| {
            let Some(span) = finding.span.clone().filter(|span| span.end >= judged) else { return };
            if redact {
                let within = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
                replace.push((within(span.start)..within(span.end), finding.rule));
            }
            finding.place = place.clone();
            found.push(finding);
        });
        self.judged = settled.max(self.judged);
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
        let drop = self.held.len().saturating_sub(CONTEXT).min(self.released).min(self.judged);
        self.held.drain(..drop);
        self.base = self.offset(drop);
        self.released -= drop;
        self.judged -= drop;
        for (span, _) in &mut self.replace {
            *span = span.start.saturating_sub(drop)..span.end.saturating_sub(drop);
        }
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
            let (redacted, _) = through(&mut scanner().stream(Shape::Raw).redacting(), &text, &cuts);
            text.splice(at..at + SECRET.len(), b"[redacted:known-secret]".iter().copied());
            prop_assert_eq!(&redacted, &text);
        }
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
