//! base64 of either alphabet, wrapped or not, at any alignment.

use crate::scan::decode::class::{self, BASE64, BASE64_VALUE};
use std::ops::Range;

/// Shorter runs hold less than eighteen bytes, and no token is that short.
pub(in crate::scan) const MIN_DIGITS: usize = 24;
/// The first of several lines may be shorter than that.
pub(in crate::scan) const MIN_RUN: u32 = 20;
/// A wrapped line is at least this long.
const MIN_LINE: usize = 16;

/// A run with its further lines, where it is wrapped.
pub(in crate::scan) fn span(text: &[u8], run: Range<usize>) -> Range<usize> {
    let mut span = run.clone();
    lines(text, run, |line| span.end = line.end);
    span
}

/// The digits' values of a run with its further lines up to `end`.
pub(in crate::scan) fn digits(text: &[u8], run: Range<usize>, end: usize) -> Vec<u8> {
    let mut values = Vec::with_capacity(end - run.start);
    take(text, run.clone(), &mut values);
    if end > run.end {
        lines(text, run, |line| take(text, line, &mut values));
    }
    values
}

/// Gives the lines after the first one.
fn lines(text: &[u8], first: Range<usize>, mut give: impl FnMut(Range<usize>)) {
    let mut end = first.end;
    let mut line = first.len();
    while line >= MIN_LINE {
        let Some(skip) = line_break(text.get(end..).unwrap_or_default()) else { break };
        let next = end + skip;
        let rest = text.get(next..).unwrap_or_default();
        line = rest.iter().take_while(|it| class::is(**it, BASE64)).count();
        if line == 0 {
            break;
        }
        end = next + line;
        give(next..end);
    }
}

fn take(text: &[u8], run: Range<usize>, values: &mut Vec<u8>) {
    let run = text.get(run).unwrap_or_default();
    values.extend(run.iter().map(|byte| class::of(&BASE64_VALUE, *byte)));
}

/// A line break with the next line's indentation and quotation, also as an escape.
fn line_break(rest: &[u8]) -> Option<usize> {
    if !matches!(rest.first(), Some(b'\r' | b'\n' | b'\\' | b'%')) {
        return None;
    }
    let breaks = [&b"\r\n"[..], b"\n", b"\\r\\n", b"\\n", b"%0D%0A", b"%0A"];
    let skip = breaks.iter().find(|it| rest.starts_with(it))?.len();
    let blanks = rest.get(skip..).unwrap_or_default().iter().take(16);
    Some(skip + blanks.take_while(|it| matches!(it, b' ' | b'\t' | b'>')).count())
}

/// The bytes that digits stand for; less than a byte at the end is left out.
pub(in crate::scan) fn decode(digits: &[u8], out: &mut Vec<u8>) {
    let (quads, rest) = digits.as_chunks::<4>();
    out.reserve(quads.len() * 3 + 2);
    let before = out.len();
    out.resize(before + quads.len() * 3, 0);
    let (threes, _) = out.get_mut(before..).unwrap_or_default().as_chunks_mut::<3>();
    for (three, quad) in threes.iter_mut().zip(quads) {
        let [_, a, b, c] = group(*quad).to_be_bytes();
        *three = [a, b, c];
    }
    match rest {
        [a, b] => out.push(a << 2 | b >> 4),
        [a, b, c] => out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2]),
        _ => {}
    }
}

fn group([a, b, c, d]: [u8; 4]) -> u32 {
    u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d)
}

/// As many groups of nothing but ASCII make a stretch of text: by chance one in four thousand.
const MIN_STRETCH: usize = 4;
/// The bits of four digits that are the highest ones of the three bytes that they stand for.
const HIGHEST: u32 = u32::from_le_bytes([0x20, 0x08, 0x02, 0]);

/// Gives the stretches of `digits` that, from their first digit on, stand for ASCII text. One that does not begin at a
/// group's border of the run shows that something stands before the encoded text that is no part of it.
pub(in crate::scan) fn stretches(digits: &[u8], mut give: impl FnMut(Range<usize>)) {
    for skip in 1..4 {
        let (quads, _) = digits.get(skip..).unwrap_or_default().as_chunks::<4>();
        let is_text = |quad: &[u8; 4]| u32::from_le_bytes(*quad) & HIGHEST == 0;
        // Of as many groups in a row, one is at a multiple of that.
        let mut ended = 0;
        for at in (MIN_STRETCH - 1..quads.len()).step_by(MIN_STRETCH) {
            if at < ended || !quads.get(at).is_some_and(is_text) {
                continue;
            }
            let (before, after) = quads.split_at_checked(at).unwrap_or_default();
            let start = at - before.iter().rev().take_while(|it| is_text(it)).count();
            let end = at + after.iter().take_while(|it| is_text(it)).count();
            ended = end;
            if end - start >= MIN_STRETCH {
                let last = if end == quads.len() { digits.len() } else { skip + (end + 1) * 4 };
                // The group before the first belongs to it in part.
                give(skip + start.saturating_sub(1) * 4..last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wrapped_and_misaligned_text_is_found() {
        let text = b"x=Z2hwXzAxMjM0NTY3\r\n ODlhYmNkZWY=";
        assert_eq!(span(text, 2..18), 2..32);
        let values = digits(text, 2..18, 32);
        let mut out = Vec::new();
        decode(&values, &mut out);
        assert_eq!(out, b"ghp_0123456789abcdef"[..out.len()].to_vec());
        assert!(out.len() >= 19);
        let values = digits(b"abZ2hwXzAxMjM0NTY3ODlhYmNkZWY", 0..29, 29);
        let mut seen = Vec::new();
        stretches(&values, |it| {
            let mut out = Vec::new();
            decode(&values[it], &mut out);
            seen.push(out);
        });
        assert!(seen.iter().any(|it| it.starts_with(b"ghp_0123456789abcd")), "{seen:?}");
    }

    /// Group by group, as it is meant.
    fn stretches_of_groups(digits: &[u8], give: &mut Vec<Range<usize>>) {
        for skip in 1..4 {
            let (quads, _) = digits.get(skip..).unwrap_or_default().as_chunks::<4>();
            let mut count = 0;
            for (index, quad) in quads.iter().enumerate() {
                if group(*quad) & 0x0080_8080 == 0 {
                    count += 1;
                    continue;
                }
                if count >= MIN_STRETCH {
                    give.push(skip + (index - count).saturating_sub(1) * 4..skip + (index + 1) * 4);
                }
                count = 0;
            }
            if count >= MIN_STRETCH {
                give.push(skip + (quads.len() - count).saturating_sub(1) * 4..digits.len());
            }
        }
    }

    proptest! {
        #[test]
        fn stretches_are_those_of_groups(
            digits in prop::collection::vec(prop_oneof![prop::collection::vec(0u8..64, 1..9), prop::collection::vec(0u8..2, 1..90)], 0..12),
        ) {
            let digits = digits.concat();
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            stretches_of_groups(&digits, &mut expected);
            stretches(&digits, |it| found.push(it));
            expected.sort_by_key(|it| (it.start, it.end));
            found.sort_by_key(|it| (it.start, it.end));
            prop_assert_eq!(found, expected);
        }
    }
}
