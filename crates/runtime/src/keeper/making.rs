//! The steps of a launch on the real host.

mod error;
mod repositories;
mod room;

pub(super) use error::StepError;
pub(crate) use room::{MadeRoom, end_room, remove_container, remove_machine};

use super::{
    KeeperParts, decoys, freeze,
    gate::{Brief, Gate, Recipe},
    init::{Order, Program},
    ports,
};
use crate::{
    audit_log::{self, kept, key},
    away,
    backend::smolmachines::Machine,
    beneath,
    cgroup::{self, Delegation},
    control_socket,
    guard::{self, Guard},
    host_ids,
    journal::{Container, Step, Thing},
    launch::Host,
    process::ProcessId,
    protocol::{Console, LaunchEvent, LaunchRequest, Lifetime, Origin},
    socket::AsyncLink,
    store::{BottleDir, Metadata, private_directory},
    workspace::clone,
};
use bottle_spec::{
    door::Door,
    gate_link::{Authority, GateStart, KeeperToGate},
    init_link::{InitStart, Probe},
    plan::{Backend, Workspace},
};
use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::PathBuf,
    rc::Rc,
    time::Duration,
};
use tokio::time::timeout;

const PROBE_PATIENCE: Duration = Duration::from_secs(20);
const HOME: &str = "/home/agent";

/// A bottle in the making: each field is there once its step is done.
pub(crate) struct Making<'a> {
    pub(crate) parts: &'a KeeperParts,
    pub(crate) request: &'a LaunchRequest,
    pub(crate) bottle: &'a BottleDir,
    pub(crate) metadata: &'a mut Metadata,
    /// The launch link: hears of progress; where it closes, a foreground launch is broken off.
    pub(crate) link: &'a AsyncLink,
    pub(crate) pipes: Vec<OwnedFd>,
    pub(crate) control: Option<UnixListener>,
    metrics: Option<UnixListener>,
    pub(crate) ports: Vec<(u16, TcpListener)>,
    pub(crate) guards: Vec<Guard>,
    pub(crate) cgroup: Option<PathBuf>,
    delegation: Option<Delegation>,
    canary: Option<TcpListener>,
    authority: Option<Authority>,
    pub(crate) gate: Option<Gate>,
    pub(crate) room: Option<MadeRoom>,
    /// From just before it is made.
    pub(crate) container: Option<Container>,
    pub(crate) machine: Option<Machine>,
    pub(crate) brief: Option<Brief>,
    /// Where the plan has repositories.
    pub(crate) git: Option<Gate>,
    pub(crate) git_brief: Option<Brief>,
    /// What the user's own files are made with.
    pub(crate) umask: u32,
    /// The supervise door's listener, where the plan has one.
    pub(crate) supervise: Option<OwnedFd>,
    pub(crate) agent: Option<Program>,
}

