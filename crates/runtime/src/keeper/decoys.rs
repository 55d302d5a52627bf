//! The canaries of a bottle: files with false credentials, in its home, and what of them the gate watches.
//!
//! They are written down in the bottle's state before they are planted, and planted once, in a home that nobody has used:
//! a resumed bottle keeps its own. Invariant: no file that is there is written over, and no link followed.

use crate::{
    store::{BottleDir, StoreError, read_json},
    workspace::give,
};
use bottle_spec::gate_link::{Decoy, HeldCanary};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Leaves them in a home that was just made, which belongs to `owner` or to us.
pub(crate) fn plant(bottle: &BottleDir, decoys: &[Decoy], owner: Option<u32>) -> Result<(), StoreError> {
    let path = bottle.canaries();
    let noted = serde_json::to_vec(decoys).map_err(io::Error::from).and_then(|bytes| write_new(&path, &bytes));
    noted.map_err(|source| StoreError::Write { path, source })?;
    let home = bottle.home();
    for decoy in decoys {
        let path = home.join(&decoy.path);
        plant_one(&home, &path, decoy, owner).map_err(|source| StoreError::Write { path, source })?;
    }
    Ok(())
}

fn plant_one(home: &Path, path: &Path, decoy: &Decoy, owner: Option<u32>) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| *directory != home && !directory.exists()) {
        DirBuilder::new().mode(0o700).create(directory)?;
        owner.map_or(Ok(()), |owner| give(directory, owner))?;
    }
    match write_new(path, decoy.text.expose().as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => owner.map_or(Ok(()), |owner| give(path, owner)),
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// What was planted; nothing in a bottle that was made without.
pub(crate) fn planted(bottle: &BottleDir) -> Result<Vec<HeldCanary>, StoreError> {
    let path = bottle.canaries();
    if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(Vec::new());
    }
    let decoys: Vec<Decoy> = read_json(&path)?;
    Ok(decoys.into_iter().flat_map(|decoy| decoy.canaries).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dirs::Dirs, store::Store};
    use bottle_spec::secret::Secret;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn decoy(path: &str, value: &str) -> Decoy {
        let value = Secret::new(value.to_owned());
        let canary = HeldCanary { name: "test".to_owned(), value: value.clone() };
        Decoy { path: path.to_owned(), text: value, canaries: vec![canary] }
    }

    #[test]
    fn they_are_planted_where_nothing_is_and_known_afterwards() {
        let root = tempfile::tempdir().unwrap();
        let (bottle, _lock) = Store::open(Dirs::new(root.path(), None)).unwrap().create("a", None).unwrap();
        assert_eq!(planted(&bottle).unwrap(), []);
        let (home, outside) = (bottle.home(), root.path().join("outside"));
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("there"), "the user's").unwrap();
        symlink(&outside, home.join("link")).unwrap();
        let decoys = [decoy(".ssh/key", "one"), decoy("there", "two"), decoy("link", "three")];
        plant(&bottle, &decoys, None).unwrap();
        assert_eq!(fs::read_to_string(home.join(".ssh/key")).unwrap(), "one");
        assert_eq!(fs::read_to_string(home.join("there")).unwrap(), "the user's");
        assert!(!outside.exists(), "no link is followed");
        for (path, mode) in [(bottle.canaries(), 0o600), (home.join(".ssh/key"), 0o600), (home.join(".ssh"), 0o700)] {
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode, "{}", path.display());
        }
        let names: Vec<String> = planted(&bottle).unwrap().iter().map(|held| held.value.expose().to_owned()).collect();
        assert_eq!(names, ["one", "two", "three"]);
        fs::write(bottle.canaries(), "{").unwrap();
        assert!(planted(&bottle).is_err(), "what cannot be read is no start");
    }
}
