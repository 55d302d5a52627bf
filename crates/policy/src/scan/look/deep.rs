//! Decoded bytes that are no text: compressed, or with text among them.

use super::{Look, MAX_DEPTH, Map, OVERLAP, PIECE, View};
use crate::scan::{
    Step, Steps,
    decode::{
        bases, class, deflate,
        inflate::{self, End, Inflater, Start},
        lanes, utf8,
    },
};
use std::ops::ControlFlow;

/// What a compressed text takes while it is followed.
const INFLATING: usize = Inflater::SIZE + 2 * PIECE;
/// A compressed text that gives more than so many bytes for one is no longer followed.
const MAX_RATIO: usize = 256;
/// A shorter blob is no compressed token.
const MIN_DEFLATED: usize = 16;
/// Text among other bytes that is shorter holds no token, nor what it is made of.
const MIN_TEXT: u32 = 12;

impl Look<'_> {
    /// Decoded bytes, which are text, or compressed, or what text there is among them.
    pub(super) fn blob(&mut self, view: View<'_>, bytes: &[u8], step: Step, map: Map<'_>) {
        if self.scanner.is_blind(step) {
            return;
        }
        if bases::is_text(bytes) {
            self.child(view, bytes, step, map);
            return;
        }
        let Some(work) = self.work.checked_sub(bytes.len()).filter(|_| view.depth < MAX_DEPTH) else {
            self.too_deep = true;
            return;
        };
        self.work = work;
        let steps = view.steps.then(step);
        let blob = View { text: bytes, map, steps, depth: view.depth + 1, fresh: 0, open: false };
        // A known value need not be text.
        self.scanner.known.find(bytes, &mut |entry, span, through| {
            let mut finding = entry.finding(map(span), through.iter().fold(steps, Steps::then));
            finding.place = self.place.clone();
            (self.found)(finding);
        });
        if bytes.len() >= MIN_DEFLATED && self.memory >= INFLATING && deflate::plausible(bytes, false) {
            self.inflated(blob, 0, Start::Deflate);
        }
        self.compressed(blob);
        if bytes.len() <= lanes::BLOCK && lanes::mask(bytes, 0, lanes::graphic).count_ones() < MIN_TEXT {
            return;
        }
        // Of noise next to nothing is valid for so long.
        let mut text = Vec::new();
        utf8::runs::<MIN_TEXT>(bytes, |part| {
            for chunk in bytes.get(part).unwrap_or_default().utf8_chunks() {
                let valid = chunk.valid().as_bytes();
                let graphic = || valid.iter().filter(|it| class::is(**it, class::GRAPHIC)).count();
                if valid.len() >= MIN_TEXT as usize && graphic() >= MIN_TEXT as usize {
                    text.extend_from_slice(valid);
                    text.push(b'\n');
                }
            }
        });
        if !text.is_empty() {
            self.child(view, &text, step, map);
        }
    }

    pub(super) fn compressed(&mut self, view: View<'_>) {
        inflate::starts(view.text, |at, start| {
            if at < view.fresh {
                return 0;
            }
            self.inflated(view, at, start)
        });
    }

    /// What is compressed at `at`. How many bytes it took, where it was such.
    fn inflated(&mut self, view: View<'_>, at: usize, start: Start) -> usize {
        let input = view.text.get(at..).unwrap_or_default();
        let header = if start == Start::Zlib { 2 } else { 0 };
        if !deflate::plausible(input.get(header..).unwrap_or_default(), view.open) {
            return 0;
        }
        let Some(memory) = self.memory.checked_sub(INFLATING).filter(|_| view.depth < MAX_DEPTH) else {
            self.too_deep = true;
            return 0;
        };
        self.memory = memory;
        let mut unfinished = Unfinished::new(start, view.steps);
        let (taken, end) = self.inflate(&mut unfinished, view, input);
        self.memory += INFLATING;
        match end {
            End::Complete => taken,
            End::Hungry if view.open && view.depth == 0 => {
                self.unfinished = Some(unfinished);
                taken
            }
            End::Hungry | End::Broken | End::Stopped => 0,
        }
    }

    /// Takes a compressed text further.
    fn inflate(&mut self, unfinished: &mut Unfinished, view: View<'_>, input: &[u8]) -> (usize, End) {
        let Unfinished { inflater, tail, given, taken: before, steps } = unfinished;
        let allowed = before.saturating_add(input.len()).saturating_mul(MAX_RATIO).saturating_add(PIECE);
        let mut bomb = false;
        let (taken, end) = inflater.run(input, |piece| {
            *given += piece.len();
            tail.extend_from_slice(piece);
            let inner = View { steps: *steps, ..view };
            bomb = *given > allowed || !self.see(inner, tail, Step::Inflate, &|_| None);
            let surplus = tail.len().saturating_sub(OVERLAP);
            tail.drain(..surplus);
            if bomb { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.too_deep |= bomb;
        *before += taken;
        (taken, end)
    }

    /// Takes a compressed text further that began before `fresh`. Whether it goes on after that.
    pub(in crate::scan) fn go_on(&mut self, unfinished: &mut Unfinished, view: View<'_>, fresh: &[u8]) -> bool {
        self.memory = self.memory.saturating_sub(INFLATING);
        let (_, end) = self.inflate(unfinished, view, fresh);
        let goes_on = end == End::Hungry && view.open;
        self.memory += if goes_on { 0 } else { INFLATING };
        goes_on
    }
}

/// A compressed text as far as it is there.
pub(in crate::scan) struct Unfinished {
    inflater: Inflater,
    /// The end of what it gave.
    tail: Vec<u8>,
    given: usize,
    taken: usize,
    steps: Steps,
}

impl Unfinished {
    fn new(start: Start, steps: Steps) -> Unfinished {
        Unfinished { inflater: Inflater::new(start), tail: Vec::new(), given: 0, taken: 0, steps }
    }
}

impl std::fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unfinished").field("given", &self.given).finish_non_exhaustive()
    }
}
