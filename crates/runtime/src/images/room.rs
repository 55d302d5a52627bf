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

/// Where images are, and what all archives and all unpacked images together may take there.
#[derive(Debug, Clone, Copy)]
pub struct Cache<'a> {
    pub directory: &'a Path,
    pub most: u64,
}

impl Cache<'_> {
    /// Where nobody says otherwise.
    pub const MOST: u64 = 40 << 30;
}

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

/// Removes what nobody holds until all of it takes no more than there may be. Best effort: an image is there without it.
pub(super) fn make(cache: Cache<'_>) {
    let images = cache.directory;
    sweep(images);
    let mut all: Vec<(SystemTime, u64, PathBuf)> = entries(images)
        .filter_map(|path| {
            let lock = images.join(format!("{}.lock", hex_name(&path)?));
            let used = fs::metadata(lock).and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            Some((used, size(&path)?, path))
        })
        .collect();
    all.sort();
    let mut taken: u64 = all.iter().map(|(_, size, _)| size).sum();
    for (_, size, path) in all {
        if taken <= cache.most {
            break;
        }
        if removed(images, &path) {
            taken = taken.saturating_sub(size);
        }
    }
}

/// Removes what somebody was making or removing who was killed at it: nobody holds it, and nobody will go on.
pub(super) fn sweep(images: &Path) {
    for path in entries(images).filter(|path| is_part(path)) {
        removed(images, &path);
    }
}

fn entries(images: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(images).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_part(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "part")
}

/// Of an archive and of what somebody is making its own, of a directory what is written in it; `None` for what is neither.
fn size(path: &Path) -> Option<u64> {
    if is_part(path) || path.extension().is_some_and(|it| it == "tar") {
        return fs::metadata(path).ok().map(|it| it.len());
    }
    let facts: super::unpack::Facts = serde_json::from_slice(&fs::read(path.join(FACTS)).ok()?).ok()?;
    Some(facts.bytes)
}

/// What cannot be removed is said.
fn removed(images: &Path, path: &Path) -> bool {
    remove(images, path).unwrap_or_else(|error| {
        tracing::warn!(%error, image = %path.display(), "an image stays");
        false
    })
}

/// `false` = somebody holds it. The lock stays: somebody may be about to take it.
fn remove(images: &Path, path: &Path) -> io::Result<bool> {
    let Some(hex) = hex_name(path) else { return Ok(false) };
    let file = File::options().create(true).truncate(false).write(true).open(images.join(format!("{hex}.lock")))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    // An image is there whole or not at all, also for whoever comes when this was killed.
    let part = images.join(format!("{hex}.part"));
    if path != part {
        beneath::remove_tree(&part)?;
        fs::rename(path, &part)?;
    }
    beneath::remove_tree(&part).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead as _, BufReader},
        process::{Child, Command, Stdio},
        time::Duration,
    };

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
        let make = |most| make(Cache { directory: images, most });
        make(4000);
        assert_eq!(there(), [true; 3]);
        let held = hold(images, &format!("sha256:{}", hex("a"))).unwrap();
        held.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        make(2000);
        assert_eq!(there(), [true, false, true], "the archive that nobody used, then the older one that nobody holds");
        assert!(!images.join(format!("{}.tar", hex("d"))).exists());
        drop(held);
        make(0);
        assert_eq!(there(), [false; 3]);
    }

    /// Killed when this goes.
    struct Maker(Child);

    impl Drop for Maker {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    /// A process of its own holds the lock, as whoever unpacks does, until it is killed.
    #[test]
    fn what_a_killed_process_was_making_goes_and_what_a_living_one_makes_stays() {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path();
        let at = |digit: &str, end: &str| images.join(format!("{}{end}", digit.repeat(64)));
        let make_part = |digit: &str| {
            let script = "mkdir -p \"$0/root/deep\" && echo x >\"$0/root/deep/file\" && echo ready && exec sleep 1000";
            let mut command = Command::new("flock");
            command.arg("--no-fork").arg(at(digit, ".lock")).args(["sh", "-c", script]).arg(at(digit, ".part"));
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut said = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
            assert_eq!(said, "ready\n");
            Maker(child)
        };
        let (killed, alive) = (make_part("a"), make_part("b"));
        fs::write(at("c", ".part"), [0; 500]).unwrap();
        make(Cache { directory: images, most: Cache::MOST });
        assert!(at("a", ".part").exists() && at("b", ".part").exists(), "both are at work");
        assert!(!at("c", ".part").exists(), "of an archive that nobody pulls any more");
        drop(killed);
        sweep(images);
        assert_eq!((at("a", ".part").exists(), at("b", ".part").exists()), (false, true));
        drop(alive);
        sweep(images);
        assert!(!at("b", ".part").exists());
    }
}
