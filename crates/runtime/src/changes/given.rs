//! What a workspace held when the agent got it: kept where the agent cannot write, so that what it changed can be told
//! without believing anything in the workspace.
//!
//! Files and links are kept, directories are not; nothing of a `.git` is.

use super::risk;
use crate::{
    store::{BottleDir, StoreError},
    tree::Tree,
};
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
};

/// SHA-256 of a file's contents.
pub type Hash = [u8; 32];

/// Of one directory; what is beyond is not compared, which is said.
pub(super) const ENTRIES: usize = 1 << 20;

/// A file or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// `None` = too large to be read.
    File {
        executable: bool,
        size: u64,
        hash: Option<Hash>,
    },
    Link {
        target: PathBuf,
    },
}

/// By path, relative to the workspace.
pub type Given = BTreeMap<PathBuf, What>;

/// A line of `given.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    path: Name,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    x: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<(u64, Option<Hash>)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<Name>,
}

/// Names are bytes; most are UTF-8.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&Path> for Name {
    fn from(path: &Path) -> Name {
        match path.to_str() {
            Some(text) => Name::Text(text.to_owned()),
            None => Name::Bytes(path.as_os_str().as_bytes().to_vec()),
        }
    }
}

impl From<Name> for PathBuf {
    fn from(name: Name) -> PathBuf {
        match name {
            Name::Text(text) => text.into(),
            Name::Bytes(bytes) => OsString::from_vec(bytes).into(),
        }
    }
}

/// Looks through a workspace that nobody changes yet, and writes down what is there.
pub(crate) fn record(bottle: &BottleDir, root: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Read { path: root.to_owned(), source };
    let tree = Tree::open(root).map_err(failed)?;
    let mut found = Given::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        for entry in tree.entries(&directory, ENTRIES).map_err(failed)?.unwrap_or_default() {
            let path = directory.join(&entry.name);
            if risk::is_git(&entry.name) {
                continue;
            }
            if entry.kind == FileType::Directory {
                waiting.push(path);
            } else if let Some(what) = look(&tree, &path, entry.kind, &mut |_| true).map_err(failed)? {
                found.insert(path, what);
            }
        }
    }
    write(bottle, found.iter())
}

/// Whole or not at all.
pub(super) fn write<'a>(
    bottle: &BottleDir,
    entries: impl Iterator<Item = (&'a PathBuf, &'a What)>,
) -> Result<(), StoreError> {
    let path = bottle.given();
    let failed = |source| StoreError::Write { path: path.clone(), source };
    let beside = path.with_extension("new");
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(failed)?;
    let mut file = BufWriter::new(file);
    for (path, what) in entries {
        serde_json::to_writer(&mut file, &line(path, what)).map_err(|error| failed(error.into()))?;
        file.write_all(b"\n").map_err(failed)?;
    }
    file.flush().map_err(failed)?;
    fs::rename(&beside, &path).map_err(failed)
}

/// `None` where nothing was written down: of a bottle without a workspace of its own.
pub fn load(bottle: &BottleDir) -> Result<Option<Given>, StoreError> {
    let path = bottle.given();
    let failed = |source| StoreError::Read { path: path.clone(), source };
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut given = Given::new();
    for line in BufReader::new(file).lines() {
        let line: Line = serde_json::from_str(&line.map_err(failed)?)
            .map_err(|source| StoreError::Damaged { path: path.clone(), source })?;
        let what = match (line.file, line.link) {
            (Some((size, hash)), _) => What::File { executable: line.x, size, hash },
            (None, Some(target)) => What::Link { target: target.into() },
            (None, None) => continue,
        };
        given.insert(line.path.into(), what);
    }
    Ok(Some(given))
}

fn line(path: &Path, what: &What) -> Line {
    let path = Name::from(path);
    match what {
        What::File { executable, size, hash } => Line { path, x: *executable, file: Some((*size, *hash)), link: None },
        What::Link { target } => Line { path, x: false, file: None, link: Some(Name::from(target.as_path())) },
    }
}

/// What is at `path`; `None` where it is neither file nor link by now. `reads` says of a size whether that is read: a
/// sparse file can be endless.
pub(super) fn look(
    tree: &Tree,
    path: &Path,
    kind: FileType,
    reads: &mut dyn FnMut(u64) -> bool,
) -> io::Result<Option<What>> {
    match kind {
        FileType::Symlink => Ok(tree.link(path)?.map(|target| What::Link { target })),
        FileType::RegularFile => {
            let Some((mut file, stat)) = tree.file(path)? else { return Ok(None) };
            let size = u64::try_from(stat.st_size).unwrap_or_default();
            let hash = if reads(size) { Some(hash(&mut file, size)?) } else { None };
            Ok(Some(What::File { executable: stat.st_mode & 0o111 != 0, size, hash }))
        }
        _ => Ok(None),
    }
}

/// Of the first `size` bytes: a file that grows meanwhile ends where it ended.
pub(super) fn hash(file: &mut File, size: u64) -> io::Result<Hash> {
    let mut hasher = Sha256::new();
    io::copy(&mut file.take(size), &mut hasher)?;
    Ok(hasher.finalize().into())
}
