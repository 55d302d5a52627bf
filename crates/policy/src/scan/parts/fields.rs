//! Names and values, joined in every order in which somebody who splits a value would use them; and the reader of forms
//! and query strings.

use crate::scan::{
    MAX_MATCH,
    parts::{Joined, Judge},
};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// How many names' values are joined apart at a time.
const NAMES: usize = 3;
/// A piece is given on when it is this long.
const LONG: usize = MAX_MATCH;

/// Values of all names, values of each name (of the last few), names, and all in order.
#[derive(Debug, Default)]
pub(in crate::scan) struct Fields {
    values: Joined,
    names: Joined,
    all: Joined,
    /// By the name's hash; the one used last at the end.
    apart: Vec<(u64, Joined)>,
    name: u64,
    /// The name of all values so far: while there is but one, its values are all values.
    only: Option<u64>,
    odd_names: bool,
}

impl Fields {
    pub(in crate::scan) fn name(&mut self, name: &[u8], judge: Judge<'_>) {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        self.name = hasher.finish();
        // Names are words; those that could be parts of a token are few, and joining all names is not free.
        self.odd_names |= name.len() <= 2 || name.len() > 32 || name.iter().any(u8::is_ascii_digit);
        if self.odd_names {
            self.names.push(name, judge);
            self.all.push(name, judge);
        }
    }

    pub(in crate::scan) fn value(&mut self, value: &[u8], judge: Judge<'_>) {
        let only = *self.only.get_or_insert(self.name);
        if self.apart.is_empty() && only != self.name {
            self.apart.push((only, self.values.clone()));
        }
        self.values.push(value, judge);
        if self.odd_names {
            self.all.push(value, judge);
        }
        if self.apart.is_empty() {
            return;
        }
        let place = self.apart.iter().position(|(name, _)| *name == self.name);
        let mut own = match place {
            Some(place) => self.apart.remove(place),
            None => {
                if self.apart.len() == NAMES {
                    self.apart.remove(0).1.judge(judge);
                }
                (self.name, Joined::default())
            }
        };
        own.1.push(value, judge);
        self.apart.push(own);
    }

    pub(in crate::scan) fn judge(&mut self, judge: Judge<'_>) {
        for joined in [&mut self.values, &mut self.names, &mut self.all] {
            joined.judge(judge);
        }
        for (_, joined) in &mut self.apart {
            joined.judge(judge);
        }
    }
}

/// Reads `name=value&name=value`, also with `;` and with the separators of a path and its query.
#[derive(Debug, Default)]
pub(in crate::scan) struct Reader {
    pub(super) fields: Fields,
    piece: Vec<u8>,
    /// What is being read is a value.
    value: bool,
}

impl Reader {
    pub(super) fn feed(&mut self, bytes: &[u8], judge: Judge<'_>) {
        let mut rest = bytes;
        while let Some(at) = memchr::memchr3(b'&', b'=', b';', rest) {
            let (piece, after) = rest.split_at(at);
            self.take(piece, judge);
            let equals = after.first() == Some(&b'=');
            // A value may contain `=`.
            if equals && self.value {
                self.take(b"=", judge);
            } else {
                self.close(judge);
                self.value = equals;
            }
            rest = after.get(1..).unwrap_or_default();
        }
        self.take(rest, judge);
    }

    pub(super) fn border(&mut self, judge: Judge<'_>) {
        self.close(judge);
    }

    fn take(&mut self, bytes: &[u8], judge: Judge<'_>) {
        for part in bytes.chunks(LONG) {
            self.piece.extend_from_slice(part);
            if self.piece.len() > LONG {
                self.close(judge);
            }
        }
    }

    fn close(&mut self, judge: Judge<'_>) {
        if self.value {
            self.fields.value(&self.piece, judge);
        } else {
            self.fields.name(&self.piece, judge);
        }
        self.piece.clear();
    }
}

/// Gives the pieces of a text that is there as a whole to `fields`: split at any of `separators`.
pub(in crate::scan) fn fields(text: &[u8], separators: &[u8], judge: Judge<'_>) {
    let mut joined = Joined::default();
    for piece in text.split(|it| separators.contains(it)) {
        joined.push(piece, judge);
    }
    joined.judge(judge);
}
