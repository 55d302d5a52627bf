//! Manifests: what the user wrote, read with every mistake found at once.
//!
//! Invariant: a value that comes out of here is well-formed on its own. Whether this host can give it, and which
//! defaults apply, is [`crate::resolve`]'s work.

mod agent;
mod bottle;
mod budgets;
mod config;
mod edit;
mod egress;
mod git;
mod login;
mod mistake;
pub mod pipelock;
mod provider;
mod tree;
mod walk;
mod write;

pub use agent::{Agent, BACKENDS};
pub use bottle::Bottle;
pub use config::Config;
pub use edit::{Addition, EditError};
pub use egress::Egress;
pub use git::{GitUpstream, Written};
pub use mistake::{Mistake, Mistakes, Place, Placed};
pub use provider::read_provider;
pub use walk::Keys;
pub use write::{Noted, bottle_of};

/// Every table that a bottle's manifest may hold, with its keys: what the JSON Schema must agree with.
pub const BOTTLE_TABLES: &[Keys] = &[
    bottle::BOTTLE,
    bottle::LIMITS,
    bottle::SUPERVISE,
    budgets::BUDGETS,
    budgets::PER_HOST,
    egress::EGRESS,
    egress::ROUTE,
    egress::AUTH,
    egress::PROXY,
    git::UPSTREAM,
    git::PUSH,
];
/// The same for an agent's front matter.
pub const AGENT_TABLES: &[Keys] = &[agent::AGENT];
/// The same for `config.yaml`.
pub const CONFIG_TABLES: &[Keys] = &[config::CONFIG, config::NOTIFY, config::WEBHOOK];
/// The same for a provider; those that share their keys stand here once.
pub const PROVIDER_TABLES: &[Keys] = &[
    provider::PROVIDER,
    provider::HEADLESS,
    provider::PROMPT,
    provider::CREDENTIAL,
    login::LOGIN,
    provider::FILE,
    egress::ROUTE,
    egress::AUTH,
];

/// The JSON Schemas that ship with the product.
pub const AGENT_SCHEMA: &str = include_str!("../schema/agent.json");
pub const BOTTLE_SCHEMA: &str = include_str!("../schema/bottle.json");
pub const CONFIG_SCHEMA: &str = include_str!("../schema/config.json");
pub const PROVIDER_SCHEMA: &str = include_str!("../schema/provider.json");

/// The candidate that was probably meant, if one is close enough to say so.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = text.to_lowercase().replace(['-', ' '], "_");
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &candidate.to_lowercase().replace('-', "_")), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().div_ceil(3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
