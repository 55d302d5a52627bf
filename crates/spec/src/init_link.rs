//! What keeper and init say to each other ([`crate::wire`] frames), over a socket pair made before the bottle, or over
//! a socket that init connects to as the first thing it does.
//!
//! Init takes orders from this socket alone. When it closes, the keeper is gone and init ends, and with PID 1 ends
//! every process of the bottle.

use crate::door::Door;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeeperToInit {
    /// Where the bottle's maker could not: open these doors, and hand each over with [`InitToKeeper::Opened`], in this
    /// order. Comes before `Start`, or not at all. The socket that all else goes over rides with it: the kernel shows one
    /// that was connected to by its name, to the bottle as well.
    Open { doors: Vec<Door> },
    /// The first message besides: confine yourself (every later process inherits it), run the self-probe, answer `Probed`.
    Start(InitStart),
    /// Run a program. Without `tty`, its standard input, output and error ride with this frame, in that order.
    Spawn(Spawn),
    /// Send a signal to the process group of a spawned program.
    Signal { id: u32, signal: i32 },
    /// The terminal of a spawned program has another size now. Where its master side is the keeper's own, the keeper sets
    /// it there; this is for a bottle that is a machine of its own.
    Resize { id: u32, size: WindowSize },
    /// Connect to this port of the bottle's loopback and pass the socket back (for `ports:`).
    Dial { id: u32, port: u16 },
    /// Stop every process where it is, or let all go on.
    Freeze(bool),
    /// End every program: SIGTERM, then SIGKILL after this many seconds, then exit.
    Stop { grace: u32 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InitStart {
    /// What Landlock lets programs write to, beneath; all else is read and execute.
    pub writable: Vec<String>,
    /// `RLIMIT_NPROC`, where a limit on processes was asked for.
    pub pids: Option<u32>,
    pub probe: Probe,
}

/// What the self-probe tries, from inside and under the agent's own confinement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// TCP ports on 127.0.0.1 that must answer: the doors.
    pub doors: Vec<u16>,
    /// A port on which a live listener waits on the *host's* loopback: it must not be reached.
    pub canary_port: u16,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spawn {
    pub id: u32,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: String,
    pub tty: Option<WindowSize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitToKeeper {
    /// The door's listener rides with this frame.
    Opened { door: Door },
    /// What the self-probe found: empty = the room is tight and every door answers.
    Probed { failures: Vec<String> },
    /// With a `tty`, the terminal's master side rides with this frame.
    Spawned { id: u32 },
    /// The program could not be started; `code` is 127 (not found) or 126 (not executable), as a shell's.
    SpawnFailed { id: u32, code: u8, message: String },
    /// A spawned program ended: its exit code, or 128 + the signal.
    Exited { id: u32, code: u8 },
    /// With `ok`, the connected socket rides with this frame.
    Dialed { id: u32, ok: bool },
    /// Init cannot go on.
    Failed { message: String },
}
