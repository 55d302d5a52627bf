//! Quoted-printable (RFC 2045).

use crate::scan::decode::{
    bases::nibble,
    class::{self, GRAPHIC},
};
use std::ops::Range;

/// This many escapes this near to each other are no accident; a soft line break alone is enough, where the next line goes
/// on at once: one that begins with a blank, as in source code, goes on with no value.
const ESCAPES: usize = 3;
const NEAR: usize = 96;

/// Gives the parts of `text` that look quoted-printable, each with `reach` bytes on either side.
pub(in crate::scan) fn regions(text: &[u8], reach: usize, mut give: impl FnMut(Range<usize>)) {
    let mut region: Option<Range<usize>> = None;
    let mut recent = [usize::MAX; ESCAPES];
    for at in memchr::memchr_iter(b'=', text) {
        let after = text.get(at + 1).copied().unwrap_or_default();
        if !matches!(after, b'\n' | b'\r' | b'2'..=b'7' | b'C'..=b'F')
            || region.as_ref().is_some_and(|it| at + NEAR < it.end)
        {
            continue;
        }
        let counts = match text.get(at + 1..at + 3) {
            Some([b'\n', next]) => class::is(*next, GRAPHIC),
            Some([b'\r', b'\n']) => text.get(at + 3).is_some_and(|next| class::is(*next, GRAPHIC)),
            Some([high @ (b'2'..=b'7' | b'C'..=b'F'), low]) if is_digit(*low) && is_digit(*high) => {
                recent.rotate_left(1);
                if let Some(last) = recent.last_mut() {
                    *last = at;
                }
                recent.first().is_some_and(|first| *first != usize::MAX && at - first <= NEAR)
            }
            _ => false,
        };
        if counts {
            let (start, end) = (at.saturating_sub(reach), (at + reach).min(text.len()));
            region = match region {
                Some(it) if start <= it.end => Some(it.start..end),
                Some(it) => {
                    give(it);
                    Some(start..end)
                }
                None => Some(start..end),
            };
        }
    }
    if let Some(region) = region {
        give(region);
    }
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || byte.is_ascii_uppercase() && byte.is_ascii_hexdigit()
}

pub(in crate::scan) fn decode(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'=', rest) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        rest = match after {
            [_, b'\r', b'\n', rest @ ..] | [_, b'\n', rest @ ..] => rest,
            [_, high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(nibble(*high) << 4 | nibble(*low));
                rest
            }
            [equals, rest @ ..] => {
                out.push(*equals);
                rest
            }
            [] => rest,
        };
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_breaks_and_escapes_are_undone() {
        let text = b"token: ghp=5F01=\r\n2345=36=37 a=b";
        let mut seen = Vec::new();
        regions(text, 64, |it| seen.push(it));
        assert!(matches!(seen.as_slice(), [it] if *it == (0..text.len())), "{seen:?}");
        let mut out = Vec::new();
        decode(text, &mut out);
        assert_eq!(out, b"token: ghp_01234567 a=b");
    }
}
