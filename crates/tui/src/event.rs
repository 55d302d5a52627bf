//! What happens to the dashboard.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Seen(Snapshot),
    Key(Key),
    /// What came of an action.
    Said(String),
}

/// Bottles and requests as they are now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub bottles: Vec<Bottle>,
    pub requests: Vec<Request>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bottle {
    pub name: String,
    pub agent: String,
    pub state: String,
    pub frozen: bool,
    pub age: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub id: String,
    /// Of what it was read from.
    pub digest: String,
    pub bottle: String,
    pub summary: String,
    pub risks: Vec<String>,
    /// All of it, a line each.
    pub whole: Vec<String>,
    /// Whether a yes is all that it takes; a question takes words.
    pub approvable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    Up,
    Down,
    Tab,
    Enter,
    Escape,
    Char(char),
}
