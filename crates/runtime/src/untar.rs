//! Entries of a tar file that somebody else made, put into a directory.
//!
//! Invariants: every name is looked for as if the directory were the only one there is, so no link leads out of it; no
//! device, no pipe, no socket and no set-id bit is made; how much there may be is bounded.

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid},
    io::Errno,
};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

const MOST_ENTRIES: u64 = 8 << 20;
const OPAQUE: &[u8] = b".wh..wh..opq";
const GONE: &[u8] = b".wh.";
/// What whoever unpacks can still read, write to and remove.
const OWN_DIRECTORY: u32 = 0o700;
const OWN_FILE: u32 = 0o600;

/// What the entries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A layer of an image (image-spec, `layer.md`): what it whites out goes. Owners are as they are told, where that is
    /// possible.
    Layer,
    /// What is in a directory. All of it belongs to this uid and gid, or to us.
    Tree { owner: Option<u32> },
}

/// A directory that is put into.
#[derive(Debug)]
pub(crate) struct Untar {
    root: OwnedFd,
    kind: Kind,
    /// Left of the bound.
    entries: u64,
    is_root: bool,
}

pub(crate) fn malformed(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Untar {
    pub(crate) fn onto(root: &Path, kind: Kind) -> io::Result<Untar> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
        Ok(Untar { root, kind, entries: MOST_ENTRIES, is_root: rustix::process::geteuid().is_root() })
    }

    pub(crate) fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
        self.entries = self.entries.checked_sub(1).ok_or_else(|| malformed("it has too many files"))?;
        let path = plain(&entry.path_bytes())?;
        let header = entry.header();
        let (kind, mode) = (header.entry_type(), header.mode()? & 0o777);
        let owner = self.owner(header)?;
        let time = header.mtime()?;
        let Some(name) = path.file_name() else {
            // The root itself.
            return Ok(());
        };
        let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
        if self.kind == Kind::Layer {
            if name.as_bytes() == OPAQUE {
                return empty(&parent);
            }
            if let Some(gone) = name.as_bytes().strip_prefix(GONE) {
                return remove(&parent, OsStr::from_bytes(gone));
            }
        }
        match kind {
            tar::EntryType::Directory => {
                if !is_directory(&parent, name) {
                    remove(&parent, name)?;
                    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(OWN_DIRECTORY))?;
                }
                let made = open(&parent, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
                finish(&made, mode | OWN_DIRECTORY, owner)?;
            }
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                remove(&parent, name)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(OWN_FILE))?;
                let mut file = File::from(made);
                io::copy(entry, &mut file)?;
                let made = OwnedFd::from(file);
                let own = if self.kind == Kind::Layer { OWN_FILE } else { 0 };
                finish(&made, mode | own, owner)?;
                let at = Timespec { tv_sec: i64::try_from(time).unwrap_or_default(), tv_nsec: 0 };
                rustix::fs::futimens(&made, &Timestamps { last_access: at, last_modification: at })?;
            }
            tar::EntryType::Symlink => {
                let to = entry.link_name_bytes().ok_or_else(|| malformed("a link in it leads nowhere"))?;
                remove(&parent, name)?;
                rustix::fs::symlinkat(OsStr::from_bytes(&to), &parent, name)?;
                if let (Kind::Tree { .. }, Some((uid, gid))) = (self.kind, owner) {
                    rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                }
            }
            tar::EntryType::Link => {
                let to = entry.link_name_bytes().ok_or_else(|| malformed("a link in it leads nowhere"))?;
                let to = plain(&to)?;
                let from = self.directory(to.parent().unwrap_or(Path::new("")))?;
                let first = to.file_name().ok_or_else(|| malformed("a link in it is to the root"))?;
                remove(&parent, name)?;
                rustix::fs::linkat(&from, first, &parent, name, AtFlags::empty())?;
            }
            // Devices are the room's to make, and pipes and sockets are of programs that run.
            _ => {}
        }
        Ok(())
    }

    /// Whom what is made is given to.
    fn owner(&self, header: &tar::Header) -> io::Result<Option<(Uid, Gid)>> {
        match self.kind {
            Kind::Layer if self.is_root => {
                let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
                let ids = id(header.uid()?).zip(id(header.gid()?));
                let (uid, gid) = ids.ok_or_else(|| malformed("an owner in it is none"))?;
                Ok(Some((Uid::from_raw(uid), Gid::from_raw(gid))))
            }
            Kind::Layer => Ok(None),
            Kind::Tree { owner } => Ok(owner.map(|id| (Uid::from_raw(id), Gid::from_raw(id)))),
        }
    }

    /// A directory of what is there, made where it is missing.
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        match rustix::fs::openat2(&self.root, here, flags, Mode::empty(), resolve) {
            Err(Errno::NOENT) => {
                let name = path.file_name().ok_or_else(|| malformed("a name in it leads nowhere"))?;
                let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                Ok(open(&parent, name, OFlags::PATH | OFlags::DIRECTORY)?)
            }
            other => Ok(other?),
        }
    }
}

