//! Copying between this host and a bottle's home and workspace, which are directories of this host that the agent owns.
//!
//! Invariant: on the agent's side no link is followed, in no component, and nothing outside is reached, even while the
//! agent swaps names (`openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`, then `O_NOFOLLOW` name by name). Out
//! of a bottle come files, directories and those links that stay beneath what was copied; devices, pipes and sockets
//! do not.

use bottle_spec::plan::{Plan, Workspace};
use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chownat, fchmod, fchown, fstat,
        mkdirat, openat, openat2, readlinkat, statat, symlinkat, unlinkat,
    },
    io::Errno,
};
use std::{
    ffi::{CStr, OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Component, Path, PathBuf},
};

use crate::store::BottleDir;

/// Deeper trees are refused: each level holds two descriptors.
const DEPTH: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("{} is not beneath /home/agent or /workspace, which are what can be copied to and from", .0.display())]
    NotShared(PathBuf),
    #[error("{} cannot be opened", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} cannot be copied", path.display())]
    Copy { path: PathBuf, source: io::Error },
    #[error("{} is deeper than {DEPTH} directories", .0.display())]
    Deep(PathBuf),
}

/// What was copied, and what was left out with the reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Transferred {
    pub files: u64,
    pub bytes: u64,
    pub left_out: Vec<String>,
}

/// Hears of what is copied so far, after each [`PIECE`] and each file; it is to be quick.
pub type Progress<'a> = &'a mut dyn FnMut(&Transferred);

/// Bytes of a file that are copied without a word in between.
const PIECE: u64 = 8 << 20;

/// Where a path of the bottle is on this host: a directory, and the way beneath it.
pub fn locate(bottle: &BottleDir, plan: &Plan, inside: &Path) -> Result<(PathBuf, PathBuf), TransferError> {
    let refused = || TransferError::NotShared(inside.to_owned());
    if inside.components().any(|part| matches!(part, Component::ParentDir)) {
        return Err(refused());
    }
    if let Ok(below) = inside.strip_prefix("/home/agent") {
        return Ok((bottle.home(), below.to_owned()));
    }
    let below = inside.strip_prefix(Workspace::TARGET).map_err(|_| refused())?;
    match &plan.workspace {
        Workspace::None => Err(refused()),
        Workspace::Copy { .. } | Workspace::Clone { .. } => Ok((bottle.workspace(), below.to_owned())),
        Workspace::Mount { source } => Ok((source.clone(), below.to_owned())),
    }
}

/// Copies `below` of the agent's directory `root` to `target`: into it where it is a directory, else under that name.
pub fn copy_out(
    root: &Path,
    below: &Path,
    target: &Path,
    progress: Progress<'_>,
) -> Result<Transferred, TransferError> {
    let (parent, name) = if below.as_os_str().is_empty() {
        (root.parent().map(held).transpose()?, root.file_name().map(OsStr::to_owned))
    } else {
        (Some(beneath(root, below.parent().unwrap_or(Path::new("")))?), below.file_name().map(OsStr::to_owned))
    };
    let (Some(parent), Some(name)) = (parent, name) else { return Err(TransferError::NotShared(below.to_owned())) };
    let (directory, new_name) = if target.is_dir() {
        (held(target)?, name.clone())
    } else {
        let name = target.file_name().ok_or_else(|| TransferError::NotShared(target.to_owned()))?;
        (held(parent_of(target))?, name.to_owned())
    };
    let mut copying = Copying { owner: None, all_links: false, transferred: Transferred::default(), progress };
    copying.entry(parent.as_fd(), &name, directory.as_fd(), &new_name, below, 0)?;
    Ok(copying.transferred)
}

/// Who what is copied in belongs to, where root copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    uid: Uid,
    gid: Gid,
}

impl Owner {
    /// The owner of `root`: the bottle's host uid for its home, and for a directory of the user's that is mounted
    /// (which the bottle sees as its own) that user.
    pub fn of(root: &Path) -> io::Result<Owner> {
        let stat = rustix::fs::stat(root)?;
        Ok(Owner { uid: Uid::from_raw(stat.st_uid), gid: Gid::from_raw(stat.st_gid) })
    }
}

