//! The user's key that vouches for audit logs: an Ed25519 seed in hex, `audit/key` in the state directory, 0600.
//!
//! Invariant: it is made once and never replaced; of two that are made at one time, one wins and both processes use it.
//! Keeper and cli read it; a gate gets a key of its own that this one vouches for.

use crate::store::{StoreError, private_directory};
use bottle_spec::secret::Secret;
use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

fn path(state: &Path) -> PathBuf {
    state.join("audit").join("key")
}

/// The key, where there is one.
pub fn read(state: &Path) -> Result<Option<Secret>, StoreError> {
    let path = path(state);
    let failed = |source| StoreError::Read { path: path.clone(), source };
    let metadata = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.is_file() || !own || metadata.mode() & 0o077 != 0 {
        return Err(StoreError::NotPrivate(path));
    }
    let text = Zeroizing::new(fs::read_to_string(&path).map_err(failed)?);
    Ok(Some(Secret::new(text.trim().to_owned())))
}

/// The key, made where there is none.
pub(crate) fn read_or_make(state: &Path) -> Result<Secret, StoreError> {
    if let Some(key) = read(state)? {
        return Ok(key);
    }
    let path = path(state);
    let failed = |source| StoreError::Write { path: path.clone(), source };
    private_directory(&state.join("audit"))?;
    let mut seed = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *seed).map_err(|error| StoreError::Random(io::Error::other(error.to_string())))?;
    let text = Zeroizing::new(seed.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    // Under its name only when it is whole, and only if no other is there.
    let beside = path.with_extension(format!("new.{}", rustix::process::getpid()));
    let made = File::options().create_new(true).write(true).mode(0o600).open(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&beside, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    });
    let _ = fs::remove_file(&beside);
    made.map_err(failed)?;
    read(state)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_is_made_once_and_for_its_user_alone() {
        let state = tempfile::tempdir().unwrap();
        assert!(read(state.path()).unwrap().is_none());
        let first = read_or_make(state.path()).unwrap();
        assert_eq!(first.expose().len(), 64);
        assert_eq!(read_or_make(state.path()).unwrap(), first);
        let path = path(state.path());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(state.path().join("audit")).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read(state.path()), Err(StoreError::NotPrivate(_))));
    }

    #[test]
    fn keys_made_at_one_time_are_one() {
        let state = tempfile::tempdir().unwrap();
        private_directory(&state.path().join("audit")).unwrap();
        // A file of another process's making that came first.
        fs::write(path(state.path()), "77".repeat(32)).unwrap();
        fs::set_permissions(path(state.path()), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_or_make(state.path()).unwrap().expose(), "77".repeat(32));
    }
}
