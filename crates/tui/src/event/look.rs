//! What a look at this host gives: bottles, what their agents ask for, and what was decided since the look before.
//!
//! Invariant: every text in it is escaped already, line by line, by who gathered it ([`bottle_spec::escape`]); a screen
//! does it again. It holds no secret, and nothing here is computed from the time or the host: an age is drawn from
//! [`Look::now`].

use serde::{Deserialize, Serialize};

/// Seconds that one number of [`Bottle::traffic`] stands for, and between two measures of cpu and memory.
pub const TICK: u64 = 2;
/// The most numbers of [`Bottle::traffic`].
pub const TICKS: usize = 60;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Milliseconds since the Unix epoch.
    pub now: u64,
    /// By name.
    pub bottles: Vec<Bottle>,
    /// Oldest first.
    pub requests: Vec<Request>,
    /// New since the look before, oldest first.
    pub decisions: Vec<Decision>,
    /// Of the bottle that was wished for, where what is to be shown of it is new.
    pub logs: Option<Logs>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bottle {
    pub name: String,
    pub agent: String,
    pub state: BottleState,
    /// Milliseconds since the Unix epoch; `None` where its metadata cannot be read.
    pub created: Option<u64>,
    /// Thousandths of a core, of the agent and of all that serves its bottle; `None` until measured twice.
    pub cpu: Option<u64>,
    /// Bytes that are resident, of the same processes. What several of them share counts for each.
    pub memory: Option<u64>,
    /// Bytes sent and received, newest last, each for [`TICK`] seconds; at most [`TICKS`]. What moves counts when its
    /// request has ended, and is told of up to five seconds later.
    pub traffic: Vec<u64>,
    /// Of this bottle's decisions since the first look.
    pub allowed: u64,
    pub denied: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BottleState {
    Creating,
    Running,
    Frozen,
    Stopped,
    Failed,
}

impl BottleState {
    pub fn name(self) -> &'static str {
        match self {
            BottleState::Creating => "creating",
            BottleState::Running => "running",
            BottleState::Frozen => "frozen",
            BottleState::Stopped => "stopped",
            BottleState::Failed => "failed",
        }
    }

    /// Whether there is an agent to join, to freeze or to stop.
    pub fn is_live(self) -> bool {
        matches!(self, BottleState::Running | BottleState::Frozen)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub id: String,
    /// Of what it was read from: an answer names it.
    pub digest: String,
    pub bottle: String,
    pub kind: Kind,
    /// One line.
    pub summary: String,
    /// What to weigh, weightiest first.
    pub risks: Vec<String>,
    /// All of it but the diff, a line each.
    pub whole: Vec<String>,
    /// Of a push.
    pub diff: Vec<DiffLine>,
    /// Milliseconds since the Unix epoch.
    pub made: u64,
    /// When it counts as denied.
    pub expires: u64,
    /// What it asks for, where a yes can be to less than that.
    pub asks: Option<Asks>,
    /// Of a question; empty = any words answer it.
    pub choices: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Push,
    Held,
    Egress,
    Git,
    SecretRoute,
    Question,
}

/// What can be narrowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asks {
    /// `None` = all there are. For a time, too.
    Reach {
        methods: Option<Vec<String>>,
        paths: Option<Vec<String>>,
    },
    Refs(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffLine {
    pub kind: DiffKind,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiffKind {
    /// What is said of a file, and a file's names.
    File,
    Hunk,
    Added,
    Removed,
    Context,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub bottle: String,
    /// Of the record in the bottle's audit log.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub time: u64,
    pub verdict: Verdict,
    /// As `bot-bottle audit show` has it.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Allow,
    Deny,
    /// Something else that is written down.
    Note,
}

/// The end of what an agent's terminal showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    pub bottle: String,
    /// Newest last.
    pub lines: Vec<String>,
}