impl<'a> Making<'a> {
    pub(crate) fn new(
        parts: &'a KeeperParts,
        request: &'a LaunchRequest,
        bottle: &'a BottleDir,
        metadata: &'a mut Metadata,
        link: &'a AsyncLink,
        pipes: Vec<OwnedFd>,
    ) -> Making<'a> {
        let limits = &request.plan.limits;
        let limited = limits.cpu_millis.is_some() || limits.memory.is_some() || limits.pids.is_some();
        Making {
            parts,
            request,
            bottle,
            metadata,
            link,
            pipes,
            control: None,
            metrics: None,
            ports: Vec::new(),
            guards: Vec::new(),
            cgroup: None,
            // A container's limits are the engine's to enforce.
            delegation: if limited && request.plan.backend == Backend::Namespace { Delegation::find() } else { None },
            canary: None,
            authority: None,
            gate: None,
            room: None,
            container: None,
            machine: None,
            brief: None,
            git: None,
            git_brief: None,
            umask: 0o077,
            supervise: None,
            agent: None,
        }
    }

    pub(crate) fn recipe(&self) -> Recipe {
        Recipe { role: "gate", program: self.parts.program.clone(), log: self.bottle.gate_log() }
    }

    pub(crate) fn git_recipe(&self) -> Recipe {
        Recipe { role: "git-gate", program: self.parts.program.clone(), log: self.bottle.git_gate_log() }
    }

    pub(crate) fn supervise_recipe(&self) -> Recipe {
        Recipe { role: "supervise-gate", program: self.parts.program.clone(), log: self.bottle.supervise_log() }
    }

    pub(crate) fn notifier_recipe(&self) -> Recipe {
        Recipe { role: "notifier", program: self.parts.program.clone(), log: self.bottle.notifier_log() }
    }

    /// The agent's working directory.
    pub(crate) fn cwd(&self) -> String {
        if self.request.plan.workspace == Workspace::None { HOME.to_owned() } else { Workspace::TARGET.to_owned() }
    }

    pub(super) async fn report(&self, event: LaunchEvent) {
        // Whether anyone listens shows when the launch is asked whether it is broken off.
        let _ = self.link.sender().send(&event, &[]).await;
    }

    /// Whether nobody wants this launch any more.
    pub(super) async fn broken_off(&self) {
        match self.request.lifetime {
            Lifetime::Foreground => self.link.closed().await,
            Lifetime::Detached => std::future::pending().await,
        }
    }

    fn runtime(&mut self) -> Result<(), StepError> {
        private_directory(&self.bottle.runtime).map_err(StepError::Store)?;
        let control = control_socket::bind(&self.bottle.runtime);
        let control = control.map_err(|source| StepError::Make { path: self.bottle.runtime.clone(), source })?;
        self.control = Some(control);
        let metrics = control_socket::bind_metrics(&self.bottle.runtime);
        self.metrics = Some(metrics.map_err(|source| StepError::Make { path: self.bottle.runtime.clone(), source })?);
        Ok(())
    }

    fn publish(&mut self) -> Result<(), StepError> {
        for port in self.request.plan.ports.iter().copied() {
            let listener = ports::publish(port).map_err(|source| StepError::Port { port, source })?;
            self.ports.push((port, listener));
        }
        Ok(())
    }

    fn host_ids(&mut self) -> Result<(), StepError> {
        if rustix::process::geteuid().is_root() && self.metadata.host_id.is_none() {
            let id = host_ids::allocate(&self.request.dirs.state, &self.bottle.slug).map_err(StepError::HostId)?;
            self.metadata.host_id = Some(id);
        }
        // Written before anything belongs to the uid.
        self.bottle.write_metadata(self.metadata).map_err(StepError::Store)
    }

    fn limit(&mut self) -> Result<(), StepError> {
        if let Some(delegation) = &self.delegation {
            let made = delegation.make(&self.bottle.slug, &self.request.plan.limits);
            self.cgroup = Some(made.map_err(StepError::Cgroup)?);
        }
        Ok(())
    }

    fn canary(&mut self) -> Result<(), StepError> {
        self.canary = Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(StepError::Canary)?);
        Ok(())
    }

    fn start_gate(&mut self) -> Result<Vec<Thing>, StepError> {
        let gate = Gate::start(&self.recipe()).map_err(StepError::Gate)?;
        let mut things = vec![gate_thing(gate.id)];
        self.gate = Some(gate);
        if !self.request.plan.git.is_empty() {
            let git = Gate::start(&self.git_recipe()).map_err(StepError::GitGate)?;
            things.push(git_gate_thing(git.id));
            self.git = Some(git);
        }
        self.authority = Some((self.parts.authority)(&self.bottle.slug).map_err(StepError::Authority)?);
        Ok(things)
    }

    /// The listeners stay with the keeper as well, for the gate's successors.
    async fn serve(&mut self) -> Result<(), StepError> {
        let (Some(room), Some(gate)) = (&mut self.room, &self.gate) else { return Err(StepError::Order("gate")) };
        let authority = self.authority.take().ok_or(StepError::Order("authority"))?;
        let path = self.bottle.audit();
        let (audit, audit_head) =
            audit_log::begin(&path, &self.bottle.slug).map_err(|source| StepError::Make { path, source })?;
        let seed = key::read_or_make(&self.request.dirs.state).map_err(StepError::Store)?;
        let audit_key = (self.parts.certify)(&seed, &self.bottle.slug).map_err(StepError::AuditKey)?;
        let (git, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut room.listeners).into_iter().partition(|(door, _)| *door == Door::Git);
        let (supervise, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|(door, _)| *door == Door::Supervise);
        self.supervise = supervise.into_iter().map(|(_, listener)| listener).next();
        let (doors, mut listeners): (Vec<Door>, Vec<OwnedFd>) = others.into_iter().unzip();
        let metrics = self.metrics.take();
        let start = GateStart {
            bottle: self.bottle.slug.clone(),
            policy: self.request.plan.egress.clone(),
            doors,
            secrets: self.request.secrets.clone(),
            canaries: decoys::planted(self.bottle).map_err(StepError::Store)?,
            frozen: freeze::has_sentinel(self.bottle),
            metrics: metrics.is_some(),
            supervised: self.supervise.is_some(),
            wait: self.request.plan.wait,
            synthetic: room::synthetic(self.request.plan.backend),
            authority,
            audit_key,
            audit_head,
            run_as: self.metadata.host_id.map(|id| (id + 1, id + 1)),
        };
        listeners.extend(metrics.map(OwnedFd::from));
        let brief = Brief { start: KeeperToGate::Start(Box::new(start)), audit: Some(audit), listeners };
        gate.brief(&brief).await.map_err(StepError::Gate)?;
        self.brief = Some(brief);
        self.serve_git(git.into_iter().map(|(_, listener)| listener).collect()).await
    }

    async fn probe(&mut self) -> Result<(), StepError> {
        let (Some(room), Some(canary)) = (&self.room, &self.canary) else { return Err(StepError::Order("room")) };
        let canary_port = canary.local_addr().map_err(StepError::Canary)?.port();
        let connecting = room::doors(&self.request.plan).into_iter().filter(|door| !door.is_datagram());
        let start = InitStart {
            writable: room.writable.clone(),
            pids: self.process_limit(),
            probe: Probe { doors: connecting.map(|door| door.address().port()).collect(), canary_port },
        };
        let init = Rc::clone(&room.init);
        let gate_ends = self.gate.as_ref().ok_or(StepError::Order("gate"))?.ends().map_err(StepError::Gate)?;
        let mut gate = self.gate.take().ok_or(StepError::Order("gate"))?;
        let both = async {
            let probed = async {
                let probed = tokio::select! {
                    probed = timeout(PROBE_PATIENCE, init.start(start)) => probed,
                    // It answers no probe: there is nothing to wait for.
                    gone = gate_ends => return Err(StepError::Gate(gone)),
                };
                probed.map_err(|_| StepError::ProbeLate)?.map_err(StepError::Agent)
            };
            tokio::try_join!(probed, async { gate.ready().await.map_err(StepError::Gate) })
        };
        let probed = tokio::select! {
            both = both => both,
            () = self.broken_off() => Err(StepError::BrokenOff),
        };
        self.gate = Some(gate);
        let (failures, _) = probed?;
        if !failures.is_empty() {
            return Err(StepError::Leaks(failures));
        }
        if let Some(git) = &mut self.git {
            let mirroring = git.ready().await.map_err(StepError::GitGate)?;
            for name in mirroring {
                let text = format!("a mirror of `{name}` is being made; the first clone waits for it");
                self.report(LaunchEvent::Notice { text }).await;
            }
        }
        if let Some(door) = &self.supervise {
            super::supervise::clear(door).map_err(StepError::Canary)?;
        }
        self.canary = None;
        Ok(())
    }

    async fn agent(&mut self) -> Result<(), StepError> {
        let room = self.room.as_ref().ok_or(StepError::Order("room"))?;
        let order = Order {
            argv: self.request.plan.command.clone(),
            env: self.request.plan.env.clone(),
            cwd: self.cwd(),
            tty: match self.request.console {
                Console::Terminal(size) => Some(size),
                Console::Pipes => None,
            },
        };
        let pipes = std::mem::take(&mut self.pipes);
        self.agent = Some(room.init.spawn(order, pipes).await.map_err(StepError::Agent)?);
        Ok(())
    }
}

