//! Long runs of bytes of one class, found by sixty-four bytes at a time.

use crate::scan::decode::lanes::{self, BLOCK, Lane};
use std::ops::Range;

/// Gives every run of at least `LEAST` bytes of `class` in `text`, in order.
pub(in crate::scan) fn runs<const LEAST: u32>(
    text: &[u8],
    class: impl Fn(Lane) -> Lane + Copy,
    mut give: impl FnMut(Range<usize>),
) {
    let mut at = 0;
    let mut here = lanes::mask(text, at, class);
    while at < text.len() {
        let next = lanes::mask(text, at + BLOCK, class);
        let begins = long::<LEAST>(u128::from(next) << 64 | u128::from(here));
        if begins == 0 {
            (at, here) = (at + BLOCK, next);
            continue;
        }
        let start = at + begins.trailing_zeros() as usize;
        let end = end(text, start, class);
        give(start..end);
        at = end;
        here = lanes::mask(text, at, class);
    }
}

/// Which of the first sixty-four bits are followed by so many.
#[inline(always)]
fn long<const LEAST: u32>(bits: u128) -> u64 {
    let (mut all, mut have) = (bits, 1);
    while have < LEAST {
        let step = have.min(LEAST - have);
        all &= all >> step;
        have += step;
    }
    all.to_le_bytes().first_chunk().map_or(0, |it| u64::from_le_bytes(*it))
}

/// Where the run that `start` lies in ends.
pub(in crate::scan) fn end(text: &[u8], start: usize, class: impl Fn(Lane) -> Lane) -> usize {
    let mut at = start;
    loop {
        let count = lanes::mask(text, at, &class).trailing_ones();
        at += count as usize;
        if count < u64::BITS {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_long_run_is_found(text in "([a ]|a{20,30}|a{60,70}){0,40}") {
            let mut expected = Vec::new();
            let mut at = 0;
            for run in text.split(' ') {
                if run.len() >= 24 {
                    expected.push(at..at + run.len());
                }
                at += run.len() + 1;
            }
            let mut found = Vec::new();
            runs::<24>(text.as_bytes(), lanes::base64, |it| found.push(it));
            prop_assert_eq!(found, expected);
        }
    }
}
