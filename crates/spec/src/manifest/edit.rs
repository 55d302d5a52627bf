//! Adds to a bottle's manifest what an operator granted, as an edit of its text: comments, order and quoting stay.
//!
//! Invariant: what comes out reads as the same bottle with exactly the addition. An edit whose result does not is given
//! up, whatever made it fail; so the layout of a text may be guessed at here.

mod outline;

use super::{
    Bottle, Mistakes, Place, Placed,
    write::{in_line, in_lines, scalar},
};
use crate::{git::RefPattern, policy::Route};
use outline::{Part, Shape, outline};
use std::path::Path;

/// What is to be in the manifest as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addition {
    /// A route, before all others or behind them.
    Route { route: Box<Route>, first: bool },
    /// Refs that may be pushed to.
    Refs { repository: String, refs: Vec<RefPattern> },
}

#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("the manifest cannot be read as it stands")]
    Unreadable(#[source] Mistakes),
    #[error("the manifest gives this already")]
    There,
    #[error("the manifest has no repository `{0}` that may be pushed to")]
    NoRepository(String),
    #[error("the manifest is laid out in a way that is not edited here")]
    Layout,
}

impl Addition {
    /// The text of the bottle `name` at `path` with the addition in it.
    pub fn write_into(&self, name: &str, path: &Path, text: &str) -> Result<String, EditError> {
        let before = Bottle::parse(name, path, text).map_err(EditError::Unreadable)?;
        let wanted = self.added_to(unplaced(before))?;
        let edited = self.edited(text).ok_or(EditError::Layout)?;
        let after = Bottle::parse(name, path, &edited).map_err(|_| EditError::Layout)?;
        if unplaced(after) == wanted { Ok(edited) } else { Err(EditError::Layout) }
    }

    /// What a person would write who does it by hand.
    pub fn by_hand(&self) -> String {
        match self {
            Addition::Route { route, .. } => format!("egress:\n  routes:\n{}", item(4, &in_lines(route), "\n")),
            Addition::Refs { repository, refs } => {
                let refs: Vec<String> = refs.iter().map(|one| scalar(one.as_str())).collect();
                format!("git:\n  - name: {}\n    push:\n      refs: [{}]\n", scalar(repository), refs.join(", "))
            }
        }
    }

    fn added_to(&self, mut bottle: Bottle) -> Result<Bottle, EditError> {
        match self {
            Addition::Route { route, first } => {
                let mut route = Placed { value: Route { granted: None, ..(**route).clone() }, place: nowhere() };
                route.value.ports.sort_unstable();
                if bottle.egress.routes.contains(&route) {
                    return Err(EditError::There);
                }
                let at = if *first { 0 } else { bottle.egress.routes.len() };
                bottle.egress.routes.insert(at, route);
            }
            Addition::Refs { repository, refs } => {
                let listed = bottle.git.iter_mut().find(|git| git.value.name == *repository);
                let push = listed.and_then(|git| git.value.push.as_mut());
                let push = push.ok_or_else(|| EditError::NoRepository(repository.clone()))?;
                if refs.iter().all(|one| push.refs.contains(one)) {
                    return Err(EditError::There);
                }
                push.refs.extend(refs.iter().cloned());
            }
        }
        Ok(bottle)
    }

    fn edited(&self, text: &str) -> Option<String> {
        let page = Page { text, end: if text.contains("\r\n") { "\r\n" } else { "\n" } };
        match self {
            Addition::Route { route, first } => page.route(&Entry::of(route), *first),
            Addition::Refs { repository, refs } => {
                let refs: Vec<Entry> = refs.iter().map(|one| Entry::scalar(one.as_str())).collect();
                page.refs(repository, &refs)
            }
        }
    }
}

/// An item of a list, in both layouts.
struct Entry {
    lines: Vec<String>,
    in_line: String,
}

impl Entry {
    fn of(route: &Route) -> Entry {
        Entry { lines: in_lines(route), in_line: in_line(route) }
    }

    fn scalar(text: &str) -> Entry {
        let text = scalar(text);
        Entry { lines: vec![text.clone()], in_line: text }
    }
}

fn item(indent: usize, lines: &[String], end: &str) -> String {
    let pad = " ".repeat(indent);
    let line = |(index, line): (usize, &String)| format!("{pad}{}{line}{end}", if index == 0 { "- " } else { "  " });
    lines.iter().enumerate().map(line).collect()
}

/// A text with its line ending.
#[derive(Clone, Copy)]
struct Page<'a> {
    text: &'a str,
    end: &'static str,
}

