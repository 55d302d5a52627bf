//! What holds the parts of the user's directories that a bottle may write to (a mounted workspace, mounts with `:rw`) and
//! that the host would run: each is mounted on itself read-only, and each
//! directory on the way to one is mounted on itself too, so that it can be neither renamed nor replaced.
//!
//! A mount needs something to be mounted on: what is not there is put there, empty, and taken away when the bottle ends.
//!
//! Invariants: what is made in the user's directory is written down first, in `guard.json`; nothing is taken away that
//! is not as it was made, or that another bottle which lives needs; no link is followed.
//!
//! This does not hold: repositories and directories of editors that are made later, deeper in the tree; and a file
//! that the host itself replaces meanwhile (`git config` does), for the kernel then takes the mount away.

mod survey;
pub(crate) mod table;

use crate::store::{BottleDir, StoreError, read_json, write_json};
use rustix::{
    fs::{AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, ResolveFlags, Uid, fchown, fstat, mkdirat, openat, openat2},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};
use table::Absent;

#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    #[error("{} cannot be opened", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} cannot be looked through", path.display())]
    Look { path: PathBuf, source: io::Error },
    #[error(
        "{} of the working directory is a link, which no mount can guard; make it a directory or a file, or use \
         `--workspace copy`",
        .0.display()
    )]
    Link(PathBuf),
    #[error("{} cannot be put there as a guard", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("{}, which was put there as a guard, cannot be taken away", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("what guards the workspace cannot be written down")]
    Record(#[source] StoreError),
}

/// A directory of the user's that a bottle may write to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writable<'a> {
    pub(crate) source: &'a Path,
    /// Where it is inside.
    pub(crate) target: &'a Path,
    /// Whether people and their editors open it as a project: then names at its top are held also where they are not
    /// there yet.
    pub(crate) is_project: bool,
}

/// One mount of the guard, relative to the directory that is inside at `target`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    pub target: PathBuf,
    pub path: PathBuf,
    pub read_only: bool,
}

/// What guards a bottle's directories.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Guards {
    /// Ancestors before what is in them.
    pub(crate) mounts: Vec<Guard>,
    /// Whether there may be repositories that were not found.
    pub(crate) cut_short: bool,
}

/// What was put into a directory of the user's.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    root: PathBuf,
    /// In the order in which it was made.
    placeholders: Vec<Placeholder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Placeholder {
    path: PathBuf,
    /// Of a file; `None` = a directory.
    contents: Option<String>,
}

