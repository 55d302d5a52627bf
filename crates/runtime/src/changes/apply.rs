//! Bringing changes to the user's directory: all of them or none, and none over something that the user changed.
//!
//! Everything new is first written into a directory beside, on the same file system. Then each change is one rename:
//! an exchange where something is replaced, so that what was there is at hand; it is compared with what the bottle was
//! given, and if it is not that, all that was done is exchanged back.
//!
//! Invariants: beneath the directory and through no link, on both sides; no set-id bit, no owner and no time comes over.

use super::{
    Change, What,
    given::{hash, look},
};
use crate::tree::{Tree, is_absent};
use rustix::{
    fs::{
        AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, Uid, chownat, fchmod, flock, fstat, mkdirat,
        openat, renameat, renameat_with, symlinkat, unlinkat,
    },
    io::Errno,
};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

/// Where what is new waits, at the top of the user's directory.
pub const BESIDE: &str = ".bot-bottle-apply";

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{} cannot be opened", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is there: an `apply` is under way, or was broken off; look into it for what it replaced, and remove it", .0.display())]
    Beside(PathBuf),
    #[error("{} of the bottle cannot be copied", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} of the bottle changed while it was copied", .0.display())]
    Moving(PathBuf),
    #[error("{} cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not what the bottle was given, or not free; nothing was applied", .0.display())]
    Changed(PathBuf),
    /// The second is what could not be taken back.
    #[error("{}; and this could not be taken back: {}", cause, left.join(", "))]
    Half { cause: Box<ApplyError>, left: Vec<String> },
}

/// How a change meets the user's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// What is there is what the bottle was given.
    Clean,
    /// What is there is what the bottle has.
    Done,
    /// Neither.
    Conflict,
}

/// Looks at what is in the user's directory now, one answer for each change.
pub fn meet(directory: &Path, changes: &[&Change]) -> Result<Vec<Meeting>, ApplyError> {
    let tree = Tree::open(directory).map_err(|source| ApplyError::Open { path: directory.to_owned(), source })?;
    let going = changes.iter().filter(|change| change.after.is_none()).map(|change| change.path.as_path()).collect();
    changes.iter().map(|change| meeting(&tree, change, &going)).collect()
}

/// `going` is what the same changes delete.
fn meeting(tree: &Tree, change: &Change, going: &BTreeSet<&Path>) -> Result<Meeting, ApplyError> {
    let failed = |source| ApplyError::Open { path: change.path.clone(), source };
    let now = match tree.stat(&change.path).map_err(failed)? {
        None => None,
        Some(stat) => {
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Directory && change.after.is_none() {
                // Whatever it holds, what was to go has gone.
                return Ok(Meeting::Done);
            }
            let holds_going =
                || going.range(change.path.as_path()..).next().is_some_and(|one| one.starts_with(&change.path));
            if kind == FileType::Directory && change.before.is_none() && holds_going() {
                // It goes with what is in it; if something else is, that shows when the rest has gone.
                return Ok(Meeting::Clean);
            }
            match look(tree, &change.path, kind, &mut |size| is_telling(change, size)).map_err(failed)? {
                Some(what) => Some(what),
                None => return Ok(Meeting::Conflict),
            }
        }
    };
    Ok(if now == change.before {
        // A file in the way of a directory that the path needs.
        if change.before.is_none() && !way_is_free(tree, &change.path, going).map_err(failed)? {
            Meeting::Conflict
        } else {
            Meeting::Clean
        }
    } else if now == change.after && !matches!(now, Some(What::File { hash: None, .. })) {
        Meeting::Done
    } else {
        Meeting::Conflict
    })
}

/// Whether a file of this size can be one of the two.
fn is_telling(change: &Change, size: u64) -> bool {
    let sizes = [&change.before, &change.after];
    sizes.into_iter().any(|what| matches!(what, Some(What::File { size: its, hash: Some(_), .. }) if *its == size))
}

/// Whether every directory on the way is one, is not there, or is a file that goes.
fn way_is_free(tree: &Tree, path: &Path, going: &BTreeSet<&Path>) -> io::Result<bool> {
    for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        if let Some(stat) = tree.stat(above)? {
            return Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory || going.contains(above));
        }
    }
    Ok(true)
}

/// Applies `changes`, each of which has met the directory clean.
pub fn apply(workspace: &Path, directory: &Path, changes: &[&Change]) -> Result<(), ApplyError> {
    let open = |path: &Path| Tree::open(path).map_err(|source| ApplyError::Open { path: path.to_owned(), source });
    let (from, to) = (open(workspace)?, open(directory)?);
    let beside = Beside::make(&to, directory)?;
    let mut applying = Applying { to: &to, beside: &beside.held, owner: owner(&to), done: Vec::new() };
    let result = applying.all(&from, changes);
    let Applying { done, .. } = applying;
    match result {
        Ok(()) => {
            for change in changes.iter().filter(|change| change.after.is_none()) {
                prune(&to, &change.path);
            }
            beside.remove(&to).map_err(|source| ApplyError::Write { path: directory.join(BESIDE), source })
        }
        Err(cause) => {
            let left = take_back(&to, &beside.held, done);
            if left.is_empty() {
                let _ = beside.remove(&to);
                return Err(cause);
            }
            Err(ApplyError::Half { cause: Box::new(cause), left })
        }
    }
}

