//! The room, by whichever backend the plan names: what it is made of, and its end.

use super::{super::init::Init, Making, StepError, remove};
use crate::{
    away,
    backend::{
        docker::{self, ContainerSpec},
        namespace,
        room::{Room, RoomSpec},
        roots,
        smolmachines::{self, Branch, Machine, MachineSpec, Prepared},
    },
    journal::{Container, Thing},
    process::{ProcessId, ended, kill_and_wait},
    provision::{self, Given},
    workspace::fill::Order,
};
use bottle_spec::{
    door::{Door, LOOPBACK_NET, SYNTHETIC_NET},
    plan::{Backend, Plan, Workspace},
    topology::Topology,
};
use std::{net::Ipv4Addr, os::fd::OwnedFd, path::Path, rc::Rc, time::Duration};

const END_PATIENCE: Duration = Duration::from_secs(10);

/// The room, with its link in the keeper's loop.
#[derive(Debug)]
pub(crate) struct MadeRoom {
    pub(crate) id: ProcessId,
    pub(crate) pidfd: OwnedFd,
    pub(crate) init: Rc<Init>,
    pub(super) writable: Vec<String>,
    pub(super) listeners: Vec<(Door, OwnedFd)>,
}

impl Making<'_> {
    pub(super) async fn room(&mut self) -> Result<Vec<Thing>, StepError> {
        let authority = self.authority.as_ref().ok_or(StepError::Order("authority"))?;
        let (home, copy) = (self.bottle.home(), self.bottle.workspace());
        let workspace = match &self.request.plan.workspace {
            Workspace::None => None,
            Workspace::Copy { .. } | Workspace::Clone { .. } => Some(copy.as_path()),
            Workspace::Mount { source } => Some(source.as_path()),
        };
        let doors = doors(&self.request.plan);
        let image = roots::image_trust(&self.request.plan.image);
        let anchor = &authority.certificate_pem;
        let pieces = provision::system(&Given { plan: &self.request.plan, trust_anchor_pem: anchor, image: &image });
        let spec = RoomSpec {
            slug: &self.bottle.slug,
            plan: &self.request.plan,
            home: &home,
            workspace,
            guards: &self.guards,
            pieces: &pieces,
            init_image: self.parts.init_image,
            doors: &doors,
            host_ids: self.metadata.host_id.map(|id| (id, id)),
            cgroup: self.cgroup.as_deref(),
        };
        let writable = spec.writable();
        let made = match self.request.plan.backend {
            Backend::Namespace => namespace::create(&spec).map_err(StepError::Room)?,
            Backend::Docker => {
                let container = self.planned_container().ok_or(StepError::NoEngine)?;
                let (state, staging) = (&self.request.dirs.state, self.bottle.room());
                let (runtime, program) = (&self.bottle.runtime, &self.parts.program);
                let spec =
                    ContainerSpec { room: spec, container: &container, state, staging: &staging, runtime, program };
                // From here on there may be something of it.
                self.container = Some(container.clone());
                if container.sent {
                    self.send(&spec).await?;
                }
                docker::create(&spec).await.map_err(StepError::Container)?
            }
            Backend::Smolmachines => {
                let machine = self.planned_machine().ok_or(StepError::NoSmolvm)?;
                let (machine, images) = (self.machine.insert(machine), self.request.dirs.images());
                let spec = MachineSpec { room: spec, machine, images: &images, runtime: &self.bottle.runtime };
                smolmachines::create(&spec).await.map_err(|error| StepError::Machine(Box::new(error)))?
            }
            other @ Backend::Kubernetes => return Err(StepError::Order(other.as_str())),
        };
        self.take(made, writable)
    }

    /// Its files go before it. Where they are from then on is written down.
    async fn send(&self, spec: &ContainerSpec<'_>) -> Result<(), StepError> {
        let (sending, coming) = docker::sending(spec).map_err(StepError::Container)?;
        self.ordered(&Order::Send(sending), StepError::Send).await?;
        away::note(self.bottle, &coming).map_err(StepError::Store)
    }

    fn take(&mut self, room: Room, writable: Vec<String>) -> Result<Vec<Thing>, StepError> {
        let (id, init) = match (ProcessId::of(room.pid), Init::new(room.link)) {
            (Ok(id), Ok(init)) => (id, Rc::new(init)),
            (Err(error), _) | (_, Err(error)) => {
                let _ = kill_and_wait(&room.pidfd, END_PATIENCE);
                return Err(StepError::InitLink(error));
            }
        };
        // The uid maps are written, which a process that may not be dumped cannot do. From here on the keeper cannot
        // be traced, read or dumped by others of the same user.
        let undumpable = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
        self.room = Some(MadeRoom { id, pidfd: room.pidfd, init, writable, listeners: room.listeners });
        undumpable.map_err(|error| StepError::InitLink(error.into()))?;
        let mut things = vec![Thing::Process { role: "init".to_owned(), id }];
        things.extend(self.container.clone().map(Thing::Container));
        things.extend(self.machine.clone().map(Thing::Machine));
        Ok(things)
    }

    /// The container that the room will be, where it will be one.
    pub(super) fn planned_container(&self) -> Option<Container> {
        let engine = self.request.engine.as_ref().filter(|_| self.request.plan.backend == Backend::Docker)?;
        let container = Container::of(engine, &self.bottle.slug, &self.request.dirs.state);
        Some(Container { sent: self.request.plan.topology == Topology::Sent, ..container })
    }

    /// The machine that the room will be, where it will be one.
    pub(super) fn planned_machine(&self) -> Option<Machine> {
        let smolvm = self.request.smolvm.as_ref().filter(|_| self.request.plan.backend == Backend::Smolmachines)?;
        let machine = Machine::of(smolvm, &self.bottle.runtime, &self.bottle.room());
        let warm = self.request.plan.machine.as_ref().is_some_and(|profile| profile.warm);
        let branch = || Branch { prepared: Prepared::of(&self.request.dirs), name: self.bottle.slug.to_string() };
        Some(Machine { branch: warm.then(branch), ..machine })
    }

    /// For init to set. In a container without a uid of its own the kernel would count all of the user's processes;
    /// there, and everywhere else on such a backend, the engine limits them by cgroup.
    pub(super) fn process_limit(&self) -> Option<u32> {
        // A machine has a kernel of its own to count.
        let own = matches!(self.request.plan.backend, Backend::Namespace | Backend::Smolmachines);
        let sent = self.request.plan.topology == Topology::Sent;
        let counted_apart = own || self.metadata.host_id.is_some() && !sent;
        self.request.plan.limits.pids.filter(|_| counted_apart)
    }
}

