//! What the agent's terminal showed, in a file: `agent/output.log`, and before it `output.log.1`.
//!
//! Invariant: the two never hold more than twice [`LIMIT`]. A disk that is full costs output, never the bottle.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

pub(crate) const LIMIT: u64 = 4 << 20;

#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Output {
    pub(crate) fn open(path: &Path) -> io::Result<Output> {
        let file = File::options().create(true).append(true).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        Ok(Output { path: path.to_owned(), file, size })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let written = if self.size.saturating_add(length) > LIMIT { self.rotate() } else { Ok(()) };
        match written.and_then(|()| self.file.write_all(bytes)) {
            Ok(()) => self.size = self.size.saturating_add(length),
            Err(error) => tracing::warn!(%error, "the agent's output was not written down"),
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        fs::rename(&self.path, previous(&self.path))?;
        *self = Output::open(&self.path)?;
        Ok(())
    }
}

/// The file that holds what came before.
pub fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_stay_within_the_limit_and_the_last_bytes_are_there() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("output.log");
        let mut output = Output::open(&path).unwrap();
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..11 {
            output.write(&chunk);
        }
        output.write(b"end");
        let (now, before) = (fs::read(&path).unwrap(), fs::read(previous(&path)).unwrap());
        assert!(now.len() as u64 <= LIMIT && before.len() as u64 <= LIMIT);
        assert!(now.ends_with(b"end") && now.len() > 3);
    }
}
