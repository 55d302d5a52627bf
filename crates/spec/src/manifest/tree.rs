//! YAML as a small tree with places: what a manifest may hold and nothing more.
//!
//! Invariants: the tree is at most [`DEPTH_MAX`] deep and [`NODES_MAX`] large with every alias followed, so walking it
//! is bounded however the text is made. Scalars keep their text as written: `no` stays `no`, `010` stays `010`.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};
use std::{collections::BTreeMap, rc::Rc};

/// The longest manifest read, in bytes.
pub(super) const TEXT_MAX: usize = 256 << 10;
const DEPTH_MAX: usize = 16;
const NODES_MAX: usize = 20_000;

/// Both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) spot: Spot,
    pub(super) value: Value,
    /// Nodes from here down, with aliases followed.
    size: usize,
}

#[derive(Debug)]
pub(super) enum Value {
    /// `~`, `null` or nothing at all.
    Null,
    Scalar(String),
    List(Vec<Rc<Node>>),
    /// In the order written; keys may repeat.
    Table(Vec<(Rc<Node>, Rc<Node>)>),
}

impl Node {
    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, Value::Table(_))
    }
}

impl Value {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Table(_) => "a table of keys",
        }
    }
}

/// Why a text is no manifest at all. There is no going on after it.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) spot: Spot,
    pub(super) message: String,
}

/// Reads one document; `None` where the text holds nothing but comments. `first_line` is the line of the file on which
/// the text begins.
pub(super) fn parse(text: &str, first_line: usize) -> Result<Option<Rc<Node>>, Unreadable> {
    let mut builder = Builder { first_line, open: Vec::new(), anchors: BTreeMap::new(), root: None, nodes: 0 };
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| Unreadable {
            spot: builder.spot(*error.marker()),
            message: format!("this is not valid YAML: {}", error.info()),
        })?;
        builder.take(event, span.start)?;
    }
    Ok(builder.root)
}

struct Builder {
    first_line: usize,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    nodes: usize,
}

/// A list or table that has begun.
struct Open {
    spot: Spot,
    anchor: usize,
    items: Vec<Rc<Node>>,
    is_table: bool,
}

impl Builder {
    fn spot(&self, marker: Marker) -> Spot {
        Spot { line: marker.line().max(1) + self.first_line - 1, column: marker.col() + 1 }
    }

    fn take(&mut self, event: Event<'_>, at: Marker) -> Result<(), Unreadable> {
        let spot = self.spot(at);
        let refuse = |message: &str| Err(Unreadable { spot, message: message.to_owned() });
        match event {
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                refuse("tags (`!…`) have no meaning in a manifest")
            }
            Event::Scalar(text, style, anchor, None) => {
                let is_null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if is_null { Value::Null } else { Value::Scalar(text.into_owned()) };
                self.add(Rc::new(Node { spot, value, size: 1 }), anchor)
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if self.open.len() >= DEPTH_MAX => {
                refuse("this is nested too deep for a manifest")
            }
            Event::SequenceStart(anchor, None) => {
                self.open.push(Open { spot, anchor, items: Vec::new(), is_table: false });
                Ok(())
            }
            Event::MappingStart(anchor, None) => {
                self.open.push(Open { spot, anchor, items: Vec::new(), is_table: true });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.close(open),
                None => refuse("this ends something that did not begin"),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => {
                    let node = Rc::clone(node);
                    self.add(node, 0)
                }
                None => refuse("this alias stands inside of what it names"),
            },
            Event::DocumentStart(_) if self.root.is_some() => refuse("a manifest is one document: remove this `---`"),
            Event::DocumentStart(_) | Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => {
                Ok(())
            }
        }
    }

    fn close(&mut self, open: Open) -> Result<(), Unreadable> {
        let size = open.items.iter().fold(1_usize, |sum, item| sum.saturating_add(item.size));
        let value = if open.is_table {
            let mut items = open.items.into_iter();
            let pairs = std::iter::from_fn(|| Some((items.next()?, items.next()?)));
            Value::Table(pairs.collect())
        } else {
            Value::List(open.items)
        };
        self.add(Rc::new(Node { spot: open.spot, value, size }), open.anchor)
    }

    fn add(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), Unreadable> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || node.size > NODES_MAX {
            let message = format!("a manifest holds at most {NODES_MAX} values, aliases followed");
            return Err(Unreadable { spot: node.spot, message });
        }
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.open.last_mut() {
            Some(open) => open.items.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_count_from_one_and_from_the_files_first_line() {
        let root = parse("a: 1\nb:\n  - x\n", 3).unwrap().unwrap();
        let Value::Table(entries) = &root.value else { panic!("{root:?}") };
        let Value::List(items) = &entries[1].1.value else { panic!("{root:?}") };
        assert_eq!(items[0].spot, Spot { line: 5, column: 5 });
    }

    #[test]
    fn bombs_are_refused_before_they_grow() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let alias = format!("*a{}", level - 1);
            laughs += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", "));
        }
        assert!(parse(&laughs, 1).unwrap_err().message.contains("at most"));
        assert!(parse(&"[".repeat(10_000), 1).is_err());
        assert!(parse(&"- ".repeat(10_000), 1).unwrap_err().message.contains("deep"));
        assert!(parse(&"- x\n".repeat(30_000), 1).unwrap_err().message.contains("at most"));
        assert!(parse("a: &a [*a]", 1).is_err());
    }

    #[test]
    fn a_shared_value_is_followed() {
        let root = parse("a: &x [1, 2]\nb: *x\n", 1).unwrap().unwrap();
        let Value::Table(entries) = &root.value else { panic!("{root:?}") };
        assert!(Rc::ptr_eq(&entries[0].1, &entries[1].1));
    }

    #[test]
    fn what_is_not_one_plain_document_is_refused() {
        for text in ["a: !!str 1", "a: 1\n---\nb: 2", "a: [", "a: 'x", "a:\n\tb: 1", "*x", "a: b: c"] {
            assert!(parse(text, 1).is_err(), "{text:?} was taken");
        }
        assert!(parse("# nothing\n", 1).unwrap().is_none_or(|root| matches!(root.value, Value::Null)));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z:\\-\\[\\]{}&*!|>'\"#%@`, \n\t]{0,200}") {
            let _ = parse(&text, 1);
        }
    }
}
