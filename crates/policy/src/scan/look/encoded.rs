//! Runs of digits of base64, base32, hexadecimal and base85, and what they decode to.

use super::{Look, Map, View};
use crate::scan::{
    Step,
    decode::{
        base64, bases,
        lanes::{self, Lane},
        runs,
    },
};
use std::ops::Range;

impl Look<'_> {
    /// Runs of digits of base64, base32, hexadecimal and base85.
    pub(super) fn encoded(&mut self, view: View<'_>) {
        let mut covered = 0;
        runs::runs::<{ base64::MIN_RUN }>(view.text, lanes::base64, |run| {
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
        runs::runs::<{ bases::MIN_BASE85 }>(view.text, lanes::graphic, |run| {
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
        // Names and paths have no capitals, or nothing else; of what stands for a token one digit in three is one.
        let capitals = digits.iter().filter(|it| **it < 26).count();
        if capitals == 0 || capitals == digits.len() {
            return;
        }
        let whole = |_| (view.map)(span.clone());
        let mut bytes = Vec::new();
        base64::stretches(&digits, |part| {
            bytes.clear();
            base64::decode(digits.get(part).unwrap_or_default(), &mut bytes);
            self.child(view, &bytes, Step::Base64, &whole);
        });
        bytes.clear();
        base64::decode(&digits, &mut bytes);
        drop(digits);
        self.blob(view, &bytes, Step::Base64, &whole);
    }

    /// Hexadecimal and base32 in a run of digits of base64, which theirs are among.
    fn other_bases(&mut self, view: View<'_>, span: Range<usize>) {
        let text = view.text.get(span.clone()).unwrap_or_default();
        let at = |part: &Range<usize>| (view.map)(span.start + part.start..span.start + part.end);
        runs::runs::<{ bases::MIN_HEX }>(text, lanes::hex, |run| {
            for skip in 0..2 {
                let bytes = bases::hex(text.get(run.clone()).unwrap_or_default(), skip);
                self.blob(view, &bytes, Step::Hex, &|_| at(&run));
            }
        });
        runs::runs::<{ bases::MIN_BASE32 }>(text, lanes::base32_upper, |run| {
            self.base32(view, text, &run, &|_| at(&run))
        });
        runs::runs::<{ bases::MIN_BASE32 }>(text, lanes::base32_lower, |run| {
            self.base32(view, text, &run, &|_| at(&run))
        });
    }

    fn base32(&mut self, view: View<'_>, text: &[u8], run: &Range<usize>, map: Map<'_>) {
        let digits = text.get(run.clone()).unwrap_or_default();
        for skip in 0..8 {
            if let Some(bytes) = bases::base32_text(digits, skip) {
                self.child(view, &bytes, Step::Base32, map);
            } else if skip == 0 {
                self.blob(view, &bases::base32(digits, 0), Step::Base32, map);
            }
        }
    }
}

/// Tries base85 where it may begin: at the run's beginning and after quotation marks and the like, where punctuation is
/// as frequent as it must be.
fn base85(run: &[u8], mut give: impl FnMut(Vec<u8>, Range<usize>)) {
    const HEAD: u64 = (1 << bases::MIN_BASE85) - 1;
    let (mut at, mut covered) = (0, 0);
    while at + bases::MIN_BASE85 as usize <= run.len() {
        let rest = run.get(at..).unwrap_or_default();
        let signs = !lanes::mask(run, at, lanes::alphanumeric) & HEAD;
        if at >= covered && signs.count_ones() >= 2 {
            bases::base85(rest, |bytes, length| {
                covered = at + length;
                give(bytes, at..covered);
            });
        }
        let Some(next) = opening(run, at) else { return };
        at = next + 1;
    }
}

/// The next sign after which an encoded value may begin.
fn opening(run: &[u8], at: usize) -> Option<usize> {
    let sign = |lane: Lane| lane.is(b'"').or(lane.is(b'\'')).or(lane.is(b'~')).or(lane.is(b'='));
    let mut block = (at..run.len()).step_by(lanes::BLOCK).map(|at| (at, lanes::mask(run, at, sign)));
    block.find(|(_, places)| *places != 0).map(|(at, places)| at + places.trailing_zeros() as usize)
}
