//! Where a keyword may stand: each position of a text asked with one look-up that depends on no other.
//!
//! Invariant: no keyword is missed, in any case of its letters and in either direction; what is given may be none. The
//! look-ups of neighbouring positions do not wait for each other, which is why this is faster than an automaton that
//! walks the text.

use crate::scan::rules;

/// As in `build/filter.rs`.
const BITS: u32 = 17;
const BUCKET_BITS: u32 = 12;
const FOLD: u64 = 0x2020_2020_2020_2020;
const FACTOR: u32 = 0x9E37_79B1;
const STEP: usize = 8;
/// A number of interest has as many digits in one of the words of eight bytes it lies on.
const DIGITS: u64 = 5;

/// What is met on the way through a text.
pub(super) trait Met {
    /// These four bytes at `at`, case folded, are among those that announce keywords.
    fn block(&mut self, at: usize, block: u32, bucket: u32);
    /// The eight bytes at `at` are mostly digits.
    fn digits(&mut self, at: usize);
}

pub(super) fn walk(text: &[u8], met: &mut impl Met) {
    let mut at = 0;
    while let Some(bytes) = text.get(at..at + STEP + 4).and_then(|it| <[u8; STEP + 4]>::try_from(it).ok()) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        let word = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let (first, second) = (word | FOLD, u64::from_le_bytes([e, f, g, h, i, j, k, l]) | FOLD);
        let announced = |word: u64, shift: u32| rules::announced(hash(low(word >> shift)));
        let mut any =
            announced(first, 0) | announced(first, 8) << 1 | announced(first, 16) << 2 | announced(first, 24) << 3;
        any |= (announced(second, 0)
            | announced(second, 8) << 1
            | announced(second, 16) << 2
            | announced(second, 24) << 3)
            << 4;
        while any != 0 {
            let offset = any.trailing_zeros();
            let word = if offset < 4 { first >> (offset * 8) } else { second >> ((offset - 4) * 8) };
            let hash = hash(low(word));
            met.block(at + offset as usize, low(word), hash >> (BITS - BUCKET_BITS));
            any &= any - 1;
        }
        if digits(word) >= DIGITS {
            met.digits(at);
        }
        at += STEP;
    }
    for (offset, window) in text.get(at..).unwrap_or_default().windows(4).enumerate() {
        let block = <[u8; 4]>::try_from(window).map_or(0, u32::from_le_bytes) | low(FOLD);
        ask(at + offset, block, met);
    }
    for tail in [at, at + 8] {
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(text.get(tail..).unwrap_or_default()) {
            *to = *from;
        }
        if digits(u64::from_le_bytes(last)) >= DIGITS {
            met.digits(tail);
        }
    }
}

#[inline]
fn low(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

#[inline]
fn hash(block: u32) -> u32 {
    block.wrapping_mul(FACTOR) >> (32 - BITS)
}

#[inline]
fn ask(at: usize, block: u32, met: &mut impl Met) {
    let hash = hash(block);
    if rules::announced(hash) != 0 {
        met.block(at, block, hash >> (BITS - BUCKET_BITS));
    }
}

/// How many of the eight bytes are digits.
#[inline]
fn digits(word: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let apart = word ^ 0x3030_3030_3030_3030;
    let above_nine = ((apart & LOW) + 0x7676_7676_7676_7676) | apart;
    ((!above_nine & !LOW) >> 7).wrapping_mul(0x0101_0101_0101_0101) >> 56
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn digits_are_counted() {
        for (text, count) in
            [(*b"12345678", 8), (*b"a1b2c3d4", 4), (*b"/:/:/:/:", 0), ([0xb0; 8], 0), (*b"0999 900", 7)]
        {
            assert_eq!(digits(u64::from_le_bytes(text)), count, "{text:?}");
        }
    }
}