/// Looks through the directories, and puts there what the mounts need.
pub(crate) fn prepare(bottle: &BottleDir, directories: &[Writable<'_>]) -> Result<Guards, GuardError> {
    let _turn = turn(bottle)?;
    let (mut guards, mut records) = (Guards::default(), Vec::new());
    for directory in directories {
        // A single file is what it is.
        if directory.is_project || directory.source.is_dir() {
            prepare_one(bottle, *directory, &mut guards, &mut records)?;
        }
    }
    Ok(guards)
}

fn prepare_one(
    bottle: &BottleDir,
    Writable { source: root, target, is_project }: Writable<'_>,
    guards: &mut Guards,
    records: &mut Vec<Record>,
) -> Result<(), GuardError> {
    let held = open(root)?;
    let survey =
        survey::survey(&held, is_project).map_err(|source| GuardError::Look { path: root.to_owned(), source })?;
    if let Some(link) = survey.links.into_iter().next() {
        return Err(GuardError::Link(link));
    }
    // Those of other bottles, which look like the user's: whoever ends last takes them away.
    let mut placeholders: Vec<Placeholder> = others(bottle)
        .flat_map(|(_, record)| {
            let Record { root: its, placeholders } = record;
            placeholders.into_iter().map(move |one| (its.join(&one.path), one))
        })
        .filter_map(|(whole, one)| Some(Placeholder { path: whole.strip_prefix(root).ok()?.to_owned(), ..one }))
        .collect();
    placeholders.sort_by(|a, b| a.path.cmp(&b.path));
    placeholders.dedup_by(|a, b| a.path == b.path);
    let new: Vec<Placeholder> = survey
        .placeholders
        .into_iter()
        .map(|(path, absent)| match absent {
            Absent::File(contents) => Placeholder { path, contents: Some(contents.to_owned()) },
            Absent::Directory | Absent::Leave => Placeholder { path, contents: None },
        })
        .collect();
    placeholders.extend(new.iter().cloned());
    records.push(Record { root: root.to_owned(), placeholders });
    write_json(&bottle.guard(), records).map_err(GuardError::Record)?;
    let owner = fstat(&held).map_err(|error| GuardError::Open { path: root.to_owned(), source: error.into() })?;
    let owner = rustix::process::geteuid().is_root().then_some((owner.st_uid, owner.st_gid));
    for placeholder in &new {
        let made = make(&held, placeholder, owner);
        made.map_err(|source| GuardError::Make { path: root.join(&placeholder.path), source })?;
    }
    let mounts = survey.mounts.into_iter();
    guards.mounts.extend(mounts.map(|(path, read_only)| Guard { target: target.to_owned(), path, read_only }));
    guards.cut_short |= survey.cut_short;
    Ok(())
}

/// Takes away what [`prepare`] put there, but for what another bottle that lives needs.
pub(crate) fn lift(bottle: &BottleDir) -> Result<(), GuardError> {
    if !bottle.guard().exists() {
        return Ok(());
    }
    let _turn = turn(bottle)?;
    let records: Vec<Record> = read_json(&bottle.guard()).map_err(GuardError::Record)?;
    let needed: BTreeSet<PathBuf> = others(bottle)
        .filter(|(its, _)| its.is_held())
        .flat_map(|(_, record)| record.placeholders.into_iter().map(move |one| record.root.join(one.path)))
        .collect();
    for record in records.iter().rev() {
        lift_one(record, &needed)?;
    }
    fs::remove_file(bottle.guard()).map_err(|source| GuardError::Remove { path: bottle.guard(), source })
}

fn lift_one(record: &Record, needed: &BTreeSet<PathBuf>) -> Result<(), GuardError> {
    let root = match open(&record.root) {
        Ok(root) => root,
        Err(GuardError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for placeholder in record.placeholders.iter().rev() {
        let path = record.root.join(&placeholder.path);
        if !needed.contains(&path) {
            remove(&root, placeholder).map_err(|source| GuardError::Remove { path, source })?;
        }
    }
    Ok(())
}

/// One bottle at a time looks, makes and takes away.
fn turn(bottle: &BottleDir) -> Result<OwnedFd, GuardError> {
    let path = bottle.state.parent().unwrap_or(&bottle.state).to_owned();
    let failed = |error: Errno| GuardError::Open { path: path.clone(), source: error.into() };
    let held = rustix::fs::open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let held = held.map_err(failed)?;
    rustix::fs::flock(&held, FlockOperation::LockExclusive).map_err(failed)?;
    Ok(held)
}

/// What other bottles, living or dead, have put anywhere.
fn others(bottle: &BottleDir) -> impl Iterator<Item = (BottleDir, Record)> {
    let entries = bottle.state.parent().and_then(|bottles| fs::read_dir(bottles).ok()).into_iter().flatten();
    let records = entries.flatten().filter_map(|entry| {
        let slug = entry.file_name().to_str()?.parse().ok()?;
        let other = BottleDir { slug, state: entry.path(), runtime: PathBuf::new() };
        let records: Vec<Record> = read_json(&other.guard()).ok()?;
        (other.state != bottle.state).then_some((other, records))
    });
    records.flat_map(|(other, records)| records.into_iter().map(move |record| (other.clone(), record)))
}

fn open(root: &Path) -> Result<OwnedFd, GuardError> {
    openat(CWD, root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| GuardError::Open { path: root.to_owned(), source: error.into() })
}

fn beneath(root: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn parent<'a>(root: &OwnedFd, path: &'a Path) -> rustix::io::Result<(OwnedFd, &'a Path)> {
    let parent = beneath(root, path.parent().unwrap_or(Path::new("")), OFlags::PATH | OFlags::DIRECTORY)?;
    Ok((parent, path.file_name().map_or(path, Path::new)))
}

fn make(root: &OwnedFd, placeholder: &Placeholder, owner: Option<(u32, u32)>) -> io::Result<()> {
    let (parent, name) = parent(root, &placeholder.path)?;
    let made: OwnedFd = match &placeholder.contents {
        None => {
            mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
            openat(&parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?
        }
        Some(contents) => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&parent, name, flags, Mode::from_raw_mode(0o644))?);
            file.write_all(contents.as_bytes())?;
            file.into()
        }
    };
    let mode = if placeholder.contents.is_some() { 0o644 } else { 0o755 };
    rustix::fs::fchmod(made.as_fd(), Mode::from_raw_mode(mode))?;
    match owner {
        Some((uid, gid)) => Ok(fchown(made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?),
        None => Ok(()),
    }
}

/// What is not there any more, or has become something else, is left as it is.
fn remove(root: &OwnedFd, placeholder: &Placeholder) -> io::Result<()> {
    let (parent, name) = match parent(root, &placeholder.path) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        other => other?,
    };
    let removed = match &placeholder.contents {
        None => rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR),
        Some(contents) => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let found = match openat(&parent, name, flags, Mode::empty()) {
                Err(Errno::NOENT | Errno::LOOP) => return Ok(()),
                other => other?,
            };
            let mut there = Vec::new();
            File::from(found).take(contents.len() as u64 + 1).read_to_end(&mut there)?;
            if there != contents.as_bytes() {
                return Ok(());
            }
            rustix::fs::unlinkat(&parent, name, AtFlags::empty())
        }
    };
    match removed {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::NOTDIR | Errno::ISDIR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
