//! Text between tags, without them. Attributes' values are quoted strings, which the reader of those sees.

use crate::scan::{
    MAX_MATCH,
    parts::{Joined, Judge},
};

#[derive(Debug, Default)]
pub(in crate::scan) struct Reader {
    pub(super) joined: Joined,
    text: Vec<u8>,
    tag: bool,
}

impl Reader {
    pub(super) fn feed(&mut self, bytes: &[u8], judge: Judge<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = if self.tag { memchr::memchr(b'>', rest) } else { memchr::memchr(b'<', rest) };
            let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
            if !self.tag {
                for part in piece.chunks(MAX_MATCH) {
                    self.text.extend_from_slice(part);
                    if self.text.len() > MAX_MATCH {
                        self.border(judge);
                    }
                }
            }
            if end.is_some() {
                self.border(judge);
                self.tag = !self.tag;
            }
            rest = after.get(1..).unwrap_or_default();
        }
    }

    pub(super) fn border(&mut self, judge: Judge<'_>) {
        let text = self.text.trim_ascii();
        if !text.is_empty() {
            self.joined.push(text, judge);
        }
        self.text.clear();
    }
}
