//! The engine: a daemon behind a socket, of this machine or another. Every question has its time, and every answer is data of
//! somebody else.

use super::{
    container::{SLUG, STATE},
    dial::{client, get},
    error::EngineError,
    sent,
};
use crate::{engine_address::EngineAddress, journal::Container};
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker, errors::Error, query_parameters::RemoveContainerOptions};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::HashMap, io, path::Path, time::Duration};
use tokio::time::{sleep, timeout};

/// An engine that makes a container from an image on a slow disk may take so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// One whose socket is there says what it is at once, though many may ask at a time.
const GREETING: Duration = Duration::from_secs(30);
/// More is no greeting.
const GREETING_MOST: u64 = 16 << 10;
/// More is no answer of a few containers.
const ANSWER_MOST: u64 = 16 << 20;
/// Between two askings for a removal: at first, and at most.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
    pub(super) address: EngineAddress,
    /// Of the API.
    pub(super) version: String,
}

impl Engine {
    pub(super) async fn connect(address: &EngineAddress) -> Result<Engine, EngineError> {
        Engine::connect_for(address, PATIENCE).await
    }

    /// The same, for questions that may take so long.
    pub(super) async fn connect_for(address: &EngineAddress, patience: Duration) -> Result<Engine, EngineError> {
        // At no cost to it: Podman looks for the packages of all its parts when it is asked for its version.
        let greeted = timeout(GREETING, get(address, "/_ping", GREETING_MOST));
        let greeted = greeted.await.map_err(|_| EngineError::Late(GREETING))?;
        let (greeting, _) = greeted.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => EngineError::Forbidden(address.clone(), error),
            _ => EngineError::Gone(address.clone(), error),
        })?;
        // The newest version of the API that both know.
        let version =
            said(&greeting, "api-version").and_then(version).ok_or(EngineError::Answer("its API's version"))?;
        let ours = (API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version);
        let (major_version, minor_version) = version.min(ours);
        let agreed = ClientVersion { major_version, minor_version };
        let docker = client(address, patience, &agreed)
            .map_err(|error| EngineError::Gone(address.clone(), io::Error::other(error)))?;
        let make = if said(&greeting, "libpod-api-version").is_some() { Make::Podman } else { Make::Docker };
        Ok(Engine { docker, make, address: address.clone(), version: format!("{major_version}.{minor_version}") })
    }

    /// Whether there was anything to remove. Returns when it is gone.
    pub(super) async fn remove(&self, container: &Container) -> Result<bool, EngineError> {
        let Container { name, sent, .. } = container;
        let mut any = self.remove_container(name).await?;
        if *sent {
            any |= self.remove_container(&sent::courier(name)).await?;
        }
        if *sent || self.make == Make::Podman {
            any |= self.remove_volumes(name).await?;
        }
        if *sent {
            any |= self.remove_images(name).await?;
        }
        Ok(any)
    }

    pub(super) async fn remove_container(&self, name: &str) -> Result<bool, EngineError> {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        self.until_gone(|| self.docker.remove_container(name, Some(options.clone()))).await
    }

    /// What it says of its security: `name=rootless`, `name=userns` and others.
    pub(super) async fn security(&self) -> Result<Vec<String>, EngineError> {
        let info: Info = self.read("/info").await?;
        Ok(info.security_options.unwrap_or_default())
    }

    /// Asks for a removal until there is nothing left to remove; whether there was anything.
    ///
    /// Somebody else may be at it meanwhile: `cleanup`, or what Podman runs at a container's end, which knows nothing of
    /// its service. Either may come upon a state that the other has just made, give up, and leave the container for
    /// whoever asks next.
    pub(super) async fn until_gone<A>(&self, ask: impl Fn() -> A) -> Result<bool, EngineError>
    where
        A: Future<Output = Result<(), Error>>,
    {
        let mut last = None;
        let asking = async {
            let mut pause = PAUSE;
            loop {
                let error = match ask().await {
                    Ok(()) => return Ok(true),
                    Err(error) => error,
                };
                match status(&error) {
                    Some(404) => return Ok(last.is_some()),
                    Some(409) => {}
                    Some(500) if self.make == Make::Podman => {}
                    _ => return Err(refused(error)),
                }
                last = Some(refused(error));
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        match timeout(PATIENCE, asking).await {
            Ok(ended) => ended,
            Err(_) => Err(last.unwrap_or(EngineError::Late(PATIENCE))),
        }
    }

    /// The pid of the container's first process, as this host numbers it; 0 where it has ended.
    pub(super) async fn pid(&self, name: &str) -> Result<i64, EngineError> {
        let inspected: Inspected = self.read(&format!("/containers/{name}/json")).await?;
        Ok(inspected.state.pid)
    }

    /// All containers with this label, running or not.
    pub(super) async fn labelled(&self, label: &str) -> Result<Vec<Listed>, EngineError> {
        let filters = serde_json::json!({ "label": [label] }).to_string();
        self.read(&format!("/containers/json?all=1&filters={}", encoded(&filters))).await
    }

    /// Of an answer what is needed of it, and no more: the library knows all states that a container of Docker's can be
    /// in, and takes no answer with one of Podman's.
    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let path = format!("/v{}{path}", self.version);
        let asked = timeout(PATIENCE, get(&self.address, &path, ANSWER_MOST)).await;
        let (head, body) = asked.map_err(|_| EngineError::Late(PATIENCE))?.map_err(EngineError::Ask)?;
        if !head.lines().next().is_some_and(|line| line.contains(" 200 ")) {
            let said = String::from_utf8_lossy(&body);
            let message = serde_json::from_slice::<Refusal>(&body).map_or_else(|_| said.into_owned(), |it| it.message);
            return Err(EngineError::Refused(message));
        }
        serde_json::from_slice(&body).map_err(|error| EngineError::Ask(io::Error::other(error)))
    }
}

