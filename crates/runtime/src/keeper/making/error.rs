//! What a step of a launch fails of, and whose fault it is.

use super::super::{filling::FillingError, gate::GateChildError, init::InitError};
use crate::{
    backend::{
        docker::{ContainerError, EngineError},
        namespace::RoomError,
        smolmachines::MachineError,
    },
    cgroup::CgroupError,
    engine_address::EngineAddress,
    guard::GuardError,
    host_ids::HostIdError,
    protocol::FailureKind,
    provision::ProvisionError,
    store::StoreError,
    workspace::clone::CloneError,
};
use bottle_spec::slug::Slug;
use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error("the bottle's directories cannot be made")]
    Store(#[source] StoreError),
    #[error("{} cannot be made", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("{} cannot be removed", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("port {port} of this host cannot be published; is something else using it?")]
    Port { port: u16, source: io::Error },
    #[error("the bottle gets no host uid")]
    HostId(#[source] HostIdError),
    #[error("the workspace cannot be filled")]
    Workspace(#[source] FillingError),
    #[error("the user's repository still has a ref of the bottle's")]
    Release(#[source] CloneError),
    #[error("the agent cannot be given what it needs")]
    Provision(#[source] ProvisionError),
    #[error("the workspace cannot be guarded")]
    Guard(#[source] GuardError),
    #[error("the limits cannot be enforced")]
    Cgroup(#[source] CgroupError),
    #[error("no listener can be had on this host's loopback")]
    Canary(#[source] io::Error),
    #[error("the bottle's certificate authority cannot be made: {0}")]
    Authority(String),
    #[error("the bottle's canaries cannot be made: {0}")]
    Decoys(String),
    #[error("the bottle's audit log cannot be signed: {0}")]
    AuditKey(String),
    #[error("the gate does not come up")]
    Gate(#[source] GateChildError),
    #[error("the git gate does not come up")]
    GitGate(#[source] GateChildError),
    #[error("the room cannot be made")]
    Room(#[source] RoomError),
    #[error("the container cannot be had")]
    Container(#[source] ContainerError),
    #[error("the machine cannot be had")]
    Machine(#[source] Box<MachineError>),
    #[error("the machine cannot be removed; `bot-bottle cleanup` tries again")]
    RemoveMachine(#[source] Box<MachineError>),
    #[error("no smolvm was named")]
    NoSmolvm,
    #[error("the container cannot be removed; `bot-bottle cleanup` tries again")]
    Engine(#[source] EngineError),
    #[error("the bottle's files cannot be sent to the engine")]
    Send(#[source] FillingError),
    #[error(
        "what the bottle's agent did is still with the engine at {engine}; when that is there again, \
         `bot-bottle cp {slug}:/workspace DIRECTORY` and `{slug}:/home/agent` bring it here, and then \
         `bot-bottle cleanup {slug}` takes the rest away"
    )]
    Fetch {
        engine: EngineAddress,
        slug: Slug,
        #[source]
        source: FillingError,
    },
    #[error("no container engine was named")]
    NoEngine,
    #[error("the room's init cannot be reached")]
    InitLink(#[source] io::Error),
    #[error("the bottle is not tight, so the agent was not started: {}", .0.join("; "))]
    Leaks(Vec<String>),
    #[error("the self-probe did not end in time")]
    ProbeLate,
    #[error("the agent cannot be started")]
    Agent(#[source] InitError),
    #[error("the bottle's processes cannot be ended")]
    End(#[source] io::Error),
    #[error("a step was taken out of order: {0}")]
    Order(&'static str),
    #[error("the launch was broken off")]
    BrokenOff,
}

impl StepError {
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            StepError::Agent(InitError::Spawn { code, .. }) => FailureKind::Program(*code),
            StepError::Order(_) | StepError::Authority(_) => FailureKind::Bug,
            _ => FailureKind::Host,
        }
    }
}
