//! Files that travel: for an engine that does not see this machine's, or maps their owners.
//!
//! What the container may only read (init, the files of `/etc`, the authorities, mounts) is laid over the image as one
//! more layer, so the root is as read-only as ever. Home and workspace are volumes of the engine, filled before the
//! container is there, and brought back when it has ended. All of it goes over the archive calls of the API, into and out
//! of containers that do not run. A *courier*, which never runs either, is what it is put into: the image's root, which
//! can be written to there, with both volumes.
//!
//! Both directions are for a process of their own: they take as long as there are files, and what comes back was made by
//! the agent ([`crate::untar`]).
//!
//! Invariants: what there is on this machine is replaced only by what came whole; volumes go only with their container,
//! whose remover has seen that everything came back, or does not want it. Nothing secret is in the layer: what has a
//! secret in it is never in the bottle.

use super::{
    container::{ContainerSpec, ids, labels},
    engine::{Engine, Make, refused, status},
    error::{ContainerError, EngineError},
    image::LONG,
    pack::{Count, PackError, Packing},
    room::check,
    staging::stage,
};
use crate::{
    backend::room::{HOME, relative},
    beneath,
    journal::Container,
    untar::{Kind, Untar, malformed},
    workspace::{Copied, give},
};
use bollard::{
    body_try_stream,
    models::{
        ContainerConfig, ContainerCreateBody, HealthConfig, HostConfig, Mount, MountType, MountVolumeOptions,
        VolumeCreateRequest,
    },
    query_parameters::{
        CommitContainerOptions, CreateContainerOptions, DownloadFromContainerOptions, StopContainerOptions,
        UploadToContainerOptions,
    },
};
use bottle_spec::{plan::Workspace, slug::Slug};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    fs,
    io::{self, Read},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    pin::pin,
    thread,
    time::Duration,
};
use tokio::{sync::mpsc, time::interval};

const REPOSITORY: &str = "bot-bottle-sent";
/// The engine writes them itself, for every container.
const ENGINES_OWN: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
/// All that a bottle may only read.
const LAYER_MOST: u64 = 4 << 30;
/// What a home or a workspace may have become.
const COMING_MOST: u64 = 64 << 30;
const EVERY: Duration = Duration::from_millis(500);
/// Pieces on their way.
const WAITING: usize = 8;

/// What is sent, for the process that sends it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sending {
    container: Container,
    labels: HashMap<String, String>,
    /// The bottle's, by its id.
    image: String,
    agent: u32,
    /// On this machine, and in the container.
    layer: Vec<(PathBuf, PathBuf)>,
    home: PathBuf,
    workspace: Option<PathBuf>,
}

/// What comes back, for the process that fetches it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Coming {
    pub(super) container: Container,
    /// Whom it belongs to in the container.
    pub(super) agent: u32,
    home: PathBuf,
    workspace: Option<PathBuf>,
    /// Whom it belongs to on this machine, where that is not us.
    owner: Option<u32>,
}

