//! A host uid (and gid of the same number) for each bottle that root starts, out of a range that nobody uses.
//!
//! A bottle has two: the agent's processes run under the first, the gate under the next. Which are taken is told by the
//! names of files in `host-ids/` of the state directory, made with `O_EXCL`. Numbers are drawn from the bottle's name,
//! so two state directories on one host hardly ever draw the same.

use bottle_spec::slug::Slug;
use std::{
    collections::hash_map::DefaultHasher,
    fs::{self, File},
    hash::{Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
};

const FIRST: u32 = 0x7000_0000;
/// Pairs, up to 0x7fff_ffff.
const PAIRS: u32 = 0x0800_0000;
const TRIES: u32 = 1000;

#[derive(Debug, thiserror::Error)]
pub enum HostIdError {
    #[error("the host uids in use cannot be written down in {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("no host uid is free; `bot-bottle cleanup` frees those of bottles that have ended")]
    Exhausted,
}

/// Takes a free pair and gives the first number of it.
pub(crate) fn allocate(state: &Path, slug: &Slug) -> Result<u32, HostIdError> {
    let directory = state.join("host-ids");
    let failed = |source| HostIdError::Write { path: directory.clone(), source };
    fs::create_dir_all(&directory).map_err(failed)?;
    let mut hasher = DefaultHasher::new();
    slug.hash(&mut hasher);
    let start = u32::try_from(hasher.finish() % u64::from(PAIRS)).unwrap_or(0);
    for attempt in 0..TRIES {
        let id = FIRST + 2 * ((start + attempt) % PAIRS);
        match File::options().write(true).create_new(true).open(directory.join(id.to_string())) {
            Ok(mut file) => {
                io::Write::write_all(&mut file, slug.as_str().as_bytes()).map_err(failed)?;
                return Ok(id);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(HostIdError::Exhausted)
}

/// Gives it back. One that is not taken is fine.
pub(crate) fn free(state: &Path, id: u32) -> Result<(), HostIdError> {
    let path = state.join("host-ids").join(id.to_string());
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(HostIdError::Write { path, source }),
        _ => Ok(()),
    }
}

/// Those that a bottle took and a crash kept from the journal.
pub(crate) fn taken_by(state: &Path, slug: &Slug) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(state.join("host-ids")) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| fs::read(entry.path()).is_ok_and(|name| name == slug.as_str().as_bytes()))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_once_until_it_is_freed() {
        let root = tempfile::tempdir().unwrap();
        let slug: Slug = "a-bcdef".parse().unwrap();
        let first = allocate(root.path(), &slug).unwrap();
        let second = allocate(root.path(), &slug).unwrap();
        assert!(first >= FIRST && first.is_multiple_of(2) && second == first + 2);
        assert_eq!(taken_by(root.path(), &slug).len(), 2);
        free(root.path(), first).unwrap();
        free(root.path(), first).unwrap();
        assert_eq!(allocate(root.path(), &slug).unwrap(), first);
    }
}
