//! The mirrors of all of a user's bottles, and the room that they take.
//!
//! Invariant: a mirror that some git gate holds is not removed, and one is removed whole. Those used least lately go
//! first. A bottle that is kept and comes back gets its mirror from the upstream again.

use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW, flock, futimens};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// What all mirrors together may take; above it, those that nobody holds go.
pub(super) const MOST: u64 = 20 << 30;
pub(super) const MIRROR: &str = "mirror.git";
/// One that is not whole yet.
pub(super) const MAKING: &str = "making.git";
/// One that is being removed.
const GOING: &str = "going.git";
const USED: &str = "used";

/// Keeps a mirror in its place.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "it is the lock that counts")] File);

/// Waits while somebody removes it.
pub(super) fn hold(directory: &Path) -> io::Result<Held> {
    let used = open(directory)?;
    flock(&used, FlockOperation::LockShared)?;
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    futimens(&used, &Timestamps { last_access: now, last_modification: now })?;
    Ok(Held(used))
}

fn open(directory: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(directory.join(USED))
}

/// Removes mirrors that nobody holds until all together take no more than `most` bytes. Best effort: the gate serves
/// without it.
pub(super) fn make_room(mirrors: &Path, most: u64) {
    let entries = fs::read_dir(mirrors).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut all: Vec<(SystemTime, u64, PathBuf)> = directories
        .map(|entry| {
            let directory = entry.path();
            let used = fs::metadata(directory.join(USED)).and_then(|metadata| metadata.modified());
            (used.unwrap_or(SystemTime::UNIX_EPOCH), size(&directory), directory)
        })
        .collect();
    all.sort();
    let mut taken: u64 = all.iter().map(|(_, size, _)| size).sum();
    for (_, size, directory) in all {
        if taken <= most {
            break;
        }
        match remove(&directory) {
            Ok(true) => taken = taken.saturating_sub(size),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, directory = %directory.display(), "a mirror stays"),
        }
    }
}

/// `false` = somebody holds it. Directory and lock stay: somebody may be about to hold it.
fn remove(directory: &Path) -> io::Result<bool> {
    let used = open(directory)?;
    if flock(&used, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    let going = directory.join(GOING);
    gone(fs::remove_dir_all(&going))?;
    gone(fs::remove_dir_all(directory.join(MAKING)))?;
    gone(fs::rename(directory.join(MIRROR), &going))?;
    gone(fs::remove_file(directory.join("refreshed")))?;
    gone(fs::remove_dir_all(&going))?;
    Ok(true)
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_used_least_lately_goes_and_what_is_held_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mirror = |name: &str, days: u64| {
            let directory = dir.path().join(name);
            fs::create_dir_all(directory.join(MIRROR)).unwrap();
            fs::write(directory.join(MIRROR).join("pack"), [0; 1000]).unwrap();
            fs::write(directory.join("refreshed"), "").unwrap();
            let used = open(&directory).unwrap();
            used.set_modified(SystemTime::now() - Duration::from_secs(days * 86400)).unwrap();
            directory
        };
        let [held, old, older, new] = [("held", 9), ("old", 3), ("older", 5), ("new", 1)].map(|(n, d)| mirror(n, d));
        let hold = hold(&held).unwrap();
        let there = || [&held, &old, &older, &new].map(|one| one.join(MIRROR).exists());
        make_room(dir.path(), 4000);
        assert_eq!(there(), [true, true, true, true]);
        make_room(dir.path(), 2500);
        assert_eq!(there(), [true, false, false, true], "the older ones, and not the one that is held");
        assert!(old.join(USED).exists() && !old.join("refreshed").exists());
        drop(hold);
        make_room(dir.path(), 0);
        assert_eq!(there(), [false; 4]);
    }
}
