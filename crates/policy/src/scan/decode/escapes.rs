//! Undoes one layer of escapes that stand for single characters, and of characters that look like others, in one pass:
//! percent-encoding, `\u`, `\x`, octal and backslash escapes, character references.
//!
//! Invariant: what comes out of a layer of escapes is shorter than what went in, so layers end.

use crate::scan::{
    decode::{
        class::{self, ESCAPE, GRAPHIC, ODD},
        lanes,
    },
    normalise,
};
use std::ops::{ControlFlow, Range};

/// What a pass undid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::scan) struct Undone {
    pub(in crate::scan) escapes: bool,
    pub(in crate::scan) lookalikes: bool,
}

/// Appends `text` to `out` with one layer undone.
pub(in crate::scan) fn undo(text: &[u8], out: &mut Vec<u8>) -> Undone {
    walk(text, |bytes, _| {
        out.extend_from_slice(bytes);
        ControlFlow::Continue(())
    })
}

/// Where in `text` the bytes at `span` of what [`undo`] makes of it came from.
pub(in crate::scan) fn locate(text: &[u8], span: Range<usize>) -> Range<usize> {
    let (mut count, mut start, mut end) = (0, None, text.len());
    walk(text, |bytes, from| {
        let literal = bytes.len() == from.len();
        let after = count + bytes.len();
        if start.is_none() && after > span.start {
            start = Some(if literal { from.start + (span.start - count) } else { from.start });
        }
        if after >= span.end && start.is_some() {
            end = if literal { from.start + span.end.saturating_sub(count) } else { from.end };
            return ControlFlow::Break(());
        }
        count = after;
        ControlFlow::Continue(())
    });
    start.unwrap_or_default().min(end)..end
}

/// Gives piece by piece what `text` stands for, and where each came from.
fn walk(text: &[u8], mut give: impl FnMut(&[u8], Range<usize>) -> ControlFlow<()>) -> Undone {
    let (mut undone, mut at, mut plain) = (Undone::default(), 0, 0);
    while at < text.len() {
        let Some(rest) = text.get(at..) else { break };
        let Some(byte) = rest.first() else { break };
        if !class::is(*byte, ESCAPE | ODD) {
            at += 1;
            continue;
        }
        let (length, unit) = unit(rest);
        if let Unit::Same = unit {
            at += length;
            continue;
        }
        if plain < at && give(text.get(plain..at).unwrap_or_default(), plain..at).is_break() {
            return undone;
        }
        let from = at..at + length;
        at += length;
        plain = at;
        let flow = match unit {
            Unit::Byte(byte) => {
                undone.escapes = true;
                // Always told apart from a literal, by its length.
                give(&[byte], from)
            }
            Unit::Nothing => {
                undone.escapes |= *byte == b'\\';
                undone.lookalikes |= *byte != b'\\';
                ControlFlow::Continue(())
            }
            Unit::Char(ch) => {
                undone.escapes |= byte.is_ascii();
                undone.lookalikes |= !ch.is_ascii();
                let folded = normalise::fold(ch);
                if folded.is_empty() { ControlFlow::Continue(()) } else { give(folded.as_bytes(), from) }
            }
            Unit::Same => ControlFlow::Continue(()),
        };
        if flow.is_break() {
            return undone;
        }
    }
    if plain < text.len() {
        let _ = give(text.get(plain..).unwrap_or_default(), plain..text.len());
    }
    undone
}

/// Appends what the escape at the start of `rest` stands for, which begins with `\` or `&`, as it is; gives its length.
/// Always longer than what it stands for.
pub(crate) fn unescape(rest: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let (first, after) = rest.split_first()?;
    let (length, unit) = if *first == b'&' { reference(after) } else { backslash(after) }?;
    match unit {
        Unit::Byte(byte) => out.push(byte),
        Unit::Char(ch) => out.extend_from_slice(ch.encode_utf8(&mut [0; 4]).as_bytes()),
        Unit::Nothing => {}
        Unit::Same => return None,
    }
    Some(length + 1)
}

