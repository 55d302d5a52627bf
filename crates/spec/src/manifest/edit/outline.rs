//! Where the parts of a YAML text stand: what an edit needs and the [tree](super::super::tree) does not keep.
//!
//! Invariant: every place is a byte at a character's border of the text. What a place is good for, only reading the
//! edited text again can tell.

use super::super::tree::TEXT_MAX;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Deeper than any manifest; the tree refuses it too.
const DEPTH_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Part {
    /// Its first byte; of a list in lines its first `-`.
    pub(super) start: usize,
    /// Behind the last byte that is neither space nor comment.
    pub(super) end: usize,
    /// Characters before it in its line.
    pub(super) column: usize,
    pub(super) shape: Shape,
}

#[derive(Debug)]
pub(super) enum Shape {
    Null,
    Scalar(String),
    /// `in_line` = within brackets.
    List {
        in_line: bool,
        items: Vec<Part>,
    },
    Table {
        in_line: bool,
        entries: Vec<(Part, Part)>,
    },
    /// Stands elsewhere.
    Alias,
}

impl Part {
    /// The key and the value of that name.
    pub(super) fn entry(&self, name: &str) -> Option<(&Part, &Part)> {
        let Shape::Table { entries, .. } = &self.shape else { return None };
        let named = |key: &Part| matches!(&key.shape, Shape::Scalar(text) if text == name);
        entries.iter().find(|(key, _)| named(key)).map(|(key, value)| (key, value))
    }

    pub(super) fn value(&self, name: &str) -> Option<&Part> {
        self.entry(name).map(|(_, value)| value)
    }
}

/// The document of a text; `None` where it is none that a manifest could be, or holds nothing.
pub(super) fn outline(text: &str) -> Option<Part> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let mut reading = Reading { text, bytes: bytes(text), open: Vec::new(), root: None };
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        let (event, span) = next.ok()?;
        reading.take(event, span)?;
    }
    reading.root
}

/// The byte at which each character begins, and the end.
fn bytes(text: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()
}

struct Reading<'a> {
    text: &'a str,
    bytes: Vec<usize>,
    open: Vec<Open>,
    root: Option<Part>,
}

struct Open {
    start: usize,
    column: usize,
    in_line: bool,
    is_table: bool,
    parts: Vec<Part>,
}

impl Reading<'_> {
    fn byte(&self, character: usize) -> usize {
        self.bytes.get(character).copied().unwrap_or(self.text.len())
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let (start, column) = (self.byte(span.start.index()), span.start.col());
        match event {
            Event::Scalar(text, style, ..) => {
                let end = self.text.get(..self.byte(span.end.index()))?.trim_end().len().max(start);
                let is_null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let shape = if is_null { Shape::Null } else { Shape::Scalar(text.into_owned()) };
                self.add(Part { start, end, column, shape })
            }
            Event::Alias(_) => self.add(Part { start, end: self.byte(span.end.index()), column, shape: Shape::Alias }),
            Event::SequenceStart(..) => self.begin(span, '[', false),
            Event::MappingStart(..) => self.begin(span, '{', true),
            Event::SequenceEnd | Event::MappingEnd => self.close(start),
            _ => Some(()),
        }
    }

    fn begin(&mut self, span: Span, bracket: char, is_table: bool) -> Option<()> {
        if self.open.len() >= DEPTH_MAX {
            return None;
        }
        let (start, end) = (self.byte(span.start.index()), self.byte(span.end.index()));
        // An anchor may stand before it.
        let in_line = self.text.get(start..end)?.trim_end().ends_with(bracket);
        self.open.push(Open { start, column: span.start.col(), in_line, is_table, parts: Vec::new() });
        Some(())
    }

    fn close(&mut self, at: usize) -> Option<()> {
        let Open { mut start, mut column, in_line, is_table, parts } = self.open.pop()?;
        if let (Some(first), false, false) = (parts.first(), in_line, is_table) {
            (start, column) = self.dash(first).unwrap_or((start, column));
        }
        let end = if in_line { at + 1 } else { parts.last().map_or(start, |part| part.end) };
        let shape = if is_table {
            let mut parts = parts.into_iter();
            let entries = std::iter::from_fn(|| Some((parts.next()?, parts.next()?))).collect();
            Shape::Table { in_line, entries }
        } else {
            Shape::List { in_line, items: parts }
        };
        self.add(Part { start, end, column, shape })
    }

    /// Where the `-` before an item stands, and in which column.
    fn dash(&self, item: &Part) -> Option<(usize, usize)> {
        let dash = self.text.get(..item.start)?.trim_end_matches(' ').strip_suffix('-')?;
        Some((dash.len(), dash.rsplit('\n').next()?.chars().count()))
    }

    fn add(&mut self, part: Part) -> Option<()> {
        match self.open.last_mut() {
            Some(open) => open.parts.push(part),
            None if self.root.is_some() => return None,
            None => self.root = Some(part),
        }
        Some(())
    }
}
