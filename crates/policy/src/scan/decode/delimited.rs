//! Hexadecimal with separators, and single characters with separators between them.

use crate::scan::decode::{bases::nibble, class, lanes};
use std::ops::Range;

/// Fewer bytes hide nothing.
const MIN_BYTES: usize = 12;

/// What was found between separators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::scan) enum Apart {
    /// Bytes written as pairs of hexadecimal digits.
    Hex(Vec<u8>),
    /// Single characters.
    Single(Vec<u8>),
}

/// Looks for what stands apart, block by block.
#[derive(Debug, Default)]
pub(in crate::scan) struct Separated {
    /// Up to here it was found.
    floor: usize,
}

impl Separated {
    /// Gives what stands apart around a place in the block at `at`, of which `alphanumeric` says where letters and digits
    /// are and `graphic` what is printed; and where.
    #[inline(always)]
    pub(in crate::scan) fn feed(
        &mut self,
        text: &[u8],
        at: usize,
        alphanumeric: u64,
        graphic: u64,
        give: impl FnMut(Range<usize>, Apart),
    ) {
        let places = periodic(text, at, alphanumeric, graphic);
        if places != 0 {
            self.periodic(text, at, places, give);
        }
    }

    fn periodic(&mut self, text: &[u8], at: usize, places: u64, mut give: impl FnMut(Range<usize>, Apart)) {
        let mut places = places;
        while places != 0 {
            let place = at + places.trailing_zeros() as usize;
            places &= places - 1;
            let Some(period) = period(text, place).filter(|_| place >= self.floor) else { continue };
            let found = if period == 2 { single(text, place, self.floor) } else { None };
            let (span, apart) = found.unwrap_or_else(|| hex(text, place, self.floor));
            self.floor = span.end;
            match apart {
                Apart::Hex(bytes) if bytes.is_empty() => {}
                apart => give(span, apart),
            }
        }
    }
}

/// Which bytes of the block at `at` may be a separator that comes four times more at the same distance, with something
/// between. Of twelve bytes written so, five lie in one block wherever blocks begin.
#[inline(always)]
fn periodic(text: &[u8], at: usize, alphanumeric: u64, graphic: u64) -> u64 {
    let separators = !alphanumeric;
    let row = |distance: usize| four(separators, distance) & separators >> (4 * distance);
    let singles = row(2) & four(graphic >> 1, 2);
    let pairs = row(3) | row(4) | row(5) | row(6);
    // What comes again at once is a line that somebody drew.
    let singles = if singles == 0 { 0 } else { singles & !lanes::repeated(text, at, 1) };
    singles | if pairs == 0 { 0 } else { with_pairs(text, at, row) }
}

/// Of rows of separators those with two digits of hexadecimal side by side in each gap.
fn with_pairs(text: &[u8], at: usize, row: impl Fn(usize) -> u64) -> u64 {
    let digits = lanes::mask(text, at, lanes::hex);
    let pairs = digits & digits >> 1;
    let (mut places, mut within) = (0, pairs >> 1);
    for distance in 3..=6 {
        places |= row(distance) & four(within, distance);
        within |= pairs >> (distance - 1);
    }
    places
}

/// Where a bit is set and three times more at this distance.
#[inline(always)]
fn four(bits: u64, distance: usize) -> u64 {
    let two = bits & bits >> distance;
    two & two >> (2 * distance)
}

/// The distance at which the separator at `place` comes four times more.
fn period(text: &[u8], place: usize) -> Option<usize> {
    let separator = text.get(place)?;
    let again = |distance: &usize| (1..5).all(|times| text.get(place + distance * times) == Some(separator));
    let pairs =
        |distance: &usize| *distance == 2 || (0..4).all(|times| has_pair(text, place + times * distance, *distance));
    (2..=6).find(|it| again(it) && pairs(it))
}

/// Two digits of hexadecimal side by side, between the separator at `place` and the next.
fn has_pair(text: &[u8], place: usize, distance: usize) -> bool {
    let between = text.get(place + 1..place + distance).unwrap_or_default();
    between.windows(2).any(|pair| pair.iter().all(|it| class::is(*it, class::HEX)))
}

