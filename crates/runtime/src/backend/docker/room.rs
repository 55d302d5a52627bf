//! Makes the container, starts it, and waits for its init.

use super::{
    container::{ContainerSpec, body, ids, labels, scratch},
    engine::{Engine, Make, refused},
    error::{ContainerError, EngineError},
    places::prepare,
    podman, sent,
    staging::{Staged, stage},
    stream,
};
use crate::{
    backend::room::{Room, relative},
    control_socket,
    socket::{AsyncLink, SocketError},
    sys,
};
use bollard::query_parameters::CreateContainerOptions;
use bottle_spec::{
    door::Door,
    init_link::{InitToKeeper, KeeperToInit},
    topology::Topology,
};
use rustix::{
    fs::{AtFlags, CWD, Mode},
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream as StdStream,
    },
    path::Path,
    time::Duration,
};
use tokio::{
    io::Interest,
    net::{UnixListener, UnixStream},
    time::timeout,
};

/// Init connects as the first thing it does.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes a container and starts its init. Whatever of it is there when this fails goes by the container's name.
///
/// What is sent has been by now ([`sent::send`]).
pub async fn create(spec: &ContainerSpec<'_>) -> Result<Room, ContainerError> {
    let image = check(spec)?;
    if spec.room.plan.topology == Topology::Sent {
        return stream::create(spec, &sent::image(&spec.container.name), &Staged::default()).await;
    }
    let staged = stage(spec)?;
    prepare(&spec.room)?;
    match spec.room.plan.topology {
        Topology::Socket => by_socket(spec, image, &staged).await,
        Topology::Stream | Topology::Sent => stream::create(spec, image, &staged).await,
    }
}

/// The container, which does not run yet, and the engine that has it.
pub(super) async fn make(spec: &ContainerSpec<'_>, image: &str, staged: &Staged) -> Result<Engine, ContainerError> {
    let engine = Engine::connect(&spec.container.engine).await.map_err(ContainerError::Make)?;
    let name = CreateContainerOptions { name: Some(spec.container.name.clone()), ..CreateContainerOptions::default() };
    let mut body = body(spec, image, staged);
    if engine.make == Make::Podman {
        let scratch = scratch(spec);
        let security = match spec.room.plan.topology {
            Topology::Sent => engine.security().await.map_err(ContainerError::Make)?,
            Topology::Socket | Topology::Stream => Vec::new(),
        };
        if security.iter().any(|it| it.starts_with("name=rootless")) {
            podman::translate_rootless(&mut body, &scratch);
        } else {
            podman::translate(&mut body, &spec.container.name, &scratch);
            let made = engine.make_volumes(spec.container, &labels(spec), &scratch).await;
            made.map_err(ContainerError::Make)?;
        }
    }
    engine.docker.create_container(Some(name), body).await.map_err(|error| match refused(error) {
        EngineError::Refused(why) if why.contains("bind source path does not exist") => ContainerError::Unseen(why),
        other => ContainerError::Make(other),
    })?;
    Ok(engine)
}

async fn by_socket(spec: &ContainerSpec<'_>, image: &str, staged: &Staged) -> Result<Room, ContainerError> {
    let listener = listen(&staged.entry).map_err(ContainerError::Listen)?;
    let engine = make(spec, image, staged).await?;
    let pid = start(&engine, &spec.container.name).await.map_err(ContainerError::Start)?;
    let (number, pidfd) = held(pid).ok_or(ContainerError::Ended)?;
    let ends = sys::watch(pidfd, Interest::READABLE).map_err(ContainerError::Listen)?;
    let opening = async {
        let link = accept(&listener, pid, ids(&spec.room).0).await?;
        // Nobody connects to it any more, and nothing of it is shown inside.
        let _ = rustix::fs::unlinkat(CWD, staged.entry.join("link"), AtFlags::empty());
        open(link, spec.room.doors).await
    };
    let opened = tokio::select! {
        opened = timeout(PATIENCE, opening) => opened.map_err(|_| ContainerError::Silent(PATIENCE))?,
        _ = ends.readable() => Err(ContainerError::Ended),
    };
    let (link, listeners) = opened?;
    // It answered while the descriptor was held: what the descriptor names is init, and no later process of its number.
    Ok(Room { pid: number, pidfd: ends.into_inner(), link, listeners })
}

