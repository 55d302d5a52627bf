//! The plan: a manifest with every default applied and every path absolute. Printable, hashable, and all that a
//! launch goes by. It names secrets and never holds one.

use crate::{git::GitRepository, policy::EgressPolicy, secret::SecretRef, topology::Topology};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The agent's name; the first part of the slug.
    pub agent: String,
    /// The bottle manifest it came from; `None` for `run`, which has none.
    pub bottle: Option<String>,
    pub backend: Backend,
    /// Where the backend has an engine.
    #[serde(default, skip_serializing_if = "Topology::is_socket")]
    pub topology: Topology,
    /// Where the backend makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineProfile>,
    pub provider: PlannedProvider,
    /// Never empty.
    pub command: Vec<String>,
    /// Markdown; empty where the agent has none.
    pub prompt: String,
    pub skills: Vec<PlannedSkill>,
    /// What the agent finds in its home when the bottle is new.
    #[serde(default)]
    pub files: Vec<PlannedFile>,
    pub image: Image,
    /// What the image's name stood for when the plan was made, `sha256:…`; `None` for the host's programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// The agent's whole environment, placeholders included.
    pub env: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    pub workspace: Workspace,
    pub egress: EgressPolicy,
    /// What the git door serves; none = there is no such door.
    #[serde(default)]
    pub git: Vec<GitRepository>,
    /// Every secret that some part of this plan injects or protects.
    pub secrets: Vec<PlannedSecret>,
    /// Whether credentials that open nothing are left where a thief would look.
    #[serde(default = "yes")]
    pub canaries: bool,
    pub supervise: bool,
    /// Seconds that the operator has for an answer; none in time is a no.
    #[serde(default = "wait")]
    pub wait: u32,
    pub limits: Limits,
    /// Ports of the bottle published on the host's `127.0.0.1`, each under the same number.
    pub ports: Vec<u16>,
    /// What the preflight must say: limits that cannot be enforced here, wildcards over a public suffix, and the like.
    pub notices: Vec<String>,
}

/// By what a machine is made, and what it has of the world. There is one kind of each: a machine with a network would be
/// another profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineProfile {
    /// Its version when the plan was made.
    pub smolvm: String,
    pub doors: MachineDoors,
    pub network: MachineNetwork,
    /// Whether it is to be a branch of a prepared one, where that can be had.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warm: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MachineDoors {
    /// A Unix socket of the host's for each, carried in.
    Sockets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MachineNetwork {
    /// No device.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    Namespace,
    Docker,
    Smolmachines,
    Kubernetes,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a backend is namespace, docker, smolmachines or kubernetes")]
pub struct BackendError;

impl std::str::FromStr for Backend {
    type Err = BackendError;

    fn from_str(text: &str) -> Result<Backend, BackendError> {
        let found = Backend::ALL.into_iter().find(|backend| backend.as_str() == text);
        found.ok_or(BackendError)
    }
}

impl Backend {
    pub const ALL: [Backend; 4] = [Backend::Namespace, Backend::Docker, Backend::Smolmachines, Backend::Kubernetes];

    pub fn as_str(self) -> &'static str {
        match self {
            Backend::Namespace => "namespace",
            Backend::Docker => "docker",
            Backend::Smolmachines => "smolmachines",
            Backend::Kubernetes => "kubernetes",
        }
    }
}

/// What of the agent's kind is still needed once its command, files and routes are in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ProviderForm")]
pub struct PlannedProvider {
    pub name: String,
    /// Where its skills are, absolute in the bottle.
    pub skills: PathBuf,
    /// What `resume` runs; `None` = the command again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<Vec<String>>,
    /// What `resume --prompt` runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_task: Option<TaskCommand>,
    /// Where it writes its transcripts: patterns below the home.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
}

impl Plan {
    /// Seconds that the operator has for an answer where the manifest does not say.
    pub const WAIT: u32 = 30 * 60;
}

impl PlannedProvider {
    /// One of which nothing more is known.
    pub fn named(name: &str) -> PlannedProvider {
        PlannedProvider {
            name: name.to_owned(),
            skills: PathBuf::from(PlannedSkill::FOLDER),
            resume: None,
            resume_task: None,
            logs: Vec::new(),
        }
    }
}

/// Plans written before providers were data have the name alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum ProviderForm {
    Name(String),
    Whole {
        name: String,
        skills: PathBuf,
        #[serde(default)]
        resume: Option<Vec<String>>,
        #[serde(default)]
        resume_task: Option<TaskCommand>,
        #[serde(default)]
        logs: Vec<String>,
    },
}

impl From<ProviderForm> for PlannedProvider {
    fn from(form: ProviderForm) -> PlannedProvider {
        match form {
            ProviderForm::Name(name) => PlannedProvider::named(&name),
            ProviderForm::Whole { name, skills, resume, resume_task, logs } => {
                PlannedProvider { name, skills, resume, resume_task, logs }
            }
        }
    }
}

/// A command that waits for a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskCommand {
    /// The words that say it have `${TASK}` in its place.
    pub argv: Vec<String>,
    /// Which words those are; no other text is looked at.
    pub at: Vec<usize>,
}

impl TaskCommand {
    pub fn with(&self, task: &str) -> Vec<String> {
        let word = |(index, word): (usize, &String)| {
            if self.at.contains(&index) { word.replacen("${TASK}", task, 1) } else { word.clone() }
        };
        self.argv.iter().enumerate().map(word).collect()
    }
}

/// A folder with a `SKILL.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedSkill {
    pub name: String,
    /// On the host; absolute.
    pub source: PathBuf,
}

impl PlannedSkill {
    /// Where skills of an agent are that has no place of its own for them.
    pub const FOLDER: &str = "/home/agent/.agents/skills";
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFile {
    /// Below the agent's home.
    pub path: PathBuf,
    pub text: String,
}

/// What the agent sees as `/usr` and the like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Image {
    /// A read-only view of the host's programs, without its data. Namespace backend only.
    Host,
    Dockerfile(PathBuf),
    Reference(String),
    DockerArchive(PathBuf),
    OciArchive(PathBuf),
    Dir(PathBuf),
    /// A pack that smolvm made. Smolmachines backend only.
    Smolmachine(PathBuf),
    /// An image that the engine has, with the client of the agent's provider installed in it.
    Provider(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// On the host; absolute.
    pub source: PathBuf,
    /// In the bottle; absolute.
    pub target: PathBuf,
    pub writable: bool,
}

/// How the working directory gets into the bottle, at [`Workspace::TARGET`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "mode")]
pub enum Workspace {
    None,
    /// A private copy, without what ignore files leave out.
    Copy {
        source: PathBuf,
    },
    /// A clone of the repository, with what is not committed; what the agent pushes comes back as branches.
    Clone {
        source: PathBuf,
    },
    /// The directory itself, writable but for what the host would run.
    Mount {
        source: PathBuf,
    },
}

impl Workspace {
    pub const TARGET: &str = "/workspace";
    /// What a clone's repository is called at the git door.
    pub const REPOSITORY: &str = "workspace";
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedSecret {
    pub source: SecretRef,
    /// What the bottle holds instead. Not itself a secret, never substituted.
    pub placeholder: String,
    /// `false` = the gate only has to know it, so that it does not leave.
    #[serde(default = "yes")]
    pub injected: bool,
}

/// What plans written before these fields meant.
fn yes() -> bool {
    true
}

fn wait() -> u32 {
    Plan::WAIT
}

/// `None` = no limit asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u32>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Bytes.
    pub disk: Option<u64>,
}
