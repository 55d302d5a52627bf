//! What can go wrong with an engine, and with a container: one variant for each operation, each saying what to do next.

use crate::{backend::carried::CarriedError, engine_address::EngineAddress};
use std::{io, path::PathBuf, time::Duration};

/// Of talking to an engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("no container engine answers at {}; {}, or set DOCKER_HOST to where it is", .0, .0.remedy())]
    Gone(EngineAddress, #[source] io::Error),
    #[error(
        "you may not use the container engine at {}; join its group (`docker`, which is as good as root), or set \
         DOCKER_HOST to an engine of yours",
        .0
    )]
    Forbidden(EngineAddress, #[source] io::Error),
    #[error("the container engine did not answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error(
        "the engine has no image {0}, and nothing is pulled by a name that says no registry; `docker pull {0}` gets it \
         one, `docker.io/library/{0}` says Docker's registry, `dockerfile:PATH` or `dir:PATH` makes one"
    )]
    NoImage(String),
    #[error("the engine refused: {0}")]
    Refused(String),
    #[error("the engine's answer lacks {0}")]
    Answer(&'static str),
    #[error("asking the engine")]
    Ask(#[source] io::Error),
}

impl EngineError {
    /// Whether there is none for this user at all.
    pub fn is_absent(&self) -> bool {
        matches!(self, EngineError::Gone(..) | EngineError::Forbidden(..))
    }
}

/// Of making a container.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error("the plan names no image of the engine's")]
    NoImage,
    #[error("mount target {} is not inside the bottle's root or is one of its own places; choose another", .0.display())]
    MountTarget(PathBuf),
    #[error("root must name an unprivileged host uid and gid for the room, and nobody else may")]
    HostIds,
    #[error("what this host would run cannot be guarded in a container; use `--workspace clone` or `copy`")]
    Guards,
    #[error("{} cannot be mounted on: an earlier run may have left a link or a file there", .0.display())]
    Place(PathBuf, #[source] io::Error),
    #[error("{} cannot be written for the container", path.display())]
    Stage {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} of the bottle leads nowhere", .0.display())]
    Link(PathBuf),
    #[error("waiting for the container's init")]
    Listen(#[source] io::Error),
    #[error("making the container")]
    Make(#[source] EngineError),
    #[error(
        "the engine does not see this machine's files ({0}); `--topology sent` sends them to it, and an engine of this \
         machine sees them, as does Docker Desktop where the directory is among those that it shares"
    )]
    Unseen(String),
    #[error("starting the container")]
    Start(#[source] EngineError),
    #[error("the container's init ended before it said anything; `docker events` may tell why")]
    Ended,
    #[error("the container's init did not connect within {} s; is the engine on another machine than this?", .0.as_secs())]
    Silent(Duration),
    #[error(
        "process {found} connected in place of the container's init, {expected}; does the engine see the same processes \
         as this program?"
    )]
    Stranger { found: i32, expected: i64 },
    #[error(
        "the container's init has the uid {found} on this host instead of {expected}: the engine is rootless, and the \
         bottle's files would not be the agent's; `--topology sent` sends them to it"
    )]
    Uid { found: u32, expected: u32 },
    #[error("attaching to the container")]
    Attach(#[source] EngineError),
    #[error("starting what carries for the container")]
    Carrier(#[source] io::Error),
    #[error(transparent)]
    Carried(CarriedError),
    #[error("init cannot open the bottle's doors: {0}")]
    Doors(String),
    #[error(
        "{} is in the agent's home or workspace, where nothing that is sent stays read-only; mount it elsewhere", .0.display()
    )]
    Within(PathBuf),
    #[error("init's link broke")]
    Broken(#[source] crate::socket::SocketError),
}
