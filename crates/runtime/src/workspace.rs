//! A private copy of a working directory, without what ignore files leave out.
//!
//! Links are copied as links and never followed; what is neither file, directory nor link is left out. `.git` goes
//! whole: ignore files speak of the work tree. Contents are shared with the source where the file system can.

pub(crate) mod clone;
pub mod fill;
mod git;

use clone::{CloneError, Listed};
use ignore::{DirEntry, WalkBuilder};
use rustix::fs::{AtFlags, CWD, Timestamps, chownat, futimens, ioctl_ficlone};
use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("the working directory cannot be read")]
    Walk(#[source] ignore::Error),
    #[error("{} cannot be copied into the bottle", path.display())]
    Copy { path: PathBuf, source: io::Error },
    #[error("the repository cannot be cloned")]
    Clone(#[source] CloneError),
}

impl From<CloneError> for WorkspaceError {
    fn from(error: CloneError) -> WorkspaceError {
        WorkspaceError::Clone(error)
    }
}

/// How far a copy has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    pub files: u64,
    pub bytes: u64,
}

/// Copies `source` to `target`, which must not exist, and gives everything to `owner`.
pub(crate) fn copy(
    source: &Path,
    target: &Path,
    owner: Option<u32>,
    progress: &mut dyn FnMut(Copied),
) -> Result<Copied, WorkspaceError> {
    let mut copying = Copying { source, target, owner, copied: Copied::default(), progress };
    let mut builder = WalkBuilder::new(source);
    builder.hidden(false).git_global(false).require_git(false).follow_links(false);
    builder.filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git");
    for entry in builder.build() {
        let entry = entry.map_err(WorkspaceError::Walk)?;
        let git = entry.path().join(".git");
        copying.entry(&entry)?;
        if entry.file_type().is_some_and(|kind| kind.is_dir()) && git.symlink_metadata().is_ok() {
            copying.whole(&git)?;
        }
    }
    Ok(copying.copied)
}

/// Copies all of `source`, whatever ignore files say, to `target`, which must not exist.
pub(crate) fn copy_whole(source: &Path, target: &Path, owner: Option<u32>) -> Result<(), WorkspaceError> {
    let mut nothing = |_| ();
    let mut copying = Copying { source, target, owner, copied: Copied::default(), progress: &mut nothing };
    copying.whole(source)
}

/// Copies what is listed, and the directories on the way, to `target`, which must not exist. Nothing is given away.
fn listed(
    source: &Path,
    target: &Path,
    files: &[Listed],
    progress: &mut dyn FnMut(Copied),
) -> Result<(), WorkspaceError> {
    let mut copying = Copying { source, target, owner: None, copied: Copied::default(), progress };
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| WorkspaceError::Copy { path, source }
    };
    DirBuilder::new().mode(0o700).create(target).map_err(failed(target))?;
    for file in files {
        let from = source.join(&file.path);
        let on_the_way: Vec<&Path> =
            file.path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
        for above in on_the_way.into_iter().rev() {
            let made = target.join(above);
            match made.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => {}
                // A link that is listed stands for itself; nothing goes through it.
                Ok(_) => break,
                Err(_) => DirBuilder::new().mode(0o755).create(&made).map_err(failed(&made))?,
            }
        }
        let to = target.join(&file.path);
        if file.is_gitlink {
            match DirBuilder::new().mode(0o755).create(&to) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(failed(&to))?,
            }
            continue;
        }
        match from.symlink_metadata() {
            // What is not there is not checked out, or gone since it was listed.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Ok(metadata) if metadata.is_dir() => {}
            _ => copying.one(&from, &to).map_err(failed(&from))?,
        }
    }
    Ok(())
}

/// Gives a directory of ours and all that is in it.
fn give_all(directory: &Path, owner: u32) -> io::Result<()> {
    give(directory, owner)?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { give_all(&entry.path(), owner)? } else { give(&entry.path(), owner)? }
    }
    Ok(())
}

struct Copying<'a> {
    source: &'a Path,
    target: &'a Path,
    owner: Option<u32>,
    copied: Copied,
    progress: &'a mut dyn FnMut(Copied),
}

