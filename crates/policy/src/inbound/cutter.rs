//! Cuts a body where whoever reads it takes what has come as one: an event, a line, or the whole.
//!
//! Invariant: what is given, put together, is the body; where it is cut does not depend on how it came; at most
//! [`MAX_PIECE`] is held.

/// The longest piece that is given as one, in bytes.
pub const MAX_PIECE: usize = 256 << 10;

/// Where pieces end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Whole,
    /// At each line feed.
    Lines,
    /// At each blank line of an event stream. A line ends with `\n`, `\r\n` or `\r`.
    Events,
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'b> {
    One(&'b [u8]),
    /// Of one that is too long; whether it ends here.
    Part(&'b [u8], bool),
}

/// One body on its way.
#[derive(Debug)]
pub struct Cutter {
    cut: Cut,
    held: Vec<u8>,
    /// Whether the beginning of this piece was given already.
    long: bool,
    /// Nothing stands in this line yet.
    blank: bool,
    /// The last byte was a carriage return.
    returned: bool,
    /// The last end of a line ended a piece.
    ended: bool,
}

impl Cutter {
    #[must_use]
    pub fn new(cut: Cut) -> Cutter {
        Cutter { cut, held: Vec::new(), long: false, blank: true, returned: false, ended: false }
    }

    /// How much is held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes a chunk and gives what is there as one.
    ///
    /// # Errors
    /// What `each` gives; nothing more is given then.
    pub fn push<E>(&mut self, chunk: &[u8], each: &mut dyn FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut from = 0;
        if self.cut != Cut::Whole {
            for (at, byte) in chunk.iter().enumerate() {
                if self.ends(*byte) {
                    self.give(chunk.get(from..=at).unwrap_or_default(), true, each)?;
                    from = at + 1;
                }
            }
        }
        let rest = chunk.get(from..).unwrap_or_default();
        if rest.is_empty() { Ok(()) } else { self.give(rest, false, each) }
    }

    /// At the end of the body, or of a message: what is left.
    ///
    /// # Errors
    /// As [`Cutter::push`].
    pub fn finish<E>(&mut self, each: &mut dyn FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        let ended = if self.held.is_empty() && !self.long { Ok(()) } else { self.give(&[], true, each) };
        *self = Cutter::new(self.cut);
        ended
    }

    /// Whether a piece ends behind this byte. Behind a carriage return nothing is waited for: a line feed that
    /// belongs to it is a piece of its own.
    fn ends(&mut self, byte: u8) -> bool {
        if self.cut == Cut::Lines {
            return byte == b'\n';
        }
        let pair = byte == b'\n' && self.returned;
        self.returned = byte == b'\r';
        match byte {
            b'\n' if pair => self.ended,
            b'\n' | b'\r' => {
                self.ended = std::mem::replace(&mut self.blank, true);
                self.ended
            }
            _ => {
                self.blank = false;
                false
            }
        }
    }

    fn give<E>(&mut self, bytes: &[u8], ends: bool, each: &mut dyn FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.long {
            self.long = !ends;
            return each(Piece::Part(bytes, ends));
        }
        if self.held.len() + bytes.len() > MAX_PIECE {
            self.long = !ends;
            let held = std::mem::take(&mut self.held);
            each(Piece::Part(&held, false))?;
            return each(Piece::Part(bytes, ends));
        }
        if !ends {
            self.held.extend_from_slice(bytes);
            return Ok(());
        }
        if self.held.is_empty() {
            return each(Piece::One(bytes));
        }
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        each(Piece::One(&held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(cut: Cut, chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut cutter, mut all) = (Cutter::new(cut), Vec::new());
        let mut each = |piece: Piece<'_>| {
            let (Piece::One(bytes) | Piece::Part(bytes, _)) = piece;
            all.push(bytes.to_vec());
            Ok::<(), ()>(())
        };
        for chunk in chunks {
            cutter.push(chunk, &mut each).unwrap();
        }
        cutter.finish(&mut each).unwrap();
        all
    }

    #[test]
    fn events_end_at_blank_lines_of_every_kind() {
        for (text, expected) in [
            ("a\nb\n\nc\n\n", vec!["a\nb\n\n", "c\n\n"]),
            ("a\r\n\r\nb\r\n\r\n", vec!["a\r\n\r", "\n", "b\r\n\r", "\n"]),
            ("a\rb\r\rc", vec!["a\rb\r\r", "c"]),
            ("a\n\r\nb\r\n\nc", vec!["a\n\r", "\n", "b\r\n\n", "c"]),
            ("a\r\nb", vec!["a\r\nb"]),
        ] {
            let expected: Vec<Vec<u8>> = expected.into_iter().map(|piece| piece.as_bytes().to_vec()).collect();
            assert_eq!(pieces(Cut::Events, &[text.as_bytes()]), expected, "{text:?}");
        }
        assert_eq!(pieces(Cut::Lines, &[b"{}\n{", b"}\n"]), [b"{}\n".to_vec(), b"{}\n".to_vec()]);
        assert_eq!(pieces(Cut::Whole, &[b"a\n\nb", b"c"]), [b"a\n\nbc".to_vec()]);
    }

    #[test]
    fn what_is_too_long_is_not_held() {
        let long = vec![b'a'; MAX_PIECE];
        let (mut cutter, mut given) = (Cutter::new(Cut::Events), Vec::new());
        for chunk in [&long[..], b"bc", b"d\n\ne\n\n"] {
            let each = &mut |piece: Piece<'_>| {
                given.push(match piece {
                    Piece::One(bytes) => (true, bytes.len(), true),
                    Piece::Part(bytes, ends) => (false, bytes.len(), ends),
                });
                Ok::<(), ()>(())
            };
            cutter.push(chunk, each).unwrap();
        }
        assert_eq!(given, [(false, MAX_PIECE, false), (false, 2, false), (false, 3, true), (true, 3, true)]);
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(text in "[a\r\n]{0,60}", size in 1usize..7) {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            for cut in [Cut::Whole, Cut::Lines, Cut::Events] {
                prop_assert_eq!(pieces(cut, &chunks), pieces(cut, &[text.as_bytes()]));
                prop_assert_eq!(pieces(cut, &chunks).concat(), text.as_bytes());
            }
        }
    }
}