pub(super) fn check<'a>(spec: &'a ContainerSpec<'_>) -> Result<&'a str, ContainerError> {
    if let Some(mount) = spec.room.plan.mounts.iter().find(|mount| relative(&mount.target).is_none()) {
        return Err(ContainerError::MountTarget(mount.target.clone()));
    }
    let root = rustix::process::geteuid().is_root();
    if root != spec.room.host_ids.is_some_and(|(uid, gid)| uid != 0 && gid != 0) {
        return Err(ContainerError::HostIds);
    }
    if !spec.room.guards.is_empty() {
        return Err(ContainerError::Guards);
    }
    spec.room.plan.image_id.as_deref().ok_or(ContainerError::NoImage)
}

/// The agent's uid may connect, and nobody gets there but through the container: what is above is the user's alone.
fn listen(entry: &Path) -> std::io::Result<UnixListener> {
    let listener = control_socket::bind_link(entry)?;
    let anyone = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH;
    rustix::fs::chmodat(CWD, entry.join("link"), anyone, AtFlags::empty())?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// The pid of its init, as this host numbers it.
async fn start(engine: &Engine, name: &str) -> Result<i64, EngineError> {
    engine.docker.start_container(name, None).await.map_err(refused)?;
    engine.pid(name).await
}

fn held(pid: i64) -> Option<(i32, OwnedFd)> {
    let number = i32::try_from(pid).ok()?;
    let pidfd = pidfd_open(Pid::from_raw(number)?, PidfdFlags::empty()).ok()?;
    Some((number, pidfd))
}

/// The one connection. Anybody but init ends the launch: there is nobody else who could have got there.
async fn accept(listener: &UnixListener, expected: i64, uid: u32) -> Result<UnixStream, ContainerError> {
    let (stream, _) = listener.accept().await.map_err(ContainerError::Listen)?;
    let peer = stream.peer_cred().map_err(ContainerError::Listen)?;
    let found = peer.pid().unwrap_or_default();
    if i64::from(found) != expected {
        return Err(ContainerError::Stranger { found, expected });
    }
    if peer.uid() != uid {
        return Err(ContainerError::Uid { found: peer.uid(), expected: uid });
    }
    Ok(stream)
}

/// Has init open the doors, over a socket pair that it is given for all that follows. The one that it connected to has a
/// name, which the bottle could see.
async fn open(stream: UnixStream, doors: &[Door]) -> Result<(StdStream, Vec<(Door, OwnedFd)>), ContainerError> {
    let broken = ContainerError::Broken;
    let stream = stream.into_std().and_then(AsyncLink::new).map_err(ContainerError::Listen)?;
    let (ours, theirs) = StdStream::pair().map_err(ContainerError::Listen)?;
    let mut link = ours.try_clone().and_then(AsyncLink::new).map_err(ContainerError::Listen)?;
    let ask = KeeperToInit::Open { doors: doors.to_vec() };
    stream.sender().send(&ask, &[theirs.as_fd()]).await.map_err(broken)?;
    // With the last copy here, init's end would not be seen.
    drop(theirs);
    let mut opened = Vec::with_capacity(doors.len());
    for expected in doors {
        match link.receive().await.map_err(broken)? {
            InitToKeeper::Opened { door } if door == *expected => {
                let listener = link.descriptor().ok_or(ContainerError::Broken(SocketError::Closed))?;
                opened.push((door, listener));
            }
            InitToKeeper::Failed { message } => return Err(ContainerError::Doors(message)),
            other => return Err(ContainerError::Doors(format!("{other:?} is no door"))),
        }
    }
    Ok((ours, opened))
}
