//! Request + host facts → plan. A pure function: every default is applied, every path absolute, every mistake reported.
//!
//! What is asked for and cannot be given is refused, never dropped; what is given but cannot be enforced here is said
//! in the plan's notices.

use crate::{
    facts::{HostFacts, PathKind},
    manifest::{Mistake, Mistakes, Place, Placed},
    plan::{
        Backend, Image, Limits, MachineDoors, MachineNetwork, MachineProfile, Mount, Plan, PlannedSecret, Workspace,
    },
    policy::{Auth, EgressPolicy},
    request::{Request, WorkspaceMode, base},
    secret::SecretRef,
    topology::Topology,
};
use std::path::{Path, PathBuf};

mod environment;
mod git;
mod provider;

pub use environment::{AGENT_HOME, CA_BUNDLE, CA_FILE, MCP_FILE, PROMPT_FILE, TRUST_STORE};

/// Processes and threads of a bottle that names no limit: room for builds, none for a fork bomb.
pub const DEFAULT_PIDS: u32 = 4096;

/// What the plan holds where the request was sound.
pub fn resolve(request: &Request, host: &HostFacts) -> Result<Plan, Mistakes> {
    let request = &fitted(request, host);
    let mut resolver = Resolver { host, mistakes: Vec::new(), notices: Vec::new() };
    resolver.refuse_what_is_not_built(request);
    resolver.check_host(request);
    let mut mounts: Vec<Mount> = request.mounts.iter().filter_map(|mount| resolver.mount(mount)).collect();
    mounts.extend(resolver.program_mounts(request));
    let workspace = resolver.workspace(&request.workspace);
    let egress = resolver.egress(request);
    let git = resolver.git(request);
    let secrets = resolver.secrets(request);
    let skills = resolver.skills(request);
    let provided = resolver.provided(request);
    resolver.note_limits(&request.limits, request.backend.value);
    match request.backend.value {
        Backend::Docker => {
            resolver.check_engine(request);
            resolver.check_guards(request, &workspace, &mounts);
        }
        Backend::Smolmachines => {
            // Nobody is asked for an image on behalf of who is refused.
            if !resolver.is_refused_to_root(request) {
                resolver.check_engine(request);
            }
            resolver.check_guards(request, &workspace, &mounts);
            resolver.note_smolvm();
        }
        Backend::Namespace | Backend::Kubernetes => {}
    }
    let plan = Plan {
        agent: request.agent.clone(),
        bottle: request.bottle.clone(),
        backend: request.backend.value,
        topology: resolver.topology(request),
        machine: resolver.machine(request),
        provider: provided.provider,
        command: provided.command,
        prompt: request.prompt.clone(),
        skills,
        files: provided.files,
        image: resolver.image(&request.image, request.backend.value),
        image_id: host.engine.as_ref().map(|engine| engine.image_id.clone()),
        env: environment::environment(request, &provided.env, &secrets, host),
        mounts,
        workspace,
        egress,
        git,
        secrets,
        canaries: request.canaries,
        supervise: request.supervise.as_ref().is_none_or(|supervise| supervise.value),
        wait: request.wait.map_or(Plan::WAIT, |wait| wait.0),
        limits: Limits { pids: request.limits.pids.or(Some(DEFAULT_PIDS)), ..request.limits },
        ports: ports(request),
        notices: resolver.notices,
    };
    Mistakes::check(plan, resolver.mistakes)
}

/// With a workspace that fits the directory, where none is asked for (a repository that holds our own files is the
/// user's whole home), and with the provider's routes after the bottle's.
fn fitted(request: &Request, host: &HostFacts) -> Request {
    let mut request = request.clone();
    provider::add_routes(&mut request, host);
    if request.workspace.value == WorkspaceMode::Fitting {
        let repository = host.paths.contains_key(&host.cwd.join(".git")) && host.programs.contains("git");
        let home = host.own.iter().any(|own| own.starts_with(&host.cwd)) || host.home.starts_with(&host.cwd);
        request.workspace.value = if repository && !home { WorkspaceMode::Clone } else { WorkspaceMode::None };
    }
    request
}

fn ports(request: &Request) -> Vec<u16> {
    let mut ports: Vec<u16> = request.ports.iter().map(|port| port.value.0).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

struct Resolver<'a> {
    host: &'a HostFacts,
    mistakes: Vec<Mistake>,
    notices: Vec<String>,
}

