//! Looks through a text: at what stands there, at what it decodes to, at what that decodes to, and so on.
//!
//! Invariant: the bytes looked at ([`WORK`] per byte given) and the memory in use at a time ([`MEMORY`]) are bounded, and
//! what is left undone for that, or for its depth, is a finding of its own ([`TOO_DEEP`]): never a silent pass.

use crate::scan::{
    Finding, MAX_MATCH, Place, Scanner, Severity, Shown, Step, Steps, TOO_DEEP,
    decode::{
        base64, bases, class,
        delimited::{self, Apart},
        escapes,
        inflate::{self, End, Inflater, Start},
        quoted, runs,
    },
    normalise,
    parts::Joined,
};
use std::ops::{ControlFlow, Range};

/// Encodings within each other that are followed.
pub(super) const MAX_DEPTH: u8 = 14;
/// Bytes of decoded text that are looked at per byte given, and besides.
const WORK: usize = 24;
const WORK_BESIDES: usize = 64 * 1024;
/// Bytes of decoded texts that are there at a time.
const MEMORY: usize = 112 * 1024;
/// What a compressed text takes while it is followed.
const INFLATING: usize = Inflater::SIZE + 2 * PIECE;
/// Text on either side of an escape that belongs to it.
const REACH: usize = MAX_MATCH;
/// Texts with escapes are looked at in pieces of so many bytes, which overlap by [`OVERLAP`].
const PIECE: usize = 8 * 1024;
const OVERLAP: usize = 2 * MAX_MATCH;
/// A compressed text that gives more than so many bytes for one is no longer followed.
const MAX_RATIO: usize = 256;

/// A shorter blob is no compressed token.
const MIN_DEFLATED: usize = 16;
/// A compressed text as short as a hash is one block with fixed codes, which one hash in eight begins like.
const SHORT_DEFLATED: usize = 68;

/// Text among other bytes that is shorter holds no token, nor what it is made of.
const MIN_TEXT: usize = 12;

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
    work: usize,
    memory: usize,
    too_deep: bool,
    /// A compressed text that goes on beyond the text given.
    pub(super) unfinished: Option<Unfinished>,
}

impl<'a> Look<'a> {
    /// For a text of which `fresh` bytes are new.
    pub(super) fn new(scanner: &'a Scanner, place: &'a Place, fresh: usize, found: &'a mut dyn FnMut(Finding)) -> Self {
        let work = fresh.saturating_mul(WORK).saturating_add(WORK_BESIDES);
        Look { scanner, place, found, work, memory: MEMORY, too_deep: false, unfinished: None }
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
        self.scanner.plain(view.text, view.text.len(), !view.open, view.steps, &mut |finding, span| {
            if span.end > view.fresh || view.fresh == 0 {
                tell(finding, span);
            }
        });
    }

