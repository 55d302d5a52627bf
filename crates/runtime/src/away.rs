//! A bottle whose home and workspace are with its engine: that they are, and how they come back.
//!
//! Invariant: `away` is in the bottle's directory exactly as long as what its agent did may be elsewhere. What needs the
//! two directories of this machine asks [`bring`] for them first.

use crate::{
    backend::docker::{self, Coming},
    store::{BottleDir, StoreError},
    workspace::Copied,
};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum AwayError {
    #[error(transparent)]
    Store(StoreError),
    #[error(
        "what the bottle's agent did is with the engine, and cannot be had from there; it stays there until it can"
    )]
    Fetch(#[source] docker::SentError),
    #[error("it cannot be put into the bottle, whose files are with the engine")]
    Put(#[source] docker::SentError),
}

fn path(bottle: &BottleDir) -> PathBuf {
    bottle.state.join("away")
}

/// Written when everything has been sent.
pub(crate) fn note(bottle: &BottleDir, coming: &Coming) -> Result<(), StoreError> {
    let path = self::path(bottle);
    let bytes = serde_json::to_vec(coming).map_err(io::Error::from);
    bytes.and_then(|bytes| fs::write(&path, bytes)).map_err(|source| StoreError::Write { path, source })
}

pub(crate) fn noted(bottle: &BottleDir) -> Result<Option<Coming>, StoreError> {
    held(bottle).map(|held| held.map(|(_, coming)| coming))
}

pub(crate) fn forget(bottle: &BottleDir) -> Result<(), StoreError> {
    let path = self::path(bottle);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::Write { path, source: error }),
        _ => Ok(()),
    }
}

/// Whether they are with an engine.
pub fn is_away(bottle: &BottleDir) -> bool {
    path(bottle).exists()
}

/// Has home and workspace be on this machine as they are now, also while the bottle runs; whether they had to be fetched.
/// `ended` tells that nothing of it runs: then they are here for good.
pub fn bring(bottle: &BottleDir, ended: bool, progress: &mut dyn FnMut(Copied)) -> Result<bool, AwayError> {
    let Some((file, _)) = held(bottle).map_err(AwayError::Store)? else { return Ok(false) };
    // One at a time; whoever waited looks again whether there is still something to do.
    let path = self::path(bottle);
    flock(&file, FlockOperation::LockExclusive)
        .map_err(|error| AwayError::Store(StoreError::Read { path, source: error.into() }))?;
    let Some(coming) = noted(bottle).map_err(AwayError::Store)? else { return Ok(false) };
    docker::fetch(&coming, ended, progress).map_err(AwayError::Fetch)?;
    if ended {
        forget(bottle).map_err(AwayError::Store)?;
    }
    Ok(true)
}

/// Puts a file or a tree of this machine into a bottle that runs, as its agent's.
pub fn put(
    bottle: &BottleDir,
    source: &Path,
    inside: &Path,
    progress: &mut dyn FnMut(Copied),
) -> Result<Copied, AwayError> {
    let nowhere = || StoreError::Read { path: path(bottle), source: io::ErrorKind::NotFound.into() };
    let coming = noted(bottle).and_then(|coming| coming.ok_or_else(nowhere)).map_err(AwayError::Store)?;
    docker::put_into(&coming, source, inside, progress).map_err(AwayError::Put)
}

fn held(bottle: &BottleDir) -> Result<Option<(File, Coming)>, StoreError> {
    let path = self::path(bottle);
    let read = || -> io::Result<(File, Coming)> {
        let mut file = File::open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((file, serde_json::from_slice(&bytes).map_err(io::Error::from)?))
    };
    match read() {
        Ok(held) => Ok(Some(held)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Read { path, source }),
    }
}
