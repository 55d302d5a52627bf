//! Finds many patterns at once by looking at one place in several.
//!
//! Every pattern is at least `stride + 3` long, so that wherever it stands, one of the text's four-byte groups at a
//! multiple of `stride` lies within it. Those groups are looked up in a bit map, and what passes is compared in full.
//! This costs a quarter of a nanosecond per byte where an automaton over some hundreds of patterns costs several.

use crate::scan::Steps;
use std::{fmt, ops::Range};
use zeroize::Zeroizing;

/// Shorter patterns make the stride, and with it the search, of all others slow.
pub(super) const MIN_PATTERN: usize = 8;
const GRAM: usize = 4;
const MAX_STRIDE: usize = 24;

pub(super) type Spelling = (Zeroizing<Vec<u8>>, usize, Steps);

/// Patterns, each with the entry that it spells and how.
#[derive(Default)]
pub(super) struct Search {
    patterns: Vec<Spelling>,
    stride: usize,
    /// One bit for each hash of a group; a power of two of them.
    bits: Vec<u64>,
    shift: u32,
    /// Group, pattern, the group's offset in it; in order of groups.
    grams: Vec<(u32, u32, u32)>,
}

impl Search {
    pub(super) fn new(mut patterns: Vec<Spelling>) -> Search {
        patterns.sort_by(|a, b| (a.1, a.0.as_slice()).cmp(&(b.1, b.0.as_slice())));
        patterns.dedup_by(|a, b| a.1 == b.1 && a.0 == b.0);
        let Some(shortest) = patterns.iter().map(|(bytes, ..)| bytes.len()).min() else { return Search::default() };
        let stride = (shortest + 1).saturating_sub(GRAM).clamp(1, MAX_STRIDE);
        let mut grams = Vec::new();
        for (index, (bytes, ..)) in (0u32..).zip(&patterns) {
            for (offset, group) in (0u32..).zip(bytes.windows(GRAM).take(stride)) {
                grams.push((gram(group), index, offset));
            }
        }
        grams.sort_unstable();
        let size = (grams.len() * 32).next_power_of_two().clamp(1 << 10, 1 << 18);
        let shift = 32 - size.trailing_zeros();
        let mut bits = vec![0u64; size / 64];
        for (group, ..) in &grams {
            let (word, bit) = place(*group, shift);
            if let Some(word) = bits.get_mut(word) {
                *word |= bit;
            }
        }
        Search { patterns, stride, bits, shift, grams }
    }

    /// Gives entry, place and way of every pattern in `text`.
    pub(super) fn find(&self, text: &[u8], hit: &mut dyn FnMut(usize, Range<usize>, Steps)) {
        if self.patterns.is_empty() {
            return;
        }
        let mut at = 0;
        while let Some(group) = text.get(at..at + GRAM) {
            let group = gram(group);
            let (word, bit) = place(group, self.shift);
            if self.bits.get(word).is_some_and(|bits| bits & bit != 0) {
                self.compare(text, at, group, hit);
            }
            at += self.stride;
        }
    }

    #[cold]
    fn compare(&self, text: &[u8], at: usize, group: u32, hit: &mut dyn FnMut(usize, Range<usize>, Steps)) {
        let first = self.grams.partition_point(|(it, ..)| *it < group);
        for (_, pattern, offset) in self.grams.iter().skip(first).take_while(|(it, ..)| *it == group) {
            let Some((bytes, entry, steps)) = self.patterns.get(*pattern as usize) else { continue };
            let Some(start) = at.checked_sub(*offset as usize) else { continue };
            let end = start + bytes.len();
            if text.get(start..end) == Some(bytes.as_slice()) {
                hit(*entry, start..end, *steps);
            }
        }
    }
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search").field("patterns", &self.patterns.len()).finish_non_exhaustive()
    }
}

fn gram(group: &[u8]) -> u32 {
    group.first_chunk::<GRAM>().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn place(group: u32, shift: u32) -> (usize, u64) {
    let hash = group.wrapping_mul(0x9E37_79B1) >> shift;
    ((hash / 64) as usize, 1 << (hash % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn search(patterns: &[&[u8]]) -> Search {
        let spelling = |(index, it): (usize, &&[u8])| (Zeroizing::new(it.to_vec()), index, Steps::default());
        Search::new(patterns.iter().enumerate().map(spelling).collect())
    }

    proptest! {
        #[test]
        fn what_a_plain_search_finds_is_found(
            patterns in prop::collection::vec(prop::collection::vec(0u8..4, 4..40), 1..5),
            text in prop::collection::vec(0u8..4, 0..400),
        ) {
            let patterns: Vec<&[u8]> = patterns.iter().map(Vec::as_slice).collect();
            let mut expected = std::collections::BTreeSet::new();
            for pattern in &patterns {
                for (start, window) in text.windows(pattern.len()).enumerate() {
                    if window == *pattern {
                        expected.insert((start, start + pattern.len()));
                    }
                }
            }
            let mut found = std::collections::BTreeSet::new();
            search(&patterns).find(&text, &mut |_, span, _| { found.insert((span.start, span.end)); });
            prop_assert_eq!(found, expected);
        }
    }
}