    /// What the text decodes to.
    pub(super) fn hidden(&mut self, view: View<'_>) {
        let odd = self.escaped(view);
        self.encoded(view);
        delimited::apart(view.text, |span, apart| {
            if span.end > view.fresh {
                let whole = |_| (view.map)(span.clone());
                match apart {
                    Apart::Hex(bytes) => self.blob(view, &bytes, Step::Hex, &whole),
                    Apart::Single(bytes) => self.child(view, &bytes, Step::Spaced, &whole),
                }
            }
        });
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

    /// Escapes and lookalikes. Whether there are bytes that are no plain text.
    fn escaped(&mut self, view: View<'_>) -> bool {
        let mut odd = false;
        escapes::regions(view.text, REACH, |region| {
            let mut start = region.start;
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
        });
        if odd && let Some(said) = normalise::invisible(view.text) {
            self.child(view, &said, Step::Invisible, &|_| None);
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

    /// Runs of digits of base64, base32, hexadecimal and base85.
    fn encoded(&mut self, view: View<'_>) {
        let mut covered = 0;
        runs::runs(view.text, class::BASE64, base64::MIN_RUN, |run| {
            if run.start < covered {
                return;
            }
            let (digits, span) = base64::digits(view.text, run);
            let digits = if span.end > view.fresh { digits } else { Vec::new() };
            covered = span.end;
            if span.end > view.fresh && digits.len() >= base64::MIN_DIGITS {
                self.base64(view, digits, span.clone());
                self.other_bases(view, span);
            }
        });
        runs::runs(view.text, class::GRAPHIC, bases::MIN_BASE85, |run| {
            let digits = view.text.get(run.clone()).unwrap_or_default();
            // Printable runs are long in minified code, too: only what follows an opening sign or a blank is tried.
            if run.end > view.fresh {
                base85(digits, |bytes, part| {
                    let span = run.start + part.start..run.start + part.end;
                    self.child(view, &bytes, Step::Base85, &|_| (view.map)(span.clone()));
                });
            }
        });
    }

    fn base64(&mut self, view: View<'_>, digits: Vec<u8>, span: Range<usize>) {
        let whole = |_| (view.map)(span.clone());
        let mut bytes = Vec::new();
        base64::stretches(&digits, |part| {
            bytes.clear();
            base64::decode(digits.get(part).unwrap_or_default(), &mut bytes);
            self.child(view, &bytes, Step::Base64, &whole);
        });
        // Names and paths have no capitals, or nothing else.
        let capitals = digits.iter().filter(|it| **it < 26).count();
        if capitals == 0 || capitals == digits.len() {
            return;
        }
        bytes.clear();
        base64::decode(&digits, &mut bytes);
        drop(digits);
        self.blob(view, &bytes, Step::Base64, &whole);
    }

    /// Hexadecimal and base32 in a run of digits of base64, which theirs are among.
    fn other_bases(&mut self, view: View<'_>, span: Range<usize>) {
        let text = view.text.get(span.clone()).unwrap_or_default();
        let at = |part: &Range<usize>| (view.map)(span.start + part.start..span.start + part.end);
        runs::runs(text, class::HEX, bases::MIN_HEX, |run| {
            for skip in 0..2 {
                let bytes = bases::hex(text.get(run.clone()).unwrap_or_default(), skip);
                self.blob(view, &bytes, Step::Hex, &|_| at(&run));
            }
        });
        for case in [class::BASE32_UPPER, class::BASE32_LOWER] {
            runs::runs(text, case, bases::MIN_BASE32, |run| {
                let digits = text.get(run.clone()).unwrap_or_default();
                for skip in 0..8 {
                    let bytes = bases::base32(digits, skip);
                    if bases::is_text(&bytes) {
                        self.child(view, &bytes, Step::Base32, &|_| at(&run));
                    } else if skip == 0 {
                        self.blob(view, &bytes, Step::Base32, &|_| at(&run));
                    }
                }
            });
        }
    }

    /// Decoded bytes, which are text, or compressed, or what text there is among them.
    fn blob(&mut self, view: View<'_>, bytes: &[u8], step: Step, map: Map<'_>) {
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
        let first = bytes.first().copied().unwrap_or_default();
        let begins = if bytes.len() < SHORT_DEFLATED { first & 7 == 3 } else { first & 6 != 6 };
        if begins && bytes.len() >= MIN_DEFLATED && self.memory >= INFLATING {
            self.inflated(blob, 0, Start::Deflate);
        }
        self.compressed(blob);
        // Of noise next to nothing is valid for so long.
        let mut text = Vec::new();
        for chunk in bytes.utf8_chunks() {
            let valid = chunk.valid().as_bytes();
            if valid.len() >= MIN_TEXT && valid.iter().filter(|it| class::is(**it, class::GRAPHIC)).count() >= MIN_TEXT
            {
                text.extend_from_slice(valid);
                text.push(b'\n');
            }
        }
        if !text.is_empty() {
            self.child(view, &text, step, map);
        }
    }

    fn compressed(&mut self, view: View<'_>) {
        inflate::starts(view.text, |at, start| {
            if at < view.fresh {
                return 0;
            }
            self.inflated(view, at, start)
        });
    }

    /// What is compressed at `at`. How many bytes it took, where it was such.
    fn inflated(&mut self, view: View<'_>, at: usize, start: Start) -> usize {
        let Some(memory) = self.memory.checked_sub(INFLATING).filter(|_| view.depth < MAX_DEPTH) else {
            self.too_deep = true;
            return 0;
        };
        self.memory = memory;
        let input = view.text.get(at..).unwrap_or_default();
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
    pub(super) fn inflate(&mut self, unfinished: &mut Unfinished, view: View<'_>, input: &[u8]) -> (usize, End) {
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
    pub(super) fn go_on(&mut self, unfinished: &mut Unfinished, view: View<'_>, fresh: &[u8]) -> bool {
        self.memory = self.memory.saturating_sub(INFLATING);
        let (_, end) = self.inflate(unfinished, view, fresh);
        let goes_on = end == End::Hungry && view.open;
        self.memory += if goes_on { 0 } else { INFLATING };
        goes_on
    }

    /// What was put together from pieces: what none of them shows by itself.
    pub(super) fn joined(&mut self, joined: &Joined) {
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
        let mut inner = Look { found: &mut hit, place: self.place, unfinished: None, work, ..*self };
        inner.plain(view);
        inner.hidden(view);
        (self.work, self.too_deep) = (inner.work, inner.too_deep);
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
            let mut inner = Look { found: &mut hit, place: self.place, unfinished: None, work, ..*self };
            let view = View { text: piece, map: &|_| None, steps: Steps::default(), depth: 1, fresh: 0, open: false };
            inner.plain(view);
            inner.hidden(view);
            self.work = inner.work;
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
        let (Some(work), true) = (self.work.checked_sub(text.len()), view.depth < MAX_DEPTH) else {
            self.too_deep = true;
            return false;
        };
        self.work = work;
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

/// A compressed text as far as it is there.
pub(super) struct Unfinished {
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

/// Tries base85 where it may begin: at the run's beginning and after quotation marks and the like, where punctuation is
/// as frequent as it must be.
fn base85(run: &[u8], mut give: impl FnMut(Vec<u8>, Range<usize>)) {
    let (mut at, mut covered) = (0, 0);
    for part in run.split_inclusive(|byte| matches!(byte, b'"' | b'\'' | b'~' | b'=')) {
        let rest = run.get(at..).unwrap_or_default();
        let head = rest.get(..bases::MIN_BASE85).unwrap_or_default();
        if at >= covered && head.iter().filter(|it| !class::is(**it, class::ALPHANUMERIC)).count() >= 2 {
            bases::base85(rest, |bytes, length| {
                covered = at + length;
                give(bytes, at..covered);
            });
        }
        at += part.len();
    }
}
