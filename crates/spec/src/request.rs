//! What is asked for, before it meets the host: an agent with its bottle, or the flags of `run`, in one form.

use crate::{
    facts::absolute,
    manifest::{Agent, Bottle, Egress, GitUpstream, Mistake, Mistakes, Place, Placed, Written},
    notation::{MountText, Name, Period, Port},
    plan::{Backend, Image, Limits},
    policy::Budgets,
    provider::Provider,
    secret::SecretRef,
    topology::Topology,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
};

mod flags;

pub use flags::{Allow, AuthFor, FlagError, Flags, ResolveTo};

/// Paths in it are as written; where each begins follows from its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub agent: String,
    /// The name of the bottle's manifest; `None` for `run`.
    pub bottle: Option<String>,
    /// For what concerns the request as a whole.
    pub place: Place,
    pub backend: Placed<Backend>,
    /// `None` = whichever the engine can do.
    pub topology: Option<Placed<Topology>>,
    pub provider: Placed<Provider>,
    /// `None` = the provider's own.
    pub command: Option<Vec<String>>,
    pub prompt: String,
    /// What a headless agent is to do; `None` = somebody sits at its terminal.
    pub task: Option<Placed<String>>,
    pub skills: Vec<Placed<Name>>,
    /// Where they go, in place of the provider's folder.
    pub skills_folder: Option<Placed<String>>,
    pub image: Placed<Image>,
    pub env: BTreeMap<String, String>,
    pub mounts: Vec<Placed<MountText>>,
    pub workspace: Placed<WorkspaceMode>,
    pub egress: Egress,
    pub git: Vec<Placed<GitUpstream>>,
    pub supervise: Option<Placed<bool>>,
    /// How long the operator has for an answer.
    pub wait: Option<Period>,
    pub limits: Limits,
    pub ports: Vec<Placed<Port>>,
    pub protect: Vec<Placed<SecretRef>>,
    pub canaries: bool,
    pub budgets: Budgets,
    /// Whether it is to begin as a copy of one that was prepared.
    pub warm: Option<Placed<bool>>,
    pub observe: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WorkspaceMode {
    /// Nothing was said: a clone of a repository, and of nothing else anything.
    #[default]
    Fitting,
    /// The working directory stays outside.
    None,
    Clone,
    Copy,
    Mount,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a workspace is clone, copy, mount or none")]
pub struct WorkspaceError;

impl FromStr for WorkspaceMode {
    type Err = WorkspaceError;

    fn from_str(text: &str) -> Result<WorkspaceMode, WorkspaceError> {
        match text {
            "none" => Ok(WorkspaceMode::None),
            "copy" => Ok(WorkspaceMode::Copy),
            "mount" => Ok(WorkspaceMode::Mount),
            "clone" => Ok(WorkspaceMode::Clone),
            _ => Err(WorkspaceError),
        }
    }
}

/// What flags and variables say over the manifest, each with where it was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    pub backend: Option<Placed<String>>,
    pub topology: Option<Placed<String>>,
    pub image: Option<Placed<String>>,
    pub workspace: Option<Placed<String>>,
    /// What a headless agent is to do.
    pub task: Option<Placed<String>>,
    /// Where skills go in the bottle.
    pub skills_folder: Option<Placed<String>>,
    /// See [`crate::policy::EgressPolicy::observe`].
    pub observe: bool,
}

impl Request {
    pub fn of_agent(agent: Agent, bottle: Bottle, overrides: &Overrides) -> Result<Request, Mistakes> {
        let mut mistakes = Vec::new();
        let over = Over::read(overrides, &mut mistakes);
        let mut env = bottle.env;
        env.extend(agent.env);
        let of_place = |value| Placed { value, place: agent.place.clone() };
        let request = Request {
            backend: over.backend.or(agent.backend).unwrap_or_else(|| default_backend(&agent.place)),
            topology: over.topology.or(agent.topology),
            image: over.image.or(bottle.image).unwrap_or_else(|| default_image(&agent.place)),
            workspace: over.workspace.unwrap_or_else(|| of_place(WorkspaceMode::Fitting)),
            agent: agent.name,
            bottle: Some(bottle.name),
            provider: agent.provider,
            command: agent.command,
            prompt: agent.prompt,
            task: overrides.task.clone(),
            skills: agent.skills,
            skills_folder: overrides.skills_folder.clone(),
            env,
            mounts: bottle.mounts,
            egress: bottle.egress,
            git: bottle.git,
            supervise: bottle.supervise,
            wait: bottle.wait,
            limits: bottle.limits,
            ports: bottle.ports,
            protect: bottle.protect,
            canaries: bottle.canaries,
            budgets: bottle.budgets,
            warm: bottle.warm,
            observe: overrides.observe,
            place: agent.place,
        };
        Mistakes::check(request, mistakes)
    }

