//! What a text says once its escapes are undone and its invisible characters are gone: JSON writes most languages as
//! `\uXXXX` where it is asked to keep to ASCII, and HTML may write any letter as a reference.
//!
//! Invariant: a layer is shorter than what it was made of, and there are at most six; a text in which nothing is undone
//! has none and costs one look.

use super::{hidden, phrases, phrases::Phrase};
use crate::scan::unescape;
use memchr::memchr_iter;
use std::ops::Range;

/// Strings in strings, as JSON in a field of JSON.
const STRINGS: usize = 3;
/// References in references.
const REFERENCES: usize = 2;

/// Letters of the phrases that HTML has names for, beside those that the scan knows.
const LETTERS: [(&[u8], &str); 12] = [
    (b"&uuml;", "ü"),
    (b"&eacute;", "é"),
    (b"&egrave;", "è"),
    (b"&ccedil;", "ç"),
    (b"&sacute;", "ś"),
    (b"&zdot;", "ż"),
    (b"&ZeroWidthSpace;", "\u{200b}"),
    (b"&NoBreak;", "\u{2060}"),
    (b"&InvisibleTimes;", "\u{2062}"),
    (b"&it;", "\u{2062}"),
    (b"&lrm;", "\u{200e}"),
    (b"&rlm;", "\u{200f}"),
];

/// A text and what it was made of.
#[derive(Debug, Default)]
struct Layer {
    text: Vec<u8>,
    /// Without those of which nothing was left.
    pieces: Vec<Piece>,
}

/// What stands in the text up to the next piece.
#[derive(Debug)]
struct Piece {
    at: usize,
    from: Range<usize>,
}

impl Layer {
    /// Replaces what `unit` knows, which begins with such a byte: it appends what stands there instead and gives the
    /// length of what stood there.
    fn of(
        text: &[u8],
        begins: impl Fn(u8) -> bool,
        unit: impl Fn(&[u8], &mut Vec<u8>) -> Option<usize>,
    ) -> Option<Layer> {
        let (mut layer, mut plain, mut at) = (Layer::default(), 0, 0);
        let mut new = Vec::new();
        while let Some(found) = text.get(at..).and_then(|rest| rest.iter().position(|byte| begins(*byte))) {
            at += found;
            new.clear();
            match unit(text.get(at..).unwrap_or_default(), &mut new) {
                Some(length) => {
                    layer.push(text.get(plain..at).unwrap_or_default(), plain..at);
                    layer.push(&new, at..at + length);
                    at += length;
                    plain = at;
                }
                None => at += 1,
            }
        }
        if plain == 0 {
            return None;
        }
        layer.push(text.get(plain..).unwrap_or_default(), plain..text.len());
        Some(layer)
    }

    fn push(&mut self, bytes: &[u8], from: Range<usize>) {
        if !bytes.is_empty() {
            self.pieces.push(Piece { at: self.text.len(), from });
            self.text.extend_from_slice(bytes);
        }
    }

    /// Where the bytes at `span` came from.
    fn locate(&self, span: &Range<usize>) -> Range<usize> {
        // What was replaced is longer than what it stands for, so that lengths tell which piece is as it was.
        let piece = |index: usize| {
            let piece = self.pieces.get(index)?;
            let end = self.pieces.get(index + 1).map_or(self.text.len(), |next| next.at);
            Some((piece, end - piece.at == piece.from.len()))
        };
        let first = self.pieces.partition_point(|piece| piece.at <= span.start).saturating_sub(1);
        let last = self.pieces.partition_point(|piece| piece.at < span.end).saturating_sub(1);
        let start = piece(first)
            .map_or(0, |(piece, same)| piece.from.start + if same { span.start.saturating_sub(piece.at) } else { 0 });
        let end = piece(last).map_or(start, |(piece, same)| {
            if same { piece.from.start + span.end.saturating_sub(piece.at) } else { piece.from.end }
        });
        start..end.max(start)
    }
}

/// The layers of one text.
#[derive(Debug)]
pub(super) struct Reading<'t> {
    raw: &'t [u8],
    layers: Vec<Layer>,
    /// How many of them undo strings.
    strings: usize,
    /// And how many of them undo strings or references.
    shown: usize,
}

