//! Text that people do not see and agents read: characters without a shape, comments, elements that are not shown.

use super::MARGIN;
use memchr::memmem;
use std::ops::Range;

const TAGS: &str = "inbound-invisible-tags";
const SHAPELESS: &str = "inbound-invisible-text";
/// Letters in a row; the flags of regions are written with five.
const MIN_TAGS: usize = 8;
/// Joiners and spaces without width in a row, as bits are hidden in them.
const MIN_SHAPELESS: usize = 16;

/// Gives runs of invisible characters that begin in this part of the text; of one that began before it, the rest.
pub(super) fn find(text: &[u8], within: Range<usize>, each: &mut dyn FnMut(&'static str, Range<usize>)) {
    runs(text, within.clone(), &[0xf3, 0xa0], MIN_TAGS, tag, &mut |span| each(TAGS, span));
    runs(text, within, &[0xe2], MIN_SHAPELESS, shapeless, &mut |span| each(SHAPELESS, span));
}

/// Runs of at least `least` characters that `length` knows, each beginning with `lead`.
fn runs(
    text: &[u8],
    within: Range<usize>,
    lead: &[u8],
    least: usize,
    length: fn(&[u8]) -> Option<usize>,
    each: &mut dyn FnMut(Range<usize>),
) {
    let mut from = within.start;
    while let Some(at) = text.get(from..).and_then(|rest| memmem::find(rest, lead)).map(|at| from + at) {
        if at >= within.end {
            return;
        }
        let (mut end, mut count) = (at, 0);
        while let Some(length) = text.get(end..).and_then(length) {
            end += length;
            count += 1;
        }
        if count >= least {
            each(at..end);
        }
        from = end.max(at + 1);
    }
}

/// U+E0000 to U+E007F, which write ASCII without showing it.
fn tag(text: &[u8]) -> Option<usize> {
    matches!(text, [0xf3, 0xa0, 0x80 | 0x81, _, ..]).then_some(4)
}

/// U+200B to U+200F, U+2060 to U+2064, and the byte order mark's character.
fn shapeless(text: &[u8]) -> Option<usize> {
    matches!(text, [0xe2, 0x80, 0x8b..=0x8f, ..] | [0xe2, 0x81, 0xa0..=0xa4, ..] | [0xef, 0xbb, 0xbf, ..]).then_some(3)
}

/// How elements are kept from being shown; without spaces, in lower case.
const UNSEEN: [&str; 9] = [
    "display:none",
    "visibility:hidden",
    "opacity:0;",
    "opacity:0\"",
    "font-size:0",
    "font-size:1px",
    "left:-9999px",
    "color:transparent",
    "<templatehidden",
];

/// Whether this place lies in a comment of HTML or Markdown, or in an element that is not shown, as far as the bytes
/// before it tell.
pub(super) fn is_unseen(text: &[u8], at: usize) -> bool {
    let before = text.get(at.saturating_sub(MARGIN)..at).unwrap_or_default();
    let opened = memmem::rfind(before, b"<!--");
    if opened.is_some_and(|open| memmem::rfind(before, b"-->").is_none_or(|close| close < open)) {
        return true;
    }
    let line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.trim_ascii_start().starts_with(b"[//]:") || line.trim_ascii_start().starts_with(b"[comment]:") {
        return true;
    }
    // The tag that the text stands right behind: nothing was closed since.
    let Some(tag) = before.iter().rposition(|byte| *byte == b'<') else { return false };
    let tag: String = before
        .get(tag..)
        .unwrap_or_default()
        .iter()
        .filter(|b| !b.is_ascii_whitespace() && **b != b'\\')
        .map(|b| char::from(b.to_ascii_lowercase()))
        .collect();
    !tag.starts_with("</") && UNSEEN.iter().any(|style| tag.contains(style))
}
