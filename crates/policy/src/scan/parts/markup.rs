//! Text between tags, without them, and values of attributes in single quotes. Those in double quotes are quoted strings,
//! which the reader of those sees.

use crate::scan::{
    MAX_MATCH,
    parts::{Joined, Judge},
};

#[derive(Debug, Default)]
pub(in crate::scan) struct Reader {
    joined: Joined,
    attributes: Joined,
    text: Vec<u8>,
    place: Place,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Text,
    Tag,
    /// Of an attribute in a tag.
    Value,
}

impl Reader {
    pub(super) fn feed(&mut self, bytes: &[u8], judge: Judge<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = match self.place {
                Place::Text => memchr::memchr(b'<', rest),
                // A quotation mark too many must not hide what comes after the tag.
                Place::Tag | Place::Value => memchr::memchr2(b'\'', b'>', rest),
            };
            let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
            if self.place != Place::Tag {
                self.take(piece, judge);
            }
            if let Some(byte) = after.first() {
                self.border(judge);
                self.place = match (self.place, byte) {
                    (Place::Tag, b'\'') => Place::Value,
                    (Place::Text, _) | (Place::Value, b'\'') => Place::Tag,
                    _ => Place::Text,
                };
            }
            rest = after.get(1..).unwrap_or_default();
        }
    }

    fn take(&mut self, piece: &[u8], judge: Judge<'_>) {
        for part in piece.chunks(MAX_MATCH) {
            self.text.extend_from_slice(part);
            if self.text.len() > MAX_MATCH {
                self.border(judge);
            }
        }
    }

    pub(super) fn judge(&mut self, judge: Judge<'_>) {
        self.joined.judge(judge);
        self.attributes.judge(judge);
    }

    pub(super) fn border(&mut self, judge: Judge<'_>) {
        let text = self.text.trim_ascii();
        if !text.is_empty() {
            let joined = if self.place == Place::Value { &mut self.attributes } else { &mut self.joined };
            joined.push(text, judge);
        }
        self.text.clear();
    }
}
