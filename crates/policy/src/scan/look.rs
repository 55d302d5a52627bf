//! Looks through a text: at what stands there, at what it decodes to, at what that decodes to, and so on.
//!
//! Invariant: the bytes looked at ([`WORK`] per byte given) and the memory in use at a time ([`MEMORY`]) are bounded, and
//! what is left undone for that, or for its depth, is a finding of its own ([`TOO_DEEP`]): never a silent pass.

use crate::scan::{
    Finding, MAX_MATCH, Place, Scanner, Severity, Shown, Step, Steps, TOO_DEEP,
    decode::{
        class,
        delimited::{Apart, Separated},
        escapes,
        lanes::{BLOCK, Classes},
        quoted,
    },
    normalise,
    parts::Joined,
};
use std::ops::Range;

#[cfg(test)]
mod control;
mod deep;
mod encoded;

pub(super) use deep::Unfinished;

/// Encodings within each other that are followed.
pub(super) const MAX_DEPTH: u8 = 14;
/// Bytes of decoded text that are looked at per byte given, and besides.
const WORK: usize = 48;
const WORK_BESIDES: usize = 256 * 1024;
/// Bytes of inflated text besides: a picture of a few KiB is some millions of bytes of one colour.
const INFLATED: usize = 4 * 1024 * 1024;
/// Bytes of decoded texts that are there at a time.
const MEMORY: usize = 132 * 1024;
/// Text on either side of an escape that belongs to it.
const REACH: usize = MAX_MATCH;
/// Texts with escapes are looked at in pieces of so many bytes, which overlap by [`OVERLAP`].
const PIECE: usize = 8 * 1024;
const OVERLAP: usize = 2 * MAX_MATCH;
/// Where a place in a decoded text came from.
type Map<'v> = &'v dyn Fn(Range<usize>) -> Option<Range<u64>>;

/// A text and how it came about.
#[derive(Clone, Copy)]
pub(super) struct View<'v> {
    pub(super) text: &'v [u8],
    pub(super) map: Map<'v>,
    pub(super) steps: Steps,
    pub(super) depth: u8,
    /// What ends before this was looked at earlier.
    pub(super) fresh: usize,
    /// More may follow the text.
    pub(super) open: bool,
}

/// One look through a text, with what it may still cost.
pub(super) struct Look<'a> {
    scanner: &'a Scanner,
    place: &'a Place,
    found: &'a mut dyn FnMut(Finding),
    /// Rules are asked that go by a name and the look of a value.
    guesses: bool,
    work: usize,
    inflated: usize,
    memory: usize,
    too_deep: bool,
    /// A compressed text that goes on beyond the text given.
    pub(super) unfinished: Option<Unfinished>,
}

impl<'a> Look<'a> {
    /// For a text of which `fresh` bytes are new.
    pub(super) fn new(scanner: &'a Scanner, place: &'a Place, fresh: usize, found: &'a mut dyn FnMut(Finding)) -> Self {
        let work = fresh.saturating_mul(WORK).saturating_add(WORK_BESIDES);
        Look {
            scanner,
            place,
            found,
            guesses: true,
            work,
            inflated: INFLATED,
            memory: MEMORY,
            too_deep: false,
            unfinished: None,
        }
    }

    /// Says so if something was left undone.
    pub(super) fn end(self) {
        if self.too_deep {
            (self.found)(Finding {
                rule: TOO_DEEP,
                severity: Severity::Medium,
                place: self.place.clone(),
                shown: Shown::length_only(0),
                name: None,
                span: None,
                through: Steps::default(),
            });
        }
    }

    /// What stands in the text plainly.
    pub(super) fn plain(&mut self, view: View<'_>) {
        let mut tell = |mut finding: Finding, span: Range<usize>| {
            finding.place = self.place.clone();
            finding.span = (view.map)(span);
            (self.found)(finding);
        };
        self.scanner.plain(view.text, view.text.len(), !view.open, self.guesses, view.steps, &mut |finding, span| {
            if span.end > view.fresh || view.fresh == 0 {
                tell(finding, span);
            }
        });
    }

    /// What the text decodes to.
    pub(super) fn hidden(&mut self, view: View<'_>) {
        let odd = self.surveyed(view);
        if odd && let Some(said) = normalise::invisible(view.text) {
            self.child(view, &said, Step::Invisible, &|_| None);
        }
        quoted::regions(view.text, REACH, |region| {
            let mut bytes = Vec::new();
            quoted::decode(view.text.get(region.clone()).unwrap_or_default(), &mut bytes);
            if region.end > view.fresh {
                self.child(view, &bytes, Step::QuotedPrintable, &|_| (view.map)(region.clone()));
            }
        });
        if odd {
            self.compressed(view);
        }
    }

    /// All that is found by classes of bytes, in one pass over them. Whether there are bytes that are no plain text.
    fn surveyed(&mut self, view: View<'_>) -> bool {
        let (text, fresh) = (view.text, view.fresh);
        let (mut regions, mut separated) = (escapes::Regions::new(REACH), Separated::default());
        let (mut runs, mut from) = (encoded::Encoded::default(), 0);
        if fresh > 0 {
            let printed = encoded::printed_since(text, fresh);
            from = encoded::digits_since(text, fresh).min(escapes::beginning(text, fresh, REACH)).min(fresh - 1);
            from -= from % BLOCK;
            if printed < from {
                runs = encoded::Encoded::since(printed);
            }
        }
        let (mut odd, mut covered) = (false, 0);
        for at in (from..text.len()).step_by(BLOCK) {
            let classes = Classes::of(text, at);
            regions.feed(text, at, classes.strange, |region| odd |= self.escaped(view, region));
            separated
                .feed(text, at, classes.alphanumeric, classes.graphic, |span, apart| self.apart(view, span, apart));
            runs.feed(at, classes, &mut |run| self.run(view, run, &mut covered));
        }
        regions.end(|region| odd |= self.escaped(view, region));
        runs.end(text.len(), &mut |run| self.run(view, run, &mut covered));
        odd
    }

