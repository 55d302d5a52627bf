//! A directory, and what is beneath it, opened so that whoever owns it cannot lead anywhere else.
//!
//! Invariant: every path is walked from the directory with `openat2`, beneath it and through no symbolic link, even
//! while names are swapped; what is opened for reading never blocks (a pipe, a device) and is looked at before it is read.

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat, statat},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
};

#[derive(Debug)]
pub struct Tree(OwnedFd);

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: OsString,
    pub(crate) kind: FileType,
}

impl Tree {
    /// `root` itself is a path of ours or of the user's: links in it are followed.
    pub fn open(root: &Path) -> io::Result<Tree> {
        Ok(Tree(openat(CWD, root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// A directory that is open already.
    pub(crate) fn of(held: &OwnedFd) -> io::Result<Tree> {
        Ok(Tree(held.try_clone()?))
    }

    /// Opens with any flags but those that create.
    pub(crate) fn at(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.0, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// The directory that `path` is in, and its name there.
    pub(crate) fn parent<'a>(&self, path: &'a Path) -> rustix::io::Result<(OwnedFd, &'a OsStr)> {
        let parent = self.at(path.parent().unwrap_or(Path::new("")), OFlags::PATH | OFlags::DIRECTORY)?;
        Ok((parent, path.file_name().ok_or(Errno::INVAL)?))
    }

    /// Of the entry itself; `None` where there is none, or no way to it that is made of directories alone.
    pub(crate) fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let (parent, name) = match self.parent(path) {
            Err(error) if is_absent(error) => return Ok(None),
            other => other?,
        };
        match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(error) if is_absent(error) => Ok(None),
            other => Ok(Some(other?)),
        }
    }

    /// A regular file with its state, opened to be read; `None` where it is something else by now.
    pub(crate) fn file(&self, path: &Path) -> io::Result<Option<(File, Stat)>> {
        let held = match self.at(path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Err(error) if is_absent(error) || error == Errno::NXIO => return Ok(None),
            other => other?,
        };
        let stat = fstat(&held)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(regular.then(|| (File::from(held), stat)))
    }

    /// A regular file's contents, where it has at most `most` bytes.
    pub fn read(&self, path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
        let Some((file, _)) = self.file(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 <= most).then_some(bytes))
    }

    pub(crate) fn link(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let (parent, name) = match self.parent(path) {
            Err(error) if is_absent(error) => return Ok(None),
            other => other?,
        };
        match readlinkat(&parent, name, Vec::new()) {
            Err(Errno::INVAL) => Ok(None),
            Err(error) if is_absent(error) => Ok(None),
            other => Ok(Some(PathBuf::from(OsString::from_vec(other?.into_bytes())))),
        }
    }

    /// At most `most` entries; `None` where there is no directory.
    pub(crate) fn entries(&self, directory: &Path, most: usize) -> io::Result<Option<Vec<Named>>> {
        let held = match self.at(directory, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(error) if is_absent(error) => return Ok(None),
            other => other?,
        };
        let mut entries = Vec::new();
        for entry in Dir::read_from(held.as_fd())?.take(most) {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => statat(&held, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                known => known,
            };
            entries.push(Named { name: OsString::from_vec(name.to_vec()), kind });
        }
        Ok(Some(entries))
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Nothing is there, or what leads there is no directory.
pub(crate) fn is_absent(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}
