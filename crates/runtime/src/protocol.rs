//! What the cli and a keeper say to each other.
//!
//! Two sockets carry it: the *launch link*, which is the keeper's standard input, and `control.sock`. Both begin with
//! [`bottle_spec::wire`] frames (a request, then events or an answer). When a session opens, the same socket goes over
//! to [`Frame`]s: a kind byte, a big-endian `u32` length and raw bytes, so that a terminal's bytes need no encoding.

use crate::{backend::smolmachines::Smolvm, dirs::Dirs, engine_address::EngineAddress};
use bottle_spec::{
    gate_link::HeldSecret,
    init_link::WindowSize,
    notify::Targets,
    operator::{Grant, OperatorDecision},
    plan::Plan,
    slug::Slug,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The first frame on the launch link. With [`Console::Pipes`], the program's standard input, output and error ride
/// with it, in that order.
#[derive(Debug, Serialize, Deserialize)]
pub struct LaunchRequest {
    pub dirs: Dirs,
    pub origin: Origin,
    pub plan: Plan,
    /// One for each of the plan's secrets.
    pub secrets: Vec<HeldSecret>,
    /// Who is told that a request waits.
    #[serde(default)]
    pub notify: Targets,
    /// The engine that makes the room, where the plan's backend has one.
    #[serde(default)]
    pub engine: Option<EngineAddress>,
    /// What makes the room, where that is a machine.
    #[serde(default)]
    pub smolvm: Option<Smolvm>,
    /// The environment that a `command:` secret runs in when it is read again.
    pub refresh_env: BTreeMap<String, String>,
    pub console: Console,
    pub lifetime: Lifetime,
    /// Whether state (home, workspace) goes when the bottle ends. `run` without `--keep` is ephemeral.
    pub ephemeral: bool,
    /// The bottle is stopped after so many seconds.
    pub wall_seconds: Option<u32>,
    /// For the crash tests: one of [`crate::journal::STEPS`], alone (held just before the thing is made) or with
    /// `.done` (just after); the keeper then stops itself with SIGSTOP.
    pub hold_at: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A new bottle; where no name is asked for, a free one is drawn.
    New { name: Option<Slug> },
    /// A stopped bottle, with its home and workspace as they were left.
    Resume { slug: Slug },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Console {
    /// The program has a terminal of its own, which the keeper holds; clients attach to it.
    Terminal(WindowSize),
    /// The program has three pipes, whose other ends the cli holds.
    Pipes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// The bottle ends when the launch link closes without a detach.
    Foreground,
    /// It goes on without the cli.
    Detached,
}

/// What the keeper reports on the launch link. After [`LaunchEvent::Ready`] a foreground link carries [`Frame`]s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchEvent {
    /// The bottle has its name.
    Named {
        slug: Slug,
    },
    /// A step begins; one of [`crate::journal::STEPS`].
    Step {
        name: String,
    },
    /// A long step goes on: files copied so far.
    Copied {
        files: u64,
        bytes: u64,
    },
    /// A long step goes on: objects of a repository are fetched.
    Fetching,
    /// Something that the person should know.
    Notice {
        text: String,
    },
    /// The agent runs.
    Ready,
    Failed(LaunchFailure),
}

/// Why a launch came to nothing, as its person reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchFailure {
    pub kind: FailureKind,
    /// The error and its causes, outermost first.
    pub causes: Vec<String>,
    /// What could not be undone; empty where all was.
    pub left_behind: Vec<String>,
}

/// Which exit code a failure has (DESIGN.md, "Command line").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request cannot be met as it is: a name taken, a bottle that is running or not there.
    Usage,
    /// This host lacks something: exit code 4.
    Host,
    /// The program could not be started: this exit code (126 or 127).
    Program(u8),
    /// Ours.
    Bug,
}

