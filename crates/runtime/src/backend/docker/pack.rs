//! Trees of this machine as a tar file that an engine is sent while it is written.
//!
//! Links are packed as links and never followed; what is neither file, directory nor link is left out, and so is every
//! set-id bit. What changes while it is read is sent as long as it was when it was looked at.

use crate::workspace::Copied;
use bytes::Bytes;
use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

/// Sent at a time.
const PIECE: usize = 128 << 10;

/// How far it is, for whoever tells it.
#[derive(Debug, Clone, Default)]
pub(super) struct Count {
    files: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Count {
    pub(super) fn add(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Copied {
        Copied { files: self.files.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("{} cannot be read to be sent", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("{} is more than {} MiB, which is the most that is sent of what a bottle may only read", .0.display(), .1 >> 20)]
    Large(PathBuf, u64),
}

/// Writes entries that all belong to one owner.
pub(super) struct Packing {
    tar: Builder<Pieces>,
    owner: u32,
    count: Count,
    /// Left of the bound, where there is one.
    left: Option<u64>,
    most: u64,
}

impl Packing {
    pub(super) fn new(to: mpsc::Sender<io::Result<Bytes>>, owner: u32, count: Count, most: Option<u64>) -> Packing {
        let tar = Builder::new(Pieces { to, held: Vec::with_capacity(PIECE) });
        Packing { tar, owner, count, left: most, most: most.unwrap_or_default() }
    }

    /// `source` and all beneath it, under `name`. Where `source` itself is a link, what it leads to is meant.
    pub(super) fn tree(&mut self, source: &Path, name: &Path) -> Result<(), PackError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| PackError::Read(path, error)
        };
        let source = source.canonicalize().map_err(failed(source))?;
        let mut waiting = vec![(source.clone(), name.to_owned())];
        while let Some((path, name)) = waiting.pop() {
            let metadata = match fs::symlink_metadata(&path) {
                // Gone since it was listed: someone works there.
                Err(error) if error.kind() == io::ErrorKind::NotFound && path != source => continue,
                other => other.map_err(failed(&path))?,
            };
            if let Some(left) = &mut self.left {
                *left = left.checked_sub(metadata.len()).ok_or_else(|| PackError::Large(source.clone(), self.most))?;
            }
            self.one(&path, &name, &metadata).map_err(failed(&path))?;
            if metadata.is_dir() {
                let listed = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
                let listed = listed.map_err(failed(&path))?;
                waiting.extend(listed.into_iter().map(|entry| (entry.path(), name.join(entry.file_name()))));
            }
        }
        Ok(())
    }

    fn one(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_mode(metadata.mode() & 0o777);
        header.set_uid(self.owner.into());
        header.set_gid(self.owner.into());
        header.set_mtime(metadata.mtime().try_into().unwrap_or_default());
        header.set_size(0);
        if metadata.is_dir() {
            header.set_entry_type(EntryType::Directory);
            self.tar.append_data(&mut header, name, io::empty())?;
        } else if metadata.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            self.tar.append_link(&mut header, name, fs::read_link(path)?)?;
        } else if metadata.is_file() {
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let file = File::options().read(true).custom_flags(flags).open(path)?;
            header.set_entry_type(EntryType::Regular);
            header.set_size(metadata.len());
            self.tar.append_data(&mut header, name, Exactly { file, left: metadata.len() })?;
        } else {
            return Ok(());
        }
        self.count.add(metadata.len());
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.tar.into_inner()?.flush()
    }
}

/// So many bytes of a file, whatever becomes of it meanwhile.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let into = into.get_mut(..most).unwrap_or_default();
        let mut count = self.file.read(into)?;
        if count == 0 {
            into.fill(0);
            count = into.len();
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// What is written, in pieces, to whoever sends them.
struct Pieces {
    to: mpsc::Sender<io::Result<Bytes>>,
    held: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::replace(&mut self.held, Vec::with_capacity(PIECE)));
        self.to.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
