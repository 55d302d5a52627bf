//! The fields by which a yes is made to less than what was asked for.
//!
//! Invariant: what is left as it was asks for nothing to be narrowed. Whether the rest is less than what was asked is
//! not judged here: who grants it does that again, whatever a form says.

use crate::{
    action::{Less, Reply, Term},
    event::{Asks, Key, Kind, Request},
    field::Field,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    asks: Asks,
    fields: Vec<(&'static str, Field)>,
    at: usize,
}

const METHODS: &str = "methods";
const PATHS: &str = "paths";
const REFS: &str = "refs";
const TIME: &str = "time";
/// The longest that can be granted, in minutes.
const LONGEST: u32 = 24 * 60;

impl Form {
    /// `None` where there is nothing to narrow.
    pub(crate) fn of(request: &Request) -> Option<Form> {
        let asks = request.asks.clone()?;
        let joined = |words: &Option<Vec<String>>| Field::holding(&words.as_deref().unwrap_or_default().join(" "));
        let fields = match &asks {
            Asks::Reach { methods, paths } => {
                vec![(METHODS, joined(methods)), (PATHS, joined(paths)), (TIME, Field::default())]
            }
            Asks::Refs(refs) => vec![(REFS, Field::holding(&refs.join(" ")))],
        };
        debug_assert!(request.kind != Kind::Question);
        Some(Form { asks, fields, at: 0 })
    }

    /// Name, text, and whether it is being written.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, &Field, bool)> {
        self.fields.iter().enumerate().map(|(at, (name, field))| (*name, field, at == self.at))
    }

    /// What the field that is being written takes.
    pub(crate) fn hint(&self) -> &'static str {
        match self.fields.get(self.at).map(|(name, _)| *name) {
            Some(METHODS) => "methods of those asked for, with spaces between; empty = all of them",
            Some(PATHS) => "paths within those asked for, with spaces between; empty = all of them",
            Some(REFS) => "refs of those asked for, with spaces between",
            _ => "once, a time as 10m or 2h, or bottle (as long as it runs); empty = as asked",
        }
    }

    pub(crate) fn press(&mut self, key: Key) {
        let count = self.fields.len();
        match key {
            Key::Tab | Key::Down => self.at = (self.at + 1) % count,
            Key::BackTab | Key::Up => self.at = (self.at + count - 1) % count,
            key => {
                if let Some((_, field)) = self.fields.get_mut(self.at) {
                    field.press(key);
                }
            }
        }
    }

    pub(crate) fn insert(&mut self, text: &str) {
        if let Some((_, field)) = self.fields.get_mut(self.at) {
            field.insert(text);
        }
    }

    /// The yes, or what is wrong with it.
    pub(crate) fn reply(&self) -> Result<Reply, String> {
        let words = |name: &str| {
            let field = self.fields.iter().find(|(other, _)| *other == name);
            let text = field.map(|(_, field)| field.text()).unwrap_or_default();
            let words: Vec<String> =
                text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
            (!words.is_empty()).then_some(words)
        };
        // Left as it was, or emptied: as asked.
        let narrowed = |given: Option<Vec<String>>, asked: Option<&Vec<String>>| given.filter(|it| Some(it) != asked);
        let less = match &self.asks {
            Asks::Reach { methods, paths } => Less {
                methods: narrowed(words(METHODS).map(upper_case), methods.as_ref()),
                paths: narrowed(words(PATHS), paths.as_ref()),
                refs: None,
            },
            Asks::Refs(refs) => Less { refs: narrowed(words(REFS), Some(refs)), ..Less::default() },
        };
        let term = term(&words(TIME).unwrap_or_default().join(""))?;
        Ok(Reply::Approve { term, less, answer: None })
    }
}

/// As methods are; the keys of a person in a hurry are not.
fn upper_case(methods: Vec<String>) -> Vec<String> {
    methods.into_iter().map(|method| method.to_ascii_uppercase()).collect()
}

fn term(text: &str) -> Result<Term, String> {
    let minutes = |number: &str, scale: u32| {
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse::<u32>().ok().filter(|_| digits)?.checked_mul(scale)
    };
    let read = match text {
        "" => return Ok(Term::AsAsked),
        "once" => return Ok(Term::Once),
        "bottle" => return Ok(Term::Bottle),
        text => match (text.strip_suffix('m'), text.strip_suffix('h')) {
            (Some(number), _) => minutes(number, 1),
            (_, Some(number)) => minutes(number, 60),
            _ => None,
        },
    };
    let fits = read.filter(|minutes| (1..=LONGEST).contains(minutes));
    fits.map(Term::Minutes).ok_or_else(|| format!("`{text}` is no time: once, 10m, 2h (at most 24h) or bottle"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_once_so_many_minutes_or_the_bottles_run() {
        for (text, expected) in [
            ("", Some(Term::AsAsked)),
            ("once", Some(Term::Once)),
            ("bottle", Some(Term::Bottle)),
            ("10m", Some(Term::Minutes(10))),
            ("24h", Some(Term::Minutes(1440))),
            ("25h", None),
            ("0m", None),
            ("10", None),
            ("+5m", None),
            ("99999999999h", None),
            ("m", None),
            ("ß", None),
        ] {
            assert_eq!(term(text).ok(), expected, "{text}");
        }
    }
}