/// A request on `control.sock`, one per connection.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRequest {
    Status,
    /// Join the agent's terminal.
    Attach {
        size: WindowSize,
    },
    /// Run another program in the bottle. With [`Console::Pipes`] three descriptors ride along, as at launch.
    Exec {
        argv: Vec<String>,
        env: BTreeMap<String, String>,
        cwd: Option<String>,
        console: Console,
    },
    /// End the bottle; answered with [`ControlReply::Ended`] when nothing of it runs any more.
    Stop {
        grace_seconds: u32,
    },
    /// Answered with [`ControlReply::Ended`] when the bottle has ended.
    Wait,
    /// Stop everything, or let it go on; answered with [`ControlReply::Status`].
    Freeze(bool),
    /// The operator's answer to a request of this kind; answered with [`ControlReply::Done`] when it is in force.
    Decide {
        decision: Box<OperatorDecision>,
        kind: String,
    },
    /// What was granted; answered with [`ControlReply::Grants`].
    Grants,
    /// Take a grant back; answered with [`ControlReply::Done`] when the gate goes by it no more.
    Revoke {
        request: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlReply {
    Status(Status),
    /// The session is open: from here on, [`Frame`]s.
    Opened,
    Ended {
        code: Option<u8>,
        /// Why not all of it could be taken down, the outermost reason first.
        left: Vec<String>,
    },
    /// It is done; `notice` is empty where there is nothing to add.
    Done {
        notice: String,
    },
    Grants(Vec<Grant>),
    /// `code` is the exit code that the caller should give: 126 and 127 as a shell's, 4 where the host cannot.
    Refused {
        code: u8,
        message: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub slug: Slug,
    pub keeper: i32,
    pub gate: Option<i32>,
    pub init: i32,
    pub gate_restarts: u32,
    pub clients: usize,
    pub frozen: Option<FrozenBy>,
}

/// Who stopped everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrozenBy {
    /// By command.
    Operator,
    /// By a file named `freeze`.
    Sentinel,
    /// The gate, as a planted credential was about to leave.
    Canary,
}

/// A session's frames, in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of the terminal, either way. Sessions with pipes have none.
    Data(Vec<u8>),
    /// From the client.
    Resize(WindowSize),
    /// From the client: leave, and let the program run on.
    Detach,
    /// From the client: a signal for the program.
    Signal(i32),
    /// From the keeper: the program ended. The last frame.
    Exit(u8),
    /// From the keeper: the session is over for this client, and why. The last frame.
    Gone(String),
    /// From the keeper: something waits for the operator.
    Bell,
}

/// The longest payload of a [`Frame`]; a longer one ends the connection.
pub const MAX_PAYLOAD: usize = 64 << 10;

const HEADER: usize = 5;

#[derive(Debug, thiserror::Error)]
#[error("not a session frame")]
pub struct FrameError;

impl Frame {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Frame::Data(bytes) => framed(0, bytes),
            Frame::Resize(size) => {
                let [a, b] = size.rows.to_be_bytes();
                let [c, d] = size.columns.to_be_bytes();
                framed(1, &[a, b, c, d])
            }
            Frame::Detach => framed(2, &[]),
            Frame::Signal(signal) => framed(3, &signal.to_be_bytes()),
            Frame::Exit(code) => framed(4, &[*code]),
            Frame::Gone(why) => framed(5, why.as_bytes()),
            Frame::Bell => framed(6, &[]),
        }
    }

    fn parse(kind: u8, payload: &[u8]) -> Option<Frame> {
        Some(match (kind, payload) {
            (0, bytes) => Frame::Data(bytes.to_vec()),
            (1, &[a, b, c, d]) => {
                Frame::Resize(WindowSize { rows: u16::from_be_bytes([a, b]), columns: u16::from_be_bytes([c, d]) })
            }
            (2, []) => Frame::Detach,
            (3, &[a, b, c, d]) => Frame::Signal(i32::from_be_bytes([a, b, c, d])),
            (4, &[code]) => Frame::Exit(code),
            (6, []) => Frame::Bell,
            (5, why) => Frame::Gone(String::from_utf8_lossy(why).into_owned()),
            _ => return None,
        })
    }
}

fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(MAX_PAYLOAD)];
    let length = u32::try_from(payload.len()).unwrap_or(0);
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.push(kind);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Collects bytes as they arrive and gives back whole [`Frame`]s.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    pending: Vec<u8>,
}

impl FrameDecoder {
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole frame, `None` until enough bytes have arrived. After an error, drop the connection.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((&[kind, a, b, c, d], rest)) = self.pending.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError);
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let frame = Frame::parse(kind, payload).ok_or(FrameError)?;
        self.pending.drain(..HEADER + length);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_every_cut() {
        let frames = [
            Frame::Data(b"\x1b[0m\xff".to_vec()),
            Frame::Resize(WindowSize { rows: 24, columns: 300 }),
            Frame::Detach,
            Frame::Signal(15),
            Frame::Exit(7),
            Frame::Gone("the bottle ended".to_owned()),
            Frame::Bell,
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        for cut in 0..=bytes.len() {
            let mut decoder = FrameDecoder::default();
            let mut seen = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [&[9, 0, 0, 0, 0][..], &[0, 255, 255, 255, 255], &[4, 0, 0, 0, 2, 1, 1], &[1, 0, 0, 0, 0]] {
            let mut decoder = FrameDecoder::default();
            decoder.push(bytes);
            assert!(decoder.next_frame().is_err(), "{bytes:?} was taken");
        }
    }
}