impl<'t> Reading<'t> {
    /// `None` where it says what it shows.
    pub(super) fn of(raw: &'t [u8]) -> Option<Reading<'t>> {
        let mut layers: Vec<Layer> = Vec::new();
        let mut add = |most: usize, make: fn(&[u8]) -> Option<Layer>| {
            for _ in 0..most {
                let Some(layer) = make(layers.last().map_or(raw, |layer| layer.text.as_slice())) else { break };
                layers.push(layer);
            }
            layers.len()
        };
        let strings = add(STRINGS, string);
        let shown = add(REFERENCES, references);
        let all = add(1, visible);
        (all > 0).then_some(Reading { raw, layers, strings, shown })
    }

    /// Gives runs of invisible characters that the raw text does not show, where they came from.
    pub(super) fn hidden(&self, each: &mut dyn FnMut(&'static str, Range<usize>)) {
        if self.shown > 0 {
            let text = self.text(self.shown);
            hidden::find(text, 0..text.len(), &mut |rule, span| each(rule, self.down(span, self.shown, 0)));
        }
    }

    /// Gives every phrase, where it came from, and whether people do not see it.
    pub(super) fn phrases(&self, each: &mut dyn FnMut(&'static Phrase, Range<usize>, bool)) {
        let text = self.text(self.layers.len());
        phrases::find(text, 0..text.len(), &mut |phrase, span| {
            // `&lt;!--` is no comment: it is shown. So this asks before references were undone.
            let span = self.down(span, self.layers.len(), self.strings);
            let unseen = phrase.weak && hidden::is_unseen(self.text(self.strings), span.start);
            each(phrase, self.down(span, self.strings, 0), unseen);
        });
    }

    /// The text of a level; that of the first is the raw one.
    fn text(&self, level: usize) -> &[u8] {
        level.checked_sub(1).and_then(|level| self.layers.get(level)).map_or(self.raw, |layer| &layer.text)
    }

    fn down(&self, span: Range<usize>, from: usize, to: usize) -> Range<usize> {
        self.layers.get(to..from).into_iter().flatten().rev().fold(span, |span, layer| layer.locate(&span))
    }
}

/// Without the line breaks and quotation marks that every string has, nothing is undone.
fn string(text: &[u8]) -> Option<Layer> {
    let spells = |at: usize| {
        let rest = text.get(at..).unwrap_or_default();
        matches!(rest.get(1), Some(b'u' | b'U' | b'x' | b'/')) && unescape(rest, &mut Vec::new()).is_some()
    };
    memchr_iter(b'\\', text).any(spells).then(|| Layer::of(text, |byte| byte == b'\\', unescape))?
}

fn references(text: &[u8]) -> Option<Layer> {
    memchr_iter(b'&', text).next()?;
    Layer::of(
        text,
        |byte| byte == b'&',
        |rest, out| {
            unescape(rest, out).or_else(|| {
                let (name, letter) = LETTERS.iter().find(|(name, _)| rest.starts_with(name))?;
                out.extend_from_slice(letter.as_bytes());
                Some(name.len())
            })
        },
    )
}

fn visible(text: &[u8]) -> Option<Layer> {
    // Much faster than a search for seven bytes.
    if text.is_ascii() {
        return None;
    }
    Layer::of(text, |byte| matches!(byte, 0xc2 | 0xcd | 0xd8 | 0xe1 | 0xe2 | 0xef | 0xf3), |rest, _| invisible(rest))
}

/// The length of a character without a shape, also of those that ordinary text has: joiners, marks of direction,
/// selectors of variants, tags, the soft hyphen.
fn invisible(rest: &[u8]) -> Option<usize> {
    match rest {
        [0xc2, 0xad, ..] | [0xcd, 0x8f, ..] | [0xd8, 0x9c, ..] => Some(2),
        [0xe1, 0xa0, 0x8b..=0x8f, ..]
        | [0xe2, 0x80, 0x8b..=0x8f | 0xaa..=0xae, ..]
        | [0xe2, 0x81, 0xa0..=0xaf, ..]
        | [0xef, 0xb8, 0x80..=0x8f, ..]
        | [0xef, 0xbb, 0xbf, ..] => Some(3),
        [0xf3, 0xa0, _, _, ..] => Some(4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The last layer, and its text again from where each part came.
    fn read(text: &str) -> String {
        let reading = Reading::of(text.as_bytes());
        let text = reading.as_ref().map_or(text.as_bytes(), |it| it.text(it.layers.len()));
        String::from_utf8_lossy(text).into_owned()
    }

    #[test]
    fn layers_are_undone_and_ordinary_text_has_none() {
        let table = [
            (r"\u0438\u0433", "иг"),
            (r"\\u0438\\\\u0433", "иг"),
            (r"\\\\\\\\u0433", r"\u0433"),
            (r"a\n\u00fc \ud83d\ude00", "a\nü 😀"),
            ("&#1080;&#x433;&amp;uuml;", "игü"),
            (r"\u0026#1080;", "и"),
            ("ig\u{200b}no\u{ad}re", "ignore"),
            (r"ig\u200bno&shy;re", "ignore"),
            (r"\ud83d \u12", r" \u12"),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), expected, "{text}");
        }
        for text in ["plain", r#"{\"a\":\"line\n\tnext\"}"#, r"C:\users\xenia", "AT&T & co; “quoted” – und über"]
        {
            assert!(Reading::of(text.as_bytes()).is_none(), "{text}");
        }
    }

    proptest! {
        /// What is located says the same.
        #[test]
        fn a_place_is_found_again(text in r"([a-c]|\\u0438|\\ud83d\\ude00|&#98;|&uuml;|\x{200b}|é){0,40}") {
            let Some(reading) = Reading::of(text.as_bytes()) else { return Ok(()) };
            let level = reading.layers.len();
            let whole = reading.text(level);
            for start in 0..whole.len() {
                for end in start + 1..=whole.len() {
                    let (Ok(part), from) = (str::from_utf8(&whole[start..end]), reading.down(start..end, level, 0)) else {
                        continue;
                    };
                    let again = &text[from];
                    prop_assert_eq!(read(again), part, "{} of {}", again, text);
                }
            }
        }
    }
}
