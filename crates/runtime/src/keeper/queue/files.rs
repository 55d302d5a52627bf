//! The queue's files: `<id>.request.json` and `<id>.decision.json`.
//!
//! Invariant: whoever lists the directory at any moment, also after a crash, finds whole files only; one that was being
//! made begins with a dot.

use crate::store::{StoreError, private_directory};
use bottle_spec::operator::{DECISION, OperatorDecision, REQUEST, digest, is_id};
use std::{fs, io, path::PathBuf};

/// Answered requests that stay.
const MAX_KEPT: usize = 256;

#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
}

impl Files {
    /// What an earlier run left unanswered is answered: nobody waits for it any more.
    pub(super) fn open(directory: PathBuf) -> Result<Files, StoreError> {
        private_directory(&directory)?;
        let files = Files { directory };
        for id in files.ids() {
            let Some(request) = files.read(&id).filter(|_| !files.is_answered(&id)) else { continue };
            let over = OperatorDecision::no(&id, digest(&request), "the bottle was stopped");
            // A file that stays is old by its own word.
            let _ = files.write_decision(&over);
        }
        files.prune();
        Ok(files)
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.path(id, REQUEST).exists() || self.is_answered(id)
    }

    pub(super) fn read(&self, id: &str) -> Option<Vec<u8>> {
        if is_id(id) { fs::read(self.path(id, REQUEST)).ok() } else { None }
    }

    pub(super) fn is_answered(&self, id: &str) -> bool {
        self.path(id, DECISION).exists()
    }

    pub(super) fn write_request(&self, id: &str, text: &[u8]) -> io::Result<()> {
        self.write(id, REQUEST, text)
    }

    pub(super) fn write_decision(&self, decision: &OperatorDecision) -> io::Result<()> {
        self.write(&decision.id, DECISION, &serde_json::to_vec_pretty(decision)?)
    }

    pub(super) fn remove(&self, id: &str) {
        let _ = (fs::remove_file(self.path(id, REQUEST)), fs::remove_file(self.path(id, DECISION)));
    }

    /// Removes the oldest of the answered ones, where there are too many.
    pub(super) fn prune(&self) {
        let mut answered: Vec<_> = self
            .ids()
            .into_iter()
            .filter_map(|id| Some((fs::metadata(self.path(&id, DECISION)).and_then(|it| it.modified()).ok()?, id)))
            .collect();
        answered.sort();
        let many = answered.len().saturating_sub(MAX_KEPT);
        answered.iter().take(many).for_each(|(_, id)| self.remove(id));
    }

    fn write(&self, id: &str, ending: &str, text: &[u8]) -> io::Result<()> {
        let making = self.directory.join(format!(".{id}.new"));
        fs::write(&making, text)?;
        fs::rename(&making, self.path(id, ending))
    }

    fn path(&self, id: &str, ending: &str) -> PathBuf {
        self.directory.join(format!("{id}{ending}"))
    }

    fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(REQUEST).map(str::to_owned)).filter(|id| is_id(id)).collect()
    }
}
