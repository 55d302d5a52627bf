//! A file or a tree, put into the home or workspace of a container that runs.
//!
//! The engine walks the path, in the container's root and with no way out of it; where a link would be walked by its last
//! name, it is refused here. What an agent swaps meanwhile leads to another place of its own: the rest is read-only.

use super::{
    engine::{Engine, refused, status},
    error::EngineError,
    image::LONG,
    pack::Count,
    sent::{Coming, SentError, put},
};
use crate::workspace::Copied;
use bollard::query_parameters::ContainerArchiveInfoOptions;
use std::path::{Path, PathBuf};

/// As Go's `os.FileMode` has them.
const DIRECTORY: u32 = 1 << 31;
const LINK: u32 = 1 << 27;

/// Puts it into `inside` where that is a directory, else under that name.
pub fn put_into(
    coming: &Coming,
    source: &Path,
    inside: &Path,
    progress: &mut dyn FnMut(Copied),
) -> Result<Copied, SentError> {
    super::engine::blocking(async {
        let (container, agent) = (&coming.container, coming.agent);
        let engine = Engine::connect_for(&container.engine, LONG).await?;
        let refuse = || SentError::Inside(inside.to_owned());
        let name = source.file_name().map(PathBuf::from).ok_or_else(refuse)?;
        let (at, name) = match kind(&engine, &container.name, inside).await? {
            Some(mode) if mode & DIRECTORY != 0 => (inside.to_owned(), name),
            Some(mode) if mode & LINK != 0 => return Err(refuse()),
            _ => {
                let (parent, name) = inside.parent().zip(inside.file_name()).ok_or_else(refuse)?;
                match kind(&engine, &container.name, parent).await? {
                    Some(mode) if mode & DIRECTORY != 0 => (parent.to_owned(), name.into()),
                    _ => return Err(refuse()),
                }
            }
        };
        let count = Count::default();
        let trees = vec![(source.to_owned(), name)];
        put(&engine, &container.name, &at.to_string_lossy(), trees, agent, None, &count, progress).await?;
        Ok(count.now())
    })
}

/// `None` where there is nothing.
async fn kind(engine: &Engine, container: &str, path: &Path) -> Result<Option<u32>, EngineError> {
    let options = ContainerArchiveInfoOptions { path: path.to_string_lossy().into_owned() };
    match engine.docker.get_container_archive_info(container, Some(options)).await {
        Ok(stat) => Ok(Some(stat.file_mode)),
        Err(error) if status(&error) == Some(404) => Ok(None),
        Err(error) => Err(refused(error)),
    }
}