/// Whether something may be undone at the start of `rest`, which begins with an [`ESCAPE`] byte.
pub(in crate::scan) fn begins(rest: &[u8]) -> bool {
    match rest.first() {
        // Without the simple ones: a line break or a quotation mark hides nothing, and text in JSON is full of them.
        Some(b'\\') => {
            matches!(rest.get(1), Some(b'u' | b'U' | b'x' | b'/' | b'\n' | b'\r' | b'0'..=b'7'))
                && !matches!(unit(rest).1, Unit::Same)
        }
        _ => !matches!(unit(rest).1, Unit::Same),
    }
}

/// What a character, or an escape, stands for.
enum Unit {
    Byte(u8),
    Char(char),
    Nothing,
    /// Itself.
    Same,
}

fn unit(rest: &[u8]) -> (usize, Unit) {
    let Some((first, after)) = rest.split_first() else { return (1, Unit::Same) };
    let escape = match first {
        b'%' => percent(after),
        b'\\' => backslash(after),
        b'&' => reference(after),
        0x80.. => return character(rest),
        _ if class::is(*first, ODD) => return (1, Unit::Nothing),
        _ => None,
    };
    escape.map_or((1, Unit::Same), |(length, unit)| (length + 1, unit))
}

/// What is no UTF-8 is left out, like the control characters.
fn character(rest: &[u8]) -> (usize, Unit) {
    let length = match rest.first() {
        Some(0xC2..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        Some(0xF0..=0xF4) => 4,
        _ => return (1, Unit::Nothing),
    };
    let decoded = rest.get(..length).and_then(|bytes| str::from_utf8(bytes).ok()).and_then(|it| it.chars().next());
    decoded.map_or((1, Unit::Nothing), |ch| (length, Unit::Char(ch)))
}

fn percent(after: &[u8]) -> Option<(usize, Unit)> {
    if let [b'u' | b'U', hex @ ..] = after {
        return Some((5, Unit::Char(char::from_u32(hexadecimal(hex.get(..4)?)?)?)));
    }
    byte(hexadecimal(after.get(..2)?)?).map(|it| (2, it))
}

fn byte(number: u32) -> Option<Unit> {
    u8::try_from(number).ok().map(Unit::Byte)
}

fn backslash(after: &[u8]) -> Option<(usize, Unit)> {
    let (kind, rest) = after.split_first()?;
    match kind {
        b'u' | b'x' if rest.first() == Some(&b'{') => {
            let end = rest.iter().take(10).position(|it| *it == b'}')?;
            let number = hexadecimal(rest.get(1..end)?)?;
            Some((end + 2, Unit::Char(char::from_u32(number)?)))
        }
        b'x' => byte(hexadecimal(rest.get(..2)?)?).map(|it| (3, it)),
        b'u' => {
            let number = hexadecimal(rest.get(..4)?)?;
            let low = || rest.get(4..)?.strip_prefix(b"\\u").and_then(|it| hexadecimal(it.get(..4)?));
            match (number, low()) {
                (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => {
                    let ch = char::from_u32(0x10000 + ((number - 0xD800) << 10) + (low - 0xDC00))?;
                    Some((11, Unit::Char(ch)))
                }
                _ => Some((5, char::from_u32(number).map_or(Unit::Nothing, Unit::Char))),
            }
        }
        b'U' => Some((9, Unit::Char(char::from_u32(hexadecimal(rest.get(..8)?)?)?))),
        b'0'..=b'3' => {
            let digits = after.get(..3)?;
            let value = |sum: Option<u32>, it: &u8| {
                it.is_ascii_digit().then_some(())?;
                (*it < b'8').then_some(sum? * 8 + u32::from(it - b'0'))
            };
            byte(digits.iter().fold(Some(0), value)?).map(|it| (3, it))
        }
        b'n' => Some((1, Unit::Byte(b'\n'))),
        b'r' => Some((1, Unit::Byte(b'\r'))),
        b't' => Some((1, Unit::Byte(b'\t'))),
        b'"' | b'\'' | b'\\' | b'/' => Some((1, Unit::Byte(*kind))),
        // A line that goes on in the next.
        b'\n' => Some((1, Unit::Nothing)),
        b'\r' if rest.first() == Some(&b'\n') => Some((2, Unit::Nothing)),
        _ => None,
    }
}

/// Names of what may stand in a secret, or be left out of one.
static NAMES: &[(&[u8], char)] = &[
    (b"amp", '&'),
    (b"lt", '<'),
    (b"gt", '>'),
    (b"quot", '"'),
    (b"apos", '\''),
    (b"nbsp", ' '),
    (b"shy", '\u{ad}'),
    (b"zwj", '\u{200d}'),
    (b"zwnj", '\u{200c}'),
    (b"lowbar", '_'),
    (b"UnderBar", '_'),
    (b"hyphen", '-'),
    (b"dash", '-'),
    (b"minus", '-'),
    (b"period", '.'),
    (b"comma", ','),
    (b"colon", ':'),
    (b"semi", ';'),
    (b"sol", '/'),
    (b"bsol", '\\'),
    (b"plus", '+'),
    (b"equals", '='),
    (b"commat", '@'),
    (b"dollar", '$'),
    (b"percnt", '%'),
    (b"num", '#'),
    (b"ast", '*'),
    (b"excl", '!'),
    (b"quest", '?'),
    (b"lpar", '('),
    (b"rpar", ')'),
    (b"lsqb", '['),
    (b"rsqb", ']'),
    (b"lbrack", '['),
    (b"rbrack", ']'),
    (b"lcub", '{'),
    (b"rcub", '}'),
    (b"verbar", '|'),
    (b"vert", '|'),
    (b"grave", '`'),
    (b"Tab", '\t'),
    (b"NewLine", '\n'),
];

fn reference(after: &[u8]) -> Option<(usize, Unit)> {
    if let [b'#', number @ ..] = after {
        let (before, hex) = if matches!(number.first(), Some(b'x' | b'X')) { (2, true) } else { (1, false) };
        let digits = number.get(before - 1..)?;
        let is_digit = |it: &&u8| if hex { it.is_ascii_hexdigit() } else { it.is_ascii_digit() };
        // As many leading zeros as one likes are allowed; this many are followed.
        let count = digits.iter().take(32).take_while(is_digit).count();
        let radix = if hex { 16 } else { 10 };
        let number = str::from_utf8(digits.get(..count)?).ok()?;
        let number = u32::from_str_radix(number, radix).ok()?;
        let semicolon = usize::from(digits.get(count) == Some(&b';'));
        let unit = char::from_u32(number).map_or(Unit::Nothing, Unit::Char);
        return Some((before + count + semicolon, unit));
    }
    let length = after.iter().take(10).position(|it| *it == b';')?;
    let name = after.get(..length)?;
    let (_, ch) = NAMES.iter().find(|(it, _)| *it == name)?;
    Some((length + 1, Unit::Char(*ch)))
}

/// At most eight digits.
fn hexadecimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// Bytes on either side of an escape that are looked at with it, if not more.
const BESIDE: usize = 64;

/// The parts of a text in which something may be undone, each with what may belong to the same value: in order and
/// apart. Parts begin and end at blanks, or `reach` bytes from the next escape.
#[derive(Debug)]
pub(in crate::scan) struct Regions {
    reach: usize,
    open: Option<Range<usize>>,
    /// Before this, nothing is looked at any more.
    at: usize,
}

impl Regions {
    pub(in crate::scan) fn new(reach: usize) -> Regions {
        Regions { reach, open: None, at: 0 }
    }

    /// Takes the block at `at` on, in which `places` are strange bytes; gives the parts that end before it.
    #[inline(always)]
    pub(in crate::scan) fn feed(&mut self, text: &[u8], at: usize, places: u64, give: impl FnMut(Range<usize>)) {
        if places != 0 {
            self.strange(text, at, places, give);
        }
    }

    fn strange(&mut self, text: &[u8], at: usize, places: u64, mut give: impl FnMut(Range<usize>)) {
        let mut places = places;
        while places != 0 {
            let found = at + places.trailing_zeros() as usize;
            places &= places - 1;
            if found < self.at || !is_strange(text, found) {
                continue;
            }
            let floor = self.open.as_ref().map_or(0, |it| it.end);
            let start = before(text, found, floor, self.reach);
            let end = after(text, found, self.reach);
            self.open = match self.open.take() {
                Some(it) if start <= it.end => Some(it.start..end.max(it.end)),
                other => {
                    if let Some(it) = other {
                        give(it);
                    }
                    Some(start..end)
                }
            };
            // What lies within the region is in it whether it is an escape or not; but the last ones widen it.
            self.at = end.saturating_sub(BESIDE).max(found + 1);
        }
    }

    pub(in crate::scan) fn end(&mut self, mut give: impl FnMut(Range<usize>)) {
        if let Some(region) = self.open.take() {
            give(region);
        }
    }
}

/// From where on a text must be read so that every part that ends after `fresh` is seen from its beginning.
pub(in crate::scan) fn beginning(text: &[u8], fresh: usize, reach: usize) -> usize {
    let mut from = fresh;
    loop {
        let earliest = from.saturating_sub(2 * reach + BESIDE);
        let strange = |at: &usize| {
            let mut places = lanes::mask(text, *at, |lane| lanes::odd(lane).or(lanes::escape(lane)));
            std::iter::from_fn(|| {
                let place = at + places.trailing_zeros() as usize;
                (places != 0).then(|| places &= places - 1).map(|()| place)
            })
            .find(|place| *place < from && is_strange(text, *place))
        };
        match (earliest..from).step_by(lanes::BLOCK).find_map(|at| strange(&at)) {
            Some(place) => from = place,
            None => return from,
        }
    }
}

/// Whether something may be undone at a strange byte.
fn is_strange(text: &[u8], at: usize) -> bool {
    let rest = text.get(at..).unwrap_or_default();
    rest.first().is_some_and(|byte| class::is(*byte, ODD)) || begins(rest)
}

fn before(text: &[u8], found: usize, floor: usize, reach: usize) -> usize {
    let lowest = found.saturating_sub(reach).max(floor);
    let near = found.saturating_sub(BESIDE).max(lowest);
    let head = text.get(lowest..near).unwrap_or_default();
    near - head.iter().rev().take_while(|byte| class::is(**byte, GRAPHIC | ODD)).count()
}

fn after(text: &[u8], found: usize, reach: usize) -> usize {
    let near = (found + BESIDE).min(text.len());
    let tail = text.get(near..).unwrap_or_default();
    near + tail.iter().take(reach.saturating_sub(BESIDE)).take_while(|byte| class::is(**byte, GRAPHIC | ODD)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn undone(text: &str) -> String {
        let mut out = Vec::new();
        undo(text.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn one_layer_is_undone() {
        let table = [
            ("a%62c", "abc"),
            ("a%2562c", "a%62c"),
            ("%u0061", "a"),
            (r"a\u0062\x63\143", "abcc"),
            (r"\u{62}\U00000062\ud83d\ude00.", "bb ."),
            (r"a\\u0062", r"a\u0062"),
            (r#"\"a\/b\n"#, "\"a/b\n"),
            ("a\\\nb", "ab"),
            ("&#97;&#x62;&#00099;&amp;lt;&lowbar;", "abc&lt;_"),
            ("&nothing; & 100% \\q %zz", "&nothing; & 100% \\q %zz"),
            ("g\u{200b}h\u{fe0f}p\u{301}_\u{1}", "ghp_"),
            ("ｇｈｐ＿𝐀𝟎", "ghp_A0"),
            ("\u{0430}\u{0440}\u{0455}", "aps"),
        ];
        for (text, expected) in table {
            assert_eq!(undone(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_place_is_found_again(text in r"([a-c]|%6[1-3]|\\u006[1-3]|&#98;|\x{200b}|é){0,40}") {
            let mut out = Vec::new();
            undo(text.as_bytes(), &mut out);
            for start in 0..out.len() {
                for end in start + 1..=out.len() {
                    let from = locate(text.as_bytes(), start..end);
                    let mut again = Vec::new();
                    undo(&text.as_bytes()[from], &mut again);
                    prop_assert_eq!(&again, &out[start..end]);
                }
            }
        }

        #[test]
        fn nothing_is_undone_outside_the_regions(text in r"([a-c ]{0,90}|%6[1-3]|\\u006[1-3]|é){0,20}") {
            let mut covered = vec![false; text.len()];
            let mut regions = Regions::new(1024);
            for at in (0..text.len()).step_by(lanes::BLOCK) {
                let places = lanes::Classes::of(text.as_bytes(), at).strange;
                regions.feed(text.as_bytes(), at, places, |it| covered[it].fill(true));
            }
            regions.end(|it| covered[it].fill(true));
            walk(text.as_bytes(), |bytes, from| {
                assert!(bytes.len() == from.len() || covered[from].iter().all(|it| *it));
                ControlFlow::Continue(())
            });
        }
    }
}
