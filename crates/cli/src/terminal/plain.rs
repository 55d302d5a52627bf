//! What a program writes to pipes, made fit for a terminal that it does not own.
//!
//! Invariant: of control characters only line breaks, tabs, carriage returns and backspaces come out, and of escape
//! sequences only colours (SGR: `ESC [ digits ; … m`). All else is shown in caret or `\x` notation. What comes out does
//! not depend on where the input is cut. Text in a right-to-left script may stay; the characters that reorder or hide
//! text do not.

use bottle_spec::escape::Escaped;
use std::fmt::Write as _;

/// The longest colour sequence that passes.
const SGR_MAX: usize = 32;
const ESC: u8 = 0x1b;

/// A filter with what the last cut left over: the head of a sequence or of a character.
#[derive(Debug, Default)]
pub(super) struct Plain {
    pending: Vec<u8>,
}

impl Plain {
    /// The text for the terminal; what may go on in the next bytes is kept.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        self.take(false)
    }

    /// What is left at the end.
    pub(super) fn finish(&mut self) -> String {
        self.take(true)
    }

    fn take(&mut self, last: bool) -> String {
        let mut shown = String::with_capacity(self.pending.len());
        let mut rest = self.pending.as_slice();
        while let Some((&first, tail)) = rest.split_first() {
            rest = match first {
                ESC => match colour(rest) {
                    Sequence::Colour(length) => {
                        shown.push_str(&String::from_utf8_lossy(rest.get(..length).unwrap_or_default()));
                        rest.get(length..).unwrap_or_default()
                    }
                    Sequence::Unfinished if !last => break,
                    _ => {
                        shown.push_str("^[");
                        tail
                    }
                },
                b'\n' | b'\t' | b'\r' | 0x08 => {
                    shown.push(char::from(first));
                    tail
                }
                byte if byte.is_ascii_control() => {
                    let _ = write!(shown, "^{}", char::from(byte ^ 0x40));
                    tail
                }
                byte if byte.is_ascii() => {
                    shown.push(char::from(byte));
                    tail
                }
                byte => match character(rest) {
                    Some(Ok((text, tail))) => {
                        let _ = write!(shown, "{}", Escaped(text));
                        tail
                    }
                    None if !last => break,
                    _ => {
                        let _ = write!(shown, "\\x{byte:02x}");
                        tail
                    }
                },
            };
        }
        self.pending = rest.to_vec();
        shown
    }
}

enum Sequence {
    /// A whole one of this many bytes.
    Colour(usize),
    Unfinished,
    Other,
}

/// What stands at the head of `bytes`, which begin with ESC.
fn colour(bytes: &[u8]) -> Sequence {
    match bytes.get(1) {
        None => return Sequence::Unfinished,
        Some(b'[') => {}
        Some(_) => return Sequence::Other,
    }
    let parameters =
        bytes.iter().skip(2).take_while(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b':')).count();
    match bytes.get(2 + parameters) {
        Some(b'm') if parameters <= SGR_MAX => Sequence::Colour(parameters + 3),
        None if parameters <= SGR_MAX => Sequence::Unfinished,
        _ => Sequence::Other,
    }
}

/// The first character of more than one byte: `None` = more bytes may complete it, `Err` = it is not UTF-8.
fn character(bytes: &[u8]) -> Option<Result<(&str, &[u8]), ()>> {
    let head = bytes.get(..bytes.len().min(4)).unwrap_or_default();
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => {
            std::str::from_utf8(head.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
        Err(error) => return if error.error_len().is_none() { None } else { Some(Err(())) },
    };
    let length = valid.chars().next().map_or(1, char::len_utf8);
    let text = valid.get(..length).unwrap_or_default();
    Some(Ok((text, bytes.get(length..).unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        let mut plain = Plain::default();
        let mut text = plain.push(bytes);
        text.push_str(&plain.finish());
        text
    }

    #[test]
    fn colours_pass_and_all_other_sequences_are_spelled_out() {
        for (given, expected) in [
            (&b"plain\ttext\r\n"[..], "plain\ttext\r\n"),
            ("ümlaut 漢字 🙂".as_bytes(), "ümlaut 漢字 🙂"),
            (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            (b"\x1b]52;c;ZXZpbA==\x07", "^[]52;c;ZXZpbA==^G"),
            (b"\x1b[2J\x1b[H", "^[[2J^[[H"),
            (b"\x1bP$q\x1b\\", "^[P$q^[\\"),
            (b"\x1b[6n", "^[[6n"),
            (b"\x7f\x00", "^?^@"),
            (b"\xc2\x9b31m", "\\u{9b}31m"),
            (b"\xff\xfe", "\\xff\\xfe"),
            ("a\u{202e}b".as_bytes(), "a\\u{202e}b"),
            (b"\x1b", "^["),
            (b"\x1b[31", "^[[31"),
            (b"\xf0\x9f", "\\xf0\\x9f"),
        ] {
            assert_eq!(shown(given), expected, "{given:?}");
        }
        let long = [b"\x1b[".as_slice(), &[b'1'; 100], b"m"].concat();
        assert!(shown(&long).starts_with("^[["));
    }

    #[test]
    fn cuts_change_nothing() {
        let text = "a\u{1b}[31mé🙂\u{1b}]0;x\u{7}\u{9b}z\u{1b}[".as_bytes();
        let whole = shown(text);
        for cut in 0..=text.len() {
            let mut plain = Plain::default();
            let parts = [plain.push(&text[..cut]), plain.push(&text[cut..]), plain.finish()];
            assert_eq!(parts.concat(), whole, "cut at {cut}");
        }
    }
}
