//! What a person wants done.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `digest` is that of the request that was on the screen.
    Approve {
        id: String,
        digest: String,
        term: Term,
    },
    Deny {
        id: String,
        digest: String,
    },
    Freeze {
        bottle: String,
        frozen: bool,
    },
    Quit,
}

/// For how long a yes holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Term {
    AsAsked,
    Once,
    TenMinutes,
}
