//! May this be fetched, may this be pushed? The parsers of what a git client sends first, and the rules for refs.
//!
//! Invariant: a name that is not exactly a listed repository's leads nowhere; a ref that no pattern names is refused.

pub mod flagged;
pub mod pkt;
pub mod refs;
pub mod request;

use crate::validate::{near, nearest, rule_ids};
use bottle_spec::git::GitRepository;

pub use refs::{Change, Refusal, judge};
/// What the `exempt` of repositories names and is no rule of the scan.
pub fn unknown_rules(repositories: &[GitRepository]) -> Vec<UnknownRule> {
    let unknown = |id: &&String| !rule_ids().any(|known| known == id.as_str());
    let of = |repository: &GitRepository| {
        let exempt = repository.push.iter().flat_map(|push| &push.exempt).filter(unknown);
        let fault = |id: &String| UnknownRule { repository: repository.name.clone(), id: id.clone() };
        exempt.map(fault).collect::<Vec<_>>()
    };
    repositories.iter().flat_map(of).collect()
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("repository {repository}: `exempt` names `{id}`, which is no rule of the scanner{}", near(&nearest(id)))]
pub struct UnknownRule {
    pub repository: String,
    pub id: String,
}

pub use request::{Asked, Request, RequestError, Service};
