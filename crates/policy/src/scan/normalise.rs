//! Characters that look like others, or like nothing, as the ASCII that a reader takes them for.
//!
//! Compatibility decompositions (NFKC) are `unicode-normalization`'s; letters of other scripts that look like Latin ones
//! are a table here. What looks like no ASCII becomes a blank: a word of another script separates, it does not join.

mod confusable;

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// At most four ASCII bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Folded {
    bytes: [u8; 4],
    length: u8,
}

impl Folded {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(usize::from(self.length)) {
            *slot = byte;
            self.length += 1;
        }
    }
}

const BLANK: Folded = Folded { bytes: [b' ', 0, 0, 0], length: 1 };

/// What `ch` looks like. Nothing for what cannot be seen and for exotic spaces; [`char::is_ascii`] characters are
/// themselves, but control characters are nothing.
pub(super) fn fold(ch: char) -> Folded {
    let mut folded = Folded::default();
    if ch.is_ascii() {
        if !ch.is_ascii_control() || matches!(ch, '\t' | '\n' | '\r') {
            folded.push(u8::try_from(ch).unwrap_or(b' '));
        }
        return folded;
    }
    if is_unseen(ch) {
        return folded;
    }
    // Ideographs, syllables and the like, before the costly look-ups; but not the compatibility forms among them.
    if matches!(ch, '\u{2e80}'..='\u{2fff}' | '\u{3001}'..='\u{31ff}' | '\u{3400}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7ff}')
    {
        return BLANK;
    }
    if let Some(byte) = confusable::ascii(ch) {
        folded.push(byte);
        return folded;
    }
    let mut other = false;
    decompose_compatible(ch, |part| match confusable::ascii(part) {
        _ if part.is_ascii() => folded.push(u8::try_from(part).unwrap_or(b' ')),
        Some(byte) => folded.push(byte),
        None => other |= !is_unseen(part),
    });
    if other && folded.is_empty() { BLANK } else { folded }
}

/// Zero-width, bidirectional, tag and variation characters, combining marks, controls, and spaces that are not ASCII.
fn is_unseen(ch: char) -> bool {
    matches!(ch,
        '\u{80}'..='\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{1680}' | '\u{17b4}'
        | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
        | '\u{205f}'..='\u{206f}' | '\u{2800}' | '\u{3000}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || is_combining_mark(ch)
}

/// Text written in tag characters, or bytes in variation selectors, which show nothing; `None` where there is none.
pub(super) fn invisible(text: &[u8]) -> Option<Vec<u8>> {
    // U+E0000 to U+E0FFF all begin with these; U+FE00 to U+FE0F with the others.
    if memchr::memmem::find(text, b"\xf3\xa0").is_none() && memchr::memmem::find(text, b"\xef\xb8\x80").is_none() {
        return None;
    }
    let mut said = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let Some(step) = memchr::memchr2(0xf3, 0xef, rest) else { break };
        at += step;
        let length = if text.get(at) == Some(&0xf3) { 4 } else { 3 };
        let ch = text.get(at..at + length).and_then(|it| str::from_utf8(it).ok()).and_then(|it| it.chars().next());
        let byte = match u32::from(ch.unwrap_or_default()) {
            it @ 0xe0020..=0xe007e => Some(it - 0xe0000),
            it @ 0xfe00..=0xfe0f => Some(it - 0xfe00),
            it @ 0xe0100..=0xe01ef => Some(it - 0xe0100 + 16),
            _ => None,
        };
        if let Some(byte) = byte.and_then(|it| u8::try_from(it).ok()) {
            said.push(byte);
        }
        at += if ch.is_some() { length } else { 1 };
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        text.chars().flat_map(|ch| fold(ch).as_bytes().to_vec()).map(char::from).collect()
    }

    #[test]
    fn what_looks_like_ascii_is_read_as_such() {
        let table = [
            ("ghp_", "ghp_"),
            ("ⓖⓗⓟ﹍", "ghp_"),
            ("𝓰𝕙𝖕𝟟", "ghp7"),
            ("ﬁ①½", "fi11/2"),
            ("éüÅ", "euA"),
            ("ѕк‐аɡ", "sk-ag"),
            ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧορν", "ABEZHIKMNOPTYXopv"),
            ("ՕօՏհոսց", "OoShnug"),
            ("a\u{200b}\u{202e}\u{e0061}\u{fe0f}\u{301}\u{2003}b", "ab"),
            ("密钥", "  "),
        ];
        for (text, expected) in table {
            assert_eq!(folded(text), expected, "{text}");
        }
    }

    #[test]
    fn text_that_shows_nothing_is_read() {
        let tags: String = "hi there".chars().filter_map(|ch| char::from_u32(0xe0000 + u32::from(ch))).collect();
        assert_eq!(invisible(format!("x{tags}y").as_bytes()).as_deref(), Some(&b"hi there"[..]));
        let selectors: String = b"ghp_".iter().filter_map(|it| char::from_u32(0xe0100 + u32::from(*it) - 16)).collect();
        assert_eq!(invisible(selectors.as_bytes()).as_deref(), Some(&b"ghp_"[..]));
        assert_eq!(invisible("plain ünïcode".as_bytes()), None);
    }
}
