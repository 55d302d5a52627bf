//! Long runs of bytes of one class, found by looking at one byte in many.

use crate::scan::decode::class;
use std::ops::Range;

/// Gives every run of at least `least` bytes of `class` in `text`, in order.
pub(in crate::scan) fn runs(text: &[u8], class: u8, least: usize, mut give: impl FnMut(Range<usize>)) {
    let stride = least.max(2) - 1;
    let (mut at, mut floor) = (stride - 1, 0);
    while let Some(byte) = text.get(at) {
        if !class::is(*byte, class) {
            at += stride;
            continue;
        }
        let head = text.get(floor..at).unwrap_or_default();
        let start = at - head.iter().rev().take_while(|it| class::is(**it, class)).count();
        // A run that began so late is not long enough before its next byte looked at.
        let needed = text.get(at..start + least).unwrap_or_default();
        if needed.is_empty() || !needed.iter().all(|it| class::is(*it, class)) {
            at += stride;
            continue;
        }
        let tail = text.get(at..).unwrap_or_default();
        let end = at + tail.iter().take_while(|it| class::is(**it, class)).count();
        give(start..end);
        floor = end;
        at = end + stride;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_long_run_is_found(text in "([a ]|a{20,30}){0,40}") {
            let mut expected = Vec::new();
            let mut at = 0;
            for run in text.split(' ') {
                if run.len() >= 24 {
                    expected.push(at..at + run.len());
                }
                at += run.len() + 1;
            }
            let mut found = Vec::new();
            runs(text.as_bytes(), class::BASE64, 24, |it| found.push(it));
            prop_assert_eq!(found, expected);
        }
    }
}
