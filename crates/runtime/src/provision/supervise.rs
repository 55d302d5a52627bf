//! The supervise door in the form in which clients of MCP list their servers. How one is told of it is its provider's.

use super::{Given, Piece};
use bottle_spec::{door::MCP_URL, resolve::MCP_FILE};

pub(super) fn pieces(given: &Given<'_>) -> Vec<Piece> {
    if !given.plan.supervise {
        return Vec::new();
    }
    let servers = serde_json::json!({ "mcpServers": { "bot-bottle": { "type": "http", "url": MCP_URL } } });
    vec![Piece::file(MCP_FILE, format!("{servers}\n"))]
}
