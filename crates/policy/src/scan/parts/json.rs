//! Strings in quotation marks: JSON's keys and values, and whatever else is quoted.

use crate::scan::{
    MAX_MATCH,
    parts::{Fields, Judge},
};

/// A longer string is a value, and is given on without its middle.
const LONG: usize = MAX_MATCH;

#[derive(Debug, Default)]
pub(in crate::scan) struct Reader {
    pub(super) fields: Fields,
    state: State,
    /// The string, or of a longer one what was not given on.
    string: Vec<u8>,
    /// Its beginning was given on.
    long: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
    /// After a string: a colon makes it a key.
    After,
}

impl Reader {
    pub(super) fn feed(&mut self, bytes: &[u8], judge: Judge<'_>) {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            let step = match self.state {
                State::Outside => match memchr::memchr(b'"', rest) {
                    Some(at) => {
                        self.open();
                        at + 1
                    }
                    None => return,
                },
                State::Inside => self.inside(rest, judge),
                State::Escaped => {
                    self.take(rest.get(..1).unwrap_or_default(), judge);
                    self.state = State::Inside;
                    1
                }
                State::After if first.is_ascii_whitespace() => 1,
                State::After => {
                    self.close(*first == b':', judge);
                    self.state = State::Outside;
                    0
                }
            };
            rest = rest.get(step..).unwrap_or_default();
        }
    }

    fn open(&mut self) {
        self.state = State::Inside;
        self.string.clear();
        self.long = false;
    }

    fn inside(&mut self, rest: &[u8], judge: Judge<'_>) -> usize {
        let mut at = 0;
        loop {
            let tail = rest.get(at..).unwrap_or_default();
            at += memchr::memchr2(b'"', b'\\', tail).unwrap_or(tail.len());
            if rest.get(at) != Some(&b'\\') || at + 1 >= rest.len() {
                break;
            }
            at += 2;
        }
        self.take(rest.get(..at).unwrap_or_default(), judge);
        match rest.get(at) {
            Some(b'"') if self.is_between() => self.open(),
            Some(b'"') => self.state = State::After,
            Some(_) => {
                self.take(b"\\", judge);
                self.state = State::Escaped;
            }
            None => return rest.len(),
        }
        at + 1
    }

    /// What stands between two strings was taken for one: a quotation mark was missing or was one too many.
    fn is_between(&self) -> bool {
        let string = self.string.trim_ascii();
        let is_structure = |it: Option<&u8>| it.is_some_and(|it| b",:{}[]".contains(it));
        !self.long && is_structure(string.first()) && is_structure(string.last())
    }

    fn take(&mut self, bytes: &[u8], judge: Judge<'_>) {
        let mut bytes = bytes;
        if !self.long {
            let (head, rest) = bytes.split_at(bytes.len().min(LONG.saturating_sub(self.string.len())));
            self.string.extend_from_slice(head);
            if rest.is_empty() {
                return;
            }
            self.long = true;
            self.fields.value(&self.string, judge);
            self.string.clear();
            bytes = rest;
        }
        let tail = bytes.get(bytes.len().saturating_sub(LONG)..).unwrap_or_default();
        if self.string.len() + tail.len() > 4 * LONG {
            let surplus = self.string.len().saturating_sub(LONG - tail.len());
            self.string.drain(..surplus);
        }
        self.string.extend_from_slice(tail);
    }

    fn close(&mut self, key: bool, judge: Judge<'_>) {
        // Of a long one the end, which may be as long as the beginning that was given on.
        let string = self.string.get(self.string.len().saturating_sub(LONG)..).unwrap_or_default();
        if key && !self.long {
            self.fields.name(string, judge);
        } else {
            self.fields.value(string, judge);
        }
        self.string.clear();
    }

    pub(super) fn border(&mut self, judge: Judge<'_>) {
        match self.state {
            State::Outside => {}
            State::After => {
                self.close(false, judge);
                self.state = State::Outside;
            }
            State::Inside | State::Escaped => {
                self.close(false, judge);
            }
        }
    }
}
