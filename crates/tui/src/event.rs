//! What happens to the dashboard.

mod look;

pub use look::{
    Asks, Bottle, BottleState, Decision, DiffKind, DiffLine, Kind, Logs, Look, Request, TICK, TICKS, Verdict,
};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Bottles as they are at this time.
    Bottles {
        now: u64,
        bottles: Vec<Bottle>,
    },
    /// Requests that wait, where they are others than before.
    Requests(Vec<Request>),
    /// Decisions that are new.
    Decided(Vec<Decision>),
    Logs(Logs),
    Key(Key),
    /// Into a text that is being written.
    Pasted(String),
    Mouse(Mouse),
    Resized {
        width: u16,
        height: u16,
    },
    /// What came of an action.
    Said(String),
    /// The agents that can be started.
    Agents(Vec<String>),
    /// What starting this agent would do.
    Preflight {
        agent: String,
        lines: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    BackTab,
    Enter,
    Escape,
    Backspace,
    Delete,
    /// With control.
    Control(char),
    Char(char),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mouse {
    /// The left button went down in this cell.
    Press { column: u16, row: u16 },
    /// The wheel, one notch.
    Scroll { column: u16, row: u16, down: bool },
}