#[derive(Debug, thiserror::Error)]
pub enum SentError {
    #[error("sending files to the engine")]
    Send(#[source] EngineError),
    #[error(transparent)]
    Pack(PackError),
    #[error("what was sent cannot be made an image")]
    Commit(#[source] EngineError),
    #[error("fetching {path} from the engine")]
    Fetch { path: &'static str, source: EngineError },
    #[error("{path} of the bottle cannot be unpacked on this machine")]
    Unpack { path: &'static str, source: io::Error },
    #[error("{} is no directory and no new name in one, or a link is there", .0.display())]
    Inside(PathBuf),
    #[error("{} cannot be put in its place", .0.display())]
    Place(PathBuf, #[source] io::Error),
}

impl From<EngineError> for SentError {
    fn from(error: EngineError) -> SentError {
        SentError::Send(error)
    }
}

/// What runs in the bottle has this uid and gid there: below what any engine maps, above what a machine's own users
/// have, and seldom that of another bottle.
pub(super) fn agent(slug: &Slug) -> u32 {
    let digest = Sha256::digest(slug.as_str());
    20_000 + digest.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte)) % 40_000
}

/// The image with its layer.
pub(super) fn image(container: &str) -> String {
    format!("{REPOSITORY}:{container}")
}

pub(super) fn courier(container: &str) -> String {
    format!("{container}-courier")
}

/// Target, and what its volume's name ends with.
fn places(workspace: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    let workspace = workspace.then_some((Workspace::TARGET, "workspace"));
    [(HOME, "home")].into_iter().chain(workspace)
}

pub(super) fn volumes(spec: &ContainerSpec<'_>) -> Vec<Mount> {
    mounts(&spec.container.name, spec.room.workspace.is_some())
}

fn mounts(container: &str, workspace: bool) -> Vec<Mount> {
    let mount = |(target, name): (&str, &str)| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(format!("{container}-{name}")),
        target: Some(target.to_owned()),
        read_only: Some(false),
        // Nothing of the image's comes into it.
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
        ..Mount::default()
    };
    places(workspace).map(mount).collect()
}

/// Writes down what is to be sent. The bottle's own files are in its staging directory then.
pub fn sending(spec: &ContainerSpec<'_>) -> Result<(Sending, Coming), ContainerError> {
    let image = check(spec)?.to_owned();
    let room = &spec.room;
    let within = |target: &Path| target.starts_with(HOME) || target.starts_with(Workspace::TARGET);
    if let Some(mount) = room.plan.mounts.iter().find(|mount| within(&mount.target)) {
        return Err(ContainerError::Within(mount.target.clone()));
    }
    let staged = stage(spec)?;
    let mut layer = vec![(staged.entry, PathBuf::from(super::container::ENTRY))];
    layer.extend(staged.files.into_iter().filter(|(_, target)| ENGINES_OWN.iter().all(|own| target != Path::new(own))));
    let mounts = room.plan.mounts.iter().filter(|mount| relative(&mount.target).is_some());
    layer.extend(mounts.map(|mount| (mount.source.clone(), mount.target.clone())));
    let (home, workspace) = (room.home.to_owned(), room.workspace.map(Path::to_owned));
    let container = spec.container.clone();
    let coming = Coming {
        container: container.clone(),
        agent: ids(room).0,
        home: home.clone(),
        workspace: workspace.clone(),
        owner: room.host_ids.map(|(uid, _)| uid),
    };
    let agent = ids(room).0;
    Ok((Sending { container, labels: labels(spec), image, agent, layer, home, workspace }, coming))
}

/// Has the engine have everything that the container will be made of. What is there when this fails goes with the
/// container's name.
pub fn send(sending: &Sending, progress: &mut dyn FnMut(Copied)) -> Result<(), SentError> {
    super::engine::blocking(async {
        let Sending { container, labels, agent, home, workspace, .. } = sending;
        let engine = Engine::connect_for(&container.engine, LONG).await?;
        for (_, name) in places(workspace.is_some()) {
            let request = VolumeCreateRequest {
                name: Some(format!("{}-{name}", container.name)),
                labels: Some(labels.clone()),
                ..VolumeCreateRequest::default()
            };
            engine.docker.create_volume(request).await.map_err(refused)?;
        }
        let courier = courier(&container.name);
        make_courier(&engine, &courier, sending).await?;
        let count = Count::default();
        let layer = sending.layer.clone();
        let of_layer = layer.into_iter().map(|(source, target)| {
            let below = target.strip_prefix("/").unwrap_or(&target).to_owned();
            (source, below)
        });
        put(&engine, &courier, "/", of_layer.collect(), *agent, Some(LAYER_MOST), &count, progress).await?;
        let sources = [Some(home), workspace.as_ref()].into_iter().flatten();
        for (source, (target, _)) in sources.zip(places(workspace.is_some())) {
            let (at, name) = way_into(engine.make, Path::new(target));
            put(&engine, &courier, &at, vec![(source.clone(), name)], *agent, None, &count, progress).await?;
        }
        commit(&engine, &courier, sending).await?;
        engine.remove_container(&courier).await?;
        Ok(())
    })
}

/// Where to put the tree of a volume, and under which name. Docker gives the directory at the top no owner when it is
/// nothing but the place itself; Podman looks for the one volume that the place is in.
fn way_into(make: Make, target: &Path) -> (String, PathBuf) {
    match (make, target.parent(), target.file_name()) {
        (Make::Docker, Some(parent), Some(name)) => (parent.to_string_lossy().into_owned(), name.into()),
        _ => (target.to_string_lossy().into_owned(), "./".into()),
    }
}

async fn make_courier(engine: &Engine, name: &str, sending: &Sending) -> Result<(), EngineError> {
    let Sending { container, labels, image, agent, workspace, .. } = sending;
    let options = CreateContainerOptions { name: Some(name.to_owned()), ..CreateContainerOptions::default() };
    let host = HostConfig {
        network_mode: Some("none".to_owned()),
        mounts: Some(mounts(&container.name, workspace.is_some())),
        cap_drop: Some(vec!["ALL".to_owned()]),
        ..HostConfig::default()
    };
    let body = ContainerCreateBody {
        image: Some(image.clone()),
        // Podman gives a new volume to whom its first container is for.
        user: Some(format!("{agent}:{agent}")),
        entrypoint: Some(vec![format!("{}/init", super::container::ENTRY)]),
        cmd: Some(Vec::new()),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        labels: Some(labels.clone()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    engine.docker.create_container(Some(options), body).await.map(drop).map_err(refused)
}

#[expect(clippy::too_many_arguments, reason = "the one place where everything that is sent meets")]
pub(super) async fn put(
    engine: &Engine,
    courier: &str,
    at: &str,
    trees: Vec<(PathBuf, PathBuf)>,
    owner: u32,
    most: Option<u64>,
    count: &Count,
    progress: &mut dyn FnMut(Copied),
) -> Result<(), SentError> {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(WAITING);
    let counted = count.clone();
    let packing = thread::spawn(move || {
        let cut = sender.clone();
        let mut packing = Packing::new(sender, owner, counted, most);
        let packed = trees.iter().try_for_each(|(source, name)| packing.tree(source, name));
        match packed {
            Ok(()) => drop(packing.finish()),
            // What has been sent of it is no whole archive, and the engine is to see that.
            Err(_) => drop(cut.blocking_send(Err(io::ErrorKind::Interrupted.into()))),
        }
        packed
    });
    let pieces = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let options = UploadToContainerOptions { path: at.to_owned(), ..UploadToContainerOptions::default() };
    let mut sent = pin!(engine.docker.upload_to_container(courier, Some(options), body_try_stream(pieces)));
    let mut tick = interval(EVERY);
    let sent = loop {
        tokio::select! {
            sent = &mut sent => break sent,
            _ = tick.tick() => progress(count.now()),
        }
    };
    // It ends when nobody takes its pieces any more.
    match packing.join() {
        Ok(Err(error)) => Err(SentError::Pack(error)),
        _ => sent.map_err(|error| SentError::Send(refused(error))),
    }
}

async fn commit(engine: &Engine, courier: &str, sending: &Sending) -> Result<(), SentError> {
    let options = CommitContainerOptions {
        container: Some(courier.to_owned()),
        repo: Some(REPOSITORY.to_owned()),
        tag: Some(sending.container.name.clone()),
        pause: false,
        ..CommitContainerOptions::default()
    };
    let config = ContainerConfig { labels: Some(sending.labels.clone()), ..ContainerConfig::default() };
    let made = engine.docker.commit_container(options, config).await;
    made.map(drop).map_err(|error| SentError::Commit(refused(error)))
}

/// Brings home and workspace to this machine, in the place of what is there. `last` ends the container first; else it is
/// what they are while the bottle runs.
pub fn fetch(coming: &Coming, last: bool, progress: &mut dyn FnMut(Copied)) -> Result<(), SentError> {
    super::engine::blocking(async {
        let Coming { container, home, workspace, owner, .. } = coming;
        let engine = Engine::connect_for(&container.engine, LONG).await?;
        if last {
            end(&engine, &container.name).await?;
        }
        let count = Count::default();
        let directories = [Some(home), workspace.as_ref()].into_iter().flatten();
        let mut come = Vec::new();
        for (directory, (target, _)) in directories.zip(places(workspace.is_some())) {
            let fresh = Fresh::beside(directory, *owner)?;
            get(&engine, &container.name, target, &fresh.0, *owner, &count, progress).await?;
            come.push((fresh, directory));
        }
        // Only now, for the two belong together.
        come.into_iter().try_for_each(|(fresh, directory)| fresh.replace(directory))
    })
}

/// It may have ended by itself.
async fn end(engine: &Engine, name: &str) -> Result<(), EngineError> {
    let options = StopContainerOptions { t: Some(0), ..StopContainerOptions::default() };
    match engine.docker.stop_container(name, Some(options)).await {
        Err(error) if status(&error) == Some(304) => Ok(()),
        stopped => stopped.map_err(refused),
    }
}

async fn get(
    engine: &Engine,
    container: &str,
    path: &'static str,
    to: &Path,
    owner: Option<u32>,
    count: &Count,
    progress: &mut dyn FnMut(Copied),
) -> Result<(), SentError> {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(WAITING);
    let (to, counted) = (to.to_owned(), count.clone());
    let unpacking = thread::spawn(move || {
        let mut pieces = Pieces { from: receiver, piece: Bytes::new(), left: COMING_MOST };
        let mut untar = Untar::onto(&to, Kind::Tree { owner })?;
        for entry in tar::Archive::new(&mut pieces).entries()? {
            let mut entry = entry?;
            untar.entry(&mut entry)?;
            counted.add(entry.size());
        }
        io::copy(&mut pieces, &mut io::sink()).map(drop)
    });
    // What is in it: under which name it is itself, engines do not agree.
    let options = DownloadFromContainerOptions { path: format!("{path}/.") };
    let mut answer = pin!(engine.docker.download_from_container(container, Some(options)));
    let mut tick = interval(EVERY);
    let come = loop {
        let piece = tokio::select! {
            piece = answer.next() => piece,
            _ = tick.tick() => { progress(count.now()); continue }
        };
        match piece {
            None => break Ok(()),
            Some(Ok(piece)) => {
                if sender.send(Ok(piece)).await.is_err() {
                    // Whoever unpacks says why.
                    break Ok(());
                }
            }
            Some(Err(error)) => {
                let _ = sender.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
                break Err(SentError::Fetch { path, source: refused(error) });
            }
        }
    };
    drop(sender);
    let unpacked = unpacking.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
    come.and(unpacked.map_err(|source| SentError::Unpack { path, source }))
}

/// What comes, as something to read.
struct Pieces {
    from: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    /// Of the bound.
    left: u64,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let most = self.piece.len().min(into.len());
        let piece = self.piece.split_to(most);
        into.get_mut(..most).unwrap_or_default().copy_from_slice(&piece);
        let left = self.left.checked_sub(most as u64);
        self.left = left.ok_or_else(|| malformed(format!("it is more than {} GiB", COMING_MOST >> 30)))?;
        Ok(most)
    }
}

/// A directory beside one that it may take the place of; else it goes.
struct Fresh(PathBuf);

impl Fresh {
    fn beside(directory: &Path, owner: Option<u32>) -> Result<Fresh, SentError> {
        let mut random = [0; 8];
        let failed = |error| SentError::Place(directory.to_owned(), error);
        getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error)))?;
        let path = directory.with_extension(format!("coming-{:016x}", u64::from_le_bytes(random)));
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        let fresh = Fresh(path);
        if let Some(owner) = owner {
            give(&fresh.0, owner).map_err(failed)?;
        }
        Ok(fresh)
    }

    /// What was there goes.
    fn replace(self, directory: &Path) -> Result<(), SentError> {
        let exchanged = renameat_with(CWD, &self.0, CWD, directory, RenameFlags::EXCHANGE);
        exchanged.map_err(|error| SentError::Place(directory.to_owned(), error.into()))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // Else it goes with the bottle.
        let _ = beneath::remove_tree(&self.0);
    }
}
