//! What a yes gives, as data.
//!
//! Invariant: a grant is made from a request and the policy by `bottle_policy::grant` alone, and taken as it is.

use super::Unfit;
use crate::{git::RefPattern, policy::Route};
use serde::{Deserialize, Serialize};

/// How long a grant holds. None outlives the run of its bottle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Term {
    /// One request.
    Once,
    Seconds(u32),
    /// As long as the bottle runs.
    #[default]
    Bottle,
}

impl Term {
    /// A day, in seconds.
    pub const LONGEST: u32 = 24 * 3600;

    pub(super) fn check(self) -> Result<(), Unfit> {
        match self {
            Term::Seconds(seconds) if seconds == 0 || seconds > Term::LONGEST => Err(Unfit::Time),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Display for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Term::Once => f.write_str("once"),
            Term::Seconds(seconds) if seconds % 60 == 0 => write!(f, "for {} minutes", seconds / 60),
            Term::Seconds(seconds) => write!(f, "for {seconds} seconds"),
            Term::Bottle => f.write_str("as long as the bottle runs"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The request's id, which is the grant's.
    pub request: String,
    pub gives: Gives,
    pub term: Term,
    /// Milliseconds since the Unix epoch; set by the keeper when it takes effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gives {
    /// A route to be asked before the policy's own, or after them.
    Route { route: Box<Route>, first: bool },
    /// Refs of a listed repository that may be pushed to. Each push is still asked about.
    Refs { repository: String, refs: Vec<RefPattern> },
}
