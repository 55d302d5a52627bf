//! Walks a manifest's tree and notes every mistake instead of stopping at the first.
//!
//! A reader here gives `None` exactly where it has noted a mistake; the caller goes on with the rest and the values
//! are only used when there are no mistakes at all.

use super::{
    Mistake, Mistakes, Place, Placed, nearest,
    tree::{self, Node, Spot, TEXT_MAX, Value},
};
use std::{collections::BTreeMap, fmt::Display, path::Path, rc::Rc, str::FromStr};

/// The keys of one table, by the name that a message and the schema give it.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    /// As in "unknown key of a route".
    pub of: &'static str,
    pub names: &'static [&'static str],
    /// A key with nothing after it is a mistake here: leaving the key out would allow more than was meant.
    pub strict: bool,
}

#[derive(Debug)]
pub(super) struct Walk<'a> {
    file: &'a Path,
    mistakes: Vec<Mistake>,
}

/// A table's entries whose keys are known, taken out one by one.
#[derive(Debug)]
pub(super) struct Table<'n> {
    pub(super) spot: Spot,
    entries: BTreeMap<&'n str, &'n Node>,
}

impl<'n> Table<'n> {
    /// A key with nothing after it is as good as absent.
    pub(super) fn take(&mut self, key: &str) -> Option<&'n Node> {
        self.entries.remove(key).filter(|node| !matches!(node.value, Value::Null))
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(file: &'a Path) -> Walk<'a> {
        Walk { file, mistakes: Vec::new() }
    }

    /// The tree of a text; what cannot be read as YAML is the only mistake reported then.
    pub(super) fn read(&self, text: &str, first_line: usize) -> Result<Option<Rc<Node>>, Mistakes> {
        if text.len() > TEXT_MAX {
            let spot = Spot { line: 1, column: 1 };
            let message = format!("a manifest is at most {} KiB long", TEXT_MAX >> 10);
            return Err(Mistakes::from(vec![Mistake::new(&self.place(spot), message)]));
        }
        tree::parse(text, first_line)
            .map_err(|error| Mistakes::from(vec![Mistake::new(&self.place(error.spot), error.message)]))
    }

    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Mistakes> {
        match value {
            Some(value) => Mistakes::check(value, self.mistakes),
            None => Err(Mistakes::from(self.mistakes)),
        }
    }

    pub(super) fn place(&self, spot: Spot) -> Place {
        Place::File { path: self.file.to_owned(), line: spot.line, column: spot.column }
    }

    pub(super) fn placed<T>(&self, node: &Node, value: T) -> Placed<T> {
        Placed { value, place: self.place(node.spot) }
    }

    pub(super) fn note(&mut self, spot: Spot, message: impl Into<String>, hint: Option<String>) {
        let mistake = Mistake::new(&self.place(spot), message);
        self.mistakes.push(match hint {
            Some(hint) => mistake.hint(hint),
            None => mistake,
        });
    }

    pub(super) fn note_at(&mut self, place: &Place, message: impl Into<String>) {
        self.mistakes.push(Mistake::new(place, message));
    }

    /// Unknown and repeated keys are noted and left out.
    pub(super) fn table<'n>(&mut self, node: &'n Node, keys: Keys) -> Option<Table<'n>> {
        let Value::Table(pairs) = &node.value else {
            self.wrong_kind(node, keys.of, "a table of keys");
            return None;
        };
        let mut entries = BTreeMap::new();
        for (key, value) in pairs {
            let Some(name) = self.key(key) else { continue };
            if !keys.names.contains(&name) {
                let hint = match nearest(name, keys.names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("{} has: {}", keys.of, keys.names.join(", ")),
                };
                self.note(key.spot, format!("unknown key `{name}` in {}", keys.of), Some(hint));
            } else if keys.strict && matches!(value.value, Value::Null) {
                let hint = format!("give `{name}` a value or remove it");
                self.note(key.spot, format!("`{name}` has nothing after it"), Some(hint));
            } else if entries.insert(name, value.as_ref()).is_some() {
                self.note(key.spot, format!("`{name}` is given twice"), Some("keep one of them".to_owned()));
            }
        }
        Some(Table { spot: node.spot, entries })
    }

    /// A table whose keys the user chooses; gives each entry with its key's place.
    pub(super) fn map<'n>(&mut self, node: &'n Node, what: &str) -> Vec<(Placed<&'n str>, &'n Node)> {
        let Value::Table(pairs) = &node.value else {
            self.wrong_kind(node, what, "a table of keys");
            return Vec::new();
        };
        let mut seen = BTreeMap::new();
        for (key, value) in pairs {
            let Some(name) = self.key(key) else { continue };
            if seen.insert(name, (self.placed(key, name), value.as_ref())).is_some() {
                self.note(key.spot, format!("`{name}` is given twice"), Some("keep one of them".to_owned()));
            }
        }
        seen.into_values().collect()
    }

    fn key<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Scalar(name) => Some(name),
            other => {
                self.note(node.spot, format!("a key is a plain word, not {}", other.kind()), None);
                None
            }
        }
    }

    /// A list; a single value where a list is meant is noted.
    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Rc<Node>] {
        match &node.value {
            Value::List(items) => items,
            Value::Scalar(text) => {
                let hint = format!("write `[{text}]`");
                self.note(node.spot, format!("{what} is a list, not a single value"), Some(hint));
                &[]
            }
            _ => {
                self.wrong_kind(node, what, "a list");
                &[]
            }
        }
    }

    /// A list of values that are each read from their text.
    pub(super) fn parsed_list<T: FromStr<Err: Display>>(&mut self, node: &Node, what: &str) -> Vec<Placed<T>> {
        let items = self.list(node, what);
        items.iter().filter_map(|item| self.parsed(item, what).map(|value| self.placed(item, value))).collect()
    }

    /// The text of a scalar as it is written, also where YAML would take it for a number or a truth value.
    pub(super) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::Scalar(text) => Some(text),
            Value::Null => {
                self.note(node.spot, format!("{what} is empty"), None);
                None
            }
            _ => {
                self.wrong_kind(node, what, "a single value");
                None
            }
        }
    }

    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, node: &Node, what: &str) -> Option<T> {
        let text = self.text(node, what)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let error: T::Err = error;
                self.note(node.spot, format!("{what} `{text}`: {error}"), None);
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, node: &Node, what: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let hint = match nearest(text, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("one of: {}", names.join(", ")),
            };
            self.note(node.spot, format!("{what} cannot be `{text}`"), Some(hint));
        }
        found
    }

    pub(super) fn truth(&mut self, node: &Node, what: &str) -> Option<bool> {
        self.choice(node, what, &[("true", true), ("false", false)])
    }

    pub(super) fn missing(&mut self, spot: Spot, of: &str, key: &str, hint: &str) {
        self.note(spot, format!("{of} needs `{key}`"), Some(hint.to_owned()));
    }

    fn wrong_kind(&mut self, node: &Node, what: &str, wanted: &str) {
        self.note(node.spot, format!("{what} is {wanted}, not {}", node.value.kind()), None);
    }
}
