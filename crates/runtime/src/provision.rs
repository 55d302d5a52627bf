//! What makes a bottle ready for its agent: each provisioner says, as data, what it puts where, and a backend puts it.
//!
//! `ca`, `prompt`, `git` and `supervise` give the [`system`] part, which is the same at every start and not the agent's
//! to change; `skills` and `settings` give the [`home`] part, which is put into a new home and is the agent's from then
//! on. Invariant: no provisioner knows a backend or touches anything; nothing of a home that an agent has used is
//! written.

mod ca;
mod git;
mod prompt;
mod put;
mod settings;
mod skills;
mod supervise;

pub(crate) use put::put_home;

use bottle_spec::{plan::Plan, resolve::AGENT_HOME};
use std::{
    io,
    path::{Path, PathBuf},
};

/// One thing to put into a bottle. Targets are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub target: PathBuf,
    pub what: Put,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// Belongs to the agent.
    File {
        bytes: Vec<u8>,
        mode: u32,
    },
    Link(PathBuf),
    /// A directory of the host, copied with all that is in it; links stay links.
    Tree(PathBuf),
}

impl Piece {
    fn file(target: impl Into<PathBuf>, text: impl Into<Vec<u8>>) -> Piece {
        Piece { target: target.into(), what: Put::File { bytes: text.into(), mode: 0o644 } }
    }

    fn private(target: impl Into<PathBuf>, text: impl Into<Vec<u8>>) -> Piece {
        Piece { target: target.into(), what: Put::File { bytes: text.into(), mode: 0o600 } }
    }

    fn link(target: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Piece {
        Piece { target: target.into(), what: Put::Link(to.into()) }
    }
}

/// What the agent's image trusts by itself, and whether it has a Java that wants it in its own form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageTrust {
    /// PEM; empty where none was found.
    pub roots_pem: String,
    pub java: bool,
}

/// What provisioners go by.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    pub plan: &'a Plan,
    /// The bottle's own certificate authority, PEM.
    pub trust_anchor_pem: &'a str,
    pub image: &'a ImageTrust,
}

#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    #[error("the skill `{name}` is not at {}; a skill is a folder with a SKILL.md", source_path.display())]
    NoSkill { name: String, source_path: PathBuf },
    #[error("{} cannot be put into the agent's home", path.display())]
    Put { path: PathBuf, source: io::Error },
}

/// What does not belong to the agent's home. At every start.
pub fn system(given: &Given<'_>) -> Vec<Piece> {
    [ca::pieces, prompt::pieces, git::pieces, supervise::pieces]
        .iter()
        .flat_map(|provisioner| provisioner(given))
        .collect()
}

/// What a new home begins with.
pub fn home(plan: &Plan) -> Result<Vec<Piece>, ProvisionError> {
    let mut pieces = skills::pieces(plan)?;
    pieces.extend(settings::pieces(plan));
    Ok(pieces)
}

fn at_home(path: &Path) -> PathBuf {
    Path::new(AGENT_HOME).join(path)
}