impl Host for Making<'_> {
    type Error = StepError;

    fn plans(&self, step: Step) -> Vec<Thing> {
        match step {
            Step::Runtime => vec![Thing::Directory(self.bottle.runtime.clone())],
            Step::Room => {
                let container = self.planned_container().map(Thing::Container);
                container.into_iter().chain(self.planned_machine().map(Thing::Machine)).collect()
            }
            Step::Cgroup => {
                self.delegation.iter().map(|delegation| Thing::Cgroup(delegation.path(&self.bottle.slug))).collect()
            }
            _ => Vec::new(),
        }
    }

    async fn make(&mut self, step: Step) -> Result<Vec<Thing>, StepError> {
        self.report(LaunchEvent::Step { name: step.name().to_owned() }).await;
        match step {
            Step::Runtime => self.runtime()?,
            Step::Ports => self.publish()?,
            Step::HostIds => {
                self.host_ids()?;
                return Ok(self.metadata.host_id.map(Thing::HostId).into_iter().collect());
            }
            Step::Workspace => self.workspace().await?,
            Step::Cgroup => self.limit()?,
            Step::Canary => self.canary()?,
            Step::Gate => return self.start_gate(),
            Step::Room => return self.room().await,
            Step::Serve => self.serve().await?,
            Step::Probe => self.probe().await?,
            Step::Agent => self.agent().await?,
            Step::State | Step::End | Step::Drain | Step::Remove => return Err(StepError::Order(step.name())),
        }
        Ok(Vec::new())
    }

    async fn undo(&mut self, step: Step) -> Result<(), StepError> {
        match step {
            Step::Runtime => {
                self.control = None;
                remove(&self.bottle.runtime)
            }
            Step::Ports => {
                self.ports.clear();
                Ok(())
            }
            // With the bottle's state: a resumed bottle keeps its uid, its home belongs to it.
            Step::HostIds if matches!(self.request.origin, Origin::New { .. }) => match self.metadata.host_id.take() {
                Some(id) => host_ids::free(&self.request.dirs.state, id).map_err(StepError::HostId),
                None => Ok(()),
            },
            Step::Workspace => {
                guard::lift(self.bottle).map_err(StepError::Guard)?;
                if matches!(self.request.origin, Origin::New { .. }) {
                    clone::release(self.bottle).map_err(StepError::Release)?;
                }
                if matches!(self.request.origin, Origin::New { .. }) { remove(&self.bottle.agent()) } else { Ok(()) }
            }
            Step::Cgroup => match self.cgroup.take() {
                Some(path) => cgroup::remove(&path).map_err(|source| StepError::Remove { path, source }),
                None => Ok(()),
            },
            Step::Canary => {
                self.canary = None;
                Ok(())
            }
            Step::Gate => {
                let git = self.git.take().map_or(Ok(()), Gate::kill).map_err(StepError::GitGate);
                self.gate.take().map_or(Ok(()), Gate::kill).map_err(StepError::Gate).and(git)
            }
            Step::Room => {
                let ended = self.room.take().map_or(Ok(()), |room| end_room(&room.pidfd));
                let container = room::remove_container(self.container.take(), &self.bottle.room()).await;
                // The agent never ran: what is here is all there is.
                let noted = away::forget(self.bottle).map_err(StepError::Store);
                ended.and(container).and(noted).and(room::remove_machine(self.machine.take()))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn gate_thing(id: ProcessId) -> Thing {
    Thing::Process { role: "gate".to_owned(), id }
}

pub(crate) fn git_gate_thing(id: ProcessId) -> Thing {
    Thing::Process { role: "git gate".to_owned(), id }
}

fn remove(path: &std::path::Path) -> Result<(), StepError> {
    beneath::remove_tree(path).map_err(|source| StepError::Remove { path: path.to_owned(), source })
}

/// Removes the state directory of a bottle that ended for good, but for its audit log, and frees its uid.
pub(crate) fn remove_state(bottle: &BottleDir, state: &std::path::Path, host_id: Option<u32>) -> Result<(), StepError> {
    kept::put(bottle, state).map_err(StepError::Store)?;
    clone::release(bottle).map_err(StepError::Release)?;
    // Under a name that no list shows, so that a crash in the middle leaves no half of a bottle.
    let gone = bottle.going();
    match fs::rename(&bottle.state, &gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other.map_err(|source| StepError::Remove { path: bottle.state.clone(), source })?,
    }
    remove(&gone)?;
    host_id.map_or(Ok(()), |id| host_ids::free(state, id)).map_err(StepError::HostId)
}
