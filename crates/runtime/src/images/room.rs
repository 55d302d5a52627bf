//! The room that images take. What was used least lately goes first, and nothing that a bottle holds goes at all.

use super::{hex_name, unpack::FACTS};
use crate::beneath;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// What all archives and all unpacked images together may take.
pub(super) const MOST: u64 = 40 << 30;

/// The lock of one image.
pub(super) fn lock(images: &Path, hex: &str, how: FlockOperation) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(images.join(format!("{hex}.lock")))?;
    flock(&file, how)?;
    file.set_modified(SystemTime::now())?;
    Ok(file)
}

/// Keeps an unpacked image where it is, for as long as this is there.
pub fn hold(images: &Path, id: &str) -> io::Result<File> {
    let hex = super::hex(id).ok_or(io::ErrorKind::InvalidInput)?;
    lock(images, hex, FlockOperation::LockShared)
}

/// Removes what nobody holds until all of it takes no more than `most` bytes. Best effort: an image is there without it.
pub(super) fn make(images: &Path, most: u64) {
    let mut all: Vec<(SystemTime, u64, PathBuf)> = fs::read_dir(images)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let lock = images.join(format!("{}.lock", hex_name(&path)?));
            let used = fs::metadata(lock).and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            Some((used, size(&path)?, path))
        })
        .collect();
    all.sort();
    let mut taken: u64 = all.iter().map(|(_, size, _)| size).sum();
    for (_, size, path) in all {
        if taken <= most {
            break;
        }
        match remove(images, &path) {
            Ok(true) => taken = taken.saturating_sub(size),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, image = %path.display(), "an image stays"),
        }
    }
}

/// Of an archive its own, of a directory what is written in it; `None` for what is neither.
fn size(path: &Path) -> Option<u64> {
    if path.extension().is_some_and(|it| it == "tar") {
        return fs::metadata(path).ok().map(|it| it.len());
    }
    let facts: super::unpack::Facts = serde_json::from_slice(&fs::read(path.join(FACTS)).ok()?).ok()?;
    Some(facts.bytes)
}

/// `false` = somebody holds it. The lock stays: somebody may be about to take it.
fn remove(images: &Path, path: &Path) -> io::Result<bool> {
    let Some(hex) = hex_name(path) else { return Ok(false) };
    let file = File::options().create(true).truncate(false).write(true).open(images.join(format!("{hex}.lock")))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    beneath::remove_tree(path).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_used_least_lately_goes_and_what_is_held_stays() {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path();
        let hex = |digit: &str| digit.repeat(64);
        for (digit, days) in [("a", 9), ("b", 5), ("c", 1)] {
            let whole = images.join(hex(digit));
            fs::create_dir_all(whole.join("root")).unwrap();
            let facts = serde_json::json!({ "id": "", "env": {}, "bytes": 1000 });
            fs::write(whole.join(FACTS), facts.to_string()).unwrap();
            let lock = lock(images, &hex(digit), FlockOperation::LockShared).unwrap();
            lock.set_modified(SystemTime::now() - Duration::from_secs(days * 86400)).unwrap();
        }
        fs::write(images.join(format!("{}.tar", hex("d"))), [0; 500]).unwrap();
        let there = || ["a", "b", "c"].map(|digit| images.join(hex(digit)).exists());
        make(images, 4000);
        assert_eq!(there(), [true; 3]);
        let held = hold(images, &format!("sha256:{}", hex("a"))).unwrap();
        held.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        make(images, 2000);
        assert_eq!(there(), [true, false, true], "the archive that nobody used, then the older one that nobody holds");
        assert!(!images.join(format!("{}.tar", hex("d"))).exists());
        drop(held);
        make(images, 0);
        assert_eq!(there(), [false; 3]);
    }
}