fn finish(made: &OwnedFd, mode: u32, owner: Option<(Uid, Gid)>) -> io::Result<()> {
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(made, Some(uid), Some(gid))?;
    }
    Ok(rustix::fs::fchmod(made, Mode::from_raw_mode(mode))?)
}

/// Without what leads nowhere; a name that leads up is none.
fn plain(name: &[u8]) -> io::Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(malformed("a name in it leads out of it"));
            }
        }
    }
    Ok(path)
}

fn open(parent: &OwnedFd, name: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(parent, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn is_directory(parent: &OwnedFd, name: &OsStr) -> bool {
    let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::Directory)
}

/// Whatever has this name, with all in it.
fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    if [&b""[..], b".", b".."].contains(&name.as_bytes()) {
        return Err(malformed("a name in it is none"));
    }
    if is_directory(parent, name) {
        empty(&open(parent, name, OFlags::PATH | OFlags::DIRECTORY)?)?;
        return Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?);
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}

fn empty(directory: &OwnedFd) -> io::Result<()> {
    let readable = open(directory, OsStr::new("."), OFlags::RDONLY | OFlags::DIRECTORY)?;
    for entry in rustix::fs::Dir::read_from(&readable)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if ![&b"."[..], b".."].contains(&name.as_bytes()) {
            remove(directory, name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};
    use tar::{Builder, EntryType, Header};

    fn entry(tar: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, rest: &str, mode: u32) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        // Also what a builder would refuse.
        let field = header.as_old_mut();
        field.name[..name.len()].copy_from_slice(name.as_bytes());
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        if is_link {
            field.linkname[..rest.len()].copy_from_slice(rest.as_bytes());
        }
        let bytes = if is_link { &[][..] } else { rest.as_bytes() };
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    }

    fn put(root: &Path, entries: &[(EntryType, &str, &str, u32)]) -> io::Result<()> {
        let mut tar = Builder::new(Vec::new());
        for (kind, name, rest, mode) in entries {
            entry(&mut tar, *kind, name, rest, *mode);
        }
        let bytes = tar.into_inner().unwrap();
        let mut untar = Untar::onto(root, Kind::Tree { owner: None }).unwrap();
        tar::Archive::new(&bytes[..]).entries()?.try_for_each(|entry| untar.entry(&mut entry?))
    }

    #[test]
    fn a_tree_comes_without_what_could_do_harm() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        fs::create_dir(&home).unwrap();
        let put = put(
            &home,
            &[
                (EntryType::Directory, "./", "", 0o755),
                (EntryType::Directory, "./sub/", "", 0o500),
                (EntryType::Regular, "./sub/.wh.f", "x", 0o6755),
                (EntryType::Link, "./same", "./sub/.wh.f", 0),
                (EntryType::Symlink, "./far", "/etc/passwd", 0),
                (EntryType::Fifo, "./fifo", "", 0o644),
                (EntryType::Char, "./dev", "", 0o666),
                (EntryType::Regular, "./far", "over", 0o400),
            ],
        );
        put.unwrap();
        assert_eq!(fs::read_to_string(home.join("same")).unwrap(), "x");
        let mode = |name: &str| fs::symlink_metadata(home.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("sub/.wh.f"), mode("sub"), mode("far")), (0o755, 0o700, 0o400));
        assert_eq!(fs::read_to_string(home.join("far")).unwrap(), "over", "a link is replaced, not followed");
        assert!(!home.join("fifo").exists() && !home.join("dev").exists());
    }

    #[test]
    fn nothing_of_a_tree_gets_out() {
        let outside = tempfile::tempdir().unwrap();
        let there = outside.path().display().to_string();
        fs::write(outside.path().join("mine"), "mine").unwrap();
        let there_mine = format!("{there}/mine");
        for attack in [
            &[(EntryType::Symlink, "./out", there.as_str(), 0), (EntryType::Regular, "./out/x", "x", 0o644)][..],
            &[(EntryType::Symlink, "./out", there_mine.as_str(), 0), (EntryType::Regular, "./out", "x", 0o644)],
            &[
                (EntryType::Symlink, "./up", "../../../../..", 0),
                (EntryType::Regular, "./up/tmp/x-of-a-tree", "x", 0o644),
            ],
            &[(EntryType::Regular, "../x", "x", 0o644)],
            &[(EntryType::Link, "./mine", there_mine.as_str(), 0)],
        ] {
            let root = tempfile::tempdir().unwrap();
            // Refused, or inside.
            let _ = put(root.path(), attack);
            let left: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
            assert_eq!(left, ["mine"], "{attack:?}");
            assert_eq!(fs::read_to_string(outside.path().join("mine")).unwrap(), "mine");
            assert!(!Path::new("/tmp/x-of-a-tree").exists());
        }
    }
}