impl Resolver<'_> {
    fn refuse_what_is_not_built(&mut self, request: &Request) {
        let backend = &request.backend;
        if backend.value == Backend::Kubernetes {
            let message = format!("the {} backend is not built yet", backend.value.as_str());
            self.mistakes.push(
                Mistake::new(&backend.place, message)
                    .hint("use `namespace`, the default, `docker` or `smolmachines`")
                    .of_host(),
            );
        }
        let cold = backend.value != Backend::Smolmachines;
        if let Some(warm) = request.warm.as_ref().filter(|warm| warm.value && cold) {
            let message = format!("the {} backend starts no bottle warm", backend.value.as_str());
            let hint = "leave `warm` out, or use `backend: smolmachines`";
            self.mistakes.push(Mistake::new(&warm.place, message).hint(hint));
        }
    }

    fn note_smolvm(&mut self) {
        self.notices.extend(self.host.smolvm.as_ref().and_then(|smolvm| smolvm.notice.clone()));
    }

    fn machine(&self, request: &Request) -> Option<MachineProfile> {
        let smolvm = self.host.smolvm.as_ref().filter(|_| request.backend.value == Backend::Smolmachines)?;
        let (smolvm, warm) = (smolvm.version.clone(), request.warm.as_ref().is_some_and(|warm| warm.value));
        Some(MachineProfile { smolvm, doors: MachineDoors::Sockets, network: MachineNetwork::None, warm })
    }

    fn check_host(&mut self, request: &Request) {
        let makes_them = request.backend.value == Backend::Namespace;
        if let Some(why) = self.host.user_namespaces_refused.as_ref().filter(|_| makes_them) {
            let message = format!("this host does not let you make user namespaces: {why}");
            let hint = "`bot-bottle doctor` says how to allow them; `--backend docker` does without";
            self.mistakes.push(Mistake::new(&request.place, message).hint(hint).of_host());
        }
    }

    fn image(&mut self, image: &Placed<Image>, backend: Backend) -> Image {
        let absolute = |path: &Path| self.host.absolute(path, base(&image.place, &self.host.cwd));
        let resolved = match &image.value {
            Image::Host if backend == Backend::Docker => {
                let message = "the docker backend cannot show the host's programs";
                let hint = "name an image that the engine has: `--image debian:bookworm`, or `image:` in the bottle; or one to be \
                            made: `dockerfile:PATH`, `dir:PATH`, `provider:debian:bookworm`";
                self.mistakes.push(Mistake::new(&image.place, message).hint(hint));
                return Image::Host;
            }
            Image::Host if backend == Backend::Smolmachines => {
                let message = "the smolmachines backend cannot show the host's programs";
                let hint = "name an image: `--image debian:bookworm`, or `image:` in the bottle";
                self.mistakes.push(Mistake::new(&image.place, message).hint(hint));
                return Image::Host;
            }
            Image::Host => return Image::Host,
            Image::Reference(text) => Image::Reference(text.clone()),
            Image::Dockerfile(path) => Image::Dockerfile(absolute(path)),
            Image::DockerArchive(path) => Image::DockerArchive(absolute(path)),
            Image::OciArchive(path) => Image::OciArchive(absolute(path)),
            Image::Dir(path) => Image::Dir(absolute(path)),
            Image::Smolmachine(path) => Image::Smolmachine(absolute(path)),
            Image::Provider(base) => Image::Provider(base.clone()),
        };
        if backend == Backend::Namespace {
            let message = "the namespace backend shows the host's programs and takes no other image";
            let hint = "use `image: host`, the default, or `backend: docker`";
            self.mistakes.push(Mistake::new(&image.place, message).hint(hint));
        }
        if backend == Backend::Docker && matches!(resolved, Image::Smolmachine(_)) {
            let message = "a pack of smolvm's is an image for the smolmachines backend alone";
            self.mistakes
                .push(Mistake::new(&image.place, message).hint("use `backend: smolmachines`, or another image"));
        }
        resolved
    }

    fn mount(&mut self, mount: &Placed<crate::notation::MountText>) -> Option<Mount> {
        let source = self.host.absolute(&mount.value.source, base(&mount.place, &self.host.cwd));
        match self.host.paths.get(&source) {
            None => {
                let message = format!("there is nothing at {}", source.display());
                self.mistakes.push(Mistake::new(&mount.place, message).hint("make it first, or correct the path"));
                return None;
            }
            Some(PathKind::Other) => {
                let message = format!("{} is a socket, a device or a pipe", source.display());
                let hint = "only files and directories are mounted: anything else is a way out of the bottle";
                self.mistakes.push(Mistake::new(&mount.place, message).hint(hint));
                return None;
            }
            Some(PathKind::File | PathKind::Directory) => {}
        }
        self.guard_own(&source, mount.value.writable, &mount.place);
        Some(Mount { source, target: mount.value.target.clone(), writable: mount.value.writable })
    }

    /// A bottle that could write to our configuration or state could widen itself, or another.
    fn guard_own(&mut self, source: &Path, writable: bool, place: &Place) {
        let Some(own) = self.host.own.iter().find(|own| own.starts_with(source) || source.starts_with(own)) else {
            return;
        };
        if writable {
            let message = format!("{} holds bot-bottle's own files ({})", source.display(), own.display());
            let hint = "a bottle must not be able to change its own policy; give a directory further down";
            self.mistakes.push(Mistake::new(place, message).hint(hint));
        } else {
            self.notices.push(format!(
                "{} holds bot-bottle's own files: the agent can read manifests and what other bottles left",
                source.display()
            ));
        }
    }

    fn workspace(&mut self, mode: &Placed<WorkspaceMode>) -> Workspace {
        let source = self.host.cwd.clone();
        match mode.value {
            WorkspaceMode::None | WorkspaceMode::Fitting => return Workspace::None,
            WorkspaceMode::Clone | WorkspaceMode::Copy => self.guard_own(&source, false, &mode.place),
            WorkspaceMode::Mount => self.guard_own(&source, true, &mode.place),
        }
        if self.host.paths.get(&source) != Some(&PathKind::Directory) {
            let message = format!("{} is not a directory that can be read", source.display());
            self.mistakes.push(Mistake::new(&mode.place, message).of_host());
        }
        match mode.value {
            WorkspaceMode::Mount => Workspace::Mount { source },
            WorkspaceMode::Clone => Workspace::Clone { source },
            WorkspaceMode::Copy | WorkspaceMode::None | WorkspaceMode::Fitting => Workspace::Copy { source },
        }
    }

    fn egress(&mut self, request: &Request) -> EgressPolicy {
        let upstream_ca = request.egress.upstream_ca.iter().filter_map(|path| self.authority(path)).collect();
        let mut routes = Vec::with_capacity(request.egress.routes.len());
        for route in &request.egress.routes {
            let mut resolved = route.value.clone();
            if let Some(Auth { secret, .. }) = &mut resolved.auth {
                *secret = self.source(secret, &route.place);
                if matches!(resolved.host, crate::host::HostPattern::Below(_)) {
                    self.notices.push(format!("{secret} is sent to every host that {} matches", resolved.host));
                }
            }
            routes.push(resolved);
        }
        let upstream_proxy = request.egress.upstream_proxy.as_ref().map(|proxy| {
            let mut resolved = proxy.value.clone();
            resolved.auth = resolved.auth.map(|secret| self.source(&secret, &proxy.place));
            resolved
        });
        let (resolve, budgets) = (request.egress.resolve.clone(), request.budgets.clone());
        let observe = request.observe;
        if observe {
            self.notices.push("observed: any public host may be reached, searched but without a secret".to_owned());
        }
        EgressPolicy { routes, upstream_ca, resolve, upstream_proxy, budgets, observe }
    }

    fn authority(&mut self, path: &Placed<PathBuf>) -> Option<PathBuf> {
        let absolute = self.host.absolute(&path.value, base(&path.place, &self.host.cwd));
        if self.host.paths.get(&absolute) == Some(&PathKind::File) {
            return Some(absolute);
        }
        let message = format!("there is no file {}", absolute.display());
        self.mistakes.push(Mistake::new(&path.place, message).hint("name a PEM file of certificates"));
        None
    }

    /// A reference that means the same in every process: with an absolute path.
    fn source(&self, secret: &SecretRef, place: &Place) -> SecretRef {
        match secret {
            SecretRef::File(path) => SecretRef::File(self.host.absolute(path, base(place, &self.host.cwd))),
            other => other.clone(),
        }
    }

    fn secrets(&mut self, request: &Request) -> Vec<PlannedSecret> {
        let mut planned: Vec<PlannedSecret> = Vec::new();
        let injected = request.secrets().map(|(secret, place)| (secret, place, true));
        let protected = request.protect.iter().map(|secret| (&secret.value, &secret.place, false));
        // What is injected comes first, and stays so where it is protected as well.
        for (secret, place, injected) in injected.chain(protected) {
            if let SecretRef::Env(name) = secret
                && !self.host.variables.contains(name)
            {
                let message = format!("the secret {secret} cannot be read: the variable {name} is not set");
                let hint = format!("set {name}, or name another source (file:, command:, keyring:)");
                self.mistakes.push(Mistake::new(place, message).hint(hint).of_host());
            }
            if let SecretRef::Login(name) = secret
                && !self.host.logins.contains_key(name)
            {
                let message = format!("there is no login `{name}`");
                let hint = format!("`bot-bottle login {name}` takes over the one that its client keeps");
                self.mistakes.push(Mistake::new(place, message).hint(hint).of_host());
            }
            let source = self.source(secret, place);
            if planned.iter().all(|known| known.source != source) {
                planned.push(PlannedSecret { placeholder: environment::placeholder(&source), source, injected });
            }
        }
        planned
    }

    /// What was asked for, else what the engine can do.
    fn topology(&mut self, request: &Request) -> Topology {
        let usual = self.host.engine.as_ref().map(|engine| engine.topology).unwrap_or_default();
        let Some(asked) = &request.topology else { return usual };
        if request.backend.value != Backend::Docker {
            let message = format!("the {} backend has no topologies", request.backend.value.as_str());
            self.mistakes.push(Mistake::new(&asked.place, message).hint("leave it out, or use `backend: docker`"));
        } else if usual != Topology::Socket && asked.value == Topology::Socket {
            let message = match usual {
                Topology::Sent => "the engine is on another machine, or maps the owners of files",
                _ => "the engine runs in a machine of its own, where no socket of this one's leads",
            };
            self.mistakes.push(Mistake::new(&asked.place, message).hint(format!("use `{usual}`, or leave it out")));
        }
        asked.value
    }

    fn check_engine(&mut self, request: &Request) {
        let is_elsewhere = match &request.image.value {
            // What is wrong with it has been said.
            Image::Host => false,
            Image::Dir(_) => request.backend.value == Backend::Docker,
            Image::Smolmachine(_) => request.backend.value == Backend::Smolmachines,
            Image::Dockerfile(_) | Image::Provider(_) => true,
            Image::Reference(_) | Image::OciArchive(_) | Image::DockerArchive(_) => true,
        };
        if is_elsewhere && self.host.engine.is_none() {
            let message = "nobody was asked for the image: this bot-bottle is built without what has images";
            self.mistakes.push(Mistake::new(&request.image.place, message).of_host());
        }
    }

    /// The process that is the machine gets no right of root's, and could not reach what root keeps for the bottle.
    fn is_refused_to_root(&mut self, request: &Request) -> bool {
        let is_root = self.host.euid == 0;
        if is_root {
            let message = "the smolmachines backend does not work for root";
            let hint = "start the bottle as an ordinary user who may use /dev/kvm";
            self.mistakes.push(Mistake::new(&request.backend.place, message).hint(hint).of_host());
        }
        is_root
    }

    /// What neither a container nor a machine can do is said before there is one.
    fn check_guards(&mut self, request: &Request, workspace: &Workspace, mounts: &[Mount]) {
        // The namespace backend holds them by descriptors, and shows them as the agent's; others are given names, and
        // follow whatever is there when they get to them.
        let backend = request.backend.value.as_str();
        let why = "cannot guard what this host would run in a directory that a bottle may write to";
        if matches!(workspace, Workspace::Mount { .. }) {
            let hint = "use `--workspace clone` or `--workspace copy`";
            self.mistakes
                .push(Mistake::new(&request.workspace.place, format!("the {backend} backend {why}")).hint(hint));
        }
        for mount in mounts.iter().filter(|mount| mount.writable) {
            let place = request.mounts.iter().find(|it| it.value.target == mount.target).map(|it| &it.place);
            let message = format!("{}: the {backend} backend {why}", mount.target.display());
            let hint = "make the mount read-only, and copy out what the bottle made with `bot-bottle cp`";
            self.mistakes.push(Mistake::new(place.unwrap_or(&request.place), message).hint(hint));
        }
    }

    fn note_limits(&mut self, limits: &Limits, backend: Backend) {
        let engine = self.host.engine.as_ref().filter(|_| backend == Backend::Docker);
        let controllers = engine.map_or(&self.host.controllers, |engine| &engine.controllers);
        let unenforced = [("cpus", limits.cpu_millis.is_some(), "cpu"), ("memory", limits.memory.is_some(), "memory")];
        for (limit, asked, controller) in unenforced {
            // A machine has the processors and the memory that it is made with.
            if asked && backend != Backend::Smolmachines && !controllers.contains(controller) {
                let why = match engine {
                    Some(_) => "the container engine has no means to here".to_owned(),
                    None => format!("cgroup v2's {controller} controller is not delegated to you"),
                };
                self.notices.push(format!("limits.{limit} cannot be enforced: {why}"));
            }
        }
        if limits.disk.is_some() {
            self.notices.push(
                "limits.disk bounds /tmp and /dev/shm alone: the home and the workspace are directories of this host"
                    .to_owned(),
            );
        }
    }
}
