//! The git gate's life: start, make, confine, serve, obey the keeper, end.
//!
//! Invariants: everything that needs more than [`confine`] leaves is done before it, and nothing is served before it;
//! what was started here ends with it.

use super::{
    approve,
    command::Home,
    confine::{GitConfineError, Reach, confine, git_directories, reach_of},
    door::{Door, MAX_CONNECTIONS},
    known::Searching,
    mirror::Mirror,
    mirrors,
    record::Recorder,
    repository::Repository,
    upstream::{Access, Surroundings},
};
use crate::{
    door_listener::DoorListener,
    link::{self, Link, LinkError},
    vault::Vault,
};
use bottle_spec::{
    gate_link::{GateToKeeper, GitStart, KeeperToGate},
    git::Kind,
};
use std::{
    collections::BTreeMap,
    fs, io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, watch};

#[derive(Debug, thiserror::Error)]
pub enum GitGateError {
    #[error("the link to the keeper failed")]
    Link(#[source] LinkError),
    #[error("a git gate has one door, and {0} descriptors came")]
    Descriptors(usize),
    #[error("the git gate's files cannot be made")]
    Files(#[source] io::Error),
    #[error("the git gate could not confine itself")]
    Confine(#[source] GitConfineError),
    #[error("could not start the event loop")]
    EventLoop(#[source] io::Error),
    #[error("could not take over the git door")]
    Door(#[source] io::Error),
    #[error("the git door's task ended")]
    DoorEnded,
}

/// Where the system keeps its authorities, for git's own TLS.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Serves one bottle's git door until the keeper drains the gate or goes. Confines the process for good; to be called
/// by a process of one thread that does nothing else.
pub fn serve(link: UnixStream) -> Result<(), GitGateError> {
    let ready = link::receive_git_start(&link).map_err(GitGateError::Link).and_then(|received| {
        let (prepared, reach) = prepare(received.start, received.descriptors, received.decoder)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(GitGateError::EventLoop)?;
        confine(&reach).map_err(GitGateError::Confine)?;
        Ok((prepared, runtime))
    });
    match ready {
        Ok((prepared, runtime)) => {
            let ended = runtime.block_on(prepared.run(link));
            runtime.shutdown_timeout(Duration::from_millis(200));
            end_children();
            ended
        }
        Err(err) => {
            link::send_failed(&link, crate::serve::chain(&err));
            Err(err)
        }
    }
}

/// The keeper does it too, where there is one left.
fn end_children() {
    let own = rustix::process::getpid();
    if rustix::process::getpgrp() == own {
        // This process is of the group as well; it has nothing left to do.
        let _ = rustix::process::kill_current_process_group(rustix::process::Signal::KILL);
    }
}

struct Prepared {
    door: Arc<Door>,
    listener: OwnedFd,
    recorder: Recorder,
    vault: Vault,
    outgoing: mpsc::UnboundedReceiver<GateToKeeper>,
    decoder: bottle_spec::wire::Decoder,
}

fn prepare(
    start: GitStart,
    descriptors: Vec<OwnedFd>,
    decoder: bottle_spec::wire::Decoder,
) -> Result<(Prepared, Reach), GitGateError> {
    let count = descriptors.len();
    let [listener] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| GitGateError::Descriptors(count))?;
    let files = GitGateError::Files;
    let mut paths = Vec::new();
    for repository in &start.repositories {
        if let Kind::Path(path) = repository.upstream.kind() {
            paths.push(path.to_owned());
            paths.extend(git_directories(path));
        }
    }
    let home = Home::make(&start.state, &paths).map_err(files)?;
    let certificates = certificates(&start.state, &start.upstream_ca).map_err(files)?;
    let mut reach = Reach { write: vec![start.state.clone(), start.requests.clone()], ..Reach::default() };
    let mut repositories = BTreeMap::new();
    let (keeper, outgoing) = mpsc::unbounded_channel();
    let vault = Vault::new(start.secrets, keeper.clone());
    let surroundings =
        Surroundings { ssh_agent: start.ssh_agent, certificates, resolve: start.resolve, umask: start.umask };
    for listed in &start.repositories {
        let mirror = Mirror::new(&start.mirrors, Access::new(listed, &vault, &surroundings)).map_err(files)?;
        reach.write.push(mirror.directory().to_owned());
        reach_of(listed, &mut reach);
        let repository = Repository::new(&listed.name, mirror, listed.push.clone(), &home);
        repositories.insert(listed.name.clone(), Arc::new(repository));
    }
    mirrors::make_room(&start.mirrors, mirrors::MOST);
    let recorder = Recorder::new(keeper.clone());
    let door = Arc::new(Door {
        home,
        repositories,
        recorder: recorder.clone(),
        frozen: watch::Sender::new(start.frozen),
        supervised: start.supervised,
        searching: Searching::new(vault.clone(), start.canaries),
        requests: start.requests,
        wait: Duration::from_secs(start.wait.into()).min(approve::PATIENCE),
        bottle: start.bottle.to_string(),
        keeper,
        connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    });
    Ok((Prepared { door, listener, recorder, vault, outgoing, decoder }, reach))
}

/// One file of all that is trusted, where the plan adds to the system's.
fn certificates(state: &Path, added: &[PathBuf]) -> io::Result<Option<PathBuf>> {
    if added.is_empty() {
        return Ok(None);
    }
    let mut text = BUNDLES.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    for path in added {
        text.push('\n');
        text.push_str(&fs::read_to_string(path)?);
    }
    let path = state.join("certificates.pem");
    fs::write(&path, text)?;
    Ok(Some(path))
}

impl Prepared {
    async fn run(self, link: UnixStream) -> Result<(), GitGateError> {
        let Prepared { door, listener, recorder, vault, mut outgoing, decoder } = self;
        let mut link = Link::new(link, decoder).map_err(GitGateError::Link)?;
        let listener = DoorListener::adopt(listener).map_err(GitGateError::Door)?;
        let serving = tokio::spawn(Arc::clone(&door).serve(listener));
        tokio::pin!(serving);
        let mirroring = door.mirror_ahead();
        if !mirroring.is_empty() {
            link.send(&GateToKeeper::Mirroring(mirroring)).await.map_err(GitGateError::Link)?;
        }
        link.send(&GateToKeeper::Ready).await.map_err(GitGateError::Link)?;
        loop {
            let message = tokio::select! {
                message = link.next() => message,
                Some(said) = outgoing.recv() => {
                    link.send(&said).await.map_err(GitGateError::Link)?;
                    continue;
                }
                _ = &mut serving => return Err(GitGateError::DoorEnded),
            };
            match message {
                // Nobody is left inside, or nobody to write down what is done: what is under way ends with us.
                Err(LinkError::Closed) | Ok(KeeperToGate::Drain { .. }) => {
                    serving.abort();
                    return Ok(());
                }
                Err(err) => return Err(GitGateError::Link(err)),
                Ok(KeeperToGate::Freeze { frozen, .. }) => drop(door.frozen.send_replace(frozen)),
                Ok(KeeperToGate::Secret { source, value }) => vault.deliver(&source, value),
                Ok(KeeperToGate::Recorded { id, result }) => recorder.recorded(id, result),
                Ok(KeeperToGate::Granted(grants)) => door.grant(&grants),
                Ok(KeeperToGate::Asked { .. } | KeeperToGate::Decided(_)) => {}
                Ok(
                    KeeperToGate::Start(_)
                    | KeeperToGate::StartGit(_)
                    | KeeperToGate::StartSupervise(_)
                    | KeeperToGate::Notify(_)
                    | KeeperToGate::Record { .. }
                    | KeeperToGate::Policy(_),
                ) => return Err(GitGateError::Link(LinkError::StartedTwice)),
            }
        }
    }
}
