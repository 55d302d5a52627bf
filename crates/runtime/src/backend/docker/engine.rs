//! The engine: a daemon of this machine behind a Unix socket. Every question has its time, and every answer is data of
//! somebody else.

use super::{
    container::{SLUG, STATE},
    error::EngineError,
};
use crate::journal::Container;
use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    query_parameters::{ListContainersOptions, RemoveContainerOptions},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::Path,
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// An engine that makes a container from an image on a slow disk may take so long.
const PATIENCE: Duration = Duration::from_secs(120);
/// One whose socket is there says what it is at once.
const GREETING: Duration = Duration::from_secs(10);
/// How often it is asked whether a container has gone.
const PAUSE: Duration = Duration::from_millis(20);

/// Whose engine it is, which it says itself. What is neither is taken for Docker's: its own words are the API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    Docker,
    Podman,
}

/// An engine that answered.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) docker: Docker,
    pub(super) make: Make,
}

impl Engine {
    pub(super) async fn connect(socket: &Path) -> Result<Engine, EngineError> {
        let path = socket.to_string_lossy();
        let gone = |error| gone(socket, error);
        let docker = Docker::connect_with_unix(&path, PATIENCE.as_secs(), API_DEFAULT_VERSION).map_err(gone)?;
        // The newest version of the API that both know.
        let agreed = timeout(GREETING, docker.negotiate_version()).await.map_err(|_| EngineError::Late(GREETING))?;
        let docker = agreed.map_err(gone)?;
        let parts = docker.version().await.map_err(refused)?.components.unwrap_or_default();
        let make = if parts.iter().any(|part| part.name == "Podman Engine") { Make::Podman } else { Make::Docker };
        Ok(Engine { docker, make })
    }

    /// Whether there was anything to remove. Returns when it is gone.
    pub(super) async fn remove(&self, name: &str) -> Result<bool, EngineError> {
        let removed = self.remove_container(name).await?;
        let volumes = self.make == Make::Podman && self.remove_volumes(name).await?;
        Ok(removed || volumes)
    }

    async fn remove_container(&self, name: &str) -> Result<bool, EngineError> {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        match self.docker.remove_container(name, Some(options)).await {
            Ok(()) => Ok(true),
            Err(error) if status(&error) == Some(404) => Ok(false),
            // It removes containers by itself when they end, and is at it.
            Err(error) if status(&error) == Some(409) => self.wait_until_gone(name).await.map(|()| true),
            Err(error) => Err(refused(error)),
        }
    }

    async fn wait_until_gone(&self, name: &str) -> Result<(), EngineError> {
        let asking = async {
            loop {
                match self.docker.inspect_container(name, None).await {
                    Ok(_) => sleep(PAUSE).await,
                    Err(error) if status(&error) == Some(404) => return Ok(()),
                    Err(error) => return Err(refused(error)),
                }
            }
        };
        timeout(PATIENCE, asking).await.map_err(|_| EngineError::Late(PATIENCE))?
    }
}

pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What the engine said, or why it said nothing.
pub(super) fn refused(error: Error) -> EngineError {
    match error {
        Error::DockerResponseServerError { message, .. } => EngineError::Refused(message),
        Error::RequestTimeoutError => EngineError::Late(PATIENCE),
        other => EngineError::Ask(io::Error::other(other)),
    }
}

fn gone(socket: &Path, error: Error) -> EngineError {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(found) = cause {
        if found.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            return EngineError::Forbidden(socket.to_owned(), Box::new(error));
        }
        cause = found.source();
    }
    EngineError::Gone(socket.to_owned(), Box::new(error))
}

/// Takes a container away, running or not; whether there was one.
pub async fn remove(container: &Container) -> Result<bool, EngineError> {
    Engine::connect(&container.engine).await?.remove(&container.name).await
}

/// The same, for those who have no event loop.
pub fn remove_now(container: &Container) -> Result<bool, EngineError> {
    blocking(remove(container))
}

/// Containers of bottles of this state directory, each with its bottle's name as the label has it.
pub fn abandoned(socket: &Path, state: &Path) -> Result<Vec<(String, Container)>, EngineError> {
    blocking(async {
        let engine = Engine::connect(socket).await?;
        let label = format!("{STATE}={}", state.display());
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
        let listed = engine.docker.list_containers(Some(options)).await.map_err(refused)?;
        let named = listed.into_iter().filter_map(|container| {
            let slug = container.labels?.get(SLUG)?.clone();
            Some((slug, Container { engine: socket.to_owned(), name: container.id? }))
        });
        let mut left: Vec<(String, Container)> = named.collect();
        if engine.make == Make::Podman {
            left.extend(engine.abandoned_volumes(socket, &state.display().to_string()).await?);
        }
        Ok(left)
    })
}

/// What a plan must know of an image and of the engine that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// `sha256:…`: what the name stands for now.
    pub id: String,
    /// The image's own environment.
    pub env: BTreeMap<String, String>,
    /// Of `cpu`, `memory` and `pids`, what the engine can limit.
    pub controllers: BTreeSet<&'static str>,
}

/// What the engine has under this name or id. Nothing is pulled.
pub fn image(socket: &Path, reference: &str) -> Result<ImageFacts, EngineError> {
    blocking(async {
        let engine = Engine::connect(socket).await?;
        let found = engine.docker.inspect_image(reference).await.map_err(|error| match status(&error) {
            Some(404) => EngineError::NoImage(reference.to_owned()),
            _ => refused(error),
        })?;
        let info = engine.docker.info().await.map_err(refused)?;
        let variables = found.config.and_then(|config| config.env).unwrap_or_default();
        let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let limits = [("cpu", info.cpu_cfs_quota), ("memory", info.memory_limit), ("pids", info.pids_limit)];
        Ok(ImageFacts {
            id: found.id.ok_or(EngineError::Answer("the image's id"))?,
            env: variables.iter().filter_map(pair).collect(),
            controllers: limits.into_iter().filter(|(_, can)| *can == Some(true)).map(|(name, _)| name).collect(),
        })
    })
}

/// Who answers at the socket: the version it says it has.
pub fn server(socket: &Path) -> Result<String, EngineError> {
    blocking(async {
        let engine = Engine::connect(socket).await?;
        let version = engine.docker.version().await.map_err(refused)?;
        version.version.ok_or(EngineError::Answer("its version"))
    })
}

fn blocking<T>(asking: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(EngineError::Ask)?;
    runtime.block_on(asking)
}