/// Where a room is not given a route, its addresses are loopback's.
pub(super) fn synthetic(backend: Backend) -> Ipv4Addr {
    match backend {
        Backend::Docker | Backend::Smolmachines => LOOPBACK_NET.0,
        Backend::Namespace | Backend::Kubernetes => SYNTHETIC_NET.0,
    }
}

/// Kills init, and with it every process of the room; waits until none is left.
pub(crate) fn end_room(pidfd: &OwnedFd) -> Result<(), StepError> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    use std::os::fd::AsFd as _;
    if !ended(pidfd, Duration::ZERO).map_err(StepError::End)? {
        kill_and_wait(pidfd, END_PATIENCE).map_err(StepError::End)?;
    }
    // Reaped already is as good, and so is one that is somebody else's to reap.
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    Ok(())
}

/// Waits until the engine has let go of what it has of the room, then takes away what that was given as files.
pub(crate) async fn remove_container(container: Option<Container>, staging: &Path) -> Result<(), StepError> {
    let Some(container) = container else { return Ok(()) };
    docker::remove(&container).await.map_err(StepError::Engine)?;
    remove(staging)
}

/// Whatever of a machine is there goes.
pub(crate) fn remove_machine(machine: Option<Machine>) -> Result<(), StepError> {
    machine
        .map_or(Ok(()), |machine| machine.remove().map(drop).map_err(|error| StepError::RemoveMachine(Box::new(error))))
}

/// The proxy, the resolver, git where there are repositories, the operator's where it may be asked, and a transparent
/// door for every port that some route allows.
pub(super) fn doors(plan: &Plan) -> Vec<Door> {
    let fixed = [Door::Proxy, Door::ResolverUdp, Door::ResolverTcp];
    let git = (!plan.git.is_empty()).then_some(Door::Git);
    let supervise = plan.supervise.then_some(Door::Supervise);
    let own: Vec<Door> = fixed.into_iter().chain(git).chain(supervise).collect();
    let mut ports = plan.egress.ports();
    ports.retain(|port| own.iter().all(|door| door.address().port() != *port));
    own.into_iter().chain(ports.into_iter().map(|port| Door::Transparent { port })).collect()
}
