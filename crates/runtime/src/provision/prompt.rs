//! The agent's prompt as a file. It is always there; whether the agent is told of it is in the plan's command.

use super::{Given, Piece};
use bottle_spec::resolve::PROMPT_FILE;

pub(super) fn pieces(given: &Given<'_>) -> Vec<Piece> {
    vec![Piece::private(PROMPT_FILE, given.plan.prompt.as_str())]
}
