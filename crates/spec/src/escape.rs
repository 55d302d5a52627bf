//! Text that may be hostile, made fit for a terminal.
//!
//! Invariant: what [`Escaped`] displays holds no control character, no character that is invisible or changes the
//! direction of text, and no line break. It does not shorten and does not quote.

use std::fmt::{self, Write as _};

/// Displays its text with every such character as `\u{…}` (and `\n`, `\r`, `\t` for those).
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if is_unprintable(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Controls (C0, DEL, C1), format characters that hide or reorder (Unicode category Cf and the like), other spaces than
/// the plain one, private use and noncharacters.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e000}'..='\u{f8ff}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
            | '\u{f0000}'..='\u{10ffff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_moves_hides_or_colours_is_spelled_out() {
        for (given, shown) in [
            ("plain, ümlaut, 漢字 and 🙂", "plain, ümlaut, 漢字 and 🙂"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\nb\r\tc\u{7f}", "a\\nb\\r\\tc\\u{7f}"),
            ("x\u{202e}fdp.exe", "x\\u{202e}fdp.exe"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
            ("no\u{a0}break", "no\\u{a0}break"),
        ] {
            assert_eq!(Escaped(given).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn nothing_unprintable_comes_out(text in any::<String>()) {
            prop_assert!(!Escaped(&text).to_string().chars().any(is_unprintable));
        }
    }
}