/// Copies `source` to `below` of the agent's directory `root`, for the agent to own.
pub fn copy_in(
    source: &Path,
    root: &Path,
    below: &Path,
    owner: Option<Owner>,
    progress: Progress<'_>,
) -> Result<Transferred, TransferError> {
    let open = |error: io::Error| TransferError::Open { path: source.to_owned(), source: error };
    // The person's own path: its links are followed, as `cp` would.
    let source = source.canonicalize().map_err(open)?;
    let name = source.file_name().ok_or_else(|| TransferError::NotShared(source.clone()))?;
    let from = held(parent_of(&source))?;
    let (directory, new_name) = match beneath(root, below) {
        Ok(directory) => (directory, name.to_owned()),
        Err(TransferError::Open { source, .. })
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            let name = below.file_name().ok_or_else(|| TransferError::NotShared(below.to_owned()))?;
            (beneath(root, below.parent().unwrap_or(Path::new("")))?, name.to_owned())
        }
        Err(error) => return Err(error),
    };
    let mut copying = Copying { owner, all_links: true, transferred: Transferred::default(), progress };
    copying.entry(from.as_fd(), name, directory.as_fd(), &new_name, &source, 0)?;
    Ok(copying.transferred)
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory of the person's own.
fn held(path: &Path) -> Result<OwnedFd, TransferError> {
    openat(CWD, path, DIRECTORY, Mode::empty())
        .map_err(|error| TransferError::Open { path: path.to_owned(), source: error.into() })
}

/// A directory of the agent's.
fn beneath(root: &Path, below: &Path) -> Result<OwnedFd, TransferError> {
    let root = held(root)?;
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(&root, below, DIRECTORY, Mode::empty(), resolve)
        .map_err(|error| TransferError::Open { path: below.to_owned(), source: error.into() })
}

struct Copying<'a> {
    owner: Option<Owner>,
    all_links: bool,
    transferred: Transferred,
    progress: Progress<'a>,
}

