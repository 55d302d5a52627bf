//! The list of attempts. The names are stable: they are what a report is compared by.

mod confinement;
mod files;
mod h2;
mod http;
mod kernel;
mod lookups;
mod network;
mod proxied;
mod resources;
mod secrets;
mod set_id;
mod sockets;

use crate::Field;
use serde::{Deserialize, Serialize};

/// One thing to try.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub section: Section,
    pub control: Control,
    pub attempt: fn(&Field) -> Outcome,
}

/// The part of the list of attacks that a case comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Section {
    FailClosed,
    GoingAround,
    NamesAndTls,
    Http,
    NamesLookedUp,
    Secrets,
    Life,
}

/// What the same attempt must do where nothing holds it, so that the suite is known to be able to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Succeed on the bare host, whoever runs it.
    Escapes,
    /// Succeed on the bare host as root.
    EscapesAsRoot,
    /// Depends on what the machine has.
    Depends,
    /// Not tried there: it would leave loopback.
    NotOnHost,
}

impl Control {
    pub fn skips_bare(self) -> bool {
        self == Control::NotOnHost
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "detail")]
pub enum Outcome {
    /// It got out; with the evidence.
    Escaped(String),
    /// It did not; by what it was held.
    Held(String),
    NotApplicable(String),
}

impl Outcome {
    /// An operation that must fail.
    pub(crate) fn of<T, E: std::fmt::Display>(result: Result<T, E>, evidence: &str) -> Outcome {
        match result {
            Ok(_) => Outcome::Escaped(evidence.to_owned()),
            Err(error) => Outcome::Held(error.to_string()),
        }
    }

    /// A list of what succeeded and should not have.
    pub(crate) fn none_of(found: Vec<String>, held: &str) -> Outcome {
        if found.is_empty() { Outcome::Held(held.to_owned()) } else { Outcome::Escaped(found.join(", ")) }
    }
}

/// The cases of a part of the suite: the first of two has every other case, from the first on.
pub fn part(part: Option<(usize, usize)>) -> Vec<Case> {
    let Some((number, of)) = part else { return all() };
    all().into_iter().enumerate().filter(|(index, _)| index % of.max(1) + 1 == number).map(|(_, case)| case).collect()
}

/// Every case, in the order in which they run: what could starve the others comes last.
pub fn all() -> Vec<Case> {
    let parts: [&[Case]; 12] = [
        network::CASES,
        sockets::CASES,
        kernel::CASES,
        confinement::CASES,
        files::CASES,
        set_id::CASES,
        secrets::CASES,
        lookups::CASES,
        proxied::CASES,
        http::CASES,
        h2::CASES,
        resources::CASES,
    ];
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_of_it_and_nothing_twice() {
        let mut names: Vec<&str> = (1..=7).flat_map(|number| part(Some((number, 7)))).map(|case| case.name).collect();
        let mut whole: Vec<&str> = part(None).iter().map(|case| case.name).collect();
        names.sort_unstable();
        whole.sort_unstable();
        assert_eq!(names, whole);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = all().iter().map(|case| case.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
