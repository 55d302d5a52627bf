//! What a bottle has on this host, written down before it is made: `journal`, one JSON entry a line, appended.
//!
//! Invariant: whatever exists of a bottle is named by a `make` entry, or dies by itself when its keeper does (init and
//! gate end when their sockets close), so `cleanup` can reap it after a `kill -9` at any point. Entries are not synced
//! to the disk: what outlives a power cut is directories alone, and those are found by looking.

use crate::{backend::smolmachines::Machine, engine_address::EngineAddress, process::ProcessId};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// The steps of a launch in their order, then those of a teardown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The bottle's directory under its name, locked.
    State,
    /// The socket directory and `control.sock`.
    Runtime,
    /// Published ports.
    Ports,
    /// A host uid of the bottle's own, where root starts it.
    HostIds,
    /// Home and workspace.
    Workspace,
    Cgroup,
    /// A listener on the host's loopback that the self-probe must not reach.
    Canary,
    /// The gate's process, with a new authority; it serves nothing yet.
    Gate,
    Room,
    /// The gate gets its policy, secrets and doors.
    Serve,
    /// Init confines itself and tries to get out; the gate says that it is ready.
    Probe,
    Agent,
    /// Teardown: every process of the room ends.
    End,
    /// Teardown: the gate finishes its audit log and ends.
    Drain,
    /// Teardown: sockets and cgroup go, and the state of an ephemeral bottle.
    Remove,
}

/// Every step that the journal knows, by name: a crash test holds the keeper at each.
pub const STEPS: [&str; 15] = [
    "state",
    "runtime",
    "ports",
    "host-ids",
    "workspace",
    "cgroup",
    "canary",
    "gate",
    "room",
    "serve",
    "probe",
    "agent",
    "end",
    "drain",
    "remove",
];

impl Step {
    const ALL: [Step; 15] = [
        Step::State,
        Step::Runtime,
        Step::Ports,
        Step::HostIds,
        Step::Workspace,
        Step::Cgroup,
        Step::Canary,
        Step::Gate,
        Step::Room,
        Step::Serve,
        Step::Probe,
        Step::Agent,
        Step::End,
        Step::Drain,
        Step::Remove,
    ];

    pub fn name(self) -> &'static str {
        let at = Step::ALL.iter().position(|step| *step == self).unwrap_or_default();
        STEPS.get(at).copied().unwrap_or_default()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something on the host that `cleanup` can find again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thing {
    Process {
        role: String,
        id: ProcessId,
    },
    Directory(PathBuf),
    Cgroup(PathBuf),
    /// See [`crate::host_ids`].
    HostId(u32),
    Container(Container),
    Machine(Machine),
}

/// A container of an engine's, by the name that it has there from its making.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub engine: EngineAddress,
    pub name: String,
    /// Its files were sent: there are volumes and an image of its own besides.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sent: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// About to be made. A process has no number yet.
    Make {
        step: Step,
        things: Vec<Thing>,
    },
    /// It is there; processes have their numbers.
    Done {
        step: Step,
        things: Vec<Thing>,
    },
    Undone {
        step: Step,
    },
}

#[derive(Debug, thiserror::Error)]
#[error("the bottle's journal cannot be written; look at the space left where its state is kept")]
pub struct JournalError(#[source] pub io::Error);

/// Appends. A launch that cannot write its journal stops.
#[derive(Debug)]
pub struct Journal {
    file: File,
    hold_at: Option<String>,
}

impl Journal {
    /// `hold_at` as in [`crate::protocol::LaunchRequest::hold_at`].
    pub(crate) fn open(path: &Path, hold_at: Option<String>) -> Result<Journal, JournalError> {
        let file = File::options().create(true).append(true).open(path).map_err(JournalError)?;
        Ok(Journal { file, hold_at })
    }

    /// For a task beside the main loop: entries are whole lines, whoever appends them.
    pub(crate) fn second(&self) -> io::Result<Journal> {
        Ok(Journal { file: self.file.try_clone()?, hold_at: None })
    }

    pub(crate) fn make(&mut self, step: Step, things: Vec<Thing>) -> Result<(), JournalError> {
        self.write(&Entry::Make { step, things })?;
        self.hold(step.name());
        Ok(())
    }

    pub(crate) fn done(&mut self, step: Step, things: Vec<Thing>) -> Result<(), JournalError> {
        self.write(&Entry::Done { step, things })?;
        self.hold(&format!("{step}.done"));
        Ok(())
    }

    pub(crate) fn undone(&mut self, step: Step) -> Result<(), JournalError> {
        self.write(&Entry::Undone { step })
    }

    fn write(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(entry).map_err(|error| JournalError(error.into()))?;
        line.push(b'\n');
        // One write, so that a reader sees whole lines or a cut last one.
        self.file.write_all(&line).map_err(JournalError)
    }

    fn hold(&self, point: &str) {
        if self.hold_at.as_deref() == Some(point) {
            let own = rustix::process::getpid();
            // Where this fails the test that asked for it waits in vain and says so.
            let _ = rustix::process::kill_process(own, rustix::process::Signal::STOP);
        }
    }
}

/// The entries of a journal. A last line that was cut short by a crash is left out: what it named was not made.
pub fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(text.lines().map_while(|line| serde_json::from_str(line).ok()).collect())
}

/// What may still be there: all that was made or was about to be, less what was undone. Latest first, each once.
pub fn remaining(entries: &[Entry]) -> Vec<Thing> {
    let mut open: Vec<(Step, Thing)> = Vec::new();
    for entry in entries {
        match entry {
            Entry::Make { step, things } | Entry::Done { step, things } => {
                for thing in things {
                    open.retain(|(_, known)| known != thing);
                    open.push((*step, thing.clone()));
                }
            }
            Entry::Undone { step } => open.retain(|(made_by, _)| made_by != step),
        }
    }
    open.into_iter().rev().map(|(_, thing)| thing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_steps() {
        for (step, name) in Step::ALL.iter().zip(STEPS) {
            assert_eq!(serde_json::to_value(step).unwrap(), name);
            assert_eq!(step.name(), name);
        }
    }

    #[test]
    fn what_remains_is_what_was_begun_and_not_undone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("journal");
        let mut journal = Journal::open(&path, None).unwrap();
        let gate = Thing::Process { role: "gate".to_owned(), id: ProcessId { pid: 7, started: 9 } };
        journal.make(Step::Runtime, vec![Thing::Directory("/r".into())]).unwrap();
        journal.done(Step::Runtime, vec![Thing::Directory("/r".into())]).unwrap();
        journal.make(Step::Cgroup, vec![Thing::Cgroup("/c".into())]).unwrap();
        journal.make(Step::Gate, vec![]).unwrap();
        journal.done(Step::Gate, vec![gate.clone()]).unwrap();
        journal.undone(Step::Cgroup).unwrap();
        assert_eq!(remaining(&read(&path).unwrap()), [gate.clone(), Thing::Directory("/r".into())]);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        assert_eq!(remaining(&read(&path).unwrap()).first(), Some(&gate), "a cut line is no entry");
    }
}