impl Copying<'_> {
    /// `path` is for messages only.
    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        name: &OsStr,
        to: BorrowedFd<'_>,
        new_name: &OsStr,
        path: &Path,
        depth: usize,
    ) -> Result<(), TransferError> {
        let failed = |error: io::Error| TransferError::Copy { path: path.to_owned(), source: error };
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| failed(error.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth >= DEPTH => return Err(TransferError::Deep(path.to_owned())),
            FileType::Directory => {
                let source = openat(from, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
                let source = source.map_err(|error| failed(error.into()))?;
                let target = self.directory(to, new_name, &stat).map_err(failed)?;
                for name in names(&source).map_err(failed)? {
                    self.entry(source.as_fd(), &name, target.as_fd(), &name, &path.join(&name), depth + 1)?;
                }
            }
            FileType::RegularFile => self.file(from, name, to, new_name).map_err(failed)?,
            FileType::Symlink => self.link(from, name, to, new_name, path).map_err(failed)?,
            _ => self.transferred.left_out.push(format!("{}: neither file nor directory", path.display())),
        }
        Ok(())
    }

    fn directory(&self, to: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> io::Result<OwnedFd> {
        match mkdirat(to, name, Mode::RWXU) {
            Err(Errno::EXIST) => return Ok(openat(to, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?),
            other => other?,
        }
        let directory = openat(to, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        fchmod(&directory, permissions(stat) | Mode::RWXU)?;
        self.give(&directory)?;
        Ok(directory)
    }

    fn file(&mut self, from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>, new_name: &OsStr) -> io::Result<()> {
        // It may have become something else since it was looked at: a pipe would make us wait for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = openat(from, name, flags, Mode::empty())?;
        let stat = fstat(&source)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        clear(to, new_name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = openat(to, new_name, flags, Mode::RUSR | Mode::WUSR)?;
        let (mut source, mut target) = (File::from(source), File::from(target));
        self.bytes(&mut source, &mut target)?;
        fchmod(&target, permissions(&stat))?;
        self.give(&target)?;
        self.transferred.files += 1;
        (self.progress)(&self.transferred);
        Ok(())
    }

    fn bytes(&mut self, source: &mut File, target: &mut File) -> io::Result<()> {
        loop {
            let copied = io::copy(&mut source.by_ref().take(PIECE), target)?;
            self.transferred.bytes += copied;
            if copied < PIECE {
                return Ok(());
            }
            (self.progress)(&self.transferred);
        }
    }

    fn link(
        &mut self,
        from: BorrowedFd<'_>,
        name: &OsStr,
        to: BorrowedFd<'_>,
        new_name: &OsStr,
        path: &Path,
    ) -> io::Result<()> {
        let target = readlinkat(from, name, Vec::new())?;
        if !self.all_links && !stays_beneath(&target) {
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            self.transferred.left_out.push(format!("{}: a link to {}", path.display(), target.display()));
            return Ok(());
        }
        clear(to, new_name)?;
        symlinkat(&target, to, new_name)?;
        if let Some(owner) = self.owner {
            chownat(to, new_name, Some(owner.uid), Some(owner.gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        self.transferred.files += 1;
        Ok(())
    }

    fn give(&self, file: impl AsFd) -> io::Result<()> {
        match self.owner {
            Some(owner) => Ok(fchown(file, Some(owner.uid), Some(owner.gid))?),
            None => Ok(()),
        }
    }
}

/// Downwards only. Where every link of a tree is such, none leads out of it.
fn stays_beneath(target: &CStr) -> bool {
    let target = Path::new(OsStr::from_bytes(target.to_bytes()));
    target.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Without set-user-id and its kin.
fn permissions(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o777)
}

fn clear(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn names(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    #[test]
    fn out_comes_only_what_is_harmless() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        fs::create_dir_all(home.join("tree/sub")).unwrap();
        fs::write(home.join("tree/sub/f"), "x").unwrap();
        fs::set_permissions(home.join("tree/sub/f"), fs::Permissions::from_mode(0o4755)).unwrap();
        symlink("sub/f", home.join("tree/good")).unwrap();
        symlink("/etc/passwd", home.join("tree/absolute")).unwrap();
        symlink("../../x", home.join("tree/up")).unwrap();
        rustix::fs::mknodat(CWD, home.join("tree/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        symlink("/etc", home.join("elsewhere")).unwrap();
        let target = root.path().join("copy");
        let done = copy_out(&home, Path::new("tree"), &target, &mut |_| {}).unwrap();
        assert_eq!((done.files, done.left_out.len()), (2, 3), "{done:?}");
        assert_eq!(fs::metadata(target.join("sub/f")).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_to_string(target.join("good")).unwrap(), "x");
        assert!(copy_out(&home, Path::new("elsewhere/passwd"), &target, &mut |_| {}).is_err());
        assert!(!target.join("passwd").exists());
    }

    #[test]
    fn in_goes_beneath_the_home_even_where_the_agent_laid_a_link() {
        let root = tempfile::tempdir().unwrap();
        let (home, outside) = (root.path().join("home"), root.path().join("outside"));
        fs::create_dir(&home).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("victim"), "safe").unwrap();
        fs::write(root.path().join("f"), "new").unwrap();
        symlink(&outside, home.join("trap")).unwrap();
        symlink(outside.join("victim"), home.join("f")).unwrap();
        let source = root.path().join("f");
        assert!(copy_in(&source, &home, Path::new("trap/f"), None, &mut |_| {}).is_err());
        copy_in(&source, &home, Path::new(""), None, &mut |_| {}).unwrap();
        assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "safe");
        assert_eq!(fs::read_to_string(home.join("f")).unwrap(), "new");
        assert!(!home.join("f").is_symlink());
        copy_in(&source, &home, Path::new("renamed"), None, &mut |_| {}).unwrap();
        assert_eq!(fs::read_to_string(home.join("renamed")).unwrap(), "new");
    }
    #[test]
    fn a_long_copy_tells_how_far_it_is() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("small"), "x").unwrap();
        // Two pieces and a bit, which takes no room on the disk.
        File::create(home.join("z-large")).unwrap().set_len(2 * PIECE + 1).unwrap();
        let mut told = Vec::new();
        let done =
            copy_out(&home, Path::new(""), &root.path().join("out"), &mut |so_far| told.push(so_far.bytes)).unwrap();
        assert_eq!((done.files, done.bytes), (2, 2 * PIECE + 2));
        assert!(told.is_sorted() && told.len() == 4, "{told:?}");
        assert_eq!(fs::metadata(root.path().join("out/z-large")).unwrap().len(), 2 * PIECE + 1);
    }
}