/// Single characters with the same separator after each, around the one at `place`.
fn single(text: &[u8], place: usize, floor: usize) -> Option<(Range<usize>, Apart)> {
    let separator = *text.get(place)?;
    let is_pair = |at: usize| {
        text.get(at).is_some_and(|it| class::is(*it, class::GRAPHIC) && *it != separator)
            && text.get(at + 1) == Some(&separator)
    };
    let mut start = place.checked_sub(1).filter(|it| *it >= floor)?;
    while let Some(before) = start.checked_sub(2).filter(|it| *it >= floor && is_pair(*it)) {
        start = before;
    }
    let (mut end, mut characters) = (start, Vec::new());
    while is_pair(end) {
        characters.extend(text.get(end));
        end += 2;
    }
    // The last has no separator after it.
    if let Some(last) = text.get(end).filter(|it| class::is(**it, class::GRAPHIC)) {
        characters.push(*last);
        end += 1;
    }
    (characters.len() >= MIN_BYTES).then_some((start..end, Apart::Single(characters)))
}

/// Pairs of digits with anything of a few separators between, around `at`: where, and what they stand for.
fn hex(text: &[u8], at: usize, floor: usize) -> (Range<usize>, Apart) {
    let belongs = |it: &u8| class::is(*it, class::HEX) || is_beside(*it);
    let head = text.get(floor..at).unwrap_or_default();
    let start = at - head.iter().rev().take_while(|it| belongs(it)).count();
    let tail = text.get(at..).unwrap_or_default();
    let end = at + tail.iter().take_while(|it| belongs(it)).count();
    // The long sequences, one after the other.
    let (mut all, mut sequence) = (Vec::new(), 0);
    let close = |all: &mut Vec<u8>, sequence: usize| {
        if sequence < MIN_BYTES {
            all.truncate(all.len() - sequence);
        } else {
            all.push(b'\n');
        }
    };
    for word in text.get(start..end).unwrap_or_default().split(|it| !class::is(*it, class::HEX)) {
        match word {
            [high, low] => {
                all.push(nibble(*high) << 4 | nibble(*low));
                sequence += 1;
            }
            // Of `0x61` and of two separators in a row.
            [] | [b'0'] => {}
            _ => {
                close(&mut all, sequence);
                sequence = 0;
            }
        }
    }
    close(&mut all, sequence);
    (start..end.max(at + 1), Apart::Hex(all))
}

/// What may stand between pairs of digits.
fn is_beside(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t'
            | b'\r'
            | b'\n'
            | b','
            | b':'
            | b';'
            | b'-'
            | b'.'
            | b'_'
            | b'|'
            | b'/'
            | b'\\'
            | b'x'
            | b'"'
            | b'\''
            | b'#'
            | b'['
            | b']'
            | b'{'
            | b'}'
            | b'+'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(text: &[u8], mut give: impl FnMut(Range<usize>, Apart)) {
        let mut separated = Separated::default();
        for at in (0..text.len()).step_by(lanes::BLOCK) {
            let classes = lanes::Classes::of(text, at);
            separated.feed(text, at, classes.alphanumeric, classes.graphic, &mut give);
        }
    }

    #[test]
    fn six_separators_are_seen_through() {
        let value = b"ghp_0123456789abcdef";
        for (before, between) in [("", ":"), ("", " "), ("", "-"), ("0x", ", "), ("0x", ","), ("\\x", ""), ("", "::")] {
            let pairs: Vec<String> = value.iter().map(|it| format!("{before}{it:02x}")).collect();
            let text = format!("the value is {} and more of the text", pairs.join(between));
            let mut seen = Vec::new();
            apart(text.as_bytes(), |_, it| seen.push(it));
            let Some(Apart::Hex(bytes)) = seen.first() else { panic!("{text}: {seen:?}") };
            assert!(bytes.starts_with(value), "{text}: {seen:?}");
        }
    }

    #[test]
    fn single_characters_are_put_together() {
        for between in [".", "-", " ", "_", "/", "\n"] {
            let singles: Vec<String> = "ghp0123456789abcdef".chars().map(String::from).collect();
            let text = format!("look: {} that was it, thank you", singles.join(between));
            let mut seen = Vec::new();
            apart(text.as_bytes(), |_, it| seen.push(it));
            let Some(Apart::Single(characters)) = seen.first() else { panic!("{text}: {seen:?}") };
            let within = String::from_utf8_lossy(characters);
            assert!(within.contains("ghp0123456789abcde"), "{text}: {within}");
        }
    }
}
