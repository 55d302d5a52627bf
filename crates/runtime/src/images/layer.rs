//! One layer over what is there (image-spec, `layer.md`): what it has is put there, what it whites out goes.
//!
//! Invariants: every name is looked for as if the directory were the only one there is, so no link in a layer leads out
//! of it; no device, no socket and no set-id bit is made; what a layer unpacks to is checked against its digest, and
//! bounded.

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufRead as _, Read},
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

/// What all layers may unpack to.
const LARGEST: u64 = 64 << 30;
const MOST_ENTRIES: u64 = 8 << 20;
const OPAQUE: &[u8] = b".wh..wh..opq";
const GONE: &[u8] = b".wh.";
/// What whoever unpacks can still read, write to and remove.
const OWN_DIRECTORY: u32 = 0o700;
const OWN_FILE: u32 = 0o600;

pub(super) struct Layers {
    root: OwnedFd,
    /// Left of the bounds.
    bytes: u64,
    entries: u64,
    /// Owners are given only where that is possible.
    is_root: bool,
}

fn malformed(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Layers {
    pub(super) fn onto(root: &Path) -> io::Result<Layers> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
        let is_root = rustix::process::geteuid().is_root();
        Ok(Layers { root, bytes: LARGEST, entries: MOST_ENTRIES, is_root })
    }

    /// What they have unpacked to so far.
    pub(super) fn bytes(&self) -> u64 {
        LARGEST - self.bytes
    }

    /// `diff_id` is the digest of what the bytes decompress to.
    pub(super) fn add(&mut self, bytes: impl Read, diff_id: &str) -> io::Result<()> {
        let mut plain = Hashed { from: decompressed(bytes)?, hash: Sha256::new(), left: self.bytes };
        for entry in tar::Archive::new(&mut plain).entries()? {
            self.entries = self.entries.checked_sub(1).ok_or_else(|| malformed("the image has too many files"))?;
            self.entry(&mut entry?)?;
        }
        io::copy(&mut plain, &mut io::sink())?;
        self.bytes = plain.left;
        let found = super::named(&plain.hash.finalize());
        if found == diff_id { Ok(()) } else { Err(malformed(format!("it unpacks to {found}, and not to {diff_id}"))) }
    }

    fn entry(&self, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
        let path = plain(&entry.path_bytes())?;
        let header = entry.header();
        let (kind, mode) = (header.entry_type(), header.mode()? & 0o777);
        let owner = (header.uid()?, header.gid()?);
        let time = header.mtime()?;
        let Some(name) = path.file_name() else {
            // The root itself.
            return Ok(());
        };
        let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
        if name.as_bytes() == OPAQUE {
            return empty(&parent);
        }
        if let Some(gone) = name.as_bytes().strip_prefix(GONE) {
            return remove(&parent, OsStr::from_bytes(gone));
        }
        match kind {
            tar::EntryType::Directory => {
                if !is_directory(&parent, name) {
                    remove(&parent, name)?;
                    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(OWN_DIRECTORY))?;
                }
                let made = open(&parent, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
                self.finish(&made, mode | OWN_DIRECTORY, owner)?;
            }
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                remove(&parent, name)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(OWN_FILE))?;
                let mut file = File::from(made);
                io::copy(entry, &mut file)?;
                let made = OwnedFd::from(file);
                self.finish(&made, mode | OWN_FILE, owner)?;
                let at = Timespec { tv_sec: i64::try_from(time).unwrap_or_default(), tv_nsec: 0 };
                rustix::fs::futimens(&made, &Timestamps { last_access: at, last_modification: at })?;
            }
            tar::EntryType::Symlink => {
                let to = entry.link_name_bytes().ok_or_else(|| malformed("a link in it leads nowhere"))?;
                remove(&parent, name)?;
                rustix::fs::symlinkat(OsStr::from_bytes(&to), &parent, name)?;
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

    fn finish(&self, made: &OwnedFd, mode: u32, (uid, gid): (u64, u64)) -> io::Result<()> {
        if self.is_root {
            let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
            let (uid, gid) = id(uid).zip(id(gid)).ok_or_else(|| malformed("an owner in it is none"))?;
            rustix::fs::fchown(made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        Ok(rustix::fs::fchmod(made, Mode::from_raw_mode(mode))?)
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

/// Without what leads nowhere; a name that leads up is none.
fn plain(name: &[u8]) -> io::Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(malformed("a name in it leads out of the image"));
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

/// By its first bytes: what says how it is compressed is not always there, and not always right.
fn decompressed<'r>(bytes: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let mut bytes = io::BufReader::with_capacity(64 << 10, bytes);
    let head = bytes.fill_buf()?;
    if head.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(bytes)));
    }
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(bytes)?));
    }
    Ok(Box::new(bytes))
}

/// Reads on, and knows of what.
struct Hashed<R> {
    from: R,
    hash: Sha256,
    left: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        self.hash.update(into.get(..count).unwrap_or_default());
        let left = self.left.checked_sub(u64::try_from(count).unwrap_or(u64::MAX));
        self.left = left.ok_or_else(|| malformed("the image unpacks to more than 64 GiB"))?;
        Ok(count)
    }
}