impl Page<'_> {
    fn route(self, route: &Entry, first: bool) -> Option<String> {
        let one = std::slice::from_ref(route);
        let Some(root) = outline(self.text).filter(|root| !matches!(root.shape, Shape::Null)) else {
            return Some(self.appended(0, "egress", &self.block("routes", 2, one)));
        };
        let Some((key, egress)) = root.entry("egress") else {
            let Shape::Table { in_line: false, .. } = root.shape else { return None };
            return Some(self.appended(root.column, "egress", &self.block("routes", root.column + 2, one)));
        };
        match (&egress.shape, egress.entry("routes")) {
            (Shape::Null, _) => self.below(key, egress, &self.block("routes", key.column + 2, one)),
            (Shape::Table { .. }, Some((key, routes))) => self.listed(key, routes, one, first),
            (Shape::Table { in_line: false, .. }, None) => {
                self.inserted_below(egress.end, &self.block("routes", egress.column, one))
            }
            (Shape::Table { in_line: true, entries }, None) => {
                let list = format!("routes: [{}]", route.in_line);
                let at = entries.last().map_or(egress.start + 1, |(_, value)| value.end);
                self.inserted(at, &if entries.is_empty() { list } else { format!(", {list}") })
            }
            _ => None,
        }
    }

    fn refs(self, repository: &str, refs: &[Entry]) -> Option<String> {
        let root = outline(self.text)?;
        let Shape::List { items, .. } = &root.value("git")?.shape else { return None };
        let named = |item: &&Part| matches!(item.value("name").map(|name| &name.shape), Some(Shape::Scalar(name)) if name == repository);
        let (key, list) = items.iter().find(named)?.value("push")?.entry("refs")?;
        self.listed(key, list, refs, false)
    }

    /// With more items in the list behind `key`.
    fn listed(self, key: &Part, list: &Part, more: &[Entry], first: bool) -> Option<String> {
        let in_lines = |indent| more.iter().map(|entry| item(indent, &entry.lines, self.end)).collect::<String>();
        let within = more.iter().map(|entry| entry.in_line.as_str()).collect::<Vec<_>>().join(", ");
        match &list.shape {
            Shape::Null => self.below(key, list, &in_lines(key.column + 2)),
            Shape::List { items, in_line } => match (items.first(), items.last()) {
                (None, _) | (_, None) if self.is_alone(key) => self.below(key, list, &in_lines(key.column + 2)),
                (None, _) | (_, None) => self.inserted(list.start + 1, &within),
                (Some(item), _) if first && *in_line => self.inserted(item.start, &format!("{within}, ")),
                (_, Some(item)) if *in_line => self.inserted(item.end, &format!(", {within}")),
                (Some(_), _) if first => {
                    let line = self.text.get(..list.start)?.rfind('\n').map_or(0, |at| at + 1);
                    self.inserted(line, &in_lines(list.column))
                }
                (_, Some(item)) => self.inserted_below(item.end, &in_lines(list.column)),
            },
            Shape::Scalar(_) | Shape::Table { .. } | Shape::Alias => None,
        }
    }

    /// Whether nothing but space stands before it in its line: then its value may stand below it.
    fn is_alone(self, key: &Part) -> bool {
        let before = self.text.get(..key.start).unwrap_or_default();
        before.rsplit('\n').next().is_some_and(|line| line.trim_matches([' ', '-']).is_empty())
    }

    /// A key with a list below it.
    fn block(self, key: &str, indent: usize, items: &[Entry]) -> String {
        let items = items.iter().map(|entry| item(indent + 2, &entry.lines, self.end));
        format!("{}{key}:{}{}", " ".repeat(indent), self.end, items.collect::<String>())
    }

    fn appended(self, indent: usize, key: &str, below: &str) -> String {
        let gap = if self.text.is_empty() || self.text.ends_with('\n') { "" } else { self.end };
        format!("{}{gap}{}{key}:{}{below}", self.text, " ".repeat(indent), self.end)
    }

    /// With `lines` below the line of `key`, in place of its empty value.
    fn below(self, key: &Part, value: &Part, lines: &str) -> Option<String> {
        let colon = key.end + self.text.get(key.end..)?.find(':')? + 1;
        let taken = value.start.max(colon)..value.end.max(colon);
        let without = match self.text.get(taken.clone())? {
            "" => self.text.to_owned(),
            _ => format!("{}{}", self.text.get(..colon)?, self.text.get(taken.end..)?),
        };
        Page { text: &without, ..self }.inserted_below(colon, lines)
    }

    /// With `lines` below the line that has this byte.
    fn inserted_below(self, at: usize, lines: &str) -> Option<String> {
        match self.text.get(at..)?.find('\n') {
            Some(ending) => self.inserted(at + ending + 1, lines),
            None => self.inserted(self.text.len(), &format!("{}{lines}", self.end)),
        }
    }

    fn inserted(self, at: usize, more: &str) -> Option<String> {
        Some(format!("{}{more}{}", self.text.get(..at)?, self.text.get(at..)?))
    }
}

fn nowhere() -> Place {
    Place::Flag(String::new())
}

/// The bottle without where it says what, so that two texts can be compared by what they mean.
fn unplaced(mut bottle: Bottle) -> Bottle {
    fn forget<'a, T: 'a>(placed: impl IntoIterator<Item = &'a mut Placed<T>>) {
        placed.into_iter().for_each(|placed| placed.place = nowhere());
    }
    // No port comes before another.
    bottle.egress.routes.iter_mut().for_each(|route| route.value.ports.sort_unstable());
    forget(&mut bottle.image);
    forget(&mut bottle.mounts);
    forget(&mut bottle.egress.routes);
    forget(&mut bottle.egress.upstream_ca);
    forget(&mut bottle.egress.upstream_proxy);
    forget(&mut bottle.git);
    forget(&mut bottle.supervise);
    forget(&mut bottle.ports);
    forget(&mut bottle.protect);
    bottle
}

#[cfg(test)]
mod tests;
