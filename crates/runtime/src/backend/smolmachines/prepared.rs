//! Where prepared machines are, found again by whoever uses them or takes them away.
//!
//! Invariants: one lock is held while a machine is prepared, branched from or taken away; one that bottles run in branches
//! of is not taken away, for they have their disks below its own.

use super::{
    cli::Smolvm,
    error::MachineError,
    machine::{Branch, Machine, Prepared},
    room::{Running, running},
};
use crate::{
    beneath,
    store::{Lock, private_directory},
};
use std::{
    fs,
    io::{self, ErrorKind},
    time::SystemTime,
};

/// What a prepared machine is called in its own state. No bottle is called so.
pub(super) const SOURCE: &str = "source";

impl Prepared {
    /// Waits for whoever prepares, branches or takes away.
    pub(super) fn lock(&self) -> Result<Lock, MachineError> {
        for directory in [&self.directory, &self.links] {
            private_directory(directory).map_err(io::Error::other).map_err(MachineError::at(directory))?;
        }
        Lock::wait(&self.directory).map_err(io::Error::other).map_err(MachineError::at(&self.directory))
    }

    /// In the state of the prepared machine of this key, the machine of this name.
    pub(super) fn machine(&self, smolvm: &Smolvm, key: &str, name: &str) -> Machine {
        Machine {
            smolvm: smolvm.clone(),
            state: self.links.join(key),
            staging: self.directory.join(key),
            name: name.to_owned(),
            branch: None,
        }
    }

    fn keys(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        directories.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// The machine of this key and those that were branched from it.
    pub(super) fn running(&self, key: &str) -> (Vec<Running>, Vec<Running>) {
        let state = self.links.join(key);
        running().filter(|it| it.state == state).partition(|it| it.id == Machine::id(SOURCE))
    }

    /// The bottle whose branch it is, where it is one of these machines.
    pub(super) fn branch_name(&self, running: &Running) -> Option<String> {
        let is_here = running.state.parent() == Some(&self.links) && running.id != Machine::id(SOURCE);
        let name = is_here.then(|| fs::read_to_string(running.directory().join("name")).ok())??;
        Some(name.trim().to_owned())
    }

    /// Takes away all that nobody runs in a branch of and that `unwanted` says of, by when it was last branched from;
    /// gives their keys. `None` of a time: it has ended.
    pub(super) fn sweep(&self, unwanted: impl Fn(Option<SystemTime>) -> bool) -> io::Result<Vec<String>> {
        let mut gone = Vec::new();
        for key in self.keys() {
            let (own, branches) = self.running(&key);
            let used = fs::metadata(self.directory.join(&key)).and_then(|it| it.modified()).ok();
            if branches.is_empty() && unwanted(used.filter(|_| !own.is_empty())) {
                self.remove(&key)?;
                gone.push(key);
            }
        }
        Ok(gone)
    }

    /// Whatever there is of one.
    pub(super) fn remove(&self, key: &str) -> io::Result<()> {
        let (own, branches) = self.running(key);
        for each in own.into_iter().chain(branches) {
            each.end()?;
        }
        beneath::remove_tree(&self.directory.join(key))?;
        match fs::remove_file(self.links.join(key)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All that nobody runs in a branch of; gives their keys. Those of a launch that is under way are left to it.
    pub fn remove_unused(&self) -> io::Result<Vec<String>> {
        if !self.directory.exists() {
            return Ok(Vec::new());
        }
        match Lock::take(&self.directory) {
            Ok(Some(_lock)) => {
                let gone = self.sweep(|_| true)?;
                // Where there are others, or never were any, it stays as it is.
                let _ = fs::remove_dir(&self.links);
                Ok(gone)
            }
            Ok(None) => Ok(Vec::new()),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl Branch {
    pub(super) fn is(&self, running: &Running) -> bool {
        running.state.parent() == Some(&self.prepared.links) && running.id == Machine::id(&self.name)
    }

    /// Has smolvm forget it wherever it is; whether it was anywhere.
    pub(super) fn forget(&self, smolvm: &Smolvm) -> io::Result<bool> {
        let mut there = false;
        for machine in self.machines(smolvm) {
            there = true;
            // Its disks go all the same. What is written down goes with the machine that it is a branch of.
            if let Err(error) = machine.delete() {
                tracing::warn!(%error, "smolvm did not forget a branch");
            }
            beneath::remove_tree(&machine.own_directory())?;
        }
        Ok(there)
    }

    /// It, in the state of whichever machine it was branched from; none or one.
    pub(super) fn machines(&self, smolvm: &Smolvm) -> impl Iterator<Item = Machine> {
        let of = |key: String| self.prepared.machine(smolvm, &key, &self.name);
        self.prepared.keys().into_iter().map(of).filter(|machine| machine.own_directory().exists())
    }
}
