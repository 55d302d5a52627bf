//! What can go wrong while a room is made: one variant for each operation, each saying what to do next.

use serde::{Deserialize, Serialize};
use std::{fmt, io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    #[error("{name} is missing: {hint}")]
    Requirement { name: &'static str, hint: String },
    #[error("the namespace backend makes rooms from `image: host` only; choose another backend for this image")]
    Image,
    #[error("mount target {} is not inside the bottle's root or is one of its own places; choose another", .0.display())]
    MountTarget(PathBuf),
    #[error("a room must be made before the keeper starts a thread")]
    Threads,
    #[error("root must name an unprivileged host uid and gid for the room, and nobody else may")]
    HostIds,
    #[error("reading what this host has")]
    Host(#[source] io::Error),
    #[error("opening the cgroup {}", path.display())]
    Cgroup {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("making the socket to init")]
    Socket(#[source] io::Error),
    #[error("putting init into sealed memory (is `vm.memfd_noexec` 2? set it to 0 or 1)")]
    InitImage(#[source] io::Error),
    #[error("the kernel refused new namespaces: {hint}")]
    Clone {
        hint: String,
        #[source]
        source: io::Error,
    },
    #[error("mapping the bottle's uid and gid: {hint}")]
    IdMap {
        hint: String,
        #[source]
        source: io::Error,
    },
    #[error("the process that builds the room ended without a word")]
    Silent(#[source] io::Error),
    /// Reported by the child that builds the room.
    #[error("{step}: {subject}")]
    Build {
        step: Step,
        subject: String,
        #[source]
        source: io::Error,
    },
}

/// What the child was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    DieWithKeeper,
    CloseDescriptors,
    Wait,
    PrivateMounts,
    OpenSource,
    TakeIds,
    CgroupNamespace,
    HostName,
    LoopbackUp,
    LowPorts,
    SyntheticRoute,
    OpenDoor,
    HandOver,
    MakeRoot,
    MakeEntry,
    Mount,
    MountProc,
    Mask,
    Guard,
    SealRoot,
    EnterRoot,
    DropCapabilities,
    ArrangeDescriptors,
    StartInit,
}

impl Step {
    fn sentence(self) -> &'static str {
        match self {
            Step::DieWithKeeper => "tying the room's life to the keeper's",
            Step::CloseDescriptors => "closing the keeper's descriptors",
            Step::Wait => "waiting for the uid map",
            Step::PrivateMounts => "cutting the room's mounts off from the host's",
            Step::OpenSource => "opening what is to be mounted; check that it exists and may be read",
            Step::TakeIds => "taking on the bottle's uid and gid",
            Step::CgroupNamespace => "entering a new cgroup namespace",
            Step::HostName => "setting the host name",
            Step::LoopbackUp => "bringing the loopback interface up",
            Step::LowPorts => "opening low ports to the agent",
            Step::SyntheticRoute => "routing synthetic addresses to loopback",
            Step::OpenDoor => "opening a door; two doors or a published port may share its port",
            Step::HandOver => "handing a door to the keeper",
            Step::MakeRoot => "making the room's root",
            Step::MakeEntry => "making an entry of the room's root",
            Step::Mount => "mounting",
            Step::MountProc => {
                "mounting /proc (inside a container its own /proc is masked, and the kernel then refuses a new one: \
                 run on the host, or give the container an unmasked /proc)"
            }
            Step::Mask => "masking",
            Step::Guard => "guarding what this host would run; did it change meanwhile? start again",
            Step::SealRoot => "making the root read-only",
            Step::EnterRoot => "entering the room's root",
            Step::DropCapabilities => "dropping capabilities",
            Step::ArrangeDescriptors => "arranging init's descriptors",
            Step::StartInit => "starting init",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// A failed step on its way from the child to the keeper.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) subject: String,
    pub(super) source: io::Error,
}

/// Names the step that an operation of the child belongs to.
pub(super) trait During<T> {
    fn during(self, step: Step, subject: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: Step, subject: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|source| Failure { step, subject: subject.to_string(), source: source.into() })
    }
}
