//! Where a keyword may stand: every second position of a text asked with one look-up that depends on no other.
//!
//! Invariant: no keyword is missed, in any case of its letters and in either direction; what is given may be none. The
//! look-ups of neighbouring positions do not wait for each other, which is why this is faster than an automaton that
//! walks the text. The text is followed by noughts.

use crate::scan::{
    decode::lanes::{self, BLOCK, HASHED, SEEN},
    rules,
};

/// As in `build/filter.rs`.
fn fold(block: u32) -> u32 {
    (block | 0x2020_2020) & 0x7f7f_7f7f
}

/// A number of interest has as many digits in one of the words of eight bytes it lies on.
const DIGITS: u32 = 5;

/// What is met on the way through a text.
pub(super) trait Met {
    /// These four bytes at `at`, case folded, are among those that announce keywords, or have a hash of theirs.
    fn block(&mut self, at: usize, block: u32);
    /// The eight bytes at `at` are mostly digits.
    fn digits(&mut self, at: usize);
}

pub(super) fn walk(text: &[u8], met: &mut impl Met) {
    let mut at = 0;
    while at < text.len() {
        match text.get(at..at + SEEN).and_then(|it| it.first_chunk()) {
            Some(seen) => one(seen, at, met),
            None => {
                let (mut seen, rest) = ([0; SEEN], text.get(at..).unwrap_or_default());
                let rest = rest.get(..rest.len().min(SEEN)).unwrap_or_default();
                if let Some(head) = seen.get_mut(..rest.len()) {
                    head.copy_from_slice(rest);
                }
                one(&seen, at, met);
            }
        }
        at += BLOCK;
    }
}

#[inline(always)]
fn one(seen: &[u8; SEEN], at: usize, met: &mut impl Met) {
    let mut announced = [0; BLOCK / 2];
    for (from, to) in (0..BLOCK).step_by(16).zip(announced.as_chunks_mut::<8>().0) {
        let Some(bytes) = seen.get(from..).and_then(|it| it.first_chunk::<HASHED>()) else { continue };
        let [[a, c, e, g], [b, d, f, h]] = lanes::hashes(bytes);
        *to = [a, b, c, d, e, f, g, h].map(rules::announced);
    }
    let mut any = lanes::marked(seen, &announced);
    while any != 0 {
        let offset = any.trailing_zeros() as usize * 2;
        any &= any - 1;
        let block = seen.get(offset..).and_then(|it| it.first_chunk()).map_or(0, |it| u32::from_le_bytes(*it));
        met.block(at + offset, fold(block));
    }
    let digits = lanes::mask(seen, 0, lanes::digit);
    if digits.count_ones() >= DIGITS {
        for (word, digits) in digits.to_le_bytes().iter().enumerate() {
            if digits.count_ones() >= DIGITS {
                met.digits(at + word * 8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where there are blocks of keywords, and where there are digits.
    #[derive(Default)]
    struct All(Vec<usize>, Vec<usize>);

    impl Met for All {
        fn block(&mut self, at: usize, _: u32) {
            self.0.push(at);
        }

        fn digits(&mut self, at: usize) {
            self.1.push(at);
        }
    }

    #[test]
    fn every_position_is_asked_and_digits_are_counted() {
        for length in 0..200 {
            let mut text = vec![b' '; length];
            text.extend_from_slice(b"GhP_");
            let mut all = All::default();
            walk(&text, &mut all);
            // What begins at an odd place is announced by what is beside it.
            assert!(all.0.iter().any(|at| at.abs_diff(length) < 2), "{length}: {:?}", all.0);
            text.resize(text.len().next_multiple_of(8), b'.');
            let digits = text.len();
            text.extend_from_slice(b"12 3456.1234 xyz");
            let mut all = All::default();
            walk(&text, &mut all);
            assert_eq!(all.1, [digits], "{length}");
        }
    }
}
