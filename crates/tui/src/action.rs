//! What a person wants done.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `digest` is that of the request that was on the screen.
    Answer {
        id: String,
        digest: String,
        reply: Reply,
    },
    Freeze {
        bottle: String,
        frozen: bool,
    },
    /// Ends it; what `start` made is kept.
    Stop {
        bottle: String,
    },
    /// Runs a stopped one again.
    Resume {
        bottle: String,
    },
    /// Joins the agent's terminal.
    Attach {
        bottle: String,
    },
    /// Which agents are there?
    Agents,
    /// What would starting it do?
    Preflight {
        agent: String,
    },
    /// Starts what the last preflight showed.
    Start {
        agent: String,
    },
    Quit,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Approve {
        #[serde(default)]
        term: Term,
        #[serde(default)]
        less: Less,
        /// To a question.
        #[serde(default)]
        answer: Option<String>,
    },
    Deny {
        /// For the agent to read.
        #[serde(default)]
        why: Option<String>,
    },
}

/// For how long a yes holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Term {
    #[default]
    AsAsked,
    Once,
    Minutes(u32),
    /// As long as the bottle runs.
    Bottle,
}

/// What a yes is to, where it is to less than what was asked for. `None` = as asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Less {
    #[serde(default)]
    pub methods: Option<Vec<String>>,
    #[serde(default)]
    pub paths: Option<Vec<String>>,
    #[serde(default)]
    pub refs: Option<Vec<String>>,
}