#[derive(Deserialize)]
struct Inspected {
    #[serde(rename = "State")]
    state: State,
}

#[derive(Deserialize)]
struct State {
    #[serde(rename = "Pid")]
    pid: i64,
}

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "SecurityOptions")]
    security_options: Option<Vec<String>>,
}

/// A container or an image.
#[derive(Deserialize)]
pub(super) struct Listed {
    #[serde(rename = "Id")]
    pub(super) id: String,
    #[serde(rename = "Labels")]
    pub(super) labels: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// For a query.
pub(super) fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
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
    Engine::connect(&container.engine).await?.remove(container).await
}

/// The same, for those who have no event loop.
pub fn remove_now(container: &Container) -> Result<bool, EngineError> {
    blocking(remove(container))
}

/// Containers of bottles of this state directory, each with its bottle's name as the label has it.
pub fn abandoned(address: &EngineAddress, state: &Path) -> Result<Vec<(String, Container)>, EngineError> {
    blocking(async {
        let engine = Engine::connect(address).await?;
        let listed = engine.labelled(&format!("{STATE}={}", state.display())).await?;
        let named = listed.into_iter().filter_map(|container| {
            let slug = container.labels?.get(SLUG)?.clone();
            Some((slug, Container { engine: address.clone(), name: container.id, sent: false }))
        });
        let mut left: Vec<(String, Container)> = named.collect();
        left.extend(engine.abandoned_belongings(&state.display().to_string()).await?);
        Ok(left)
    })
}

/// Who answers at the socket: the version it says it has.
pub fn server(address: &EngineAddress) -> Result<String, EngineError> {
    blocking(async {
        let engine = Engine::connect(address).await?;
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
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixListener,
        thread::{JoinHandle, spawn},
    };

    /// Answers one request after the other, each on a connection of its own, with the next of these; tells what was asked.
    fn engine<const N: usize>(socket: &Path, answers: [&'static str; N]) -> JoinHandle<[String; N]> {
        let listener = UnixListener::bind(socket).unwrap();
        let answer = move |answer: &str| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).unwrap();
            let (status, body) = answer.split_once('\n').unwrap();
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nApi-Version: 1.41\r\nLibpod-Api-Version: 4.3.1\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            stream.write_all(head.as_bytes()).unwrap();
            String::from_utf8_lossy(&bytes[..count]).lines().next().unwrap().to_owned()
        };
        spawn(move || answers.map(answer))
    }

    #[test]
    fn a_removal_is_asked_for_again_until_there_is_nothing_left() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let busy = "500 no\n{\"message\":\"container state improper: stopped\"}";
        let engine = engine(&socket, ["200 OK\nOK", busy, busy, "204 No Content\n", "200 OK\n{}"]);
        let container = Container { engine: EngineAddress::Socket(socket), name: "it".to_owned(), sent: false };
        assert!(remove_now(&container).unwrap());
        let asked = engine.join().unwrap();
        assert!(asked[1..4].iter().all(|line| line.starts_with("DELETE ") && line.contains("/containers/it?")));
        assert!(asked[4].contains("/volumes?"), "{asked:?}");
    }

    #[test]
    fn a_container_in_a_state_that_only_podman_knows_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let listed = r#"200 OK
[{"Id":"0f52","State":"stopped","Labels":{"bot-bottle.slug":"a-abcde"}},{"Id":"1","State":"x","Labels":{}}]"#;
        let engine = engine(&socket, ["200 OK\nOK", listed, "200 OK\n{}", "200 OK\n[]"]);
        let socket = EngineAddress::Socket(socket);
        let found = abandoned(&socket, Path::new("/state")).unwrap();
        let container = Container { engine: socket, name: "0f52".to_owned(), sent: false };
        assert_eq!(found, [("a-abcde".to_owned(), container)]);
        assert!(engine.join().unwrap()[1].contains("%22bot%2Dbottle%2Estate%3D%2Fstate%22"));
    }

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
