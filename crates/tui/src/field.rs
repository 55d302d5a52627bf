//! A line of text that is being written.
//!
//! Invariant: at most [`LONGEST`] characters, none of them a control character.

use crate::event::Key;

/// What the agent's own texts are held to, too.
pub(crate) const LONGEST: usize = 500;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Field {
    text: Vec<char>,
    /// Characters before the cursor.
    at: usize,
}

impl Field {
    pub(crate) fn holding(text: &str) -> Field {
        let mut field = Field::default();
        field.insert(text);
        field
    }

    pub fn text(&self) -> String {
        self.text.iter().collect()
    }

    /// Before and behind the cursor.
    pub(crate) fn parts(&self) -> (String, String) {
        let (before, behind) = self.text.split_at(self.at.min(self.text.len()));
        (before.iter().collect(), behind.iter().collect())
    }

    /// A line break in it, as in what was pasted, becomes a space.
    pub(crate) fn insert(&mut self, text: &str) {
        for c in text.chars() {
            let c = if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c };
            if !c.is_control() && self.text.len() < LONGEST {
                self.text.insert(self.at, c);
                self.at += 1;
            }
        }
    }

    pub(crate) fn press(&mut self, key: Key) {
        match key {
            Key::Char(c) => self.insert(c.encode_utf8(&mut [0; 4])),
            Key::Left => self.at = self.at.saturating_sub(1),
            Key::Right => self.at = (self.at + 1).min(self.text.len()),
            Key::Home | Key::Control('a') => self.at = 0,
            Key::End | Key::Control('e') => self.at = self.text.len(),
            Key::Backspace if self.at > 0 => {
                self.at -= 1;
                self.text.remove(self.at);
            }
            Key::Delete if self.at < self.text.len() => drop(self.text.remove(self.at)),
            Key::Control('u') => *self = Field::default(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_and_mended() {
        let mut field = Field::holding("hällo\u{1b}[2J\nx");
        assert_eq!(field.text(), "hällo[2J x");
        for key in [Key::Backspace, Key::Home, Key::Right, Key::Delete, Key::Char('e'), Key::Left, Key::Left, Key::Left]
        {
            field.press(key);
        }
        assert_eq!((field.text().as_str(), field.parts().0.as_str()), ("hello[2J ", ""));
        field.press(Key::Backspace);
        field.press(Key::End);
        field.press(Key::Delete);
        assert_eq!(field.text(), "hello[2J ");
        field.press(Key::Control('u'));
        field.insert(&"x".repeat(LONGEST + 1));
        assert_eq!(field.text().len(), LONGEST);
    }
}
