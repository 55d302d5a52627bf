//! Runs of digits of base64, base32, hexadecimal and base85, and what they decode to.

use super::{Look, View};
use crate::scan::{
    Step,
    decode::{
        base64, bases,
        class::{self, BASE64, GRAPHIC},
        lanes::{self, Classes},
        runs::{self, Runs},
    },
};
use std::ops::Range;

/// Where something encoded may stand.
#[derive(Debug, Clone)]
pub(super) enum Run {
    /// Digits of base64.
    Digits(Range<usize>),
    Printed(Range<usize>),
}

/// The runs of a text, found block by block.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    base64: Runs<{ base64::MIN_RUN }>,
    printed: Runs<{ bases::MIN_BASE85 }>,
}

impl Encoded {
    /// Where printable characters stand from `printed` on to the first block.
    pub(super) fn since(printed: usize) -> Encoded {
        Encoded { printed: Runs::since(printed), ..Encoded::default() }
    }

    #[inline(always)]
    pub(super) fn feed(&mut self, at: usize, classes: Classes, give: &mut dyn FnMut(Run)) {
        self.base64.feed(at, classes.base64, |run| give(Run::Digits(run)));
        self.printed.feed(at, classes.graphic, |run| give(Run::Printed(run)));
    }

    pub(super) fn end(&mut self, end: usize, give: &mut dyn FnMut(Run)) {
        self.base64.end(end, |run| give(Run::Digits(run)));
        self.printed.end(end, |run| give(Run::Printed(run)));
    }
}

/// Where the printable characters before `fresh` begin.
pub(super) fn printed_since(text: &[u8], fresh: usize) -> usize {
    since(text, fresh, |it| class::is(it, GRAPHIC))
}

/// Where the digits of base64 before `fresh` begin, with line breaks among them.
pub(super) fn digits_since(text: &[u8], fresh: usize) -> usize {
    since(text, fresh, |it| class::is(it, BASE64) || matches!(it, b'\r' | b'\n' | b'\\' | b'%' | b' ' | b'\t' | b'>'))
}

fn since(text: &[u8], fresh: usize, belongs: impl Fn(u8) -> bool) -> usize {
    let before = text.get(..fresh).unwrap_or_default();
    before.iter().rposition(|it| !belongs(*it)).map_or(0, |it| it + 1)
}

impl Look<'_> {
    /// What a run decodes to; `covered` is where the last one of digits ended, with its lines.
    pub(super) fn run(&mut self, view: View<'_>, run: Run, covered: &mut usize) {
        match run {
            Run::Digits(run) if run.start >= *covered => *covered = self.digits(view, run),
            Run::Digits(_) => {}
            Run::Printed(run) if run.end > view.fresh => {
                // Printable runs are long in minified code, too: only what follows an opening sign or a blank is tried.
                base85(view.text, run, |bytes, span| {
                    self.child(view, &bytes, Step::Base85, &|_| (view.map)(span.clone()));
                });
            }
            Run::Printed(_) => {}
        }
    }

    /// What digits of base64 stand for, and where their last line ends.
    fn digits(&mut self, view: View<'_>, run: Range<usize>) -> usize {
        let span = base64::span(view.text, run.clone());
        let (end, wrapped) = (span.end, span.end > run.end);
        if end <= view.fresh || span.len() < base64::MIN_DIGITS {
            return end;
        }
        if wrapped || lanes::any(view.text, run.clone(), lanes::capital) {
            let digits = base64::digits(view.text, run, end);
            if digits.len() < base64::MIN_DIGITS {
                return end;
            }
            self.base64(view, digits, span.clone());
        }
        // Signs break up the runs of other bases, and paths are full of them.
        let mut other = wrapped;
        if !wrapped {
            runs::runs::<{ bases::MIN_HEX }>(view.text, span.clone(), lanes::alphanumeric, |_| other = true);
        }
        if other {
            self.other_bases(view, span);
        }
        end
    }

    fn base64(&mut self, view: View<'_>, digits: Vec<u8>, span: Range<usize>) {
        // Names and paths have no capitals, or nothing else; of what stands for a token one digit in three is one.
        let capital = |it: &u8| *it < 26;
        if !digits.iter().any(capital) || digits.iter().all(capital) {
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
        let text = view.text;
        runs::runs::<{ bases::MIN_HEX }>(text, span.clone(), lanes::hex, |run| {
            for skip in 0..2 {
                let bytes = bases::hex(text.get(run.clone()).unwrap_or_default(), skip);
                self.blob(view, &bytes, Step::Hex, &|_| (view.map)(run.clone()));
            }
        });
        runs::runs::<{ bases::MIN_BASE32 }>(text, span.clone(), lanes::base32_upper, |run| self.base32(view, run));
        runs::runs::<{ bases::MIN_BASE32 }>(text, span, lanes::base32_lower, |run| self.base32(view, run));
    }

    fn base32(&mut self, view: View<'_>, run: Range<usize>) {
        let digits = view.text.get(run.clone()).unwrap_or_default();
        let map = |_| (view.map)(run.clone());
        for skip in 0..8 {
            if let Some(bytes) = bases::base32_text(digits, skip) {
                self.child(view, &bytes, Step::Base32, &map);
            } else if skip == 0 {
                self.blob(view, &bases::base32(digits, 0), Step::Base32, &map);
            }
        }
    }
}

/// Tries base85 where it may begin: at the run's beginning and after quotation marks and the like, where punctuation is
/// as frequent as it must be.
fn base85(text: &[u8], run: Range<usize>, mut give: impl FnMut(Vec<u8>, Range<usize>)) {
    const HEAD: u64 = (1 << bases::MIN_BASE85) - 1;
    let mut covered = 0;
    let mut begins = |at: usize| {
        if at < covered || run.end - at < bases::MIN_BASE85 as usize {
            return;
        }
        let alignments = bases::alignments(text, at, run.end);
        if alignments != [0; 3] && (!lanes::mask(text, at, lanes::alphanumeric) & HEAD).count_ones() >= 2 {
            bases::base85(text, at, run.end, alignments, |bytes, length| {
                covered = at + length;
                give(bytes, at..covered);
            });
        }
    };
    begins(run.start);
    // What is shorter from there on is none.
    let last = run.end - bases::MIN_BASE85 as usize;
    for block in (run.start..last).step_by(bases::BASE85_BEGINNINGS) {
        let mut places = bases::base85_beginnings(text, block);
        while places != 0 {
            let at = block + places.trailing_zeros() as usize;
            places &= places - 1;
            if at < last {
                begins(at + 1);
            }
        }
    }
}