impl Copying<'_> {
    fn whole(&mut self, path: &Path) -> Result<(), WorkspaceError> {
        for entry in WalkBuilder::new(path).standard_filters(false).follow_links(false).build() {
            self.entry(&entry.map_err(WorkspaceError::Walk)?)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &DirEntry) -> Result<(), WorkspaceError> {
        let path = entry.path();
        let to = match path.strip_prefix(self.source) {
            Ok(below) if !below.as_os_str().is_empty() => self.target.join(below),
            _ => self.target.to_owned(),
        };
        match self.one(path, &to) {
            // Gone since it was listed: someone works there.
            Err(error) if error.kind() == io::ErrorKind::NotFound && entry.depth() > 0 => Ok(()),
            other => other.map_err(|source| WorkspaceError::Copy { path: path.to_owned(), source }),
        }
    }

    fn one(&mut self, path: &Path, to: &Path) -> io::Result<()> {
        let metadata = fs::symlink_metadata(path)?;
        if metadata.is_dir() {
            DirBuilder::new().mode(0o700).create(to)?;
            fs::set_permissions(to, Permissions::from_mode(metadata.mode() & 0o777 | 0o700))?;
        } else if metadata.is_symlink() {
            symlink(fs::read_link(path)?, to)?;
        } else if metadata.is_file() {
            self.copied.bytes += file(path, to)?;
        } else {
            return Ok(());
        }
        if let Some(owner) = self.owner {
            give(to, owner)?;
        }
        self.copied.files += 1;
        if self.copied.files.is_multiple_of(1000) {
            (self.progress)(self.copied);
        }
        Ok(())
    }
}

fn file(path: &Path, to: &Path) -> io::Result<u64> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut from = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = from.metadata()?;
    if !metadata.is_file() {
        return Ok(0);
    }
    let mode = metadata.mode() & 0o777;
    let mut copy = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    if ioctl_ficlone(&copy, &from).is_err() {
        io::copy(&mut from, &mut copy)?;
    }
    copy.set_permissions(Permissions::from_mode(mode))?;
    // Build tools go by times.
    let modified = rustix::fs::Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() };
    futimens(&copy, &Timestamps { last_access: modified, last_modification: modified })?;
    Ok(metadata.len())
}

/// Gives the file itself, never what it points at, to a uid and the gid of the same number.
pub(crate) fn give(path: &Path, owner: u32) -> io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(owner), rustix::fs::Gid::from_raw(owner));
    Ok(chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_leaves_out_what_is_ignored_and_keeps_links_as_links() {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("src");
        for directory in ["target", "sub/.git", ".git/logs", "deep/er"] {
            fs::create_dir_all(source.join(directory)).unwrap();
        }
        fs::write(source.join(".gitignore"), "target\nlogs\n*.o\n").unwrap();
        for file in ["target/x", ".git/logs/HEAD", "sub/.git/a.o", "deep/er/f", "deep/a.o", ".hidden"] {
            fs::write(source.join(file), file).unwrap();
        }
        fs::set_permissions(source.join("deep/er/f"), Permissions::from_mode(0o755)).unwrap();
        symlink("/etc/passwd", source.join("link")).unwrap();
        rustix::fs::mknodat(CWD, source.join("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let target = root.path().join("copy");
        let copied = copy(&source, &target, None, &mut |_| {}).unwrap();
        let there = |name: &str| target.join(name).symlink_metadata().is_ok();
        for name in [".gitignore", ".hidden", ".git/logs/HEAD", "sub/.git/a.o", "deep/er/f"] {
            assert!(there(name), "{name} is missing");
        }
        for name in ["target", "deep/a.o", "fifo"] {
            assert!(!there(name), "{name} was copied");
        }
        assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("/etc/passwd"));
        let (from, to) = (source.join("deep/er/f"), target.join("deep/er/f"));
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o777, 0o755);
        assert_eq!(fs::metadata(&to).unwrap().mtime_nsec(), fs::metadata(&from).unwrap().mtime_nsec());
        assert!(copied.files >= 9 && copied.bytes > 0);
    }
}
