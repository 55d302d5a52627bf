//! Long runs of bytes of one class, found by sixty-four bytes at a time.

use crate::scan::decode::lanes::{self, BLOCK, Lane};
use std::ops::Range;

/// Gives every run of at least `LEAST` bytes of `class` in a part of `text`, in order.
pub(in crate::scan) fn runs<const LEAST: u32>(
    text: &[u8],
    part: Range<usize>,
    class: impl Fn(Lane) -> Lane + Copy,
    mut give: impl FnMut(Range<usize>),
) {
    let mut runs = Runs::<LEAST>::default();
    for at in part.clone().step_by(BLOCK) {
        let within = u64::MAX >> (BLOCK - (part.end - at).min(BLOCK));
        runs.feed(at, lanes::mask(text, at, class) & within, &mut give);
    }
    runs.end(part.end, give);
}

/// Runs of at least `LEAST` bytes, of masks that come one after the other.
#[derive(Debug, Default)]
pub(in crate::scan) struct Runs<const LEAST: u32> {
    /// Where the run began that the last block ended in.
    open: Option<usize>,
}

impl<const LEAST: u32> Runs<LEAST> {
    /// A run that began at `start`, before the first block.
    pub(in crate::scan) fn since(start: usize) -> Runs<LEAST> {
        Runs { open: Some(start) }
    }

    /// Gives the runs that end in the block at `at`, of which `mask` says what is of the class.
    #[inline(always)]
    pub(in crate::scan) fn feed(&mut self, at: usize, mask: u64, mut give: impl FnMut(Range<usize>)) {
        let mut mask = mask;
        if let Some(start) = self.open {
            let more = mask.trailing_ones();
            if more == u64::BITS {
                return;
            }
            let end = at + more as usize;
            if end - start >= LEAST as usize {
                give(start..end);
            }
            mask &= u64::MAX << more;
        }
        let before = mask.leading_ones();
        self.open = (before > 0).then(|| at + BLOCK - before as usize);
        let mut begins = long::<LEAST>(mask);
        while begins != 0 {
            let start = begins.trailing_zeros();
            let end = start + (mask >> start).trailing_ones();
            if end == u64::BITS {
                return;
            }
            give(at + start as usize..at + end as usize);
            begins &= u64::MAX << end;
        }
    }

    /// The run that ends with the text.
    pub(in crate::scan) fn end(&mut self, end: usize, mut give: impl FnMut(Range<usize>)) {
        if let Some(start) = self.open.take().filter(|it| end.saturating_sub(*it) >= LEAST as usize) {
            give(start..end);
        }
    }
}

/// Which bits are followed by so many.
#[inline(always)]
fn long<const LEAST: u32>(bits: u64) -> u64 {
    let (mut all, mut have) = (bits, 1);
    while have < LEAST {
        let step = have.min(LEAST - have);
        all &= all >> step;
        have += step;
    }
    all
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
            runs::<24>(text.as_bytes(), 0..text.len(), lanes::base64, |it| found.push(it));
            prop_assert_eq!(found, expected);
        }
    }
}
