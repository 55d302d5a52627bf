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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _, thread};

    /// Kind, mode and owner of each entry, or why there are none.
    fn packed(
        source: &Path,
        name: &str,
        most: Option<u64>,
    ) -> Result<BTreeMap<String, (EntryType, u32, u64)>, PackError> {
        let (sender, mut receiver) = mpsc::channel(2);
        let (source, name) = (source.to_owned(), name.to_owned());
        let packing = thread::spawn(move || {
            let mut packing = Packing::new(sender, 23_456, Count::default(), most);
            packing.tree(&source, Path::new(&name))?;
            packing.finish().map_err(|error| PackError::Read(source, error))
        });
        let mut bytes = Vec::new();
        while let Some(piece) = receiver.blocking_recv() {
            bytes.extend_from_slice(&piece.unwrap());
        }
        packing.join().unwrap()?;
        let mut archive = tar::Archive::new(&bytes[..]);
        Ok(archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let name = String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned();
                (name, (header.entry_type(), header.mode().unwrap(), header.uid().unwrap()))
            })
            .collect())
    }

    #[test]
    fn what_is_sent_is_the_agents_and_harmless() {
        let root = tempfile::tempdir().unwrap();
        let long = "n".repeat(180);
        fs::create_dir_all(root.path().join("tree/sub")).unwrap();
        fs::write(root.path().join("tree/sub").join(&long), "x").unwrap();
        fs::write(root.path().join("tree/run"), "x").unwrap();
        fs::set_permissions(root.path().join("tree/run"), fs::Permissions::from_mode(0o6755)).unwrap();
        fs::set_permissions(root.path().join("tree/sub"), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("/etc/shadow", root.path().join("tree/far")).unwrap();
        std::os::unix::fs::symlink("tree", root.path().join("led")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, root.path().join("tree/fifo"), fifo, 0o600.into(), 0).unwrap();
        let found = packed(&root.path().join("led"), "agent", None).unwrap();
        let names: Vec<_> = found.keys().cloned().collect();
        assert_eq!(
            names,
            [
                "agent".to_owned(),
                "agent/far".into(),
                "agent/run".into(),
                "agent/sub".into(),
                format!("agent/sub/{long}")
            ]
        );
        assert_eq!(found["agent/run"], (EntryType::Regular, 0o755, 23_456));
        assert_eq!(found["agent/sub"], (EntryType::Directory, 0o700, 23_456));
        assert_eq!(found["agent/far"].0, EntryType::Symlink, "it is not followed");
        assert!(packed(&root.path().join("tree"), "./", None).unwrap().contains_key("run"));
    }

    #[test]
    fn more_than_the_bound_is_refused_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("large"), vec![0; 4096]).unwrap();
        let refused = packed(&root.path().join("large"), "data", Some(4095)).unwrap_err();
        assert!(refused.to_string().contains("/large is more than"), "{refused}");
        assert!(packed(&root.path().join("large"), "data", Some(4096)).is_ok());
    }
}