/// Who owns what is made, where root applies to a directory of somebody else's.
fn owner(to: &Tree) -> Option<(Uid, Gid)> {
    let stat = rustix::process::geteuid().is_root().then(|| fstat(to.as_fd()).ok()).flatten()?;
    Some((Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)))
}

/// The directory beside, held so that no second `apply` works there.
struct Beside {
    held: OwnedFd,
}

impl Beside {
    fn make(to: &Tree, directory: &Path) -> Result<Beside, ApplyError> {
        let path = directory.join(BESIDE);
        match mkdirat(to.as_fd(), BESIDE, Mode::RWXU) {
            Err(Errno::EXIST) => return Err(ApplyError::Beside(path)),
            other => other.map_err(|error| ApplyError::Write { path: path.clone(), source: error.into() })?,
        }
        let failed = |error: Errno| ApplyError::Write { path: path.clone(), source: error.into() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = openat(to.as_fd(), BESIDE, flags, Mode::empty()).map_err(failed)?;
        flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(failed)?;
        Ok(Beside { held })
    }

    fn remove(self, to: &Tree) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.held)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                unlinkat(&self.held, entry.file_name(), AtFlags::empty())?;
            }
        }
        Ok(unlinkat(to.as_fd(), BESIDE, AtFlags::REMOVEDIR)?)
    }
}

/// What was done, so that it can be undone.
enum Done {
    Directory(PathBuf),
    Made { path: PathBuf, name: OsString },
    Exchanged { path: PathBuf, name: OsString },
    Removed { path: PathBuf, name: OsString },
}

struct Applying<'a> {
    to: &'a Tree,
    beside: &'a OwnedFd,
    owner: Option<(Uid, Gid)>,
    done: Vec<Done>,
}

