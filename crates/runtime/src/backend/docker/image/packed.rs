//! Something that is sent to an engine: a file, its digest, and what is said after it.

use super::error::ImageError;
use crate::store::private_directory;
use bytes::Bytes;
use futures_util::Stream;
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read, Seek as _, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Sent at a time.
const PIECE: usize = 128 * 1024;

#[derive(Debug)]
pub(super) struct Packed {
    file: File,
    /// Of the file, what is sent.
    length: u64,
    after: Vec<u8>,
    digest: String,
}

impl Packed {
    /// A file that lies there already: `length` bytes of it, and `after`.
    pub(super) fn of_file(mut file: File, length: u64, after: Vec<u8>) -> io::Result<Packed> {
        file.seek(SeekFrom::Start(0))?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        let mut all = (&file).take(length).chain(after.as_slice());
        loop {
            match all.read(&mut piece)? {
                0 => break,
                count => hash.update(piece.get(..count).unwrap_or_default()),
            }
        }
        Ok(Packed { file, length, after, digest: hex(hash) })
    }

    #[cfg(test)]
    pub(super) fn reader(&self) -> io::Result<impl Read + use<>> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file.take(self.length).chain(io::Cursor::new(self.after.clone())))
    }

    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// May be asked for more than once, one after the other.
    pub(super) fn pieces(&self) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, ImageError> {
        let failed = |source| ImageError::Read { path: "what was packed".into(), source };
        let mut file = self.file.try_clone().map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut all = file.take(self.length).chain(io::Cursor::new(self.after.clone()));
        // From a disk of this machine: nothing else waits while it is read.
        let pieces = std::iter::from_fn(move || {
            let mut piece = vec![0; PIECE];
            match all.read(&mut piece) {
                Ok(0) => None,
                Ok(count) => {
                    piece.truncate(count);
                    Some(Ok(Bytes::from(piece)))
                }
                Err(error) => Some(Err(error)),
            }
        });
        Ok(futures_util::stream::iter(pieces))
    }
}

/// A file without a name: it goes with the process, however that ends.
pub(super) fn unnamed(scratch: &Path) -> Result<File, ImageError> {
    let failed = |source| ImageError::Pack { path: scratch.to_owned(), source };
    // Beside it are things that nobody else may see.
    private_directory(scratch).map_err(|error| failed(io::Error::other(error)))?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error)))?;
    let path = scratch.join(format!(".packing-{:016x}", u64::from_le_bytes(random)));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    fs::remove_file(&path).map_err(failed)?;
    Ok(file)
}

/// Takes what is packed and counts it.
pub(super) struct Packer {
    file: io::BufWriter<File>,
    hash: Sha256,
    length: u64,
}

impl Packer {
    pub(super) fn new(scratch: &Path) -> Result<Packer, ImageError> {
        let file = unnamed(scratch)?;
        Ok(Packer { file: io::BufWriter::with_capacity(PIECE, file), hash: Sha256::new(), length: 0 })
    }

    pub(super) fn finish(self) -> io::Result<Packed> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Packed { file, length: self.length, after: Vec::new(), digest: hex(self.hash) })
    }
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(bytes.get(..count).unwrap_or_default());
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
