//! The engine: a daemon of this machine behind a Unix socket. Every question has its time, and every answer is data of
//! somebody else.

use super::{
    container::{SLUG, STATE},
    error::EngineError,
};
use crate::journal::Container;
use bollard::{
    API_DEFAULT_VERSION, ClientVersion, Docker,
    errors::Error,
    query_parameters::{ListContainersOptions, RemoveContainerOptions},
};
use std::{collections::HashMap, io, path::Path, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::{sleep, timeout},
};

/// An engine that makes a container from an image on a slow disk may take so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// One whose socket is there says what it is at once, though many may ask at a time.
const GREETING: Duration = Duration::from_secs(30);
/// More is no greeting.
const GREETING_MOST: u64 = 16 << 10;
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
        Engine::connect_for(socket, PATIENCE).await
    }

    /// The same, for questions that may take so long.
    pub(super) async fn connect_for(socket: &Path, patience: Duration) -> Result<Engine, EngineError> {
        let greeted = timeout(GREETING, greet(socket)).await.map_err(|_| EngineError::Late(GREETING))?;
        let greeting = greeted.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => EngineError::Forbidden(socket.to_owned(), error),
            _ => EngineError::Gone(socket.to_owned(), error),
        })?;
        // The newest version of the API that both know.
        let version =
            said(&greeting, "api-version").and_then(version).ok_or(EngineError::Answer("its API's version"))?;
        let ours = (API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version);
        let (major_version, minor_version) = version.min(ours);
        let agreed = ClientVersion { major_version, minor_version };
        let path = socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&path, patience.as_secs(), &agreed)
            .map_err(|error| EngineError::Gone(socket.to_owned(), io::Error::other(error)))?;
        let make = if said(&greeting, "libpod-api-version").is_some() { Make::Podman } else { Make::Docker };
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
            // So does Podman, by a program of its own that has nothing to do with its service.
            Err(error) if status(&error) == Some(500) && self.make == Make::Podman => {
                self.wait_until_gone(name).await.map_err(|_| refused(error)).map(|()| true)
            }
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

/// What an engine says of itself before anything else, at no cost to it: Podman looks for the packages of all its parts
/// when it is asked for its version.
async fn greet(socket: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n").await?;
    let mut bytes = Vec::new();
    stream.take(GREETING_MOST).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A header's value.
fn said<'a>(greeting: &'a str, header: &str) -> Option<&'a str> {
    let lines = greeting.lines().skip(1).take_while(|line| !line.is_empty());
    let pairs = lines.filter_map(|line| line.split_once(':'));
    pairs.filter(|(name, _)| name.eq_ignore_ascii_case(header)).map(|(_, value)| value.trim()).next()
}

fn version(text: &str) -> Option<(usize, usize)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
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

/// Who answers at the socket: the version it says it has.
pub fn server(socket: &Path) -> Result<String, EngineError> {
    blocking(async {
        let engine = Engine::connect(socket).await?;
        let version = engine.docker.version().await.map_err(refused)?;
        version.version.ok_or(EngineError::Answer("its version"))
    })
}

pub(super) fn blocking<T, E: From<EngineError>>(asking: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(EngineError::Ask)?;
    runtime.block_on(asking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_says_version_and_make() {
        let docker = "HTTP/1.0 200 OK\r\nApi-Version: 1.41\r\nServer: Docker/20.10\r\n\r\nLibpod-API-Version: 1";
        assert_eq!(said(docker, "api-version").and_then(version), Some((1, 41)));
        assert_eq!(said(docker, "libpod-api-version"), None, "what follows the headers is none");
        assert_eq!(said("HTTP/1.0 200 OK\r\nLibpod-Api-Version: 4.3.1\r\n\r\n", "libpod-api-version"), Some("4.3.1"));
        for text in ["", "1", "1.x", "-1.2"] {
            assert_eq!(version(text), None, "{text}");
        }
    }
}
