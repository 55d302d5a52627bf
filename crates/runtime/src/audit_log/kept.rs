//! Audit logs of bottles that are gone: `audit/kept/<slug>.<milliseconds>/{audit.jsonl,head}` in the state directory.
//!
//! Invariant: a log is moved here before its bottle's directory is removed, by one rename, so there is no moment at
//! which it is nowhere. What is kept is bounded by number, age and size, the oldest going first.

use crate::{
    beneath,
    store::{BottleDir, StoreError, private_directory},
};
use bottle_spec::slug::Slug;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// So many are kept.
pub const KEPT_LOGS: usize = 500;
/// For so many days.
pub const KEPT_DAYS: u64 = 90;
/// So many bytes of them; the newest is kept in any case.
pub const KEPT_BYTES: u64 = 2 << 30;

/// The log of a bottle that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub slug: Slug,
    /// When it was put here: milliseconds since the Unix epoch.
    pub ended: u64,
    pub directory: PathBuf,
}

impl Kept {
    fn at(path: PathBuf) -> Option<Kept> {
        let name = path.file_name()?.to_str()?;
        let (slug, ended) = name.rsplit_once('.')?;
        Some(Kept { slug: slug.parse().ok()?, ended: ended.parse().ok()?, directory: path })
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join("audit.jsonl")
    }

    fn bytes(&self) -> u64 {
        fs::metadata(self.log()).map_or(0, |metadata| metadata.len())
    }

    /// Removes it.
    pub fn drop_log(&self) -> Result<(), StoreError> {
        let failed = |source| StoreError::Write { path: self.directory.clone(), source };
        beneath::remove_tree(&self.directory).map_err(failed)
    }
}

fn directory(state: &Path) -> PathBuf {
    state.join("audit").join("kept")
}

/// Every log that is kept, the newest first.
pub fn all(state: &Path) -> Result<Vec<Kept>, StoreError> {
    let path = directory(state);
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|source| StoreError::Read { path, source })?,
    };
    let mut kept: Vec<Kept> = entries.filter_map(Result::ok).filter_map(|entry| Kept::at(entry.path())).collect();
    kept.sort_by(|a, b| b.ended.cmp(&a.ended).then_with(|| a.directory.cmp(&b.directory)));
    Ok(kept)
}

/// Puts the log of a bottle that is about to go where it stays. One without a log leaves nothing.
pub(crate) fn put(bottle: &BottleDir, state: &Path) -> Result<(), StoreError> {
    let from = bottle.audit();
    let written = fs::metadata(bottle.audit_log()).is_ok_and(|log| log.is_file() && log.len() > 0);
    if !written {
        return Ok(());
    }
    private_directory(&state.join("audit"))?;
    private_directory(&directory(state))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let to = directory(state).join(format!("{}.{}", bottle.slug, now.as_millis()));
    fs::rename(&from, &to).map_err(|source| StoreError::Write { path: to, source })?;
    prune(state, now)
}

fn prune(state: &Path, now: Duration) -> Result<(), StoreError> {
    let oldest = now.saturating_sub(Duration::from_secs(KEPT_DAYS * 24 * 60 * 60)).as_millis();
    let mut bytes = 0_u64;
    for (index, kept) in all(state)?.iter().enumerate() {
        bytes = bytes.saturating_add(kept.bytes());
        let old = u128::from(kept.ended) < oldest;
        if index > 0 && (index >= KEPT_LOGS || old || bytes > KEPT_BYTES) {
            kept.drop_log()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dirs::Dirs, store::Store};

    #[test]
    fn a_log_outlives_its_bottle_and_the_oldest_go_first() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(Dirs::new(root.path(), None)).unwrap();
        let state = store.dirs().state.clone();
        let (silent, _lock) = store.create("a", None).unwrap();
        put(&silent, &state).unwrap();
        assert!(all(&state).unwrap().is_empty());

        let (bottle, _lock) = store.create("a", None).unwrap();
        fs::create_dir(bottle.audit()).unwrap();
        fs::write(bottle.audit_log(), "a line\n").unwrap();
        let old = directory(&state).join("b-bcdef.1000");
        fs::create_dir_all(&old).unwrap();
        private(&directory(&state));
        private(&state.join("audit"));
        put(&bottle, &state).unwrap();
        let kept = all(&state).unwrap();
        assert_eq!(kept.iter().map(|kept| &kept.slug).collect::<Vec<_>>(), [&bottle.slug]);
        assert_eq!(fs::read(kept[0].log()).unwrap(), b"a line\n");
        assert!(!bottle.audit().exists() && !old.exists());

        // Many, all of them young.
        for ended in 0..KEPT_LOGS as u64 {
            fs::create_dir(directory(&state).join(format!("c-bcdef.{}", kept[0].ended - ended - 1))).unwrap();
        }
        prune(&state, Duration::from_millis(kept[0].ended)).unwrap();
        assert_eq!(all(&state).unwrap().len(), KEPT_LOGS);
        assert_eq!(all(&state).unwrap()[0], kept[0]);
        kept[0].drop_log().unwrap();
        assert_eq!(all(&state).unwrap().len(), KEPT_LOGS - 1);
    }

    fn private(path: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    }
}
