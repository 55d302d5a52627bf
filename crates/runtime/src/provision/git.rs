//! What leads the agent's git from its upstreams to the git door, as the system's configuration: the agent's own is
//! its own.

use super::{Given, Piece};
use bottle_spec::git::client_config;

pub(super) fn pieces(given: &Given<'_>) -> Vec<Piece> {
    let config = client_config(&given.plan.git);
    if config.is_empty() { Vec::new() } else { vec![Piece::file("/etc/gitconfig", config)] }
}
