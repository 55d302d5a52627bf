//! Where bytes may be valid UTF-8, told by each byte and the one before it, sixty-four at a time.
//!
//! Invariant: all that is valid lies in what is given, with whole characters; not all that is given is valid.

use crate::scan::decode::{
    lanes::{self, BLOCK},
    runs::Runs,
};
use std::ops::Range;

/// Gives every part of at least `LEAST` bytes in which no byte shows by the one before or after it that it is not valid.
pub(in crate::scan) fn runs<const LEAST: u32>(bytes: &[u8], mut give: impl FnMut(Range<usize>)) {
    let mut runs = Runs::<LEAST>::default();
    let mut high_before = 0;
    for at in (0..bytes.len()).step_by(BLOCK) {
        let high = lanes::mask(bytes, at, |it| it.has(0x80));
        let first = lanes::mask(bytes, at, |it| it.within(0xc0, 0xff));
        let goes_on = high & !first;
        let next = u64::from(bytes.get(at + BLOCK).is_some_and(|it| matches!(it, 0x80..=0xbf)));
        // A byte that goes on what did not begin, and a first one that nothing goes on.
        let wrong = goes_on & !(high << 1 | high_before) | first & !(goes_on >> 1 | next << (BLOCK - 1));
        let there = u64::MAX >> (BLOCK - (bytes.len() - at).min(BLOCK));
        runs.feed(at, !wrong & there, &mut give);
        high_before = high >> (BLOCK - 1);
    }
    runs.end(bytes.len(), give);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_that_is_valid_is_in_the_runs(
            bytes in prop::collection::vec(
                prop_oneof![prop::collection::vec(any::<u8>(), 0..9), "[a-zé€😀]{0,40}".prop_map(String::into_bytes)],
                0..12,
            ),
        ) {
            let bytes = bytes.concat();
            let valid = |bytes: &[u8]| {
                let chunks = bytes.utf8_chunks().map(|it| it.valid().to_owned());
                chunks.filter(|it| it.len() >= 12).collect::<Vec<_>>()
            };
            let mut found = Vec::new();
            runs::<12>(&bytes, |it| found.extend(valid(&bytes[it])));
            prop_assert_eq!(found, valid(&bytes));
        }
    }
}