    fn apart(&mut self, view: View<'_>, span: Range<usize>, apart: Apart) {
        if span.end > view.fresh {
            let whole = |_| (view.map)(span.clone());
            match apart {
                Apart::Hex(bytes) => self.blob(view, &bytes, Step::Hex, &whole),
                Apart::Single(bytes) => self.child(view, &bytes, Step::Spaced, &whole),
            }
        }
    }

    /// A region with escapes and lookalikes. Whether there are bytes that are no plain text.
    fn escaped(&mut self, view: View<'_>, region: Range<usize>) -> bool {
        let (mut odd, mut start) = (false, region.start);
        while start < region.end {
            let end = region.end.min(start + PIECE);
            let piece = view.text.get(start..end).unwrap_or_default();
            odd |= piece.iter().any(|byte| class::is(*byte, class::ODD));
            if end > view.fresh {
                self.unescaped(view, piece, start);
            }
            if end == region.end {
                break;
            }
            start = end - OVERLAP;
        }
        odd
    }

    fn unescaped(&mut self, view: View<'_>, piece: &[u8], start: usize) {
        let mut plain = Vec::with_capacity(piece.len());
        let undone = escapes::undo(piece, &mut plain);
        if !undone.escapes && !undone.lookalikes {
            return;
        }
        let step = if undone.escapes { Step::Escapes } else { Step::Lookalikes };
        self.child(view, &plain, step, &|span| {
            let from = escapes::locate(piece, span);
            (view.map)(start + from.start..start + from.end)
        });
    }

    /// What was put together from pieces: what none of them shows by itself.
    pub(super) fn joined(&mut self, joined: &Joined) {
        if self.scanner.is_blind(Step::Joined) {
            return;
        }
        let Some(work) = self.work.checked_sub(joined.text().len() - joined.judged()) else {
            self.too_deep = true;
            return;
        };
        let mut hits = Vec::new();
        let view = View {
            text: joined.text(),
            map: &|span| Some(widen(span.start)..widen(span.end)),
            steps: Steps::default().then(Step::Joined),
            depth: 1,
            fresh: joined.judged(),
            open: false,
        };
        let mut hit = |finding| hits.push(finding);
        // Of pieces put together a name and the look of a value say nothing.
        let mut inner = Look { found: &mut hit, place: self.place, unfinished: None, guesses: false, work, ..*self };
        inner.plain(view);
        inner.hidden(view);
        (self.work, self.inflated, self.too_deep) = (inner.work, inner.inflated, inner.too_deep);
        for finding in hits {
            if !self.alone(joined, &finding) {
                (self.found)(Finding { span: None, ..finding });
            }
        }
    }

    /// Whether one piece alone shows the same: then it was found where it stands.
    fn alone(&mut self, joined: &Joined, finding: &Finding) -> bool {
        let Some(span) = &finding.span else { return false };
        let narrow = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let pieces = joined.pieces(narrow(span.start)..narrow(span.end).min(joined.text().len()));
        if pieces.len() < 2 {
            return true;
        }
        let mut same = false;
        for piece in pieces {
            let Some(work) = self.work.checked_sub(piece.len()) else { return same };
            let mut hit = |it: Finding| same |= it.rule == finding.rule && it.name == finding.name;
            let mut inner =
                Look { found: &mut hit, place: self.place, unfinished: None, guesses: false, work, ..*self };
            let view = View { text: piece, map: &|_| None, steps: Steps::default(), depth: 1, fresh: 0, open: false };
            inner.plain(view);
            inner.hidden(view);
            (self.work, self.inflated) = (inner.work, inner.inflated);
        }
        same
    }

    /// What a text decodes to, looked through in turn.
    pub(super) fn child(&mut self, view: View<'_>, text: &[u8], step: Step, map: Map<'_>) {
        let Some(memory) = self.memory.checked_sub(text.len()) else {
            self.too_deep = true;
            return;
        };
        self.memory = memory;
        self.see(view, text, step, map);
        self.memory += text.len();
    }

    /// False where this is more than may be looked at.
    fn see(&mut self, view: View<'_>, text: &[u8], step: Step, map: Map<'_>) -> bool {
        if self.scanner.is_blind(step) {
            return true;
        }
        let inflated = if step == Step::Inflate { self.inflated.checked_sub(text.len()) } else { None };
        let left = inflated.map(|_| self.work).or_else(|| self.work.checked_sub(text.len()));
        let (Some(work), true) = (left, view.depth < MAX_DEPTH) else {
            self.too_deep = true;
            return false;
        };
        (self.work, self.inflated) = (work, inflated.unwrap_or(self.inflated));
        let steps = view.steps.then(step);
        let inner = View { text, map, steps, depth: view.depth + 1, fresh: 0, open: false };
        self.plain(inner);
        self.hidden(inner);
        true
    }
}

fn widen(at: usize) -> u64 {
    u64::try_from(at).unwrap_or(u64::MAX)
}