impl Applying<'_> {
    fn all(&mut self, from: &Tree, changes: &[&Change]) -> Result<(), ApplyError> {
        let numbered =
            || changes.iter().enumerate().map(|(number, change)| (OsString::from(number.to_string()), *change));
        for (name, change) in numbered() {
            if let Some(after) = &change.after {
                self.write(from, change, after, &name)?;
            }
        }
        // What goes makes room for what comes: a file in the place of a directory, and the other way round.
        for (name, change) in numbered().filter(|(_, change)| change.after.is_none()) {
            self.one(change, name)?;
            prune(self.to, &change.path);
        }
        for (name, change) in numbered().filter(|(_, change)| change.after.is_some()) {
            self.one(change, name)?;
        }
        Ok(())
    }

    fn write(&self, from: &Tree, change: &Change, after: &What, name: &OsString) -> Result<(), ApplyError> {
        let read = |source| ApplyError::Read { path: change.path.clone(), source };
        let write = |error: io::Error| ApplyError::Write { path: change.path.clone(), source: error };
        match after {
            What::Link { target } => {
                symlinkat(target, self.beside, name).map_err(|error| write(error.into()))?;
            }
            What::File { executable, size, .. } => {
                let moving = || ApplyError::Moving(change.path.clone());
                let (source, _) = from.file(&change.path).map_err(read)?.ok_or_else(moving)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let made = openat(self.beside, name, flags, Mode::RUSR | Mode::WUSR);
                let mut made = File::from(made.map_err(|error| write(error.into()))?);
                // No more than what was shown.
                let copied = io::copy(&mut source.take(*size), &mut made).map_err(read)?;
                if copied != *size {
                    return Err(moving());
                }
                fchmod(&made, self.mode(&change.path, *executable)).map_err(|error| write(error.into()))?;
                self.verify(change, after, name)?;
            }
        }
        if let Some((uid, gid)) = self.owner {
            let given = chownat(self.beside, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
            given.map_err(|error| write(error.into()))?;
        }
        Ok(())
    }

    /// What was copied is what was shown, where that was hashed.
    fn verify(&self, change: &Change, after: &What, name: &OsString) -> Result<(), ApplyError> {
        let What::File { size, hash: Some(expected), .. } = after else { return Ok(()) };
        let read = |source| ApplyError::Read { path: change.path.clone(), source };
        let copy = openat(self.beside, name, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty());
        let mut copy = File::from(copy.map_err(|error| read(error.into()))?);
        let copied = hash(&mut copy, *size).map_err(read)?;
        if copied == *expected { Ok(()) } else { Err(ApplyError::Moving(change.path.clone())) }
    }

    /// That of the file that is replaced, with the executable bits of the new one.
    fn mode(&self, path: &Path, executable: bool) -> Mode {
        let now = self.to.stat(path).ok().flatten();
        let now = now.filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        let base = now.map_or(0o644, |stat| stat.st_mode & 0o666);
        // Whoever may read it may execute it.
        Mode::from_raw_mode(if executable { base | (base & 0o444) >> 2 } else { base })
    }

    fn one(&mut self, change: &Change, name: OsString) -> Result<(), ApplyError> {
        let path = &change.path;
        let failed = |error: Errno| match error {
            Errno::EXIST | Errno::NOENT | Errno::NOTDIR | Errno::LOOP => ApplyError::Changed(path.clone()),
            error => ApplyError::Write { path: path.clone(), source: error.into() },
        };
        if change.after.is_some() {
            self.way(path).map_err(failed)?;
        }
        let (parent, own) = self.to.parent(path).map_err(failed)?;
        let path = path.clone();
        match (&change.before, &change.after) {
            (None, None) => return Ok(()),
            (None, Some(_)) => {
                renameat_with(self.beside, &name, &parent, own, RenameFlags::NOREPLACE).map_err(failed)?;
                self.done.push(Done::Made { path, name });
                return Ok(());
            }
            (Some(_), Some(_)) => {
                renameat_with(self.beside, &name, &parent, own, RenameFlags::EXCHANGE).map_err(failed)?;
                self.done.push(Done::Exchanged { path, name: name.clone() });
            }
            (Some(_), None) => {
                renameat(&parent, own, self.beside, &name).map_err(failed)?;
                self.done.push(Done::Removed { path, name: name.clone() });
            }
        }
        self.is_given(change, &name)
    }

    /// What was there until this moment is at hand now: is it what the bottle was given?
    fn is_given(&self, change: &Change, name: &OsString) -> Result<(), ApplyError> {
        let was = Tree::of(self.beside).and_then(|beside| {
            let Some(stat) = beside.stat(Path::new(name))? else { return Ok(None) };
            look(&beside, Path::new(name), FileType::from_raw_mode(stat.st_mode), &mut |size| is_telling(change, size))
        });
        let was = was.map_err(|source| ApplyError::Read { path: change.path.clone(), source })?;
        if was == change.before { Ok(()) } else { Err(ApplyError::Changed(change.path.clone())) }
    }

    /// Makes the directories that `path` needs.
    fn way(&mut self, path: &Path) -> rustix::io::Result<()> {
        let mut missing = Vec::new();
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            match self.to.at(above, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(_) => break,
                Err(Errno::NOENT) => missing.push(above.to_owned()),
                Err(error) => return Err(error),
            }
        }
        for above in missing.into_iter().rev() {
            let (parent, name) = self.to.parent(&above)?;
            mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
            if let Some((uid, gid)) = self.owner {
                chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            self.done.push(Done::Directory(above));
        }
        Ok(())
    }
}

/// Takes everything back, latest first; gives what could not be.
fn take_back(to: &Tree, beside: &OwnedFd, done: Vec<Done>) -> Vec<String> {
    let mut left = Vec::new();
    for one in done.into_iter().rev() {
        let (path, result) = match one {
            Done::Directory(path) => {
                let result = to.parent(&path).and_then(|(parent, own)| unlinkat(&parent, own, AtFlags::REMOVEDIR));
                (path, result.or_else(|error| if is_absent(error) { Ok(()) } else { Err(error) }))
            }
            Done::Made { path, name } => {
                let result = to.parent(&path).and_then(|(parent, own)| renameat(&parent, own, beside, &name));
                (path, result)
            }
            Done::Exchanged { path, name } => {
                let exchange = RenameFlags::EXCHANGE;
                let result =
                    to.parent(&path).and_then(|(parent, own)| renameat_with(beside, &name, &parent, own, exchange));
                (path, result)
            }
            Done::Removed { path, name } => {
                let back = || {
                    for above in path.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev().skip(1) {
                        let (parent, own) = to.parent(above)?;
                        match mkdirat(&parent, own, Mode::from_raw_mode(0o755)) {
                            Ok(()) | Err(Errno::EXIST) => {}
                            Err(error) => return Err(error),
                        }
                    }
                    let (parent, own) = to.parent(&path)?;
                    renameat_with(beside, &name, &parent, own, RenameFlags::NOREPLACE)
                };
                (path.clone(), back())
            }
        };
        if let Err(error) = result {
            left.push(format!("{} ({error})", path.display()));
        }
    }
    left
}

/// Directories that a removal left empty go, as git has it.
fn prune(to: &Tree, path: &Path) {
    for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        let Ok((parent, name)) = to.parent(above) else { return };
        if unlinkat(&parent, name, AtFlags::REMOVEDIR).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