    /// Every path on the host that resolving must know about, absolute.
    pub fn paths(&self, home: &Path, cwd: &Path) -> Vec<PathBuf> {
        let of = |path: &Path, place: &Place| absolute(path, base(place, cwd), home);
        let mounts = self.mounts.iter().map(|mount| of(&mount.value.source, &mount.place));
        let authorities = self.egress.upstream_ca.iter().map(|path| of(&path.value, &path.place));
        let git = self.git.iter().flat_map(|asked| {
            let Placed { value, place } = asked;
            let upstream = match &value.upstream {
                Written::Path(path) => Some(path),
                Written::Url(_) => None,
            };
            let files = [upstream, value.identity_file.as_ref(), value.known_hosts.as_ref()];
            files.into_iter().flatten().map(|path| of(path, place)).collect::<Vec<_>>()
        });
        let known_hosts = (!self.git.is_empty()).then(|| home.join(".ssh/known_hosts"));
        let workspace = match self.workspace.value {
            WorkspaceMode::None => Vec::new(),
            WorkspaceMode::Fitting => vec![cwd.to_owned(), cwd.join(".git")],
            WorkspaceMode::Clone | WorkspaceMode::Copy | WorkspaceMode::Mount => vec![cwd.to_owned()],
        };
        mounts.chain(authorities).chain(git).chain(known_hosts).chain(workspace).collect()
    }

    /// Every secret to inject, with the place of its route.
    pub fn secrets(&self) -> impl Iterator<Item = (&SecretRef, &Place)> {
        let routes =
            self.egress.routes.iter().filter_map(|route| Some((&route.value.auth.as_ref()?.secret, &route.place)));
        let proxy = self.egress.upstream_proxy.iter();
        let git = self.git.iter().filter_map(|git| Some((&git.value.auth.as_ref()?.secret, &git.place)));
        routes.chain(proxy.filter_map(|proxy| Some((proxy.value.auth.as_ref()?, &proxy.place)))).chain(git)
    }
}

/// Where a relative path begins: beside the manifest that names it, else in the working directory.
pub fn base<'a>(place: &'a Place, cwd: &'a Path) -> &'a Path {
    match place {
        Place::File { path, .. } => path.parent().unwrap_or(cwd),
        Place::Flag(_) | Place::Variable(_) => cwd,
    }
}

pub(crate) fn default_backend(place: &Place) -> Placed<Backend> {
    Placed { value: Backend::Namespace, place: place.clone() }
}

pub(crate) fn default_image(place: &Place) -> Placed<Image> {
    Placed { value: Image::Host, place: place.clone() }
}

/// [`Overrides`] read.
pub(crate) struct Over {
    pub(crate) backend: Option<Placed<Backend>>,
    pub(crate) topology: Option<Placed<Topology>>,
    pub(crate) image: Option<Placed<Image>>,
    pub(crate) workspace: Option<Placed<WorkspaceMode>>,
}

impl Over {
    pub(crate) fn read(overrides: &Overrides, mistakes: &mut Vec<Mistake>) -> Over {
        Over {
            backend: read(overrides.backend.as_ref(), mistakes),
            topology: read(overrides.topology.as_ref(), mistakes),
            image: read(overrides.image.as_ref(), mistakes),
            workspace: read(overrides.workspace.as_ref(), mistakes),
        }
    }
}

fn read<T: FromStr<Err: std::fmt::Display>>(
    text: Option<&Placed<String>>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Placed<T>> {
    let text = text?;
    match text.value.parse() {
        Ok(value) => Some(Placed { value, place: text.place.clone() }),
        Err(error) => {
            let error: T::Err = error;
            mistakes.push(Mistake::new(&text.place, error.to_string()));
            None
        }
    }
}
