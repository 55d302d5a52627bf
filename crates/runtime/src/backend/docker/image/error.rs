//! What can go wrong with an image, each with what to do next.

use crate::backend::docker::EngineError;
use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("{} cannot be read for the image; correct the path, or let yourself read it", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("what goes into the image cannot be packed in {}; make room there", path.display())]
    Pack {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("there is no Dockerfile at {}; name the file, or a directory that holds one", .0.display())]
    NoDockerfile(PathBuf),
    #[error("{what} failed: {why}{said}")]
    Build { what: String, why: String, said: String },
    #[error("{} is no {kind}: {why}", path.display())]
    Archive { path: PathBuf, kind: &'static str, why: &'static str },
    #[error("the engine could not take in {}: {why}", path.display())]
    Load { path: PathBuf, why: String },
    #[error("{} does not hold one image but none or several; `docker load` it, and name the one you mean", .0.display())]
    Several(PathBuf),
    #[error(
        "the engine cannot pull {name}: {why}; see that the name is right and that the engine reaches the registry{said}"
    )]
    Pull { name: String, why: String, said: String },
}
